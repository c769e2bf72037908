//! What content costs its publisher and its reader, beside the network.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use umbel::base::secret::Secret;
use umbel::proto::content::block::{address, check, open_leaf, seal_leaf};
use umbel::proto::content::tree::{KeyChoice, Label, Tree};
use umbel::wire::content::LEAF_DATA;

fn main() {
    divan::main();
}

fn key() -> Secret<32> {
    Secret::new([6; 32])
}

#[divan::bench]
fn block_sealed(bencher: Bencher<'_, '_>) {
    let data = vec![5; LEAF_DATA];
    bencher.counter(BytesCount::of_slice(&data)).bench_local(|| seal_leaf(&key(), 1, black_box(&data)));
}

#[divan::bench]
fn block_checked_and_opened(bencher: Bencher<'_, '_>) {
    let block = seal_leaf(&key(), 1, &vec![5; LEAF_DATA]);
    let name = address(&block);
    bencher
        .counter(BytesCount::of_slice(&block))
        .with_inputs(|| block.clone())
        .bench_local_values(|block| check(&name, &block).is_ok() && open_leaf(&key(), 1, block, LEAF_DATA).is_ok());
}

#[divan::bench]
fn block_hashed(bencher: Bencher<'_, '_>) {
    let block = vec![5; 65_536];
    bencher.counter(BytesCount::of_slice(&block)).bench_local(|| address(black_box(&block)));
}

/// Sealing and hashing of 16 MiB into a tree.
#[divan::bench(sample_count = 10)]
fn tree_of_16_mib(bencher: Bencher<'_, '_>) {
    let data = vec![5; 16 << 20];
    bencher.counter(BytesCount::of_slice(&data)).bench_local(|| {
        let label = Label::file("name", "text/plain");
        Tree::build(&mut &data[..], label, KeyChoice::Random(key())).is_ok()
    });
}
