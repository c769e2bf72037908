//! The log: standard error, this program's own events only, redacted.
//!
//! ```text
//! 2026-01-31T12:00:00.123Z  INFO the first circuit works socks=127.0.0.1:6250
//! ```
//!
//! Libraries do not log through here: their events could name peers and destinations, which our own types hide
//! ([`crate::base::redact::Sensitive`]). A line is one event: control characters in what others said are escaped.

use crate::base::redact::show_sensitive;
use crate::base::time::UnixMs;
use crate::host::system::unix_now;
use crate::node::setting::Level;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Interest, Subscriber, set_global_default};
use tracing::{Event, Metadata};

/// Starts the log of this process. Later calls change nothing but the redaction.
pub fn start(level: Level, unredacted: bool) {
    show_sensitive(unredacted);
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // A second start in one process (tests) keeps the first log.
    let _ = set_global_default(Log::new(level, colour, io::stderr()));
    if unredacted {
        tracing::warn!("this log shows addresses, destinations and links");
    }
}

/// A log that writes one line for each event of this program up to a level.
#[derive(Debug)]
pub struct Log<W> {
    level: LevelFilter,
    colour: bool,
    out: Mutex<W>,
}

impl<W: io::Write> Log<W> {
    /// Writes to `out`, with colours or without.
    pub fn new(level: Level, colour: bool, out: W) -> Self {
        let level = match level {
            Level::Off => LevelFilter::OFF,
            Level::Error => LevelFilter::ERROR,
            Level::Warn => LevelFilter::WARN,
            Level::Info => LevelFilter::INFO,
            Level::Debug => LevelFilter::DEBUG,
            Level::Trace => LevelFilter::TRACE,
        };
        Self { level, colour, out: Mutex::new(out) }
    }

    fn shows(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        let is_ours = target == "umbel" || target.starts_with("umbel::");
        is_ours && metadata.is_event() && *metadata.level() <= self.level
    }

    fn line(&self, now: UnixMs, event: &Event<'_>) -> String {
        let level = *event.metadata().level();
        let colour = match level {
            tracing::Level::ERROR => anstyle::AnsiColor::Red,
            tracing::Level::WARN => anstyle::AnsiColor::Yellow,
            tracing::Level::INFO => anstyle::AnsiColor::Green,
            _ => anstyle::AnsiColor::Blue,
        };
        let style = |style: anstyle::Style| if self.colour { style } else { anstyle::Style::new() };
        let (dim, level_style) = (style(anstyle::Style::new().dimmed()), style(colour.on_default()));
        let mut text = Text(String::new());
        event.record(&mut text);
        format!("{dim}{}{dim:#} {level_style}{level:>5}{level_style:#}{}\n", Utc(now), text.0)
    }
}

impl<W: io::Write + Send + 'static> Subscriber for Log<W> {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.shows(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.shows(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn event(&self, event: &Event<'_>) {
        let line = self.line(unix_now(), event);
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // There is nowhere to say that the log cannot be written.
        let _ = out.write_all(line.as_bytes());
    }

    // This program has no spans.
    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

/// The fields of an event: ` message` and ` name=value`.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push(' ');
        if field.name() != "message" {
            let _ = write!(self.0, "{}=", field.name());
        }
        let _ = write!(Escaped(&mut self.0), "{value:?}");
    }
}

/// Writes with control characters escaped: what a peer or a user said begins no line and moves no cursor.
struct Escaped<'a>(&'a mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for c in s.chars() {
            if c.is_control() { self.0.extend(c.escape_default()) } else { self.0.push(c) }
        }
        Ok(())
    }
}

/// A moment as RFC 3339 writes it, in UTC.
struct Utc(UnixMs);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (secs, ms) = (self.0.secs(), self.0.0 % 1000);
        let (days, time) = (secs / 86_400, secs % 86_400);
        // The Gregorian calendar repeats every 400 years of 146,097 days. Years begin in March here, so that the leap day is the last.
        let day = days + 719_468;
        let (era, day) = (day / 146_097, day % 146_097);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
        let year = era * 400 + year + u64::from(month <= 2);
        let (hours, minutes, seconds) = (time / 3600, time / 60 % 60, time % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{ms:03}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[derive(Clone, Default)]
    struct Out(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Out {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: Level, what: impl FnOnce()) -> Vec<String> {
        let out = Out::default();
        tracing::subscriber::with_default(Log::new(level, false, out.clone()), what);
        let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|l| l.split_once(' ').unwrap().1.to_owned()).collect()
    }

    #[test]
    fn our_own_events_up_to_the_level_are_logged_a_line_each() {
        let lines = logged(Level::Info, || {
            tracing::info!(socks = %"127.0.0.1:1", n = 3, "the first circuit works");
            tracing::debug!("too low");
            tracing::error!(target: "hyper::proto", "not ours");
            tracing::error!(target: "umbelliferae", "not ours either");
            tracing::warn!(why = %"a\nb\u{1b}[2J", "odd\r");
        });
        assert_eq!(lines, [" INFO the first circuit works socks=127.0.0.1:1 n=3", " WARN odd\\r why=a\\nb\\u{1b}[2J"]);
        assert!(logged(Level::Off, || tracing::error!("x")).is_empty());
    }

    #[test]
    fn moments_are_written_as_the_calendar_has_them() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_000, "2024-02-29T23:59:59.000Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
            (1_798_761_599_123, "2026-12-31T23:59:59.123Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Utc(UnixMs(ms)).to_string(), text);
        }
    }
}
