//! The local proxy: SOCKS and HTTP on one loopback port, sites served by the node itself, all else through exits.
//!
//! ```text
//! program --SOCKS 4/5, HTTP--> [listener] --*.umbel--> gateway --Object--> the node's content
//!                                         \--others--> Upstream::connect --> an exit
//! ```
//!
//! Everything fails closed: what cannot go through the network does not go at all, no name is ever looked up here, and a
//! stream that breaks is reset towards the program, never ended as if it were whole.
//!
//! *Seen by:* programs of the user's machine, web pages in the user's browser among them.

mod client;
pub mod codec;
mod destination;
mod document;
mod exit;
mod forward;
mod gateway;
mod hints;
mod http;
mod mapped;
mod network;
mod page;
mod places;
mod range;
mod socks;
mod tunnel;
pub mod upstream;

use crate::base::rng::Rng;
use crate::host::descriptors::Pause;
use client::Client;
use mapped::Mapped;
use places::{Place, Places};
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use upstream::{Isolator, Upstream};

/// Client connections at a time unless set otherwise; one that can be done without makes room for the next.
pub const CONNECTIONS_MAX: usize = 8192;
/// How long a client may take to send a handshake or a request's head, unless set otherwise.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection may wait for another request.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// How long opening a stream or an object may take, whatever the network says.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(120);
/// How long the next bytes of an object may take.
pub const READ_TIMEOUT: Duration = Duration::from_secs(120);
/// How often a program that waits for a place checks whether there is one.
const PLACE_RETRY: Duration = Duration::from_secs(1);

/// What a proxy's port serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Sites without their scripts, and other hosts through exits. For programs and for browsers that anyone has set up.
    Everything,
    /// The same with the sites' scripts: the user answers for the browsers of this machine.
    EverythingWithScripts,
    /// Sites with their scripts, and no other host. For a browser that this program has started.
    Sites,
}

impl Scope {
    /// Whether the pages of sites may run scripts.
    fn scripts(self) -> bool {
        !matches!(self, Self::Everything)
    }

    /// Whether hosts outside the network are reached.
    fn outside(self) -> bool {
        !matches!(self, Self::Sites)
    }
}

/// How the proxy listens.
#[derive(Clone, Debug)]
pub struct Config {
    /// A loopback address; port 0 means any.
    pub listen: SocketAddr,
    /// Whether private and loopback destinations may go to an exit: the profile's `private_exit`.
    pub private: bool,
    /// What this port serves.
    pub scope: Scope,
    /// Client connections at a time.
    pub connections: usize,
    /// How long a client may take to send a handshake or a request's head.
    pub head_timeout: Duration,
    /// Whether each destination has a circuit of its own, instead of a few for each user.
    pub by_destination: bool,
}

impl Config {
    /// The usual bounds.
    pub fn new(listen: SocketAddr, private: bool) -> Self {
        let (connections, head_timeout) = (CONNECTIONS_MAX, HEAD_TIMEOUT);
        Self { listen, private, scope: Scope::Everything, connections, head_timeout, by_destination: false }
    }
}

/// Why the proxy cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Others could reach the address. There is no switch for this.
    #[error("{0} is not a loopback address: the proxy is for programs of this machine only")]
    NotLoopback(SocketAddr),
    /// Another program listens there.
    #[error("another program listens on {0}")]
    Busy(SocketAddr),
    /// The system refuses.
    #[error("cannot listen on {0}: {1}")]
    Failed(SocketAddr, #[source] io::Error),
}

/// A proxy that listens and does not accept yet.
pub struct Proxy {
    listener: TcpListener,
    config: Config,
    address: SocketAddr,
    isolator: Isolator,
    mapped: Mapped,
}

/// What all connections share.
struct Shared<U: Upstream> {
    upstream: U,
    private: bool,
    scope: Scope,
    head_timeout: Duration,
    isolator: Isolator,
    mapped: RefCell<Mapped>,
    objects: gateway::Objects<U::Object>,
    scratch: tunnel::Scratch,
    /// True when the proxy drains.
    stopping: watch::Receiver<bool>,
}

/// Programs whose connection may wait to be accepted. Beyond it the system drops the first packet, and the program tries again
/// after a second; most systems allow 4,096.
const BACKLOG: u32 = 4096;

/// A listener at which many may wait.
fn waiting_room(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

impl Proxy {
    /// Listens. Programs that connect wait until [`Proxy::serve`].
    pub async fn bind(config: Config, rng: &mut Rng) -> Result<Self, BindError> {
        let listen = config.listen;
        // spec: PROXY-1
        if !listen.ip().is_loopback() {
            return Err(BindError::NotLoopback(listen));
        }
        let listener = waiting_room(listen).map_err(|why| match why.kind() {
            io::ErrorKind::AddrInUse => BindError::Busy(listen),
            _ => BindError::Failed(listen, why),
        })?;
        let address = listener.local_addr().map_err(|why| BindError::Failed(listen, why))?;
        let isolator = Isolator::new(rng.bytes(), config.by_destination);
        Ok(Self { listener, config, address, isolator, mapped: Mapped::new(rng.fork()) })
    }

    /// Where programs connect to.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is ready and the streams then open have ended. Dropping the future resets what is open.
    /// Must run inside a `LocalSet`.
    pub async fn serve<U: Upstream>(self, upstream: U, stop: impl Future<Output = ()>) {
        let (stopped, stopping) = watch::channel(false);
        let shared = Rc::new(Shared {
            upstream,
            private: self.config.private,
            scope: self.config.scope,
            head_timeout: self.config.head_timeout,
            isolator: self.isolator,
            mapped: RefCell::new(self.mapped),
            objects: gateway::Objects::new(),
            scratch: tunnel::Scratch::new(),
            stopping,
        });
        let (mut clients, mut places, mut next) = (JoinSet::new(), Places::default(), None);
        let mut stop = std::pin::pin!(stop);
        let (freed, mut pause) = (Rc::new(Notify::new()), Pause::new("programs at the proxy wait"));
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(_) = clients.join_next() => places.prune(),
                accepted = self.listener.accept(), if next.is_none() => match accepted {
                    Ok((stream, _)) => {
                        pause.over();
                        next = Some(stream);
                    }
                    // Connections wait in the queue until descriptors are back.
                    // spec: NODE-17
                    Err(why) => {
                        places.make_room();
                        tokio::select! {
                            () = &mut stop => break,
                            () = pause.after(&why, &freed) => {}
                        }
                    }
                },
                () = tokio::time::sleep(PLACE_RETRY), if next.is_some() => {}
            }
            // spec: PROXY-2 PROXY-37
            if next.is_some() && clients.len() >= self.config.connections {
                places.make_room();
            } else if let Some(stream) = next.take() {
                let place = Place::new();
                let (shared, seat, freed) = (Rc::clone(&shared), Rc::clone(&place), Rc::clone(&freed));
                let task = clients.spawn_local(async move {
                    client(shared, stream, seat).await;
                    freed.notify_waiters();
                });
                places.add(place, task);
            }
        }
        drop(self.listener);
        stopped.send_replace(true);
        while clients.join_next().await.is_some() {}
    }
}

/// Serves one connection: its first byte tells the protocol.
async fn client<U: Upstream>(shared: Rc<Shared<U>>, stream: TcpStream, place: Rc<Place>) {
    let mut client = Client::new(stream, place, shared.stopping.clone());
    // spec: PROXY-8
    let served = match client.first_byte(shared.head_timeout).await {
        Ok(Some(4 | 5)) => socks::serve(&shared, &mut client).await,
        Ok(Some(_)) => http::serve(&shared, &mut client, None).await,
        Ok(None) => Ok(()),
        Err(why) => Err(why),
    };
    match served {
        Ok(()) => client.ended(),
        Err(why) => tracing::debug!(%why, "a proxy client's connection is reset"),
    }
}
