//! The log: this program's own events on standard error, redacted, with repeated lines folded.
//!
//! Events of libraries are left out: they could name peers and destinations, which our own types hide
//! ([`crate::base::redact::Sensitive`]).

use crate::base::redact::show_sensitive;
use crate::host::error::{Error, ErrorKind};
use crate::node::setting::Level;
use std::io::IsTerminal;
use std::sync::OnceLock;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{Registry, reload};
use writer::Lines;

mod fold;
mod writer;

/// The log's writer, for [`flush`].
static LINES: OnceLock<Lines> = OnceLock::new();

/// Writes the counts of repeated lines that are left. Called at the end of the process.
pub fn flush() {
    if let Some(lines) = LINES.get() {
        lines.flush();
    }
}

/// Starts the log of this process. Later calls change nothing but the redaction.
pub fn start(level: Level, unredacted: bool) {
    show_sensitive(unredacted);
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let writer = LINES.get_or_init(|| Lines::new(colour)).clone();
    // The writer adds the time, so that repeated events are equal.
    let lines =
        tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colour).with_target(false).without_time();
    let ours = Targets::new().with_target("umbel", filter(level));
    let (ours, handle) = reload::Layer::new(ours);
    // A second start in one process (tests) keeps the first log.
    if tracing_subscriber::registry().with(lines.with_filter(ours)).try_init().is_ok() {
        let _ = FILTER.set(handle);
    }
    if unredacted {
        tracing::warn!("this log shows addresses, destinations and links");
    }
}

/// The filter of the running log.
static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Changes how much is logged from now on.
///
/// # Errors
/// [`ErrorKind::Config`] if the log of this process was not started by [`start`].
pub fn set_level(level: Level) -> Result<Level, Error> {
    let set = FILTER.get().map(|f| f.reload(Targets::new().with_target("umbel", filter(level))));
    match set {
        Some(Ok(())) => Ok(level),
        _ => Err(Error::new(ErrorKind::Config, "the log of this process is not Umbel's own")),
    }
}

fn filter(level: Level) -> LevelFilter {
    match level {
        Level::Off => LevelFilter::OFF,
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    }
}
