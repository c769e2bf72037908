//! Layer 0: what every other layer may use and what knows nothing of the protocol.

pub mod addr;
pub mod bytes;
pub mod error;
pub mod histogram;
pub mod host;
pub mod numbered;
pub mod redact;
pub mod rng;
pub mod secret;
pub mod time;
