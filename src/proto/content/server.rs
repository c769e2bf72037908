//! A store's queue, for whoever runs it: calls go in, answers come out, and commits are handed out to be run elsewhere.
//!
//! Reads do not wait for writes, nor for a commit, except for writes to their own object that came before. A promise waits
//! for the commit that keeps it, and all that gather while one commit runs share the next.

use super::batches::Batch;
use super::call::{StoreCall, StoreReply};
use super::service::{Outcome, StoreService};
use super::store::{BlockStore, Commit, StoreError};
use crate::base::time::Now;
use crate::wire::content::store::Refusal;
use crate::wire::ids::Locator;
use std::collections::{BTreeMap, VecDeque};

/// Reads that pass a waiting write in one run.
pub const READS_RUN_MAX: u32 = 8;

struct Queued<T> {
    ticket: T,
    call: StoreCall,
    /// Of a call in the line of writes: what it is about.
    object: Option<Locator>,
}

/// The store of a relay: takes calls, answers them in order, and says when to commit. `T` says who waits for an answer; whoever puts calls in bounds how many there are.
pub struct StoreServer<B, T> {
    service: StoreService<B>,
    reads: VecDeque<Queued<T>>,
    writes: VecDeque<Queued<T>>,
    /// How many calls of `writes` are about an object.
    in_line: BTreeMap<Locator, usize>,
    /// Reads since the last write.
    run: u32,
    /// The first of `writes` waits for the next commit.
    stalled: bool,
    /// Answers that wait for a batch.
    promised: Vec<(Batch, T, Vec<u8>)>,
    /// Who waits for objects to be replicated.
    watcher: Option<T>,
    answers: VecDeque<(T, StoreReply)>,
}

impl<B: BlockStore, T> StoreServer<B, T> {
    /// An empty queue before a service.
    pub fn new(service: StoreService<B>) -> Self {
        Self {
            service,
            reads: VecDeque::new(),
            writes: VecDeque::new(),
            in_line: BTreeMap::new(),
            run: 0,
            stalled: false,
            promised: Vec::new(),
            watcher: None,
            answers: VecDeque::new(),
        }
    }

    /// The service.
    pub fn service(&self) -> &StoreService<B> {
        &self.service
    }

    /// The service, to change its store directly: for tests and simulations.
    pub fn service_mut(&mut self) -> &mut StoreService<B> {
        &mut self.service
    }

    /// Takes a call in.
    pub fn push(&mut self, ticket: T, call: StoreCall) {
        let object = call.object();
        let follows = object.as_ref().is_some_and(|o| self.in_line.contains_key(o));
        let write = call.is_write() || follows;
        if !write {
            return self.reads.push_back(Queued { ticket, call, object: None });
        }
        if let Some(object) = object {
            *self.in_line.entry(object).or_default() += 1;
        }
        self.writes.push_back(Queued { ticket, call, object });
    }

    /// Serves the next call; false where none can be served now.
    pub fn step(&mut self, now: Now) -> bool {
        let may_write = !self.writes.is_empty() && !self.stalled && self.service.has_room();
        let read = if may_write && self.run >= READS_RUN_MAX { None } else { self.reads.pop_front() };
        if let Some(queued) = read {
            self.run = self.run.saturating_add(1);
            self.serve(now, queued);
            return true;
        }
        let Some(queued) = self.writes.pop_front_if(|_| may_write) else { return false };
        self.run = 0;
        self.serve(now, queued);
        true
    }

    fn serve(&mut self, now: Now, queued: Queued<T>) {
        let Queued { ticket, call, object } = queued;
        let reply = match &call {
            StoreCall::Request(body) => match self.service.request(now, body) {
                Outcome::Answer(answer) => Some(StoreReply::Answer(answer)),
                Outcome::After(batch, answer) => {
                    self.leave_line(object.as_ref());
                    return self.promised.push((batch, ticket, answer));
                }
                Outcome::Again => {
                    self.stalled = true;
                    return self.writes.push_front(Queued { ticket, call, object });
                }
            },
            StoreCall::Round { after, max } => Some(self.service.round(*after, *max)),
            StoreCall::Tend => Some(self.service.tend(now)),
            StoreCall::Scrub(bytes) => Some(self.service.scrub(*bytes)),
            StoreCall::Spread(spread) => {
                self.service.note(spread);
                Some(StoreReply::Noted)
            }
            StoreCall::Wanted => None,
        };
        self.leave_line(object.as_ref());
        match reply {
            Some(reply) => self.answers.push_back((ticket, reply)),
            None => self.watcher = Some(ticket),
        }
    }

    fn leave_line(&mut self, object: Option<&Locator>) {
        let Some(object) = object else { return };
        if let Some(count) = self.in_line.get_mut(object) {
            *count -= 1;
            if *count == 0 {
                self.in_line.remove(object);
            }
        }
    }

    /// The next answer.
    pub fn answer(&mut self) -> Option<(T, StoreReply)> {
        if self.watcher.is_some() {
            let wanted = self.service.take_wanted();
            if !wanted.is_empty()
                && let Some(watcher) = self.watcher.take()
            {
                self.answers.push_back((watcher, StoreReply::Wanted(wanted)));
            }
        }
        self.answers.pop_front()
    }

    /// The commit to run now, if there is one; then say [`StoreServer::committed`]. Ask when no call can be served, or
    /// many were: what was served before shares it.
    pub fn commit(&mut self) -> Option<Commit> {
        self.service.commit()
    }

    /// How the commit went.
    pub fn committed(&mut self, result: Result<(), StoreError>) {
        let Some(batch) = self.service.committed(result) else { return };
        let why = result.err().map_or(Refusal::Broken, Refusal::from);
        let broken = || StoreReply::refused(why);
        for (_, ticket, answer) in self.promised.extract_if(.., |(of, ..)| *of <= batch) {
            let reply = if result.is_ok() { StoreReply::Answer(answer) } else { broken() };
            self.answers.push_back((ticket, reply));
        }
        if core::mem::take(&mut self.stalled)
            && result.is_err()
            && let Some(first) = self.writes.pop_front()
        {
            self.leave_line(first.object.as_ref());
            self.answers.push_back((first.ticket, broken()));
        }
    }

    /// Whether nothing is left to be served or kept.
    pub fn is_idle(&self) -> bool {
        self.reads.is_empty() && self.writes.is_empty() && self.promised.is_empty()
    }
}

#[cfg(test)]
mod tests;
