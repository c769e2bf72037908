//! The relay's per-cell path alone, for callgrind: see `instructions.sh`.
//!
//! Its argument is the number of circuits whose cells come in turns. Prints how many cells went each way, so that the script can divide.

mod relay;

use umbel::crypto::aead::Cipher;

/// Cells given at once: what one read of 64 KiB holds.
const BATCH: usize = 46;
const BATCHES: usize = 40;

fn main() {
    let circuits = std::env::args().nth(1).and_then(|n| n.parse().ok()).expect("a number of circuits");
    let mut setting = relay::Setting::new(Cipher::Aes256Gcm, circuits);
    let mut out = Vec::with_capacity(1 << 18);
    for _ in 0..BATCHES {
        let mut bytes = setting.forward(BATCH);
        out.clear();
        setting.relay_forward(&mut bytes, &mut out);
        assert_eq!(out.len(), bytes.len(), "every cell went on");
        let mut bytes = setting.backward(BATCH);
        out.clear();
        setting.relay_backward(&mut bytes, &mut out);
        assert_eq!(out.len(), bytes.len(), "every cell went back");
    }
    println!("{}", BATCH * BATCHES);
}
