//! The circuit handshake: X25519 (ephemeral and onion key) and ML-KEM-768, one message each way (spec 05).
//!
//! A [`ClientHandshake`] is consumed by the reply, so its ephemeral secrets leave with it; [`LayerKeys`] can be had in
//! no other way than by a handshake whose authenticator held.

use crate::base::rng::Rng;
use crate::base::secret::{Secret, same};
use crate::crypto::aead::Cipher;
use crate::crypto::agree::{AgreeSecret, KemSecret, encapsulate};
use crate::crypto::hash::sha256;
use crate::crypto::kdf::{Prk, label};
use crate::wire::error::Malformed;
use crate::wire::handshake::{HandshakeReply, HandshakeRequest, REPLY_SIZE, REQUEST_SIZE};
use crate::wire::ids::{NetworkId, RelayId};

/// Why a handshake gave no keys. The peer is told nothing but that the circuit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The message does not parse.
    #[error("the handshake message is malformed: {0}")]
    Malformed(#[from] Malformed),
    /// The request names an onion key that this relay does not have (spec HS-4).
    #[error("the request is for another onion key")]
    WrongOnionKey,
    /// A public key no honest peer sends (spec HS-5).
    #[error("the peer's public key is not usable")]
    BadPublicKey,
    /// The relay did not prove its onion key, or the transcript was changed (spec HS-6).
    #[error("the relay's authenticator does not hold")]
    BadAuthenticator,
}

/// What the client knows of a relay before it makes it a hop, from the relay's descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HopKey {
    /// The relay.
    pub relay: RelayId,
    /// Its onion key.
    pub onion_key: [u8; 32],
    /// Its layer cipher.
    pub cipher: Cipher,
}

/// The two keys of one hop's layer.
pub struct LayerKeys {
    /// Which hop, from 1.
    pub position: u8,
    /// The hop's cipher.
    pub cipher: Cipher,
    /// Client to relay.
    pub forward: Secret<32>,
    /// Relay to client.
    pub backward: Secret<32>,
}

struct Derived {
    authenticator: Secret<32>,
    keys: LayerKeys,
}

// spec: HS-3
fn derive(
    network: &NetworkId,
    hop: &HopKey,
    request: &[u8; REQUEST_SIZE],
    reply: (&[u8; 32], &[u8]),
    position: u8,
    secrets: [&Secret<32>; 3],
) -> Derived {
    let th = sha256(&[label::CIRCUIT, &network.0, &hop.relay.0, &[hop.cipher.to_wire()], request, reply.0, reply.1]);
    let mut ikm = [0; 96];
    for (to, from) in ikm.chunks_exact_mut(32).zip(secrets) {
        to.copy_from_slice(from.expose());
    }
    let ikm = Secret::new(ikm);
    let prk = Prk::extract(&th, ikm.expose());
    Derived {
        authenticator: prk.expand(label::CIRCUIT_AUTH),
        keys: LayerKeys {
            position,
            cipher: hop.cipher,
            forward: prk.expand(label::CIRCUIT_FORWARD),
            backward: prk.expand(label::CIRCUIT_BACKWARD),
        },
    }
}

/// The client's half, between request and reply.
pub struct ClientHandshake {
    network: NetworkId,
    hop: HopKey,
    position: u8,
    ephemeral: AgreeSecret,
    kem: KemSecret,
    request: Box<[u8; REQUEST_SIZE]>,
}

impl ClientHandshake {
    /// Draws ephemeral keys (X25519 32 bytes, then KEM 64 bytes) and writes the request.
    pub fn start(network: NetworkId, hop: HopKey, position: u8, rng: &mut Rng) -> Self {
        let ephemeral = AgreeSecret::from_bytes(rng.bytes());
        let kem = KemSecret::generate(rng.bytes());
        Self::with_ephemerals(network, hop, position, ephemeral, kem)
    }

    /// With the ephemeral keys given: for exact test vectors.
    #[doc(hidden)]
    pub fn with_ephemerals(
        network: NetworkId,
        hop: HopKey,
        position: u8,
        ephemeral: AgreeSecret,
        kem: KemSecret,
    ) -> Self {
        let request = HandshakeRequest {
            position,
            onion_key: hop.onion_key,
            share: ephemeral.public(),
            kem_key: Box::new(*kem.public()),
        };
        Self { network, hop, position, ephemeral, kem, request: Box::new(request.encode()) }
    }

    /// The handshake request to send in CREATE or EXTEND.
    pub fn request(&self) -> &[u8; REQUEST_SIZE] {
        &self.request
    }

    /// Takes the reply and gives the keys, if the relay proved itself.
    pub fn finish(self, reply: &[u8; REPLY_SIZE]) -> Result<LayerKeys, HandshakeError> {
        let reply = HandshakeReply::decode(reply)?;
        // spec: HS-5
        let ephemeral = self.ephemeral.agree(&reply.share).map_err(|_| HandshakeError::BadPublicKey)?;
        let onion = self.ephemeral.agree(&self.hop.onion_key).map_err(|_| HandshakeError::BadPublicKey)?;
        let kem = self.kem.decapsulate(&reply.kem_ciphertext);
        let derived = derive(
            &self.network,
            &self.hop,
            &self.request,
            (&reply.share, &*reply.kem_ciphertext),
            self.position,
            [&ephemeral, &onion, &kem],
        );
        // spec: HS-6
        if !same(derived.authenticator.expose(), &reply.authenticator) {
            return Err(HandshakeError::BadAuthenticator);
        }
        Ok(derived.keys)
    }
}

/// The relay's half: answers a request. Draws X25519 32 bytes, then 32 bytes for the KEM.
pub fn respond(
    network: &NetworkId,
    relay: RelayId,
    cipher: Cipher,
    onion: &AgreeSecret,
    request: &[u8; REQUEST_SIZE],
    rng: &mut Rng,
) -> Result<([u8; REPLY_SIZE], LayerKeys), HandshakeError> {
    let ephemeral = AgreeSecret::from_bytes(rng.bytes());
    respond_with(network, relay, cipher, onion, request, ephemeral, Secret::new(rng.bytes()))
}

/// [`respond`] with its randomness given: for exact test vectors.
#[doc(hidden)]
pub fn respond_with(
    network: &NetworkId,
    relay: RelayId,
    cipher: Cipher,
    onion: &AgreeSecret,
    request: &[u8; REQUEST_SIZE],
    ephemeral: AgreeSecret,
    kem_seed: Secret<32>,
) -> Result<([u8; REPLY_SIZE], LayerKeys), HandshakeError> {
    let parsed = HandshakeRequest::decode(request)?;
    let hop = HopKey { relay, onion_key: onion.public(), cipher };
    // spec: HS-4
    if parsed.onion_key != hop.onion_key {
        return Err(HandshakeError::WrongOnionKey);
    }
    // spec: HS-5
    let shared = ephemeral.agree(&parsed.share).map_err(|_| HandshakeError::BadPublicKey)?;
    let with_onion = onion.agree(&parsed.share).map_err(|_| HandshakeError::BadPublicKey)?;
    let (ciphertext, kem) =
        encapsulate(&parsed.kem_key, *kem_seed.expose()).map_err(|_| HandshakeError::BadPublicKey)?;
    let share = ephemeral.public();
    let derived = derive(network, &hop, request, (&share, &ciphertext), parsed.position, [&shared, &with_onion, &kem]);
    let reply =
        HandshakeReply { share, kem_ciphertext: Box::new(ciphertext), authenticator: *derived.authenticator.expose() };
    Ok((reply.encode(), derived.keys))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting() -> (NetworkId, AgreeSecret, HopKey, Rng) {
        let onion = AgreeSecret::from_bytes([8; 32]);
        let hop = HopKey { relay: RelayId([2; 32]), onion_key: onion.public(), cipher: Cipher::Aes256Gcm };
        (NetworkId([1; 32]), onion, hop, Rng::from_seed([3; 32]))
    }

    // spec: HS-3
    #[test]
    fn client_and_relay_agree_on_both_keys() {
        let (net, onion, hop, mut rng) = setting();
        let client = ClientHandshake::start(net, hop, 2, &mut rng);
        let (reply, relay) = respond(&net, hop.relay, hop.cipher, &onion, client.request(), &mut rng).unwrap();
        let keys = client.finish(&reply).unwrap();
        assert!(keys.forward == relay.forward && keys.backward == relay.backward && keys.forward != keys.backward);
        assert_eq!((keys.position, relay.position), (2, 2));
    }

    // spec: HS-6
    #[test]
    fn every_changed_byte_of_a_reply_is_noticed() {
        let (net, onion, hop, mut rng) = setting();
        for at in 0..REPLY_SIZE {
            if (40..1100).contains(&at) && at % 53 != 0 {
                continue; // The ciphertext's bytes are alike; every 53rd speaks for them.
            }
            let client = ClientHandshake::start(net, hop, 1, &mut rng);
            let (mut reply, _) = respond(&net, hop.relay, hop.cipher, &onion, client.request(), &mut rng).unwrap();
            reply[at] ^= 1;
            assert!(client.finish(&reply).is_err(), "byte {at}");
        }
    }

    // spec: HS-3 HS-6
    #[test]
    fn network_relay_cipher_and_position_are_bound() {
        let (net, onion, hop, mut rng) = setting();
        let cases = [
            (NetworkId([9; 32]), hop.relay, hop.cipher),
            (net, RelayId([9; 32]), hop.cipher),
            (net, hop.relay, Cipher::ChaCha20Poly1305),
        ];
        for (net2, relay2, cipher2) in cases {
            let client = ClientHandshake::start(net, hop, 1, &mut rng);
            let (reply, _) = respond(&net2, relay2, cipher2, &onion, client.request(), &mut rng).unwrap();
            assert_eq!(client.finish(&reply).err(), Some(HandshakeError::BadAuthenticator));
        }
        let client = ClientHandshake::start(net, hop, 1, &mut rng);
        let mut moved = *client.request();
        moved[1] = 2;
        let (reply, _) = respond(&net, hop.relay, hop.cipher, &onion, &moved, &mut rng).unwrap();
        assert_eq!(client.finish(&reply).err(), Some(HandshakeError::BadAuthenticator));
    }

    // spec: HS-1 HS-2 HS-4 HS-5
    #[test]
    fn a_relay_refuses_what_no_client_sends() {
        let (net, onion, hop, mut rng) = setting();
        let good = *ClientHandshake::start(net, hop, 1, &mut rng).request();
        let mut respond_to = |change: &dyn Fn(&mut [u8; REQUEST_SIZE])| {
            let mut request = good;
            change(&mut request);
            respond(&net, hop.relay, hop.cipher, &onion, &request, &mut rng).err()
        };
        assert_eq!(respond_to(&|r| r[0] = 2), Some(HandshakeError::Malformed(Malformed::UnknownKind)));
        assert_eq!(respond_to(&|r| r[1] = 0), Some(HandshakeError::Malformed(Malformed::OutOfRange)));
        assert_eq!(respond_to(&|r| r[1] = 7), Some(HandshakeError::Malformed(Malformed::OutOfRange)));
        assert_eq!(respond_to(&|r| r[2] ^= 1), Some(HandshakeError::WrongOnionKey));
        assert_eq!(respond_to(&|r| r[34..66].fill(0)), Some(HandshakeError::BadPublicKey));
        assert_eq!(respond_to(&|r| r[66..].fill(0xff)), Some(HandshakeError::BadPublicKey));
        assert_eq!(respond_to(&|_| ()), None);
    }
}
