//! Who gives up a place when all are taken: a connection that nobody waits for, else the longest idle one of the circuit that
//! holds the most.

use super::Exits;
use crate::base::time::{Instant, Now};
use crate::role::ExitKey;
use crate::role::limits::{EXIT_IDLE_LEAST, EXITS_SHARE};
use crate::role::shard::circuit::StreamName;
use crate::role::slab::Key;

impl Exits {
    /// Where every place is taken and `circuit` wants one more: closes a connection, if there is one that must make room.
    /// Gives whether it did, and the stream that breaks with it.
    // spec: STREAM-22
    pub(in crate::role::shard) fn make_room(&mut self, now: Now, circuit: Key) -> Option<Option<StreamName>> {
        if !self.destinations.is_exit() || !self.is_full() {
            return None;
        }
        let exit = self.over().or_else(|| self.of_the_largest(now, circuit)).or_else(|| self.idle(now))?;
        Some(self.drop_conn(exit))
    }

    /// A connection whose stream has ended both ways.
    fn over(&self) -> Option<ExitKey> {
        self.longest_idle(|_, over| over).map(|(exit, _)| exit)
    }

    /// The longest idle connection of the circuit that holds the most: if it is idle, or that circuit holds more than is its
    /// share and than `circuit` would hold.
    fn of_the_largest(&self, now: Now, circuit: Key) -> Option<ExitKey> {
        let (&largest, &most) = self.held.iter().max_by_key(|&(_, held)| held)?;
        let own = self.held.get(&circuit).copied().unwrap_or(0);
        let (exit, last_used) = self.longest_idle(|of, _| of == largest)?;
        let over_its_share = most > EXITS_SHARE && most > own.saturating_add(1);
        (over_its_share || is_idle(now, last_used)).then_some(exit)
    }

    /// The longest idle connection of all, if it is idle.
    fn idle(&self, now: Now) -> Option<ExitKey> {
        let (exit, last_used) = self.longest_idle(|_, _| true)?;
        is_idle(now, last_used).then_some(exit)
    }

    fn longest_idle(&self, wanted: impl Fn(Key, bool) -> bool) -> Option<(ExitKey, Instant)> {
        let all = self.table.iter().filter(|(_, conn)| wanted(conn.stream.circuit, conn.is_done()));
        all.min_by_key(|(_, conn)| conn.last_used).map(|(key, conn)| (ExitKey(key), conn.last_used))
    }
}

fn is_idle(now: Now, last_used: Instant) -> bool {
    now.mono.since(last_used) >= EXIT_IDLE_LEAST
}

#[cfg(test)]
mod tests {
    use super::super::super::config::ExitPolicy;
    use super::super::super::destinations::Destinations;
    use super::*;
    use crate::base::time::{Duration, UnixMs};
    use crate::role::limits::Limits;
    use crate::role::slab::Slab;
    use crate::wire::message::StreamId;

    /// An exit whose places are all taken, and when each circuit's connections were used last, in seconds.
    fn full(circuits: &[(Key, &[u64])]) -> Exits {
        let places = circuits.iter().map(|(_, used)| used.len()).sum();
        let mut exits = Exits::new(
            Destinations::new(Some(ExitPolicy { private: true })),
            Limits { exits: places, ..Limits::default() },
        );
        for (circuit, used) in circuits {
            for (id, &at) in (1..).zip(*used) {
                let stream = StreamName { circuit: *circuit, id: StreamId(id) };
                exits.dial(at_second(at), stream, vec!["127.0.0.1:80".parse().unwrap()], Vec::new()).unwrap();
            }
        }
        exits
    }

    fn at_second(seconds: u64) -> Now {
        Now { mono: Instant::default() + Duration::from_secs(seconds), unix: UnixMs(0) }
    }

    fn circuits<const N: usize>() -> [Key; N] {
        let mut keys = Slab::default();
        core::array::from_fn(|_| keys.insert(()))
    }

    // spec: STREAM-22
    #[test]
    fn the_longest_idle_of_the_circuit_with_the_most_makes_room() {
        let [few, most, new] = circuits();
        let mut exits = full(&[(few, &[0, 100]), (most, &[30, 20, 100])]);
        let broken = exits.make_room(at_second(100), new).expect("a place");
        assert_eq!(broken, Some(StreamName { circuit: most, id: StreamId(2) }));
        assert_eq!(exits.make_room(at_second(100), new), None, "there is room now");
    }

    // spec: STREAM-22
    #[test]
    fn what_is_in_use_keeps_its_place_up_to_its_circuit_s_share() {
        let [few, most, new] = circuits();
        let mut exits = full(&[(few, &[50]), (most, &[50; EXITS_SHARE])]);
        assert_eq!(exits.make_room(at_second(100), new), None);
        assert_eq!(exits.make_room(at_second(110), new).flatten().map(|s| s.circuit), Some(most), "a minute later");

        let mut exits = full(&[(few, &[50]), (most, &[50; EXITS_SHARE + 1])]);
        assert_eq!(exits.make_room(at_second(50), most), None, "not for more of its own");
        assert_eq!(exits.make_room(at_second(50), new).flatten().map(|s| s.circuit), Some(most));

        let mut exits = full(&[(few, &[0]), (most, &[99; 3])]);
        assert_eq!(
            exits.make_room(at_second(100), new).flatten().map(|s| s.circuit),
            Some(few),
            "it uses none of them"
        );
    }

    #[test]
    fn a_connection_that_nobody_waits_for_goes_first() {
        let [circuit, new] = circuits();
        let mut exits = full(&[(circuit, &[0, 100])]);
        let (second, _) = exits.table.iter().nth(1).unwrap();
        exits.push(ExitKey(second), b"never taken");
        exits.client_finished(ExitKey(second));
        exits.finished(ExitKey(second));
        assert_eq!(exits.make_room(at_second(100), new), Some(None));
    }
}
