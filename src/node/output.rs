//! What a command prints: one JSON object for programs, or a few lines for a person; progress apart, on standard error.

use crate::api::printable;
use crate::host::error::{Error, ErrorKind};
use crate::host::system::unix_now;
use crate::node::control::report::{
    Bootstrap, CircuitStatus, DirectoryStatus, GetReport, InviteReport, LookupReport, Progress, PutReport, QueueStatus,
    Status, StoreStatus, StreamStatus, Unit,
};
use crate::node::relays::RelaysReport;
use crate::node::setting::Size;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

/// How often a progress bar is drawn.
const DRAWS_PER_SECOND: u8 = 10;

/// A report that can be told to a person.
pub trait Report: Serialize {
    /// A few lines, each with its end.
    fn text(&self) -> String;
}

/// Prints a report on standard output.
pub fn print(report: &impl Report, json: bool) -> ExitCode {
    written(write_to(std::io::stdout(), &text_of(report, json)))
}

/// Prints a report on standard error, where standard output carries the content itself.
pub fn print_aside(report: &impl Report, json: bool) -> ExitCode {
    written(write_to(std::io::stderr(), &text_of(report, json)))
}

/// How the reader of a hint calls this program: by its name where the shell found it by that, else by its path, as after
/// `cargo run`.
pub fn program() -> String {
    program_called(std::env::args_os().next(), std::env::current_exe().ok())
}

fn program_called(as_it_was: Option<std::ffi::OsString>, at: Option<std::path::PathBuf>) -> String {
    let by_path = as_it_was.is_some_and(|name| Path::new(&name).components().count() > 1);
    let path = at.filter(|_| by_path).map(|at| at.display().to_string());
    path.unwrap_or_else(|| "umbel".to_owned())
}

fn text_of(report: &impl Report, json: bool) -> String {
    if json { serde_json::to_string(report).unwrap_or_default() + "\n" } else { report.text() }
}

/// Says something on standard output that nothing depends on.
pub fn say(text: std::fmt::Arguments<'_>) {
    let _ = write_to(std::io::stdout(), &format!("{text}\n"));
}

/// Says something to a person who watches, on standard error.
pub fn say_aside(text: &str) {
    let _ = write_to(std::io::stderr(), text);
}

fn write_to(mut to: impl Write, text: &str) -> std::io::Result<()> {
    to.write_all(text.as_bytes()).and_then(|()| to.flush())
}

/// The exit code of a command whose work is done and whose words are, or are not, written. Whoever closed the pipe wants no
/// more, and that is no failure; a full disk must not pass for success.
// spec: NODE-13
pub fn written(how: std::io::Result<()>) -> ExitCode {
    match how {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            let why = Error::file("write", Path::new("standard output"), &e);
            say_aside(&sentence(&why, colour()));
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Prints a failure, as JSON on standard output or as a sentence and a hint on standard error; returns its exit code. With
/// `aside` standard output is the content's, and JSON goes to standard error too.
pub fn fail(failure: &Error, json: bool, aside: bool) -> ExitCode {
    let object = || to_json(failure) + "\n";
    let _ = match (json, aside) {
        (true, false) => write_to(std::io::stdout(), &object()),
        (true, true) => write_to(std::io::stderr(), &object()),
        (false, _) => write_to(std::io::stderr(), &sentence(failure, colour())),
    };
    ExitCode::from(exit_code(failure.kind()))
}

/// The exit code of a command that failed. Programs rely on it: numbers never change.
pub fn exit_code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Usage | ErrorKind::Link => 2,
        ErrorKind::NotRunning => 3,
        ErrorKind::NotFound => 4,
        ErrorKind::WrongKey => 5,
        ErrorKind::Tampered => 6,
        ErrorKind::NoPath | ErrorKind::NoExit => 7,
        ErrorKind::StoreFull => 8,
        ErrorKind::TimedOut => 9,
        ErrorKind::DirInUse => 10,
        ErrorKind::PortBusy => 11,
        ErrorKind::Config => 12,
        ErrorKind::Clock => 13,
        ErrorKind::Io | ErrorKind::Refused | ErrorKind::Reset | ErrorKind::Busy | ErrorKind::Forbidden => 1,
    }
}

/// A failure as one line of JSON: `{"error":{...}}`.
fn to_json(failure: &Error) -> String {
    #[derive(Serialize)]
    struct Wrapped<'a> {
        error: &'a Error,
    }
    serde_json::to_string(&Wrapped { error: failure }).unwrap_or_default()
}

fn colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

fn sentence(failure: &Error, colour: bool) -> String {
    let style = |s: anstyle::Style| if colour { s } else { anstyle::Style::new() };
    let red = style(anstyle::AnsiColor::Red.on_default().bold());
    let bold = style(anstyle::Style::new().bold());
    let mut text = format!("{red}error:{red:#} {}", printable(&failure.to_string()));
    if let Some(rule) = failure.rule() {
        let _ = write!(text, " ({rule})");
    }
    text.push('\n');
    if let Some(hint) = failure.hint() {
        let _ = writeln!(text, " {bold}hint:{bold:#} {}", printable(hint));
    }
    text
}

/// A progress bar, which shows on a terminal only.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Bar {
    /// A bar that is not there yet: it shows with the first progress.
    pub fn new() -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND)
        } else {
            ProgressDrawTarget::hidden()
        };
        Self(ProgressBar::with_draw_target(None, target))
    }

    /// Shows how far it is.
    pub fn set(&self, progress: &Progress) {
        let template = match (progress.total, progress.unit) {
            (0, _) => "{spinner} {msg}",
            (_, Unit::Bytes) => "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            (_, Unit::Blocks | Unit::Items) => "{msg} {wide_bar} {pos}/{len}",
        };
        if self.0.message() != *progress.phase || self.0.length().unwrap_or(0) != progress.total {
            if let Ok(style) = ProgressStyle::with_template(template) {
                self.0.set_style(style.progress_chars("━╸─"));
            }
            self.0.set_message(progress.phase.to_string());
            self.0.set_length(progress.total);
        }
        self.0.set_position(progress.done);
    }

    /// Says something while it is off the screen.
    pub fn aside(&self, say: impl FnOnce()) {
        self.0.suspend(say);
    }

    /// Takes it off the screen.
    pub fn clear(&self) {
        self.0.finish_and_clear();
    }
}

impl Default for Bar {
    fn default() -> Self {
        Self::new()
    }
}

fn plural(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

impl Report for PutReport {
    fn text(&self) -> String {
        let left_s = self.expires_unix.saturating_sub(unix_now().secs());
        let kept = if left_s >= 2 * 86_400 {
            plural(left_s / 86_400, "day", "days")
        } else {
            plural(left_s / 3600, "hour", "hours")
        };
        let (files, copies) = (plural(self.files, "file", "files"), plural(self.copies, "relay", "relays"));
        let (size, took) = (Size(self.bytes), seconds(self.elapsed_ms));
        let read_back = if self.verified { ", read back and checked" } else { "" };
        format!(
            "{}\n\n  url     {}\n  verify  {}\n\nPublished {files}, {size}, on {copies}{read_back} in {took}. Kept for {kept}.\n\
             Whoever has the link can read it.\n",
            self.link, self.url, self.verify_link
        )
    }
}

impl Report for GetReport {
    fn text(&self) -> String {
        let resumed = match self.resumed_from {
            0 => String::new(),
            n => format!(", {} of it from an earlier run", Size(n)),
        };
        let place = if self.path == "-" { "standard output" } else { &self.path };
        format!("{place}: {}{resumed}, in {}\nsha256 {}\n", Size(self.bytes), seconds(self.elapsed_ms), self.sha256)
    }
}

impl Report for InviteReport {
    fn text(&self) -> String {
        self.invite.clone()
    }
}

impl Report for RelaysReport {
    fn text(&self) -> String {
        self.table()
    }
}

impl Report for LookupReport {
    fn text(&self) -> String {
        let what = match self.kind.as_str() {
            "relay" => "a relay's record",
            "block" => "a block",
            _ => "nothing that its custodians hold",
        };
        let mut text = format!(
            "{} is {what}. Of {}, {} answered and {} it:\n",
            self.key,
            plural(self.custodians.len() as u64, "custodian", "custodians"),
            self.answered,
            plural(self.holding, "holds", "hold")
        );
        for c in &self.custodians {
            let state = match (&c.error, c.answered, c.holds) {
                (_, true, true) => "holds it",
                (_, true, false) => "does not hold it",
                (Some(error), false, _) => error,
                (None, false, _) => "no answer",
            };
            let _ = writeln!(text, "  {}  {state}", c.id);
        }
        if let Some(locator) = &self.locator {
            let _ = writeln!(text, "Relays know it as {locator}.");
        }
        text
    }
}

/// What a status says of the store, a row each.
fn store_rows(s: &StoreStatus) -> Vec<(&'static str, String)> {
    let ago = |at: u64| plural(unix_now().secs().saturating_sub(at), "second", "seconds");
    let objects = plural(s.objects, "object", "objects");
    let mut rows = vec![("store", format!("{} of {}, {objects}", Size(s.used), Size(s.cap)))];
    if let Some((was, until)) = &s.before {
        rows.push(("", format!("{was} until {} ago", ago(*until))));
    }
    if s.refused > 0 {
        let requests = plural(s.refused, "request", "requests");
        rows.push(("", format!("full for {requests} since the start, the last {} ago", ago(s.refused_unix))));
    }
    if s.blocks_lost > 0 {
        let blocks = plural(s.blocks_lost, "block", "blocks");
        rows.push(("", format!("{blocks} found damaged or missing since the start")));
    }
    rows
}

fn directory_text(d: &DirectoryStatus) -> String {
    let (relays, signers) = (plural(d.relays, "relay", "relays"), plural(d.signers, "signer", "signers"));
    let mut text = format!("{relays}, {signers} agree, {} s old", d.age_s);
    if d.exits > 0 {
        let (exits, operators) = (plural(d.exits, "exit", "exits"), plural(d.exit_operators, "operator", "operators"));
        let percent = d.exit_paths_seen_ppm as f64 / 10_000.0;
        let _ = write!(
            text,
            "; {exits} of {operators}: with a fifth of all relays one sees {percent:.1} % of paths to them"
        );
    }
    text
}

/// The directory, and at a relay of a public network who reached it.
fn directory_rows(d: Option<&DirectoryStatus>) -> Vec<(&'static str, String)> {
    let Some(d) = d else { return vec![("directory", "none yet".to_owned())] };
    let mut rows = vec![("directory", directory_text(d))];
    // spec: ADM-16
    if d.auditors > 0 {
        let by = match d.reached_by {
            0 => "nobody".to_owned(),
            n => format!("{n} of {}", d.auditors),
        };
        rows.push(("reachable", format!("confirmed by {by}; {} relays tried", d.auditors)));
    }
    rows
}

/// How full the queues are, where there is anything that could wait.
fn waiting(of: &QueueStatus) -> Option<String> {
    let QueueStatus { cells, windows, .. } = of;
    let mut parts = Vec::new();
    if cells.count > 0 {
        let circuits = plural(cells.count, "circuit", "circuits");
        parts
            .push(format!("cells on {circuits} of others: 90 % hold at most {}, the fullest {}", cells.p90, cells.max));
    }
    if windows.count > 0 {
        parts.push(format!("windows of cells: half at most {}, the largest {}", windows.p50, windows.max));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// A line for each circuit, and for each stream how it goes.
fn paths_text(circuits: &[CircuitStatus], streams: &[StreamStatus]) -> String {
    let mut text = String::new();
    for c in circuits {
        let hops: Vec<_> = c.hops.iter().map(|h| h.get(..8).unwrap_or(h)).collect();
        let _ = writeln!(text, "circuit {:<4} {:<8} {}", c.id, c.state, hops.join(" > "));
    }
    for s in streams {
        let safe = if s.post_quantum { "post-quantum" } else { "classical" };
        let (received, sent) = (Size(s.bytes_in), Size(s.bytes_out));
        let _ = writeln!(
            text,
            "stream {:<5} circuit {}, {} hops, {safe}, {received} in, {sent} out",
            s.id, s.circuit, s.hops
        );
    }
    text
}

impl Report for Status {
    fn text(&self) -> String {
        let not_ready = if self.problems.is_empty() { "not ready yet" } else { "not ready" };
        let ready = if self.ready { "ready" } else { not_ready };
        let mut text = format!(
            "umbel {} {}, {} profile, {ready}, up {}\n",
            self.version,
            self.role,
            self.profile,
            plural(self.uptime_s, "second", "seconds")
        );
        let mut row = |name: &str, value: String| {
            let _ = writeln!(text, "  {name:<10} {value}");
        };
        if !self.ready && !self.bootstrap.reason.is_empty() {
            // spec: CLIENT-29
            let Bootstrap { percent, reason, next } = &self.bootstrap;
            row("start", format!("{percent} %: {reason}; {next}"));
        }
        for problem in &self.problems {
            row("problem", problem.message.clone());
        }
        if let Some(id) = &self.id {
            row("id", id.clone());
        }
        if let Some(socks) = &self.socks {
            row("proxy", socks.clone());
        }
        row("network", self.network.message.clone());
        if !self.network.founders.is_empty() {
            let short: Vec<_> = self.network.founders.iter().filter_map(|f| f.get(..8)).collect();
            row("founders", short.join(", "));
        }
        directory_rows(self.directory.as_ref()).into_iter().for_each(|(name, value)| row(name, value));
        row("links", self.links.to_string());
        row("circuits", self.circuits.len().to_string());
        row("streams", self.streams.len().to_string());
        if let Some(s) = &self.store {
            for (name, value) in store_rows(s) {
                row(name, value);
            }
        }
        row("carried", format!("{} in, {} out", Size(self.bytes.received), Size(self.bytes.sent)));
        if let Some(waiting) = waiting(&self.queues) {
            row("waiting", waiting);
        }
        row("memory", Size(self.rss_bytes).to_string());
        if self.files_short > 0 {
            let times = plural(self.files_short, "time", "times");
            row("files", format!("too many were open {times}; at most {} may be", self.files_limit));
        }
        text + &paths_text(&self.circuits, &self.streams)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Spread;

    #[test]
    fn a_hint_names_the_program_as_its_reader_can_call_it() {
        let called = |name: &str| program_called(Some(name.into()), Some("/src/target/release/umbel".into()));
        assert_eq!(called("umbel"), "umbel");
        assert_eq!(called("target/release/umbel"), "/src/target/release/umbel");
        assert_eq!(called("./umbel"), "/src/target/release/umbel");
        assert_eq!(program_called(None, None), "umbel");
        assert_eq!(program_called(Some("./umbel".into()), None), "umbel");
    }

    #[test]
    fn a_failure_is_a_sentence_and_a_hint() {
        let f =
            Error::new(ErrorKind::NotFound, "no custodian holds this").with_rule("CONT-23").with_hint("check the link");
        assert_eq!(sentence(&f, false), "error: no custodian holds this (CONT-23)\n hint: check the link\n");
        assert!(sentence(&f, true).contains("\u{1b}["));
        let hostile =
            Error::file("write", Path::new("out/a\u{1b}[2J\nerror: b"), &std::io::ErrorKind::StorageFull.into());
        assert!(sentence(&hostile, false).starts_with("error: cannot write out/a\\u{1b}[2J\\nerror: b: "), "{hostile}");
    }

    #[test]
    fn the_json_of_a_failure_has_its_four_keys_always() {
        let e = Error::new(ErrorKind::DirInUse, "a node runs here");
        assert_eq!(
            to_json(&e),
            r#"{"error":{"code":"dir-in-use","message":"a node runs here","rule":null,"hint":null}}"#
        );
        assert_eq!(
            to_json(&e.with_rule("NODE-3").with_hint("stop it")),
            r#"{"error":{"code":"dir-in-use","message":"a node runs here","rule":"NODE-3","hint":"stop it"}}"#
        );
    }

    #[test]
    fn exit_codes_are_the_published_ones() {
        use ErrorKind::*;
        let all = [
            Io, Usage, NotRunning, NotFound, WrongKey, Tampered, NoPath, StoreFull, TimedOut, DirInUse, PortBusy,
            Config, Clock,
        ];
        for (kind, code) in all.into_iter().zip(1..=13) {
            assert_eq!(exit_code(kind), code, "{kind:?}");
        }
        assert_eq!(exit_code(Link), 2);
    }

    #[test]
    fn a_status_is_readable() {
        let status = Status {
            version: "0.1.0".into(),
            role: "client".into(),
            profile: "testing".into(),
            circuits: vec![CircuitStatus {
                id: 1,
                hops: vec!["abcdefghij".into(), "k".into()],
                state: "open".into(),
                ..Default::default()
            }],
            bootstrap: Bootstrap {
                percent: 61,
                reason: "3 of 49 signers answered".into(),
                next: "30 must name the same set".into(),
            },
            files_short: 3,
            files_limit: 128,
            queues: QueueStatus {
                cells: Spread { count: 12, p90: 3, max: 40, ..Default::default() },
                windows: Spread { count: 1, p50: 63, max: 64, ..Default::default() },
                ..Default::default()
            },
            streams: vec![StreamStatus { id: 7, circuit: 1, hops: 3, post_quantum: true, ..Default::default() }],
            ..Default::default()
        };
        let text = status.text();
        assert!(text.starts_with("umbel 0.1.0 client, testing profile, not ready yet, up 0 seconds\n"), "{text}");
        assert!(text.contains("start      61 %: 3 of 49 signers answered; 30 must name the same set\n"), "{text}");
        assert!(text.contains("files      too many were open 3 times; at most 128 may be\n"), "{text}");
        let waiting = "cells on 12 circuits of others: 90 % hold at most 3, the fullest 40; \
                       windows of cells: half at most 63, the largest 64\n";
        assert!(text.contains(&format!("waiting    {waiting}")), "{text}");
        assert!(text.contains("abcdefgh > k\n") && text.contains("3 hops, post-quantum"), "{text}");
    }
}
