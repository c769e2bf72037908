//! A node's links: accepted and dialled, found by the relay they lead to, kept alive and closed by their timers.
//!
//! [`Links`] is the table that both roles own, [`LinkHandler`] what they do with it.

mod admission;
mod handler;
mod queue;
mod slot;
mod table;

pub use handler::LinkHandler;
pub use queue::Turn;
pub use table::{ClosedLink, Credentials, LinkViolation, Links};
