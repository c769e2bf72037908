//! A stream through the network, for any thread.

use super::local::Local;
use super::pipe::{Moved, PIPE_SIZE, PipeReader, PipeWriter, pipe};
use super::ready::ended;
use super::thread::NodeThread;
use crate::host::error::{Error, ErrorKind};
use crate::host::service::stream::AgentStream;
use crate::role::client::Isolation;
use crate::wire::ids::RelayId;
use crate::wire::message::Target;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream's receipt: which circuit carries it. It shows whether two streams are separate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// Names the circuit in this node, as in [`Status`](crate::Status).
    pub circuit: u64,
    /// The relays it runs through: the guard first, the exit last.
    pub hops: Vec<RelayId>,
    /// Whether the key of every hop is safe against a later quantum computer.
    pub post_quantum: bool,
}

/// A byte stream through an exit, from [`Client::connect`](crate::Client::connect).
///
/// Reading ends with an end of file only if the destination ended the stream; whatever else happens is an error, whose inner
/// [`Error`] tells more. Shutting down says that nothing more will be written and leaves reading open. Dropping a stream
/// gives up what has not been sent and resets what has not ended: shut down first, and read to the end.
///
/// Up to 64 KiB wait in each direction; a reader that does not read slows the destination down.
pub struct Stream {
    receipt: Receipt,
    from_net: PipeReader,
    to_net: PipeWriter,
    /// A stream is a handle on its node.
    _node: Arc<NodeThread>,
}

impl Stream {
    /// Which circuit carries the stream, and through which relays it runs.
    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    pub(super) async fn open(node: &Arc<NodeThread>, target: Target, isolation: Isolation) -> Result<Self, Error> {
        let opened = node.run(move |local| async move {
            let stream = local.connect(target, isolation, &[]).await?;
            let receipt = local.receipt(&stream)?;
            // If the node ends, a reader must see an error. If the user goes, everything it wrote counts.
            let (to_user, from_net) = pipe(|| Err(ended()));
            let (to_net, from_user) = pipe(|| Ok(()));
            tokio::task::spawn_local(carry(stream, to_user, from_user));
            Ok::<_, Error>((receipt, from_net, to_net))
        });
        let (receipt, from_net, to_net) = opened.await??;
        Ok(Self { receipt, from_net, to_net, _node: node.clone() })
    }
}

impl Local {
    fn receipt(&self, stream: &AgentStream) -> Result<Receipt, Error> {
        let id = stream.id();
        self.agent.with(|node, _| {
            let lost = || Error::new(ErrorKind::Reset, "the circuit under the stream closed");
            let client = node.client();
            let found = client.streams().into_iter().find(|s| s.id == id).and_then(|s| s.circuit);
            let circuit = found.ok_or_else(lost)?;
            // Every circuit handshake of this version is X25519 with ML-KEM-768 (spec HS-1).
            Ok(Receipt { circuit, hops: client.hops_of(stream.key()), post_quantum: true })
        })
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("receipt", &self.receipt).finish_non_exhaustive()
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let moved = self.from_net.poll_drain(cx, |_, bytes| {
            let n = bytes.len().min(buf.remaining());
            buf.put_slice(bytes.get(..n).unwrap_or_default());
            Poll::Ready(Ok(n))
        });
        moved.map_ok(|_| ())
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match ready!(self.to_net.poll_write(cx, bytes)) {
            Moved::Bytes(n) => Poll::Ready(Ok(n)),
            Moved::End => Poll::Ready(Err(self.from_net.failure().unwrap_or_else(ended).into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.to_net.end(Ok(()));
        Poll::Ready(Ok(()))
    }
}

/// Connects a stream with the pipes of its user. Runs on the node's thread.
struct Carrier {
    net: AgentStream,
    to_user: PipeWriter,
    from_user: PipeReader,
    space: Vec<u8>,
    /// Nothing more comes from the user.
    up_done: bool,
    /// Nothing more comes from the network, or the user is gone.
    down_done: bool,
}

/// Carries bytes both ways until both have ended or one is broken.
async fn carry(net: AgentStream, to_user: PipeWriter, from_user: PipeReader) {
    let mut carrier = Carrier { net, to_user, from_user, space: Vec::new(), up_done: false, down_done: false };
    let done = core::future::poll_fn(|cx| carrier.poll(cx)).await;
    carrier.to_user.end(done.map_err(Error::from));
}

impl Carrier {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.up_done && self.poll_up(cx)?.is_ready() {
            self.up_done = true;
        }
        if !self.down_done && self.poll_down(cx)?.is_ready() {
            self.down_done = true;
        }
        if self.up_done && self.down_done { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// From the user to the network, until the user's end.
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let net = &mut self.net;
            match ready!(self.from_user.poll_drain(cx, |cx, bytes| Pin::new(net).poll_write(cx, bytes)))? {
                Moved::Bytes(_) => {}
                Moved::End => return Pin::new(&mut self.net).poll_shutdown(cx),
            }
        }
    }

    /// From the network to the user, until the network's end.
    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let Moved::Bytes(room) = ready!(self.to_user.poll_room(cx)) else { return Poll::Ready(Ok(())) };
            self.space.resize(room.min(PIPE_SIZE), 0);
            let mut buf = ReadBuf::new(&mut self.space);
            match Pin::new(&mut self.net).poll_read(cx, &mut buf) {
                Poll::Ready(read) => read?,
                Poll::Pending => {
                    // An idle stream must hold no buffer.
                    self.space = Vec::new();
                    return Poll::Pending;
                }
            }
            if buf.filled().is_empty() {
                self.to_user.end(Ok(()));
                return Poll::Ready(Ok(()));
            }
            let _ = self.to_user.poll_write(cx, buf.filled());
        }
    }
}
