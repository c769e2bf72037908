//! A stream through the network, with tokio's traits `AsyncRead` and `AsyncWrite`.

use super::AgentHandle;
use crate::base::time::Now;
use crate::role::client::{CircuitPurpose, Client, ReadState, StreamFailure, StreamKey};
use crate::wire::message::{EndReason, Target};
use core::cell::{Cell, RefCell};
use core::net::IpAddr;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::io;
use std::rc::Rc;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

/// News of a stream from the node.
pub(super) enum News {
    Opened,
    Readable,
    Writable,
    Failed(StreamFailure),
    Resolved(Vec<IpAddr>),
}

/// What is known of a stream, and the tasks that wait for more.
#[derive(Default)]
pub(super) struct Slot {
    opened: Cell<bool>,
    failed: Cell<Option<StreamFailure>>,
    resolved: RefCell<Option<Vec<IpAddr>>>,
    reader: Cell<Option<Waker>>,
    writer: Cell<Option<Waker>>,
    opener: Cell<Option<Waker>>,
}

impl Slot {
    pub(super) fn tell(&self, news: News) {
        let wake = |place: &Cell<Option<Waker>>| {
            if let Some(waker) = place.take() {
                waker.wake();
            }
        };
        match news {
            News::Opened => self.opened.set(true),
            News::Readable => return wake(&self.reader),
            News::Writable => return wake(&self.writer),
            News::Failed(why) => {
                self.failed.set(Some(why));
                wake(&self.reader);
                wake(&self.writer);
            }
            News::Resolved(addrs) => *self.resolved.borrow_mut() = Some(addrs),
        }
        wake(&self.opener);
    }

    /// Waits until `done` returns something, or the stream failed.
    async fn opened<T>(&self, done: impl Fn(&Self) -> Option<T>) -> Result<T, StreamFailure> {
        core::future::poll_fn(|cx| {
            if let Some(found) = done(self) {
                return Poll::Ready(Ok(found));
            }
            if let Some(why) = self.failed.get() {
                return Poll::Ready(Err(why));
            }
            self.opener.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await
    }
}

/// A byte stream to an exit's destination or a relay's service. Dropping it resets what has not ended.
pub struct AgentStream {
    node: AgentHandle,
    key: StreamKey,
    slot: Rc<Slot>,
}

impl AgentStream {
    /// The stream's key in its node.
    pub fn key(&self) -> StreamKey {
        self.key
    }

    /// The key as a number, for reports.
    pub fn id(&self) -> u64 {
        self.key.to_u64()
    }
}

impl AgentHandle {
    fn slot(&self, open: impl FnOnce(&mut Client, Now) -> Option<StreamKey>) -> Result<AgentStream, StreamFailure> {
        let note = |key: Option<StreamKey>| {
            let key = key.ok_or(StreamFailure::TooMany)?;
            let slot = Rc::new(Slot::default());
            self.shared.slots.borrow_mut().insert(key.to_u64(), slot.clone());
            Ok(AgentStream { node: self.clone(), key, slot })
        };
        self.with_noted(|node, now| open(node.client(), now), note)
    }

    /// Opens a stream and waits until the other side has accepted it. The `first` bytes do not wait: they are sent with BEGIN
    /// and right after it.
    pub async fn open(
        &self,
        purpose: CircuitPurpose,
        target: Target,
        first: &[u8],
    ) -> Result<AgentStream, StreamFailure> {
        let mut written = 0;
        let mut stream = self.slot(|client, now| {
            let key = client.open(now, purpose, target)?;
            written = client.write(now, key, first);
            Some(key)
        })?;
        stream.slot.opened(|s| s.opened.get().then_some(())).await?;
        let rest = first.get(written..).unwrap_or_default();
        let written = stream.write_all(rest).await;
        written.map_err(|_| stream.slot.failed.get().unwrap_or(StreamFailure::CircuitClosed))?;
        Ok(stream)
    }

    /// Has an exit look a name up.
    pub async fn look_up(&self, purpose: CircuitPurpose, name: &str) -> Result<Vec<IpAddr>, StreamFailure> {
        let stream = self.slot(|client, now| client.resolve(now, purpose, name))?;
        stream.slot.opened(|s| s.resolved.borrow_mut().take()).await
    }
}

impl Drop for AgentStream {
    fn drop(&mut self) {
        self.node.shared.slots.borrow_mut().remove(&self.key.to_u64());
        self.node.with(|node, now| node.client().drop_stream(now, self.key));
    }
}

fn broken(why: StreamFailure) -> io::Error {
    let kind = match why {
        StreamFailure::Ended(EndReason::Refused) => io::ErrorKind::ConnectionRefused,
        StreamFailure::TimedOut | StreamFailure::Ended(EndReason::TimedOut) => io::ErrorKind::TimedOut,
        StreamFailure::NoPath | StreamFailure::TooMany => io::ErrorKind::NotConnected,
        StreamFailure::CircuitClosed | StreamFailure::TooMuchUnread | StreamFailure::Ended(_) => {
            io::ErrorKind::ConnectionReset
        }
    };
    io::Error::new(kind, why)
}

impl AsyncRead for AgentStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        self.slot.reader.set(Some(cx.waker().clone()));
        match self.node.with(|node, now| node.client().read(now, self.key, buf.initialize_unfilled())) {
            ReadState::Read(n) => {
                buf.advance(n);
                Poll::Ready(Ok(()))
            }
            ReadState::Pending => Poll::Pending,
            ReadState::End => Poll::Ready(Ok(())),
            ReadState::Failed(why) => Poll::Ready(Err(broken(why))),
        }
    }
}

impl AsyncWrite for AgentStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(why) = self.slot.failed.get() {
            return Poll::Ready(Err(broken(why)));
        }
        self.slot.writer.set(Some(cx.waker().clone()));
        match self.node.with(|node, now| node.client().write(now, self.key, bytes)) {
            0 if !bytes.is_empty() => Poll::Pending,
            n => Poll::Ready(Ok(n)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.node.with(|node, now| node.client().finish(now, self.key));
        Poll::Ready(Ok(()))
    }
}
