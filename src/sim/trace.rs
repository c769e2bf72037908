//! The sequence of events: as a running hash always, as text on request.

use crate::base::time::Instant;
use crate::crypto::hash::{context, derive};
use core::fmt::Write as _;

/// Lines of text kept at most; the hash goes on.
pub const TEXT_LINES_MAX: usize = 2_000_000;

/// The record of a run. Equal hashes mean equal runs.
#[derive(Default)]
pub struct Trace {
    hash: [u8; 32],
    events: u64,
    text: Option<Vec<String>>,
    line: String,
}

impl Trace {
    /// From now on lines are kept as text as well.
    pub fn keep_text(&mut self) {
        self.text.get_or_insert_default();
    }

    /// Takes in one event, with the bytes that were delivered.
    pub fn push(&mut self, at: Instant, bytes: &[u8], what: core::fmt::Arguments<'_>) {
        self.line.clear();
        let micros = at.0;
        // Writing to a String cannot fail.
        let _ = write!(self.line, "{:>6}.{:06} {what}", micros / 1_000_000, micros % 1_000_000);
        self.hash = derive(context::LOCAL, &[&self.hash, self.line.as_bytes(), bytes]);
        self.events += 1;
        if let Some(text) = self.text.as_mut().filter(|t| t.len() < TEXT_LINES_MAX) {
            text.push(self.line.clone());
        }
    }

    /// The hash of all events so far.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The lines, when they were kept.
    pub fn text(&self) -> &[String] {
        self.text.as_deref().unwrap_or_default()
    }
}
