//! The user's jobs: fetches, publications and look-ups, each a machine that emits calls.

use crate::base::rng::Rng;
use crate::base::time::{Instant, Now};
use crate::proto::content::fetch::{Fetch, FetchError, FetchOutput};
use crate::proto::content::push::{Push, PushError, PushOutput};
use crate::proto::directory::lookup::{Lookup, LookupOutput};
use crate::proto::rpc::{Call, CallError, CallId};
use std::collections::BTreeMap;

/// Names a job of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobId(pub u64);

/// Most jobs of a node at once: twice the connections of a local proxy, so that pages cannot take them all.
const JOBS_MAX: usize = 2048;

/// Bytes that all fetches together have asked for or hold for their readers, above what each has in any case. Each may have
/// half of what the others leave free: so a new one always finds room, and those that are not read take no more from it
/// than their share.
const FETCHES_HELD_MAX: u64 = 48 << 20;

/// What a node can be asked to do that takes many calls.
pub enum Job {
    /// Read an object.
    Fetch(Box<Fetch>),
    /// Publish one.
    Push(Box<Push>),
    /// Ask the custodians of a record or block.
    Lookup(Box<Lookup>),
}

/// What a job says besides its calls.
#[derive(Debug)]
pub enum JobNews {
    /// Of a fetch.
    Fetch(FetchOutput),
    /// Of a publication.
    Push(PushOutput),
    /// Of a look-up.
    Lookup(LookupOutput),
}

impl JobNews {
    /// The same, on a node that hears no relay: then the lack of an answer says nothing about those that were asked.
    pub(super) fn while_offline(self) -> Self {
        match self {
            Self::Fetch(FetchOutput::Failed(FetchError::TimedOut)) => {
                Self::Fetch(FetchOutput::Failed(FetchError::NoPath))
            }
            Self::Push(PushOutput::Failed(PushError::TimedOut)) => Self::Push(PushOutput::Failed(PushError::NoPath)),
            other => other,
        }
    }
}

/// One thing a job wants done.
pub(super) enum JobStep {
    Call(Call),
    News(JobNews),
}

impl Job {
    fn poll(&mut self, now: Now, rng: &mut Rng) -> Option<JobStep> {
        Some(match self {
            Self::Fetch(fetch) => match fetch.poll(now, rng)? {
                FetchOutput::Call(call) => JobStep::Call(call),
                other => JobStep::News(JobNews::Fetch(other)),
            },
            Self::Push(push) => match push.poll(now, rng)? {
                PushOutput::Call(call) => JobStep::Call(call),
                other => JobStep::News(JobNews::Push(other)),
            },
            Self::Lookup(lookup) => match lookup.poll(now)? {
                LookupOutput::Call(call) => JobStep::Call(call),
                other => JobStep::News(JobNews::Lookup(other)),
            },
        })
    }

    fn answer(&mut self, now: Now, id: CallId, result: Result<Vec<u8>, CallError>) {
        match self {
            Self::Fetch(fetch) => fetch.answer(now, id, result),
            Self::Push(push) => push.answer(now, id, result),
            Self::Lookup(lookup) => lookup.answer(now, id, result),
        }
    }

    fn fetch(&mut self) -> Option<&mut Fetch> {
        if let Self::Fetch(fetch) = self { Some(fetch) } else { None }
    }

    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Fetch(fetch) => fetch.deadline(),
            Self::Push(push) => push.deadline(),
            // Its calls end on their own.
            Self::Lookup(_) => None,
        }
    }
}

/// The jobs of one node.
#[derive(Default)]
pub(super) struct Jobs {
    table: BTreeMap<JobId, Job>,
    next: u64,
}

impl Jobs {
    /// Takes a job on; `None` when there are too many.
    pub(super) fn start(&mut self, job: Job) -> Option<JobId> {
        if self.table.len() >= JOBS_MAX {
            return None;
        }
        self.next += 1;
        let id = JobId(self.next);
        self.table.insert(id, job);
        Some(id)
    }

    pub(super) fn get(&self, id: JobId) -> Option<&Job> {
        self.table.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: JobId) -> Option<&mut Job> {
        self.table.get_mut(&id)
    }

    /// Forgets a job. Answers to its calls are dropped.
    pub(super) fn end(&mut self, id: JobId) {
        self.table.remove(&id);
    }

    /// The answer to a job's call.
    pub(super) fn answer(&mut self, now: Now, job: JobId, id: CallId, result: Result<Vec<u8>, CallError>) {
        let Some(answered) = self.table.get_mut(&job) else { return };
        let moved = match answered {
            Job::Fetch(fetch) if result.is_ok() => fetch.asks(),
            _ => None,
        };
        answered.answer(now, id, result);
        if moved.is_some() {
            let others = self.table.values_mut().filter_map(Job::fetch);
            others.filter(|fetch| fetch.asks() == moved).for_each(|fetch| fetch.stream_moved(now));
        }
    }

    /// What the jobs want done now, in order.
    pub(super) fn steps(&mut self, now: Now, rng: &mut Rng) -> Vec<(JobId, JobStep)> {
        let mut steps = Vec::new();
        let mut held: u64 = self.table.values_mut().filter_map(Job::fetch).map(|fetch| fetch.held()).sum();
        for (&id, job) in &mut self.table {
            let own = job.fetch().map_or(0, |fetch| {
                let others = held.saturating_sub(fetch.held());
                fetch.set_window(FETCHES_HELD_MAX.saturating_sub(others) / 2);
                fetch.held()
            });
            while let Some(step) = job.poll(now, rng) {
                steps.push((id, step));
            }
            held = held.saturating_sub(own).saturating_add(job.fetch().map_or(0, |fetch| fetch.held()));
        }
        steps
    }

    /// The earliest deadline.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.table.values().filter_map(Job::deadline).min()
    }
}
