//! What single observers see: no relay both ends, no line more than sizes, no circuit two identities.

use crate::seeds;
use crate::transfer::{MINUTE, served};
use std::collections::{BTreeMap, BTreeSet};
use umbel::base::time::Duration;
use umbel::role::client::CircuitPurpose;
use umbel::sim::path::Path;
use umbel::sim::world::{Shape, World, peers, task};
use umbel::wire::cell::CELL_SIZE;
use umbel::wire::link::{MESSAGE_1_SIZE, MESSAGE_2_SIZE, RECORD_CELLS_MAX};

/// A world in which eight people's worth of transfers has run.
fn busy(seed: u64) -> World {
    let shape = Shape { relays: 9, exits: 3, shards: 2, spares: 2, ..Shape::SMALL };
    let mut w = World::with(
        seed,
        shape,
        |net| {
            net.set_path(Path::WAN.losing(50));
            net.watch();
        },
        |_, _| None,
    );
    for n in 0..24u8 {
        let send = if n % 2 == 0 { b"GET 30000\n".to_vec() } else { [b"ECHO\n", &served(20_000)[..]].concat() };
        w.start(task(n % 8, &send, true));
        w.net.run_for(Duration::from_millis(30));
    }
    w
}

// spec: CIRC-2
#[test]
fn no_relay_sees_both_ends() {
    seeds("no_relay_sees_both_ends", 3, |seed| {
        let mut w = busy(seed);
        assert!(w.run(MINUTE), "in time");
        w.net.run_for(MINUTE);
        let peers = peers(&w.net);
        for relay in &w.relays {
            let of: BTreeSet<_> = peers.get(&relay.host).into_iter().flatten().collect();
            assert!(!(of.contains(&w.user_host) && of.contains(&w.web_host)), "{} sees both", w.net.name(relay.host));
        }
        let entries: BTreeSet<_> = peers[&w.user_host].iter().collect();
        assert_eq!(entries, BTreeSet::from([&w.relays[0].host]), "the client talks to its guard alone");
        let exits: BTreeSet<_> = peers[&w.web_host].iter().copied().collect();
        let of_exits: BTreeSet<_> = w.relays.iter().filter(|r| r.config.exit.is_some()).map(|r| r.host).collect();
        assert!(exits.is_subset(&of_exits), "the web server sees exits alone");
    });
}

/// Whether `len` bytes are whole records: `17 + n × 1408 + 16` each, with 1 to 16 cells.
fn is_records(len: usize) -> bool {
    let cells = len / CELL_SIZE;
    let rest = len % CELL_SIZE;
    let records = rest / 33;
    rest.is_multiple_of(33) && records <= cells && cells <= records * RECORD_CELLS_MAX
}

// spec: CELL-1 LINK-2
#[test]
fn a_line_shows_handshakes_and_whole_records_and_nothing_else() {
    seeds("a_line_shows_handshakes_and_whole_records_and_nothing_else", 3, |seed| {
        assert!(is_records(1441) && is_records(22_561) && !is_records(1408) && !is_records(1442));
        let mut w = busy(seed);
        assert!(w.run(MINUTE), "in time");
        w.net.run_for(Duration::from_secs(30));
        let mut first: BTreeMap<_, usize> = BTreeMap::new();
        let mut records = 0;
        for x in w.net.writes().iter().filter(|x| x.from != w.web_host && x.to != w.web_host) {
            let mut len = x.len;
            // The first write each way begins with the handshake's message.
            if let std::collections::btree_map::Entry::Vacant(place) = first.entry((x.tcp, x.from)) {
                let opened = w.net.writes().iter().find(|y| y.tcp == x.tcp).is_some_and(|y| y.from == x.from);
                let size = if opened { MESSAGE_1_SIZE } else { MESSAGE_2_SIZE };
                assert!(len >= size, "{len} bytes in the first write");
                place.insert(len);
                len -= size;
            }
            assert!(is_records(len), "a write of {len} bytes from {}", w.net.name(x.from));
            records += len / CELL_SIZE;
        }
        assert!(records > 1000, "{records} cells were seen");
    });
}

// spec: CLIENT-15
#[test]
fn two_identities_never_share_a_circuit() {
    seeds("two_identities_never_share_a_circuit", 3, |seed| {
        let mut w = busy(seed);
        let mut of: BTreeMap<u64, BTreeSet<CircuitPurpose>> = BTreeMap::new();
        for _ in 0..400 {
            {
                let user = w.user.get();
                let streams: BTreeMap<_, _> =
                    user.client.streams().into_iter().filter_map(|s| Some((s.id, s.circuit?))).collect();
                for t in user.transfers() {
                    if let Some(circuit) = streams.get(&t.key.to_u64()) {
                        of.entry(*circuit).or_default().insert(t.task.purpose);
                    }
                }
            }
            w.net.run_for(Duration::from_millis(5));
        }
        assert!(of.len() >= 8, "{} circuits carried streams", of.len());
        assert!(of.values().all(|wants| wants.len() == 1), "{of:?}");
    });
}

#[test]
fn the_guard_stays_whatever_else_changes() {
    seeds("the_guard_stays_whatever_else_changes", 2, |seed| {
        let mut w = busy(seed);
        for n in 0..20u8 {
            w.start(task(100 + n, b"GET 2000\n", false));
            w.net.run_for(Duration::from_secs(45));
        }
        let guard = w.relays[0].host;
        let dialled: Vec<_> = w.net.dials().iter().filter(|(from, _)| *from == w.user_host).collect();
        assert!(dialled.iter().all(|(_, to)| *to == guard));
        assert_eq!(dialled.len(), 1, "one link carries all circuits");
    });
}
