//! Streams that leave: names, shares, what waits, and where nobody is let.

use super::*;
use crate::role::shard::ExitPlaces;

/// Opens a stream there and sends as much as the client was granted.
fn fill(rig: &mut Rig, id: u16, open: Message<'_>) {
    rig.say(&[(id, open)]);
    for _ in 0..218 {
        rig.say(&[(id, Message::Data(&[7; 1200]))]);
    }
}

/// Opens streams and lets their connections be made.
fn connect(rig: &mut Rig, streams: u16) -> Vec<ConnId> {
    for id in 1..=streams {
        rig.say(&[(id, to_web())]);
    }
    let conns = rig.dials();
    for &conn in &conns {
        rig.input(Input::Connected(conn));
    }
    conns
}

// spec: STREAM-28
#[test]
fn what_waits_for_a_circuit_s_destinations_is_bounded_wherever_they_are() {
    // To servers that take nothing, and to ones whose names have no answer yet.
    for open in [to_web(), to_host("silent.example")] {
        let mut rig = Rig::new();
        let name = format!("{open:?}");
        for id in 1..=200 {
            let open = if name.contains("silent") { to_host("silent.example") } else { to_web() };
            fill(&mut rig, id, open);
        }
        let unsent = rig.relay.state.look().unsent();
        assert!(unsent <= crate::role::limits::EXIT_UNSENT_PER_CIRCUIT_MAX, "{name}: {unsent}");
        assert!(unsent > 15 << 20, "{name}: a good part of the share is used: {unsent}");
        assert!(rig.heard.iter().any(|(_, m)| m.contains("Resource")), "{name}: the client hears why");
    }
}

// spec: STREAM-28
#[test]
fn who_holds_most_of_what_waits_gives_way_and_nobody_else() {
    let mut rig = Rig::new();
    rig.relay.set_limits(rig.now, Limits { exit_unsent: 8 << 20, ..Limits::default() });
    fill(&mut rig, 1, to_web());
    rig.on_another_circuit(CircuitId(8));
    // Many streams, each smaller than the honest one's.
    for id in 1..=60 {
        rig.say(&[(id, to_host("silent.example"))]);
        for _ in 0..200 {
            rig.say(&[(id, Message::Data(&[7; 1200]))]);
        }
    }
    assert!(rig.relay.state.look().unsent() <= 8 << 20);
    assert_eq!(rig.relay.counts().exits, 1, "the other circuit's stream goes on");
    let given_up = rig.outputs.iter().filter(|o| matches!(o, Output::GiveUpResolve(_))).count();
    assert!(given_up >= 25, "{given_up} streams of the largest holder made room");
    assert!(rig.outputs.iter().all(|o| !matches!(o, Output::Abort(_))));
}

// spec: STREAM-27
#[test]
fn silent_names_take_no_place_from_others() {
    let mut rig = Rig::new();
    rig.say(&[(1, to_host("good.example"))]);
    let good = rig.asks()[0];
    // A circuit that asks for more than its share loses its own oldest.
    rig.on_another_circuit(CircuitId(8));
    for id in 1..=400 {
        rig.say(&[(id, to_host("silent.example"))]);
    }
    let share = crate::role::limits::LOOKUPS_PER_CIRCUIT_MAX as u16;
    let given_up: Vec<_> = rig.outputs.iter().filter(|o| matches!(o, Output::GiveUpResolve(_))).collect();
    assert_eq!(given_up.len(), usize::from(400 - share));
    assert_eq!(rig.heard_of(1), ["End(Resource)"], "the oldest hears why");
    assert_eq!(rig.heard_of(400), Vec::<&str>::new(), "the newest waits for its answer");
    assert_eq!(rig.heard_of(401 - share), Vec::<&str>::new());
    assert_eq!(rig.heard_of(400 - share), ["End(Resource)"]);
    // Twenty circuits, on links of their own: the table is full, and the good name has its place still.
    for n in 0..20 {
        rig.on_another_link(&format!("192.0.2.{n}"));
        rig.on_another_circuit(CircuitId(20 + n));
        for id in 1..=share {
            rig.say(&[(id, to_host("silent.example"))]);
        }
    }
    rig.outputs.clear();
    rig.input(Input::Resolved(good, vec!["10.0.0.1".parse().unwrap()]));
    assert_eq!(rig.dials().len(), 1, "its answer is waited for");
}

// spec: STREAM-27
#[test]
fn one_link_s_circuits_share_its_look_ups() {
    use crate::role::limits::{LOOKUPS_PER_CIRCUIT_MAX, LOOKUPS_PER_LINK_MAX};
    let mut rig = Rig::new();
    rig.say(&[(1, to_host("good.example"))]);
    let good = rig.asks()[0];
    for n in 0..10 {
        rig.on_another_circuit(CircuitId(20 + n));
        for id in 1..=LOOKUPS_PER_CIRCUIT_MAX as u16 {
            rig.say(&[(id, Message::Resolve("silent.example"))]);
        }
    }
    let (asked, given_up) = rig.outputs.iter().fold((1, 0), |(asked, given_up), o| match o {
        Output::Resolve(..) => (asked + 1, given_up),
        Output::GiveUpResolve(_) => (asked, given_up + 1),
        _ => (asked, given_up),
    });
    assert_eq!(asked - given_up, LOOKUPS_PER_LINK_MAX);
    assert!(!rig.outputs.contains(&Output::GiveUpResolve(good)), "who has one keeps it");
    assert!(rig.heard.iter().any(|(_, m)| m == "Resolved([])"), "a RESOLVE that gives way is answered");
}

// spec: STREAM-29
#[test]
fn another_spelling_of_what_an_exit_refuses_is_refused() {
    let mut rig = Rig::with_exit(ExitPolicy { private: false });
    let mut id = 0;
    let mut ask = |rig: &mut Rig, name: &str| {
        id += 2;
        rig.say(&[(id, to_host(name)), (id + 1, Message::Resolve(name))]);
        (rig.heard_of(id).concat(), rig.heard_of(id + 1).concat())
    };
    for name in [
        "127.1",
        "127.0.0.1.",
        "0x7f.1",
        "0177.0.0.1",
        "2130706433",
        "10.9.8.7.",
        "169.254.43518",
        "[::1]",
        "::1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "localhost.localdomain",
        "x.onion",
        "x.onion..",
        "a.b.umbel",
        "printer",
        "router.lan",
        "a..b",
        "fe80::1%eth0",
        "%6cocalhost",
        "1.2.3.4.5",
        "a/b",
        "0",
    ] {
        let refused = ("End(Policy)".to_owned(), "Resolved([])".to_owned());
        assert_eq!(ask(&mut rig, name), refused, "{name}");
    }
    assert!(rig.asks().is_empty() && rig.dials().is_empty(), "nobody was asked");
    assert_eq!(ask(&mut rig, "Example.ORG."), (String::new(), String::new()));
    let asked = |o: &Output| if let Output::Resolve(_, name) = o { Some(name.clone()) } else { None };
    let names: Vec<_> = rig.outputs.iter().filter_map(asked).collect();
    assert_eq!(names, ["example.org", "example.org"], "the one form is looked up");
    // What a name leads to is judged as well.
    let asks = rig.asks();
    rig.input(Input::Resolved(asks[0], vec!["10.0.0.1".parse().unwrap(), "::ffff:127.0.0.1".parse().unwrap()]));
    rig.input(Input::Resolved(asks[1], vec!["10.0.0.1".parse().unwrap(), "::ffff:1.2.3.4".parse().unwrap()]));
    let last = rig.heard.len() - 2;
    assert_eq!(rig.heard[last].1, "End(Policy)");
    assert_eq!(rig.heard[last + 1].1, "Resolved([1.2.3.4])");
}

// spec: STREAM-30
#[test]
fn an_exit_leads_neither_to_itself_nor_back_into_the_network() {
    let mut rig = Rig::with_exit(ExitPolicy { private: false });
    rig.relay.add_own_address(rig.now, "5.10.0.1".parse().unwrap());
    let contact = |n: u8, addr: &str| {
        let id = RelayId([n; 32]);
        let addrs = vec![addr.parse().unwrap()];
        let contact =
            crate::role::contact::Contact { id, addrs, link_key: [0; 32], onion_key: [0; 32], cipher: CIPHER };
        (id, contact)
    };
    let roster = [contact(3, "5.20.0.1:7001"), contact(4, "[2a00::9]:7001"), contact(5, "5.30.0.1:443")];
    rig.relay.set_roster(rig.now, Arc::new(roster.into()));
    let to = |addr: &str| Message::Begin { target: Target::Addr(addr.parse().unwrap()), data: b"" };
    let refused = [
        "5.10.0.1:80",
        "5.10.0.1:22",
        "[::ffff:5.10.0.1]:22",
        "5.20.0.1:7001",
        "[::ffff:5.20.0.1]:7001",
        "[2a00::9]:7001",
    ];
    for (id, addr) in (1..).zip(refused) {
        rig.say(&[(id, to(addr)), (100 + id, to_host("a.example"))]);
        assert_eq!(rig.heard_of(id), ["End(Policy)"], "{addr}");
    }
    rig.outputs.clear();
    // Beside a relay, and at a web server that somebody might claim to be his relay.
    for (id, addr) in (20..).zip(["5.20.0.1:80", "5.20.0.1:7002", "[2a00::9]:443", "5.30.0.1:443"]) {
        rig.say(&[(id, to(addr))]);
        assert_eq!(rig.heard_of(id), Vec::<&str>::new(), "{addr}");
    }
    assert_eq!(rig.dials().len(), 4);
    // A name that leads there leads nowhere, and one of several addresses is left out.
    rig.say(&[(40, to_host("b.example")), (41, to_host("c.example"))]);
    let asks = rig.asks();
    rig.input(Input::Resolved(asks[0], vec!["5.10.0.1".parse().unwrap()]));
    assert_eq!(rig.heard_of(40), ["End(Policy)"]);
    rig.input(Input::Resolved(asks[1], vec!["5.10.0.1".parse().unwrap(), "5.10.0.2".parse().unwrap()]));
    let endpoint = rig.outputs.iter().find_map(|o| if let Output::Dial(_, to) = o { Some(to.clone()) } else { None });
    assert_eq!(endpoint.unwrap().addrs(), ["5.10.0.2:80".parse().unwrap()]);
    // On a test network its own address is where everything is.
    let mut rig = Rig::new();
    rig.relay.add_own_address(rig.now, "127.0.0.1".parse().unwrap());
    rig.say(&[(5, to_web())]);
    assert_eq!(rig.dials().len(), 1);
}

// spec: STREAM-31
#[test]
fn an_exit_dials_all_addresses_of_a_name_at_once() {
    let mut rig = Rig::new();
    rig.say(&[(5, to_host("many.example"))]);
    let ask = rig.asks()[0];
    let addrs = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "2a00::1"].map(|ip| ip.parse().unwrap());
    rig.input(Input::Resolved(ask, addrs.into()));
    let dial = |o: &Output| if let Output::Dial(conn, to) = o { Some((*conn, to.clone())) } else { None };
    let (conn, endpoint) = rig.outputs.iter().find_map(dial).unwrap();
    let order = ["10.0.0.1:80", "[2a00::1]:80", "10.0.0.2:80", "10.0.0.3:80"].map(|a| a.parse().unwrap());
    assert_eq!(endpoint.addrs(), order, "the families take turns");
    rig.input(Input::Failed(conn, crate::role::DialError::TimedOut));
    assert_eq!(rig.heard_of(5), ["End(TimedOut)"]);
    rig.say(&[(5, Message::End(EndReason::Done)), (6, to_web())]);
    let conn = rig.dials().pop().unwrap();
    rig.input(Input::Failed(conn, crate::role::DialError::Resource));
    assert_eq!(rig.heard_of(6), ["End(Resource)"], "the exit has no socket left");
}

#[test]
fn what_waits_for_slow_clients_is_shared_out() {
    let mut rig = Rig::new();
    let conns = connect(&mut rig, 500);
    // As much as may be read, for a client that takes nothing.
    let mut read = 0;
    while let Some((conn, room)) = conns.iter().map(|&c| (c, rig.relay.read_budget(c))).find(|(_, room)| *room > 0) {
        rig.relay.handle(rig.now, Input::Received(conn, &mut vec![7; room]));
        read += room;
        assert!(read <= EXIT_UNREAD_MAX + conns.len() * EXIT_UNREAD_LEAST, "{read}");
    }
    assert!(read >= EXIT_UNREAD_MAX, "{read}");
}

#[test]
fn streams_that_hold_nothing_take_nothing_from_the_others() {
    let mut rig = Rig::new();
    let conns = connect(&mut rig, 500);
    rig.wait(Duration::from_secs(3600));
    assert!(conns.iter().all(|&conn| rig.relay.read_budget(conn) == SEND_BUFFER_MAX));
}

// spec: STREAM-18 STREAM-35
#[test]
fn connections_and_look_ups_of_an_exit_count_together() {
    // Three for this shard, or three for all shards.
    let limits: [fn(&mut Rig); 2] = [
        |rig| rig.relay.set_limits(rig.now, Limits { exits: 3, ..Limits::default() }),
        |rig| rig.relay.share_exits(rig.now, ExitPlaces::new(3, 1)),
    ];
    for limit in limits {
        let mut rig = Rig::new();
        limit(&mut rig);
        for id in 1..=2 {
            rig.say(&[(id, to_web())]);
        }
        rig.say(&[(3, to_host("one.example"))]);
        assert!(rig.heard.is_empty(), "three have room: {:?}", rig.heard);
        rig.say(&[(4, to_web()), (5, to_host("two.example")), (6, Message::Resolve("three.example"))]);
        for id in [4, 5] {
            assert_eq!(rig.heard_of(id), ["End(Resource)"]);
        }
        assert_eq!(rig.heard_of(6), ["Resolved([])"]);
        rig.say(&[(1, Message::End(EndReason::Reset))]);
        rig.heard.clear();
        rig.say(&[(7, to_web())]);
        assert_eq!(rig.heard_of(7), Vec::<&str>::new(), "a place is free again");
    }
}

#[test]
fn a_name_s_addresses_go_to_the_stream_that_asked() {
    let mut rig = Rig::new();
    rig.say(&[(5, to_host("one.example"))]);
    let first = rig.asks()[0];
    rig.say(&[(5, Message::End(EndReason::Reset)), (5, to_host("two.example"))]);
    rig.outputs.clear();
    rig.input(Input::Resolved(first, vec!["10.0.0.1".parse().unwrap()]));
    assert!(rig.dials().is_empty(), "the address is another name's");
}

// spec: STREAM-22
#[test]
fn a_full_exit_ends_an_idle_stream_and_says_so() {
    let mut rig = Rig::new();
    rig.relay.set_limits(rig.now, Limits { exits: 2, ..Limits::default() });
    rig.say(&[(5, to_web()), (6, to_web())]);
    let conns = rig.dials();
    for &conn in &conns {
        rig.input(Input::Connected(conn));
    }
    rig.wait(EXIT_IDLE_LEAST);
    rig.input(Input::Received(conns[0], &mut b"busy".to_vec()));
    rig.heard.clear();
    rig.say(&[(7, to_web())]);
    assert_eq!((rig.heard_of(6), rig.heard_of(7)), (vec!["End(Resource)"], Vec::new()));
    assert!(rig.outputs.iter().any(|o| matches!(o, Output::Abort(conn) if *conn == conns[1])), "{:?}", rig.outputs);
}
