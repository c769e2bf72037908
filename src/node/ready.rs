//! Ready files: how a script learns that a node is ready, and its addresses.

use crate::host::dir::{SHARED, write_atomic};
use crate::host::error::{Error, ErrorKind};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What `umbel testnet` writes once a circuit works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestnetReady {
    /// [`READY_VERSION`].
    pub version: u32,
    /// The process id.
    pub pid: u32,
    /// The client's folder, for `--dir`.
    pub dir: String,
    /// The network's id.
    pub network: String,
    /// Where the proxy listens.
    pub socks: String,
    /// The URL of the sample site's front page.
    pub sample: String,
    /// SHA-256 of that page, in hexadecimal.
    pub sample_sha256: String,
    /// The relays.
    pub relays: Vec<RelayReady>,
    /// Milliseconds from the start of the process to the first working circuit.
    pub started_ms: u64,
}

/// One relay of a testnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayReady {
    /// Its id.
    pub id: String,
    /// Where it accepts links.
    pub addr: String,
    /// Its folder.
    pub dir: String,
    /// Whether it is an exit.
    pub exit: bool,
}

/// What `umbel relay` and `umbel client` write when they are ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReady {
    /// [`READY_VERSION`].
    pub version: u32,
    /// The process id.
    pub pid: u32,
    /// `relay` or `client`.
    pub role: String,
    /// The node's folder.
    pub dir: String,
    /// The network's id.
    pub network: String,
    /// The relay's id; null for a client.
    pub id: Option<String>,
    /// Where the relay accepts links; null for a client.
    pub addr: Option<String>,
    /// Where the client's proxy listens; null for a relay.
    pub socks: Option<String>,
    /// Milliseconds from the start of the process until it was ready.
    pub started_ms: u64,
}

/// The version of both files' form.
pub const READY_VERSION: u32 = 1;

/// Writes a ready file atomically, as one line of JSON.
pub fn write_ready(path: &Path, ready: &impl Serialize) -> Result<(), Error> {
    let mut bytes = serde_json::to_vec(ready).map_err(|e| Error::new(ErrorKind::Io, e.to_string()))?;
    bytes.push(b'\n');
    write_atomic(path, &bytes, SHARED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_files_keep_their_keys() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("ready");
        let relay = RelayReady { id: "i".into(), addr: "127.0.0.1:1".into(), dir: "/r".into(), exit: true };
        let ready = TestnetReady {
            version: READY_VERSION,
            pid: 2,
            dir: "/d".into(),
            network: "n".into(),
            socks: "127.0.0.1:6250".into(),
            sample: "http://k.r.umbel/".into(),
            sample_sha256: "s".into(),
            relays: vec![relay],
            started_ms: 3,
        };
        write_ready(&path, &ready).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            concat!(
                r#"{"version":1,"pid":2,"dir":"/d","network":"n","socks":"127.0.0.1:6250","sample":"http://k.r.umbel/","#,
                r#""sample_sha256":"s","relays":[{"id":"i","addr":"127.0.0.1:1","dir":"/r","exit":true}],"started_ms":3}"#,
                "\n"
            )
        );
        let node = NodeReady {
            version: READY_VERSION,
            pid: 2,
            role: "relay".into(),
            dir: "/d".into(),
            network: "n".into(),
            id: Some("i".into()),
            addr: Some("127.0.0.1:1".into()),
            socks: None,
            started_ms: 3,
        };
        write_ready(&path, &node).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            concat!(
                r#"{"version":1,"pid":2,"role":"relay","dir":"/d","network":"n","id":"i","addr":"127.0.0.1:1","#,
                r#""socks":null,"started_ms":3}"#,
                "\n"
            )
        );
    }
}
