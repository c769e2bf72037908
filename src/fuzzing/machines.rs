//! Targets with keys: the fuzzer cannot forge, so whatever is accepted is what the honest end sent.

use super::{NETWORK, padded};
use crate::base::rng::Rng;
use crate::base::secret::Secret;
use crate::base::time::{Instant, Now, UnixMs};
use crate::crypto::aead::Cipher;
use crate::crypto::agree::AgreeSecret;
use crate::proto::handshake::{ClientHandshake, HopKey, respond};
use crate::proto::link::Link;
use crate::wire::cell::CELL_SIZE;
use crate::wire::handshake::{HandshakeReply, HandshakeRequest, REPLY_SIZE, REQUEST_SIZE};
use crate::wire::ids::RelayId;
use crate::wire::link::{COUNT_SIZE, MESSAGE_2_SIZE, Payload1, Payload2};
use std::sync::Arc;

const NOW: Now = Now { mono: Instant(5), unix: UnixMs(1_700_000_000_123) };
const CIPHER: Cipher = Cipher::ChaCha20Poly1305;

/// An initiator and a responder that know each other, always the same.
pub(super) fn link_ends() -> (Link, Link) {
    let mut rng = Rng::from_seed([1; 32]);
    let secret = AgreeSecret::from_bytes([3; 32]);
    let initiator = Link::initiator(NETWORK, &secret.public(), CIPHER, &mut rng);
    (initiator, Link::responder(NETWORK, Arc::new(secret), CIPHER, &mut rng))
}

/// All that `link` has to say before there are cells.
pub(super) fn said(link: &mut Link) -> Vec<u8> {
    let mut out = Vec::new();
    link.transmit(NOW, &mut out, &mut |_| false);
    out
}

/// The honest two messages of [`link_ends`].
pub(super) fn link_messages() -> (Vec<u8>, Vec<u8>) {
    let (mut initiator, mut responder) = link_ends();
    let first = said(&mut initiator);
    let told = responder.receive(NOW, &mut first.clone(), &mut |_| true);
    assert_eq!(told, Ok(()), "an honest message 1");
    (first, said(&mut responder))
}

/// What an end of a link hears first (which end by the first byte), and the payloads in it.
pub fn link_handshake(bytes: &[u8]) {
    let Some((&which, heard)) = bytes.split_first() else { return };
    if let Ok(payload) = Payload1::decode(heard) {
        assert_eq!(payload.encode(), heard);
    }
    if let Ok(payload) = Payload2::decode(heard) {
        assert_eq!(payload.encode(), heard);
    }
    let (initiator, responder) = link_ends();
    let mut cells = 0;
    let mut hear = |mut link: Link| {
        let _ = said(&mut link);
        let told = link.receive(NOW, &mut heard.to_vec(), &mut |_| {
            cells += 1;
            true
        });
        (told, link)
    };
    if which & 1 == 0 {
        let (told, mut link) = hear(responder);
        assert_eq!(link.is_open(), link.wants_handshake_write());
        assert!(told.is_ok() || said(&mut link).is_empty(), "a refused peer is not answered");
        assert!(!link.is_open() || said(&mut link).len() == MESSAGE_2_SIZE);
    } else {
        let (_, link) = hear(initiator);
        // The message may be followed by a record's first bytes, but no part of one that could be opened.
        let honest = heard.strip_prefix(&link_messages().1[..]).is_some_and(|rest| rest.len() < COUNT_SIZE);
        assert!(!link.is_open() || honest, "a forged message 2");
    }
    assert_eq!(cells, 0, "nobody sealed a cell");
}

/// Records on a line that delivers in parts, changes bytes and loses them, as the script says: two bytes a step.
pub fn link_record(script: &[u8]) {
    let Some((&which, script)) = script.split_first() else { return };
    let cipher = if which & 1 == 0 { Cipher::Aes256Gcm } else { Cipher::ChaCha20Poly1305 };
    let keys = || [Secret::new([5; 32]), Secret::new([6; 32])];
    let mut from = Link::open_for_fuzzing(true, cipher, keys());
    let mut to = Link::open_for_fuzzing(false, cipher, keys());
    let (mut line, mut sent, mut got) = (Vec::new(), Vec::<u8>::new(), Vec::<u8>::new());
    let mut honest = true;
    let mut deliver = |part: &mut [u8]| {
        to.receive(NOW, part, &mut |cell| {
            got.push(cell[0]);
            cell.iter().all(|b| *b == cell[0])
        })
    };
    let mut outcome = Ok(());
    // More steps than this teach nothing new and slow the fuzzer down.
    for step in script.chunks_exact(2).take(64) {
        let amount = usize::from(step[1]);
        match step[0] % 4 {
            0 => {
                let mut left = amount % 18;
                from.transmit(NOW, &mut line, &mut |cell| {
                    if left == 0 {
                        return false;
                    }
                    left -= 1;
                    let tint = sent.len() as u8;
                    sent.push(tint);
                    cell.fill(tint);
                    true
                });
            }
            1 if !line.is_empty() => {
                let at = amount * 89 % line.len();
                line[at] ^= 1 << (amount % 8);
                honest = false;
            }
            2 => {
                let mut part: Vec<u8> = line.drain(..line.len().min(amount * CELL_SIZE / 16)).collect();
                outcome = outcome.and(deliver(&mut part));
            }
            3 if amount > 0 && !line.is_empty() => {
                line.drain(..line.len().min(amount));
                honest = false;
            }
            _ => {}
        }
    }
    outcome = outcome.and(deliver(&mut line));
    assert!(sent.starts_with(&got), "a cell that was not sent, or not then");
    assert!(!honest || (outcome.is_ok() && got == sent), "an honest line loses nothing");
}

/// The relay that the circuit handshake is with: its secret, and what a client knows of it.
fn hop() -> (AgreeSecret, HopKey) {
    let onion = AgreeSecret::from_bytes([8; 32]);
    let hop = HopKey { relay: RelayId([2; 32]), onion_key: onion.public(), cipher: CIPHER };
    (onion, hop)
}

/// A client in the middle of its handshake, always the same, and the relay's honest reply.
pub(super) fn circuit_messages() -> (ClientHandshake, Box<[u8; REPLY_SIZE]>) {
    let (onion, hop) = hop();
    let mut rng = Rng::from_seed([3; 32]);
    let client = ClientHandshake::start(NETWORK, hop, 2, &mut rng);
    let (reply, _) =
        respond(&NETWORK, hop.relay, hop.cipher, &onion, client.request(), &mut rng).expect("an honest request");
    (client, Box::new(reply))
}

/// A circuit request or reply (which of them by the first byte), filled up with zeros.
pub fn circuit_handshake(bytes: &[u8]) {
    let Some((&which, bytes)) = bytes.split_first() else { return };
    if which & 1 == 0 {
        let Some(mut request) = padded::<REQUEST_SIZE>(bytes) else { return };
        if let Ok(value) = HandshakeRequest::decode(&request) {
            assert_eq!(value.encode(), *request);
        }
        let (onion, hop) = hop();
        request[2..34].copy_from_slice(&hop.onion_key);
        let mut rng = Rng::from_seed([4; 32]);
        if let Ok((reply, keys)) = respond(&NETWORK, hop.relay, hop.cipher, &onion, &request, &mut rng) {
            assert_eq!(HandshakeReply::decode(&reply).map(|r| r.encode()), Ok(reply));
            assert_eq!(keys.position, request[1]);
        }
    } else {
        let Some(reply) = padded::<REPLY_SIZE>(bytes) else { return };
        if let Ok(value) = HandshakeReply::decode(&reply) {
            assert_eq!(value.encode(), *reply);
        }
        let (client, honest) = circuit_messages();
        assert!(client.finish(&reply).is_err() || reply == honest, "a forged reply");
    }
}
