//! What keeps a node from its work, as it is told.

use crate::base::time::Instant;
use serde::{Deserialize, Serialize};

/// What keeps a node from its work, or a part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Problem {
    /// A word for programs: `offline`, `clock`, `unreachable`, `directory-old`, `store-full`, `disk-full`, `store-failed` or
    /// `state-not-kept`. Names never change.
    pub code: String,
    /// What it is, for people, and what to do about it: a sentence without a full stop.
    pub message: String,
    /// Since when, in seconds since 1970.
    pub since_unix: u64,
}

impl Problem {
    /// Whether the node cannot do its work while there is this problem.
    pub(super) fn stops_work(&self) -> bool {
        matches!(self.code.as_str(), "offline" | "clock" | "unreachable" | "directory-old")
    }
}

/// What a node saw of itself.
#[derive(Default)]
pub(super) struct Health {
    pub(super) problems: Vec<Problem>,
    /// When the network was last heard.
    pub(super) contact: Instant,
    /// Links from outside since the start, and when the last one was there.
    pub(super) accepted: (u64, Instant),
    /// The machine's time since its start, less ours.
    pub(super) asleep_ms: Option<u64>,
}
