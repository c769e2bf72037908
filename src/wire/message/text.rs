//! The text: what an opened onion holds after its mark.
//!
//! ```text
//! | message | message | ... | zeros |     message: | command u8 | stream u16 | length u16 | body |
//! ```
//!
//! Command 0 ends the messages; every byte after it is zero. Several messages share a cell, so acknowledgements ride
//! on data.

use super::{Message, MessageKind};
use crate::base::bytes::Reader;
use crate::wire::error::Malformed;
use crate::wire::field::Sink;

/// Zero bytes in front of a text: the sign that the cell is for this hop (spec ONION-6).
pub const MARK_SIZE: usize = 8;
/// Bytes in front of each message's body.
pub const MESSAGE_HEADER_SIZE: usize = 5;

/// A stream's number on its circuit, chosen by the client; 0 means the circuit itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId(pub u16);

impl StreamId {
    /// The number of messages that concern the circuit and no stream.
    pub const CIRCUIT: Self = Self(0);
}

/// Walks the messages of a text whose mark was already checked: `text` begins after the 8 zero bytes.
pub struct Messages<'a> {
    reader: Reader<'a>,
    /// Nothing was read yet: a text must hold a message (spec CELL-8).
    first: bool,
}

impl<'a> Messages<'a> {
    /// Starts at the first message.
    pub fn new(text: &'a [u8]) -> Self {
        Self { reader: Reader::new(text), first: true }
    }

    /// The next message; `None` at the end of the messages.
    ///
    /// # Errors
    /// The bytes are no message, or the padding is not zero (spec CELL-7 to CELL-13). The walk is over then.
    #[allow(clippy::should_implement_trait, reason = "an error ends the walk; an iterator would go on")]
    pub fn next(&mut self) -> Result<Option<(StreamId, Message<'a>)>, Malformed> {
        let command = if self.reader.is_empty() { 0 } else { self.reader.u8()? };
        if command == 0 {
            // spec: CELL-8
            if core::mem::replace(&mut self.first, false) {
                return Err(Malformed::Truncated);
            }
            // spec: CELL-7
            Reader::new(self.reader.rest()).finish_zero()?;
            return Ok(None);
        }
        self.first = false;
        let stream = StreamId(self.reader.u16()?);
        let message = Message::decode(command, self.reader.bytes16()?)?;
        // spec: CELL-10
        if message.is_for_circuit() != (stream == StreamId::CIRCUIT) {
            return Err(Malformed::OutOfRange);
        }
        Ok(Some((stream, message)))
    }
}

/// Packs messages into a text. [`TextWriter::finish`] zeroes what is left of it.
pub struct TextWriter<'a> {
    text: &'a mut [u8],
    used: usize,
}

impl<'a> TextWriter<'a> {
    /// Packs from the start of `text`, which begins after the mark.
    pub fn new(text: &'a mut [u8]) -> Self {
        Self { text, used: 0 }
    }

    /// Bytes of body that one more message can have; `None` when not even its header fits.
    pub fn room(&self) -> Option<usize> {
        self.text.len().checked_sub(self.used)?.checked_sub(MESSAGE_HEADER_SIZE)
    }

    /// Whether nothing was packed.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Packs a message; false when it does not fit.
    pub fn push(&mut self, stream: StreamId, message: &Message<'_>) -> bool {
        self.push_with(message.kind(), stream, |body| message.write(body))
    }

    /// Packs DATA from two slices (the halves of a ring buffer) without a copy between; false when it does not fit.
    pub fn push_data(&mut self, stream: StreamId, a: &[u8], b: &[u8]) -> bool {
        self.push_with(MessageKind::Data, stream, |body| {
            body.put(a);
            body.put(b);
        })
    }

    fn push_with(&mut self, kind: MessageKind, stream: StreamId, write: impl FnOnce(&mut TextSink<'_>)) -> bool {
        let rest = self.text.get_mut(self.used..).unwrap_or_default();
        let Some((header, room)) = rest.split_first_chunk_mut::<MESSAGE_HEADER_SIZE>() else { return false };
        let mut body = TextSink { room, used: 0, fits: true };
        write(&mut body);
        if !body.fits {
            return false;
        }
        let [s0, s1] = stream.0.to_be_bytes();
        let [l0, l1] = (body.used as u16).to_be_bytes();
        *header = [kind.to_wire(), s0, s1, l0, l1];
        self.used = self.used.saturating_add(MESSAGE_HEADER_SIZE).saturating_add(body.used);
        true
    }

    /// Zeroes what was not used.
    pub fn finish(self) {
        self.text.get_mut(self.used..).unwrap_or_default().fill(0);
    }
}

/// Writes one message's body into the room that is left in a text.
pub(super) struct TextSink<'a> {
    room: &'a mut [u8],
    used: usize,
    fits: bool,
}

impl Sink for TextSink<'_> {
    /// Appends bytes; what does not fit makes the message not fit.
    fn put(&mut self, bytes: &[u8]) {
        let end = self.used.saturating_add(bytes.len());
        match self.room.get_mut(self.used..end) {
            Some(place) => {
                place.copy_from_slice(bytes);
                self.used = end;
            }
            None => self.fits = false,
        }
    }
}
