//! A relay's content: the replicator that brings the objects of its store to their custodians. The store itself is
//! outside: what is asked of it goes out as [`Output::Store`].

use super::{Agent, Owner};
use crate::base::time::{Instant, Now};
use crate::proto::content::call::{StoreCallId, StoreReply};
use crate::proto::content::replicate::{Placement, Replicator, ReplicatorOutput};
use crate::proto::profile::Profile;
use crate::role::Output;
use crate::wire::ids::RelayId;
use std::sync::Arc;

/// What a relay with a store knows of it.
pub(super) struct Store {
    pub(super) replicator: Replicator,
    /// The members the objects were last placed for.
    placed: Option<([u8; 32], [u8; 32])>,
}

impl Store {
    pub(super) fn new(own: RelayId, profile: &Profile) -> Self {
        let (interval, spread) = (profile.replicate_interval, profile.replicate_spread);
        Self { replicator: Replicator::new(own, profile.custodians, interval, spread), placed: None }
    }
}

impl Agent {
    /// Carries out what the replicator wants; whether it made calls.
    pub(super) fn drive_store(&mut self, now: Now) -> bool {
        let Some(store) = &mut self.store else { return false };
        let mut calls = Vec::new();
        while let Some(output) = store.replicator.poll(now, &mut self.rng) {
            match output {
                ReplicatorOutput::Call(call) => calls.push(call),
                ReplicatorOutput::Store(id, call) => self.store_calls.push_back(Output::Store(id, call)),
            }
        }
        let any = !calls.is_empty();
        for call in calls {
            self.call(now, Owner::Replicator, call);
        }
        any
    }

    /// The store answered.
    pub(super) fn stored(&mut self, now: Now, id: StoreCallId, reply: StoreReply) {
        if let Some(store) = &mut self.store {
            store.replicator.stored(now, &mut self.rng, id, reply);
        }
    }

    pub(super) fn store_deadline(&self) -> Option<Instant> {
        self.store.as_ref().and_then(|s| s.replicator.deadline())
    }

    /// The members changed: objects may have other custodians now.
    pub(super) fn place(&mut self, now: Now) {
        let Some(snapshot) = self.snapshot() else { return };
        let Some(store) = &mut self.store else { return };
        // A new cut of the same records places everything as before.
        let members = (snapshot.root, snapshot.beacon);
        if store.placed.replace(members) != Some(members) {
            store.replicator.settled(now, &mut self.rng, snapshot as Arc<dyn Placement>);
        }
    }
}
