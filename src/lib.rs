//! Umbel: an anonymous overlay network.
//!
//! # The map
//!
//! Layers, each using only those before it; `tests/spec/layers.rs` holds them apart.
//!
//! | layer | what it is |
//! |---|---|
//! | [`base`] | bytes, time, randomness, secrets: nothing of the protocol |
//! | [`crypto`] | the only place that names a cryptographic crate |
//! | [`wire`] | bytes to types and back; no state, no time |
//! | [`proto`] | one protocol machine a folder; time and randomness are arguments |
//! | [`role`] | what a node is: relay and client, composed of machines; still no input or output |
//! | [`sim`] | the roles in virtual time, under a seed, among hostile nodes |
//! | `node` | the roles on real sockets; proxy, disk, command line (feature `node`) |
//!
//! # The life of a cell
//!
//! A browser asks the proxy for a page; this is the way of its bytes.
//!
//! 1. The proxy hands them to a stream of the client: [`proto::stream::mux::Mux::write`] takes what the buffer has room for.
//! 2. The client's link has room: [`proto::circuit::client::ClientCircuit::fill`] packs BEGIN, DATA and what else waits into a
//!    text ([`wire::message::TextWriter`]), as far as credit and window go.
//! 3. [`proto::onion::ClientLayers::seal_for`] seals the text for its hop, then for each hop before it.
//! 4. [`wire::cell::encode_header`] puts the circuit's number in front: 1,408 bytes.
//! 5. [`proto::link::Link::transmit`] seals up to 16 cells as a record; the driver writes it to the socket.
//! 6. The next relay's driver reads it; [`proto::link::Link::receive`] opens it where it lies and gives each cell to
//!    [`role::shard::Shard`], which finds the circuit by link and number.
//! 7. [`proto::circuit::relay::RelayCircuit::from_client`] takes this hop's layer off. No mark in front: the cell goes on to the
//!    next link, where steps 5 to 7 happen again.
//! 8. A mark in front: the messages are read one by one ([`wire::message::Messages`]), each must be legal here and now
//!    (the tables of `spec/07-circuits.md`), and the stream's bytes go to the exit's socket or to a service of the relay.
//! 9. Every sixteenth cell is acknowledged with its tag ([`proto::stream::flow`]), and bytes that went on are granted again.
//! 10. The answer is sealed by its hop ([`proto::onion::RelayLayer::originate`]), by each relay on the way
//!     ([`proto::onion::RelayLayer::wrap`]), and opened by the client layer by layer ([`proto::onion::ClientLayers::open`]).
//!
//! Whatever does not hold on this way closes the circuit or the link: [`proto::violation::Violation`] is the list of what
//! attackers try. The protocol itself is in `spec/`, and every `// spec: ID` in this code cites it.

#[cfg(feature = "node")]
mod api;
pub mod base;
pub mod crypto;
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "node")]
pub mod node;
pub mod proto;
pub mod role;
pub mod sim;
pub mod wire;

#[cfg(feature = "node")]
pub use api::{
    BytesStatus, CircuitStatus, Client, ClientBuilder, Content, Custodian, Destination, DirectoryStatus, Entry, Event,
    Events, ExitPolicy, Invite, Link, Lookup, Object, ObjectReader, Progress, Published, Put, Receipt, Relay,
    RelayBuilder, Status, StoreStatus, Stream, StreamStatus, Testnet, TestnetBuilder, Unit,
};
#[cfg(feature = "node")]
pub use node::error::{Error, ErrorKind, Fault};
#[cfg(feature = "node")]
pub use wire::ids::RelayId;
