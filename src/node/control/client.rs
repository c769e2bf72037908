//! The command's side of the control socket.

use crate::host::error::{Error, ErrorKind, reason};
use crate::node::control::frame::{ANSWER_MAX, DATA_MAX, Frame, line, read_line};
use crate::node::control::{Request, SOCKET_NAME, short_path};
use serde::de::DeserializeOwned;
use std::io;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// One request under way.
#[derive(Debug)]
pub struct Conversation {
    stream: BufReader<UnixStream>,
}

impl Conversation {
    /// Asks the node that runs on `dir`.
    ///
    /// # Errors
    /// [`ErrorKind::NotRunning`] when none does.
    pub async fn ask(dir: &Path, request: &Request) -> Result<Self, Error> {
        let connect = async {
            let (path, _open) = short_path(dir, SOCKET_NAME)?;
            let mut stream = UnixStream::connect(path).await?;
            stream.write_all(&line(request)?).await?;
            Ok(Self { stream: BufReader::with_capacity(DATA_MAX, stream) })
        };
        connect.await.map_err(|e| not_running(dir, &e))
    }

    /// The next line of the answer.
    ///
    /// # Errors
    /// The node's own failure; [`ErrorKind::NotRunning`] when it ended in the middle.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Frame<T>, Error> {
        let line = read_line(&mut self.stream, ANSWER_MAX).await.map_err(|e| died(&e))?;
        let line = line.ok_or_else(|| died(&io::ErrorKind::UnexpectedEof.into()))?;
        match serde_json::from_slice(&line) {
            Ok(Frame::Error(failure)) => Err(failure),
            Ok(Frame::Data(n)) if n > DATA_MAX => Err(strange("more data than a line may announce")),
            Ok(frame) => Ok(frame),
            Err(e) => Err(strange(e)),
        }
    }

    /// The bytes that follow a [`Frame::Data`], into `buffer`.
    pub async fn data(&mut self, n: usize, buffer: &mut Vec<u8>) -> Result<(), Error> {
        buffer.resize(n, 0);
        self.stream.read_exact(buffer).await.map(|_| ()).map_err(|e| died(&e))
    }

    /// The report at the end; progress on the way goes to `progress`.
    pub async fn report<T: DeserializeOwned>(
        mut self,
        mut progress: impl FnMut(super::report::Progress),
    ) -> Result<T, Error> {
        loop {
            match self.next().await? {
                Frame::Progress(p) => progress(p),
                Frame::Ok(report) => return Ok(report),
                Frame::Open(_) | Frame::Entry(_) | Frame::Door(_) | Frame::Data(_) | Frame::Error(_) => {
                    return Err(strange("an unexpected line"));
                }
            }
        }
    }
}

/// An answer that does not fit the request.
pub(in crate::node) fn strange(what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Io, format!("the node's answer makes no sense: {what}"))
        .with_hint("use the same version of umbel for the command and the node")
}

fn died(error: &io::Error) -> Error {
    let message = match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "the node ended before it answered".to_owned()
        }
        _ => format!("the node's answer cannot be read: {}", reason(error)),
    };
    Error::new(ErrorKind::NotRunning, message).with_hint("start the node again, and then this command")
}

fn not_running(dir: &Path, error: &io::Error) -> Error {
    let dir = dir.display();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory => {
            Error::new(ErrorKind::NotRunning, format!("no node runs on {dir}"))
                .with_hint("start one with umbel client or umbel testnet, or name its folder with --dir")
        }
        io::ErrorKind::PermissionDenied => {
            Error::new(ErrorKind::NotRunning, format!("the node on {dir} belongs to another user"))
                .with_hint("run the command as that user, or name your own node's folder with --dir")
        }
        _ => Error::new(ErrorKind::NotRunning, format!("the node on {dir} cannot be reached: {}", reason(error)))
            .with_hint("start it again"),
    }
}
