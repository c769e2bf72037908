//! One connection's task.

use super::bbr::Renewal;
use super::{Core, Traffic};
use crate::host::{buffers, keepalive};
use crate::role::{ConnId, Input, Role};
use core::cell::Cell;
use core::time::Duration;
use std::io::ErrorKind;
use std::rc::Rc;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Reads of one connection in a row before other tasks run.
pub(super) const READS_PER_TURN: u32 = 4;
/// Writes of one connection in a row before other tasks run.
pub(super) const WRITES_PER_TURN: u32 = 16;

/// While more bytes than this are not yet sent, the system does not report a socket as writable (`TCP_NOTSENT_LOWAT`).
#[cfg(target_os = "linux")]
const UNSENT_MAX: u32 = 16 * 1024;

/// The role's handle on a connection's task.
#[derive(Default)]
pub(super) struct Handle {
    pub(super) wake: Notify,
    pub(super) finish: Cell<bool>,
    pub(super) close: Cell<bool>,
    pub(super) abort: Cell<bool>,
}

impl Handle {
    /// Waits for an abort or a close, where nothing else wakes the task.
    pub(super) async fn aborted(&self) {
        while !self.abort.get() && !self.close.get() {
            self.wake.notified().await;
        }
    }
}

/// What the socket did not take of a write.
#[derive(Default)]
struct Unwritten {
    bytes: Vec<u8>,
    done: usize,
}

impl Unwritten {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.done..).unwrap_or_default()
    }

    fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }
}

enum Progress {
    /// Everything the role has is written.
    Drained,
    /// The socket takes no more for now.
    Blocked,
    /// There is more to write, but others wait for the thread.
    More,
    /// The connection is broken.
    Broken,
}

impl<R: Role + 'static> Core<R> {
    /// Carries a connection until it ends. `took`: how long it took to connect, where this node did.
    pub(super) async fn run_conn(
        self: Rc<Self>,
        conn: ConnId,
        mut stream: TcpStream,
        took: Option<Duration>,
        handle: Rc<Handle>,
    ) {
        let _ = stream.set_nodelay(true);
        // A cell in the system's buffer waits for all before it. In our queues, circuits take turns.
        #[cfg(target_os = "linux")]
        let _ = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_MAX);
        let renewal = match conn {
            ConnId::Link(_) => {
                buffers::bound_received(&stream, took);
                Renewal::of(&stream, &self.may_renew, self.now().mono)
            }
            ConnId::Exit(_) => {
                // spec: STREAM-24
                keepalive::DESTINATION.set(&stream);
                Renewal::never()
            }
        };
        self.carry(conn, &mut stream, &handle, renewal).await;
        self.conns.borrow_mut().remove(&conn);
        if handle.abort.get() {
            // With this, closing the socket sends a reset, which frees the peer at once.
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
        drop(stream);
        self.freed.notify_waiters();
        self.input(Input::Closed(conn));
    }

    async fn carry(self: &Rc<Self>, conn: ConnId, stream: &mut TcpStream, handle: &Handle, mut renewal: Renewal) {
        let mut unwritten = Unwritten::default();
        let (mut read_done, mut write_done, mut reads) = (false, false, 0u32);
        loop {
            self.count(Traffic { wakes: 1, ..Traffic::default() });
            if handle.abort.get() {
                return;
            }
            if renewal.is_on() {
                renewal.tick(stream, self.now().mono);
            }
            let progress = if write_done { Progress::Drained } else { self.write_some(conn, stream, &mut unwritten) };
            if matches!(progress, Progress::Broken) {
                return;
            }
            let drained = matches!(progress, Progress::Drained);
            if drained && handle.close.get() {
                let _ = stream.shutdown().await;
                return;
            }
            if drained && handle.finish.get() && !write_done {
                write_done = true;
                let _ = stream.shutdown().await;
            }
            let budget = if read_done { 0 } else { self.role.borrow_mut().read_budget(conn) };
            if matches!(progress, Progress::More) {
                tokio::task::yield_now().await;
                if budget > 0 && self.take_in(conn, stream, budget, &mut read_done).is_err() {
                    return;
                }
                continue;
            }
            let blocked_since = (!drained && renewal.is_on()).then(|| self.now().mono);
            tokio::select! {
                biased;
                () = handle.wake.notified() => {}
                ready = stream.readable(), if budget > 0 => {
                    if ready.is_err() || self.take_in(conn, stream, budget, &mut read_done).is_err() {
                        return;
                    }
                    // A peer that never stops sending would otherwise occupy the thread.
                    reads = reads.wrapping_add(1);
                    if reads.is_multiple_of(READS_PER_TURN) {
                        tokio::task::yield_now().await;
                    }
                }
                ready = stream.writable(), if !drained => {
                    if ready.is_err() {
                        return;
                    }
                }
                // A peer that is gone must be noticed even if there is nothing to read or write.
                _ = stream.ready(Interest::ERROR), if budget == 0 && drained => return,
            }
            if let Some(since) = blocked_since {
                renewal.blocked(self.now().mono.since(since));
            }
        }
    }

    /// Reads once. Tells the role if the peer has ended its side.
    fn take_in(
        self: &Rc<Self>,
        conn: ConnId,
        stream: &TcpStream,
        budget: usize,
        read_done: &mut bool,
    ) -> Result<(), ()> {
        if !self.read_some(conn, stream, budget)? {
            *read_done = true;
            self.input(Input::Finished(conn));
        }
        Ok(())
    }

    /// Reads once; false if the peer has ended its side.
    fn read_some(self: &Rc<Self>, conn: ConnId, stream: &TcpStream, budget: usize) -> Result<bool, ()> {
        let mut buf = self.read_buf.borrow_mut();
        let limit = budget.min(buf.len());
        let Some(space) = buf.get_mut(..limit) else { return Err(()) };
        match stream.try_read(space) {
            Ok(0) => return Ok(false),
            Ok(n) => {
                self.count(Traffic { received: n as u64, reads: 1, ..Traffic::default() });
                if let Some(bytes) = space.get_mut(..n) {
                    self.role.borrow_mut().handle(self.now(), Input::Received(conn, bytes));
                }
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(_) => return Err(()),
        }
        drop(buf);
        self.pump();
        Ok(true)
    }

    /// Writes until the role has nothing more or the socket takes nothing more.
    fn write_some(self: &Rc<Self>, conn: ConnId, stream: &TcpStream, unwritten: &mut Unwritten) -> Progress {
        let mut writes = 0;
        let result = loop {
            if !unwritten.is_empty() {
                match self.try_write(stream, unwritten.rest()) {
                    Ok(n) => unwritten.done += n,
                    Err(progress) => break progress,
                }
                continue;
            }
            if unwritten.done > 0 {
                *unwritten = Unwritten::default();
            }
            if writes >= WRITES_PER_TURN {
                break Progress::More;
            }
            let mut buf = self.write_buf.borrow_mut();
            buf.clear();
            if !self.role.borrow_mut().transmit(self.now(), conn, &mut buf) {
                break Progress::Drained;
            }
            writes += 1;
            match self.try_write(stream, &buf) {
                Ok(n) if n == buf.len() => {}
                Ok(n) => unwritten.bytes.extend_from_slice(buf.get(n..).unwrap_or_default()),
                Err(Progress::Blocked) => unwritten.bytes.extend_from_slice(&buf),
                Err(progress) => break progress,
            }
        };
        if writes > 0 {
            self.pump();
        }
        result
    }

    fn count(&self, more: Traffic) {
        let mut traffic = self.traffic.get();
        traffic += more;
        self.traffic.set(traffic);
    }

    fn try_write(&self, stream: &TcpStream, bytes: &[u8]) -> Result<usize, Progress> {
        match stream.try_write(bytes) {
            Ok(n) => {
                self.count(Traffic { sent: n as u64, writes: 1, ..Traffic::default() });
                Ok(n)
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => Err(Progress::Blocked),
            Err(_) => Err(Progress::Broken),
        }
    }
}
