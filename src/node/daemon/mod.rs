//! Starts of the three kinds of node: what a process does from its settings to its end.

mod client;
mod control;
mod get;
mod lookup;
mod network;
mod put;
mod ready;
mod relay;
mod sample;
mod testnet;

use crate::node::config::{ClientConfig, RelayConfig, TestnetConfig};
use crate::node::driver::Clock;
use crate::node::error::{Error, ErrorKind};
use crate::node::signal::Signals;
use std::future::Future;

/// Runs a testnet until it is told to stop.
pub fn testnet(config: TestnetConfig) -> Result<(), Error> {
    block_on(testnet::run(config, Clock::start()))
}

/// Runs a relay until it is told to stop.
pub fn relay(config: RelayConfig) -> Result<(), Error> {
    block_on(relay::run(config, Clock::start()))
}

/// Runs a client until it is told to stop.
pub fn client(config: ClientConfig) -> Result<(), Error> {
    block_on(client::run(config, Clock::start()))
}

/// Runs a node's service thread: the thread that calls.
fn block_on<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(BLOCKING_MAX).build();
    let runtime = runtime.map_err(|e| Error::new(ErrorKind::Io, format!("the node cannot start: {e}")))?;
    let done = tokio::task::LocalSet::new().block_on(&runtime, work);
    // A name that is still being looked up must not hold the end back.
    runtime.shutdown_background();
    done
}

/// Threads that look names up at an exit or read files to be published.
const BLOCKING_MAX: usize = 8;

/// Runs until a signal, then lets `drain` finish for as long as [`Signals::drain`] allows.
async fn until_signal(mut signals: Signals, drain: impl Future<Output = ()>) {
    signals.next().await;
    tracing::info!("draining; a second signal ends at once");
    let how = signals.drain(drain).await;
    tracing::info!(?how, "ended");
}
