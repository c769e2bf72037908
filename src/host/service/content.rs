//! Content, as the proxy and the control socket read it: objects opened by their links, bytes in order.

use super::AgentHandle;
use crate::proto::content::fetch::{Fetch, FetchError, FetchOutput, Info, Open};
use crate::role::agent::{Job, JobId, JobNews};
use crate::wire::umbel_link::ContentLink;
use core::cell::RefCell;
use core::ops::Range;
use std::collections::VecDeque;
use std::rc::Rc;
use tokio::sync::Notify;

/// Where a job's news waits for whoever started it. Bounded by the job's own window.
#[derive(Default)]
pub(super) struct Inbox {
    news: RefCell<VecDeque<JobNews>>,
    came: Notify,
}

impl Inbox {
    pub(super) fn push(&self, news: JobNews) {
        self.news.borrow_mut().push_back(news);
        self.came.notify_one();
    }
}

/// A job of the node. Dropping the handle ends it.
pub struct JobHandle {
    node: AgentHandle,
    id: JobId,
    inbox: Rc<Inbox>,
}

impl JobHandle {
    /// Starts a job; `None` if the node has too many.
    pub fn start(node: &AgentHandle, job: Job) -> Option<Self> {
        let note = |id: Option<JobId>| {
            let (id, inbox) = (id?, Rc::new(Inbox::default()));
            node.shared.jobs.borrow_mut().insert(id, inbox.clone());
            Some(Self { node: node.clone(), id, inbox })
        };
        node.with_noted(|n, _| n.start_job(job), note)
    }

    /// Waits for the job's next news.
    pub async fn next(&self) -> JobNews {
        loop {
            if let Some(news) = self.inbox.news.borrow_mut().pop_front() {
                return news;
            }
            self.inbox.came.notified().await;
        }
    }

    /// Calls `act` on the job and carries out the effects; `None` if it has ended.
    pub fn with<T>(&self, act: impl FnOnce(&mut Job) -> T) -> Option<T> {
        self.node.with(|node, _| node.job(self.id).map(act))
    }
}

impl Drop for JobHandle {
    fn drop(&mut self) {
        self.node.shared.jobs.borrow_mut().remove(&self.id);
        self.node.with(|node, _| node.end_job(self.id));
    }
}

/// An open object.
pub struct AgentObject {
    node: AgentHandle,
    open: Open,
    route: u64,
}

/// A range of an object's content, as it arrives.
pub struct AgentBody {
    job: JobHandle,
    /// Length of the bytes that were returned last. The next call releases them from the job's window.
    out: usize,
}

impl AgentHandle {
    /// Opens an object over circuits that only this `route` uses.
    ///
    /// # Errors
    /// [`FetchError::NoPath`] without a directory, or if the node has too many jobs; otherwise what the fetch failed with.
    pub async fn open_object_at(&self, link: &ContentLink, route: u64) -> Result<AgentObject, FetchError> {
        let snapshot = self.snapshots().borrow().clone().ok_or(FetchError::NoPath)?;
        let custodians = snapshot.custodians(&link.locator().0, self.with(|n, _| n.profile().custodians));
        let fetch = Fetch::new(link.clone(), custodians, route);
        let job = JobHandle::start(self, Job::Fetch(Box::new(fetch))).ok_or(FetchError::NoPath)?;
        loop {
            match job.next().await {
                JobNews::Fetch(FetchOutput::Opened) => break,
                JobNews::Fetch(FetchOutput::Failed(why)) => return Err(why),
                _ => {}
            }
        }
        let open = self.with(|n, _| n.opened(job.id)).ok_or(FetchError::NoPath)?;
        Ok(AgentObject { node: self.clone(), open, route })
    }

    /// An object that was opened before.
    pub fn object(&self, open: Open, route: u64) -> AgentObject {
        AgentObject { node: self.clone(), open, route }
    }
}

impl AgentObject {
    /// What [`AgentHandle::object`] needs to use the object again without fetching its root.
    pub fn into_open(self) -> Open {
        self.open
    }

    /// What the object's root says of it.
    pub fn open_info(&self) -> &Info {
        self.open.info()
    }

    /// Reads a range of the object, in bytes; a manifest counts as its beginning.
    pub fn read_at(&self, range: Range<u64>) -> Result<AgentBody, FetchError> {
        let mut fetch = Fetch::with_open(self.open.clone(), self.route);
        fetch.request(range);
        let job = JobHandle::start(&self.node, Job::Fetch(Box::new(fetch))).ok_or(FetchError::NoPath)?;
        Ok(AgentBody { job, out: 0 })
    }
}

impl AgentBody {
    /// The next bytes in order; `None` after the last.
    pub async fn next_bytes(&mut self) -> Result<Option<Vec<u8>>, FetchError> {
        let used = core::mem::take(&mut self.out);
        if used > 0 {
            self.job.with(|job| {
                if let Job::Fetch(fetch) = job {
                    fetch.consume(used);
                }
            });
        }
        loop {
            match self.job.next().await {
                JobNews::Fetch(FetchOutput::Data(bytes)) if !bytes.is_empty() => {
                    self.out = bytes.len();
                    return Ok(Some(bytes));
                }
                JobNews::Fetch(FetchOutput::Done) => return Ok(None),
                JobNews::Fetch(FetchOutput::Failed(why)) => return Err(why),
                _ => {}
            }
        }
    }
}
