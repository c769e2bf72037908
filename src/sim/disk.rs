//! A relay's store on a disk whose commits take virtual time.

use super::net::Asker;
use crate::base::time::{Duration, Instant, Now};
use crate::proto::content::call::{StoreCall, StoreCallId, StoreReply};
use crate::proto::content::server::StoreServer;
use crate::proto::content::service::StoreService;
use crate::proto::content::store::{Commit, MemoryStore};

/// Who waits for an answer of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ticket {
    /// A peer, by way of a shard.
    Peer(Asker),
    /// The relay's own replicator.
    Own(StoreCallId),
}

/// A disk in virtual time: a store whose commits take as long as a simulation says.
pub struct Disk {
    server: StoreServer<MemoryStore, Ticket>,
    /// How long a commit takes.
    pub commit_time: Duration,
    running: Option<(Instant, Commit)>,
    /// How many commits there were.
    pub commits: u64,
}

impl Disk {
    /// An empty store of `cap` bytes whose commits take no time.
    pub fn new(cap: u64, lease: Duration) -> Self {
        let server = StoreServer::new(StoreService::new(MemoryStore::new(cap), lease));
        Self { server, commit_time: Duration::ZERO, running: None, commits: 0 }
    }

    /// Takes a call in.
    pub fn push(&mut self, ticket: Ticket, call: StoreCall) {
        self.server.push(ticket, call);
    }

    /// The next answer, after all was done that can be done by now.
    pub fn answer(&mut self, now: Now) -> Option<(Ticket, StoreReply)> {
        loop {
            if self.running.as_ref().is_some_and(|(end, _)| *end <= now.mono)
                && let Some((_, commit)) = self.running.take()
            {
                self.server.committed(commit());
            }
            while self.server.step(now) {}
            if self.running.is_some() {
                break;
            }
            let Some(commit) = self.server.commit() else { break };
            self.commits += 1;
            self.running = Some((now.mono + self.commit_time, commit));
        }
        self.server.answer()
    }

    /// When a commit is over.
    pub fn deadline(&self) -> Option<Instant> {
        self.running.as_ref().map(|(end, _)| *end)
    }
}
