//! A progress bar on a terminal's standard error.
//!
//! ```text
//! sending ━━━━━━━━━━━╸────────────────── 37 MiB of 96 MiB, 8.1 MiB/s, 7 s left
//! ```

use crate::host::system::Timer;
use crate::node::control::report::{Progress, Unit};
use crate::node::setting::Size;
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// Characters of the bar itself, so that a line has room in 80 columns.
const WIDTH: u64 = 30;
/// The shortest time between two drawings.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// A progress bar. It shows with the first progress, and on a terminal only.
#[derive(Debug)]
pub struct Bar {
    is_terminal: bool,
    /// When it was drawn last.
    drawn: Option<Timer>,
    phase: Option<Phase>,
}

/// What is being done, since when, and how much of it was done then (a resumed fetch does not start at zero).
#[derive(Debug)]
struct Phase {
    name: String,
    total: u64,
    began: Timer,
    done: u64,
}

impl Bar {
    /// A bar that is not there yet.
    pub fn new() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal(), drawn: None, phase: None }
    }

    /// Shows how far it is.
    pub fn set(&mut self, progress: &Progress) {
        if !self.is_terminal {
            return;
        }
        let is_same = |p: &Phase| p.name == *progress.phase && p.total == progress.total;
        if !self.phase.as_ref().is_some_and(is_same) {
            let (name, began) = (progress.phase.to_string(), Timer::start());
            self.phase = Some(Phase { name, total: progress.total, began, done: progress.done });
            self.drawn = None;
        }
        if self.drawn.is_some_and(|drawn| drawn.elapsed() < DRAW_EVERY) {
            return;
        }
        if let Some(phase) = &self.phase {
            let line = line(progress, progress.done.saturating_sub(phase.done), phase.began.elapsed());
            let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
            self.drawn = Some(Timer::start());
        }
    }

    /// Takes it off the screen.
    pub fn clear(&mut self) {
        if self.phase.take().is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

impl Default for Bar {
    fn default() -> Self {
        Self::new()
    }
}

/// The line of a progress; `new` was done in the time that the phase has taken.
fn line(progress: &Progress, new: u64, took: Duration) -> String {
    let Progress { phase, done, total, unit } = progress;
    if *total == 0 {
        return format!("{phase} …");
    }
    let full = done.min(total).saturating_mul(WIDTH) / total;
    let mut bar = "━".repeat(full as usize);
    if full < WIDTH {
        bar.push('╸');
        bar.push_str(&"─".repeat((WIDTH - full - 1) as usize));
    }
    if *unit != Unit::Bytes {
        return format!("{phase} {bar} {done} of {total}");
    }
    let mut line = format!("{phase} {bar} {} of {}", Size(*done), Size(*total));
    let rate = u128::from(new) * 1000 / took.as_millis().max(1);
    if took >= Duration::from_secs(1) && rate > 0 {
        let left = u128::from(total.saturating_sub(*done)) / rate;
        line.push_str(&format!(", {}/s, {left} s left", Size(u64::try_from(rate).unwrap_or(u64::MAX))));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(done: u64, total: u64, unit: Unit) -> Progress {
        Progress { phase: "sending".into(), done, total, unit }
    }

    #[test]
    fn a_line_says_how_much_how_fast_and_how_long() {
        let mib = 1 << 20;
        let took = Duration::from_secs(4);
        assert_eq!(
            line(&at(50 * mib, 100 * mib, Unit::Bytes), 40 * mib, took),
            "sending ━━━━━━━━━━━━━━━╸────────────── 50.0 MiB of 100.0 MiB, 10.0 MiB/s, 5 s left"
        );
        assert_eq!(line(&at(3, 3, Unit::Items), 3, took), format!("sending {} 3 of 3", "━".repeat(30)));
        assert_eq!(line(&at(0, 9, Unit::Blocks), 0, took), format!("sending ╸{} 0 of 9", "─".repeat(29)));
        assert_eq!(line(&at(7, 0, Unit::Bytes), 7, took), "sending …");
    }
}
