//! Handshakes that wait for their turn: of links and of circuits alike.
//!
//! A handshake costs a relay as much as a hundred cells, and whoever asks for one nearly nothing. So none is answered where it
//! arrives: a few are answered at each tick, and between two ticks the driver carries everybody's cells. Requests
//! take turns, first by holder and then by link, so that whoever asks for many waits for its own.

use crate::base::time::{Duration, Instant};
use crate::role::LinkKey;
use crate::role::limits::HANDSHAKES_MAX;
use crate::role::shares::{Holder, RELAY_WEIGHT, Shares, Source};
use crate::wire::cell::CircuitId;
use crate::wire::handshake::REQUEST_SIZE;
use std::collections::{BTreeMap, VecDeque};

/// What waits to be answered on a link.
pub(super) enum Request {
    /// The link's own handshake.
    Link,
    /// CREATE.
    Circuit(CircuitId, Box<[u8; REQUEST_SIZE]>),
}

struct Waiting {
    since: Instant,
    request: Request,
}

/// Requests in the order of their turns, at most [`HANDSHAKES_MAX`] of them for circuits. A link has one of its own.
#[derive(Default)]
pub(super) struct Handshakes {
    queues: BTreeMap<LinkKey, VecDeque<Waiting>>,
    /// The links of each holder for which something waits, and some that are gone, in turn.
    links: BTreeMap<Holder, VecDeque<LinkKey>>,
    /// Those holders in turn, and how many more of each are answered before the next one's.
    holders: VecDeque<(Holder, usize)>,
    /// Waiting CREATEs.
    creates: Shares<LinkKey>,
}

impl Handshakes {
    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Queues a request. Gives the CREATE that has to be refused because too many wait: the last of whoever has most.
    // spec: CIRC-18
    pub(super) fn push(
        &mut self,
        now: Instant,
        link: LinkKey,
        source: Source,
        request: Request,
    ) -> Option<(LinkKey, CircuitId)> {
        let is_create = matches!(request, Request::Circuit(..));
        let yields = if is_create { self.creates.to_yield(source, HANDSHAKES_MAX) } else { None };
        let queue = self.queues.entry(link).or_default();
        if queue.is_empty() {
            let links = self.links.entry(source.holder).or_default();
            if links.is_empty() {
                self.holders.push_back((source.holder, turns(source.holder)));
            }
            links.push_back(link);
        }
        queue.push_back(Waiting { since: now, request });
        if is_create {
            self.creates.add(source, link);
        }
        let refused = yields?.member;
        let Request::Circuit(id, _) = self.queues.get_mut(&refused)?.pop_back()?.request else { return None };
        self.creates.remove(refused);
        if self.queues.get(&refused).is_some_and(VecDeque::is_empty) {
            self.queues.remove(&refused);
        }
        Some((refused, id))
    }

    /// The next request, on which link, and how long it has waited.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(LinkKey, Request, Duration)> {
        loop {
            let (holder, left) = self.holders.pop_front()?;
            let links = self.links.get_mut(&holder)?;
            let link = links.pop_front();
            let taken = link.and_then(|link| Some((link, self.queues.get_mut(&link)?.pop_front()?)));
            if let Some((link, _)) = taken {
                if self.queues.get(&link).is_some_and(VecDeque::is_empty) {
                    self.queues.remove(&link);
                } else {
                    links.push_back(link);
                }
            }
            if links.is_empty() {
                self.links.remove(&holder);
            } else if left > 1 {
                self.holders.push_front((holder, left - 1));
            } else {
                self.holders.push_back((holder, turns(holder)));
            }
            let Some((link, Waiting { since, request })) = taken else { continue };
            if matches!(request, Request::Circuit(..)) {
                self.creates.remove(link);
            }
            return Some((link, request, now.since(since)));
        }
    }

    /// A client gave up a CREATE that is not answered.
    pub(super) fn cancel(&mut self, link: LinkKey, circuit: CircuitId) {
        let Some(queue) = self.queues.get_mut(&link) else { return };
        let before = queue.len();
        queue.retain(|w| !matches!(w.request, Request::Circuit(id, _) if id == circuit));
        if queue.len() < before {
            self.creates.remove(link);
        }
        if queue.is_empty() {
            self.queues.remove(&link);
        }
    }

    /// A link is gone, and what it asked for with it.
    pub(super) fn forget(&mut self, link: LinkKey) {
        for waiting in self.queues.remove(&link).unwrap_or_default() {
            if matches!(waiting.request, Request::Circuit(..)) {
                self.creates.remove(link);
            }
        }
    }
}

/// How many requests of a holder are answered in a row: a relay asks for many clients.
fn turns(holder: Holder) -> usize {
    match holder {
        Holder::Subnet(_) => 1,
        Holder::Relay(_) => RELAY_WEIGHT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::role::slab::Key;
    use crate::wire::ids::RelayId;

    fn link(n: u64) -> LinkKey {
        LinkKey(Key::from_u64(n))
    }

    fn from(ip: &str) -> Source {
        Source::of(ip.parse().unwrap())
    }

    fn create(n: u32) -> Request {
        Request::Circuit(CircuitId(n), Box::new([0; REQUEST_SIZE]))
    }

    fn order(handshakes: &mut Handshakes) -> Vec<LinkKey> {
        core::iter::from_fn(|| handshakes.pop(Instant(0))).map(|(link, ..)| link).collect()
    }

    #[test]
    fn who_asks_for_much_waits_for_its_own() {
        let mut h = Handshakes::default();
        for n in 0..20 {
            h.push(Instant(0), link(1), from("192.0.2.1"), create(n));
            h.push(Instant(0), link(2), from("192.0.2.2"), create(n));
        }
        h.push(Instant(0), link(3), from("198.51.100.1"), create(1));
        h.push(Instant(0), link(4), from("192.0.2.1"), Request::Link);
        let order = order(&mut h);
        assert_eq!(order[..5], [link(1), link(3), link(2), link(4), link(1)], "by holder, then by link");
        assert_eq!((order.len(), h.is_empty(), h.creates.total()), (42, true, 0));
    }

    #[test]
    fn a_relay_asks_for_many() {
        let mut h = Handshakes::default();
        let relay = Source { holder: Holder::Relay(RelayId([1; 32])), ..from("203.0.113.1") };
        for n in 0..20 {
            h.push(Instant(0), link(1), from("192.0.2.1"), create(n));
            h.push(Instant(0), link(2), relay, create(n));
        }
        let order = order(&mut h);
        assert_eq!(order[..10].iter().filter(|&&l| l == link(2)).count(), 8);
    }

    // spec: CIRC-18
    #[test]
    fn where_too_many_wait_the_last_of_whoever_has_most_is_refused() {
        let mut h = Handshakes::default();
        let half = HANDSHAKES_MAX as u32 / 2;
        for n in 0..half {
            assert_eq!(h.push(Instant(0), link(1), from("192.0.2.1"), create(n)), None);
        }
        assert_eq!(h.push(Instant(0), link(2), from("192.0.2.2"), create(1)), Some((link(1), CircuitId(half - 1))));
        assert_eq!(h.push(Instant(0), link(3), from("198.51.100.2"), create(1)), None);
        assert_eq!(h.push(Instant(0), link(2), from("192.0.2.2"), Request::Link), None, "links are bounded elsewhere");
        h.forget(link(1));
        assert_eq!((order(&mut h), h.creates.total()), (vec![link(3), link(2), link(2)], 0));
    }
}
