//! What a cell costs: its codec, its layers, its record, and its whole way through a relay in memory.

mod relay;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use umbel::base::rng::Rng;
use umbel::base::secret::Secret;
use umbel::base::time::{Instant, Now, UnixMs};
use umbel::crypto::aead::Cipher;
use umbel::crypto::agree::AgreeSecret;
use umbel::proto::handshake::LayerKeys;
use umbel::proto::link::Link;
use umbel::proto::onion::{ClientLayers, RelayLayer, text_mut};
use umbel::wire::cell::{BODY_SIZE, CELL_SIZE, Cell, CellBuf, CircuitId};
use umbel::wire::ids::NetworkId;
use umbel::wire::message::{Message, Messages, StreamId, TextWriter};

const CIPHERS: [Cipher; 2] = [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305];
const NOW: Now = Now { mono: Instant(0), unix: UnixMs(0) };

fn main() {
    divan::main();
}

#[divan::bench]
fn cell_codec(bencher: Bencher<'_, '_>) {
    let body = [9; BODY_SIZE];
    let mut buf = [0; CELL_SIZE];
    bencher.counter(BytesCount::of_slice(&body)).bench_local(|| {
        Cell::Relay(CircuitId(5), &body).encode(black_box(&mut buf));
        black_box(Cell::decode(black_box(&buf))).is_ok()
    });
}

#[divan::bench]
fn text_codec(bencher: Bencher<'_, '_>) {
    let mut text = [0; 1344];
    let data = [7; 1300];
    bencher.counter(BytesCount::of_slice(&data)).bench_local(|| {
        let mut w = TextWriter::new(&mut text);
        w.push(StreamId::CIRCUIT, &Message::Ack([1; 16]));
        w.push_data(StreamId(3), &data, &[]);
        w.finish();
        let mut walk = Messages::new(black_box(&text));
        while let Ok(Some(message)) = walk.next() {
            black_box(&message);
        }
    });
}

fn keys(cipher: Cipher, position: u8) -> LayerKeys {
    LayerKeys { position, cipher, forward: Secret::new([position; 32]), backward: Secret::new([position + 8; 32]) }
}

#[divan::bench(args = CIPHERS)]
fn one_layer_put_on(bencher: Bencher<'_, '_>, cipher: Cipher) {
    let mut layer = RelayLayer::new(&keys(cipher, 1));
    let mut body = [3; BODY_SIZE];
    bencher.counter(BytesCount::of_slice(&body)).bench_local(|| layer.originate(black_box(&mut body)));
}

#[divan::bench(args = CIPHERS)]
fn three_layers_put_on_by_the_client(bencher: Bencher<'_, '_>, cipher: Cipher) {
    let mut layers = ClientLayers::default();
    (1..=3).for_each(|p| layers.push(&keys(cipher, p)));
    let mut body = [3; BODY_SIZE];
    bencher.counter(BytesCount::of_slice(&body)).bench_local(|| layers.seal_for(2, black_box(&mut body)));
}

#[divan::bench(args = CIPHERS)]
fn three_layers_taken_off_by_the_client(bencher: Bencher<'_, '_>, cipher: Cipher) {
    let mut layers = ClientLayers::default();
    (1..=3).for_each(|p| layers.push(&keys(cipher, p)));
    let mut hops: Vec<_> = (1..=3).map(|p| RelayLayer::new(&keys(cipher, p))).collect();
    bencher
        .counter(BytesCount::new(BODY_SIZE))
        .with_inputs(|| {
            let (mut body, mut out) = ([0; BODY_SIZE], [0; BODY_SIZE]);
            text_mut(&mut body, 3).fill(1);
            hops[2].originate(&mut body);
            hops[1].wrap(&body, &mut out).expect("a clean tail");
            hops[0].wrap(&out, &mut body).expect("a clean tail");
            body
        })
        .bench_local_refs(|body| layers.open(body).is_ok());
}

/// An open link's two ends.
fn link(cipher: Cipher) -> (Link, Link) {
    let mut rng = Rng::from_seed([4; 32]);
    let (network, secret) = (NetworkId([1; 32]), std::sync::Arc::new(AgreeSecret::from_bytes(rng.bytes())));
    let mut a = Link::initiator(network, &secret.public(), cipher, &mut rng);
    let mut b = Link::responder(network, secret, cipher, &mut rng);
    let mut bytes = Vec::new();
    a.transmit(NOW, &mut bytes, &mut |_| false);
    b.receive(NOW, &mut bytes, &mut |_| true).expect("an honest peer");
    bytes.clear();
    b.transmit(NOW, &mut bytes, &mut |_| false);
    a.receive(NOW, &mut bytes, &mut |_| true).expect("an honest peer");
    (a, b)
}

fn record(link: &mut Link, out: &mut Vec<u8>) {
    out.clear();
    link.transmit(NOW, out, &mut |cell: &mut CellBuf| {
        cell[8] = 1;
        true
    });
}

#[divan::bench(args = CIPHERS)]
fn record_of_16_cells_sealed(bencher: Bencher<'_, '_>, cipher: Cipher) {
    let (mut a, _) = link(cipher);
    let mut out = Vec::new();
    bencher.counter(BytesCount::new(16 * CELL_SIZE)).bench_local(|| record(&mut a, black_box(&mut out)));
}

#[divan::bench(args = CIPHERS)]
fn record_of_16_cells_opened(bencher: Bencher<'_, '_>, cipher: Cipher) {
    let (mut a, mut b) = link(cipher);
    bencher
        .counter(BytesCount::new(16 * CELL_SIZE))
        .with_inputs(|| {
            let mut out = Vec::new();
            record(&mut a, &mut out);
            out
        })
        .bench_local_refs(|bytes| b.receive(NOW, bytes, &mut |cell| black_box(cell)[8] == 1).is_ok());
}

/// Record open, layer, queue, record seal: all that a relay does with 46 cells (64 KiB) but the two system calls.
#[divan::bench(args = CIPHERS)]
fn relay_forward_46_cells(bencher: Bencher<'_, '_>, cipher: Cipher) {
    relay_path(bencher, cipher, relay::Setting::forward, relay::Setting::relay_forward);
}

#[divan::bench(args = CIPHERS)]
fn relay_backward_46_cells(bencher: Bencher<'_, '_>, cipher: Cipher) {
    relay_path(bencher, cipher, relay::Setting::backward, relay::Setting::relay_backward);
}

fn relay_path(
    bencher: Bencher<'_, '_>,
    cipher: Cipher,
    prepare: fn(&mut relay::Setting, usize) -> Vec<u8>,
    pass: fn(&mut relay::Setting, &mut [u8], &mut Vec<u8>),
) {
    let setting = std::cell::RefCell::new(relay::Setting::new(cipher, 1));
    let mut out = Vec::with_capacity(1 << 18);
    bencher
        .counter(BytesCount::new(46 * CELL_SIZE))
        .with_inputs(|| prepare(&mut setting.borrow_mut(), 46))
        .bench_local_refs(|bytes| {
            out.clear();
            pass(&mut setting.borrow_mut(), bytes, &mut out);
        });
}
