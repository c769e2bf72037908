//! Folds repeated lines: the first is written at once, the others are counted, and the count is written once a period.
//!
//! A full disk or a shortage of descriptors can cause the same line many times a second, for hours. Every line of the log goes
//! through here.

use std::collections::BTreeMap;
use std::time::Duration;

/// How often the count of a repeated line is written.
pub(super) const PERIOD: Duration = Duration::from_secs(60);
/// Most lines that are remembered. Beyond it the one written longest ago is forgotten, and its count is written.
pub(super) const LINES_MAX: usize = 64;
/// Characters of a line that are compared: longer lines that begin alike count as equal.
const KEY_MAX: usize = 512;

struct Line {
    /// The line without its time.
    text: String,
    /// When the line or its count was last written, as time since the log's start.
    told: Duration,
    /// Repeats since then.
    again: u64,
}

/// Recent lines, and how often they were repeated.
#[derive(Default)]
pub(super) struct Fold {
    /// By their first [`KEY_MAX`] characters.
    lines: BTreeMap<String, Line>,
}

/// Lines to be written now.
pub(super) type Out = Vec<String>;

impl Fold {
    /// Takes a line; returns what to write now.
    // spec: NODE-16
    pub(super) fn line(&mut self, now: Duration, text: &str) -> Out {
        let mut out = self.due(now);
        let key: String = text.chars().take(KEY_MAX).collect();
        if let Some(line) = self.lines.get_mut(&key) {
            line.again += 1;
            return out;
        }
        if self.lines.len() >= LINES_MAX {
            let oldest = self.lines.iter().min_by_key(|(_, line)| line.told).map(|(key, _)| key.clone());
            out.extend(oldest.and_then(|key| self.lines.remove(&key)).and_then(|line| told(&line)));
        }
        out.push(text.to_owned());
        self.lines.insert(key, Line { text: text.to_owned(), told: now, again: 0 });
        out
    }

    /// The counts that are due. A line that was not repeated for a period is forgotten.
    pub(super) fn due(&mut self, now: Duration) -> Out {
        let mut out = Out::new();
        self.lines.retain(|_, line| {
            if line.told + PERIOD > now {
                return true;
            }
            out.extend(told(line));
            (line.told, line.again) = match line.again {
                0 => return false,
                _ => (now, 0),
            };
            true
        });
        out
    }

    /// When the next count is due; `None` if no line was repeated.
    pub(super) fn next(&self) -> Option<Duration> {
        self.lines.values().filter(|line| line.again > 0).map(|line| line.told + PERIOD).min()
    }

    /// All counts, at the end of the log.
    pub(super) fn flush(&mut self) -> Out {
        core::mem::take(&mut self.lines).values().filter_map(told).collect()
    }
}

fn told(line: &Line) -> Option<String> {
    (line.again > 0).then(|| match line.again {
        1 => format!("{} [repeated once]", line.text.trim_end()),
        n => format!("{} [repeated {n} times]", line.text.trim_end()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    // spec: NODE-16
    #[test]
    fn the_first_of_equal_lines_is_written_at_once_and_the_others_are_counted() {
        let mut fold = Fold::default();
        assert_eq!(fold.line(at(0), "disk full"), ["disk full"]);
        assert_eq!(fold.next(), None, "no count yet");
        for n in 0..1000 {
            assert_eq!(fold.line(at(n / 20), "disk full"), Out::new());
        }
        assert_eq!(fold.line(at(10), "another"), ["another"], "other lines are not held back");
        assert_eq!(fold.next(), Some(PERIOD));
        assert_eq!(fold.due(at(59)), Out::new());
        assert_eq!(fold.due(PERIOD), ["disk full [repeated 1000 times]"]);
        assert_eq!(fold.next(), None);
        fold.line(at(61), "disk full");
        assert_eq!(
            fold.line(at(120), "a third"),
            ["disk full [repeated once]", "a third"],
            "in the order of their times"
        );
    }

    #[test]
    fn a_line_that_was_not_repeated_for_a_period_is_written_at_once_again() {
        let mut fold = Fold::default();
        fold.line(at(0), "again");
        assert_eq!(fold.line(at(61), "again"), ["again"]);
    }

    #[test]
    fn counts_that_are_left_are_written_at_the_end() {
        let mut fold = Fold::default();
        for _ in 0..3 {
            fold.line(at(0), "x\n");
        }
        assert_eq!(fold.flush(), ["x [repeated 2 times]"]);
        assert_eq!(fold.flush(), Out::new());
    }

    #[test]
    fn many_different_lines_push_out_old_ones_whose_counts_are_written() {
        let mut fold = Fold::default();
        fold.line(at(0), "first");
        fold.line(at(0), "first");
        let mut written = Out::new();
        for n in 0..10 * LINES_MAX {
            written.extend(fold.line(at(1), &format!("line {n}")));
        }
        assert_eq!(written.iter().filter(|l| l.starts_with("line ")).count(), 10 * LINES_MAX, "each is written");
        assert!(written.contains(&"first [repeated once]".to_owned()));
        assert!(fold.lines.len() <= LINES_MAX);
        let long = "z".repeat(100_000);
        fold.line(at(1), &long);
        assert!(fold.lines.keys().all(|key| key.len() <= 4 * KEY_MAX));
    }
}
