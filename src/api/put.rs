//! `umbel put`, at the node: files become an object, its blocks go to a custodian through a circuit, and the result counts
//! only when it was read back.

use super::control::Control;
use crate::base::secret::Secret;
use crate::node::control::PutRequest;
use crate::node::control::report::{Progress, PutReport, Unit};
use crate::node::error::{Error, ErrorKind};
use crate::node::service::content::JobHandle;
use crate::node::system::{self, Timer};
use crate::proto::content::manifest::Joined;
use crate::proto::content::push::{Push, PushError, PushOutput};
use crate::proto::content::tree::{BuildError, Builder, KeyChoice, Label, Source, Tree};
use crate::role::agent::{Job, JobNews};
use crate::wire::content::manifest::FILES_MAX;
use crate::wire::ids::{RelayId, to_text};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;

/// A file that is read where it lies. It is open only while it is read: a site may have more files than a process may open.
struct OnDisk {
    path: PathBuf,
    len: u64,
}

impl Source for OnDisk {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        File::open(&self.path)?.read_exact_at(out, offset)
    }
}

/// What is published: the content and how it is labelled.
struct Content {
    source: Box<dyn Source + Send>,
    label: Label,
    files: u64,
}

fn mime(path: &Path) -> String {
    mime_guess::from_path(path).first_raw().unwrap_or("application/octet-stream").to_owned()
}

fn name_of(path: &Path) -> Result<String, Error> {
    let name = path.file_name().unwrap_or_default();
    name.to_str().map(str::to_owned).ok_or_else(|| not_utf8(path))
}

fn not_utf8(path: &Path) -> Error {
    Error::new(ErrorKind::Usage, format!("{} has a name that is not UTF-8, so no link can name it", path.display()))
        .with_hint("rename it and put again")
}

/// Looks at what lies under the path.
fn gather(path: &Path) -> Result<Content, Error> {
    let unreadable = |path: &Path, e: &io::Error| Error::file("read", path, e).with_kind(ErrorKind::Usage);
    let meta = std::fs::metadata(path).map_err(|e| unreadable(path, &e))?;
    if meta.is_file() {
        File::open(path).map_err(|e| unreadable(path, &e))?;
        let source = OnDisk { path: path.to_owned(), len: meta.len() };
        return Ok(Content { source: Box::new(source), label: Label::file(&name_of(path)?, &mime(path)), files: 1 });
    }
    let mut files = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(|e| unreadable(&folder, &e))? {
            let found = entry.map_err(|e| unreadable(&folder, &e))?.path();
            // Links are followed to files and not to folders, which could lead in circles.
            let link = std::fs::symlink_metadata(&found).map_err(|e| unreadable(&found, &e))?.is_symlink();
            let Ok(meta) = std::fs::metadata(&found) else { continue };
            if meta.is_dir() && !link {
                folders.push(found);
            } else if meta.is_file() {
                let inner = found.strip_prefix(path).unwrap_or(&found);
                let name = inner.to_str().ok_or_else(|| not_utf8(&found))?.to_owned();
                File::open(&found).map_err(|e| unreadable(&found, &e))?;
                files.push((name, mime(&found), OnDisk { len: meta.len(), path: found }));
            }
            if files.len() > FILES_MAX {
                return Err(Error::new(
                    ErrorKind::Usage,
                    format!("a folder of more than {FILES_MAX} files cannot be put at once"),
                ));
            }
        }
    }
    let count = files.len() as u64;
    let (source, label) = Joined::directory(&name_of(path)?, files).map_err(|why| {
        Error::new(ErrorKind::Usage, format!("the folder cannot be published: {why}"))
            .with_hint("look for odd file names")
    })?;
    Ok(Content { source: Box::new(source), label, files: count })
}

fn build_failure(why: &BuildError) -> Error {
    Error::new(ErrorKind::Usage, why.to_string())
        .with_hint("split it into several objects, or put again when nothing writes to it")
}

fn push_failure(why: PushError) -> Error {
    let (code, hint) = match why {
        PushError::StoreFull => (ErrorKind::StoreFull, "put something smaller, or wait until leases run out"),
        PushError::NoPath => (ErrorKind::NoPath, "see `umbel status`; no relay that keeps content can be reached"),
        PushError::TimedOut => (ErrorKind::TimedOut, "put again: blocks that arrived are not sent twice"),
        PushError::Refused => (ErrorKind::NoPath, "the relays refuse this content"),
        PushError::NotKept => (ErrorKind::Tampered, "put again; some custodians do not keep what they accept"),
        PushError::TooFewCopies { .. } => (ErrorKind::StoreFull, "put again later: custodians were full or away"),
        PushError::Changed => (ErrorKind::Usage, "put again when nothing writes to it"),
    };
    Error::new(code, why.to_string()).with_hint(hint)
}

/// What the thread that reads and seals has to say.
enum Made {
    Progress { done: u64, total: u64 },
    Tree(Result<(Arc<Tree>, u64), Error>),
    Leaf(u32, Result<Vec<u8>, BuildError>),
}

/// Things made ahead of their being asked for.
const MADE_AHEAD: usize = 8;

/// Builds the tree, then seals leaves as they are asked for. Runs on a thread that may block.
fn make(path: &Path, key: KeyChoice, mut asked: mpsc::UnboundedReceiver<u32>, made: &mpsc::Sender<Made>) {
    let built = gather(path).and_then(|mut content| {
        let total = content.source.len();
        let mut builder =
            Builder::new(&mut content.source, content.label.clone(), key).map_err(|e| build_failure(&e))?;
        loop {
            if let Some(tree) = builder.step(&mut content.source).map_err(|e| build_failure(&e))? {
                return Ok((content, Arc::new(tree)));
            }
            // Progress that finds no room is left out.
            let _ = made.try_send(Made::Progress { done: builder.done(), total });
        }
    });
    let (mut content, tree) = match built {
        Ok(built) => built,
        Err(failure) => {
            let _ = made.blocking_send(Made::Tree(Err(failure)));
            return;
        }
    };
    if made.blocking_send(Made::Tree(Ok((tree.clone(), content.files)))).is_err() {
        return;
    }
    while let Some(leaf) = asked.blocking_recv() {
        let sealed = tree.seal_leaf(&mut content.source, leaf);
        if made.blocking_send(Made::Leaf(leaf, sealed)).is_err() {
            return;
        }
    }
}

impl Control {
    pub(super) async fn publish(
        &self,
        request: PutRequest,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<PutReport, Error> {
        let timer = Timer::start();
        let key = if request.convergent {
            KeyChoice::Convergent
        } else {
            KeyChoice::Random(Secret::new(system::rng()?.bytes()))
        };
        let (ask, asked) = mpsc::unbounded_channel();
        let (make_one, mut made) = mpsc::channel(MADE_AHEAD);
        tokio::task::spawn_blocking(move || make(&request.path, key, asked, &make_one));
        let (tree, files) = loop {
            match made.recv().await {
                Some(Made::Progress { done, total }) => {
                    progress(Progress { phase: "reading".into(), done, total, unit: Unit::Bytes });
                }
                Some(Made::Tree(built)) => break built?,
                Some(Made::Leaf(..)) | None => {
                    return Err(Error::new(ErrorKind::Io, "the files could not be read to the end"));
                }
            }
        };
        let snapshot = self.node.snapshots().borrow().clone().ok_or_else(|| push_failure(PushError::NoPath))?;
        let custodians = snapshot.custodians(&tree.link().locator().0, self.profile.custodians);
        if custodians.is_empty() {
            return Err(Error::new(ErrorKind::NoPath, "no relay of this network keeps content")
                .with_hint("start relays with --store SIZE"));
        }
        let push = Push::new(tree.clone(), custodians.clone(), self.profile.lease, self.fresh_routes(2));
        let job = JobHandle::start(&self.node, Job::Push(Box::new(push))).ok_or_else(|| {
            Error::new(ErrorKind::NoPath, "the node is busy with too many jobs").with_hint("try again soon")
        })?;
        let (copies, expires) = carry(&job, &ask, &mut made, progress).await?;
        let link = tree.link();
        Ok(PutReport {
            link: link.to_string(),
            verify_link: link.verify_link().to_string(),
            url: link.url(),
            root: to_text(&link.root.0),
            bytes: tree.meta().total - u64::from(tree.meta().manifest),
            files,
            blocks: u64::from(tree.shape().blocks()),
            copies: u64::from(copies),
            custodians: custodians.iter().map(RelayId::to_string).collect(),
            expires_unix: expires,
            verified: true,
            elapsed_ms: timer.elapsed_ms(),
        })
    }
}

/// Carries a publication to its end: copies and the second until which they are kept.
async fn carry(
    job: &JobHandle,
    ask: &mpsc::UnboundedSender<u32>,
    made: &mut mpsc::Receiver<Made>,
    progress: &mut dyn FnMut(Progress),
) -> Result<(u16, u64), Error> {
    loop {
        tokio::select! {
            sealed = made.recv() => match sealed {
                Some(Made::Leaf(leaf, sealed)) => {
                    job.with(|job| if let Job::Push(push) = job { push.give_leaf(leaf, sealed) });
                }
                _ => return Err(Error::new(ErrorKind::Io, "the files could not be read to the end")),
            },
            news = job.next() => match news {
                JobNews::Push(PushOutput::NeedLeaf(leaf)) => drop(ask.send(leaf)),
                JobNews::Push(PushOutput::Progress { stored, blocks, copies }) => {
                    let phase = if stored < blocks { "sending".into() } else { format!("copying, {copies} so far").into() };
                    progress(Progress { phase, done: u64::from(stored), total: u64::from(blocks), unit: Unit::Blocks });
                }
                JobNews::Push(PushOutput::Done { copies, expires }) => return Ok((copies, expires.secs())),
                JobNews::Push(PushOutput::Failed(why)) => return Err(push_failure(why)),
                JobNews::Push(PushOutput::Call(_)) | JobNews::Fetch(_) | JobNews::Lookup(_) => {}
            },
        }
    }
}
