//! Umbel: an anonymous overlay network, as a library.
//!
//! Peers relay onion-encrypted cells for each other, find each other without a directory authority, and store and fetch
//! content by hash. A program that embeds this crate is a client, a relay, or both:
//!
//! ```no_run
//! # #[cfg(feature = "node")]
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!     let client = umbel::Client::builder("state").invite(umbel::Invite::read("net.invite")?).start().await?;
//!     let mut stream = client.connect(("example.com", 80)).await?;
//!     stream.write_all(b"GET / HTTP/1.0\r\nHost: example.com\r\n\r\n").await?;
//!     let (mut page, mut note) = (String::new(), String::new());
//!     stream.read_to_string(&mut page).await?;
//!     client.open(&"umbel:<root>/<key>".parse()?).await?.read_to_string(&mut note).await?;
//!     Ok(println!("{page}\n{note}"))
//! }
//! # #[cfg(not(feature = "node"))]
//! # fn main() {}
//! ```
//!
//! | to | use |
//! |---|---|
//! | connect through an exit, resolve names | [`Client::connect`], [`Client::resolve`] |
//! | keep users apart | [`Client::isolated`], [`Client::isolated_by`], [`Client::isolated_by_destination`] |
//! | publish and read content | [`Client::put`], [`Client::open`] |
//! | see what happens | [`Client::status`], [`Client::events`] |
//! | run a relay | [`Relay::builder`] |
//! | test without the world | [`Testnet::start`] |
//!
//! Every node runs on threads of its own, so nothing here blocks a runtime or needs one of a certain kind. All errors are
//! [`Error`]: a kind, whose fault it is, the specification's rule, and what to do. Nodes catch no signals, start no log (they
//! speak through `tracing`) and never end the process; several may run in one. Only `command_line`, the whole program, does
//! otherwise.
//!
//! | feature | what it adds |
//! |---|---|
//! | `node` | all of the above; a program that embeds Umbel takes `default-features = false` and this one |
//! | `aws-lc` | AWS-LC seals and agrees on keys, in C and assembly; without it this is done in Rust, slower |
//! | `pure` | no C compiler is looked for: BLAKE3 in Rust alone |
//! | `serde` | [`Status`], [`Error`] and what else is reported are serde types |
//! | `cli` | the `umbel` program as `command_line`, with its proxy and control socket; by default, as is `aws-lc` |
//!
//! **Status: young.** The protocol may change with any version and nobody has audited it. The feature `unstable` shows the
//! modules below for this project's own tests and benchmarks; what it shows may change with any version.
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
//! | `sim` | the roles in virtual time, under a seed, among hostile nodes |
//! | `host` | the roles on a machine: sockets, threads, files |
//! | `api` | what this page shows: nodes on threads of their own, for programs |
//! | `node` | the program, on top of `api`: the proxy, the control socket, daemons, the command line |
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
//! 6. The next relay's driver reads it; [`proto::link::Link::next_cell`] opens it where it lies and lends each cell to
//!    [`role::shard::Shard`], which finds the circuit by link and number.
//! 7. [`proto::circuit::relay::RelayCircuit::take_from_client`] takes this hop's layer off. No mark in front: the cell goes on to the
//!    next link, where steps 5 to 7 happen again.
//! 8. A mark in front: the messages are read one by one ([`wire::message::Messages`]), each must be legal here and now
//!    (the tables of `spec/07-circuits.md`), and the stream's bytes go to the exit's socket or to a service of the relay.
//! 9. Every sixteenth cell is acknowledged with its tag ([`proto::stream::flow`]), and bytes that went on are granted again.
//! 10. The answer is sealed by its hop ([`proto::onion::RelayLayer::originate`]), by each relay on the way
//!     ([`proto::onion::RelayLayer::wrap`]), and opened by the client layer by layer ([`proto::onion::ClientLayers::open`]).
//!
//! Whatever does not hold on this way closes the circuit or the link: [`proto::violation::Violation`] is the list of what
//! attackers try. The protocol itself is in `spec/`, and every `// spec: ID` in this code cites it.

// Within the crate every module is `pub`: the feature `unstable` decides what is seen from outside.
#![cfg_attr(not(feature = "unstable"), allow(rustdoc::private_intra_doc_links, unreachable_pub))]
// Of the library alone, what only the program uses is not reached, and of the core alone nothing is.
#![cfg_attr(not(any(feature = "cli", feature = "unstable")), allow(dead_code, unused_imports))]

#[cfg(feature = "node")]
mod api;
#[cfg(not(feature = "unstable"))]
mod base;
#[cfg(feature = "unstable")]
pub mod base;
#[cfg(not(feature = "unstable"))]
mod crypto;
#[cfg(feature = "unstable")]
pub mod crypto;
#[cfg(feature = "unstable")]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(all(feature = "node", not(feature = "unstable")))]
mod host;
#[cfg(all(feature = "node", feature = "unstable"))]
pub mod host;
#[cfg(all(feature = "cli", not(feature = "unstable")))]
mod node;
#[cfg(all(feature = "cli", feature = "unstable"))]
pub mod node;
#[cfg(not(feature = "unstable"))]
mod proto;
#[cfg(feature = "unstable")]
pub mod proto;
#[cfg(not(feature = "unstable"))]
mod role;
#[cfg(feature = "unstable")]
pub mod role;
#[cfg(all(feature = "cli", not(feature = "unstable")))]
mod sim;
#[cfg(feature = "unstable")]
pub mod sim;
#[cfg(not(feature = "unstable"))]
mod wire;
#[cfg(feature = "unstable")]
pub mod wire;

#[cfg(feature = "node")]
pub use api::{
    Bootstrap, BytesStatus, CircuitStatus, Client, ClientBuilder, Content, Custodian, Destination, DirectoryStatus,
    Entry, Event, Events, ExitPolicy, Invite, LeftOut, Link, Listed, Listing, Lookup, Object, ObjectReader, Problem,
    Progress, Published, Put, QueueStatus, Receipt, Relay, RelayBuilder, Spread, Status, StoreStatus, Stream,
    StreamStatus, Testnet, TestnetBuilder, Unit,
};
#[cfg(feature = "node")]
pub use host::error::{Error, ErrorKind, Fault};
#[cfg(feature = "cli")]
pub use node::run::main as command_line;
#[cfg(feature = "node")]
pub use wire::ids::RelayId;
