//! Custodians that are full, damaged, or lie.

use super::{failed, nothing_at};
use crate::harness::{COMMAND_MAX, Net, RelayNode, noise, text, until};
use std::fs;
use std::path::Path;
use std::time::Duration;
use umbel::host::store::DiskStore;
use umbel::proto::content::store::BlockStore;

#[test]
fn a_full_store_refuses_what_has_no_room_and_keeps_what_it_has() {
    let net = Net::start(5, &["--store", "2M"]);
    let client = net.client("client");
    let (small, large) = (net.home().join("small"), net.home().join("large"));
    fs::write(&small, noise(1, 300_000)).unwrap();
    fs::write(&large, noise(2, 4_000_000)).unwrap();
    let first = client.umbel(COMMAND_MAX, &["put", &text(&small)]).ok().json();
    failed(&client.umbel(Duration::from_secs(100), &["put", &text(&large)]), 8, "store-full", "");
    let out = net.home().join("out");
    client.umbel(COMMAND_MAX, &["get", first["link"].as_str().unwrap(), "-o", &text(&out)]).ok();
    assert!(fs::read(&out).unwrap() == noise(1, 300_000), "what was there is still there");
    for relay in &net.relays {
        let store = relay.status()["store"].clone();
        assert!(store["used"].as_u64() <= store["cap"].as_u64(), "{store}");
        let on_disk = fs::metadata(relay.dir().join("store/blocks")).map_or(0, |m| m.len());
        assert!(on_disk <= 2 << 20, "{on_disk} bytes on disk");
    }
    client.umbel(COMMAND_MAX, &["put", &text(&small)]).ok();
}

/// Changes a byte of every block but the root, and has the store's own records agree: this is a custodian that lies.
fn make_it_lie(relay: &mut RelayNode) {
    relay.process().kill();
    let mut store = DiskStore::open(&relay.dir().join("store"), 1 << 30, None).unwrap();
    let (object, record) = store.next(None).expect("the object");
    assert!(record.complete() && record.blocks > 2);
    let names = store.names(&object, 1, record.blocks as usize).unwrap();
    let blocks: Vec<_> = (0..record.blocks).map(|n| store.read(&object, n).unwrap().expect("a block")).collect();
    store.remove(&object).unwrap();
    store.flush().unwrap();
    store.set_record(&object, &record).unwrap();
    store.set_names(&object, &names).unwrap();
    for (n, mut block) in (0..).zip(blocks) {
        if n > 0 {
            block[1000] ^= 1;
        }
        store.write(&object, n, &block).unwrap();
    }
    store.flush().unwrap();
    drop(store);
    relay.restart();
}

/// Changes bytes on the disk while the relay does not look.
fn damage(relay: &mut RelayNode) {
    relay.process().kill();
    let blocks = relay.dir().join("store/blocks");
    let mut bytes = fs::read(&blocks).unwrap();
    bytes.iter_mut().step_by(997).for_each(|b| *b ^= 1);
    fs::write(&blocks, bytes).unwrap();
    relay.restart();
}

// spec: CONT-23
#[test]
fn what_a_custodian_changed_is_never_handed_on() {
    let mut net = Net::start(5, &[]);
    let client = net.client("client");
    let content = noise(4, 700_000);
    let file = net.home().join("file");
    fs::write(&file, &content).unwrap();
    let put = client.umbel(COMMAND_MAX, &["put", &text(&file)]).ok().json();
    assert_eq!(put["copies"], 5);
    let link = put["link"].as_str().unwrap().to_owned();
    let get = |out: &Path| client.umbel(Duration::from_secs(100), &["get", &link, "-o", &text(out)]);

    for n in 0..4 {
        make_it_lie(&mut net.relays[n]);
    }
    for n in 0..3 {
        let out = net.home().join(format!("out-{n}"));
        get(&out).ok();
        assert!(fs::read(&out).unwrap() == content, "one honest custodian of five is enough");
    }

    make_it_lie(&mut net.relays[4]);
    let out = net.home().join("false");
    failed(&get(&out), 6, "tampered", "");
    assert!(!out.exists(), "nothing false stands where the file is expected");
    let part = fs::read(net.home().join("false.part")).unwrap_or_default();
    assert!(content.starts_with(&part), "what was written before is true");
}

#[test]
fn a_custodian_whose_disk_is_damaged_gets_a_good_copy_again() {
    let mut net = Net::start(5, &[]);
    let client = net.client("client");
    let content = noise(5, 700_000);
    let file = net.home().join("file");
    fs::write(&file, &content).unwrap();
    let put = client.umbel(COMMAND_MAX, &["put", &text(&file)]).ok().json();
    let link = put["link"].as_str().unwrap().to_owned();
    let out = net.home().join("out");
    let get = || client.umbel(Duration::from_secs(100), &["get", &link, "-o", &text(&out)]);
    for n in 0..4 {
        damage(&mut net.relays[n]);
    }
    until("fetches from every custodian", Duration::from_secs(100), || {
        get().ok();
        assert!(fs::read(&out).unwrap() == content);
        fs::remove_file(&out).unwrap();
        let root = put["root"].as_str().unwrap();
        let lookup = client.umbel(COMMAND_MAX, &["lookup", root]).ok().json();
        lookup["holding"] == 5
    });
    nothing_at(&out);
}
