//! Layer 6: the node as a process. Sockets, files, the clock and the command line stand here and nowhere below.

pub mod driver;
pub mod proxy;
pub mod shard;
