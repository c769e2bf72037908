//! The node as a process: real sockets, real programs.
#![cfg(feature = "node")]
#![allow(clippy::unwrap_used, reason = "a helper's panic is its test's failure")]

mod cli;
mod control;
mod proxy;
