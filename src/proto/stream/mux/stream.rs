//! One stream of a mux: what waits to be sent, what may be sent, and what its peer may send.

use crate::wire::message::{MESSAGE_HEADER_SIZE, Message, StreamId, StreamState, Target, TextWriter};
use std::collections::VecDeque;

/// Space that a stream keeps though little waits.
pub(super) const BUFFER_KEPT: usize = 64 * 1024;
/// Cells in a row that leave a larger buffer less than a quarter full before it is made smaller: who fills it each time keeps it,
/// for to give it back and take it again costs as much as the cells.
pub(super) const SLACK_CELLS: u16 = 1024;
/// A CREDIT in a text.
const CREDIT_SIZE: usize = MESSAGE_HEADER_SIZE + 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Client: BEGIN is not answered. Relay: BEGIN is not answered by us.
    Opening,
    /// RESOLVE is not answered.
    Resolving,
    /// Data flows.
    Open,
    /// We gave up; the peer's END is awaited and its data dropped within what it was granted.
    Aborted,
}

/// One stream, as this end sees it.
pub(super) struct Stream {
    pub(super) phase: Phase,
    /// BEGIN still to be sent, and what CREDIT grants with it.
    pub(super) begin: Option<(Target, u32)>,
    pub(super) buffer: VecDeque<u8>,
    /// Cells in a row that left the buffer larger than it need be.
    pub(super) slack: u16,
    pub(super) send_credit: u32,
    pub(super) end_wanted: bool,
    pub(super) end_sent: bool,
    /// Bytes that may be granted and not gone on together.
    pub(super) window: u32,
    /// Bytes that have gone on since the window last changed.
    pub(super) gone_on: u32,
    /// Bytes the peer may still send.
    pub(super) granted: u32,
    /// Bytes that arrived and have not gone on.
    pub(super) backlog: u32,
    pub(super) end_received: bool,
    /// Stands in the ready list.
    pub(super) ready: bool,
    /// Opened by RESOLVE: ends with RESOLVED, never with END.
    pub(super) is_question: bool,
}

impl Stream {
    pub(super) fn new(phase: Phase, send_credit: u32, window: u32) -> Self {
        Self {
            phase,
            begin: None,
            buffer: VecDeque::new(),
            slack: 0,
            send_credit,
            end_wanted: false,
            end_sent: false,
            window,
            gone_on: 0,
            granted: window,
            backlog: 0,
            end_received: false,
            ready: false,
            is_question: phase == Phase::Resolving,
        }
    }

    pub(super) fn state(&self) -> StreamState {
        match self.phase {
            _ if self.begin.is_some() => StreamState::Unsent,
            Phase::Resolving => StreamState::Resolving,
            Phase::Aborted if self.is_question => StreamState::GivenUp,
            Phase::Aborted => StreamState::Aborted,
            _ if self.end_received => StreamState::Ended,
            Phase::Opening => StreamState::Opening,
            Phase::Open if self.end_sent => StreamState::Finished,
            Phase::Open => StreamState::Open,
        }
    }

    /// Follows what goes on: while little waits, the window doubles with each half of it; a slow reader's stays. Where it must
    /// shrink it does so as its bytes go on, for what was granted is the peer's.
    pub(super) fn adapt(&mut self, bytes: u32, limit: u32) {
        self.gone_on = self.gone_on.saturating_add(bytes);
        if self.window > limit {
            self.window = limit.max(self.granted.saturating_add(self.backlog)).min(self.window);
        } else if self.gone_on >= self.window / 2 && self.backlog <= self.window / 2 {
            (self.window, self.gone_on) = (self.window.saturating_mul(2).min(limit), 0);
        }
    }

    pub(super) fn only_end_is_left(&self) -> bool {
        self.begin.is_none() && self.buffer.is_empty() && self.end_wanted && !self.end_sent
    }

    /// Whether the buffer has grown and is little used.
    pub(super) fn is_slack(&self) -> bool {
        self.buffer.capacity() > BUFFER_KEPT.max(4 * self.buffer.len())
    }

    pub(super) fn has_something_to_send(&self) -> bool {
        self.begin.is_some() || (!self.buffer.is_empty() && self.send_credit > 0 && !self.end_sent)
    }

    /// Writes BEGIN or DATA; returns whether it did.
    pub(super) fn fill(&mut self, id: StreamId, w: &mut TextWriter<'_>) -> bool {
        let room = w.room().unwrap_or(0);
        let mut wrote = false;
        if let Some((target, granted)) = &self.begin {
            let head = target.encode().len() + if *granted > 0 { CREDIT_SIZE } else { 0 };
            if head > room {
                return false;
            }
            let n = self.buffer.len().min(room - head).min(self.send_credit as usize);
            let data: Vec<u8> = self.buffer.drain(..n).collect();
            w.push(id, &Message::Begin { target: target.clone(), data: &data });
            if *granted > 0 {
                w.push(id, &Message::Credit(*granted));
            }
            self.send_credit -= n as u32;
            self.begin = None;
            wrote = true;
        } else if !self.buffer.is_empty() && self.send_credit > 0 {
            let n = self.buffer.len().min(room).min(self.send_credit as usize);
            let (a, b) = self.buffer.as_slices();
            let in_a = n.min(a.len());
            w.push_data(id, &a[..in_a], &b[..n - in_a]);
            self.buffer.drain(..n);
            self.send_credit -= n as u32;
            wrote = true;
            // What a fast moment made it grow to is not kept.
            self.slack = if self.is_slack() { self.slack + 1 } else { 0 };
            if self.slack >= SLACK_CELLS {
                self.buffer.shrink_to(BUFFER_KEPT);
                self.slack = 0;
            }
        }
        wrote
    }
}
