//! Which objects are to be looked at, and which of their custodians are to be asked: those of which it is not known that they
//! hold the object, and now and then one of the others by chance.

use super::Placement;
use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant};
use crate::wire::ids::{Locator, RelayId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Objects whose custodians are remembered; of others every custodian is asked whenever they are looked at.
pub const SEEN_MAX: usize = 1 << 18;
/// Custodians remembered of one object.
const MARKS_MAX: usize = 16;
/// Objects that wait for their turn.
pub const DUE_MAX: usize = 1_024;
/// Objects to be looked at at a later time. What finds no place is found by the next pass over the store.
pub const LATER_MAX: usize = 4_096;
/// Custodians asked about an object of which nothing is known: after a start.
pub const FIRST_ASKED: usize = 3;
/// For how long a custodian is left alone after it failed; doubles up to [`AWAY_MAX`].
pub const AWAY_FIRST: Duration = Duration::from_secs(15);
/// The longest such time.
pub const AWAY_MAX: Duration = Duration::from_secs(3600);

/// Why an object is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Somebody asked for it and waits: every custodian is asked.
    Asked,
    /// It is new, or its custodians may have changed.
    Changed,
    /// Its turn has come.
    Check,
}

/// What is known of one object's custodians, each by a mark of 16 bits.
#[derive(Clone, Copy, Default)]
struct Seen {
    marks: [u16; MARKS_MAX],
    /// A bit for each mark: it said so itself, and was not only presumed to.
    sure: u16,
}

impl Seen {
    fn find(&self, mark: u16) -> Option<usize> {
        self.marks.iter().position(|m| *m == mark)
    }

    fn remove(&mut self, mark: u16) {
        if let Some(at) = self.find(mark) {
            self.marks[at] = 0;
            self.sure &= !(1 << at);
        }
    }

    fn insert(&mut self, mark: u16, sure: bool) {
        let Some(at) = self.find(mark).or_else(|| self.find(0)) else { return };
        self.marks[at] = mark;
        self.sure |= u16::from(sure) << at;
    }
}

/// A custodian that failed.
struct Away {
    until: Instant,
    failures: u32,
    /// Whether it is left alone now.
    out: bool,
}

/// The custodians of an object that are to be asked.
pub(super) struct Aim {
    pub(super) ask: Vec<RelayId>,
    /// Custodians that are not asked and said before that they hold it.
    pub(super) sure: usize,
    /// Custodians in all, this relay included where it is one.
    pub(super) wanted: usize,
    /// Whether this relay is one of them.
    pub(super) ours: bool,
}

/// What is known of objects and custodians, and what is due.
pub(super) struct Plan {
    own: RelayId,
    custodians: usize,
    interval: Duration,
    /// Marks cannot be chosen by whoever chooses a relay's id.
    salt: u64,
    seen: BTreeMap<Locator, Seen>,
    away: BTreeMap<RelayId, Away>,
    /// Custodians that lost an object, and when that was last acted on.
    suspected: BTreeMap<RelayId, Instant>,
    due: VecDeque<(Locator, Why)>,
    queued: BTreeSet<Locator>,
    later: BTreeSet<(Instant, Locator)>,
    /// Something was left out: a pass over the store finds it.
    pub(super) owes_pass: bool,
}

impl Plan {
    pub(super) fn new(own: RelayId, custodians: usize, interval: Duration) -> Self {
        Self {
            own,
            custodians,
            interval,
            salt: 0,
            seen: BTreeMap::new(),
            away: BTreeMap::new(),
            suspected: BTreeMap::new(),
            due: VecDeque::new(),
            queued: BTreeSet::new(),
            later: BTreeSet::new(),
            owes_pass: false,
        }
    }

    pub(super) fn season(&mut self, rng: &mut Rng) {
        if self.salt == 0 {
            self.salt = u64::from_be_bytes(rng.bytes()) | 1;
        }
    }

    fn mark(&self, id: &RelayId) -> u16 {
        let word = id.0.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        // Multiply-shift: two ids have one mark with a chance of 1 in 32,768 whoever chose them. Zero is no mark.
        ((word.wrapping_mul(self.salt) >> 48) as u16).max(1)
    }

    /// Has an object looked at.
    pub(super) fn push(&mut self, object: Locator, why: Why) {
        if self.due.len() >= DUE_MAX {
            self.owes_pass = true;
        } else if self.queued.insert(object) {
            self.due.push_back((object, why));
        }
    }

    /// Has an object looked at then.
    pub(super) fn push_later(&mut self, at: Instant, object: Locator) {
        if self.later.len() >= LATER_MAX {
            self.owes_pass = true;
        } else {
            self.later.insert((at, object));
        }
    }

    /// The next object that is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Locator, Why)> {
        while self.due.len() < DUE_MAX
            && let Some((_, object)) = self.later.first().filter(|(at, _)| *at <= now).copied()
        {
            self.later.pop_first();
            self.push(object, Why::Changed);
        }
        let (object, why) = self.due.pop_front()?;
        self.queued.remove(&object);
        Some((object, why))
    }

    pub(super) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// When the next object is to be looked at, or a custodian that failed comes into question again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let later = self.later.first().map(|(at, _)| *at);
        later.into_iter().chain(self.away.values().filter(|a| a.out).map(|a| a.until)).min()
    }

    /// Custodians that were left alone long enough: a pass over the store tries what they were not brought.
    pub(super) fn return_custodians(&mut self, now: Instant) {
        for away in self.away.values_mut().filter(|a| a.out && a.until <= now) {
            away.out = false;
            self.owes_pass = true;
        }
        self.away.retain(|_, a| now < a.until + AWAY_MAX);
    }

    fn is_away(&self, id: &RelayId) -> bool {
        self.away.get(id).is_some_and(|a| a.out)
    }

    /// Whether something may have to be done for an object: a custodian of it is neither known to hold it nor away.
    pub(super) fn lacks_custodian(&self, placement: &dyn Placement, object: &Locator) -> bool {
        let Some(seen) = self.seen.get(object) else { return true };
        let is_open = |id: &RelayId| *id != self.own && seen.find(self.mark(id)).is_none() && !self.is_away(id);
        placement.custodians(&object.0, self.custodians).iter().any(is_open)
    }

    /// Which custodians of an object are to be asked.
    // spec: CONT-28
    pub(super) fn aim(&mut self, placement: &dyn Placement, rng: &mut Rng, object: &Locator, why: Why) -> Aim {
        let all = placement.custodians(&object.0, self.custodians);
        let wanted = all.len();
        let others: Vec<_> = all.into_iter().filter(|id| *id != self.own).collect();
        let ours = others.len() < wanted;
        if why == Why::Asked {
            return Aim { ask: others, sure: 0, wanted, ours };
        }
        let marks: Vec<_> = others.iter().map(|id| self.mark(id)).collect();
        let known = self.seen.get_mut(object);
        let is_known = known.is_some();
        if let Some(seen) = known {
            let gone: Vec<_> = seen.marks.iter().copied().filter(|m| *m != 0 && !marks.contains(m)).collect();
            gone.into_iter().for_each(|mark| seen.remove(mark));
        }
        let seen = self.seen.get(object).copied().unwrap_or_default();
        let (mut held, mut open): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|id| seen.find(self.mark(id)).is_some());
        open.retain(|id| !self.is_away(id));
        if !is_known && !matches!(why, Why::Changed) {
            rng.shuffle(&mut open);
            open.truncate(FIRST_ASKED);
        } else if why == Why::Check {
            held.retain(|id| !self.is_away(id));
            rng.shuffle(&mut held);
            open.extend(held.first());
        }
        let sure = |id: &&RelayId| seen.find(self.mark(id)).is_some_and(|at| seen.sure & (1 << at) != 0);
        let sure = held.iter().filter(|id| !open.contains(id)).filter(sure).count();
        Aim { ask: open, sure, wanted, ours }
    }

    /// A custodian said that it holds an object.
    pub(super) fn holds(&mut self, object: &Locator, id: &RelayId) {
        self.away.remove(id);
        let mark = self.mark(id);
        self.note(object, mark, true);
    }

    fn note(&mut self, object: &Locator, mark: u16, sure: bool) {
        if self.seen.len() >= SEEN_MAX && !self.seen.contains_key(object) {
            return;
        }
        self.seen.entry(*object).or_default().insert(mark, sure);
    }

    /// All that were asked about an object of which nothing was known hold it: so will the rest, until their turn comes.
    pub(super) fn presume(&mut self, placement: &dyn Placement, object: &Locator) {
        for id in placement.custodians(&object.0, self.custodians) {
            let mark = self.mark(&id);
            let known = self.seen.get(object).is_some_and(|seen| seen.find(mark).is_some());
            if id != self.own && !known {
                self.note(object, mark, false);
            }
        }
    }

    /// Whether anything is known of an object's custodians.
    pub(super) fn knows(&self, object: &Locator) -> bool {
        self.seen.contains_key(object)
    }

    /// A custodian does not hold an object. If it did before, it may have lost all: it is asked about each once more, though not
    /// more than once in an interval.
    pub(super) fn lost(&mut self, now: Instant, object: &Locator, id: &RelayId) {
        let mark = self.mark(id);
        let Some(seen) = self.seen.get_mut(object).filter(|seen| seen.find(mark).is_some()) else { return };
        seen.remove(mark);
        let interval = self.interval;
        self.suspected.retain(|_, at| now.since(*at) < interval);
        if self.suspected.contains_key(id) {
            return;
        }
        self.suspected.insert(*id, now);
        self.seen.values_mut().for_each(|seen| seen.remove(mark));
        self.owes_pass = true;
    }

    /// A custodian failed: it is left alone for a while.
    pub(super) fn failed(&mut self, now: Instant, id: &RelayId) {
        let failures = self.away.get(id).map_or(0, |a| a.failures);
        let pause = (AWAY_FIRST * (1 << failures.min(16))).min(AWAY_MAX);
        self.away.insert(*id, Away { until: now + pause, failures: failures + 1, out: true });
    }

    /// These are all whole objects after `after`, up to `last`: what is known of others there is over.
    pub(super) fn listed(&mut self, after: Option<Locator>, objects: &[Locator], last: Option<Locator>) {
        use core::ops::Bound::{Excluded, Included, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let to = last.map_or(Unbounded, Included);
        if after.is_some() && after >= last && last.is_some() {
            return;
        }
        let gone = self.seen.range::<Locator, _>((from, to)).map(|(o, _)| *o);
        let gone: Vec<_> = gone.filter(|o| objects.binary_search(o).is_err()).collect();
        for object in gone {
            self.seen.remove(&object);
        }
    }
}
