use super::stream::{BUFFER_KEPT, SLACK_CELLS};
use super::*;
use crate::base::time::Instant;
use crate::proto::congestion::CongestionParams;
use crate::proto::violation::Violation;
use crate::wire::message::Messages;

const WINDOW: u32 = 32;
const STREAM_WINDOW: u32 = 4000;
const TEXT: usize = 1328;

/// Two ends and what each has heard, joined without circuits between.
struct Pair {
    client: Mux,
    relay: Mux,
    heard_by_client: Vec<(StreamId, String, Vec<u8>)>,
    heard_by_relay: Vec<(StreamId, String, Vec<u8>)>,
    cells: u32,
}

fn note(heard: &mut Vec<(StreamId, String, Vec<u8>)>, id: StreamId, event: StreamEvent<'_>) {
    let (what, bytes) = match event {
        StreamEvent::Begin(_, data) => ("begin".into(), data.to_vec()),
        StreamEvent::Resolve(name) => ("resolve".into(), name.into()),
        StreamEvent::Connected => ("connected".into(), vec![]),
        StreamEvent::Resolved(addrs) => (format!("{addrs:?}"), vec![]),
        StreamEvent::Data(data) => ("data".into(), data.to_vec()),
        StreamEvent::End(reason) => (format!("end {reason:?}"), vec![]),
    };
    heard.push((id, what, bytes));
}

fn carry(
    from: &mut Mux,
    to: &mut Mux,
    heard: &mut Vec<(StreamId, String, Vec<u8>)>,
    n: u32,
) -> Result<bool, Violation> {
    let mut text = [0; TEXT];
    let filled = from.fill(&mut text);
    if filled == Filled::Nothing {
        return Ok(false);
    }
    let mut tag = [0; 16];
    tag[..4].copy_from_slice(&n.to_be_bytes());
    let (mut walk, mut counted) = (Messages::new(&text), false);
    while let Some((id, m)) = walk.next()? {
        counted |= m.is_counted();
        to.message(Instant(0), id, m, &mut |id, e| note(heard, id, e))?;
    }
    assert_eq!(counted, filled == Filled::Counted);
    if counted {
        from.sent(Instant(0), tag);
    }
    to.cell_received(counted, tag);
    Ok(true)
}

impl Pair {
    fn new() -> Self {
        Self {
            client: Mux::new(Side::Client, const { &CongestionParams::fixed(WINDOW) }, STREAM_WINDOW),
            relay: Mux::new(Side::Relay, const { &CongestionParams::fixed(WINDOW) }, STREAM_WINDOW),
            heard_by_client: vec![],
            heard_by_relay: vec![],
            cells: 0,
        }
    }

    fn run(&mut self) -> Result<(), Violation> {
        loop {
            self.cells += 1;
            let a = carry(&mut self.client, &mut self.relay, &mut self.heard_by_relay, self.cells)?;
            let b = carry(&mut self.relay, &mut self.client, &mut self.heard_by_client, self.cells)?;
            if !a && !b {
                return Ok(());
            }
        }
    }

    fn relay_bytes(&self) -> Vec<u8> {
        self.heard_by_relay.iter().flat_map(|(_, _, b)| b.clone()).collect()
    }
}

// spec: STREAM-10
#[test]
fn a_stream_opens_with_data_attached_talks_and_closes() {
    let mut p = Pair::new();
    let id = p.client.open(Target::Store).unwrap();
    assert_eq!(p.client.write(id, b"hello"), 5);
    p.run().unwrap();
    assert_eq!(p.heard_by_relay, vec![(id, "begin".into(), b"hello".to_vec())]);
    p.relay.accept(id);
    p.relay.write(id, b"answer");
    p.relay.finish(id);
    p.run().unwrap();
    let heard: Vec<_> = p.heard_by_client.iter().map(|(_, w, _)| w.as_str()).collect();
    assert_eq!(heard, ["connected", "data", "end Done"]);
    p.client.write(id, b"more");
    p.client.finish(id);
    p.run().unwrap();
    assert_eq!(p.relay_bytes(), b"hellomore");
    assert_eq!((p.client.streams(), p.relay.streams()), (0, 0));
}

// spec: STREAM-1 STREAM-4 STREAM-25
#[test]
fn a_stream_stops_at_its_credit_and_goes_on_when_its_bytes_are_consumed() {
    let mut p = Pair::new();
    let id = p.client.open(Target::Store).unwrap();
    let data: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
    p.client.write(id, &data);
    p.run().unwrap();
    assert_eq!(p.relay_bytes().len(), STREAM_WINDOW as usize);
    p.relay.accept(id);
    while p.relay_bytes().len() < data.len() {
        let before = p.relay_bytes().len();
        p.relay.consumed(id, STREAM_WINDOW as usize / 2, STREAM_WINDOW);
        p.run().unwrap();
        assert!(p.relay_bytes().len() > before, "stalled at {before}");
    }
    assert_eq!(p.relay_bytes(), data);
}

// spec: STREAM-25
#[test]
fn a_window_grows_with_what_goes_on_and_shrinks_when_it_must() {
    let mut p = Pair::new();
    let id = p.client.open(Target::Store).unwrap();
    let (mut written, mut gone_on) = (0, 0);
    let mut waits = |p: &mut Pair, limit: u32, rounds: usize| {
        let mut window = 0;
        for _ in 0..rounds {
            written += p.client.write(id, &[0; 100_000]);
            p.run().unwrap();
            p.relay.accept(id);
            // All that came goes on.
            let came = p.relay_bytes().len();
            window = p.relay.consumed(id, came - gone_on, limit);
            gone_on = came;
        }
        p.run().unwrap();
        (window, p.relay_bytes().len() - gone_on)
    };
    let (window, waiting) = waits(&mut p, 4 * STREAM_WINDOW, 8);
    assert_eq!((window, waiting), (4 * STREAM_WINDOW, 4 * STREAM_WINDOW as usize), "four times the first");
    let (window, waiting) = waits(&mut p, STREAM_WINDOW, 2);
    assert_eq!((window, waiting), (STREAM_WINDOW, STREAM_WINDOW as usize), "and back, as its bytes go on");
    assert!(written > 0);
}

// spec: STREAM-33
#[test]
fn a_client_says_with_begin_how_much_may_come_at_first() {
    const LARGE: u32 = 256 * 1024;
    let least = RELAY_CREDIT_FIRST;
    for (window, may_come, messages) in [(u32::MAX, LARGE, 2), (65_536, 65_536, 2), (least, least, 1), (0, least, 1)] {
        let mut p = Pair::new();
        p.client = Mux::new(Side::Client, const { &CongestionParams::fixed(WINDOW) }, LARGE);
        p.relay = Mux::new(Side::Relay, const { &CongestionParams::fixed(WINDOW) }, LARGE);
        let id = p.client.open_with(Target::Store, window).unwrap();
        // However much is there to ride in BEGIN.
        p.client.write(id, &[1; 5000]);
        let mut text = [0; TEXT];
        assert_eq!(p.client.fill(&mut text), Filled::Counted);
        let (mut walk, mut found) = (Messages::new(&text), 0);
        while let Some((id, message)) = walk.next().unwrap() {
            found += 1;
            p.relay.message(Instant(0), id, message, &mut |_, _| {}).unwrap();
        }
        assert_eq!(found, messages, "in the cell of BEGIN");
        p.client.sent(Instant(0), [9; 16]);
        p.relay.cell_received(true, [9; 16]);
        p.relay.accept(id);
        for _ in 0..3 {
            p.relay.write(id, &vec![7; SEND_BUFFER_MAX]);
            p.run().unwrap();
        }
        let came: usize = p.heard_by_client.iter().map(|(_, _, bytes)| bytes.len()).sum();
        assert_eq!(came, may_come as usize);
    }
}

// spec: STREAM-4
#[test]
fn a_relay_that_sends_more_than_the_first_credit_is_found_out() {
    let mut client = Mux::new(Side::Client, const { &CongestionParams::fixed(WINDOW) }, 256 * 1024);
    let id = client.open_with(Target::Store, 0).unwrap();
    client.fill(&mut [0; TEXT]);
    client.message(Instant(0), id, Message::Connected, &mut |_, _| ()).unwrap();
    let mut left = RELAY_CREDIT_FIRST as usize;
    while left > 0 {
        let n = left.min(1000);
        assert_eq!(client.message(Instant(0), id, Message::Data(&vec![1; n]), &mut |_, _| ()), Ok(()));
        left -= n;
    }
    let more = client.message(Instant(0), id, Message::Data(b"x"), &mut |_, _| ());
    assert_eq!(more, Err(Violation::CreditExceeded));
}

// spec: STREAM-4
#[test]
fn more_data_than_was_granted_is_a_violation() {
    let mut relay = Mux::new(Side::Relay, const { &CongestionParams::fixed(WINDOW) }, 10);
    let id = StreamId(1);
    relay.message(Instant(0), id, Message::Begin { target: Target::Store, data: b"12345" }, &mut |_, _| ()).unwrap();
    relay.message(Instant(0), id, Message::Data(b"12345"), &mut |_, _| ()).unwrap();
    assert_eq!(relay.message(Instant(0), id, Message::Data(b"1"), &mut |_, _| ()), Err(Violation::CreditExceeded));
}

// spec: STREAM-9
#[test]
fn an_aborted_stream_ends_on_both_sides_though_data_is_under_way() {
    let mut p = Pair::new();
    let id = p.client.open(Target::Store).unwrap();
    p.run().unwrap();
    p.relay.accept(id);
    p.relay.write(id, &[1; 3000]);
    p.client.abort(id, EndReason::Reset);
    p.run().unwrap();
    assert_eq!((p.client.streams(), p.relay.streams()), (0, 0));
    assert!(p.heard_by_relay.contains(&(id, "end Reset".into(), vec![])));
    assert!(!p.heard_by_client.iter().any(|(_, w, _)| w == "data"), "dropped after the abort");
}

#[test]
fn a_refused_stream_tells_why() {
    let mut p = Pair::new();
    let id = p.client.open(Target::Host("a".into(), 1)).unwrap();
    p.run().unwrap();
    p.relay.abort(id, EndReason::Policy);
    p.run().unwrap();
    assert_eq!(p.heard_by_client, vec![(id, "end Policy".into(), vec![])]);
    assert_eq!((p.client.streams(), p.relay.streams()), (0, 0));
}

#[test]
fn a_name_is_resolved_even_if_nobody_waits_any_more() {
    let mut p = Pair::new();
    let id = p.client.resolve("example.org").unwrap();
    let other = p.client.resolve("example.net").unwrap();
    p.client.abort(other, EndReason::Reset);
    p.run().unwrap();
    p.relay.resolved(id, vec!["1.2.3.4".parse().unwrap()]);
    p.relay.resolved(other, vec![]);
    p.run().unwrap();
    assert_eq!(p.heard_by_client, vec![(id, "[1.2.3.4]".into(), vec![])]);
    assert_eq!((p.client.streams(), p.relay.streams()), (0, 0));
}

#[test]
fn streams_take_turns() {
    let mut p = Pair::new();
    let ids: Vec<_> = (0..3).map(|_| p.client.open(Target::Store).unwrap()).collect();
    for &id in &ids {
        p.client.write(id, &[0; 3900]);
    }
    for _ in 0..3 {
        p.cells += 1;
        carry(&mut p.client, &mut p.relay, &mut p.heard_by_relay, p.cells).unwrap();
    }
    for id in ids {
        assert!(p.heard_by_relay.iter().any(|(i, _, _)| *i == id), "{id:?} had no turn in three cells");
    }
}

// spec: STREAM-6 STREAM-7 STREAM-8
/// What the relay's next `cells` cells carry: how many bytes of which streams.
fn cells_of(pair: &mut Pair, cells: usize) -> Vec<StreamId> {
    let mut order = Vec::new();
    for _ in 0..cells {
        let mut text = [0; TEXT];
        assert_ne!(pair.relay.fill(&mut text), Filled::Nothing);
        let mut walk = Messages::new(&text);
        while let Ok(Some((id, m))) = walk.next() {
            if matches!(m, Message::Data(_)) {
                order.push(id);
            }
        }
    }
    order
}

#[test]
fn streams_have_cells_in_a_row_and_a_quiet_one_goes_first() {
    let mut pair = Pair::new();
    pair.client = Mux::new(Side::Client, const { &CongestionParams::fixed(WINDOW) }, SEND_BUFFER_MAX as u32);
    pair.relay = Mux::new(Side::Relay, const { &CongestionParams::fixed(WINDOW) }, SEND_BUFFER_MAX as u32);
    let ids: Vec<_> = (0..3).map(|_| pair.client.open(Target::Store).unwrap()).collect();
    pair.run().unwrap();
    ids.iter().for_each(|&id| pair.relay.accept(id));
    pair.run().unwrap();
    for &id in &ids[..2] {
        assert_eq!(pair.relay.write(id, &vec![7; SEND_BUFFER_MAX]), SEND_BUFFER_MAX);
    }
    let order = cells_of(&mut pair, 40);
    let runs: Vec<_> = order[2..].chunk_by(|a, b| a == b).map(<[_]>::len).collect();
    assert_eq!(runs, [16, 16, 6], "after the first cell of each: {order:?}");
    pair.relay.write(ids[2], b"a key was pressed");
    assert_eq!(cells_of(&mut pair, 1)[0], ids[2]);
}

#[test]
fn the_end_of_a_stream_needs_no_window_and_space_that_it_no_longer_needs_is_given_back() {
    let mut pair = Pair::new();
    pair.client = Mux::new(Side::Client, const { &CongestionParams::fixed(WINDOW) }, SEND_BUFFER_MAX as u32);
    let ids: Vec<_> = (0..2).map(|_| pair.client.open(Target::Store).unwrap()).collect();
    pair.run().unwrap();
    ids.iter().for_each(|&id| pair.relay.accept(id));
    pair.run().unwrap();
    // One fills the window, which nobody acknowledges.
    pair.relay.streams.get_mut(&ids[0]).unwrap().send_credit = u32::MAX;
    pair.relay.write(ids[0], &vec![7; SEND_BUFFER_MAX]);
    assert!(pair.relay.streams[&ids[0]].buffer.capacity() >= SEND_BUFFER_MAX);
    let mut text = [0; TEXT];
    for n in 0..WINDOW {
        assert_eq!(pair.relay.fill(&mut text), Filled::Counted);
        pair.relay.sent(Instant(0), [n as u8; 16]);
    }
    assert!(!pair.relay.wants_to_send());
    pair.relay.finish(ids[1]);
    assert!(pair.relay.wants_to_send());
    assert_eq!(pair.relay.fill(&mut text), Filled::Uncounted);
    assert!(matches!(Messages::new(&text).next(), Ok(Some((id, Message::End(EndReason::Done)))) if id == ids[1]));
    // Who fills its space again and again keeps it.
    pair.relay.send = SendWindow::new(const { &CongestionParams::fixed(65_536) });
    let space = |pair: &Pair| pair.relay.streams[&ids[0]].buffer.capacity();
    for _ in 0..3 {
        while pair.relay.fill(&mut text) == Filled::Counted {}
        assert!(space(&pair) >= SEND_BUFFER_MAX);
        pair.relay.write(ids[0], &vec![7; SEND_BUFFER_MAX]);
    }
    // Who goes on with little gives it back.
    while pair.relay.fill(&mut text) == Filled::Counted {}
    for _ in 0..SLACK_CELLS {
        pair.relay.write(ids[0], &[7; 400]);
        assert_eq!(pair.relay.fill(&mut text), Filled::Counted);
    }
    assert!(space(&pair) <= 2 * BUFFER_KEPT);
}

#[test]
fn messages_out_of_place_are_violations() {
    let begin = || Message::Begin { target: Target::Store, data: b"" };
    let id = StreamId(1);
    type Story = Vec<Message<'static>>;
    let at_relay: Vec<(Story, Violation)> = vec![
        (vec![begin(), begin()], Violation::StreamInUse),
        (vec![Message::Data(b"x")], Violation::UnknownStream),
        (vec![Message::End(EndReason::Done)], Violation::UnknownStream),
        (vec![Message::Credit(1)], Violation::UnknownStream),
        (vec![begin(), Message::Connected], Violation::WrongDirection),
        (vec![begin(), Message::Resolved(vec![])], Violation::WrongDirection),
        (vec![begin(), Message::End(EndReason::Done), Message::Data(b"x")], Violation::StreamState),
        (vec![begin(), Message::End(EndReason::Done), Message::End(EndReason::Done)], Violation::StreamState),
        (vec![begin(), Message::Credit(1 << 31)], Violation::CreditOverflow),
        (vec![Message::Ack([0; 16])], Violation::FalseAck),
    ];
    for (story, reason) in at_relay {
        let mut relay = Mux::new(Side::Relay, const { &CongestionParams::fixed(WINDOW) }, STREAM_WINDOW);
        let last = story.into_iter().map(|m| relay.message(Instant(0), id, m, &mut |_, _| ())).last().unwrap();
        assert_eq!(last, Err(reason));
    }
    let at_client: Vec<(Story, Violation)> = vec![
        (vec![begin()], Violation::WrongDirection),
        (vec![Message::Resolve("a")], Violation::WrongDirection),
        (vec![Message::Data(b"early")], Violation::StreamState),
        (vec![Message::Connected, Message::Connected], Violation::StreamState),
        (vec![Message::Resolved(vec![])], Violation::StreamState),
        (vec![Message::End(EndReason::Done)], Violation::StreamState),
    ];
    for (story, reason) in at_client {
        let mut client = Mux::new(Side::Client, const { &CongestionParams::fixed(WINDOW) }, STREAM_WINDOW);
        let id = client.open(Target::Store).unwrap();
        client.fill(&mut [0; TEXT]);
        let last = story.into_iter().map(|m| client.message(Instant(0), id, m, &mut |_, _| ())).last().unwrap();
        assert_eq!(last, Err(reason));
    }
}

/// The relay's last bytes and END cross the client's CREDIT: neither side may take that for a breach.
// spec: STREAM-13
#[test]
fn credit_that_crosses_the_last_end_is_taken() {
    let mut p = Pair::new();
    let id = p.client.open(Target::Store).unwrap();
    p.client.finish(id);
    p.run().unwrap();
    p.relay.accept(id);
    p.relay.write(id, &[1; 3000]);
    p.relay.finish(id);
    while carry(&mut p.relay, &mut p.client, &mut p.heard_by_client, 7).unwrap()
        && !p.heard_by_client.iter().any(|h| h.1 == "data")
    {}
    p.client.consumed(id, 2000, 0);
    p.run().unwrap();
    assert_eq!((p.client.streams(), p.relay.streams()), (0, 0));
    assert_eq!(p.relay.message(Instant(0), id, Message::Credit(1), &mut |_, _| ()), Ok(()), "still remembered");
    assert_eq!(
        p.relay.message(Instant(0), StreamId(9), Message::Credit(1), &mut |_, _| ()),
        Err(Violation::UnknownStream)
    );
}

/// A browser tab that is closed in the middle of a download: its own direction ended long ago.
// spec: STREAM-9 STREAM-10
#[test]
fn a_stream_whose_own_direction_is_done_can_still_be_given_up() {
    let mut p = Pair::new();
    let id = p.client.open(Target::Store).unwrap();
    p.client.finish(id);
    p.run().unwrap();
    p.relay.accept(id);
    p.relay.write(id, &[1; 9000]);
    p.run().unwrap();
    p.client.abort(id, EndReason::Reset);
    p.run().unwrap();
    assert_eq!((p.client.streams(), p.relay.streams()), (0, 0));
    assert!(p.heard_by_relay.contains(&(id, "end Reset".into(), vec![])));
}

// spec: STREAM-14
#[test]
fn a_client_cannot_open_streams_without_end() {
    let mut relay = Mux::new(Side::Relay, const { &CongestionParams::fixed(WINDOW) }, STREAM_WINDOW);
    let mut begin =
        |n| relay.message(Instant(0), StreamId(n), Message::Begin { target: Target::Store, data: b"" }, &mut |_, _| ());
    for n in 1..=STREAMS_MAX as u16 {
        assert_eq!(begin(n), Ok(()));
    }
    assert_eq!(begin(STREAMS_MAX as u16 + 1), Err(Violation::TooMuch));
}

// spec: STREAM-12
#[test]
fn a_peer_that_makes_us_hold_more_than_we_may_is_noticed() {
    let mut relay = Mux::new(Side::Relay, const { &CongestionParams::fixed(WINDOW) }, STREAM_WINDOW);
    for n in 0..=CONTROL_MAX {
        let id = StreamId((n % 500 + 1) as u16);
        relay.message(Instant(0), id, Message::Begin { target: Target::Store, data: b"" }, &mut |_, _| ()).unwrap();
        assert!(!relay.is_overfull());
        relay.message(Instant(0), id, Message::End(EndReason::Reset), &mut |_, _| ()).unwrap();
    }
    assert!(relay.is_overfull());
}
