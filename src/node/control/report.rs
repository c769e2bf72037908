//! The reports of the commands: their JSON is for programs and keeps its keys.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// What `umbel put` reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutReport {
    /// Reads the content: `umbel:<root>/<key>`.
    pub link: String,
    /// Checks and keeps the content without reading it.
    pub verify_link: String,
    /// The content in a browser that uses the proxy.
    pub url: String,
    /// The content's root, 52 characters.
    pub root: String,
    /// Bytes of content.
    pub bytes: u64,
    /// Files in it.
    pub files: u64,
    /// Blocks it became.
    pub blocks: u64,
    /// Custodians that hold all of it.
    pub copies: u64,
    /// Their ids.
    pub custodians: Vec<String>,
    /// Until when they keep it, in seconds since 1970.
    pub expires_unix: u64,
    /// Whether it was read back through another circuit.
    pub verified: bool,
    /// How long it took.
    pub elapsed_ms: u64,
}

/// What `umbel get` reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetReport {
    /// The content's root.
    pub root: String,
    /// Bytes of content, those of an earlier run included.
    pub bytes: u64,
    /// Where it stands now; `-` for standard output.
    pub path: String,
    /// SHA-256 of the content in hexadecimal; of a folder, of its files one behind the other in the order of their names.
    pub sha256: String,
    /// How many bytes an earlier run had fetched.
    pub resumed_from: u64,
    /// How long it took.
    pub elapsed_ms: u64,
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
    /// Whether the node can do its work.
    pub ready: bool,
    /// Where the proxy listens; null where there is none.
    pub socks: Option<String>,
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
    /// Circuits of others that a relay closed because too many cells waited.
    #[serde(default)]
    pub circuits_evicted: u64,
    /// Bytes carried since the start.
    pub bytes: BytesStatus,
    /// Resident memory.
    pub rss_bytes: u64,
}

/// The settled set of relays in use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryStatus {
    /// When it was cut, in milliseconds since 1970.
    pub cut: u64,
    /// Its Merkle root.
    pub root: String,
    /// Relays in it.
    pub relays: u64,
    /// Signers that agreed on the root.
    pub signers: u64,
    /// Seconds since the cut.
    pub age_s: u64,
}

/// One circuit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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

/// One stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// Bytes in use.
    pub used: u64,
    /// Bytes it may use.
    pub cap: u64,
    /// Objects in it.
    pub objects: u64,
}

/// Bytes on links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BytesStatus {
    /// Received.
    #[serde(rename = "in")]
    pub received: u64,
    /// Sent.
    #[serde(rename = "out")]
    pub sent: u64,
}

/// What `umbel lookup` reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookupReport {
    /// What was asked for.
    pub key: String,
    /// `relay` for a relay's record, `block` for a block, `none` where no custodian holds either.
    pub kind: String,
    /// Of a block's address, the locator by which relays know it: what `--store-deny` lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locator: Option<String>,
    /// How many custodians answered.
    pub answered: u64,
    /// How many of them hold it.
    pub holding: u64,
    /// All of them, in their order for this key.
    pub custodians: Vec<CustodianReport>,
}

/// One custodian's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustodianReport {
    /// The relay.
    pub id: String,
    /// Whether it answered.
    pub answered: bool,
    /// Whether it holds what was asked for.
    pub holds: bool,
    /// Why there is no answer.
    pub error: Option<String>,
}

/// How far a long command is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done, as in "sending blocks".
    pub phase: Cow<'static, str>,
    /// How much of it is done.
    pub done: u64,
    /// How much there is; zero while that is not known.
    pub total: u64,
    /// What is counted.
    pub unit: Unit,
}

/// What a [`Progress`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Blocks.
    Blocks,
    /// Copies, relays, attempts.
    Items,
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
        };
        golden(
            &put,
            concat!(
                r#"{"link":"l","verify_link":"v","url":"u","root":"r","bytes":1,"files":2,"blocks":3,"copies":4,"#,
                r#""custodians":["c"],"expires_unix":5,"verified":true,"elapsed_ms":6}"#
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
            directory: Some(DirectoryStatus { cut: 1, root: "r".into(), relays: 2, signers: 3, age_s: 4 }),
            links: 1,
            circuits: vec![CircuitStatus {
                id: 1,
                hops: vec!["h".into()],
                state: "open".into(),
                isolation: "i".into(),
            }],
            streams: vec![StreamStatus { id: 1, circuit: 2, hops: 3, post_quantum: true, bytes_in: 4, bytes_out: 5 }],
            store: Some(StoreStatus { used: 1, cap: 2, objects: 3 }),
            bytes: BytesStatus { received: 1, sent: 2 },
            circuits_evicted: 0,
            rss_bytes: 7,
            id: None,
        };
        golden(
            &status,
            concat!(
                r#"{"version":"1","role":"client","id":null,"profile":"testing","uptime_s":1,"ready":true,"#,
                r#""socks":"127.0.0.1:6250","directory":{"cut":1,"root":"r","relays":2,"signers":3,"age_s":4},"links":1,"#,
                r#""circuits":[{"id":1,"hops":["h"],"state":"open","isolation":"i"}],"#,
                r#""streams":[{"id":1,"circuit":2,"hops":3,"post_quantum":true,"bytes_in":4,"bytes_out":5}],"#,
                r#""store":{"used":1,"cap":2,"objects":3},"circuits_evicted":0,"bytes":{"in":1,"out":2},"rss_bytes":7}"#
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
