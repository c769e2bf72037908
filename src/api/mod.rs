//! Layer 7: Umbel for programs. Everything that a program may name is re-exported at the crate's root.
//!
//! A node runs on a thread of its own ([`thread`]), where [`local::Local`] is its handle. What is public here only carries
//! requests to that thread and answers back, and is `Send`. The local proxy runs on the node's thread and uses `Local`
//! itself: there its streams cost no copy and no wake-up more. A public [`Stream`] is the same stream with a bounded pipe
//! between the threads ([`pipe`]).

mod client;
mod content;
mod destination;
mod directory;
mod error;
mod event;
mod gather;
mod health;
mod invite;
mod keep;
mod link;
pub(crate) mod local;
mod lookup;
mod network;
mod object;
mod paths;
mod pipe;
mod place;
mod problem;
mod put;
mod ready;
mod relay;
mod sets;
pub(crate) mod site;
mod status;
mod stream;
mod testnet;
mod thread;

pub use client::{Client, ClientBuilder};
pub use content::Content;
pub use destination::Destination;
pub(crate) use destination::public_answers;
pub use event::{Event, Events};
pub use gather::{LeftOut, Listed, Listing};
pub(crate) use gather::{printable, shown};
pub use invite::Invite;
pub use link::Link;
pub use lookup::{Custodian, Lookup};
pub(crate) use network::{INVITE_FILE, found};
pub use object::{Entry, Object, ObjectReader};
pub use place::NetworkStatus;
pub use problem::Problem;
pub use put::{Progress, Published, Put, Unit};
pub use ready::Bootstrap;
pub use relay::{ExitPolicy, Relay, RelayBuilder};
pub(crate) use relay::{LISTEN_DEFAULT, Obligations, SHARDS_MAX};
pub use status::{BytesStatus, CircuitStatus, DirectoryStatus, QueueStatus, Spread, Status, StoreStatus, StreamStatus};
pub use stream::{Receipt, Stream};
pub use testnet::{Testnet, TestnetBuilder};
