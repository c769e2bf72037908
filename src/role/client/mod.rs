//! A node's own use of the network: circuits it builds, streams on them, and calls to relays' services.
//!
//! Who opens a stream says what it wants of a circuit ([`CircuitPurpose`]); the role finds or builds one. Streams wait for their
//! circuits with what was written to them, and fail with a reason when no circuit can be had.
//!
//! Links, `circuits`, `streams` and `calls` own what they are named after; `state` passes on to one owner what follows from
//! another.

mod calls;
mod circuit;
mod circuits;
mod clocks;
mod config;
pub(crate) mod draws;
mod event;
mod exits;
mod pace;
mod pulse;
mod purpose;
mod state;
mod streams;

use crate::base::rng::Rng;
use crate::base::time::{Instant, Now};
use crate::proto::rpc::Call;
use crate::role::contact::Contact;
use crate::role::driven::{Driven, driven_role};
use crate::role::queues::Queues;
use crate::wire::ids::RelayId;
use crate::wire::message::Target;
use circuit::Opening;
pub use config::ClientConfig;
pub use event::{CircuitInfo, CircuitState, Event, ReadState, StreamFailure, StreamInfo, StreamKey};
pub use purpose::{CircuitPurpose, Isolation, Part, PathEnd, PathSource, SITE_ROUTE};
use state::ClientState;

/// The client role: takes what a driver reads and what its owner asks, gives events and what the driver shall do. It reads
/// no clock and no socket.
pub struct Client {
    state: Driven<ClientState>,
}

impl Client {
    /// A node with no circuits.
    pub fn new(cfg: ClientConfig, paths: Box<dyn PathSource>, rng: Rng) -> Self {
        Self { state: Driven::new(ClientState::new(cfg, paths, rng)) }
    }

    /// The next thing that happened to a stream or call.
    pub fn event(&mut self) -> Option<Event> {
        self.state.event()
    }

    /// Links, open or opening.
    pub fn links(&self) -> usize {
        self.state.look().links()
    }

    /// Records and cells written to links.
    pub fn written(&self) -> (u64, u64) {
        self.state.look().written()
    }

    /// What its ends of streams have to send.
    pub fn queues(&self) -> Queues {
        self.state.look().queues()
    }

    /// Circuits built so far, and builds that failed.
    pub fn builds(&self) -> (u64, u64) {
        self.state.look().builds()
    }

    /// Every circuit, for the node's owner.
    pub fn circuits(&self) -> Vec<CircuitInfo> {
        self.state.look().circuits()
    }

    /// Every stream, for the node's owner. Where they lead is not told.
    pub fn streams(&self) -> Vec<StreamInfo> {
        self.state.look().streams()
    }

    /// The relays between here and the stream's end.
    pub fn hops_of(&self, stream: StreamKey) -> Vec<RelayId> {
        self.state.look().hops_of(stream.0)
    }

    /// How far our clock is ahead of the relays' we opened links to: the median in milliseconds, of `min` relays or more.
    /// Of the two in the middle of an even number the smaller counts, so that one relay of two convinces nobody.
    pub fn clock_skew(&self, now: Now, min: usize) -> Option<i64> {
        self.state.look().clock_skew(now, min)
    }

    /// The machine slept, so what was known about clocks is out of date.
    pub fn forget_clocks(&mut self, now: Now) {
        self.state.act(now, ClientState::forget_clocks);
    }

    /// When something was last heard on a link that is open; `None` while none is.
    pub fn last_heard(&self) -> Option<Instant> {
        self.state.look().last_heard()
    }

    /// Whether this node seems to be offline: it wanted answers, and no relay said anything. Asked when something failed.
    pub fn is_cut_off(&self, now: Now) -> bool {
        self.state.look().is_cut_off(now)
    }

    /// From now on this many circuits are kept ready.
    #[cfg(feature = "unstable")]
    pub fn set_spare_circuits(&mut self, now: Now, spare: usize) {
        self.state.act(now, |state| state.set_spare_circuits(now, spare));
    }

    /// The paths can be drawn otherwise than before (a new snapshot): what waits is tried again.
    pub fn paths_changed(&mut self, now: Now) {
        self.state.act(now, |state| state.paths_changed(now));
    }

    /// These relays are called all the time: links to them stay while they are idle. Those named before are not, unless they are
    /// named again.
    pub fn keep_links(&mut self, now: Now, relays: std::collections::BTreeSet<RelayId>) {
        self.state.act(now, |state| state.keep(relays));
    }

    /// The directory is too old: circuits made from it take nothing new, and those that carry nothing are closed.
    pub fn paths_expired(&mut self, now: Now) {
        self.state.act(now, |state| state.paths_expired(now));
    }

    /// Opens a stream. It is there at once for writing; what is written travels with the request.
    pub fn open(&mut self, now: Now, purpose: CircuitPurpose, target: Target) -> Option<StreamKey> {
        self.state.act(now, |state| state.open(now, purpose, Opening::Open(target))).map(StreamKey)
    }

    /// Asks an exit for a name's addresses; the answer is [`Event::Resolved`].
    pub fn resolve(&mut self, now: Now, purpose: CircuitPurpose, name: &str) -> Option<StreamKey> {
        self.state.act(now, |state| state.open(now, purpose, Opening::Resolve(name.to_owned()))).map(StreamKey)
    }

    /// Writes bytes; returns how many were taken. Fewer than given: wait for [`Event::Writable`].
    pub fn write(&mut self, now: Now, stream: StreamKey, bytes: &[u8]) -> usize {
        self.state.act(now, |state| state.write(stream.0, bytes))
    }

    /// Reads what arrived.
    pub fn read(&mut self, now: Now, stream: StreamKey, out: &mut [u8]) -> ReadState {
        self.state.act(now, |state| state.read(stream.0, out))
    }

    /// Nothing more will be written. Reading goes on.
    pub fn finish(&mut self, now: Now, stream: StreamKey) {
        self.state.act(now, |state| state.finish(stream.0));
    }

    /// Forgets a stream. A direction that has not ended is reset.
    pub fn drop_stream(&mut self, now: Now, stream: StreamKey) {
        self.state.act(now, |state| state.drop_stream(now, stream.0));
    }

    /// Opens a link to a relay, at this contact's addresses, to see whether it answers; [`Event::Probed`] says so.
    pub fn probe(&mut self, now: Now, number: u64, relay: &Contact) {
        self.state.act(now, |state| state.probe(now, number, relay));
    }

    /// When something was last heard from a relay on a link that this node opened; `None` while there is none.
    pub fn last_heard_from(&self, relay: &RelayId) -> Option<Instant> {
        self.state.look().last_heard_from(relay)
    }

    /// Makes a call. The answer is an [`Event::Answer`] with this tag.
    pub fn call(&mut self, now: Now, tag: u64, call: Call) {
        self.state.act(now, |state| state.call(now, tag, call));
    }
}

driven_role!(Client);

#[cfg(test)]
mod tests;
