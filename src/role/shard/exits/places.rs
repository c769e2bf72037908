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
    // spec: STREAM-401
    pub(in crate::role::shard) fn make_room(&mut self, now: Now, circuit: Key) -> Option<Option<StreamName>> {
        if self.policy.is_none() || !self.is_full() {
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
