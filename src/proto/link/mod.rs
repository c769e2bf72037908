//! The link: a Noise handshake between two nodes, then records of cells (spec 03).
//!
//! A [`Link`] owns no socket: received bytes become a [`Feed`], from which [`Link::next_cell`] takes one cell after the
//! other; bytes to send come out at [`Link::transmit`]. The
//! responder proves its link key; the initiator proves nothing here, so a client and a relay that connects look alike.
//! Who owns the link keeps its timers (spec LINK-20 to LINK-22) and judges what its cells say.

mod noise;
mod record;

pub use record::Feed;
#[cfg(feature = "unstable")]
pub use record::RECORDS_PER_KEY;

use crate::base::rng::Rng;
use crate::base::secret::Secret;
use crate::base::time::{Now, UnixMs};
use crate::crypto::aead::Cipher;
use crate::crypto::agree::{AgreeSecret, BadPublicKey, KemSecret};
use crate::wire::cell::CellBuf;
use crate::wire::error::Malformed;
use crate::wire::ids::NetworkId;
use crate::wire::link::{MESSAGE_1_SIZE, MESSAGE_2_SIZE, Payload1, Payload2};
use noise::{Initiator, Responder, Session};
use record::{Opener, Sealer};
use std::sync::Arc;

/// Why a link is closed. The peer is told nothing: the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// A handshake message does not open: another network, another link key, or changed bytes (spec LINK-3).
    #[error("the handshake does not hold")]
    BadHandshake,
    /// A public key that no honest peer sends (spec LINK-4).
    #[error("the peer's public key is not usable")]
    BadPublicKey,
    /// The payload of a handshake message is not one (spec LINK-5).
    #[error("the handshake's payload is malformed: {0}")]
    Malformed(#[from] Malformed),
    /// The responder names another cipher than its descriptor does (spec LINK-6).
    #[error("the responder's cipher is not its descriptor's")]
    WrongCipher,
    /// Message 1 is of another time, or was answered before (spec LINK-31, LINK-32).
    #[error("the handshake is of another time, or was answered before")]
    Untimely,
    /// A record holds no cell, or more than 16 (spec LINK-11).
    #[error("a record with a wrong number of cells")]
    BadCount,
    /// A record does not open: changed, repeated, left out or out of order (spec LINK-13).
    #[error("a record does not open")]
    BadRecord,
    /// The owner refused a cell (spec LINK-15).
    #[cfg(feature = "unstable")]
    #[error("a cell was refused")]
    Stopped,
}

impl From<BadPublicKey> for LinkError {
    fn from(_: BadPublicKey) -> Self {
        // spec: LINK-4
        Self::BadPublicKey
    }
}

/// An open link's two directions.
struct Records {
    sealer: Sealer,
    opener: Opener,
    handshake_hash: [u8; 32],
}

/// What an initiator needs for message 1, which it writes when there is a connection.
struct Call {
    network: NetworkId,
    responder: [u8; 32],
    ephemeral: AgreeSecret,
    kem: KemSecret,
}

enum LinkState {
    New(Box<Call>),
    Calling(Initiator),
    Listening(Responder),
    Open(Records),
    Closed(LinkError),
}

/// One end of a link.
pub struct Link {
    state: LinkState,
    initiator: bool,
    cipher: Cipher,
    /// A handshake message on its way in: never longer than that message.
    inbox: Vec<u8>,
    /// A handshake message on its way out.
    outbox: Vec<u8>,
    peer_time: Option<UnixMs>,
    /// A responder that answers only when it is told to.
    answers_later: bool,
}

impl Link {
    /// The end that connects, to a responder whose link key and cipher its descriptor names. Draws an X25519 secret
    /// (32 bytes) and a KEM key pair (64 bytes) from `rng`.
    pub fn initiator(network: NetworkId, responder_link_key: &[u8; 32], cipher: Cipher, rng: &mut Rng) -> Self {
        let ephemeral = AgreeSecret::from_bytes(rng.bytes());
        Self::initiator_with(network, responder_link_key, cipher, ephemeral, KemSecret::generate(rng.bytes()))
    }

    /// [`Link::initiator`] with the ephemeral keys given: for exact test vectors.
    #[doc(hidden)]
    pub fn initiator_with(
        network: NetworkId,
        responder_link_key: &[u8; 32],
        cipher: Cipher,
        ephemeral: AgreeSecret,
        kem: KemSecret,
    ) -> Self {
        let state = LinkState::New(Box::new(Call { network, responder: *responder_link_key, ephemeral, kem }));
        Self::new(state, true, cipher)
    }

    fn new(state: LinkState, initiator: bool, cipher: Cipher) -> Self {
        let (inbox, outbox) = (Vec::new(), Vec::new());
        Self { state, initiator, cipher, inbox, outbox, peer_time: None, answers_later: false }
    }

    /// The end that was connected to. Draws an X25519 secret (32 bytes) and an encapsulation's randomness (32 bytes)
    /// from `rng`, and computes nothing before a whole message has come.
    pub fn responder(network: NetworkId, link_secret: Arc<AgreeSecret>, cipher: Cipher, rng: &mut Rng) -> Self {
        let ephemeral = AgreeSecret::from_bytes(rng.bytes());
        Self::responder_with(network, link_secret, cipher, ephemeral, Secret::new(rng.bytes()))
    }

    /// [`Link::responder`] with the randomness given: for exact test vectors.
    #[doc(hidden)]
    pub fn responder_with(
        network: NetworkId,
        link_secret: Arc<AgreeSecret>,
        cipher: Cipher,
        ephemeral: AgreeSecret,
        kem_seed: Secret<32>,
    ) -> Self {
        let state = LinkState::Listening(Responder::new(network, link_secret, ephemeral, Some(kem_seed)));
        Self::new(state, false, cipher)
    }

    /// This responder computes nothing before [`Link::answer`] is called.
    pub fn answering_later(mut self) -> Self {
        self.answers_later = true;
        self
    }

    /// The initiator's share, when all of message 1 has come and [`Link::answer`] is to be called.
    pub fn owes_answer(&self) -> Option<[u8; 32]> {
        let whole = matches!(self.state, LinkState::Listening(_)) && self.inbox.len() == MESSAGE_1_SIZE;
        self.inbox.first_chunk().copied().filter(|_| whole)
    }

    /// Answers message 1, if `admits` takes the time that the initiator put there. After an error the link is closed.
    pub fn answer(&mut self, now: Now, admits: &mut dyn FnMut(UnixMs) -> bool) -> Result<(), LinkError> {
        let message = core::mem::take(&mut self.inbox);
        let answered = self.handshake(now, message, admits);
        if let Err(why) = answered {
            self.close(why);
        }
        answered
    }

    /// An open end without a handshake, under the initiator's and the responder's sending keys: for fuzzing records.
    #[cfg(feature = "unstable")]
    pub(crate) fn open_for_fuzzing(initiator: bool, cipher: Cipher, keys: [Secret<32>; 2]) -> Self {
        let [to_responder, to_initiator] = keys;
        let state = LinkState::Closed(LinkError::BadHandshake);
        let mut link = Self::new(state, initiator, cipher);
        link.state = LinkState::Open(link.records(Session { to_responder, to_initiator, hash: [0; 32] }));
        link
    }

    /// The next cell of received bytes, split anywhere; `None` when they are used up. The cell lies in the feed, so the
    /// caller can act on the link while it holds it. After an error the link is closed: nothing it holds may be sent, and
    /// every call gives the same error.
    pub fn next_cell<'f>(&mut self, now: Now, feed: &'f mut Feed<'_>) -> Result<Option<&'f mut CellBuf>, LinkError> {
        while !feed.has_cell() {
            match self.advance(now, feed) {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(why) => {
                    self.close(why);
                    return Err(why);
                }
            }
        }
        Ok(feed.cell())
    }

    /// Takes all cells of received bytes, for a caller that needs nothing of the link meanwhile; `sink` gets each cell in
    /// order and returns false to close the link.
    #[cfg(feature = "unstable")]
    pub fn receive(
        &mut self,
        now: Now,
        bytes: &mut [u8],
        sink: &mut dyn FnMut(&mut CellBuf) -> bool,
    ) -> Result<(), LinkError> {
        let mut feed = Feed::new(bytes);
        while let Some(cell) = self.next_cell(now, &mut feed)? {
            // spec: LINK-15
            if !sink(cell) {
                self.close(LinkError::Stopped);
                return Err(LinkError::Stopped);
            }
        }
        Ok(())
    }

    fn close(&mut self, why: LinkError) {
        self.outbox.clear();
        self.state = LinkState::Closed(why);
    }

    /// Takes the next part of what was received: a handshake message, or a part of a record. False when it is not whole.
    fn advance(&mut self, now: Now, feed: &mut Feed<'_>) -> Result<bool, LinkError> {
        let size = match &mut self.state {
            LinkState::Open(records) => return records.opener.advance(feed),
            LinkState::Closed(e) => return Err(*e),
            // Nothing is answered before it is asked.
            LinkState::New(_) => {
                return if feed.take_rest().is_empty() { Ok(false) } else { Err(LinkError::BadHandshake) };
            }
            LinkState::Calling(_) => MESSAGE_2_SIZE,
            LinkState::Listening(_) => MESSAGE_1_SIZE,
        };
        if self.owes_answer().is_some() {
            // Nothing follows message 1 before message 2 was sent.
            // spec: LINK-8
            return if feed.take_rest().is_empty() { Ok(false) } else { Err(LinkError::BadHandshake) };
        }
        let missing = size.saturating_sub(self.inbox.len());
        let Some(part) = feed.take(missing) else {
            self.inbox.extend_from_slice(feed.take_rest());
            return Ok(false);
        };
        self.inbox.extend_from_slice(part);
        if self.answers_later && self.owes_answer().is_some() {
            return Ok(true);
        }
        let message = core::mem::take(&mut self.inbox);
        self.handshake(now, message, &mut |_| true)?;
        Ok(true)
    }

    /// Takes the one handshake message that this end receives.
    fn handshake(
        &mut self,
        now: Now,
        mut message: Vec<u8>,
        admits: &mut dyn FnMut(UnixMs) -> bool,
    ) -> Result<(), LinkError> {
        // Whatever happens, the half that was waiting is used up; a failure puts its own error in this place.
        let session = match core::mem::replace(&mut self.state, LinkState::Closed(LinkError::BadHandshake)) {
            LinkState::Calling(half) => {
                let (payload, session) = half.finish(&mut message)?;
                let payload = Payload2::decode(payload)?;
                // spec: LINK-6
                if payload.cipher != self.cipher {
                    return Err(LinkError::WrongCipher);
                }
                self.peer_time = Some(payload.time);
                session
            }
            LinkState::Listening(half) => {
                let payload = Payload2 { cipher: self.cipher, time: now.unix }.encode();
                let mut begun = UnixMs::default();
                let check = |p: &[u8]| {
                    begun = UnixMs(u64::from(Payload1::decode(p)?.seconds) * 1000);
                    if admits(begun) { Ok(()) } else { Err(LinkError::Untimely) }
                };
                // spec: LINK-7
                let session = half.finish(&mut message, check, &payload, &mut self.outbox)?;
                self.peer_time = Some(begun);
                session
            }
            other => {
                self.state = other;
                return Ok(());
            }
        };
        self.state = LinkState::Open(self.records(session));
        Ok(())
    }

    fn records(&self, session: Session) -> Records {
        let Session { to_responder, to_initiator, hash } = session;
        let (ours, theirs) = if self.initiator { (to_responder, to_initiator) } else { (to_initiator, to_responder) };
        Records {
            sealer: Sealer::new(self.cipher, ours, hash),
            opener: Opener::new(self.cipher, theirs, hash),
            handshake_hash: hash,
        }
    }

    /// Appends to `out` the handshake message that waits, or else, on an open link, one record of up to 16 cells. `next`
    /// writes the next cell over the buffer (zero before) and returns true, or returns false when there is none; without
    /// a cell nothing is appended.
    pub fn transmit(&mut self, now: Now, out: &mut Vec<u8>, next: &mut dyn FnMut(&mut CellBuf) -> bool) {
        if matches!(self.state, LinkState::New(_)) {
            self.call(now);
        }
        if !self.outbox.is_empty() {
            out.append(&mut core::mem::take(&mut self.outbox));
        } else if let LinkState::Open(records) = &mut self.state {
            // spec: LINK-8
            records.sealer.seal(out, next);
        }
    }

    /// Writes message 1, with the time that it is now.
    fn call(&mut self, now: Now) {
        let calling = LinkState::Closed(LinkError::BadHandshake);
        let LinkState::New(call) = core::mem::replace(&mut self.state, calling) else { return };
        let Call { network, responder, ephemeral, kem } = *call;
        let payload = Payload1 { seconds: u32::try_from(now.unix.secs()).unwrap_or(u32::MAX) }.encode();
        self.outbox.reserve_exact(MESSAGE_1_SIZE);
        self.state = Initiator::start(&network, &responder, ephemeral, Some(kem), &payload, &mut self.outbox)
            .map_or_else(LinkState::Closed, LinkState::Calling);
    }

    /// Whether [`Link::transmit`] has a handshake message to write.
    pub fn wants_handshake_write(&self) -> bool {
        !self.outbox.is_empty() || matches!(self.state, LinkState::New(_))
    }

    /// Whether the handshake is over and cells can go.
    pub fn is_open(&self) -> bool {
        matches!(self.state, LinkState::Open(_))
    }

    /// Whether this end connected. Only it chooses circuit numbers.
    pub fn is_initiator(&self) -> bool {
        self.initiator
    }

    /// The handshake's hash, once open: what an AUTHENTICATE cell signs (spec LINK-23).
    pub fn handshake_hash(&self) -> Option<[u8; 32]> {
        match &self.state {
            LinkState::Open(records) => Some(records.handshake_hash),
            _ => None,
        }
    }

    /// Once open: what the other end's clock said in its message; at the responder in whole seconds.
    pub fn peer_time(&self) -> Option<UnixMs> {
        self.peer_time
    }
}

#[cfg(test)]
mod tests;
