//! Why bytes are not a message.

pub use crate::base::error::Malformed;
