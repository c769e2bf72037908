//! The lines of the control socket, and how they are read and written.

use crate::host::error::Error;
use crate::node::control::{Door, Entry, Opened};
use crate::node::relays::RelayRow;
use serde::{Deserialize, Serialize};
use std::io;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// Longest request, in bytes.
pub const REQUEST_MAX: u64 = 64 * 1024;
/// Longest line of an answer, in bytes: room for a status with thousands of circuits.
pub const ANSWER_MAX: u64 = 16 * 1024 * 1024;
/// Most relays in one line.
pub const RELAYS_MAX: usize = 500;
/// Most bytes after one `{"data":N}`.
pub const DATA_MAX: usize = 256 * 1024;

/// One line of an answer; `T` is the report at its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Frame<T> {
    /// How far the request is.
    Progress(super::report::Progress),
    /// What a put publishes and leaves out, before anything is sent.
    Listing(super::report::Listing),
    /// What a fetch found.
    Open(Opened),
    /// The next file of a folder.
    Entry(Entry),
    /// Some relays of the settled set.
    Relays(Vec<RelayRow>),
    /// A browser's proxy is open.
    Door(Door),
    /// This many bytes follow.
    Data(usize),
    /// The end: the request succeeded.
    Ok(T),
    /// The end: the request failed.
    Error(Error),
}

/// A value as a line.
pub(super) fn line<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

/// The next line, without its line end; `None` if the other side has closed.
///
/// # Errors
/// The line is longer than `max` bytes, or cut off.
pub(super) async fn read_line(from: &mut (impl AsyncBufRead + Unpin), max: u64) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    from.take(max).read_until(b'\n', &mut line).await?;
    match line.pop() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        Some(_) if line.len() as u64 + 1 >= max => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "the line is too long"))
        }
        Some(_) => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
