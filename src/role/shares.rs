//! Who holds how many places of a table, so that nobody's share pushes out everybody else.
//!
//! A holder is a relay that proved which one it is, or the subnet that an address lies in. Below it stand its addresses, and
//! below those its members: the links, of which every one that holds places counts them. Where a table is full, places are taken
//! back from the largest member of the largest address of the largest holder: whoever holds little keeps all of it, and finds
//! room, however many a stranger took.

use crate::base::addr::{Subnet, subnet};
use crate::wire::ids::RelayId;
use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

/// A relay of the directory may hold this many times what a subnet may: what it holds is of many clients.
pub const RELAY_WEIGHT: usize = 8;

/// Who is held to one share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// Everybody in one subnet who did not prove to be a relay.
    Subnet(Subnet),
    /// A relay of the directory, wherever it connects from.
    Relay(RelayId),
}

impl Holder {
    /// One place of a subnet weighs as much as this many of a relay.
    fn weight(self) -> usize {
        match self {
            Self::Subnet(_) => RELAY_WEIGHT,
            Self::Relay(_) => 1,
        }
    }
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// Whose share it counts to.
    pub holder: Holder,
    /// The address, as the system names it.
    pub addr: IpAddr,
}

impl Source {
    /// A connection from somebody unknown.
    pub fn of(addr: IpAddr) -> Self {
        Self { holder: Holder::Subnet(subnet(addr)), addr }
    }
}

/// Counts below each parent, with the largest at hand.
struct Level<P, C> {
    counts: BTreeMap<P, BTreeMap<C, usize>>,
    sizes: BTreeMap<P, BTreeSet<(usize, C)>>,
}

impl<P, C> Default for Level<P, C> {
    fn default() -> Self {
        Self { counts: BTreeMap::new(), sizes: BTreeMap::new() }
    }
}

impl<P: Copy + Ord, C: Copy + Ord> Level<P, C> {
    fn get(&self, parent: P, child: C) -> usize {
        self.counts.get(&parent).and_then(|c| c.get(&child)).copied().unwrap_or_default()
    }

    fn set(&mut self, parent: P, child: C, count: usize, weight: usize) {
        let (counts, sizes) = (self.counts.entry(parent).or_default(), self.sizes.entry(parent).or_default());
        let old = if count == 0 { counts.remove(&child) } else { counts.insert(child, count) };
        if let Some(old) = old {
            sizes.remove(&(old * weight, child));
        }
        if count > 0 {
            sizes.insert((count * weight, child));
        }
        if counts.is_empty() {
            self.counts.remove(&parent);
            self.sizes.remove(&parent);
        }
    }

    fn largest(&self, parent: P) -> Option<C> {
        self.sizes.get(&parent)?.last().map(|&(_, child)| child)
    }
}

/// The places that are held, by holder, address and member `M`. Every step takes logarithmic time.
pub struct Shares<M> {
    /// Each member's source and places.
    members: BTreeMap<M, (Source, usize)>,
    holders: Level<(), Holder>,
    addrs: Level<Holder, IpAddr>,
    by_addr: Level<Source, M>,
    total: usize,
}

impl<M> Default for Shares<M> {
    fn default() -> Self {
        Self {
            members: BTreeMap::new(),
            holders: Level::default(),
            addrs: Level::default(),
            by_addr: Level::default(),
            total: 0,
        }
    }
}

impl<M: Copy + Ord> Shares<M> {
    /// A member from this source takes one more place. A member keeps the source it first came from.
    pub fn add(&mut self, source: Source, member: M) {
        let source = self.members.get(&member).map_or(source, |m| m.0);
        self.change(source, member, |n| n + 1);
    }

    /// A member gives one place back.
    pub fn remove(&mut self, member: M) {
        if let Some(&(source, _)) = self.members.get(&member) {
            self.change(source, member, |n| n - 1);
        }
    }

    /// All that a member holds counts to another source from now on.
    pub fn rehome(&mut self, member: M, source: Source) {
        if let Some(&(old, n)) = self.members.get(&member) {
            self.change(old, member, |_| 0);
            self.change(source, member, |_| n);
        }
    }

    fn change(&mut self, source: Source, member: M, to: impl FnOnce(usize) -> usize) {
        let Source { holder, addr } = source;
        let old = self.of_member(member);
        let new = to(old);
        let moved = |count: usize| count + new - old;
        let (of_holder, of_addr) = (moved(self.of(holder)), moved(self.addrs.get(holder, addr)));
        self.total = moved(self.total);
        self.holders.set((), holder, of_holder, holder.weight());
        self.addrs.set(holder, addr, of_addr, 1);
        self.by_addr.set(source, member, new, 1);
        if new == 0 {
            self.members.remove(&member);
        } else {
            self.members.insert(member, (source, new));
        }
    }

    /// Places held by everybody.
    pub fn total(&self) -> usize {
        self.total
    }

    /// Places held by one holder.
    pub fn of(&self, holder: Holder) -> usize {
        self.holders.get((), holder)
    }

    /// Places held by one member.
    pub fn of_member(&self, member: M) -> usize {
        self.members.get(&member).map_or(0, |m| m.1)
    }

    /// Whom a place is to be taken from before this source gets one more, of `max` for everybody and half of them for one
    /// holder: where the table is full, the largest of all; where its own holder's half is, the largest there. `None` when
    /// there is room.
    pub fn to_yield(&self, source: Source, max: usize) -> Option<Yields<M>> {
        let holder = if self.total >= max {
            self.holders.largest(())?
        } else if self.of(source.holder) >= max.div_ceil(2) {
            source.holder
        } else {
            return None;
        };
        let addr = self.addrs.largest(holder)?;
        let source = Source { holder, addr };
        Some(Yields { source, member: self.by_addr.largest(source)? })
    }
}

/// Who is to give up a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Yields<M> {
    /// The address that holds most.
    pub source: Source,
    /// The member of it that holds most.
    pub member: M,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(ip: &str) -> Source {
        Source::of(ip.parse().unwrap())
    }

    #[test]
    fn the_largest_member_of_the_largest_holder_yields() {
        let mut shares = Shares::default();
        for (ip, member, places) in
            [("192.0.2.1", 1, 5), ("192.0.2.1", 2, 7), ("192.0.2.9", 3, 11), ("198.51.100.1", 4, 22)]
        {
            for _ in 0..places {
                shares.add(from(ip), member);
            }
        }
        assert_eq!((shares.total(), shares.of(from("192.0.2.77").holder), shares.of_member(2)), (45, 23, 7));
        let new = from("203.0.113.1");
        assert_eq!(shares.to_yield(new, 46), None, "there is room");
        // 23 places of one /24 against 22 of the other; there 12 of one address against 11.
        assert_eq!(shares.to_yield(new, 45), Some(Yields { source: from("192.0.2.1"), member: 2 }));
        for _ in 0..2 {
            shares.remove(2);
        }
        assert_eq!(shares.to_yield(new, 43).map(|y| y.member), Some(4), "now the other is the largest");
        for member in [1, 2, 3, 4] {
            (0..99).for_each(|_| shares.remove(member));
        }
        assert_eq!((shares.total(), shares.to_yield(new, 0)), (0, None));
    }

    #[test]
    fn who_holds_nothing_leaves_nothing() {
        let mut shares = Shares::default();
        for member in 0..100 {
            shares.add(from("192.0.2.1"), member);
        }
        (1..100).for_each(|member| shares.remove(member));
        let of_addr = &shares.by_addr.sizes[&from("192.0.2.1")];
        assert_eq!((of_addr.len(), shares.members.len()), (1, 1));
    }

    #[test]
    fn one_holder_gets_half_and_makes_room_for_its_own() {
        let mut shares = Shares::default();
        for _ in 0..50 {
            shares.add(from("192.0.2.1"), 1);
        }
        assert_eq!(shares.to_yield(from("192.0.2.2"), 100).map(|y| y.member), Some(1), "its neighbour is still served");
        assert_eq!(shares.to_yield(from("198.51.100.1"), 100), None);
    }

    #[test]
    fn a_relay_of_the_directory_holds_more() {
        let mut shares = Shares::default();
        let relay = Source { holder: Holder::Relay(RelayId([1; 32])), ..from("192.0.2.1") };
        (0..70).for_each(|_| shares.add(from("192.0.2.1"), 1));
        shares.rehome(1, relay);
        assert_eq!((shares.of(relay.holder), shares.of(from("192.0.2.1").holder)), (70, 0));
        (0..10).for_each(|_| shares.add(from("198.51.100.1"), 2));
        assert_eq!(shares.to_yield(from("203.0.113.1"), 80).map(|y| y.member), Some(2), "10 · 8 are more than 70");
    }
}
