//! The user's jobs: fetches, publications and look-ups, each a machine that emits calls.

use super::{Agent, AgentEvent, Owner};
use crate::base::time::{Instant, Now};
use crate::proto::content::fetch::{Fetch, FetchOutput, Open};
use crate::proto::content::push::{Push, PushOutput};
use crate::proto::directory::lookup::{Lookup, LookupOutput};
use crate::proto::rpc::{Call, CallError, CallId};

/// Names a job of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobId(pub u64);

/// Jobs one node has at once.
const JOBS_MAX: usize = 1024;

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

enum Step {
    Call(Call),
    News(JobNews),
}

impl Job {
    fn poll(&mut self, now: Now, rng: &mut crate::base::rng::Rng) -> Option<Step> {
        Some(match self {
            Self::Fetch(fetch) => match fetch.poll(now, rng)? {
                FetchOutput::Call(call) => Step::Call(call),
                other => Step::News(JobNews::Fetch(other)),
            },
            Self::Push(push) => match push.poll(now, rng)? {
                PushOutput::Call(call) => Step::Call(call),
                other => Step::News(JobNews::Push(other)),
            },
            Self::Lookup(lookup) => match lookup.poll(now)? {
                LookupOutput::Call(call) => Step::Call(call),
                other => Step::News(JobNews::Lookup(other)),
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

    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Fetch(fetch) => fetch.deadline(),
            Self::Push(push) => push.deadline(),
            // Its calls end by themselves.
            Self::Lookup(_) => None,
        }
    }
}

impl Agent {
    /// Takes a job on; `None` when there are too many. Its news comes as [`AgentEvent::Job`], its first calls with the
    /// next [`Agent::drive`].
    pub fn start_job(&mut self, job: Job) -> Option<JobId> {
        if self.jobs.len() >= JOBS_MAX {
            return None;
        }
        self.next_job += 1;
        let id = JobId(self.next_job);
        self.jobs.insert(id, job);
        Some(id)
    }

    /// A job, to ask something of it. Say [`Agent::drive`] afterwards.
    pub fn job(&mut self, id: JobId) -> Option<&mut Job> {
        self.jobs.get_mut(&id)
    }

    /// Forgets a job. Answers to its calls are dropped.
    pub fn end_job(&mut self, id: JobId) {
        self.jobs.remove(&id);
    }

    /// An open object of a fetch, for further fetches.
    pub fn opened(&self, id: JobId) -> Option<Open> {
        match self.jobs.get(&id) {
            Some(Job::Fetch(fetch)) => fetch.open(),
            _ => None,
        }
    }

    pub(super) fn job_answered(&mut self, now: Now, job: JobId, id: CallId, result: Result<Vec<u8>, CallError>) {
        if let Some(job) = self.jobs.get_mut(&job) {
            job.answer(now, id, result);
        }
    }

    /// Carries out what the jobs want; whether they made calls.
    pub(super) fn drive_jobs(&mut self, now: Now) -> bool {
        let mut calls = Vec::new();
        for (&id, job) in &mut self.jobs {
            while let Some(step) = job.poll(now, &mut self.rng) {
                match step {
                    Step::Call(call) => calls.push((id, call)),
                    Step::News(news) => self.events.push_back(AgentEvent::Job(id, news)),
                }
            }
        }
        let any = !calls.is_empty();
        for (id, call) in calls {
            self.call(now, Owner::Job(id), call);
        }
        any
    }

    pub(super) fn jobs_deadline(&self) -> Option<Instant> {
        self.jobs.values().filter_map(Job::deadline).min()
    }
}
