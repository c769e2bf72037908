//! What a relay's directory costs at 20,000 and 100,000 relays: its table, a cut, a comparison, the roster, in memory and time; and
//! what spreading records and reports takes on the wire, by the encoders themselves.
//!
//! ```sh
//! cargo bench --bench directory
//! ```

#![allow(clippy::disallowed_methods, reason = "it measures")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use umbel::base::time::{Duration, UnixMs};
use umbel::crypto::aead::Cipher;
use umbel::crypto::identity::IdentityKey;
use umbel::crypto::work::Work;
use umbel::proto::directory::records::Records;
use umbel::proto::directory::sketch::difference;
use umbel::proto::directory::snapshot::Snapshot;
use umbel::proto::profile::Profile;
use umbel::proto::stream::call::frame;
use umbel::role::contact::Contact;
use umbel::wire::cell::{BODY_SIZE, CELL_SIZE};
use umbel::wire::descriptor::{Descriptor, SignedDescriptor};
use umbel::wire::directory::{DirectoryAnswer, DirectoryRequest, Sum};
use umbel::wire::ids::NetworkId;

const NETWORK: NetworkId = NetworkId([9; 32]);
const P: &Profile = &Profile::TESTING;
const CUT: UnixMs = UnixMs(1_700_000_000_000);

fn record(i: u32, published: UnixMs) -> Arc<SignedDescriptor> {
    let mut seed = [7; 32];
    seed[..4].copy_from_slice(&i.to_be_bytes());
    let key = IdentityKey::from_bytes(seed);
    let [a, b, c, d] = (0x0a00_0000 + i).to_be_bytes();
    let description = Descriptor {
        network: NETWORK,
        identity: key.public(),
        work: Work::NONE,
        published,
        lifetime_s: 60,
        link_key: seed,
        onion_key: seed,
        cipher: Cipher::Aes256Gcm,
        exit: false,
        store: true,
        family: None,
        membership: None,
        addrs: vec![([a, b, c, d], 9000).into()],
    };
    Arc::new(SignedDescriptor::sign(description, &key))
}

/// Bytes of this process that lie in memory.
fn memory() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|n| n.parse::<f64>().ok()).unwrap_or_default() * 4096.0 / 1e6
}

fn timed<T>(what: &str, act: impl FnOnce() -> T) -> T {
    let (start, before) = (Instant::now(), memory());
    let result = act();
    println!("  {what:<58} {:>9.1} ms {:>8.1} MB", start.elapsed().as_secs_f64() * 1e3, memory() - before);
    result
}

fn tables(n: u32) {
    println!("{n} relays");
    let published = CUT.minus(Duration::from_secs(5));
    let records: Vec<_> = timed("records, made and signed", || (0..n).map(|i| record(i, published)).collect());
    let mut table = Records::new(NETWORK, P);
    table.advance(CUT);
    timed("taken into the table, verified before", || records.iter().for_each(|r| drop(table.take(r.clone(), CUT))));
    timed("verification of a thousand", || {
        let rules = P.descriptor_rules(NETWORK);
        records.iter().take(1000).for_each(|r| drop(SignedDescriptor::decode(r.bytes(), &rules)));
    });
    let set = timed("a cut: settled, with its root", || Snapshot::settle(table.all(), CUT, P, NETWORK));
    timed("the table after the cut", || table.advance(CUT.plus(Duration::from_secs(1))));
    timed("the roster of the shards", || {
        let roster: BTreeMap<_, _> = table.valid(CUT).map(|r| (r.id(), Contact::from(&**r))).collect();
        Arc::new(roster)
    });
    timed("ids of all that can be called", || table.valid(CUT).map(|r| r.id()).collect::<Vec<_>>());
    timed("custodians of a key", || set.custodians(&[5; 32], 12));
    timed("a sketch under another salt", || table.set_salt(7));
    let (theirs, salt) = (table.sketch().sums(0, 256).to_vec(), table.sketch().salt());
    timed("a comparison that finds 100 differences", || {
        let found = difference(&theirs, salt, table.tags(0).skip(100));
        assert_eq!(found.map(|d| d.theirs.len()), Some(100));
    });
}

/// What one exchange takes on the wire, both ways: cells with the records and the packets around them.
fn wire(body: usize) -> f64 {
    // Mark, tag, and the header of one message.
    let room = BODY_SIZE - 8 - 16 - 5;
    let cells = frame(&vec![0; body]).len().div_ceil(room);
    // A record has two tags and a count, a packet 52 bytes of headers; a small write is both alone.
    (cells * (CELL_SIZE + 33) + cells.div_ceil(16) * 52) as f64
}

fn gossip(n: f64, refresh_h: f64, report: usize) {
    let cut = if n > 20_000.0 { 3.0 * 3600.0 } else { (3.6 * n).clamp(30.0, 3600.0) };
    let gather = (cut / 100.0).clamp(0.02, 60.0);
    let record = record(1, CUT).bytes().len();
    let (records, reports) = (n / (refresh_h * 3600.0), if report > 0 { n / cut } else { 0.0 });
    let (news, bytes) = ((records + reports) * gather, (records * record as f64 + reports * report as f64) * gather);
    let peers = 5.0;
    let announce = wire(DirectoryRequest::Announce(vec![0; news.ceil() as usize]).encode().len());
    let wanted = wire(DirectoryAnswer::Wanted(vec![0; (news / 8.0).ceil() as usize]).encode().len());
    // Each is brought once on average, by one of the peers that announce it.
    let brought = peers * wire((bytes / peers) as usize + 1) + peers * wire(7);
    let sums = vec![Sum::default(); (news * 1.5).max(48.0) as usize];
    let compare = wire(5) + wire(DirectoryAnswer::Sums { salt: 0, items: 0, from: 0, sums }.encode().len());
    let round = gather.max(30.0);
    // One of four comparisons is with a stranger: a link, its proof, a circuit, BEGIN, and their ends.
    let stranger = (1256.0 + 1164.0 + 104.0 + 6.0 * wire(1)) / 4.0;
    let all = (peers * (announce + wanted) + brought) / gather + (compare + stranger) / round;
    println!(
        "  {n:>7} relays, a record each {refresh_h:>4} h, reports of {report:>3} bytes: cut {cut:>6.0} s, {news:>6.1} news in {gather:>5.2} s: {:>6.2} kbit/s sent, \
         of which {:.2} are the news themselves",
        all * 8.0 / 1000.0,
        bytes / gather * 8.0 / 1000.0
    );
}

fn main() {
    // `cargo test` runs benchmarks as well, to see that they start.
    if !std::env::args().any(|a| a == "--bench") {
        return tables(100);
    }
    for n in [20_000, 100_000] {
        tables(n);
    }
    println!("gossip of one relay");
    for n in [100.0, 1_000.0, 10_000.0, 100_000.0] {
        for (refresh, report) in [(12.0, 0), (12.0, 110), (168.0, 110)] {
            gossip(n, refresh, report);
        }
    }
}
