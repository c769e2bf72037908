//! The node as a process: real sockets, real programs.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "a helper's panic is its test's failure")]

mod bad_input;
mod browse;
mod cli;
mod content;
mod control;
mod figures;
mod harness;
mod invites;
mod names;
mod outages;
mod private;
mod processes;
mod proxy;
mod reference;
mod sharing;
mod sim;
mod testnet;
