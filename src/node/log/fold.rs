//! Folds lines that repeat: the first stands at once, the others are counted and told once a period.
//!
//! A disk that is full or descriptors that have run out say the same thing many times a second, for hours. Every line goes
//! through here, whoever wrote it.

use std::collections::BTreeMap;
use std::time::Duration;

/// How often it is told how many times a line has come again.
pub(super) const PERIOD: Duration = Duration::from_secs(60);
/// Lines that are remembered; past it the one that was written first is forgotten, and its count told.
pub(super) const LINES_MAX: usize = 64;
/// Bytes of a line that are looked at: longer ones that begin alike are the same.
const KEY_MAX: usize = 512;

struct Line {
    /// As it was written, without its time.
    text: String,
    /// When it was last written or told of, as time since the log's start.
    told: Duration,
    again: u64,
}

/// Lines written lately, and how often they came again.
#[derive(Default)]
pub(super) struct Fold {
    /// By the line's beginning.
    lines: BTreeMap<String, Line>,
}

/// Lines to be written now.
pub(super) type Out = Vec<String>;

impl Fold {
    /// Takes a line; gives what is to be written now.
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

    /// What is due by now: counts of a period that is over. A line that did not come again in one is forgotten.
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

    /// When something may be due next; `None` while no line has come again.
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
    fn the_first_of_equal_lines_stands_at_once_and_the_others_are_counted() {
        let mut fold = Fold::default();
        assert_eq!(fold.line(at(0), "disk full"), ["disk full"]);
        assert_eq!(fold.next(), None, "nothing to tell yet");
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
    fn a_line_that_came_no_more_for_a_period_stands_again_at_once() {
        let mut fold = Fold::default();
        fold.line(at(0), "again");
        assert_eq!(fold.line(at(61), "again"), ["again"]);
    }

    #[test]
    fn what_was_not_told_yet_is_told_at_the_end() {
        let mut fold = Fold::default();
        for _ in 0..3 {
            fold.line(at(0), "x\n");
        }
        assert_eq!(fold.flush(), ["x [repeated 2 times]"]);
        assert_eq!(fold.flush(), Out::new());
    }

    #[test]
    fn lines_without_end_are_forgotten_with_their_counts_told() {
        let mut fold = Fold::default();
        fold.line(at(0), "first");
        fold.line(at(0), "first");
        let mut written = Out::new();
        for n in 0..10 * LINES_MAX {
            written.extend(fold.line(at(1), &format!("line {n}")));
        }
        assert_eq!(written.iter().filter(|l| l.starts_with("line ")).count(), 10 * LINES_MAX, "each stands");
        assert!(written.contains(&"first [repeated once]".to_owned()));
        assert!(fold.lines.len() <= LINES_MAX);
        let long = "z".repeat(100_000);
        fold.line(at(1), &long);
        assert!(fold.lines.keys().all(|key| key.len() <= 4 * KEY_MAX));
    }
}
