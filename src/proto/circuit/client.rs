//! A circuit, at the client: telescopes through its path, then carries streams to any of its hops.

use super::ends::LazyMux;
use crate::base::rng::Rng;
use crate::base::time::Instant;
use crate::proto::handshake::{ClientHandshake, HandshakeError, HopKey};
use crate::proto::onion::{ClientLayers, text, text_mut};
use crate::proto::profile::Profile;
use crate::proto::stream::mux::{Filled, Mux, Side, StreamEvent};
use crate::proto::violation::Violation;
use crate::wire::cell::Body;
use crate::wire::handshake::{POSITION_MAX, REPLY_SIZE, REQUEST_SIZE};
use crate::wire::ids::NetworkId;
use crate::wire::message::{ExtendFailure, Message, Messages, StreamId};
use std::collections::VecDeque;

/// What arrived on a circuit.
#[derive(Debug, PartialEq, Eq)]
pub enum ClientEvent<'a> {
    /// The path is built to its end.
    Built,
    /// The hop with this index (from 0) could not be added; the circuit still works as it is.
    ExtendFailed(usize, ExtendFailure),
    /// A hop is about to end: what the circuit carries goes on, and it should carry nothing new.
    Leaving,
    /// Something about a stream at the hop with this index.
    Stream(usize, StreamId, StreamEvent<'a>),
}

/// Why a circuit must close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CircuitError {
    /// A hop, or somebody on the way, did what no honest relay does.
    #[error("a relay broke the protocol: {0}")]
    Violation(#[from] Violation),
    /// A relay did not prove who it is.
    #[error("hop {0} failed its handshake: {1}")]
    Handshake(usize, HandshakeError),
}

/// One circuit of a client: its layers, and one [`Mux`] for each hop that is built.
///
/// [`Self::start`] gives the request for CREATE; [`Self::created`] and [`Self::receive`] take what comes back, and
/// [`Self::fill`] writes the next cell. Streams are opened at a hop through [`Self::mux`].
pub struct ClientCircuit {
    network: NetworkId,
    profile: &'static Profile,
    layers: ClientLayers,
    /// One end of streams for each hop that is built.
    muxes: Vec<LazyMux>,
    /// Hops still to be added, nearest first.
    ahead: VecDeque<HopKey>,
    // Boxed: a circuit that is built has none.
    pending: Option<Box<ClientHandshake>>,
    /// Where the search for the next hop with something to send begins, so that hops take turns.
    turn: usize,
    heard: usize,
    /// Of each hop, nearest in bit 0: whether it said that it leaves.
    leaving: u8,
}

impl ClientCircuit {
    /// Starts along `path` (1 to [`POSITION_MAX`] hops); the request goes into CREATE to the first.
    pub fn start(
        network: NetworkId,
        path: &[HopKey],
        profile: &'static Profile,
        rng: &mut Rng,
    ) -> Option<(Self, [u8; REQUEST_SIZE])> {
        let (first, rest) = path.split_first()?;
        // spec: CIRC-1
        if path.len() > usize::from(POSITION_MAX) {
            return None;
        }
        let pending = ClientHandshake::start(network, *first, 1, rng);
        let request = *pending.request();
        let circuit = Self {
            network,
            profile,
            layers: ClientLayers::default(),
            muxes: Vec::with_capacity(path.len()),
            ahead: rest.iter().copied().collect(),
            pending: Some(Box::new(pending)),
            turn: 0,
            heard: 0,
            leaving: 0,
        };
        Some((circuit, request))
    }

    /// Frees what can be made again, while the circuit is idle.
    pub fn park(&mut self) {
        self.layers.park();
        self.muxes.iter_mut().for_each(LazyMux::park);
        self.ahead.shrink_to_fit();
    }

    /// How many hops are built.
    pub fn hops(&self) -> usize {
        self.muxes.len()
    }

    /// Whether nothing is left to build.
    pub fn is_built(&self) -> bool {
        self.pending.is_none() && self.ahead.is_empty()
    }

    /// The streams at a hop that is built.
    pub fn mux(&mut self, hop: usize) -> Option<&mut Mux> {
        self.muxes.get_mut(hop).map(|mux| mux.get_mut(Side::Client, self.profile))
    }

    /// The ends of streams that have something to tell of.
    pub fn ends(&self) -> impl Iterator<Item = &Mux> {
        self.muxes.iter().filter_map(LazyMux::get)
    }

    /// How many streams there are, at all hops together.
    pub fn streams(&self) -> usize {
        self.ends().map(Mux::streams).sum()
    }

    /// Adds a hop after the last. False while the circuit is being built or when it has [`POSITION_MAX`] hops.
    pub fn extend(&mut self, hop: HopKey, rng: &mut Rng) -> bool {
        if !self.is_built() || self.hops() >= usize::from(POSITION_MAX) {
            return false;
        }
        self.ahead.push_back(hop);
        self.extend_next(rng);
        true
    }

    /// CREATED arrived with this reply.
    pub fn created(
        &mut self,
        reply: &[u8; REPLY_SIZE],
        rng: &mut Rng,
        sink: &mut dyn FnMut(ClientEvent<'_>),
    ) -> Result<(), CircuitError> {
        // spec: CIRC-4
        if !self.muxes.is_empty() {
            return Err(Violation::UnaskedExtension.into());
        }
        self.add_hop(reply, rng, sink)
    }

    fn add_hop(
        &mut self,
        reply: &[u8; REPLY_SIZE],
        rng: &mut Rng,
        sink: &mut dyn FnMut(ClientEvent<'_>),
    ) -> Result<(), CircuitError> {
        let pending = self.pending.take().ok_or(Violation::UnaskedExtension)?;
        let keys = pending.finish(reply).map_err(|e| CircuitError::Handshake(self.hops(), e))?;
        self.layers.push(&keys);
        self.muxes.push(LazyMux::default());
        self.extend_next(rng);
        if self.is_built() {
            sink(ClientEvent::Built);
        }
        Ok(())
    }

    // spec: CIRC-2
    fn extend_next(&mut self, rng: &mut Rng) {
        let Some(hop) = self.ahead.pop_front() else { return };
        let (network, built) = (self.network, self.hops());
        let Some(last) = built.checked_sub(1).and_then(|last| self.mux(last)) else { return };
        let handshake = ClientHandshake::start(network, hop, (built + 1) as u8, rng);
        last.extend(hop.relay, handshake.request());
        self.pending = Some(Box::new(handshake));
    }

    /// Takes a RELAY cell.
    pub fn receive(
        &mut self,
        now: Instant,
        body: &mut Body,
        rng: &mut Rng,
        sink: &mut dyn FnMut(ClientEvent<'_>),
    ) -> Result<(), CircuitError> {
        let (hop, tag) = self.layers.open(body).map_err(Violation::from)?;
        self.heard = hop;
        let mut walk = Messages::new(text(body, (hop + 1) as u8));
        let mut counted = false;
        while let Some((stream, message)) = walk.next().map_err(Violation::from)? {
            counted |= message.is_counted();
            match message {
                Message::Extended(reply) => {
                    self.expect_extension(hop)?;
                    self.add_hop(reply, rng, sink)?;
                }
                Message::ExtendFailed(reason) => {
                    self.expect_extension(hop)?;
                    // spec: CIRC-7
                    self.pending = None;
                    self.ahead.clear();
                    sink(ClientEvent::ExtendFailed(hop + 1, reason));
                }
                Message::Leaving => {
                    // spec: CIRC-20
                    if self.leaving & 1 << hop != 0 {
                        return Err(Violation::LeavingTwice.into());
                    }
                    self.leaving |= 1 << hop;
                    sink(ClientEvent::Leaving);
                }
                other => {
                    let mux = self.mux(hop).ok_or(Violation::UnknownStream)?;
                    mux.message(now, stream, other, &mut |s, e| sink(ClientEvent::Stream(hop, s, e)))?;
                }
            }
        }
        let mux = self.mux(hop).ok_or(Violation::UnknownStream)?;
        mux.cell_received(counted, tag);
        // spec: STREAM-12
        if mux.is_overfull() { Err(Violation::TooMuch.into()) } else { Ok(()) }
    }

    /// Only the last hop may answer an extension, and only one that was asked for.
    // spec: CIRC-6
    fn expect_extension(&self, hop: usize) -> Result<(), Violation> {
        if self.pending.is_some() && hop + 1 == self.hops() { Ok(()) } else { Err(Violation::UnaskedExtension) }
    }

    /// The hop from which the last cell came.
    pub fn heard(&self) -> usize {
        self.heard
    }

    /// Until when no counted cell may leave for one of the hops; call [`ClientCircuit::woken`] then.
    pub fn rests_until(&self) -> Option<Instant> {
        self.ends().filter_map(Mux::rests_until).min()
    }

    /// The time of [`ClientCircuit::rests_until`] has come.
    pub fn woken(&mut self, now: Instant) {
        for mux in self.muxes.iter_mut().filter_map(LazyMux::made) {
            mux.woken(now);
        }
    }

    /// Whether [`ClientCircuit::fill`] would write something.
    pub fn wants_to_send(&self) -> bool {
        self.ends().any(Mux::wants_to_send)
    }

    /// Writes and seals the next cell; false when there is none.
    pub fn fill(&mut self, now: Instant, body: &mut Body) -> bool {
        let hops = self.muxes.len();
        for step in 0..hops {
            let hop = (self.turn + step) % hops;
            let mux = self.muxes.get_mut(hop).and_then(LazyMux::made).filter(|m| m.wants_to_send());
            let Some(mux) = mux else { continue };
            let filled = mux.fill(text_mut(body, (hop + 1) as u8));
            if filled == Filled::Nothing {
                continue;
            }
            let tag = self.layers.seal_for(hop, body);
            if filled == Filled::Counted {
                mux.sent(now, tag);
            }
            self.turn = hop + 1;
            return true;
        }
        false
    }
}
