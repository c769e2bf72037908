//! Plain hosts outside the network: what an exit connects to.
//!
//! One request a connection. `GET n\n` is answered with `n` bytes of [`content`], then the connection's end; `ECHO\n`
//! sends back whatever follows until the client's end; `SINK\n` reads everything and answers with how much it was;
//! `HOLD\n` reads and says nothing; `STALL\n` does not even read.

use crate::base::time::{Instant, Now};
use crate::role::slab::Key;
use crate::role::{ConnId, ExitKey, Input, Output, Role};
use std::collections::{BTreeMap, VecDeque};

/// Byte `i` of what every web server serves.
pub fn content(i: u64) -> u8 {
    let x = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x >> 56) as u8 ^ (x >> 24) as u8
}

/// Bytes a connection holds between reading and writing.
const HELD_MAX: usize = 128 * 1024;

enum Job {
    Asking(Vec<u8>),
    Get { at: u64, end: u64 },
    Echo(VecDeque<u8>),
    Sink(u64),
    Hold,
    Stall,
}

struct Served {
    job: Job,
    finished: bool,
    closing: bool,
    woken: bool,
}

/// A web server of the simulator, as a [`Role`].
#[derive(Default)]
pub struct Web {
    conns: BTreeMap<ConnId, Served>,
    next: u64,
    out: VecDeque<Output>,
    /// Bytes received, over all connections.
    pub received: u64,
}

impl Web {
    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.conns.len()
    }

    fn received(&mut self, conn: ConnId, mut bytes: &[u8]) {
        let Some(c) = self.conns.get_mut(&conn) else { return };
        self.received += bytes.len() as u64;
        if let Job::Asking(line) = &mut c.job {
            let Some(end) = bytes.iter().position(|&b| b == b'\n') else {
                line.extend_from_slice(bytes);
                return;
            };
            line.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            let line = String::from_utf8_lossy(line).into_owned();
            c.job = match line.split_once(' ').unwrap_or((&line, "")) {
                ("GET", n) => Job::Get { at: 0, end: n.trim().parse().unwrap_or(0) },
                ("ECHO", _) => Job::Echo(VecDeque::new()),
                ("SINK", _) => Job::Sink(0),
                ("STALL", _) => Job::Stall,
                _ => Job::Hold,
            };
        }
        match &mut c.job {
            Job::Echo(held) => held.extend(bytes),
            Job::Sink(n) => *n += bytes.len() as u64,
            Job::Asking(_) | Job::Get { .. } | Job::Hold | Job::Stall => {}
        }
        if !core::mem::replace(&mut c.woken, true) {
            self.out.push_back(Output::Wake(conn));
        }
    }
}

impl Role for Web {
    fn accept(&mut self, _now: Now, _from: core::net::IpAddr) -> Option<ConnId> {
        self.next += 1;
        let served = Served { job: Job::Asking(Vec::new()), finished: false, closing: false, woken: false };
        let conn = ConnId::Exit(ExitKey(Key::from_u64(self.next)));
        self.conns.insert(conn, served);
        Some(conn)
    }

    fn handle(&mut self, _now: Now, input: Input<'_>) {
        match input {
            Input::Received(conn, bytes) => self.received(conn, bytes),
            Input::Finished(conn) => {
                if let Some(c) = self.conns.get_mut(&conn) {
                    c.finished = true;
                    c.woken = true;
                    self.out.push_back(Output::Wake(conn));
                }
            }
            Input::Closed(conn) | Input::Failed(conn, _) => {
                self.conns.remove(&conn);
            }
            Input::Connected(_) | Input::Answer(..) | Input::Resolved(..) | Input::Stored(..) | Input::Timer => {}
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    fn read_budget(&mut self, conn: ConnId) -> usize {
        match self.conns.get(&conn).map(|c| &c.job) {
            Some(Job::Echo(held)) => HELD_MAX.saturating_sub(held.len()),
            Some(Job::Stall) | None => 0,
            Some(_) => HELD_MAX,
        }
    }

    fn transmit(&mut self, _now: Now, conn: ConnId, out: &mut Vec<u8>) -> bool {
        let Some(c) = self.conns.get_mut(&conn) else { return false };
        let before = out.len();
        let done = match &mut c.job {
            Job::Get { at, end } => {
                let upto = (*at + HELD_MAX as u64 / 2).min(*end);
                out.resize(before + (upto - *at) as usize, 0);
                for (place, i) in out[before..].iter_mut().zip(*at..upto) {
                    *place = content(i);
                }
                *at = upto;
                at == end
            }
            Job::Echo(held) => {
                let was_full = held.len() >= HELD_MAX;
                out.extend(held.drain(..));
                if was_full {
                    self.out.push_back(Output::Wake(conn));
                }
                c.finished
            }
            Job::Sink(n) if c.finished && !c.closing => {
                out.extend_from_slice(n.to_string().as_bytes());
                true
            }
            Job::Asking(_) | Job::Sink(_) | Job::Hold | Job::Stall => c.finished,
        };
        let wrote = out.len() > before;
        c.woken = wrote;
        if done && !core::mem::replace(&mut c.closing, true) {
            self.out.push_back(Output::Close(conn));
        }
        wrote
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }
}
