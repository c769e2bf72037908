//! What relays tell each other at a cut: late items with their signatures, and what members of the group settled.

use super::item::Item;
use super::{PUSH_DELAY, Pending, RelayDirectory};
use crate::base::rng::Rng;
use crate::base::time::{Now, UnixMs};
use crate::proto::directory::snapshot::Snapshot;
use crate::wire::descriptor::SignedDescriptor;
use crate::wire::directory::climbing::{CLIMBING_MAX, Climbing, ItemBytes};
use crate::wire::directory::{DirectoryAnswer, DirectoryRequest, STATEMENTS_MAX, Statement};
use crate::wire::ids::RelayId;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A group of so few is told each late item by every one of its members.
const MESH_MAX: usize = 12;
/// Statements that are remembered, of two cuts.
const TOLD_MAX: usize = 4 * STATEMENTS_MAX;

impl RelayDirectory {
    /// Passes on what climbs, and what was told.
    pub(super) fn tell(&mut self, now: Now, rng: &mut Rng) {
        let fresh = self.ladder.as_mut().map(|l| l.take_fresh()).unwrap_or_default();
        if !fresh.is_empty() {
            let cut = self.ladder.as_ref().map_or(UnixMs(0), |l| l.cut());
            let to = self.climbers(now, rng);
            let items: Vec<_> =
                fresh.into_iter().map(|(item, rungs)| Climbing { item: item.to_wire(), rungs }).collect();
            for part in items.chunks(CLIMBING_MAX) {
                // spec: AGREE-3
                let request = DirectoryRequest::Climb { cut, items: part.to_vec() };
                to.iter().for_each(|peer| self.call(now, *peer, Pending::Push(Vec::new()), &request));
            }
        }
        if self.tell_at.is_some_and(|at| at <= now.mono) {
            self.tell_at = None;
            let list = core::mem::take(&mut self.to_tell);
            let to = self.peers.push_to(self.own, &self.ids, now.mono, rng);
            for part in list.chunks(STATEMENTS_MAX) {
                for peer in &to {
                    if self.room() {
                        self.call(now, *peer, Pending::Push(Vec::new()), &DirectoryRequest::Tell(part.to_vec()));
                    }
                }
            }
        }
    }

    /// Whom a late item is passed on to: the whole group where it is small; and where there are others push peers, who pass it
    /// on as well.
    fn climbers(&mut self, now: Now, rng: &mut Rng) -> Vec<RelayId> {
        let group: BTreeSet<_> = self.ladder.iter().flat_map(|l| l.members()).filter(|id| *id != self.own).collect();
        let is_small = group.len() <= MESH_MAX;
        if is_small && self.ids.iter().all(|id| group.contains(id)) {
            return group.into_iter().collect();
        }
        let mut to = self.peers.push_to(self.own, &self.ids, now.mono, rng);
        if is_small {
            to.retain(|id| !group.contains(id));
            to.extend(group);
        }
        to
    }

    /// Late items that somebody passed on.
    pub(super) fn climb(&mut self, now: Now, cut: UnixMs, items: &[Climbing]) -> DirectoryAnswer {
        let (mut new, mut held, mut refused) = (0, 0, 0);
        for item in items {
            let hash = item.item.hash();
            if !self.open_ladder(cut, now) {
                refused += 1;
                continue;
            }
            if self.ladder.as_ref().is_some_and(|l| l.has(&hash)) {
                held += 1;
                continue;
            }
            match self.climbs(now, hash, item) {
                Some(item) => {
                    new += 1;
                    if let Item::Record(record) = item {
                        let _ = self.records.take(Arc::clone(&record), now.unix);
                        self.records.passed_on(&record);
                        self.known_at.get_or_insert(now.mono + super::KNOWN_DELAY);
                    }
                }
                // Whoever passes on what does not hold has no more of our time.
                None => {
                    refused += 1;
                    break;
                }
            }
        }
        DirectoryAnswer::Taken { new, held, refused }
    }

    fn climbs(&mut self, now: Now, hash: [u8; 32], climbing: &Climbing) -> Option<Item> {
        let ladder = self.ladder.as_ref()?;
        if climbing.rungs.len() < ladder.needed(now.unix)? {
            return None;
        }
        let item = self.verified_item(hash, &climbing.item)?;
        let owner = item.owner(self.cuts.newest().map(|set| &**set));
        let ladder = self.ladder.as_mut()?;
        ladder.climb(now.unix, hash, owner, item.clone(), &climbing.rungs).then_some(item)
    }

    fn verified_item(&self, hash: [u8; 32], bytes: &ItemBytes) -> Option<Item> {
        match bytes {
            ItemBytes::Record(bytes) => {
                if let Some(known) = self.records.hashed(&hash) {
                    return Some(Item::Record(Arc::clone(known)));
                }
                let rules = self.profile.descriptor_rules(self.network);
                SignedDescriptor::decode(bytes, &rules).ok().map(|record| Item::Record(Arc::new(record)))
            }
            ItemBytes::Report(report) => self.proven_report(report).map(Item::Report),
            ItemBytes::Conviction(statements) => self.proven_conviction(**statements).map(Item::Conviction),
        }
    }

    /// Says what we settled, where something climbed.
    pub(super) fn tell_own(&mut self, cut: UnixMs, now: Now) {
        if let DirectoryAnswer::Statement(s) = self.cuts.statement(cut, now.unix) {
            self.told.insert((cut, self.own), s);
            self.pass_on(s, now);
        }
    }

    pub(super) fn pass_on(&mut self, s: Statement, now: Now) {
        if self.to_tell.len() < TOLD_MAX {
            self.to_tell.push(s);
            self.tell_at.get_or_insert(now.mono + PUSH_DELAY);
        }
    }

    /// Statements of others.
    pub(super) fn hear(&mut self, now: Now, list: &[Statement]) -> DirectoryAnswer {
        let (mut new, mut held, mut refused) = (0, 0, 0);
        for s in list {
            let newest = self.cuts.newest().map_or(UnixMs(0), |n| n.cut);
            let is_current = s.cut >= newest && s.cut <= now.unix.plus(self.profile.cuts.late_window);
            match self.told.get(&(s.cut, s.relay)) {
                Some(old) if old == s => held += 1,
                // Somebody else has found out that it states two things.
                Some(old) if old.root != s.root && self.signed_by(s, &s.relay) => {
                    new += 1;
                    self.stated_by(s, now);
                }
                None if is_current && self.told.len() < TOLD_MAX && self.signed_by(s, &s.relay) => {
                    new += 1;
                    self.told.insert((s.cut, s.relay), *s);
                    self.stated_by(s, now);
                    // What is as it should be is no news.
                    if self.cuts.at(s.cut).is_some_and(|ours| ours.root != s.root) {
                        self.pass_on(*s, now);
                    }
                }
                _ => refused += 1,
            }
        }
        if new > 0
            && let Some(newest) = self.cuts.newest().cloned()
        {
            self.compare_told(&newest, now);
        }
        DirectoryAnswer::Taken { new, held, refused }
    }

    /// Asks members once a cut, where one of them was told to have settled another set than ours.
    pub(super) fn compare_told(&mut self, ours: &Snapshot, now: Now) {
        self.told.retain(|(cut, _), _| *cut >= ours.cut);
        // spec: AGREE-6
        let deviates = self.told.values().any(|s| s.cut == ours.cut && s.root != ours.root);
        if deviates && self.asked_cut != ours.cut && self.check_at.is_none() {
            self.asked_cut = ours.cut;
            let round = crate::proto::directory::schedule::Steps::after(Some(ours), self.profile).round;
            self.check_at = Some((now.mono + round, ours.cut));
        }
    }
}
