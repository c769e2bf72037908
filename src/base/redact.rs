//! Redaction by type: what could identify a person prints as a placeholder.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

static SHOW: AtomicBool = AtomicBool::new(false);

/// Lets [`Sensitive`] values print. For a developer on a test network, never the default.
pub fn show_sensitive(on: bool) {
    SHOW.store(on, Ordering::Relaxed);
}

/// An address, destination, link or path: prints as `[redacted]` unless [`show_sensitive`] was called.
// spec: NODE-2
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sensitive<T>(pub T);

impl<T: fmt::Display> fmt::Display for Sensitive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if SHOW.load(Ordering::Relaxed) { self.0.fmt(f) } else { f.write_str("[redacted]") }
    }
}

impl<T: fmt::Debug> fmt::Debug for Sensitive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if SHOW.load(Ordering::Relaxed) { self.0.fmt(f) } else { f.write_str("[redacted]") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: NODE-2
    #[test]
    fn a_sensitive_value_does_not_print() {
        let s = Sensitive("alice.example");
        assert_eq!(format!("{s} {s:?}"), "[redacted] [redacted]");
        // One test, because the switch is the process's own.
        show_sensitive(true);
        assert_eq!(format!("{s} {s:?}"), "alice.example \"alice.example\"");
        show_sensitive(false);
        assert_eq!(format!("{s} {s:?}"), "[redacted] [redacted]");
    }
}
