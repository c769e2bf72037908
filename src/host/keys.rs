//! A relay's long-term secrets, in one file of its folder, written once.
//!
//! ```text
//! umbel relay keys 1
//! identity <52 characters of base32>
//! link <52>
//! onion <52>
//! work <nonce, decimal>
//! ```

use crate::base::rng::Rng;
use crate::crypto::agree::AgreeSecret;
use crate::crypto::identity::IdentityKey;
use crate::host::dir::NodeDir;
use crate::host::error::Error;
use crate::wire::descriptor::{find_work, relay_id, work_bits};
use crate::wire::ids::{RelayId, from_text, to_text};
use zeroize::Zeroizing;

/// The file's name in the node's folder.
pub const KEYS_FILE: &str = "keys";

const HEADER: &str = "umbel relay keys 1";

/// What makes a relay this relay.
pub struct RelayKeys {
    /// Signs descriptors, link proofs and root statements.
    pub identity: IdentityKey,
    /// The static key of its links.
    pub link: AgreeSecret,
    /// The static key of its circuit handshake.
    pub onion: AgreeSecret,
    /// Its proof of work.
    pub work_nonce: u64,
}

impl RelayKeys {
    /// Fresh keys; finding the work takes about 2^`work_bits_needed` hashes.
    pub fn generate(work_bits_needed: u32, rng: &mut Rng) -> Self {
        let identity = IdentityKey::from_bytes(rng.bytes());
        let work_nonce = find_work(&identity.public(), work_bits_needed);
        let (link, onion) = (AgreeSecret::from_bytes(rng.bytes()), AgreeSecret::from_bytes(rng.bytes()));
        Self { identity, link, onion, work_nonce }
    }

    /// The keys of the folder; made and written first where there are none.
    ///
    /// # Errors
    /// `ErrorKind::Config` when the file can be read by others, is damaged, or has too little work for the network.
    pub fn load_or_create(dir: &NodeDir, work_bits_needed: u32, rng: &mut Rng) -> Result<Self, Error> {
        let Some(bytes) = dir.load_secret(KEYS_FILE)?.map(Zeroizing::new) else {
            let keys = Self::generate(work_bits_needed, rng);
            dir.save(KEYS_FILE, keys.to_file().as_bytes())?;
            return Ok(keys);
        };
        let damaged = |line: usize| {
            Error::config(&dir.file(KEYS_FILE), format_args!("line {line} is damaged")).with_hint(
                "restore the file from a backup; without it the relay needs a new --dir and becomes a new relay",
            )
        };
        let keys = core::str::from_utf8(&bytes).map_err(|_| 1).and_then(Self::parse).map_err(damaged)?;
        if work_bits(&keys.identity.public(), keys.work_nonce) < work_bits_needed {
            return Err(Error::config(
                &dir.file(KEYS_FILE),
                "these keys were made for a network that asks for less work",
            )
            .with_rule("KEY-3")
            .with_hint("give each network its own --dir"));
        }
        Ok(keys)
    }

    /// The relay's id.
    pub fn relay_id(&self) -> RelayId {
        relay_id(&self.identity.public(), self.work_nonce)
    }

    fn to_file(&self) -> Zeroizing<String> {
        let text = |secret: &[u8; 32]| Zeroizing::new(to_text(secret));
        let (identity, link, onion) = (
            text(self.identity.to_bytes().expose()),
            text(self.link.to_bytes().expose()),
            text(self.onion.to_bytes().expose()),
        );
        Zeroizing::new(format!(
            "{HEADER}\nidentity {}\nlink {}\nonion {}\nwork {}\n",
            *identity, *link, *onion, self.work_nonce
        ))
    }

    /// The keys, or the number of the line that is wrong.
    fn parse(text: &str) -> Result<Self, usize> {
        let mut lines = text.split('\n');
        if lines.next() != Some(HEADER) {
            return Err(1);
        }
        let mut field =
            |name: &str, line: usize| lines.next().and_then(|l| l.strip_prefix(name)?.strip_prefix(' ')).ok_or(line);
        let secret = |text: &str, line: usize| from_text(text).map_err(|_| line);
        let keys = Self {
            identity: IdentityKey::from_bytes(secret(field("identity", 2)?, 2)?),
            link: AgreeSecret::from_bytes(secret(field("link", 3)?, 3)?),
            onion: AgreeSecret::from_bytes(secret(field("onion", 4)?, 4)?),
            work_nonce: field("work", 5)?.parse().map_err(|_| 5_usize)?,
        };
        if lines.next() == Some("") && lines.next().is_none() { Ok(keys) } else { Err(6) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::error::ErrorKind;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn keys_are_made_once_and_read_back() {
        let temp = tempfile::tempdir().unwrap();
        let dir = NodeDir::open(temp.path()).unwrap();
        let mut rng = Rng::from_seed([3; 32]);
        let made = RelayKeys::load_or_create(&dir, 4, &mut rng).unwrap();
        let read = RelayKeys::load_or_create(&dir, 4, &mut rng).unwrap();
        assert_eq!(made.relay_id(), read.relay_id());
        assert!(made.link.public() == read.link.public() && made.onion.public() == read.onion.public());
        assert_eq!(std::fs::metadata(dir.file(KEYS_FILE)).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_file_is_refused_with_its_line_and_kept() {
        let temp = tempfile::tempdir().unwrap();
        let dir = NodeDir::open(temp.path()).unwrap();
        let mut rng = Rng::from_seed([3; 32]);
        let good = RelayKeys::generate(4, &mut rng).to_file();
        for (line, from, to) in
            [(1, "keys 1", "keys 2"), (3, "link ", "link x"), (5, "work ", "work -"), (6, "work", "work")]
        {
            let mut text = good.replace(from, to);
            if line == 6 {
                text.push_str("more\n");
            }
            dir.save(KEYS_FILE, text.as_bytes()).unwrap();
            let refused = RelayKeys::load_or_create(&dir, 4, &mut rng).map(|_| ()).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Config);
            assert!(refused.to_string().contains(&format!("line {line} ")), "{refused}");
            assert_eq!(dir.load(KEYS_FILE).unwrap().unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn keys_of_a_laxer_network_are_refused() {
        let temp = tempfile::tempdir().unwrap();
        let dir = NodeDir::open(temp.path()).unwrap();
        let mut rng = Rng::from_seed([3; 32]);
        RelayKeys::load_or_create(&dir, 1, &mut rng).unwrap();
        assert_eq!(RelayKeys::load_or_create(&dir, 40, &mut rng).map(|_| ()).unwrap_err().rule().unwrap(), "KEY-3");
    }
}
