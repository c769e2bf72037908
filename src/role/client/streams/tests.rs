use super::super::circuits::Circuits;
use super::super::config::ClientConfig;
use super::super::purpose::{Isolation, Part};
use super::*;
use crate::base::time::UnixMs;
use crate::proto::profile::Profile;
use crate::role::links::Links;
use crate::wire::ids::NetworkId;
use crate::wire::message::Target;

// spec: STREAM-26
#[test]
fn the_stream_for_which_most_waits_ends_when_too_much_waits_for_all() {
    let network = NetworkId([1; 32]);
    let cfg = ClientConfig {
        network,
        profile: &Profile::TESTING,
        spare_circuits: 0,
        wants_exits: true,
        circuits_max: 1,
        is_relay: false,
    };
    let (mut circuits, mut links) = (Circuits::new(cfg), Links::new(network, None));
    let mut circuits = LinkedCircuits { circuits: &mut circuits, links: &mut links };
    let (mut streams, now) = (Streams::default(), Now { mono: Instant::default(), unix: UnixMs(0) });
    let mut open = || {
        let opening = Opening::Open(Target::Host("a".into(), 80));
        streams
            .add(now, CircuitPurpose::Exit(Isolation { user: [0; 16], part: Part::Shared(0) }), opening, false)
            .expect("room")
    };
    let (few, most) = (open(), open());
    let piece = vec![7; CLIENT_UNREAD_MAX / 2];
    streams.receive(few, &piece[1..]);
    streams.receive(most, &piece);
    assert_eq!(streams.to_shed(), None);
    streams.receive(few, b"x");
    streams.receive(most, b"y");
    assert_eq!(streams.to_shed(), Some(most));
    streams.shed(most, &mut circuits);
    assert_eq!(streams.to_shed(), None);
    let mut out = [0; 10];
    let failed = ReadState::Failed(StreamFailure::TooMuchUnread);
    assert_eq!(streams.read(most, &mut out, &mut circuits), failed, "and never an end");
    assert_eq!(streams.read(few, &mut out, &mut circuits), ReadState::Read(10));
    streams.remove(few);
    assert_eq!((streams.unread, streams.windows.extra()), (0, 0));
}
