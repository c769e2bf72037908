//! What a link and a circuit's hop cost to set up, at either end.

use divan::{Bencher, black_box};
use std::sync::Arc;
use umbel::base::rng::Rng;
use umbel::base::time::{Instant, Now, UnixMs};
use umbel::crypto::aead::Cipher;
use umbel::crypto::agree::{AgreeSecret, KemSecret, encapsulate};
use umbel::proto::handshake::{ClientHandshake, HopKey, respond};
use umbel::proto::link::Link;
use umbel::wire::ids::{NetworkId, RelayId};

const NETWORK: NetworkId = NetworkId([1; 32]);
const NOW: Now = Now { mono: Instant(0), unix: UnixMs(0) };
const CIPHER: Cipher = Cipher::Aes256Gcm;

fn main() {
    divan::main();
}

fn rng() -> Rng {
    Rng::from_seed([5; 32])
}

/// What a node does before anything else (KEY-6).
#[divan::bench]
fn self_test(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| umbel::crypto::self_test().is_ok());
}

#[divan::bench]
fn x25519_agree(bencher: Bencher<'_, '_>) {
    let (a, b) = (AgreeSecret::from_bytes([1; 32]), AgreeSecret::from_bytes([2; 32]).public());
    bencher.bench_local(|| a.agree(black_box(&b)).is_ok());
}

#[divan::bench]
fn x25519_new_share(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| AgreeSecret::from_bytes(black_box([1; 32])).public());
}

#[divan::bench]
fn kem_encapsulate(bencher: Bencher<'_, '_>) {
    let kem = KemSecret::generate([3; 64]);
    bencher.bench_local(|| encapsulate(black_box(kem.public()), [4; 32]).is_ok());
}

#[divan::bench]
fn kem_generate(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| KemSecret::generate(black_box([3; 64])));
}

#[divan::bench]
fn link_initiator_first_message(bencher: Bencher<'_, '_>) {
    let (mut rng, key) = (rng(), AgreeSecret::from_bytes([2; 32]).public());
    bencher.bench_local(|| Link::initiator(NETWORK, black_box(&key), CIPHER, &mut rng));
}

#[divan::bench]
fn link_responder(bencher: Bencher<'_, '_>) {
    let (mut rng, secret) = (rng(), Arc::new(AgreeSecret::from_bytes([2; 32])));
    let mut message = Vec::new();
    let mut initiator = Link::initiator(NETWORK, &secret.public(), CIPHER, &mut rng);
    initiator.transmit(NOW, &mut message, &mut |_| false);
    bencher.bench_local(|| {
        let mut link = Link::responder(NETWORK, secret.clone(), CIPHER, &mut rng);
        link.receive(NOW, &mut message.clone(), &mut |_| true).is_ok()
    });
}

fn hop(onion: &AgreeSecret) -> HopKey {
    HopKey { relay: RelayId([2; 32]), onion_key: onion.public(), cipher: CIPHER }
}

#[divan::bench]
fn circuit_client_request(bencher: Bencher<'_, '_>) {
    let (mut rng, hop) = (rng(), hop(&AgreeSecret::from_bytes([8; 32])));
    bencher.bench_local(|| ClientHandshake::start(NETWORK, hop, 1, &mut rng));
}

#[divan::bench]
fn circuit_relay_reply(bencher: Bencher<'_, '_>) {
    let (mut rng, onion) = (rng(), AgreeSecret::from_bytes([8; 32]));
    let hop = hop(&onion);
    let client = ClientHandshake::start(NETWORK, hop, 1, &mut rng);
    bencher.bench_local(|| respond(&NETWORK, hop.relay, CIPHER, &onion, client.request(), &mut rng).is_ok());
}

#[divan::bench]
fn circuit_client_finish(bencher: Bencher<'_, '_>) {
    let (mut rng, onion) = (rng(), AgreeSecret::from_bytes([8; 32]));
    let hop = hop(&onion);
    bencher
        .with_inputs(|| {
            let client = ClientHandshake::start(NETWORK, hop, 1, &mut rng);
            let reply = respond(&NETWORK, hop.relay, CIPHER, &onion, client.request(), &mut rng);
            (client, reply.expect("an honest client").0)
        })
        .bench_local_values(|(client, reply)| client.finish(&reply).is_ok());
}
