//! The onion: one AEAD per hop (spec 06), in place at the client, and at a relay from where a cell was read to where it waits.
//!
//! For the hop at position *i* the layer covers the first `n = 1400 − 16·i` bytes of the body and its tag follows
//! them directly; everything after the tag is zero. So tags line up at the end of the body, nothing moves, nothing grows:
//!
//! ```text
//!  0                                   1352     1368     1384     1400
//!  | 8 zeros, messages, zeros          | tag 3  | tag 2  | tag 1  |     a cell for hop 3, as hop 1 receives it
//!  | 8 zeros, messages, zeros          | tag 3  | tag 2  | 0      |     as hop 2 receives it
//!  | 8 zeros, messages, zeros          | tag 3  | 0      | 0      |     as hop 3 receives it
//! ```
//!
//! A changed byte is noticed by the next honest hop on the way out and by the client on the way back; bytes that could
//! carry a mark past an honest hop are zeroed by it or close the circuit.

use crate::crypto::aead::{CounterKey, TAG_SIZE};
use crate::proto::handshake::LayerKeys;
use crate::wire::cell::{BODY_SIZE, Body};
use crate::wire::message::MARK_SIZE;

/// A cell's tag at the hop it was sealed for or by: the proof of receipt in ACK.
pub type Tag = [u8; TAG_SIZE];

/// A cell that no honest neighbour sends. The circuit closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OnionError {
    /// Bytes after the layer's tag are not zero (spec ONION-3).
    #[error("bytes after the layer's tag are not zero")]
    DirtyTail,
    /// The layer does not open (spec ONION-4).
    #[error("the layer does not open")]
    BadTag,
    /// A cell from the next hop begins with the mark: sealed, it would speak in this hop's name (spec ONION-10).
    #[error("a cell from the next hop begins with the mark")]
    FalseMark,
    /// No hop of the circuit sealed this (spec ONION-8).
    #[error("no hop sealed this cell")]
    FromNobody,
}

/// Bytes that the layer at `position` covers.
pub fn covered(position: u8) -> usize {
    BODY_SIZE - TAG_SIZE * usize::from(position)
}

/// The text of an opened or unsealed body, after the mark.
pub fn text(body: &Body, position: u8) -> &[u8] {
    body.get(MARK_SIZE..covered(position)).unwrap_or_default()
}

/// The text of a body, to be written.
pub fn text_mut(body: &mut Body, position: u8) -> &mut [u8] {
    body.get_mut(MARK_SIZE..covered(position)).unwrap_or_default()
}

fn is_marked(body: &Body) -> bool {
    body.first_chunk::<MARK_SIZE>() == Some(&[0; MARK_SIZE])
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |acc, b| acc | b) == 0
}

/// Seals the first `n` bytes and writes the tag after them.
fn seal(key: &mut CounterKey, n: usize, body: &mut Body) -> Tag {
    let (text, rest) = body.split_at_mut(n);
    let tag = key.seal(&[], text);
    if let Some(place) = rest.first_chunk_mut() {
        *place = tag;
    }
    tag
}

/// Seals from one body to another: `body` is zero from `n` on, and so is `out`, but for the tag.
fn seal_to(key: &mut CounterKey, n: usize, body: &Body, out: &mut Body) {
    let (text, rest) = out.split_at_mut(n);
    let tag = key.seal_to(&[], &body[..n], text);
    rest.fill(0);
    if let Some(place) = rest.first_chunk_mut() {
        *place = tag;
    }
}

/// The tag of a layer over the first `n` bytes.
fn tag(n: usize, body: &Body) -> &Tag {
    body[n..].first_chunk().expect("a layer's tag follows what it covers")
}

/// Opens the layer over the first `n` bytes; gives the tag and leaves zeros in its place.
fn open(key: &mut CounterKey, n: usize, body: &mut Body) -> Result<Tag, OnionError> {
    let tag = *tag(n, body);
    key.open(&[], &mut body[..n + TAG_SIZE]).map_err(|_| OnionError::BadTag)?;
    body[n..n + TAG_SIZE].fill(0);
    Ok(tag)
}

/// What a relay finds in a cell from the client's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peeled {
    /// The cell is for this hop; its text is open in the body. With the tag for ACK.
    Here(Tag),
    /// The cell goes on to the next hop as it is now.
    Onward,
}

/// One hop's layer, at the relay.
pub struct RelayLayer {
    position: u8,
    forward: CounterKey,
    backward: CounterKey,
}

impl RelayLayer {
    /// From the keys of a handshake.
    pub fn new(keys: &LayerKeys) -> Self {
        Self {
            position: keys.position,
            forward: CounterKey::new(keys.cipher, &keys.forward),
            backward: CounterKey::new(keys.cipher, &keys.backward),
        }
    }

    /// Frees what can be derived again from the keys, while the circuit is idle.
    pub fn park(&mut self) {
        self.forward.park();
        self.backward.park();
    }

    /// Which hop this is, from 1.
    pub fn position(&self) -> u8 {
        self.position
    }

    /// Removes this hop's layer from a cell of the client's side, from `body` to `out`. After an error `out` holds nothing of use.
    pub fn peel(&mut self, body: &Body, out: &mut Body) -> Result<Peeled, OnionError> {
        let n = covered(self.position);
        // spec: ONION-3
        if !is_zero(&body[n + TAG_SIZE..]) {
            return Err(OnionError::DirtyTail);
        }
        // spec: ONION-4
        let (tag, (text, rest)) = (tag(n, body), out.split_at_mut(n));
        self.forward.open_to(&[], &body[..n], tag, text).map_err(|_| OnionError::BadTag)?;
        // spec: ONION-5
        rest.fill(0);
        // spec: ONION-6
        Ok(if is_marked(out) { Peeled::Here(*tag) } else { Peeled::Onward })
    }

    /// Adds this hop's layer to a cell that comes from a later hop, from `body` to `out`.
    pub fn wrap(&mut self, body: &Body, out: &mut Body) -> Result<(), OnionError> {
        let n = covered(self.position);
        // spec: ONION-7
        if !is_zero(&body[n..]) {
            return Err(OnionError::DirtyTail);
        }
        // spec: ONION-10
        if is_marked(body) {
            return Err(OnionError::FalseMark);
        }
        seal_to(&mut self.backward, n, body, out);
        Ok(())
    }

    /// Seals a cell of this hop's own: its text is in the body, after the place of the mark.
    pub fn originate(&mut self, body: &mut Body) -> Tag {
        let n = covered(self.position);
        body[..MARK_SIZE].fill(0);
        body[n..].fill(0);
        seal(&mut self.backward, n, body)
    }
}

/// One hop's layer, at the client.
struct ClientLayer {
    forward: CounterKey,
    backward: CounterKey,
}

/// All layers of a circuit, at the client. Hops are numbered from 0 here; hop `h` has position `h + 1`.
#[derive(Default)]
pub struct ClientLayers {
    hops: Vec<ClientLayer>,
}

impl ClientLayers {
    /// Adds the hop whose handshake just finished.
    pub fn push(&mut self, keys: &LayerKeys) {
        self.hops.push(ClientLayer {
            forward: CounterKey::new(keys.cipher, &keys.forward),
            backward: CounterKey::new(keys.cipher, &keys.backward),
        });
    }

    /// Frees what can be derived again from the keys, while the circuit is idle.
    pub fn park(&mut self) {
        for hop in &mut self.hops {
            hop.forward.park();
            hop.backward.park();
        }
        self.hops.shrink_to_fit();
    }

    /// Seals a cell for `hop`, whose text is in the body: last layer first. Gives that hop's tag.
    pub fn seal_for(&mut self, hop: usize, body: &mut Body) -> Tag {
        let position = |h: usize| (h + 1) as u8;
        body[..MARK_SIZE].fill(0);
        body[covered(position(hop))..].fill(0);
        let mut tag = Tag::default();
        // spec: ONION-1 ONION-2
        for (h, layer) in self.hops.iter_mut().enumerate().take(hop + 1).rev() {
            let t = seal(&mut layer.forward, covered(position(h)), body);
            if h == hop {
                tag = t;
            }
        }
        tag
    }

    /// Opens a cell from the circuit: which hop sealed it, and that hop's tag. The text is left in the body.
    pub fn open(&mut self, body: &mut Body) -> Result<(usize, Tag), OnionError> {
        for (h, layer) in self.hops.iter_mut().enumerate() {
            let tag = open(&mut layer.backward, covered((h + 1) as u8), body)?;
            if is_marked(body) {
                return Ok((h, tag));
            }
        }
        // spec: ONION-8
        Err(OnionError::FromNobody)
    }
}

#[cfg(test)]
mod tests;
