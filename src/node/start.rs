//! Starts of the three kinds of node.

use crate::node::config::{ClientConfig, RelayConfig, TestnetConfig};
use crate::node::dir::NodeDir;
use crate::node::error::{Code, Failure};
use crate::node::keys::RelayKeys;
use crate::node::system;
use crate::proto::profile::Profile;

/// Runs a testnet until it is told to stop.
pub fn testnet(config: TestnetConfig) -> Result<(), Failure> {
    let _dir = NodeDir::open(&config.common.dir)?;
    Err(not_wired())
}

/// Runs a relay until it is told to stop.
pub fn relay(config: RelayConfig) -> Result<(), Failure> {
    let dir = NodeDir::open(&config.common.dir)?;
    let work_bits = config.profile.unwrap_or(&Profile::DEFAULT).work_bits;
    let _keys = RelayKeys::load_or_create(&dir, work_bits, &mut system::rng()?)?;
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
