//! A whole network in one process: relays that meet only over TCP on loopback, each with its own folder and threads, and a
//! client.

use super::client::Client;
use super::invite::Invite;
use super::network::Network;
use super::ready::Readiness;
use super::relay::{ExitPolicy, Relay};
use crate::host::error::{Error, ErrorKind};
use crate::host::system;
use crate::proto::directory::schedule::COPY_ROUNDS;
use crate::proto::profile::Profile;
use crate::wire::descriptor::SignedDescriptor;
use crate::wire::ids::to_text;
use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Relays of a testnet: fewer make no path, more are better run as processes.
const RELAYS: core::ops::RangeInclusive<usize> = 4..=64;
/// How long the relays may take to find each other before the client starts with those that did.
const WHOLE_MAX: Duration = Duration::from_secs(20);

/// How a [`Testnet`] starts. Made by [`Testnet::builder`].
#[derive(Clone, Debug)]
#[must_use = "nothing happens before start"]
pub struct TestnetBuilder {
    relays: usize,
    exit: bool,
    dir: Option<PathBuf>,
}

impl TestnetBuilder {
    /// How many relays, 4 to 64; 4 unless set.
    pub fn relays(mut self, relays: usize) -> Self {
        self.relays = relays;
        self
    }

    /// Whether the last relay is an exit, to private and loopback addresses as well. It is not unless set.
    pub fn exit(mut self, exit: bool) -> Self {
        self.exit = exit;
        self
    }

    /// Where the nodes' folders lie. A new folder below the system's temporary one unless set, which goes with the network.
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.dir = Some(dir.as_ref().to_owned());
        self
    }

    /// Starts the relays, waits until they know each other, and starts the client. Takes some seconds.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for another number of relays; else as [`RelayBuilder::start`](crate::RelayBuilder::start) and
    /// [`ClientBuilder::start`](crate::ClientBuilder::start).
    pub async fn start(self) -> Result<Testnet, Error> {
        if !RELAYS.contains(&self.relays) {
            let message = format!("a testnet has {} to {} relays, not {}", RELAYS.start(), RELAYS.end(), self.relays);
            return Err(Error::new(ErrorKind::Usage, message).with_hint("give another number with --relays"));
        }
        let (dir, temp) = match self.dir {
            Some(dir) => (dir, None),
            None => TempDir::new().map(|t| (t.0.clone(), Some(t)))?,
        };
        let founded = Network::found(&Profile::TESTING, &mut system::rng()?).forgotten();
        let mut relays: Vec<Relay> = Vec::new();
        for n in 0..self.relays {
            let seeds: Vec<_> = relays.first().map(|r| r.descriptor().clone()).into_iter().collect();
            let policy = if self.exit && n == self.relays - 1 { ExitPolicy::Public } else { ExitPolicy::None };
            let relay = Relay::builder(dir.join(format!("relay-{n}")))
                .listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
                .exit(policy)
                .member_of(founded.with_seeds(seeds));
            relays.push(relay.start().await?);
        }
        let seeds: Vec<SignedDescriptor> = relays.iter().map(|r| r.descriptor().clone()).collect();
        let invite = founded.invite_to(&seeds);
        if let Some(first) = relays.first() {
            let all: Vec<_> = relays.iter().map(|r| r.node().readiness().clone()).collect();
            // On a thread with a timer: the caller's runtime may have none.
            first.node().run(|_| whole(all)).await?;
        }
        let client = Client::builder(&dir).member_of(founded.with_seeds(seeds)).start().await?;
        Ok(Testnet { client, relays, invite, _temp: temp })
    }
}

/// Waits until each relay's snapshot has all of them: before that, the exit or a custodian may be missing from it.
async fn whole(relays: Vec<Readiness>) {
    let all = async {
        for relay in &relays {
            relay.holds(relays.len()).await;
        }
        // Until then they name the cut before to those who ask.
        tokio::time::sleep(Profile::TESTING.cuts.round * COPY_ROUNDS).await;
    };
    if tokio::time::timeout(WHOLE_MAX, all).await.is_err() {
        tracing::warn!("not all relays have found each other yet");
    }
}

/// A network of your own on loopback, for tests: nothing leaves the machine.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), umbel::Error> {
/// use tokio::io::AsyncReadExt;
///
/// let net = umbel::Testnet::start(4).await?;
/// let published = net.client().put(umbel::Content::reader("hello.txt", &b"hello"[..])).await?;
/// let mut text = String::new();
/// net.client().open(&published.link.parse()?).await?.read_to_string(&mut text).await?;
/// assert_eq!(text, "hello");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Testnet {
    client: Client,
    relays: Vec<Relay>,
    invite: Invite,
    /// Last, so that it goes when all nodes have ended.
    _temp: Option<TempDir>,
}

impl Testnet {
    /// Starts a network of this many relays, none of them an exit, in a temporary folder.
    ///
    /// # Errors
    /// As [`TestnetBuilder::start`].
    pub async fn start(relays: usize) -> Result<Self, Error> {
        Self::builder().relays(relays).start().await
    }

    /// Begins to describe a network.
    pub fn builder() -> TestnetBuilder {
        TestnetBuilder { relays: *RELAYS.start(), exit: false, dir: None }
    }

    /// A client of the network, which waits for its first circuit in the background: see [`Client::ready`].
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The relays; the exit is the last.
    pub fn relays(&self) -> &[Relay] {
        &self.relays
    }

    /// An invite that names all relays, for further clients and relays.
    pub fn invite(&self) -> &Invite {
        &self.invite
    }

    /// Ends all nodes and waits until their threads are gone.
    pub async fn shutdown(self) {
        self.client.shutdown().await;
        for relay in &self.relays {
            relay.shutdown().await;
        }
    }
}

/// A folder that goes with the value.
#[derive(Debug)]
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> Result<Self, Error> {
        let name: [u8; 32] = system::rng()?.bytes();
        let name = to_text(&name).get(..16).unwrap_or_default().to_owned();
        let path = std::env::temp_dir().join(format!("umbel-testnet-{name}"));
        std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(|e| Error::file("make", &path, &e))?;
        Ok(Self(path))
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
