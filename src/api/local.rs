//! A node on its own thread: what the public handles carry requests to, and what the local proxy uses itself.

use super::invite::Invite;
use super::network::Network;
use super::problem::Health;
use super::ready::Readiness;
use crate::base::secret::Secret;
use crate::host::dir::NodeDir;
use crate::host::driver::Clock;
use crate::host::error::{Error, ErrorKind};
use crate::host::guards;
use crate::host::service::AgentHandle;
use crate::host::service::content::AgentObject;
use crate::host::service::stream::AgentStream;
use crate::host::store::report::StoreReport;
use crate::proto::content::fetch::FetchError;
use crate::proto::path::GuardRecord;
use crate::proto::profile::Profile;
use crate::role::client::{CircuitPurpose, Isolation, StreamFailure};
use crate::wire::ids::RelayId;
use crate::wire::message::Target;
use crate::wire::umbel_link::ContentLink;
use core::cell::{Cell, RefCell};
use core::net::IpAddr;
use core::time::Duration;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

/// A handle on a node, for its thread alone. A clone is another handle on the same node.
#[derive(Clone)]
pub(crate) struct Local {
    pub(super) agent: AgentHandle,
    pub(super) about: Rc<About>,
    pub(super) health: Rc<RefCell<Health>>,
}

/// What does not change while a node runs.
pub(super) struct About {
    pub(super) dir: NodeDir,
    pub(super) profile: &'static Profile,
    pub(super) network: Network,
    pub(super) clock: Clock,
    /// Present on a relay.
    pub(super) relay: Option<RelayId>,
    /// How the store does, where there is one.
    pub(super) store: Option<Arc<StoreReport>>,
    /// Guards that could not be written yet.
    pub(super) unsaved: RefCell<Option<Vec<GuardRecord>>>,
    /// Numbers the calls that share circuits with no others.
    pub(super) routes: Cell<u64>,
}

impl About {
    pub(super) fn new(
        dir: NodeDir,
        network: Network,
        clock: Clock,
        relay: Option<RelayId>,
        store: Option<Arc<StoreReport>>,
    ) -> Self {
        let (unsaved, routes) = (RefCell::default(), Cell::new(0));
        Self { dir, profile: network.profile, network, clock, relay, store, unsaved, routes }
    }
}

/// Why a stream could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectError {
    /// The node has no directory yet.
    NotReady,
    /// No relay of the network is an exit.
    NoExit,
    /// It failed on its way.
    Failed(StreamFailure),
}

impl Local {
    pub(super) fn new(agent: AgentHandle, about: About) -> Self {
        Self { agent, about: Rc::new(about), health: Rc::default() }
    }

    /// Whether private and loopback destinations may go to an exit.
    pub(crate) fn private_exit(&self) -> bool {
        self.about.profile.private_exit
    }

    pub(super) fn dir(&self) -> &Path {
        self.about.dir.path()
    }

    /// An invite for others, by what the node knows now.
    pub(crate) fn invite(&self) -> Invite {
        self.about.network.invite(self.agent.snapshots().borrow().as_deref())
    }

    pub(super) fn readiness(&self) -> Readiness {
        Readiness::new(&self.agent, self.about.clock, self.about.profile, self.about.relay.is_some())
    }

    /// Waits for the directory, no longer than `patience`.
    pub(super) async fn settled(&self, patience: Duration) -> Result<(), Error> {
        match tokio::time::timeout(patience, self.readiness().settled()).await {
            Ok(settled) => settled,
            Err(_) => Err(Error::new(ErrorKind::NoPath, "no relay of the network answered in time")
                .with_hint("check this machine's connection; if it is good, ask for a fresh invite")),
        }
    }

    /// The first of `count` numbers for calls that share circuits with no others.
    pub(super) fn fresh_routes(&self, count: u64) -> u64 {
        let first = self.about.routes.get();
        self.about.routes.set(first.wrapping_add(count));
        first
    }

    /// Whether a stream to the outside can be had at all.
    fn exits(&self) -> Result<(), ConnectError> {
        let snapshot = self.agent.snapshots().borrow().clone().ok_or(ConnectError::NotReady)?;
        if snapshot.relays().iter().any(|r| r.exit) { Ok(()) } else { Err(ConnectError::NoExit) }
    }

    /// Opens a stream through an exit. Its `first` bytes travel with the request to open it.
    pub(crate) async fn connect(
        &self,
        target: Target,
        isolation: Isolation,
        first: &[u8],
    ) -> Result<AgentStream, ConnectError> {
        self.exits()?;
        self.agent.open(CircuitPurpose::Exit(isolation), target, first).await.map_err(ConnectError::Failed)
    }

    /// Has an exit look a name up; empty where nothing is found.
    pub(crate) async fn resolve(&self, name: &str, isolation: Isolation) -> Result<Vec<IpAddr>, ConnectError> {
        self.exits()?;
        self.agent.look_up(CircuitPurpose::Exit(isolation), name).await.map_err(ConnectError::Failed)
    }

    /// Whether there is a directory, from which paths can be drawn.
    pub(crate) fn is_settled(&self) -> bool {
        self.agent.snapshots().borrow().is_some()
    }

    /// Opens an object over circuits that only this `route` uses.
    pub(crate) async fn open(&self, link: &ContentLink, route: u64) -> Result<AgentObject, FetchError> {
        self.agent.open_object_at(link, route).await
    }

    /// A fresh read key.
    pub(super) fn fresh_key() -> Result<Secret<32>, Error> {
        Ok(Secret::new(crate::host::system::rng()?.bytes()))
    }

    /// Writes the guards if they are other than what was written last.
    pub(super) fn save_guards(&self) {
        let mut unsaved = self.about.unsaved.borrow_mut();
        if let Some(guards) = self.agent.with(|n, _| n.changed_guards()) {
            *unsaved = Some(guards);
        }
        // What could not be written is written the next time.
        unsaved.take_if(|guards| guards::save(&self.about.dir, guards).is_ok());
    }

    /// Writes a relay's sets down, until the node is gone.
    pub(super) async fn keep_sets(self) {
        super::sets::keep(&self.agent, &self.about.dir).await;
    }

    /// The last thing before the thread ends.
    pub(super) async fn close(&self) {
        if self.about.relay.is_none() {
            return self.save_guards();
        }
        super::sets::retire(&self.agent, &self.about.dir).await;
    }
}
