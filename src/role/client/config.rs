//! What a client is told at its start.

use crate::proto::profile::Profile;
use crate::wire::ids::NetworkId;

/// A node's numbers for its own circuits.
#[derive(Clone, Copy, Debug)]
pub struct ClientConfig {
    /// The network.
    pub network: NetworkId,
    /// Its numbers.
    pub profile: &'static Profile,
    /// Circuits kept ready for the next stream.
    pub spare_circuits: usize,
    /// Whether spare circuits should end in an exit.
    pub wants_exits: bool,
    /// Circuits it has at once, of all kinds.
    pub circuits_max: usize,
    /// Whether it is a relay's: links that carry nothing but its calls to other relays hide nobody, and are not padded.
    pub is_relay: bool,
}
