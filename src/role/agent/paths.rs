//! Paths from the snapshot and the guards, as the client's role draws them.

use crate::base::rng::Rng;
use crate::base::time::Now;
use crate::proto::directory::snapshot::Snapshot;
use crate::proto::path::{GuardTrouble, Guards, LastHop, PathNeed, Sample, apart, choose_path, choose_probe};
use crate::proto::profile::Profile;
use crate::role::client::{PathEnd, PathSource};
use crate::role::contact::{Contact, Roster};
use crate::wire::descriptor::SignedDescriptor;
use crate::wire::ids::RelayId;
use core::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// What a node knows for drawing paths. Shared by the node and its client role, on one thread.
pub(super) struct PathState {
    pub(super) profile: &'static Profile,
    pub(super) own: Option<RelayId>,
    pub(super) hops: usize,
    pub(super) guards: Guards,
    /// What paths are drawn from.
    pub(super) snapshot: Option<Arc<Snapshot>>,
    /// A snapshot that is being checked: only the circuits that check it may use it.
    pub(super) candidate: Option<Arc<Snapshot>>,
    /// The guards of its circuits: a copy, so that a lying source of candidates plants none in the list we keep.
    pub(super) trial: Guards,
    /// Relays that can be reached by name besides those of the snapshot: seeds, and what a relay's directory knows.
    pub(super) roster: Roster,
}

/// The client role's handle on the [`PathState`] that it shares with the agent of the same thread.
pub(super) struct Paths(pub(super) Rc<RefCell<PathState>>);

impl From<&SignedDescriptor> for Contact {
    fn from(d: &SignedDescriptor) -> Self {
        Self { id: d.id(), addrs: d.addrs.clone(), link_key: d.link_key, onion_key: d.onion_key, cipher: d.cipher }
    }
}

/// A roster of these relays.
pub(super) fn roster<'a>(relays: impl IntoIterator<Item = &'a Arc<SignedDescriptor>>) -> Roster {
    Arc::new(relays.into_iter().map(|d| (d.id(), Contact::from(&**d))).collect())
}

impl PathState {
    /// The problem with the guards, for the node's owner.
    pub(super) fn trouble(&self, now: Now) -> Vec<GuardTrouble> {
        self.snapshot.as_ref().map_or_else(Vec::new, |s| self.guards.trouble(s, self.own, now))
    }
}

/// What the end of a path asks of its last hop. `None` where the relay is no exit that should be one.
fn last_hop(snapshot: &Snapshot, end: PathEnd) -> Option<LastHop> {
    Some(match end {
        PathEnd::Any => LastHop::Any,
        PathEnd::Exit => LastHop::Exit,
        PathEnd::ThisExit(relay) => {
            snapshot.get(&relay).filter(|d| d.exit)?;
            LastHop::This(relay)
        }
        PathEnd::This(relay, _) | PathEnd::Drawn(relay) => LastHop::This(relay),
        PathEnd::Before(relay) => LastHop::ThenFourth(relay),
    })
}

/// Length of a path to a custodian: one relay more than usual, unless the network is so small that no relay could be down then.
// spec: CLIENT-41
fn hops_to_custodian(hops: usize, snapshot: &Snapshot, own: Option<RelayId>) -> usize {
    let is_own = own.is_some_and(|own| snapshot.get(&own).is_some());
    let others = snapshot.len().saturating_sub(usize::from(is_own));
    if others > hops + 1 { hops + 1 } else { hops.min(others) }
}

impl PathSource for Paths {
    fn path(&mut self, now: Now, rng: &mut Rng, end: PathEnd) -> Option<Vec<Contact>> {
        let PathState { profile, own, hops, guards, snapshot, candidate, trial, .. } = &mut *self.0.borrow_mut();
        let checking = candidate.as_ref().filter(|_| matches!(end, PathEnd::This(..)));
        // spec: CLIENT-10
        let guards = if checking.is_some() { trial } else { guards };
        let snapshot = checking.or(snapshot.as_ref())?;
        let last = last_hop(snapshot, end)?;
        let length = match last {
            LastHop::ThenFourth(_) => hops_to_custodian(*hops, snapshot, *own),
            _ => *hops,
        };
        let guard = if let PathEnd::This(_, guard) = end { guard } else { 0 };
        let need = PathNeed { length, last, exclude: *own, guard };
        let mut path: Vec<_> =
            choose_path(snapshot, guards, now, rng, profile, need)?.iter().map(|d| Contact::from(&**d)).collect();
        if matches!(end, PathEnd::Before(_)) {
            path.pop();
        }
        Some(path)
    }

    fn contact(&self, relay: &RelayId) -> Option<Contact> {
        let state = self.0.borrow();
        let settled = state.snapshot.iter().chain(&state.candidate).find_map(|s| s.get(relay));
        settled.map(|d| Contact::from(&**d)).or_else(|| state.roster.get(relay).cloned())
    }

    fn may_follow(&self, path: &[RelayId], relay: &RelayId) -> bool {
        let PathState { profile, snapshot, .. } = &*self.0.borrow();
        let Some((snapshot, last)) = snapshot.as_ref().and_then(|s| Some((s, s.get(relay)?))) else { return false };
        path.iter().all(|hop| snapshot.get(hop).is_some_and(|hop| apart(hop, last, profile)))
    }

    fn first_hop(&mut self, now: Now, relay: &RelayId, works: bool) {
        let PathState { guards, trial, .. } = &mut *self.0.borrow_mut();
        for list in [guards, trial] {
            if works { list.succeeded(relay, now) } else { list.failed(relay, now) }
        }
    }

    fn reached(&mut self, now: Now, relay: &RelayId) {
        let PathState { guards, trial, .. } = &mut *self.0.borrow_mut();
        guards.reached(relay, now);
        trial.reached(relay, now);
    }

    fn sample(&mut self, now: Now, first: &RelayId, sample: Sample) {
        if self.0.borrow_mut().guards.count(first, sample, now) {
            tracing::warn!(guard = %first, "a guard blocks circuits and is not used any more");
        }
    }

    fn probe_due(&mut self, now: Now) -> Option<RelayId> {
        let PathState { own, guards, snapshot, .. } = &mut *self.0.borrow_mut();
        guards.probe(snapshot.as_ref()?, *own, now)
    }

    fn probe(&mut self, _now: Now, rng: &mut Rng, through: &RelayId, end: PathEnd) -> Option<Vec<Contact>> {
        let PathState { profile, own, hops, snapshot, .. } = &mut *self.0.borrow_mut();
        let snapshot = snapshot.as_ref()?;
        let last = last_hop(snapshot, end)?;
        let need = PathNeed { length: *hops, last, exclude: *own, guard: 0 };
        let path = choose_probe(snapshot, through, rng, profile, need)?;
        Some(path.iter().map(|d| Contact::from(&**d)).collect())
    }

    fn is_ready(&self) -> bool {
        self.0.borrow().snapshot.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::{Duration, Instant};
    use crate::proto::directory::testing::{NETWORK, START, record, with};

    // spec: CLIENT-9
    #[test]
    fn a_relay_of_a_hop_s_family_does_not_follow_it() {
        let cut = START.minus(Duration::from_millis(START.0 % 1000));
        let published = cut.minus(Duration::from_secs(5));
        let family = |i| with(i, published, |d| d.family = Some([7; 32]));
        let records = vec![family(0), family(1), record(2, published)];
        let profile = &Profile::TESTING;
        let state = PathState {
            profile,
            own: None,
            hops: 3,
            guards: Guards::new(),
            snapshot: Some(Arc::new(Snapshot::settle(&records, cut, profile, NETWORK))),
            candidate: None,
            trial: Guards::new(),
            roster: roster(&records),
        };
        let paths = Paths(Rc::new(RefCell::new(state)));
        let id = |i: usize| records[i].id();
        assert!(!paths.may_follow(&[id(2), id(0)], &id(1)), "of one family");
        assert!(!paths.may_follow(&[id(2), id(0)], &id(2)), "in it already");
        assert!(paths.may_follow(&[id(0)], &id(2)));
    }

    // spec: CLIENT-41
    #[test]
    fn a_custodian_is_the_fourth_relay_where_one_may_be_down_and_else_the_last_of_three() {
        let cut = START.minus(Duration::from_millis(START.0 % 1000));
        let records: Vec<_> = (0..6).map(|i| record(i, cut.minus(Duration::from_secs(5)))).collect();
        let profile = &Profile::TESTING;
        for (n, own, expected) in
            [(3, None, 3), (4, None, 3), (5, None, 4), (6, None, 4), (3, Some(0), 2), (5, Some(0), 3), (6, Some(0), 4)]
        {
            let set = Arc::new(Snapshot::settle(&records[..n], cut, profile, NETWORK));
            let state = PathState {
                profile,
                own: own.map(|i: usize| records[i].id()),
                hops: 3,
                guards: Guards::new(),
                snapshot: Some(set),
                candidate: None,
                trial: Guards::new(),
                roster: roster(&records),
            };
            let mut paths = Paths(Rc::new(RefCell::new(state)));
            let (now, mut rng) = (Now { mono: Instant(0), unix: START }, Rng::from_seed([1; 32]));
            for custodian in &records[1..n] {
                let path = paths.path(now, &mut rng, PathEnd::Before(custodian.id())).unwrap();
                assert_eq!(path.len() + 1, expected, "{n} relays, own {own:?}");
                assert!(path.iter().all(|hop| hop.id != custodian.id()));
            }
        }
    }

    // spec: CLIENT-10
    #[test]
    fn a_candidate_s_circuits_choose_no_lasting_guard() {
        let cut = START.minus(Duration::from_millis(START.0 % 1000));
        let records: Vec<_> = (0..9).map(|i| record(i, cut.minus(Duration::from_secs(5)))).collect();
        let profile = &Profile::TESTING;
        let invented = Arc::new(Snapshot::settle(&records, cut, profile, NETWORK));
        let state = Rc::new(RefCell::new(PathState {
            profile,
            own: None,
            hops: 3,
            guards: Guards::new(),
            snapshot: None,
            candidate: Some(Arc::clone(&invented)),
            trial: Guards::new(),
            roster: roster(&records),
        }));
        let mut paths = Paths(Rc::clone(&state));
        let (now, mut rng) = (Now { mono: Instant(0), unix: START }, Rng::from_seed([1; 32]));
        let signer = invented.relays()[0].id();
        let path = paths.path(now, &mut rng, PathEnd::This(signer, 0)).unwrap();
        paths.first_hop(now, &path[0].id, true);
        assert!(path.len() == 3 && state.borrow().guards.is_empty() && !state.borrow().trial.is_empty());
        assert!(paths.path(now, &mut rng, PathEnd::Any).is_none(), "and it serves no other circuit");
    }
}
