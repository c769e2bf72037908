//! The node as a process: real sockets, real programs.
#![cfg(feature = "node")]

mod cli;
mod control;
mod proxy;
