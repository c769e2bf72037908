//! Room for circuits: whose share is full, and which circuit makes way for a new one.

use super::Circuits;
use crate::role::client::circuit::Circuit;
use crate::role::client::purpose::{CircuitPurpose, Isolation, Share};
use crate::role::limits::{
    CLIENT_CIRCUITS_MAX, DIRECT_CIRCUITS_MAX, EXIT_CIRCUITS_MAX, SITE_CIRCUITS_MAX, USER_CIRCUITS_MAX,
};
use crate::role::slab::Key;
use std::collections::{BTreeMap, BTreeSet};

/// What stands in the way of a new circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::role::client) enum Crowd {
    /// The circuits of one user.
    User([u8; 16]),
    /// Those of one hop: each takes a link of its own.
    Direct,
    /// All of one share.
    Share(Share),
    /// All.
    All,
}

impl Crowd {
    /// Those that a new circuit for this purpose would be among, the smallest first.
    pub(in crate::role::client) fn of(purpose: CircuitPurpose) -> impl Iterator<Item = Self> {
        let least = match purpose {
            CircuitPurpose::Exit(Isolation { user, .. }) => Some(Self::User(user)),
            CircuitPurpose::Direct(_) => Some(Self::Direct),
            CircuitPurpose::Last(..) | CircuitPurpose::Fourth(..) => None,
        };
        least.into_iter().chain([Self::Share(purpose.share()), Self::All])
    }

    fn holds(self, circuit: &Circuit) -> bool {
        match (self, circuit.purpose()) {
            (Self::All, _) => true,
            (Self::Share(share), Some(purpose)) => purpose.share() == share,
            (Self::Direct, Some(CircuitPurpose::Direct(_))) => true,
            (Self::User(of), Some(CircuitPurpose::Exit(Isolation { user, .. }))) => of == user,
            _ => false,
        }
    }
}

/// How many circuits each crowd has, and which of them stand ready for nobody yet: kept, so that a circuit more costs no walk
/// over all.
#[derive(Default)]
pub(super) struct Roll {
    counts: BTreeMap<Crowd, usize>,
    spares: BTreeSet<Key>,
}

impl Roll {
    fn of(&self, crowd: Crowd) -> usize {
        self.counts.get(&crowd).copied().unwrap_or_default()
    }

    /// A circuit that was just begun; without a purpose it is a spare one or a probe.
    pub(super) fn add(&mut self, key: Key, purpose: Option<CircuitPurpose>, is_spare: bool) {
        *self.counts.entry(Crowd::All).or_default() += 1;
        if is_spare {
            self.spares.insert(key);
        }
        if let Some(purpose) = purpose {
            self.serves(key, purpose);
        }
    }

    /// It serves a purpose from now on.
    pub(super) fn serves(&mut self, key: Key, purpose: CircuitPurpose) {
        self.spares.remove(&key);
        for crowd in Crowd::of(purpose).filter(|crowd| *crowd != Crowd::All) {
            *self.counts.entry(crowd).or_default() += 1;
        }
    }

    /// A circuit that is gone.
    pub(super) fn remove(&mut self, key: Key, purpose: Option<CircuitPurpose>) {
        self.spares.remove(&key);
        let crowds = purpose.into_iter().flat_map(Crowd::of).filter(|crowd| *crowd != Crowd::All);
        for crowd in crowds.chain([Crowd::All]) {
            if let Some(count) = self.counts.get_mut(&crowd) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.counts.remove(&crowd);
                }
            }
        }
    }

    /// Circuits that were built ahead of need, or are being built.
    pub(super) fn spares(&self) -> impl Iterator<Item = Key> + '_ {
        self.spares.iter().copied()
    }
}

impl Circuits {
    /// How many circuits a crowd may have. A client that may have fewer in all has the same part of them for exits, and gives no
    /// user and no content more than a quarter.
    fn most(&self, crowd: Crowd) -> usize {
        let quarter = self.cfg.circuits_max.div_ceil(4);
        match crowd {
            Crowd::User(_) => quarter.min(USER_CIRCUITS_MAX),
            // spec: LINK-38
            Crowd::Direct => DIRECT_CIRCUITS_MAX,
            Crowd::Share(Share::Exits) => {
                self.cfg.circuits_max.saturating_mul(EXIT_CIRCUITS_MAX).div_ceil(CLIENT_CIRCUITS_MAX)
            }
            Crowd::Share(Share::Sites) => quarter.min(SITE_CIRCUITS_MAX),
            Crowd::Share(Share::Own) | Crowd::All => self.cfg.circuits_max,
        }
    }

    /// The first crowd that has no room for a circuit of this purpose.
    // spec: CLIENT-18
    pub(in crate::role::client) fn crowded(&self, purpose: CircuitPurpose) -> Option<Crowd> {
        Crowd::of(purpose).find(|&crowd| self.roll.of(crowd) >= self.most(crowd))
    }

    /// The circuit of a crowd that is unused for longest. `is_idle` says which streams keep none in use.
    // spec: CLIENT-19
    pub(in crate::role::client) fn unused(&self, crowd: Crowd, is_idle: impl Fn(Key) -> bool) -> Option<Key> {
        let unused = self.table.iter().filter(|(_, c)| crowd.holds(c) && c.is_unused(&is_idle));
        unused.min_by_key(|(_, c)| (c.purpose().is_some(), c.last_stream())).map(|(key, _)| key)
    }

    /// Whether a circuit may be built that nobody asked for: none that is in use has to make way for it later.
    pub(super) fn has_room_for_spares(&self) -> bool {
        let kept = self.most(Crowd::Share(Share::Exits)) + self.most(Crowd::Share(Share::Sites));
        self.table.len() < kept.max(1)
    }
}
