//! A relay's content: the store that others ask, and the replicator that brings its objects to their custodians.

use super::{Agent, Owner};
use crate::base::time::{Instant, Now};
use crate::proto::content::replicate::{Placement, Replicator};
use crate::proto::content::service::StoreService;
use crate::proto::content::store::BlockStore;
use crate::proto::profile::Profile;
use crate::wire::ids::RelayId;
use std::sync::Arc;

/// See the module's text.
pub(super) struct Store {
    pub(super) service: StoreService<Box<dyn BlockStore>>,
    pub(super) replicator: Replicator,
    /// The members the objects were last placed for.
    placed: Option<([u8; 32], [u8; 32])>,
}

impl Store {
    pub(super) fn new(store: Box<dyn BlockStore>, own: RelayId, profile: &Profile) -> Self {
        Self {
            service: StoreService::new(store, profile.lease),
            replicator: Replicator::new(own, profile.custodians, profile.replicate_interval),
            placed: None,
        }
    }
}

impl Agent {
    /// Carries out what the replicator wants; whether it made calls.
    pub(super) fn drive_store(&mut self, now: Now) -> bool {
        let Some(store) = &mut self.store else { return false };
        let mut calls = Vec::new();
        while let Some(call) = store.replicator.poll(now, &mut self.rng, &mut store.service) {
            calls.push(call);
        }
        let any = !calls.is_empty();
        for call in calls {
            self.call(now, Owner::Replicator, call);
        }
        any
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
