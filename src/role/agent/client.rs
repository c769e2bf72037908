//! A client's directory in its role: guards for its machine, and snapshots for the paths, as long as they may be used.

use super::paths::{PathState, roster};
use super::{Agent, AgentEvent, Directory};
use crate::base::time::Now;
use crate::proto::directory::client_sync::{ClientDirOutput, Report};
use crate::proto::directory::progress::{Dispute, Stage};
use crate::proto::directory::snapshot::Snapshot;
use crate::proto::rpc::Call;
use crate::wire::descriptor::SignedDescriptor;
use crate::wire::ids::RelayId;
use std::sync::Arc;

impl Agent {
    /// How the client came to its directory; `None` on a relay, which settles its own.
    pub fn report(&self) -> Option<&Report> {
        match &self.directory {
            Directory::Relay(_) => None,
            Directory::Client(directory) => Some(directory.report()),
        }
    }

    /// How many seeds vouched for the first directory in an earlier run.
    pub fn set_vouched(&mut self, vouched: Option<usize>) {
        if let Directory::Client(directory) = &mut self.directory {
            directory.set_vouched(vouched);
        }
    }

    /// The newest set that was offered and that too few relays confirm.
    pub fn dispute(&self, now: Now) -> Option<Dispute> {
        match &self.directory {
            Directory::Relay(_) => None,
            Directory::Client(directory) => directory.dispute(now),
        }
    }

    /// How far the node is on its way to a directory.
    pub fn stage(&self, now: Now) -> Stage {
        match &self.directory {
            Directory::Relay(directory) => directory.stage(now),
            Directory::Client(directory) => directory.stage(),
        }
    }

    /// Carries out what a client's directory wants; a call is left to the caller.
    pub(super) fn client_directory(&mut self, now: Now, output: ClientDirOutput) -> Option<Call> {
        match output {
            ClientDirOutput::Call(call) => return Some(call),
            ClientDirOutput::Sources(relays) => self.add_contacts(&relays),
            ClientDirOutput::Candidate(candidate) => self.try_candidate(now, candidate),
            ClientDirOutput::Verified(snapshot) => self.use_snapshot(now, snapshot),
            ClientDirOutput::Expired => self.drop_snapshot(now),
            ClientDirOutput::SourceFailed { relay, reason } => {
                if reason.damning() {
                    self.paths.borrow_mut().guards.failed(&relay, now);
                }
                self.name_guards(now);
                self.events.push_back(AgentEvent::SourceFailed(relay, reason));
            }
        }
        None
    }

    /// Names the guards from which a client's directory takes statements and snapshots, when it is about to ask.
    pub(super) fn name_guards(&mut self, now: Now) {
        let Directory::Client(directory) = &mut self.directory else { return };
        if directory.deadline().is_none_or(|at| at > now.mono) {
            return;
        }
        let PathState { guards, snapshot, own, .. } = &mut *self.paths.borrow_mut();
        if let Some(snapshot) = snapshot {
            directory.set_guards(guards.in_turn(snapshot, *own, now, &mut self.rng));
        }
    }

    /// Relays that can be called by name besides the seeds: members of a snapshot that serves for nothing else any more.
    fn add_contacts(&mut self, relays: &[Arc<SignedDescriptor>]) {
        let mut paths = self.paths.borrow_mut();
        let of_seeds = |id: &RelayId| self.seeds.contains(id);
        let seeds = paths.roster.iter().filter(|(id, _)| of_seeds(id)).map(|(id, contact)| (*id, contact.clone()));
        let more = roster(relays);
        let added = more.iter().filter(|(id, _)| !of_seeds(id)).map(|(id, contact)| (*id, contact.clone()));
        paths.roster = Arc::new(seeds.chain(added).collect());
    }

    /// A snapshot for the circuits that check it, or none any more.
    fn try_candidate(&mut self, now: Now, candidate: Option<Arc<Snapshot>>) {
        let mut paths = self.paths.borrow_mut();
        if let Some(new) = &candidate
            && paths.candidate.as_ref().is_none_or(|c| c.root != new.root)
        {
            paths.trial = paths.guards.clone();
        }
        paths.candidate = candidate;
        drop(paths);
        self.client.paths_changed(now);
    }

    /// Draws paths from this snapshot from now on.
    pub(super) fn use_snapshot(&mut self, now: Now, snapshot: Arc<Snapshot>) {
        let mut paths = self.paths.borrow_mut();
        let checked = paths.candidate.take().is_some_and(|c| c.root == snapshot.root);
        let trial = core::mem::take(&mut paths.trial);
        if checked && paths.guards.is_empty() {
            paths.guards = trial;
        }
        paths.snapshot = Some(snapshot.clone());
        drop(paths);
        self.fresh_until = now.mono + self.profile.snapshot_max_age.saturating_sub(snapshot.age(now.unix));
        self.events.push_back(AgentEvent::Snapshot(snapshot));
        self.name_guards(now);
        self.place(now);
        self.client.paths_changed(now);
    }

    /// A snapshot that is too old is used for nothing, whoever settled or checked it.
    pub(super) fn expire(&mut self, now: Now) {
        let oldest = self.profile.snapshot_max_age;
        let is_old = |s: &Arc<Snapshot>| s.age(now.unix) > oldest || self.fresh_until <= now.mono;
        // spec: DIR-44
        if self.paths.borrow().snapshot.as_ref().is_some_and(is_old) {
            self.drop_snapshot(now);
        }
    }

    fn drop_snapshot(&mut self, now: Now) {
        if self.paths.borrow_mut().snapshot.take().is_some() {
            self.client.paths_expired(now);
            self.events.push_back(AgentEvent::Expired);
        }
    }
}
