//! The control socket: how a command talks to the node that runs.
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
//! {"op":"browse","outside":false}           {"door":{..}}  and nothing more: the door closes when the command goes away
//! ```
//!
//! A put without a path is followed by the content: `{"data":N}` and N bytes, and so on, then `{"end":true}`. One that breaks
//! off before its end publishes nothing.
//!
//! Any answer may end in `{"error":{..}}` instead. Data is written as the command reads it: a slow reader slows the fetch.
//! A command that goes away ends what it asked for.

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
    /// What the node does.
    Status,
    /// Publish.
    Put(PutRequest),
    /// Fetch.
    Get(GetRequest),
    /// Ask the custodians.
    Lookup(LookupRequest),
    /// Open a proxy for one browser.
    Browse(BrowseRequest),
    /// An invite for others.
    Invite,
    /// Tell the network what a founder took back.
    Roll(RollRequest),
    /// The relays of the set in use.
    Relays(RelaysRequest),
}

/// Publish a file or folder, or what follows the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutRequest {
    /// Absolute; the node reads it itself. Without a path, the content follows the request.
    pub path: Option<PathBuf>,
    /// The name under which it is published, where it is not that of the path.
    #[serde(default)]
    pub name: Option<String>,
    /// Whether the key comes from the content.
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
    /// That was all of it.
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

/// Tell the network what a founder took back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollRequest {
    /// The roll, in base64.
    pub roll: String,
}

/// Show the relays of the set in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelaysRequest {
    /// Which ones.
    pub filter: Option<String>,
}

/// Open a proxy for one browser. It stays open as long as the command is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrowseRequest {
    /// Whether hosts outside the network are reached, and sites come without scripts; otherwise the reverse.
    pub outside: bool,
}

/// A proxy for one browser.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Door {
    /// Where it listens.
    pub addr: SocketAddr,
}

/// What a fetch found, said before its first byte of data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// The content's root.
    pub root: String,
    /// Bytes of content in all.
    pub bytes: u64,
    /// Whether entries come.
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
    /// A folder: all its files come as entries.
    Directory,
}

/// A file of a folder. Its data follows, but for what lies before the fetch's offset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its path in the folder, parts divided by `/`; of a folder that holds nothing, with `/` at its end.
    pub path: String,
    /// Its length.
    pub bytes: u64,
}

/// Longest path that the system takes for a socket.
const SOCKET_PATH_MAX: usize = 107;

/// A path to `name` in `dir` that is short enough for a socket; the file must stay open while the path is in use.
fn short_path(dir: &Path, name: &str) -> io::Result<(PathBuf, Option<File>)> {
    let path = dir.join(name);
    if path.as_os_str().len() <= SOCKET_PATH_MAX {
        return Ok((path, None));
    }
    // Folders may lie deeper than a socket's address is long: the open folder has a short name of its own.
    let folder = File::open(dir)?;
    Ok((PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd())), Some(folder)))
}
