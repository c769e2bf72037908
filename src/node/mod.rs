//! Layer 8: the program on top of the library: daemons, the local proxy, the control socket, the command line.

pub(crate) mod browse;
pub mod cli;
pub mod config;
pub mod control;
pub(crate) mod daemon;
pub(crate) mod door;
pub mod get;
pub mod log;
pub(crate) mod network;
pub mod output;
pub mod process;
pub mod proxy;
pub mod put;
pub mod ready;
pub mod relays;
pub mod run;
pub mod setting;
pub mod signal;
pub mod sim;
