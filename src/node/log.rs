//! The log: standard error, this program's own events only, redacted.
//!
//! Libraries do not log through here: their events could name peers and destinations, which our own types hide
//! ([`crate::base::redact::Sensitive`]).

use crate::base::redact::show_sensitive;
use crate::node::setting::Level;
use std::io::IsTerminal;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

/// Starts the log of this process. Later calls change nothing but the redaction.
pub fn start(level: Level, unredacted: bool) {
    show_sensitive(unredacted);
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colour).with_target(false);
    let ours = Targets::new().with_target("umbel", filter(level));
    // A second start in one process (tests) keeps the first log.
    let _ = tracing_subscriber::registry().with(lines.with_filter(ours)).try_init();
    if unredacted {
        tracing::warn!("this log shows addresses, destinations and links");
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
