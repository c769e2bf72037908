//! An end of streams that takes no room while it has nothing to remember. Most hops of most circuits pass cells on and end no
//! stream, and what a circuit costs while it is idle decides how many of them a relay can hold.

use crate::proto::profile::Profile;
use crate::proto::stream::mux::{Mux, Side};

/// The place of a [`Mux`] that is made when it is first needed.
#[derive(Default)]
pub(super) struct LazyMux(Option<Box<Mux>>);

impl LazyMux {
    /// The mux, where there is one. Without one there is nothing to send, and no stream.
    pub(super) fn get(&self) -> Option<&Mux> {
        self.0.as_deref()
    }

    /// The same, to be changed.
    pub(super) fn made(&mut self) -> Option<&mut Mux> {
        self.0.as_deref_mut()
    }

    /// The mux, which is made where it is missing.
    pub(super) fn get_mut(&mut self, side: Side, profile: &'static Profile) -> &mut Mux {
        self.0.get_or_insert_with(|| Box::new(Mux::new(side, &profile.congestion, profile.stream_window_bytes)))
    }

    /// The circuit is idle: frees what can be made again.
    pub(super) fn park(&mut self) {
        if self.0.as_ref().is_some_and(|mux| mux.is_as_new()) {
            self.0 = None;
        } else if let Some(mux) = &mut self.0 {
            mux.park();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Instant;
    use crate::wire::message::{EndReason, Message, StreamId, Target};

    const TESTING: &Profile = &Profile::TESTING;

    #[test]
    fn an_end_that_only_passed_an_extension_on_takes_no_room() {
        let mut end = LazyMux::default();
        end.park();
        assert!(end.get().is_none() && end.made().is_none());
        end.get_mut(Side::Relay, TESTING).extended(&[0; crate::wire::handshake::REPLY_SIZE]);
        end.park();
        assert!(end.get().is_some_and(Mux::wants_to_send), "what waits is kept");
        let mut text = [0; 1352];
        end.get_mut(Side::Relay, TESTING).fill(&mut text);
        end.park();
        assert!(end.get().is_none());
    }

    #[test]
    fn an_end_keeps_what_it_must_remember() {
        let is_kept = |side, act: &dyn Fn(&mut Mux)| {
            let mut end = LazyMux::default();
            act(end.get_mut(side, TESTING));
            end.park();
            end.get().is_some()
        };
        let begin = |mux: &mut Mux| {
            let begin = Message::Begin { target: Target::Store, data: &[] };
            mux.message(Instant(0), StreamId(7), begin, &mut |_, _| {}).unwrap();
        };
        let tag = [1; 16];
        assert!(is_kept(Side::Relay, &begin), "a stream");
        assert!(is_kept(Side::Relay, &|mux| mux.cell_received(true, tag)), "a cell that the next ACK counts");
        assert!(is_kept(Side::Relay, &|mux| mux.sent(Instant(0), tag)), "a cell that is not acknowledged");
        assert!(
            is_kept(Side::Client, &|mux| {
                let id = mux.open(Target::Store).unwrap();
                mux.abort(id, EndReason::Done);
            }),
            "the number of the next stream"
        );
        assert!(!is_kept(Side::Relay, &|mux| mux.cell_received(false, tag)));
    }
}
