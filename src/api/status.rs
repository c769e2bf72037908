//! What the control socket answers.

use crate::node::control::report::{
    BytesStatus, CircuitStatus, DirectoryStatus, LookupReport, Progress, PutReport, Status, StoreStatus, StreamStatus,
};
use crate::node::control::server::{GetSink, Handler};
use crate::node::control::{GetRequest, LookupRequest, PutRequest};
use crate::node::driver::Clock;
use crate::node::error::Error;
use crate::node::service::AgentHandle;
use crate::node::system;
use crate::proto::profile::Profile;
use crate::role::client::{CircuitInfo, CircuitState, Isolation, StreamInfo, Want};
use crate::wire::ids::{RelayId, to_text};
use core::cell::{Cell, RefCell};

/// Answers the commands of this node's user.
pub(super) struct Control {
    pub(super) node: AgentHandle,
    pub(super) profile: &'static Profile,
    pub(super) clock: Clock,
    role: &'static str,
    relay: Cell<Option<RelayId>>,
    socks: RefCell<Option<String>>,
    route: Cell<u64>,
}

impl Control {
    pub(super) fn new(node: AgentHandle, profile: &'static Profile, clock: Clock, role: &'static str) -> Self {
        Self { node, profile, clock, role, relay: Cell::new(None), socks: RefCell::default(), route: Cell::new(0) }
    }

    pub(super) fn set_relay(&self, id: RelayId) {
        self.relay.set(Some(id));
    }

    pub(super) fn set_socks(&self, socks: String) {
        *self.socks.borrow_mut() = Some(socks);
    }

    /// The first of so many numbers for calls that share circuits with no others.
    pub(super) fn fresh_routes(&self, count: u64) -> u64 {
        let first = self.route.get();
        self.route.set(first.wrapping_add(count));
        first
    }

    pub(super) async fn report(&self) -> Status {
        let now = self.clock.now();
        let (mut links, mut received, mut sent, mut evicted) = (0, 0, 0, 0);
        for shard in self.node.shards() {
            let counts = shard.counts().await;
            links += counts.relay.links as u64;
            evicted += counts.relay.evicted;
            received += counts.bytes.0;
            sent += counts.bytes.1;
        }
        let (service_in, service_out) = self.node.bytes();
        let snapshot = self.node.snapshots().borrow().clone();
        let signers = self.node.with(|n, _| n.signers());
        let directory = snapshot.as_ref().map(|s| DirectoryStatus {
            cut: s.cut.0,
            root: to_text(&s.root),
            relays: s.len() as u64,
            signers: signers as u64,
            age_s: s.age(now.unix).as_secs(),
        });
        let (circuits, streams, own_links) = self.node.with(|n, _| {
            let client = n.client();
            (client.circuits(), client.streams(), client.links())
        });
        let ready =
            if self.relay.get().is_some() { snapshot.is_some() } else { *self.node.circuits_built().borrow() > 0 };
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            role: self.role.into(),
            id: self.relay.get().map(|id| id.to_string()),
            profile: self.profile.name.into(),
            uptime_s: now.mono.0 / 1_000_000,
            ready,
            socks: self.socks.borrow().clone(),
            directory,
            links: links + own_links as u64,
            circuits: circuits.iter().map(circuit).collect(),
            streams: streams.iter().map(stream).collect(),
            store: self.node.with(|n, _| n.store_figures()).map(|(used, cap, objects)| StoreStatus {
                used,
                cap,
                objects: objects as u64,
            }),
            circuits_evicted: evicted,
            bytes: BytesStatus { received: received + service_in, sent: sent + service_out },
            rss_bytes: system::rss_bytes(),
        }
    }
}

impl Handler for Control {
    async fn status(&self) -> Result<Status, Error> {
        Ok(self.report().await)
    }

    async fn put(&self, request: PutRequest, progress: &mut dyn FnMut(Progress)) -> Result<PutReport, Error> {
        self.publish(request, progress).await
    }

    async fn get(&self, request: GetRequest, sink: &mut GetSink) -> Result<(), Error> {
        self.fetch(request, sink).await
    }

    async fn lookup(&self, request: LookupRequest) -> Result<LookupReport, Error> {
        self.ask_custodians(request).await
    }
}

fn circuit(info: &CircuitInfo) -> CircuitStatus {
    let state = match info.state {
        CircuitState::Building => "building",
        CircuitState::Open => "open",
    };
    CircuitStatus {
        id: info.id,
        hops: info.hops.iter().map(RelayId::to_string).collect(),
        state: state.into(),
        isolation: info.want.map_or_else(|| "spare".into(), isolation),
    }
}

/// A name for who may share a circuit; says nothing of users or destinations.
fn isolation(want: Want) -> String {
    match want {
        Want::Exit(Isolation(token)) => format!("exit-{}", to_text(&token).get(..8).unwrap_or_default()),
        Want::Direct(_) => "direct".into(),
        Want::Last(_, n) => format!("directory-{n}"),
        Want::Fourth(_, n) => format!("content-{n}"),
    }
}

fn stream(info: &StreamInfo) -> StreamStatus {
    StreamStatus {
        id: info.id,
        circuit: info.circuit.unwrap_or_default(),
        hops: info.hops as u64,
        // Every circuit handshake of this version is X25519 with ML-KEM-768 (spec HS-1).
        post_quantum: info.circuit.is_some(),
        bytes_in: info.bytes_in,
        bytes_out: info.bytes_out,
    }
}
