//! Layer 6: the node as a process. Sockets, files, the clock and the command line stand here and nowhere below.

pub mod cli;
pub mod config;
pub mod control;
pub(crate) mod daemon;
pub mod dir;
pub mod driver;
pub mod error;
pub mod get;
pub mod guards;
pub mod keys;
pub mod log;
pub mod output;
pub mod proxy;
pub mod ready;
pub mod run;
pub mod service;
pub mod setting;
pub mod shard;
pub mod signal;
pub mod store;
pub mod system;
