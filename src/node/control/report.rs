//! The reports of the commands: their JSON is for programs and keeps its keys.

use crate::api;
pub use crate::api::{
    Bootstrap, BytesStatus, CircuitStatus, DirectoryStatus, Listing, Lookup as LookupReport, NetworkStatus, Problem,
    Progress, Published as PutReport, QueueStatus, StoreStatus, StreamStatus, Unit,
};
#[cfg(feature = "unstable")]
pub use crate::api::{Custodian as CustodianReport, LeftOut};
use crate::host::{descriptors, system};
use crate::node::process;
use crate::wire::ids::to_text;
use serde::{Deserialize, Serialize};

/// What `umbel get` reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetReport {
    /// The content's root.
    pub root: String,
    /// Bytes of content, those of an earlier run included.
    pub bytes: u64,
    /// Where it was written, absolute; `-` for standard output.
    pub path: String,
    /// SHA-256 of the content in hexadecimal; of a folder, of its files concatenated in the order of the manifest.
    pub sha256: String,
    /// How many bytes an earlier run had fetched.
    pub resumed_from: u64,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
}

/// What `umbel invite` reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteReport {
    /// The network's id.
    pub network: String,
    /// The network profile's name.
    pub profile: String,
    /// How many relays it names.
    pub relays: u64,
    /// The cut of its checkpoint, in milliseconds since 1970; null without one.
    pub cut: Option<u64>,
    /// The root of its checkpoint; null without one.
    pub root: Option<String>,
    /// The text of the file.
    pub invite: String,
}

impl InviteReport {
    /// The report of an invite.
    pub fn of(invite: &api::Invite) -> Self {
        let fields = &invite.0;
        Self {
            network: fields.network().to_string(),
            profile: fields.profile.clone(),
            relays: fields.relays.len() as u64,
            cut: fields.checkpoint.map(|(cut, _)| cut.0),
            root: fields.checkpoint.map(|(_, root)| to_text(&root)),
            invite: invite.to_string(),
        }
    }
}

/// What a relay reports that passes a roll on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollReport {
    /// Seconds to the next cut; null where none is known.
    pub next_cut_s: Option<u64>,
}

/// What `umbel status` reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// `client`, `relay` or `testnet`.
    pub role: String,
    /// The relay's id; null for a client, which has none.
    pub id: Option<String>,
    /// The network profile's name.
    pub profile: String,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// Whether the node can do its work now.
    pub ready: bool,
    /// How far the node is on its way to being ready.
    #[serde(default)]
    pub bootstrap: Bootstrap,
    /// What keeps the node from its work, or from a part of it.
    #[serde(default)]
    pub problems: Vec<Problem>,
    /// Where the proxy listens; null where there is none.
    pub socks: Option<String>,
    /// The network, and the node's place in it.
    #[serde(default)]
    pub network: NetworkStatus,
    /// The snapshot in use; null before the first.
    pub directory: Option<DirectoryStatus>,
    /// Open links.
    pub links: u64,
    /// Circuits that this node built.
    pub circuits: Vec<CircuitStatus>,
    /// Streams of this node's user: each with the receipt of how it went.
    pub streams: Vec<StreamStatus>,
    /// The store; null where the node keeps no content.
    pub store: Option<StoreStatus>,
    /// Circuits of others that a relay closed because too many cells were queued.
    #[serde(default)]
    pub circuits_evicted: u64,
    /// Bytes carried since the start.
    pub bytes: BytesStatus,
    /// What waits in the node now.
    #[serde(default)]
    pub queues: QueueStatus,
    /// Resident memory, in bytes.
    pub rss_bytes: u64,
    /// How many files the process may have open at once.
    #[serde(default)]
    pub files_limit: u64,
    /// How often since the start a connection had to wait or failed because too many files were open.
    #[serde(default)]
    pub files_short: u64,
}

impl Status {
    /// A node's status, with the figures of its process.
    pub fn of(node: api::Status, role: &str, socks: Option<String>) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            role: role.into(),
            id: node.id,
            profile: node.profile,
            uptime_s: node.uptime_s,
            ready: node.ready,
            bootstrap: node.bootstrap,
            problems: node.problems,
            socks,
            network: node.network,
            directory: node.directory,
            links: node.links,
            circuits: node.circuits,
            streams: node.streams,
            store: node.store,
            circuits_evicted: node.circuits_evicted,
            bytes: node.bytes,
            queues: node.queues,
            rss_bytes: process::rss_bytes(),
            files_limit: system::open_files_limit(),
            files_short: descriptors::times_short(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::DeserializeOwned;

    fn golden<T: Serialize + DeserializeOwned + PartialEq + core::fmt::Debug>(value: &T, json: &str) {
        assert_eq!(serde_json::to_string(value).unwrap(), json);
        assert_eq!(&serde_json::from_str::<T>(json).unwrap(), value);
    }

    #[test]
    fn put_and_get_reports_keep_their_keys() {
        let put = PutReport {
            link: "l".into(),
            verify_link: "v".into(),
            url: "u".into(),
            root: "r".into(),
            bytes: 1,
            files: 2,
            blocks: 3,
            copies: 4,
            custodians: vec!["c".into()],
            expires_unix: 5,
            verified: true,
            elapsed_ms: 6,
            hidden: vec![".h".into()],
            left_out: Vec::new(),
        };
        golden(
            &put,
            concat!(
                r#"{"link":"l","verify_link":"v","url":"u","root":"r","bytes":1,"files":2,"blocks":3,"copies":4,"#,
                r#""custodians":["c"],"expires_unix":5,"verified":true,"elapsed_ms":6,"hidden":[".h"],"left_out":[]}"#
            ),
        );
        let get = GetReport {
            root: "r".into(),
            bytes: 1,
            path: "p".into(),
            sha256: "s".into(),
            resumed_from: 2,
            elapsed_ms: 3,
        };
        golden(&get, r#"{"root":"r","bytes":1,"path":"p","sha256":"s","resumed_from":2,"elapsed_ms":3}"#);
    }

    #[test]
    fn a_status_keeps_its_keys() {
        let status = Status {
            version: "1".into(),
            role: "client".into(),
            profile: "testing".into(),
            uptime_s: 1,
            ready: true,
            socks: Some("127.0.0.1:6250".into()),
            directory: Some(DirectoryStatus {
                cut: 1,
                root: "r".into(),
                relays: 2,
                signers: 3,
                drawn: 4,
                vouched: Some(1),
                age_s: 4,
                auditors: 11,
                reached_by: 8,
                exits: 1,
                exit_operators: 1,
                exit_paths_seen_ppm: 200_000,
            }),
            links: 1,
            circuits: vec![CircuitStatus {
                id: 1,
                hops: vec!["h".into()],
                state: "open".into(),
                isolation: "i".into(),
            }],
            streams: vec![StreamStatus { id: 1, circuit: 2, hops: 3, post_quantum: true, bytes_in: 4, bytes_out: 5 }],
            store: Some(StoreStatus { used: 1, cap: 2, objects: 3, health: "good".into(), ..Default::default() }),
            bytes: BytesStatus { received: 1, sent: 2, ..Default::default() },
            circuits_evicted: 0,
            rss_bytes: 7,
            files_limit: 8,
            files_short: 9,
            ..Default::default()
        };
        golden(
            &status,
            concat!(
                r#"{"version":"1","role":"client","id":null,"profile":"testing","uptime_s":1,"ready":true,"#,
                r#""bootstrap":{"percent":0,"reason":"","next":""},"problems":[],"#,
                r#""socks":"127.0.0.1:6250","network":{"id":"","founders":[],"relays":0,"next_cut_s":null,"member":null,"since_unix":null,"message":""},"#,
                r#""directory":{"cut":1,"root":"r","relays":2,"signers":3,"drawn":4,"vouched":1,"age_s":4,"#,
                r#""auditors":11,"reached_by":8,"exits":1,"exit_operators":1,"exit_paths_seen_ppm":200000},"links":1,"#,
                r#""circuits":[{"id":1,"hops":["h"],"state":"open","isolation":"i"}],"#,
                r#""streams":[{"id":1,"circuit":2,"hops":3,"post_quantum":true,"bytes_in":4,"bytes_out":5}],"#,
                r#""store":{"used":1,"cap":2,"objects":3,"health":"good","reason":"","since_unix":0,"before":null,"#,
                r#""refused":0,"refused_unix":0,"blocks_lost":0,"index_rebuilt":false,"disk_free":0,"disk_reserve":0},"circuits_evicted":0,"#,
                r#""bytes":{"in":1,"out":2,"reads":0,"writes":0,"wakes":0,"records":0,"cells":0},"#,
                r#""queues":{"cells":{"count":0,"p50":0,"p90":0,"p99":0,"max":0},"#,
                r#""bytes":{"count":0,"p50":0,"p90":0,"p99":0,"max":0},"#,
                r#""windows":{"count":0,"p50":0,"p90":0,"p99":0,"max":0}},"#,
                r#""rss_bytes":7,"files_limit":8,"files_short":9}"#
            ),
        );
    }

    #[test]
    fn a_lookup_report_keeps_its_keys() {
        let custodian =
            CustodianReport { id: "c".into(), answered: false, holds: false, error: Some("no answer in time".into()) };
        golden(
            &LookupReport {
                key: "k".into(),
                kind: "block".into(),
                locator: Some("l".into()),
                answered: 0,
                holding: 0,
                custodians: vec![custodian],
            },
            concat!(
                r#"{"key":"k","kind":"block","locator":"l","answered":0,"holding":0,"#,
                r#""custodians":[{"id":"c","answered":false,"holds":false,"error":"no answer in time"}]}"#
            ),
        );
    }
}
