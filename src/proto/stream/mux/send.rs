//! What leaves: control messages first, then streams in their turns.

use super::{Filled, Mux, Stream};
use crate::proto::turns::Turn;
use crate::wire::message::{EndReason, Message, TextWriter};

/// A message with less room than this is left for the next cell.
const MESSAGE_ROOM_MIN: usize = 64;

impl Mux {
    /// Writes the next text to send over `text`, which begins after the mark.
    pub fn fill(&mut self, text: &mut [u8]) -> Filled {
        let mut w = TextWriter::new(text);
        while let Some((id, owned)) = self.control.front() {
            if !w.push(*id, &owned.as_message()) {
                break;
            }
            self.control.pop_front();
        }
        let counted = self.control.is_empty() && self.send.is_open() && self.fill_from_streams(&mut w);
        if w.is_empty() {
            return Filled::Nothing;
        }
        w.finish();
        if counted { Filled::Counted } else { Filled::Uncounted }
    }

    /// Lets streams write, as far as there is room; returns whether one did.
    fn fill_from_streams(&mut self, w: &mut TextWriter<'_>) -> bool {
        let mut counted = false;
        while w.room().is_some_and(|room| room >= MESSAGE_ROOM_MIN) {
            let Self { streams, ready: Some(ready), .. } = self else { break };
            let mut wrote = None;
            ready.next(&mut |&id| {
                let Some(s) = streams.get_mut(&id) else { return Turn::Nothing };
                if s.fill(id, w) {
                    wrote = Some(id);
                }
                s.ready = s.has_something_to_send();
                match (s.ready, wrote) {
                    // What it has may fit into the next cell only.
                    (true, _) => Turn::More,
                    (false, Some(_)) => Turn::Last,
                    (false, None) => Turn::Nothing,
                }
            });
            let Some(id) = wrote else { break };
            counted = true;
            if self.streams.get(&id).is_some_and(Stream::only_end_is_left) {
                if w.push(id, &Message::End(EndReason::Done)) { self.end_is_sent(id) } else { self.end(id) }
            }
        }
        counted
    }
}
