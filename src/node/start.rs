//! Starts of the three kinds of node.

use crate::node::config::{ClientConfig, RelayConfig, TestnetConfig};
use crate::node::dir::NodeDir;
use crate::node::error::{Code, Failure};

/// Runs a testnet until it is told to stop.
pub fn testnet(config: TestnetConfig) -> Result<(), Failure> {
    let _dir = NodeDir::open(&config.common.dir)?;
    Err(not_wired())
}

/// Runs a relay until it is told to stop.
pub fn relay(config: RelayConfig) -> Result<(), Failure> {
    let _dir = NodeDir::open(&config.common.dir)?;
    Err(not_wired())
}

/// Runs a client until it is told to stop.
pub fn client(config: ClientConfig) -> Result<(), Failure> {
    let _dir = NodeDir::open(&config.common.dir)?;
    Err(not_wired())
}

fn not_wired() -> Failure {
    Failure::new(Code::Io, "this build does not run nodes yet")
}
