//! Bytes between a program and its stream, both ways, until both ends have ended. A tunnel on which nothing moves holds no
//! buffer.

use super::client::{Client, gone};
use super::places::{Place, Stage};
use core::cell::RefCell;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io;
use std::net::Shutdown;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes that one read takes.
const PIECE: usize = 64 * 1024;

/// Space for one read, shared by all connections of the proxy's thread: it is in use within one turn only.
pub(super) struct Scratch(RefCell<Vec<u8>>);

impl Scratch {
    pub(super) fn new() -> Self {
        Self(RefCell::new(vec![0; PIECE]))
    }

    /// Receives something from a stream and appends it to `out`; gives how much, 0 at the end.
    pub(super) async fn read<S: AsyncRead + Unpin>(&self, from: &mut S, out: &mut Vec<u8>) -> io::Result<usize> {
        core::future::poll_fn(|cx| {
            let mut space = self.0.borrow_mut();
            let mut buf = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut *from).poll_read(cx, &mut buf))?;
            out.extend_from_slice(buf.filled());
            Poll::Ready(Ok(buf.filled().len()))
        })
        .await
    }
}

/// What one side sent and the other did not take yet.
struct Left {
    bytes: Vec<u8>,
    done: usize,
    /// The sender has ended.
    ended: bool,
    /// And the receiver was told.
    over: bool,
}

impl Left {
    fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, done: 0, ended: false, over: false }
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.done..).unwrap_or_default()
    }

    /// Keeps what was not taken of a piece.
    fn keep(&mut self, rest: &[u8]) {
        (self.bytes, self.done) = (rest.to_vec(), 0);
    }

    fn took(&mut self, n: usize) {
        self.done += n;
        if self.rest().is_empty() {
            *self = Self { ended: self.ended, ..Self::new(Vec::new()) };
        }
    }
}

struct Tunnel<'a, S> {
    client: &'a TcpStream,
    place: &'a Place,
    scratch: &'a Scratch,
    upstream: S,
    up: Left,
    down: Left,
}

/// Passes bytes both ways until both ends have ended. `received` came from the stream before.
pub(super) async fn run<S: AsyncRead + AsyncWrite + Unpin>(
    client: &mut Client,
    upstream: S,
    received: Vec<u8>,
    scratch: &Scratch,
) -> io::Result<()> {
    let (up, down) = (Left::new(std::mem::take(&mut client.buffer)), Left::new(received));
    let mut tunnel = Tunnel { client: &client.stream, place: &client.place, scratch, upstream, up, down };
    tokio::select! {
        biased;
        done = core::future::poll_fn(|cx| tunnel.poll(cx)) => done,
        // Whether it is read from or not.
        () = gone(&client.stream) => Err(io::ErrorKind::ConnectionReset.into()),
    }
}

fn write_zero() -> io::Error {
    io::ErrorKind::WriteZero.into()
}

impl<S: AsyncRead + AsyncWrite + Unpin> Tunnel<'_, S> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (up, down) = (self.poll_up(cx)?, self.poll_down(cx)?);
        if up.is_ready() && down.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// From the program to its stream.
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if !self.up.rest().is_empty() {
                let n = ready!(Pin::new(&mut self.upstream).poll_write(cx, self.up.rest()))?;
                if n == 0 {
                    return Poll::Ready(Err(write_zero()));
                }
                self.up.took(n);
                self.place.moved();
            } else if self.up.ended {
                if !self.up.over {
                    ready!(Pin::new(&mut self.upstream).poll_shutdown(cx))?;
                    self.up.over = true;
                    self.place.enter(Stage::Ending);
                }
                return Poll::Ready(Ok(()));
            } else {
                ready!(self.client.poll_read_ready(cx))?;
                let mut space = self.scratch.0.borrow_mut();
                let n = match self.client.try_read(&mut space) {
                    Ok(n) => n,
                    Err(why) if why.kind() == io::ErrorKind::WouldBlock => continue,
                    Err(why) => return Poll::Ready(Err(why)),
                };
                if n == 0 {
                    self.up.ended = true;
                    continue;
                }
                let piece = space.get(..n).unwrap_or_default();
                match Pin::new(&mut self.upstream).poll_write(cx, piece)? {
                    Poll::Ready(n) => self.up.keep(piece.get(n..).unwrap_or_default()),
                    Poll::Pending => self.up.keep(piece),
                }
                self.place.moved();
            }
        }
    }

    /// From the stream to the program.
    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.down.over {
                return Poll::Ready(Ok(()));
            }
            // What a program does not take stays in the stream.
            ready!(self.client.poll_write_ready(cx))?;
            if self.down.rest().is_empty() && !self.down.ended {
                let mut space = self.scratch.0.borrow_mut();
                let mut buf = ReadBuf::new(&mut space);
                ready!(Pin::new(&mut self.upstream).poll_read(cx, &mut buf))?;
                self.down.ended = buf.filled().is_empty();
                let written = write(self.client, buf.filled())?;
                self.down.keep(buf.filled().get(written..).unwrap_or_default());
            } else if self.down.ended {
                socket2::SockRef::from(self.client).shutdown(Shutdown::Write)?;
                self.down.over = true;
                self.place.enter(Stage::Ending);
            } else {
                let written = write(self.client, self.down.rest())?;
                self.down.took(written);
            }
            self.place.moved();
        }
    }
}

/// Writes what the program takes now.
fn write(client: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match client.try_write(bytes) {
        Err(why) if why.kind() == io::ErrorKind::WouldBlock => Ok(0),
        written => written,
    }
}
