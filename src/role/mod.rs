//! Layer 4: what a node is. Roles compose machines; they still do no I/O and own no clock.
//!
//! A driver (tokio or the simulator) feeds one [`Input`], then drains [`Role::poll`] until it says `None`, writes what
//! [`Role::transmit`] gives for connections it was woken for, and comes back at [`Role::deadline`].
//!
//! # Drive after every touch
//!
//! A change to one part of a role lets others go on: a cell opens a circuit for which a stream waits, a write makes room
//! for a reader, a circuit that has something to send must be put into its link's queue and the driver be woken for it.
//! Two rules keep that from being forgotten, and both are types:
//!
//! - A role keeps its state in a [`Driven`](driven::Driven). There is no way to it but `act`, which drives after the
//!   change.
//! - Below that, each kind of thing has one owner with private fields: [`Links`](links::Links), a shard's circuits, exits
//!   and services, a client's circuits, streams and calls. Whoever wants to change one circuit says
//!   `circuits.act(key, links, |circuit| ..)`, which puts the circuit into its link's queue afterwards; whatever is queued
//!   on a link wakes it.
//!
//! Owners know only owners before them in the list; what concerns one after them they return, and the role passes it on.

pub mod agent;
pub mod client;
pub mod contact;
pub mod driven;
pub mod endpoint;
pub mod limits;
pub mod links;
pub mod queues;
pub mod shard;
pub mod shares;
pub mod slab;
pub mod timers;

use crate::base::time::{Instant, Now};
use crate::proto::content::call::{StoreCall, StoreCallId, StoreReply};
use crate::proto::rpc::Service;
use crate::role::endpoint::Endpoint;
use crate::role::slab::Key;
use core::net::IpAddr;

/// Names a link of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkKey(pub Key);

/// Names a connection of a role that is no link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExitKey(pub Key);

/// A connection, as the role names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConnId {
    /// A link to another node, whose circuits see to its queues themselves.
    Link(LinkKey),
    /// A connection between an exit and a destination.
    Exit(ExitKey),
}

/// A question a role asks of something outside itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AskId(pub u64);

/// Why a connection could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialError {
    /// The destination refused.
    Refused,
    /// No way there.
    Unreachable,
    /// No answer in time.
    TimedOut,
    /// This node has no socket left.
    Resource,
}

/// One thing that happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// A connection that was dialled is there.
    Connected(ConnId),
    /// It could not be made.
    Failed(ConnId, DialError),
    /// Bytes arrived; the role may use them as it likes.
    Received(ConnId, &'a mut [u8]),
    /// The peer sends no more.
    Finished(ConnId),
    /// The connection is gone.
    Closed(ConnId),
    /// The answer to [`Output::Ask`].
    Answer(AskId, Vec<u8>),
    /// The answer to [`Output::Resolve`]; empty when nothing was found.
    Resolved(AskId, Vec<IpAddr>),
    /// The answer to [`Output::Store`].
    Stored(StoreCallId, StoreReply),
    /// The time of [`Role::deadline`] has come.
    Timer,
}

/// One effect to carry out.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Connect there.
    Dial(ConnId, Endpoint),
    /// There is something to write, or reading may go on.
    Wake(ConnId),
    /// Write what is still to be written, then close the writing side.
    Finish(ConnId),
    /// Write what is still to be written, then close.
    Close(ConnId),
    /// Close at once.
    Abort(ConnId),
    /// Ask one of the node's own services; with the address that the link comes from which the request came over.
    Ask(AskId, Service, Vec<u8>, Option<IpAddr>),
    /// Look a name up (at an exit only).
    Resolve(AskId, String),
    /// Nobody waits for that answer any more: end the look-up, and give no [`Input::Resolved`].
    GiveUpResolve(AskId),
    /// Ask the store on the node's disk (of a node's service core only).
    Store(StoreCallId, StoreCall),
}

/// What every driver drives.
pub trait Role {
    /// A peer connected to the listener from this address: its number, or `None` to turn it away.
    fn accept(&mut self, now: Now, from: IpAddr) -> Option<ConnId>;
    /// Takes one thing that happened.
    fn handle(&mut self, now: Now, input: Input<'_>);
    /// The next effect.
    fn poll(&mut self) -> Option<Output>;
    /// How many bytes may be read from the connection now; 0 means wait for [`Output::Wake`].
    fn read_budget(&mut self, conn: ConnId) -> usize;
    /// Appends bytes to be written to the connection, a record more than [`TRANSMIT_TARGET`] at most; false when there is
    /// nothing, and then nothing else happened either: no output follows.
    fn transmit(&mut self, now: Now, conn: ConnId, out: &mut Vec<u8>) -> bool;
    /// When [`Input::Timer`] is due.
    fn deadline(&self) -> Option<Instant>;
}

/// Bytes that [`Role::transmit`] gathers for one write, and then no more: two records. Less makes more calls into the
/// system; more waits longer in a socket, where a quiet circuit cannot pass it, and falls out of the cache.
pub const TRANSMIT_TARGET: usize = 32 * 1024;
/// Bytes that a driver reads from a link at once, at most.
pub const READ_TARGET: usize = 256 * 1024;
