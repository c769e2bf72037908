//! A client's publications and fetches, run to their end in virtual time.

use super::whole::Whole;
use crate::base::secret::Secret;
use crate::base::time::Duration;
use crate::proto::content::fetch::{Fetch, FetchError, FetchOutput};
use crate::proto::content::push::{Push, PushError, PushOutput};
use crate::proto::content::tree::{KeyChoice, Label, Tree};
use crate::proto::directory::lookup::{Found, Lookup, LookupOutput, Wanted};
use crate::role::agent::{Job, JobId, JobNews};
use crate::wire::ids::RelayId;
use crate::wire::umbel_link::ContentLink;
use std::sync::Arc;

/// What became of a publication.
pub struct Put {
    /// Opens it.
    pub link: ContentLink,
    /// Custodians that have it, or why not.
    pub result: Result<u16, PushError>,
}

/// A publication under way.
pub struct Putting {
    client: usize,
    tree: Arc<Tree>,
    content: Vec<u8>,
    job: JobId,
}

/// A job's end did not come in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLate;

impl Whole {
    /// The custodians of an object, as a client knows them.
    pub fn custodians(&self, client: usize, link: &ContentLink) -> Vec<RelayId> {
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
        let mut putting = self.begin_put(client, content);
        loop {
            let news = self.news(client, putting.job, time).ok_or(TooLate)?;
            if let Some(put) = self.put_news(&mut putting, news) {
                return Ok(put);
            }
        }
    }

    /// Begins to publish a file.
    pub fn begin_put(&mut self, client: usize, content: &[u8]) -> Putting {
        let key = KeyChoice::Random(Secret::new(self.net.rng().bytes()));
        let label = Label::file("file", "application/octet-stream");
        let tree = Arc::new(Tree::build(&mut { content }, label, key).expect("the source is in memory"));
        let custodians = self.custodians(client, tree.link());
        let lease = self.clients[client].user.get().client.node.look().profile().lease;
        let route = u64::from_be_bytes(self.net.rng().bytes());
        let push = Push::new(Arc::clone(&tree), custodians, lease, route);
        let job =
            self.with_user(client, |user, now| user.client.node.act(now, |n| n.start_job(Job::Push(Box::new(push)))));
        Putting { client, tree, content: content.to_vec(), job: job.expect("the node takes jobs") }
    }

    /// Goes on with a publication as far as it goes without time passing; what became of it, once it has ended.
    pub fn go_on_with_put(&mut self, putting: &mut Putting) -> Option<Put> {
        while let Some(news) = self.news(putting.client, putting.job, Duration::ZERO) {
            if let Some(put) = self.put_news(putting, news) {
                return Some(put);
            }
        }
        None
    }

    fn put_news(&mut self, putting: &mut Putting, news: JobNews) -> Option<Put> {
        let Putting { client, tree, content, job } = putting;
        let result = match news {
            JobNews::Push(PushOutput::NeedLeaf(leaf)) => {
                let sealed = tree.seal_leaf(&mut content.as_slice(), leaf);
                self.with_job(*client, *job, |job| {
                    if let Job::Push(push) = job {
                        push.give_leaf(leaf, sealed);
                    }
                });
                return None;
            }
            JobNews::Push(PushOutput::Done { copies, .. }) => Ok(copies),
            JobNews::Push(PushOutput::Failed(why)) => Err(why),
            _ => return None,
        };
        self.with_user(*client, |user, now| user.client.node.act(now, |n| n.end_job(*job)));
        Some(Put { link: tree.link().clone(), result })
    }

    /// Asks the directories of a record's custodians for it; how many answered within `time`.
    pub fn look_up(&mut self, client: usize, relay: RelayId, time: Duration) -> Result<usize, TooLate> {
        let snapshot = self.checked(client).ok_or(TooLate)?;
        let route = u64::from_be_bytes(self.net.rng().bytes()) / 2;
        let profile = self.clients[client].user.get().client.node.look().profile();
        let lookup = Lookup::new(&snapshot, Wanted::Record(relay), profile, self.network, route);
        let job = self
            .with_user(client, |user, now| user.client.node.act(now, |n| n.start_job(Job::Lookup(Box::new(lookup)))));
        let job = job.expect("the node takes jobs");
        let mut answered = 0;
        loop {
            match self.news(client, job, time).ok_or(TooLate)? {
                JobNews::Lookup(LookupOutput::Custodian(_, Found::Failed(_))) => {}
                JobNews::Lookup(LookupOutput::Custodian(..)) => answered += 1,
                JobNews::Lookup(LookupOutput::Done) => break,
                _ => {}
            }
        }
        self.with_user(client, |user, now| user.client.node.act(now, |n| n.end_job(job)));
        Ok(answered)
    }

    /// Fetches a whole object.
    pub fn get(
        &mut self,
        client: usize,
        link: &ContentLink,
        time: Duration,
    ) -> Result<Result<Vec<u8>, FetchError>, TooLate> {
        let route = u64::from_be_bytes(self.net.rng().bytes());
        let fetch = Fetch::new(link.clone(), self.custodians(client, link), route);
        let job =
            self.with_user(client, |user, now| user.client.node.act(now, |n| n.start_job(Job::Fetch(Box::new(fetch)))));
        let job = job.expect("the node takes jobs");
        let mut content = Vec::new();
        let result = loop {
            match self.news(client, job, time).ok_or(TooLate)? {
                JobNews::Fetch(FetchOutput::Opened) => {
                    self.with_job(client, job, |job| {
                        if let Job::Fetch(fetch) = job {
                            let total = fetch.open().expect("it is open").info().meta.total;
                            fetch.request(0..total);
                        }
                    });
                }
                JobNews::Fetch(FetchOutput::Data(bytes)) => {
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
