//! The window of counted cells in flight, and the acknowledgements that prove receipt (spec 08).

use crate::base::secret::same;
use crate::base::time::Instant;
use crate::proto::congestion::pacer::Pacer;
use crate::proto::congestion::{Congestion, CongestionParams};
use crate::proto::onion::Tag;
use crate::proto::violation::Violation;
use std::collections::VecDeque;

/// Counted cells for each acknowledgement (spec STREAM-2).
pub const ACK_EVERY: u32 = 16;

/// The sender's side of a hop's window: counted cells that are not acknowledged, with the tags to expect. Most hops of most
/// circuits never send a counted cell: what that takes is made with the first.
pub struct SendWindow {
    params: &'static CongestionParams,
    flight: Option<Box<Flight>>,
}

/// What is kept from the first counted cell on.
struct Flight {
    congestion: Congestion,
    pacer: Pacer,
    in_flight: u32,
    /// Counted cells since the last one whose tag was kept.
    since_kept: u32,
    /// Tags that acknowledgements must show and when their cells left, oldest first; at most one for each
    /// [`ACK_EVERY`] cells of the largest window.
    expected: VecDeque<(Tag, Instant)>,
}

impl SendWindow {
    /// A window under congestion control with these parameters.
    pub fn new(params: &'static CongestionParams) -> Self {
        Self { params, flight: None }
    }

    /// Whether no counted cell was sent.
    pub fn is_as_new(&self) -> bool {
        self.flight.is_none()
    }

    /// Whether another counted cell may be sent.
    // spec: STREAM-1
    pub fn is_open(&self) -> bool {
        self.flight.as_ref().is_none_or(|f| f.in_flight < f.congestion.window() && f.pacer.rests_until().is_none())
    }

    /// Until when no counted cell may leave, though the window may be open; call [`SendWindow::woken`] then.
    pub fn rests_until(&self) -> Option<Instant> {
        self.flight.as_ref()?.pacer.rests_until()
    }

    /// The time of [`SendWindow::rests_until`] has come.
    pub fn woken(&mut self, now: Instant) {
        if let Some(flight) = &mut self.flight {
            flight.pacer.woken(now);
        }
    }

    /// The window now, in cells; `None` before the first counted cell.
    pub fn window(&self) -> Option<u32> {
        self.flight.as_ref().map(|f| f.congestion.window())
    }

    /// Frees the memory of tags that are no longer expected.
    pub fn park(&mut self) {
        if let Some(flight) = &mut self.flight {
            flight.expected.shrink_to_fit();
        }
    }

    /// A counted cell was sealed with this tag.
    pub fn sent(&mut self, now: Instant, tag: Tag) {
        self.flight.get_or_insert_with(|| Box::new(Flight::new(self.params))).sent(now, tag);
    }

    /// An ACK with this tag arrived.
    ///
    /// # Errors
    /// [`Violation::FalseAck`] if none is due or the tag is another (spec STREAM-3).
    pub fn acked(&mut self, now: Instant, tag: &Tag) -> Result<(), Violation> {
        self.flight.as_mut().ok_or(Violation::FalseAck)?.acked(now, tag)
    }
}

impl Flight {
    fn new(params: &CongestionParams) -> Self {
        Self {
            congestion: Congestion::new(*params),
            pacer: Pacer::default(),
            in_flight: 0,
            since_kept: 0,
            expected: VecDeque::new(),
        }
    }

    fn sent(&mut self, now: Instant, tag: Tag) {
        self.in_flight += 1;
        // spec: CONG-9
        self.pacer.sent(now, self.congestion.interval());
        self.since_kept += 1;
        if self.since_kept == ACK_EVERY {
            self.since_kept = 0;
            self.expected.push_back((tag, now));
        }
    }

    fn acked(&mut self, now: Instant, tag: &Tag) -> Result<(), Violation> {
        // spec: STREAM-3
        let (expected, sent) = self.expected.pop_front().ok_or(Violation::FalseAck)?;
        if !same(&expected, tag) {
            return Err(Violation::FalseAck);
        }
        if self.in_flight + ACK_EVERY > self.congestion.window() {
            self.congestion.held_back();
        }
        self.in_flight -= ACK_EVERY;
        self.congestion.acked(now, now.since(sent), ACK_EVERY);
        self.pacer.woken(now);
        Ok(())
    }
}

/// The receiver's side of a hop's window: counts cells and tells which tag to acknowledge.
#[derive(Default)]
pub struct ReceiveWindow {
    since_ack: u32,
}

impl ReceiveWindow {
    /// Whether the next acknowledgement is due after as many cells as the first.
    pub fn is_as_new(&self) -> bool {
        self.since_ack == 0
    }

    /// A counted cell arrived: the tag to acknowledge with, when one is due.
    // spec: STREAM-2
    pub fn received(&mut self, tag: Tag) -> Option<Tag> {
        self.since_ack += 1;
        if self.since_ack < ACK_EVERY {
            return None;
        }
        self.since_ack = 0;
        Some(tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: STREAM-1 STREAM-2
    #[test]
    fn acknowledgements_keep_the_window_open() {
        let (mut send, mut receive) =
            (SendWindow::new(const { &CongestionParams::fixed(32) }), ReceiveWindow::default());
        for n in 0..1000u32 {
            assert!(send.is_open());
            let tag = [n as u8; 16];
            send.sent(Instant(0), tag);
            if let Some(ack) = receive.received(tag) {
                assert_eq!(send.acked(Instant(0), &ack), Ok(()));
            }
        }
    }

    // spec: STREAM-1
    #[test]
    fn without_acknowledgements_the_window_closes() {
        let mut send = SendWindow::new(const { &CongestionParams::fixed(32) });
        for n in 0..32 {
            assert!(send.is_open());
            send.sent(Instant(0), [n; 16]);
        }
        assert!(!send.is_open());
    }

    // spec: CONG-9
    #[test]
    fn a_sender_on_a_long_path_rests_between_its_cells() {
        let mut send = SendWindow::new(const { &CongestionParams::fixed(64) });
        let mut now = Instant(0);
        for n in 0..16 {
            send.sent(now, [n; 16]);
        }
        now = now + core::time::Duration::from_millis(200);
        assert_eq!(send.acked(now, &[15; 16]), Ok(()));
        let mut at_once = 0;
        while send.is_open() {
            send.sent(now, [0; 16]);
            at_once += 1;
        }
        assert!(at_once < 20, "{at_once} cells at once, of a window of 64");
        let until = send.rests_until().unwrap();
        send.woken(until);
        assert!(send.is_open(), "and goes on");
    }

    // spec: STREAM-3
    #[test]
    fn an_acknowledgement_must_show_the_right_tag_at_the_right_time() {
        let mut send = SendWindow::new(const { &CongestionParams::fixed(32) });
        assert_eq!(send.acked(Instant(0), &[0; 16]), Err(Violation::FalseAck), "nothing was sent");
        for n in 0..16 {
            send.sent(Instant(0), [n; 16]);
        }
        assert_eq!(send.acked(Instant(0), &[14; 16]), Err(Violation::FalseAck), "not the sixteenth cell's tag");
    }
}
