//! A client's publications and fetches, run to their end in virtual time.

use super::whole::Whole;
use crate::base::secret::Secret;
use crate::base::time::Duration;
use crate::proto::content::fetch::{Fetch, FetchError, FetchOutput, Info};
use crate::proto::content::push::{Push, PushError, PushOutput};
use crate::proto::content::tree::{KeyChoice, Label, Tree};
use crate::role::agent::{Job, JobId, JobNews};
use crate::wire::ids::RelayId;
use crate::wire::umbel_link::ContentLink as Link;
use std::sync::Arc;

/// What became of a publication.
pub struct Put {
    /// Opens it.
    pub link: Link,
    /// Custodians that have it, or why not.
    pub result: Result<u16, PushError>,
}

/// A job's end did not come in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLate;

impl Whole {
    /// The custodians of an object, as a client knows them.
    pub fn custodians(&self, client: usize, link: &Link) -> Vec<RelayId> {
        let count = self.clients[client].user.get().client.node.look().profile().custodians;
        self.checked(client).map_or_else(Vec::new, |s| s.custodians(&link.locator().0, count))
    }

    /// The next thing a job says, within `time`.
    fn news(&mut self, client: usize, job: JobId, time: Duration) -> Option<JobNews> {
        let user = self.clients[client].user.clone();
        let waiting = || user.get().client.news.get(&job).is_some_and(|n| !n.is_empty());
        if !self.net.run_until(time, |_| waiting()) {
            return None;
        }
        user.get_mut().client.news.get_mut(&job)?.pop_front()
    }

    fn with_job(&mut self, client: usize, job: JobId, act: impl FnOnce(&mut Job)) {
        self.with_user(client, |user, now| user.client.node.act(now, |node| node.job(job).map(act)));
    }

    /// Publishes a file and waits until it is read back, at most for `time` between two steps.
    pub fn put(&mut self, client: usize, content: &[u8], time: Duration) -> Result<Put, TooLate> {
        let key = KeyChoice::Random(Secret::new(self.net.rng().bytes()));
        let mut source = content;
        let label = Label::file("file", "application/octet-stream");
        let tree = Arc::new(Tree::build(&mut source, label, key).expect("the source is in memory"));
        let link = tree.link().clone();
        let custodians = self.custodians(client, &link);
        let lease = self.clients[client].user.get().client.node.look().profile().lease;
        let route = u64::from_be_bytes(self.net.rng().bytes());
        let push = Push::new(Arc::clone(&tree), custodians, lease, route);
        let job =
            self.with_user(client, |user, now| user.client.node.act(now, |n| n.start_job(Job::Push(Box::new(push)))));
        let job = job.expect("the node takes jobs");
        let result = loop {
            match self.news(client, job, time).ok_or(TooLate)? {
                JobNews::Push(PushOutput::NeedLeaf(leaf)) => {
                    let sealed = tree.seal_leaf(&mut source, leaf);
                    self.with_job(client, job, |job| {
                        if let Job::Push(push) = job {
                            push.give_leaf(leaf, sealed);
                        }
                    });
                }
                JobNews::Push(PushOutput::Done { copies, .. }) => break Ok(copies),
                JobNews::Push(PushOutput::Failed(why)) => break Err(why),
                _ => {}
            }
        };
        self.with_user(client, |user, now| user.client.node.act(now, |n| n.end_job(job)));
        Ok(Put { link, result })
    }

    /// Fetches a whole object.
    pub fn get(&mut self, client: usize, link: &Link, time: Duration) -> Result<Result<Vec<u8>, FetchError>, TooLate> {
        let route = u64::from_be_bytes(self.net.rng().bytes());
        let fetch = Fetch::new(link.clone(), self.custodians(client, link), route);
        let job =
            self.with_user(client, |user, now| user.client.node.act(now, |n| n.start_job(Job::Fetch(Box::new(fetch)))));
        let job = job.expect("the node takes jobs");
        let mut content = Vec::new();
        let result = loop {
            match self.news(client, job, time).ok_or(TooLate)? {
                JobNews::Fetch(FetchOutput::Opened(Info { meta, .. })) => {
                    self.with_job(client, job, |job| {
                        if let Job::Fetch(fetch) = job {
                            fetch.request(0..meta.total);
                        }
                    });
                }
                JobNews::Fetch(FetchOutput::Data { bytes, .. }) => {
                    content.extend_from_slice(&bytes);
                    self.with_job(client, job, |job| {
                        if let Job::Fetch(fetch) = job {
                            fetch.consume(bytes.len());
                        }
                    });
                }
                JobNews::Fetch(FetchOutput::Done) => break Ok(content),
                JobNews::Fetch(FetchOutput::Failed(why)) => break Err(why),
                _ => {}
            }
        };
        self.with_user(client, |user, now| user.client.node.act(now, |n| n.end_job(job)));
        Ok(result)
    }
}
