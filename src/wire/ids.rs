//! Names of things: 32-byte ids, written as 52 characters of lower-case base32.

use crate::crypto::hash::{context, derive};
use crate::wire::error::Malformed;
use core::fmt;
use data_encoding::BASE32_NOPAD_NOCASE;

/// Characters of a 32-byte value in text.
pub const ID_TEXT_LEN: usize = 52;

/// Writes 32 bytes as lower-case base32 without padding (spec ENC-4).
pub fn to_text(bytes: &[u8; 32]) -> String {
    // spec: ENC-4
    let mut text = BASE32_NOPAD_NOCASE.encode(bytes);
    text.make_ascii_lowercase();
    text
}

/// Reads what [`to_text`] writes. Upper case is accepted (host names are case-insensitive); stray bits are not.
pub fn from_text(text: &str) -> Result<[u8; 32], Malformed> {
    // spec: ENC-3
    let bytes = BASE32_NOPAD_NOCASE.decode(text.as_bytes()).map_err(|_| Malformed::BadText)?;
    bytes.try_into().map_err(|_| Malformed::BadText)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&to_text(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(to_text(&self.0).get(..8).unwrap_or_default())
            }
        }

        impl core::str::FromStr for $name {
            type Err = Malformed;
            fn from_str(text: &str) -> Result<Self, Malformed> {
                from_text(text).map(Self)
            }
        }
    };
}

id! {
    /// A relay: a hash of its identity key (spec KEY-2).
    RelayId
}
id! {
    /// A network: nodes of different networks cannot complete a link handshake (spec KEY-1).
    NetworkId
}

/// A network's id: its profile's name (at most 255 bytes), its genesis bytes, and its founders in ascending order, hashed.
pub fn network_id(profile: &str, genesis: &[u8; 32], founders: &[[u8; 32]]) -> NetworkId {
    // spec: KEY-1
    let length = u8::try_from(profile.len()).unwrap_or(u8::MAX);
    NetworkId(derive(context::NETWORK, &[&[length], profile.as_bytes(), genesis, founders.as_flattened()]))
}

id! {
    /// A content block: the BLAKE3 hash of its ciphertext (spec CONT-1).
    Address
}
id! {
    /// What the network calls an object: derived from its root's address, which it does not give away (spec CONT-2).
    Locator
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: ENC-3 ENC-4
    #[test]
    fn an_id_is_written_and_read() {
        let id = RelayId([0xa5; 32]);
        let text = id.to_string();
        assert_eq!(text.len(), ID_TEXT_LEN);
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(text.to_uppercase().parse(), Ok(id));
        assert_eq!(text[..51].parse::<RelayId>(), Err(Malformed::BadText));
        assert_eq!(format!("{}b", &text[..51]).parse::<RelayId>(), Err(Malformed::BadText), "stray bits");
    }

    // spec: KEY-1
    #[test]
    fn profile_and_genesis_both_make_the_network() {
        let id = network_id("testing", &[1; 32], &[]);
        assert_ne!(id, network_id("public", &[1; 32], &[]));
        assert_ne!(id, network_id("testing", &[2; 32], &[]));
        assert_eq!(id.0, derive(context::NETWORK, &[b"\x07testing", &[1; 32]]));
    }
}
