//! A node's status. Nothing in it identifies users or destinations.

use super::local::Local;
use super::paths::SHARE_SUPPOSED;
use super::place::NetworkStatus;
use super::problem::Problem;
use super::ready::Bootstrap;
use crate::base::histogram::Histogram;
use crate::base::time::UnixMs;
use crate::proto::content::store::StoreHealth;
use crate::role::client::{CircuitInfo, CircuitPurpose, CircuitState, StreamInfo};
use crate::wire::ids::{RelayId, to_text};
#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

/// What a node does now: circuits, streams, directory, store. Nothing in it identifies users or destinations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
#[non_exhaustive]
pub struct Status {
    /// A relay's id; none for a client, which has none.
    pub id: Option<String>,
    /// The network profile's name.
    pub profile: String,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// Whether the node can do its work now.
    pub ready: bool,
    /// How far it is on its way to its first work.
    #[cfg_attr(feature = "serde", serde(default))]
    pub bootstrap: Bootstrap,
    /// Problems that keep it from all or part of its work.
    pub problems: Vec<Problem>,
    /// The network, and the node's place in it.
    pub network: NetworkStatus,
    /// The snapshot in use; none before the first.
    pub directory: Option<DirectoryStatus>,
    /// Open links.
    pub links: u64,
    /// Circuits that this node built.
    pub circuits: Vec<CircuitStatus>,
    /// Streams of this node's user: each with the receipt of how it went.
    pub streams: Vec<StreamStatus>,
    /// The store; none where the node keeps no content.
    pub store: Option<StoreStatus>,
    /// Circuits of others that a relay closed because too many cells waited.
    pub circuits_evicted: u64,
    /// Bytes on links since the start.
    pub bytes: BytesStatus,
    /// What waits in the node now.
    #[cfg_attr(feature = "serde", serde(default))]
    pub queues: QueueStatus,
}

/// The settled set of relays in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct DirectoryStatus {
    /// When it was cut, in milliseconds since 1970.
    pub cut: u64,
    /// Its Merkle root.
    pub root: String,
    /// Relays in it.
    pub relays: u64,
    /// Signers that agreed on the root; 0 for a set of an earlier run, and on a relay, which settles its own.
    pub signers: u64,
    /// Signers that were drawn for it, those that said nothing among them.
    #[cfg_attr(feature = "serde", serde(default))]
    pub drawn: u64,
    /// Seeds that vouched for the first set, in this run or an earlier one; null if none was needed, as on a relay.
    #[cfg_attr(feature = "serde", serde(default))]
    pub vouched: Option<u64>,
    /// Seconds since the cut.
    pub age_s: u64,
    /// Relays that were to see at the last cut whether this relay can be reached; 0 on a client, and where nobody audits.
    #[cfg_attr(feature = "serde", serde(default))]
    pub auditors: u64,
    /// How many of them reached it.
    #[cfg_attr(feature = "serde", serde(default))]
    pub reached_by: u64,
    /// Relays in it that connect to the Internet.
    #[cfg_attr(feature = "serde", serde(default))]
    pub exits: u64,
    /// How many operators run these, as far as families and prefixes tell them apart.
    #[cfg_attr(feature = "serde", serde(default))]
    pub exit_operators: u64,
    /// How many of a million paths to the Internet somebody may see at both ends who runs a fifth of all relays, and as many
    /// of the exits as that makes.
    #[cfg_attr(feature = "serde", serde(default))]
    pub exit_paths_seen_ppm: u64,
}

/// A circuit that this node built: the relays it runs through, and a name for who may share it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct CircuitStatus {
    /// Its number in this process.
    pub id: u64,
    /// The relays it runs through, the guard first.
    pub hops: Vec<String>,
    /// `building`, `open` or `closing`.
    pub state: String,
    /// A name for who may share it; tells nothing of users or destinations.
    pub isolation: String,
}

/// A stream of the node's user: the circuit that carries it, and how many bytes went each way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct StreamStatus {
    /// Its number in this process.
    pub id: u64,
    /// The circuit that carries it.
    pub circuit: u64,
    /// How many relays that circuit runs through.
    pub hops: u64,
    /// Whether every hop's key is safe against a later quantum computer.
    pub post_quantum: bool,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
}

/// The store of content kept for others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct StoreStatus {
    /// Bytes in use.
    pub used: u64,
    /// Bytes it may use.
    pub cap: u64,
    /// Objects in it.
    pub objects: u64,
    /// `good`, or why it takes nothing in: `disk-full`, `read-only`, `denied`, `gone` or `failed`. What it holds is served as
    /// far as it can be read.
    #[cfg_attr(feature = "serde", serde(default))]
    pub health: String,
    /// The system's words for it; empty where it is good.
    #[cfg_attr(feature = "serde", serde(default))]
    pub reason: String,
    /// Since when, in seconds since 1970; 0 for the start.
    #[cfg_attr(feature = "serde", serde(default))]
    pub since_unix: u64,
    /// How it did the last time it was not good, and until when in seconds since 1970; null where that never was.
    #[cfg_attr(feature = "serde", serde(default))]
    pub before: Option<(String, u64)>,
    /// How often content was refused for want of room since the start.
    #[cfg_attr(feature = "serde", serde(default))]
    pub refused: u64,
    /// When that was last, in seconds since 1970.
    #[cfg_attr(feature = "serde", serde(default))]
    pub refused_unix: u64,
    /// Blocks found damaged or missing since the start.
    #[cfg_attr(feature = "serde", serde(default))]
    pub blocks_lost: u64,
    /// Whether its index was damaged at or since the start and was made anew.
    #[cfg_attr(feature = "serde", serde(default))]
    pub index_rebuilt: bool,
    /// Bytes free on its disk.
    #[cfg_attr(feature = "serde", serde(default))]
    pub disk_free: u64,
    /// Bytes of the disk that it leaves free.
    #[cfg_attr(feature = "serde", serde(default))]
    pub disk_reserve: u64,
}

/// What went through the sockets of links and destinations since the start, headers and padding included, and in how many pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct BytesStatus {
    /// Received.
    #[cfg_attr(feature = "serde", serde(rename = "in"))]
    pub received: u64,
    /// Sent.
    #[cfg_attr(feature = "serde", serde(rename = "out"))]
    pub sent: u64,
    /// Reads that brought something.
    #[cfg_attr(feature = "serde", serde(default))]
    pub reads: u64,
    /// Writes that took something.
    #[cfg_attr(feature = "serde", serde(default))]
    pub writes: u64,
    /// How often the task of a connection was woken.
    #[cfg_attr(feature = "serde", serde(default))]
    pub wakes: u64,
    /// Records written to links.
    #[cfg_attr(feature = "serde", serde(default))]
    pub records: u64,
    /// Cells in these records.
    #[cfg_attr(feature = "serde", serde(default))]
    pub cells: u64,
}

/// What waits in the node now, and how much of what it sends may be under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct QueueStatus {
    /// Cells that wait for the next link, on each circuit of others.
    pub cells: Spread,
    /// Bytes of streams that wait for a cell, at each end of a circuit where this node has sent.
    pub bytes: Spread,
    /// The congestion window of each of these ends, in cells.
    pub windows: Spread,
}

/// How values are spread. A percentile may be told too large by less than twice, never too small; the largest value is exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct Spread {
    /// How many values there are.
    pub count: u64,
    /// Half of them are not larger.
    pub p50: u64,
    /// Nine of ten are not larger.
    pub p90: u64,
    /// 99 of a hundred are not larger.
    pub p99: u64,
    /// The largest; 0 without values.
    pub max: u64,
}

impl Spread {
    fn of(values: &Histogram) -> Self {
        Self {
            count: values.count(),
            p50: values.percentile(50),
            p90: values.percentile(90),
            p99: values.percentile(99),
            max: values.max(),
        }
    }
}

impl Local {
    pub(super) async fn status(&self) -> Status {
        let now = self.about.clock.now();
        let (mut links, mut evicted, mut traffic) = (0, 0, self.agent.traffic());
        let ((mut records, mut cells), mut queues) =
            self.agent.with(|n, _| (n.client().written(), n.client().queues()));
        for shard in self.agent.shards() {
            let counts = shard.counts().await;
            links += counts.relay.links as u64;
            evicted += counts.relay.evicted;
            traffic += counts.traffic;
            records += counts.relay.written.0;
            cells += counts.relay.written.1;
            queues.merge(&shard.queues().await);
        }
        let (circuits, streams, own_links) = self.agent.with(|n, _| {
            let client = n.client();
            (client.circuits(), client.streams(), client.links())
        });
        Status {
            id: self.about.relay.map(|id| id.to_string()),
            profile: self.about.profile.name.into(),
            uptime_s: now.mono.0 / 1_000_000,
            ready: self.readiness().is_ready(),
            bootstrap: self.readiness().bootstrap(),
            network: self.network_status(),
            directory: self.directory_status(now.unix),
            links: links + own_links as u64,
            circuits: circuits.iter().map(circuit).collect(),
            streams: streams.iter().map(stream).collect(),
            problems: self.health.borrow().problems.clone(),
            store: self.store_status(),
            circuits_evicted: evicted,
            bytes: BytesStatus {
                received: traffic.received,
                sent: traffic.sent,
                reads: traffic.reads,
                writes: traffic.writes,
                wakes: traffic.wakes,
                records,
                cells,
            },
            queues: QueueStatus {
                cells: Spread::of(&queues.cells),
                bytes: Spread::of(&queues.bytes),
                windows: Spread::of(&queues.windows),
            },
        }
    }
}

impl Local {
    fn directory_status(&self, now: UnixMs) -> Option<DirectoryStatus> {
        let snapshot = self.agent.snapshots().borrow().clone();
        let report = self.agent.with(|n, _| n.report().cloned()).unwrap_or_default();
        let confirmed = self.agent.with(|n, _| n.confirmed()).unwrap_or_default();
        snapshot.as_ref().map(|s| {
            let exits = s.index().exit_figures;
            DirectoryStatus {
                cut: s.cut.0,
                root: to_text(&s.root),
                relays: s.len() as u64,
                signers: report.signers as u64,
                drawn: report.drawn as u64,
                vouched: report.vouched.map(|n| n as u64),
                age_s: s.age(now).as_secs(),
                auditors: confirmed.of as u64,
                reached_by: confirmed.by as u64,
                exits: exits.exits as u64,
                exit_operators: exits.operators as u64,
                exit_paths_seen_ppm: (exits.seen_at_both_ends(SHARE_SUPPOSED) * 1e6) as u64,
            }
        })
    }

    fn store_status(&self) -> Option<StoreStatus> {
        let (used, cap, objects) = self.agent.store_figures()?;
        let state = self.about.store.as_ref().map(|s| s.get()).unwrap_or_default();
        Some(StoreStatus {
            used,
            cap,
            objects,
            health: health(state.health).into(),
            reason: state.words,
            since_unix: state.since.secs(),
            before: state.before.map(|(was, _, until)| (health(was).into(), until.secs())),
            refused: state.refused.0,
            refused_unix: state.refused.1.secs(),
            blocks_lost: state.lost,
            index_rebuilt: state.rebuilt,
            disk_free: state.free.0,
            disk_reserve: state.free.1,
        })
    }
}

fn health(of: StoreHealth) -> &'static str {
    match of {
        StoreHealth::Good => "good",
        StoreHealth::DiskFull => "disk-full",
        StoreHealth::ReadOnly => "read-only",
        StoreHealth::Denied => "denied",
        StoreHealth::Gone => "gone",
        StoreHealth::Failed => "failed",
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
        isolation: info.purpose.map_or_else(|| "spare".into(), isolation),
    }
}

/// A name for who may share a circuit; says nothing of users or destinations.
fn isolation(want: CircuitPurpose) -> String {
    match want {
        CircuitPurpose::Exit(isolation) => format!("exit-{isolation}"),
        CircuitPurpose::Direct(_) => "direct".into(),
        CircuitPurpose::Last(_, n) => format!("directory-{n}"),
        CircuitPurpose::Fourth(_, n) => format!("content-{n}"),
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
