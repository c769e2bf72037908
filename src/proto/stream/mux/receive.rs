//! What one end takes from the other: which message is legal now, and what each changes.

use super::{CREDIT_MAX, Mux, Phase, STREAMS_MAX, Stream, StreamEvent};
use crate::base::time::Instant;
use crate::proto::violation::Violation;
use crate::wire::message::{EndReason, Legal, Message, StreamId, StreamState};

impl Mux {
    fn state(&self, id: StreamId) -> StreamState {
        match self.streams.get(&id) {
            Some(s) => s.state(),
            None if self.closed.contains(&id) => StreamState::Closed,
            None => StreamState::Unused,
        }
    }

    /// Whether the table of messages allows this one here and now; the state in which it finds its stream.
    // spec: CIRC-10 STREAM-6 STREAM-8 STREAM-13
    fn admit(&self, id: StreamId, message: &Message<'_>) -> Result<StreamState, Violation> {
        let states = match message.legal_at(self.side) {
            Legal::Never => return Err(Violation::WrongDirection),
            Legal::Circuit => return Ok(StreamState::Unused),
            Legal::In(states) => states,
        };
        let state = self.state(id);
        if states.contains(&state) {
            return Ok(state);
        }
        Err(match state {
            _ if states.contains(&StreamState::Unused) => Violation::StreamInUse,
            StreamState::Unused | StreamState::Unsent | StreamState::Closed => Violation::UnknownStream,
            _ => Violation::StreamState,
        })
    }

    /// Takes one message. Messages of extension are the circuit's, not this machine's.
    pub fn message<'a>(
        &mut self,
        now: Instant,
        id: StreamId,
        message: Message<'a>,
        sink: &mut dyn FnMut(StreamId, StreamEvent<'a>),
    ) -> Result<(), Violation> {
        let state = self.admit(id, &message)?;
        match message {
            Message::Ack(tag) => self.send.acked(now, &tag)?,
            Message::Begin { target, data } => {
                self.begun(id, Phase::Opening, data.len())?;
                sink(id, StreamEvent::Begin(target, data));
            }
            Message::Resolve(name) => {
                self.begun(id, Phase::Resolving, 0)?;
                sink(id, StreamEvent::Resolve(name));
            }
            Message::Connected if state == StreamState::Aborted => {}
            Message::Connected => {
                self.known(id)?.phase = Phase::Open;
                sink(id, StreamEvent::Connected);
            }
            Message::Resolved(addrs) => {
                // A question that was given up is answered all the same: the answer ends it.
                self.streams.remove(&id);
                if state == StreamState::Resolving {
                    sink(id, StreamEvent::Resolved(addrs));
                }
            }
            Message::Data(bytes) => {
                if self.received(id, bytes.len())? {
                    sink(id, StreamEvent::Data(bytes));
                }
            }
            // Sent before the peer knew that the stream was over.
            Message::End(_) | Message::Credit(_) if state == StreamState::Closed => {}
            Message::End(reason) => {
                self.ended(id, reason)?;
                if state != StreamState::Aborted {
                    sink(id, StreamEvent::End(reason));
                }
            }
            Message::Credit(more) => self.credit(id, more)?,
            Message::Extend { .. } | Message::Extended(_) | Message::ExtendFailed(_) | Message::Leaving => {
                return Err(Violation::WrongDirection);
            }
        }
        Ok(())
    }

    fn known(&mut self, id: StreamId) -> Result<&mut Stream, Violation> {
        self.streams.get_mut(&id).ok_or(Violation::UnknownStream)
    }

    fn begun(&mut self, id: StreamId, phase: Phase, bytes: usize) -> Result<(), Violation> {
        // spec: STREAM-14
        if self.streams.len() >= STREAMS_MAX {
            return Err(Violation::TooMuch);
        }
        self.closed.retain(|&c| c != id);
        let mut stream = self.stream(phase);
        // spec: STREAM-4
        stream.granted = stream.granted.checked_sub(bytes as u32).ok_or(Violation::CreditExceeded)?;
        stream.backlog = bytes as u32;
        self.streams.insert(id, stream);
        Ok(())
    }

    /// Counts bytes of DATA off what was granted; whether anybody still wants them.
    fn received(&mut self, id: StreamId, bytes: usize) -> Result<bool, Violation> {
        let s = self.known(id)?;
        // spec: STREAM-4
        s.granted = s.granted.checked_sub(bytes as u32).ok_or(Violation::CreditExceeded)?;
        let wanted = s.phase != Phase::Aborted;
        if wanted {
            s.backlog = s.backlog.saturating_add(bytes as u32);
        }
        Ok(wanted)
    }

    // spec: STREAM-9 STREAM-10
    fn ended(&mut self, id: StreamId, reason: EndReason) -> Result<(), Violation> {
        let s = self.known(id)?;
        s.end_received = true;
        let end_sent = s.end_sent;
        if reason != EndReason::Done && !end_sent {
            // The peer waits for our END to forget the stream.
            self.control(id, Message::End(EndReason::Done));
        }
        if reason != EndReason::Done || end_sent {
            self.forget(id);
        }
        Ok(())
    }

    // spec: STREAM-7
    fn credit(&mut self, id: StreamId, more: u32) -> Result<(), Violation> {
        let s = self.known(id)?;
        s.send_credit =
            s.send_credit.checked_add(more).filter(|&c| c <= CREDIT_MAX).ok_or(Violation::CreditOverflow)?;
        self.make_ready(id);
        Ok(())
    }
}
