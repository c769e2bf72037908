//! The command's side of the control socket.

use crate::host::error::{Error, ErrorKind, reason};
use crate::node::control::frame::{ANSWER_MAX, DATA_MAX, Frame, line, read_line};
use crate::node::control::server::News;
use crate::node::control::{Request, SOCKET_NAME, Sent, short_path};
use crate::node::relays::RelaysReport;
use serde::de::DeserializeOwned;
use std::io;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

/// A request and the answer to it.
#[derive(Debug)]
pub struct Conversation {
    from: BufReader<OwnedReadHalf>,
    /// Kept open as long as the answer is wanted.
    to: OwnedWriteHalf,
}

impl Conversation {
    /// Sends a request to the node that runs on `dir`.
    ///
    /// # Errors
    /// [`ErrorKind::NotRunning`] if none runs there, or it cannot be reached.
    pub async fn ask(dir: &Path, request: &Request) -> Result<Self, Error> {
        let connect = async {
            let (path, _open) = short_path(dir, SOCKET_NAME)?;
            let (from, mut to) = UnixStream::connect(path).await?.into_split();
            to.write_all(&line(request)?).await?;
            Ok(Self { from: BufReader::with_capacity(DATA_MAX, from), to })
        };
        connect.await.map_err(|e| not_running(dir, &e))
    }

    /// The next line of the answer.
    ///
    /// # Errors
    /// The error that the node sent; [`ErrorKind::NotRunning`] if it ended before its answer did.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Frame<T>, Error> {
        next(&mut self.from).await
    }

    /// Reads the `n` bytes that follow a [`Frame::Data`] into `buffer`.
    pub async fn data(&mut self, n: usize, buffer: &mut Vec<u8>) -> Result<(), Error> {
        buffer.resize(n, 0);
        self.from.read_exact(buffer).await.map(|_| ()).map_err(|e| died(&e))
    }

    /// Waits for the report at the end. Progress and listings go to `news`.
    pub async fn report<T: DeserializeOwned>(mut self, news: impl FnMut(News)) -> Result<T, Error> {
        report(&mut self.from, news).await
    }

    /// Waits for the report of the settled set, whose relays arrive in several lines.
    pub async fn relays(mut self) -> Result<RelaysReport, Error> {
        let mut relays = Vec::new();
        loop {
            match self.next::<RelaysReport>().await? {
                Frame::Relays(some) => relays.extend(some),
                Frame::Ok(report) => return Ok(RelaysReport { relays, ..report }),
                _ => return Err(strange("an unexpected line")),
            }
        }
    }

    /// As [`Conversation::report`], while the content from `input` is sent after the request. An error from `input` ends the
    /// command, and nothing is published.
    pub async fn report_on<T: DeserializeOwned>(
        mut self,
        input: mpsc::Receiver<Result<Vec<u8>, Error>>,
        news: impl FnMut(News),
    ) -> Result<T, Error> {
        let mut reading = std::pin::pin!(report(&mut self.from, news));
        let mut sending = std::pin::pin!(send(self.to, input));
        // Kept open, because the node takes the end of this stream for the end of the command.
        let mut sent = None;
        loop {
            tokio::select! {
                biased;
                done = &mut reading => return done,
                to = &mut sending, if sent.is_none() => sent = Some(to?),
            }
        }
    }
}

async fn next<T: DeserializeOwned>(from: &mut BufReader<OwnedReadHalf>) -> Result<Frame<T>, Error> {
    let line = read_line(from, ANSWER_MAX).await.map_err(|e| died(&e))?;
    let line = line.ok_or_else(|| died(&io::ErrorKind::UnexpectedEof.into()))?;
    match serde_json::from_slice(&line) {
        Ok(Frame::Error(failure)) => Err(failure),
        Ok(Frame::Data(n)) if n > DATA_MAX => Err(strange("more data than a line may announce")),
        Ok(frame) => Ok(frame),
        Err(e) => Err(strange(e)),
    }
}

async fn report<T: DeserializeOwned>(
    from: &mut BufReader<OwnedReadHalf>,
    mut news: impl FnMut(News),
) -> Result<T, Error> {
    loop {
        match next(from).await? {
            Frame::Progress(p) => news(News::Progress(p)),
            Frame::Listing(l) => news(News::Listing(l)),
            Frame::Ok(report) => return Ok(report),
            Frame::Open(_) | Frame::Relays(_) | Frame::Entry(_) | Frame::Door(_) | Frame::Data(_) | Frame::Error(_) => {
                return Err(strange("an unexpected line"));
            }
        }
    }
}

/// Sends all of the content. If the node stops reading, its answer says why.
async fn send(
    mut to: OwnedWriteHalf,
    mut input: mpsc::Receiver<Result<Vec<u8>, Error>>,
) -> Result<OwnedWriteHalf, Error> {
    while let Some(piece) = input.recv().await {
        let piece = piece?;
        let frame = line(&Sent::Data(piece.len())).map_err(strange)?;
        if to.write_all(&frame).await.is_err() || to.write_all(&piece).await.is_err() {
            return Ok(to);
        }
    }
    let end = line(&Sent::End(true)).map_err(strange)?;
    let _ = to.write_all(&end).await;
    Ok(to)
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
    Error::new(ErrorKind::NotRunning, message).with_hint("start the node again, then repeat this command")
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
