//! A program's connection to the proxy: bounded reads, deadlines where a program owes something, and an end that is never
//! mistaken.
//!
//! A program that ended its sending may still read: only a reset, or a system that no longer knows the connection, says that
//! it is gone. No connection is closed for being slow.

use super::IDLE_TIMEOUT;
use super::places::{Place, Stage};
use crate::host::{buffers, keepalive};
use crate::node::proxy::codec::http::HEAD_MAX;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

/// Bytes one read asks for while a head is read.
const READ_SIZE: usize = 4 * 1024;

/// A program's connection.
pub(super) struct Client {
    pub(super) stream: TcpStream,
    /// Received and not used yet; at most [`HEAD_MAX`] and one read.
    pub(super) buffer: Vec<u8>,
    pub(super) place: Rc<Place>,
    stopping: watch::Receiver<bool>,
    whole: bool,
}

impl Drop for Client {
    /// A connection that was given up before its end is reset, whoever gave it up: the program sees an error, not an end.
    /// Between two requests there is nothing that a program could take for whole.
    fn drop(&mut self) {
        // spec: PROXY-3
        if !self.whole && self.place.stage() != Stage::Between {
            let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        }
    }
}

fn timed_out() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

impl Client {
    pub(super) fn new(stream: TcpStream, place: Rc<Place>, stopping: watch::Receiver<bool>) -> Self {
        // Small answers go out at once; a failure here only makes them later.
        let _ = stream.set_nodelay(true);
        // spec: PROXY-38
        keepalive::LOCAL.set(&stream);
        buffers::bound_sent(&stream);
        Self { stream, buffer: Vec::new(), place, stopping, whole: false }
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

    /// Waits for another request: false when none comes (the connection ends, idles too long, or the proxy drains). Empty
    /// lines before it are no request (RFC 9112, section 2.2).
    pub(super) async fn another(&mut self) -> io::Result<bool> {
        loop {
            let lines = self.buffer.chunks(2).take_while(|pair| pair == b"\r\n").count();
            self.used(lines * 2);
            // Half of such a line says nothing yet.
            if !matches!(self.buffer.as_slice(), b"" | b"\r") {
                self.place.enter(Stage::Head);
                return Ok(!*self.stopping.borrow());
            }
            let mut stopping = self.stopping.clone();
            let more = tokio::select! {
                biased;
                _ = stopping.wait_for(|&stop| stop) => false,
                more = timeout(IDLE_TIMEOUT, self.fill()) => more.unwrap_or(Ok(false))?,
            };
            if !more {
                return Ok(false);
            }
        }
    }

    /// Sends all of it, however slowly the program takes it.
    pub(super) async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        send(&self.stream, &self.place, bytes).await
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

    /// Runs a future unless the program goes away before it completes.
    pub(super) async fn unless_gone<T>(&self, what: impl Future<Output = T>) -> io::Result<T> {
        tokio::select! {
            biased;
            done = what => Ok(done),
            () = self.gone() => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }

    /// Waits until the program is gone; for ever while it is not. One that sends no more is not gone: it may wait for the
    /// answer.
    async fn gone(&self) {
        let mut byte = [0];
        match self.stream.peek(&mut byte).await {
            Ok(0) => self.place.enter(Stage::Ending),
            // What it sent is read later.
            Ok(_) => {}
            Err(_) => return,
        }
        gone(&self.stream).await;
    }
}

/// Waits until the program has reset the connection, or its system no longer knows it.
// spec: PROXY-38
pub(super) async fn gone(stream: &TcpStream) {
    let _ = stream.ready(Interest::ERROR).await;
}

/// Sends all of it, and notes what moved.
pub(super) async fn send(stream: &TcpStream, place: &Place, bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        stream.writable().await?;
        match stream.try_write(rest) {
            Ok(n) => rest = rest.get(n..).unwrap_or_default(),
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => continue,
            Err(why) => return Err(why),
        }
        place.moved();
    }
    Ok(())
}
