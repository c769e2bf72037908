//! Links that carry nothing, and how silent those may be that carry something.

use super::{CIPHER, CIRCUIT, Client, NET, Peer, Rig, key, written};
use umbel::base::time::Duration;
use umbel::proto::link::Link;
use umbel::role::Role;
use umbel::wire::cell::{Cell, DestroyReason};

// spec: LINK-20 LINK-33 LINK-34
#[test]
fn links_that_do_not_open_or_carry_nothing_are_closed() {
    let mut rig = Rig::new(None);
    let conn = rig.relay.accept(rig.now, std::net::Ipv4Addr::LOCALHOST.into()).unwrap();
    let silent = Link::initiator(NET, &key(10).public(), CIPHER, &mut rig.rng);
    rig.peers.insert(conn, Peer { link: silent, heard: vec![], closed: false });
    rig.wait(Duration::from_millis(9_990));
    assert!(!rig.peers[&conn].closed);
    rig.wait(Duration::from_millis(20));
    assert!(rig.peers[&conn].closed, "no handshake in 10 s");

    let idle = rig.connect();
    rig.wait(Duration::from_secs(89));
    assert!(!rig.peers[&idle].closed && rig.heard(idle).is_empty(), "an idle link is not padded");
    rig.wait(Duration::from_secs(10));
    assert_eq!(rig.heard(idle), [written(Cell::Close)], "no circuit in 90 s");
    // A CREATE that crossed the CLOSE counts, and the link goes on as if nobody had asked.
    let client = Client::new(&mut rig, idle);
    rig.wait(Duration::from_secs(20));
    assert!(!rig.peers[&idle].closed && rig.relay.counts().circuits == 1);
    rig.send(idle, &[written(Cell::Destroy(CIRCUIT, DestroyReason::None))]);
    drop(client);
    rig.heard(idle);
    rig.wait(Duration::from_secs(95));
    assert_eq!(rig.heard(idle), [written(Cell::Close)], "asked once more");
    rig.wait(Duration::from_secs(11));
    assert!(rig.peers[&idle].closed, "who does not close is closed");
}

// spec: LINK-22 LINK-25 LINK-35
#[test]
fn a_link_that_is_not_padded_is_probed_and_given_up_late() {
    let mut rig = Rig::new(None);
    let conn = rig.connect();
    rig.send(conn, &[written(Cell::PaddingNegotiate(false))]);
    let _client = Client::new(&mut rig, conn);
    rig.heard(conn);
    rig.wait(Duration::from_secs(170));
    assert!(rig.heard(conn).is_empty(), "nothing fills its silences");
    rig.wait(Duration::from_secs(71));
    assert_eq!(rig.heard(conn), [written(Cell::Padding)], "but for a sign of life");
    rig.send(conn, &[written(Cell::PaddingNegotiate(true))]);
    rig.wait(Duration::from_secs(20));
    assert!(rig.heard(conn).len() >= 2, "from now on it is padded");
    rig.wait(Duration::from_secs(11));
    assert!(rig.peers[&conn].closed, "and its peer must not be silent");
}

// spec: LINK-22 CELL-1
#[test]
fn a_link_with_circuits_is_never_silent_for_long() {
    let mut rig = Rig::new(None);
    let conn = rig.connect();
    let _client = Client::new(&mut rig, conn);
    let (mut silence, mut silences) = (Duration::ZERO, Vec::new());
    while silences.len() < 40 {
        rig.wait(Duration::from_millis(100));
        silence += Duration::from_millis(100);
        // The other end pads as well: a link on which nothing arrives would be given up.
        rig.send(conn, &[written(Cell::Padding)]);
        assert!(silence <= Duration::from_secs(11), "silent for {silence:?}");
        if rig.heard(conn).iter().any(|c| Cell::decode(c) == Ok(Cell::Padding)) {
            silences.push(silence);
            silence = Duration::ZERO;
        }
    }
    assert!(silences.iter().all(|s| *s >= Duration::from_millis(1400)), "{silences:?}");
    silences.dedup();
    assert!(silences.len() > 20, "the times are drawn: {silences:?}");
}
