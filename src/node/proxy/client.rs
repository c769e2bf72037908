//! A program's connection to the proxy: bounded reads with deadlines, writes, and an end that is never mistaken.

use super::{IDLE_TIMEOUT, WRITE_TIMEOUT};
use crate::node::proxy::codec::http::HEAD_MAX;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

/// Bytes of a tunnel's buffer, each way.
const TUNNEL_BUFFER: usize = 64 * 1024;
/// Bytes one read asks for while a head is read.
const READ_SIZE: usize = 4 * 1024;

/// A program's connection.
pub(super) struct Client {
    pub(super) stream: TcpStream,
    /// Received and not used yet; at most [`HEAD_MAX`] and one read.
    pub(super) buffer: Vec<u8>,
    stopping: watch::Receiver<bool>,
    whole: bool,
}

impl Drop for Client {
    /// A connection that was given up before its end is reset, whoever gave it up: the program sees an error, not an end.
    fn drop(&mut self) {
        // spec: PROXY-3
        if !self.whole {
            let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        }
    }
}

fn timed_out() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

impl Client {
    pub(super) fn new(stream: TcpStream, stopping: watch::Receiver<bool>) -> Self {
        // Small answers go out at once; a failure here only makes them later.
        let _ = stream.set_nodelay(true);
        Self { stream, buffer: Vec::new(), stopping, whole: false }
    }

    /// Receives more; false at the end. Fails when the buffer is full: what is read here has an end before that.
    pub(super) async fn fill(&mut self) -> io::Result<bool> {
        if self.buffer.len() >= HEAD_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.buffer.reserve(READ_SIZE);
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }

    /// Drops what was used from the front.
    pub(super) fn used(&mut self, n: usize) {
        self.buffer.drain(..n.min(self.buffer.len()));
    }

    /// The first byte of a new connection; `None` if it ends before.
    pub(super) async fn first_byte(&mut self, wait: Duration) -> io::Result<Option<u8>> {
        // spec: PROXY-4
        while self.buffer.is_empty() {
            let mut stopping = self.stopping.clone();
            tokio::select! {
                more = timeout(wait, self.fill()) => if !more.map_err(|_| timed_out())?? {
                    return Ok(None);
                },
                _ = stopping.wait_for(|&stop| stop) => return Ok(None),
            }
        }
        Ok(self.buffer.first().copied())
    }

    /// Waits for another request: false when none comes (the connection ends, idles too long, or the proxy drains).
    pub(super) async fn another(&mut self) -> io::Result<bool> {
        if !self.buffer.is_empty() {
            return Ok(!*self.stopping.borrow());
        }
        let mut stopping = self.stopping.clone();
        tokio::select! {
            biased;
            _ = stopping.wait_for(|&stop| stop) => Ok(false),
            more = timeout(IDLE_TIMEOUT, self.fill()) => more.unwrap_or(Ok(false)),
        }
    }

    /// Sends all of it.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        timeout(WRITE_TIMEOUT, self.stream.write_all(bytes)).await.map_err(|_| timed_out())?
    }

    /// Ends the connection so that what was sent arrives: what the client still sends is read and dropped for a moment,
    /// as a close with unread bytes would make the system reset the connection.
    pub(super) async fn close(&mut self) {
        const LINGER: Duration = Duration::from_secs(1);
        const LINGER_BYTES: u64 = 256 * 1024;
        let _ = self.stream.shutdown().await;
        let mut rest = (&mut self.stream).take(LINGER_BYTES);
        let _ = timeout(LINGER, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
    }

    /// All that was to be sent was sent: the coming close is an end.
    pub(super) fn ended(&mut self) {
        self.whole = true;
    }

    /// Waits until the client has given up; for ever while it has not, or once it has sent bytes to be read later.
    pub(super) async fn gone(&self) {
        let mut byte = [0];
        if !matches!(self.stream.peek(&mut byte).await, Ok(0) | Err(_)) {
            std::future::pending::<()>().await;
        }
    }

    /// Passes bytes both ways until both ends have ended. What the buffer held went ahead.
    pub(super) async fn tunnel<S: AsyncRead + AsyncWrite + Unpin>(&mut self, mut upstream: S) -> io::Result<()> {
        debug_assert!(self.buffer.is_empty());
        tokio::io::copy_bidirectional_with_sizes(&mut self.stream, &mut upstream, TUNNEL_BUFFER, TUNNEL_BUFFER).await?;
        Ok(())
    }
}
