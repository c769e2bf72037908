//! Layer 6: the roles on a machine. Sockets, threads, files, the clock and the system's randomness are used here and in no
//! layer below.

pub mod belongs;
pub mod buffers;
pub mod descriptors;
pub mod dir;
pub mod driver;
pub mod error;
pub mod founder;
pub mod guards;
pub mod keepalive;
pub mod keys;
mod lines;
pub mod owner;
pub mod resolver;
pub mod service;
pub mod shard;
pub mod store;
pub mod system;
pub mod work;
