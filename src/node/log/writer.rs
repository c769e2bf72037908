//! Writes lines to standard error, each with its time and repeated ones folded.

use super::fold::Fold;
use crate::host::system::Timer;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// The log's writer. Clones share it.
#[derive(Clone)]
pub(super) struct Lines(Arc<Shared>);

struct Shared {
    start: Timer,
    state: Mutex<State>,
    /// Notified when a line was repeated.
    changed: Condvar,
    colour: bool,
}

#[derive(Default)]
struct State {
    fold: Fold,
    /// Whether the thread that writes counts runs. It is started with the first repeated line.
    teller: bool,
}

impl Lines {
    pub(super) fn new(colour: bool) -> Self {
        let shared = Shared { start: Timer::start(), state: Mutex::default(), changed: Condvar::new(), colour };
        Self(Arc::new(shared))
    }

    fn line(&self, text: &str) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let out = state.fold.line(self.0.start.elapsed(), text);
        self.write(&out);
        if state.fold.next().is_some() {
            if !state.teller {
                let lines = self.clone();
                // If no thread can be started, counts are written with the next line and at the end.
                state.teller = std::thread::Builder::new().name("log".into()).spawn(move || lines.tell()).is_ok();
            }
            self.0.changed.notify_one();
        }
    }

    /// Writes counts when they are due, as long as the process lives.
    fn tell(&self) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let now = self.0.start.elapsed();
            let out = state.fold.due(now);
            self.write(&out);
            let wait = state.fold.next().map_or(Duration::MAX, |due| due.saturating_sub(now));
            state = match wait {
                Duration::MAX => self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                wait => self.0.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }

    /// Writes all counts that are left.
    pub(super) fn flush(&self) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let out = state.fold.flush();
        self.write(&out);
    }

    /// Ignores errors: a node must not end because nobody reads its log.
    fn write(&self, lines: &[String]) {
        for line in lines {
            let mut text = String::new();
            let (dim, plain) = if self.0.colour { ("\u{1b}[2m", "\u{1b}[0m") } else { ("", "") };
            text.push_str(dim);
            let _ = SystemTime.format_time(&mut Writer::new(&mut text));
            let _ = writeln!(text, "{plain} {}", line.trim_end());
            let _ = io::stderr().write_all(text.as_bytes());
        }
    }
}

/// One event's line, which `tracing` writes in one piece or in several.
pub(super) struct Event {
    lines: Lines,
    text: Vec<u8>,
}

impl Write for Event {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if !self.text.is_empty() {
            self.lines.line(&String::from_utf8_lossy(&self.text));
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Event;

    fn make_writer(&'a self) -> Event {
        Event { lines: self.clone(), text: Vec::new() }
    }
}
