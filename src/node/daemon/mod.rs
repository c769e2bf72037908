//! The nodes that the command line runs: what their process does around the library, from its settings to its end.

mod client;
mod proxy;
mod relay;
mod sample;
mod testnet;

use crate::api::Invite;
use crate::host::error::{Error, ErrorKind};
use crate::node::config::{ClientConfig, Common, RelayConfig, TestnetConfig};
use crate::node::log;
use crate::node::signal::{Drained, Signals};
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

/// Runs a testnet until it is told to stop.
pub(crate) fn testnet(config: TestnetConfig) -> Result<(), Error> {
    block_on(testnet::run(config))
}

/// Runs a relay until it is told to stop.
pub(crate) fn relay(config: RelayConfig) -> Result<(), Error> {
    block_on(relay::run(config))
}

/// Runs a client until it is told to stop.
pub(crate) fn client(config: ClientConfig) -> Result<(), Error> {
    block_on(client::run(config))
}

/// Runs the process's own work: signals, control sockets, files. The nodes have threads of their own.
fn block_on<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Error::new(ErrorKind::Io, format!("the node cannot start: {e}")))?;
    tokio::task::LocalSet::new().block_on(&runtime, work)
}

/// Reads the invites that were named. Called before signals are caught: an invite may be a pipe into which nobody writes, and
/// until then a signal ends the process, which has begun nothing.
fn read_invites(paths: &[PathBuf]) -> Result<Vec<Invite>, Error> {
    paths.iter().map(Invite::read).collect()
}

/// Waits for a signal, then runs `drain` for at most `most`. At SIGHUP the settings are read again.
async fn until_signal(
    mut signals: Signals,
    common: &Common,
    most: Duration,
    drain: impl Future<Output = ()>,
) -> Drained {
    signals.next_or_hangup(|| reload(common)).await;
    tracing::info!("draining; a second signal ends at once");
    signals.drain(most, drain).await
}

/// Reads the configuration file again, and applies what can change while the node runs.
fn reload(common: &Common) {
    match common.read_log_level().and_then(log::set_level) {
        Ok(level) => {
            tracing::info!(
                ?level,
                "SIGHUP: the configuration was read again; only the log's level changes without a restart"
            );
        }
        Err(why) => tracing::error!(%why, "SIGHUP: the settings stay as they were"),
    }
}
