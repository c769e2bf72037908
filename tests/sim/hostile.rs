//! One relay of the path is hostile: what it can do is close the circuit, and nothing it does goes unnoticed.

use crate::rogue::{Attack, Rogue, Seen, Way};
use crate::seeds;
use crate::transfer::{MINUTE, served};
use std::cell::RefCell;
use std::rc::Rc;
use umbel::base::time::Duration;
use umbel::sim::world::{Shape, World, task};
use umbel::wire::cell::{CELL_SIZE, Cell, CellBuf, CircuitId, DestroyReason};
use umbel::wire::examples;
use umbel::wire::handshake::{REPLY_SIZE, REQUEST_SIZE};
use umbel::wire::message::{Message, MessageKind};

/// Where the hostile relay stands in every path: 0 first, 1 middle, 2 last.
fn shape(place: usize) -> (Shape, usize) {
    let shape = Shape { exits: 1, middle: Some(2), ..Shape::SMALL };
    (shape, [0, 2, shape.relays - 1][place])
}

fn world(seed: u64, place: usize, attack: &Attack) -> (World, Rc<RefCell<Seen>>) {
    let (shape, which) = shape(place);
    let seen = Rc::new(RefCell::new(Seen::default()));
    let mut count = 0;
    let w = World::with(
        seed,
        shape,
        |_| (),
        |keys, roster| {
            count += 1;
            let rogue = || Rogue::new(keys, roster, seed, attack.clone(), Rc::clone(&seen));
            (count - 1 == which).then(|| Box::new(rogue()) as Box<dyn umbel::role::Role>)
        },
    );
    (w, seen)
}

/// How an attack on a running transfer ended.
pub(crate) struct Outcome {
    seen: Rc<RefCell<Seen>>,
    /// Breaches that honest relays counted.
    violations: u64,
    /// Whether the transfer ended with END 0 each way.
    whole: bool,
    pub(crate) w: World,
}

/// Runs an upload and a download through the hostile relay; nothing false may be believed.
pub(crate) fn attacked(seed: u64, place: usize, attack: &Attack) -> Outcome {
    let (mut w, seen) = world(seed, place, attack);
    let body = served(120_000);
    let t = w.start(task(1, &[b"ECHO\n", &body[..]].concat(), true));
    assert!(w.run(2 * MINUTE), "in time: {attack:?}");
    // Whoever closes tells the hostile relay, too.
    w.net.run_for(Duration::from_secs(1));
    let (got, end) = (w.user.get().transfer(t).got.clone(), w.user.get().transfer(t).end);
    assert!(body.starts_with(&got), "what was read is true: {attack:?}");
    let whole = end == Some(Ok(()));
    assert!(!whole || got == body, "what ended without an error is whole: {attack:?}");
    Outcome { seen, violations: w.violations(), whole, w }
}

#[test]
fn a_relay_that_keeps_to_the_rules_goes_unnoticed() {
    seeds("a_relay_that_keeps_to_the_rules_goes_unnoticed", 1, |seed| {
        for place in [0, 1] {
            let o = attacked(seed, place, &Attack::None);
            assert!(o.whole && o.violations == 0);
            assert!(o.seen.borrow().passed.iter().all(|&n| n > 80), "everything goes through it");
        }
    });
}

/// Bytes of a cell that speak for their neighbours: header, text, tags, tail.
const BYTES: [usize; 18] = [0, 3, 4, 5, 7, 8, 15, 16, 20, 700, 1359, 1360, 1375, 1376, 1391, 1392, 1400, CELL_SIZE - 1];

// spec: ONION-3 ONION-4
#[test]
fn a_changed_byte_on_the_way_out_is_noticed_by_the_next_honest_hop() {
    seeds("a_changed_byte_on_the_way_out_is_noticed_by_the_next_honest_hop", 1, |seed| {
        for place in [0, 1] {
            for byte in BYTES {
                let o = attacked(seed, place, &Attack::Flip { way: Way::Next, at: 20, byte });
                assert!(o.seen.borrow().struck && !o.whole, "byte {byte} at hop {place}");
                assert_eq!(o.seen.borrow().destroyed[Way::Next as usize], 1, "byte {byte} at hop {place}");
            }
        }
    });
}

// spec: ONION-7 ONION-8
#[test]
fn a_changed_byte_on_the_way_back_is_noticed_by_the_client_at_the_latest() {
    seeds("a_changed_byte_on_the_way_back_is_noticed_by_the_client_at_the_latest", 1, |seed| {
        for place in [0, 1] {
            for byte in BYTES {
                let o = attacked(seed, place, &Attack::Flip { way: Way::Client, at: 20, byte });
                assert!(o.seen.borrow().struck && !o.whole, "byte {byte} at hop {place}");
                assert_eq!(o.seen.borrow().destroyed[Way::Client as usize], 1, "byte {byte} at hop {place}");
            }
        }
    });
}

// spec: ONION-4 ONION-8
#[test]
fn cells_left_out_repeated_or_moved_close_the_circuit() {
    seeds("cells_left_out_repeated_or_moved_close_the_circuit", 2, |seed| {
        for place in [0, 1] {
            for way in [Way::Next, Way::Client] {
                for at in [3, 10, 31] {
                    for attack in [Attack::Drop { way, at }, Attack::Replay { way, at }, Attack::Swap { way, at }] {
                        let o = attacked(seed, place, &attack);
                        assert!(o.seen.borrow().struck && !o.whole, "{attack:?} at hop {place}");
                        assert_eq!(o.seen.borrow().destroyed[way as usize], 1, "{attack:?} at hop {place}");
                    }
                }
            }
        }
    });
}

#[test]
fn an_attack_on_the_building_of_a_circuit_costs_that_circuit_and_no_more() {
    seeds("an_attack_on_the_building_of_a_circuit_costs_that_circuit_and_no_more", 2, |seed| {
        for way in [Way::Next, Way::Client] {
            for attack in
                [Attack::Flip { way, at: 0, byte: 300 }, Attack::Drop { way, at: 0 }, Attack::Replay { way, at: 0 }]
            {
                let o = attacked(seed, 0, &attack);
                assert!(o.seen.borrow().struck);
                assert!(o.whole, "{attack:?}: the next circuit carries the stream");
            }
        }
    });
}

// spec: CIRC-6 CIRC-10 STREAM-3 STREAM-13
#[test]
fn what_a_relay_says_in_its_own_name_but_out_of_place_closes_the_circuit() {
    seeds("what_a_relay_says_in_its_own_name_but_out_of_place_closes_the_circuit", 1, |seed| {
        // Two examples of each kind at most: END with reason 0 and with another one.
        let of = |kind: MessageKind| examples::messages().into_iter().filter(move |(_, m)| m.kind() == kind).take(2);
        // LEAVING is in its place anywhere, once.
        let kinds = MessageKind::ALL.iter().filter(|kind| **kind != MessageKind::Leaving);
        let messages: Vec<_> = kinds.flat_map(|kind| of(*kind)).collect();
        for place in [0, 1] {
            for (_, message) in messages.clone() {
                // Stream 1 is open at the last hop alone.
                let stream = u16::from(!message.is_for_circuit());
                let o = attacked(seed, place, &Attack::Say { at: 20, stream, message: message.clone() });
                assert!(o.seen.borrow().struck && !o.whole, "{message:?} from hop {place}");
                assert_eq!(o.seen.borrow().destroyed[Way::Client as usize], 1, "{message:?} from hop {place}");
            }
        }
    });
}

fn cell(of: &Cell<'_>) -> Box<CellBuf> {
    let mut buf = Box::new([0; CELL_SIZE]);
    of.encode(&mut buf);
    buf
}

// spec: LINK-23 LINK-29 CELL-2 CELL-5 CIRC-12
#[test]
fn cells_a_peer_may_not_send_close_the_link() {
    seeds("cells_a_peer_may_not_send_close_the_link", 1, |seed| {
        let request = [1; REQUEST_SIZE];
        let proof = Cell::Authenticate { signature: [1; 64], descriptor: b"" };
        let mut unknown = cell(&Cell::Padding);
        unknown[4] = 9;
        let mut dirty = cell(&Cell::Padding);
        dirty[1000] = 1;
        // Spec LINK-23, LINK-29, CELL-2, CELL-5: toward the client, which opened the link.
        for bad in [cell(&Cell::Create(CircuitId(7), &request)), cell(&proof), unknown.clone(), dirty.clone()] {
            let o = attacked(seed, 0, &Attack::Insert { way: Way::Client, at: 20, cell: bad });
            assert!(o.seen.borrow().struck && !o.whole);
        }
        // Onward, where the next relay accepted the link: the number of the circuit is in use.
        let reply = [1; REPLY_SIZE];
        let in_use = cell(&Cell::Create(CircuitId(1), &request));
        for bad in [in_use, cell(&Cell::Created(CircuitId(1), &reply)), cell(&proof), unknown, dirty] {
            let o = attacked(seed, 0, &Attack::Insert { way: Way::Next, at: 20, cell: bad });
            assert!(o.seen.borrow().struck && !o.whole);
        }
        // What may come late is let pass.
        let late: Box<CellBuf> = cell(&Cell::Relay(CircuitId(99), &[0; 1400]));
        for fine in [late, cell(&Cell::Destroy(CircuitId(99), DestroyReason::None)), cell(&Cell::Padding)] {
            for way in [Way::Client, Way::Next] {
                let o = attacked(seed, 0, &Attack::Insert { way, at: 20, cell: fine.clone() });
                assert!(o.seen.borrow().struck && o.whole);
            }
        }
    });
}

// spec: ONION-3 ONION-4 ONION-7
#[test]
fn a_mark_does_not_pass_an_honest_middle() {
    seeds("a_mark_does_not_pass_an_honest_middle", 2, |seed| {
        // Forward: the first hop marks, the middle closes, and the last one's link hears of nothing but the end.
        for byte in BYTES.into_iter().filter(|b| *b >= 8) {
            let o = attacked(seed, 0, &Attack::Flip { way: Way::Next, at: 20, byte });
            let middle = o.w.shards[2][0].get().counts();
            let last = o.w.shards.last().unwrap()[0].get().counts();
            assert_eq!((middle.violations, last.violations), (1, 0), "byte {byte}");
        }
        // Backward: the last hop, which lies to the client as it likes, marks a cell of its own.
        for byte in BYTES.into_iter().filter(|b| *b >= 8) {
            let (mut w, seen) = world(seed, 2, &Attack::Flip { way: Way::Client, at: 2, byte });
            let t = w.start(task(1, b"GET 100\n", false));
            assert!(w.run(MINUTE), "in time");
            w.net.run_for(Duration::from_secs(1));
            assert!(seen.borrow().struck && w.user.get().transfer(t).end.is_some_and(|e| e.is_err()), "byte {byte}");
            // Bytes after the layer stop at the middle; bytes within it are sealed there and open at the client only.
            let middle = w.shards[2][0].get().counts().violations;
            let first = w.shards[0][0].get().counts().violations;
            let tail = byte >= 8 + 1400 - 3 * 16 + 16;
            assert_eq!((middle, first), (u64::from(tail), 0), "byte {byte}");
        }
    });
}

// spec: ONION-8 STREAM-3
#[test]
fn a_hostile_exit_can_lie_about_the_web_and_nothing_else() {
    seeds("a_hostile_exit_can_lie_about_the_web_and_nothing_else", 1, |seed| {
        let (mut w, seen) = world(seed, 2, &Attack::None);
        let t = w.start(task(1, b"GET 100\n", false));
        assert!(w.run(MINUTE), "in time");
        assert_eq!(seen.borrow().begins, 1);
        assert_eq!(w.user.get().transfer(t).end, Some(Ok(())));
        assert!(w.user.get().transfer(t).got.starts_with(b"from the rogue "), "an exit is trusted with plain content");
        assert!(seen.borrow().to_client.len() >= 7);
        // What is not content is proved: a receipt made up, or a cell sealed by nobody, ends the circuit.
        let receipt = Attack::Say { at: 2, stream: 0, message: Message::Ack([7; 16]) };
        for attack in [receipt, Attack::Flip { way: Way::Client, at: 2, byte: 700 }] {
            let (mut w, seen) = world(seed, 2, &attack);
            let t = w.start(task(1, b"GET 100\n", false));
            assert!(w.run(MINUTE), "in time");
            assert!(seen.borrow().struck && w.user.get().transfer(t).end.is_some_and(|e| e.is_err()), "{attack:?}");
        }
    });
}
