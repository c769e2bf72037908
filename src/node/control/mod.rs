//! The control socket: how a command talks to a running node.
//!
//! `control.sock` in the node's folder, for this user only. A command writes one request, a line of JSON; the node answers
//! with lines and closes:
//!
//! ```text
//! {"op":"status"}                           {"ok":{..}}
//! {"op":"put","path":"/abs","convergent":false}  {"listing":{..}}  {"progress":{..}}*  then {"ok":{..}}
//! {"op":"get","link":"..","offset":0}       {"open":{..}}  then ({"entry":{..}} | {"data":N} and N bytes)*  then {"ok":null}
//! {"op":"lookup","key":".."}                {"ok":{..}}
//! {"op":"invite"}                           {"ok":{..}}
//! {"op":"roll","roll":".."}                {"ok":{..}}
//! {"op":"relays","filter":null}             {"relays":[..]}*  then {"ok":{..}}
//! {"op":"browse","outside":false}           {"door":{..}}  and nothing more: the proxy closes when the command ends
//! ```
//!
//! A put without a path is followed by the content: `{"data":N}` and N bytes, and so on, then `{"end":true}`. If it
//! breaks off before that, nothing is published.
//!
//! Any answer may end in `{"error":{..}}` instead. Data is written as the command reads it: a slow reader slows the fetch.
//! When a command ends, so does what it asked for.

pub mod client;
pub mod frame;
pub(crate) mod handlers;
pub mod report;
pub mod server;

use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// The socket's name in the node's folder.
pub const SOCKET_NAME: &str = "control.sock";

/// What a command asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Report the node's status.
    Status,
    /// Publish.
    Put(PutRequest),
    /// Fetch.
    Get(GetRequest),
    /// Ask the custodians of a record or block.
    Lookup(LookupRequest),
    /// Open a proxy for one browser.
    Browse(BrowseRequest),
    /// Make an invite for others.
    Invite,
    /// Pass a founder's roll on to the network.
    Roll(RollRequest),
    /// List the relays of the settled set in use.
    Relays(RelaysRequest),
}

/// Publish a file or folder, or what follows the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutRequest {
    /// Absolute; the node reads it itself. Without a path, the content follows the request.
    pub path: Option<PathBuf>,
    /// The name under which it is published, if not that of the path.
    #[serde(default)]
    pub name: Option<String>,
    /// Whether the read key is derived from the content.
    pub convergent: bool,
    /// Whether what a folder's links and mount points lead to is published too.
    #[serde(default)]
    pub follow: bool,
    /// Patterns of what is left out of a folder.
    #[serde(default)]
    pub exclude: Vec<String>,
}

/// What follows a put without a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Sent {
    /// This many bytes of content come next.
    Data(usize),
    /// The end of the content.
    End(bool),
}

/// Fetch what a link names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetRequest {
    /// A link or URL as the user wrote it.
    pub link: String,
    /// How many bytes of content the command already holds: data starts after them. The content of a folder is its files,
    /// concatenated in the order in which entries are sent.
    pub offset: u64,
}

/// Ask the custodians of a record or block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookupRequest {
    /// A relay's id or a block's address, 52 characters.
    pub key: String,
}

/// Pass a founder's roll on to the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollRequest {
    /// The roll, in base64.
    pub roll: String,
}

/// List the relays of the settled set in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelaysRequest {
    /// Which ones, in the filter language of page 14; all without one.
    pub filter: Option<String>,
}

/// Open a proxy for one browser. It stays open as long as the command runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrowseRequest {
    /// True: hosts outside the network can be reached, and sites are sent without scripts. False: only sites can be reached,
    /// and are sent with scripts.
    pub outside: bool,
}

/// A proxy for one browser.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Door {
    /// Where it listens.
    pub addr: SocketAddr,
}

/// What a fetch found, sent before its first byte of data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// The content's root.
    pub root: String,
    /// Bytes of content in all.
    pub bytes: u64,
    /// Whether it is a folder, whose entries follow.
    pub kind: Kind,
    /// Where data starts: the offset asked for, or zero where the node cannot go on from there.
    pub offset: u64,
}

/// What a link names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// One file.
    File,
    /// A folder: all its files are sent as entries.
    Directory,
}

/// A file of a folder. Its data follows, except what is before the fetch's offset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its path in the folder, with `/` between parts. The path of an empty folder ends with `/`.
    pub path: String,
    /// Its length in bytes.
    pub bytes: u64,
}

/// Longest path of a Unix socket, in bytes.
const SOCKET_PATH_MAX: usize = 107;

/// A path to `name` in `dir` that is short enough for a socket; the file must stay open while the path is in use.
fn short_path(dir: &Path, name: &str) -> io::Result<(PathBuf, Option<File>)> {
    let path = dir.join(name);
    if path.as_os_str().len() <= SOCKET_PATH_MAX {
        return Ok((path, None));
    }
    // The path may be longer than a socket's address allows: an open folder has a short path in /proc.
    let folder = File::open(dir)?;
    Ok((PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd())), Some(folder)))
}
