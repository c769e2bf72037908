//! Which custodian to ask next: one at a time, each with a few chances, hostile ones never again.

use crate::proto::rpc::CallError;
use crate::wire::ids::RelayId;

/// How often a custodian may fail for reasons that are not its own (a closed circuit, silence) before it is given up.
pub const TRIES_MAX: u8 = 3;

/// Why a custodian was of no use. In order of how much it says about the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureReason {
    /// No path to it.
    Unreachable,
    /// It, or a relay on the way, closed the circuit.
    Closed,
    /// No answer.
    TimedOut,
    /// It refused the request.
    Refused,
    /// It does not hold the object.
    NotFound,
    /// Its disk fails.
    Broken,
    /// Its store is full.
    Full,
    /// It sent other bytes than the object's.
    Tampered,
}

impl From<CallError> for FailureReason {
    fn from(e: CallError) -> Self {
        match e {
            CallError::Unreachable => Self::Unreachable,
            CallError::Refused => Self::Refused,
            CallError::Closed => Self::Closed,
            CallError::TimedOut => Self::TimedOut,
        }
    }
}

impl FailureReason {
    fn mischance(self) -> bool {
        matches!(self, Self::Unreachable | Self::Closed | Self::TimedOut)
    }
}

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask the current custodian at once: the same, or another one.
    Now,
    /// Every custodian left has failed before; ask the current one after a pause.
    Later,
    /// None is left.
    Nobody,
}

struct Peer {
    id: RelayId,
    tries: u8,
    given_up: Option<FailureReason>,
}

/// The custodians of one object, in the order in which they are asked.
pub struct Peers {
    peers: Vec<Peer>,
    current: usize,
}

impl Peers {
    /// Custodians in this order.
    pub fn new(ids: impl IntoIterator<Item = RelayId>) -> Self {
        let peers = ids.into_iter().map(|id| Peer { id, tries: 0, given_up: None }).collect();
        Self { peers, current: 0 }
    }

    /// The custodian to ask.
    pub fn current(&self) -> Option<RelayId> {
        self.peers.get(self.current).filter(|p| p.given_up.is_none()).map(|p| p.id)
    }

    /// All of them, the current one first.
    pub fn order(&self) -> Vec<RelayId> {
        let (before, from) = self.peers.split_at(self.current.min(self.peers.len()));
        from.iter().chain(before).map(|p| p.id).collect()
    }

    /// The current custodian was of use.
    pub fn worked(&mut self) {
        if let Some(p) = self.peers.get_mut(self.current) {
            p.tries = 0;
        }
    }

    /// The current custodian was of no use: chooses the next one.
    pub fn failed(&mut self, reason: FailureReason) -> Next {
        let Some(p) = self.peers.get_mut(self.current) else { return Next::Nobody };
        p.tries += 1;
        if !reason.mischance() || p.tries >= TRIES_MAX {
            p.given_up = Some(reason);
        } else if reason == FailureReason::Closed && p.tries == 1 {
            // Most likely a relay on the way: staying tells nobody new what is read.
            return Next::Now;
        }
        let open = self.peers.iter().enumerate().filter(|(_, p)| p.given_up.is_none());
        let Some((at, p)) = open.min_by_key(|(at, p)| (p.tries, *at)) else { return Next::Nobody };
        self.current = at;
        if p.tries == 0 { Next::Now } else { Next::Later }
    }

    /// The failure that says most about the object.
    pub fn verdict(&self) -> FailureReason {
        self.peers.iter().filter_map(|p| p.given_up).max().unwrap_or(FailureReason::Unreachable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_custodian_has_its_chances_and_no_more() {
        let id = |n| RelayId([n; 32]);
        let mut p = Peers::new([id(1), id(2)]);
        assert_eq!(p.failed(FailureReason::Closed), Next::Now);
        assert_eq!(p.current(), Some(id(1)), "a closed circuit is tried once more");
        assert_eq!((p.failed(FailureReason::Closed), p.current()), (Next::Now, Some(id(2))));
        assert_eq!((p.failed(FailureReason::TimedOut), p.current()), (Next::Later, Some(id(2))));
        assert_eq!((p.failed(FailureReason::Tampered), p.current()), (Next::Later, Some(id(1))));
        assert_eq!((p.failed(FailureReason::Closed), p.current()), (Next::Nobody, None));
        assert_eq!(p.verdict(), FailureReason::Tampered);
        assert_eq!(Peers::new([]).verdict(), FailureReason::Unreachable);
    }
}
