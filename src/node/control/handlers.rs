//! The answers of the control socket: each command is an operation of the library.

use super::report::{InviteReport, Listing, LookupReport, PutReport, RollReport, Status};
use super::server::{self, DoorSink, GetSink, Handler, Input, News};
use super::{
    BrowseRequest, Door, Entry, GetRequest, Kind, LookupRequest, Opened, PutRequest, RelaysRequest, RollRequest,
};
use crate::api::{Client, Content, Link, Object, ObjectReader, Relay};
use crate::host::error::{Error, ErrorKind};
use crate::host::system::unix_now;
use crate::node::door::BrowserProxy;
use crate::node::relays::{Filter, RelaysReport};
use crate::proto::content::fetch::FetchError;
use crate::wire::ids::to_text;
use data_encoding::BASE64;
use std::io;
use std::os::unix::net::UnixListener;
use std::rc::Rc;
use tokio::sync::Semaphore;

/// The node whose control socket is answered.
#[derive(Clone)]
pub(crate) enum Node {
    Client(Client),
    Relay(Relay),
}

/// Answers the commands of a node's user.
struct Control {
    node: Node,
    /// The node's role in `status`.
    role: &'static str,
    /// Where its proxy listens.
    socks: Option<String>,
    /// One permit for each browser that may have a proxy.
    doors: Semaphore,
}

/// Most browsers at a time. Each takes one of the [`server::COMMANDS_MAX`] places.
pub(crate) const DOORS_MAX: usize = 16;

/// Answers a node's control socket until the node shuts down. Runs on the node's thread, so that content does not cross
/// threads.
pub(crate) async fn serve(
    socket: UnixListener,
    node: Node,
    role: &'static str,
    socks: Option<String>,
) -> Result<(), Error> {
    let thread = node.clone();
    let thread = match &thread {
        Node::Client(client) => client.node(),
        Node::Relay(relay) => relay.node(),
    };
    let control = Control { node, role, socks, doors: Semaphore::new(DOORS_MAX) };
    let served = thread.run(move |_| async move {
        // tokio binds a socket to the runtime of the thread that registers it.
        let socket = tokio::net::UnixListener::from_std(socket)?;
        tokio::task::spawn_local(server::serve(socket, Rc::new(control)));
        io::Result::Ok(())
    });
    served.await?.map_err(|e| Error::new(ErrorKind::Io, "the control socket cannot be used").with_source(e))
}

impl Control {
    fn client(&self) -> Client {
        match &self.node {
            Node::Client(client) => client.clone(),
            Node::Relay(relay) => relay.client(),
        }
    }
}

impl Handler for Control {
    async fn status(&self) -> Result<Status, Error> {
        let status = match &self.node {
            Node::Client(client) => client.status().await?,
            Node::Relay(relay) => relay.status().await?,
        };
        Ok(Status::of(status, self.role, self.socks.clone()))
    }

    async fn put(
        &self,
        request: PutRequest,
        input: Option<Input>,
        news: &mut dyn FnMut(News),
    ) -> Result<PutReport, Error> {
        let mut content = match (request.path, input) {
            (Some(path), _) => Content::from(path),
            (None, Some(input)) => Content::reader("", input),
            (None, None) => return Err(Error::new(ErrorKind::Usage, "there is nothing to put")),
        };
        content = content.follow(request.follow);
        for pattern in &request.exclude {
            content = content.exclude(pattern)?;
        }
        if let Some(name) = request.name {
            content = content.named(name);
        }
        let mut put = self.client().put(content).convergent(request.convergent);
        let (mut progress, mut listing) = (put.progress(), put.listing());
        loop {
            tokio::select! {
                biased;
                Ok(()) = listing.changed() => {
                    let found = listing.borrow_and_update().clone();
                    // Without the entries, for which a line may be too short. `--dry-run` lists them without a node.
                    found.into_iter().for_each(|found| news(News::Listing(Listing { entries: Vec::new(), ..found })));
                }
                Ok(()) = progress.changed() => news(News::Progress(progress.borrow_and_update().clone())),
                published = &mut put => return published,
            }
        }
    }

    async fn get(&self, request: GetRequest, sink: &mut GetSink) -> Result<(), Error> {
        let link: Link = request.link.parse()?;
        // Each command has circuits of its own.
        let object = self.client().isolated().open(&link).await?;
        let (root, bytes) = (to_text(&link.link.root.0), object.len());
        let offset = request.offset.min(bytes);
        let kind = if object.is_folder() { Kind::Directory } else { Kind::File };
        sink.open(Opened { root, bytes, kind, offset }).await?;
        let mut body = object.read_at(offset..bytes);
        match kind {
            Kind::File => send(&mut body, sink).await,
            Kind::Directory => send_folder(&object, &mut body, offset, sink).await,
        }
    }

    async fn lookup(&self, request: LookupRequest) -> Result<LookupReport, Error> {
        self.client().lookup(&request.key).await
    }

    async fn relays(&self, request: RelaysRequest) -> Result<RelaysReport, Error> {
        let filter = request.filter.as_deref().map(Filter::parse).transpose()?;
        let snapshot = match &self.node {
            Node::Client(client) => client.node().snapshot(),
            Node::Relay(relay) => relay.node().snapshot(),
        };
        let set = snapshot.ok_or_else(|| {
            Error::new(ErrorKind::NoPath, "the node knows no set of relays yet")
                .with_hint("see umbel status, which says what it waits for")
        })?;
        Ok(RelaysReport::of(&set, filter.as_ref(), unix_now()))
    }

    async fn invite(&self) -> Result<InviteReport, Error> {
        let invite = match &self.node {
            Node::Client(client) => client.invite().await?,
            Node::Relay(relay) => relay.invite(),
        };
        Ok(InviteReport::of(&invite))
    }

    async fn roll(&self, request: RollRequest) -> Result<RollReport, Error> {
        let refused = |why: &str| Error::new(ErrorKind::Config, why).with_rule("INVITE-9");
        let Node::Relay(relay) = &self.node else {
            return Err(
                refused("a client cannot pass a founder's roll on").with_hint("name a relay's folder with --dir")
            );
        };
        let roll = BASE64.decode(request.roll.as_bytes()).map_err(|_| refused("this is not a roll"))?;
        if relay.take_roll(roll).await? {
            Ok(RollReport { next_cut_s: relay.status().await?.network.next_cut_s })
        } else {
            Err(refused("the relay refused the roll: it is of another network, or dated in the future")
                .with_hint("check this machine's clock"))
        }
    }

    async fn browse(&self, request: BrowseRequest, opened: &mut DoorSink) -> Result<(), Error> {
        // spec: NODE-5
        let seat = self.doors.try_acquire().map_err(|_| {
            Error::new(ErrorKind::Busy, format!("{DOORS_MAX} browser windows use this node already"))
                .with_hint("close one of them")
        })?;
        let mut door = BrowserProxy::open(&self.client(), request.outside).await?;
        opened.open(Door { addr: door.addr() }).await?;
        // The command's end drops this future, and the proxy with it.
        door.ended().await;
        drop(seat);
        Ok(())
    }
}

async fn send(body: &mut ObjectReader, sink: &mut GetSink) -> Result<(), Error> {
    while let Some(piece) = body.chunk().await? {
        sink.data(&piece).await?;
    }
    Ok(())
}

/// Sends a folder's files in the order of their offsets. Files before `offset` are named, but their bytes are not sent.
async fn send_folder(object: &Object, body: &mut ObjectReader, offset: u64, sink: &mut GetSink) -> Result<(), Error> {
    for folder in object.empty_folders() {
        sink.entry(Entry { path: format!("{folder}/"), bytes: 0 }).await?;
    }
    let mut held: Vec<u8> = Vec::new();
    let mut at = offset;
    for entry in object.entries() {
        sink.entry(Entry { path: entry.path, bytes: entry.len }).await?;
        let end = entry.offset.saturating_add(entry.len);
        while at < end {
            if held.is_empty() {
                // A tree that is shorter than its root says is the publisher's fault.
                held = body.chunk().await?.ok_or(FetchError::Malformed)?;
            }
            let n = usize::try_from(end - at).unwrap_or(usize::MAX).min(held.len());
            let rest = held.split_off(n);
            sink.data(&held).await?;
            at += n as u64;
            held = rest;
        }
    }
    Ok(())
}
