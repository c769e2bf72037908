//! Deadlines by name: each name has at most one.

use crate::base::time::Instant;
use std::collections::{BTreeMap, BTreeSet};

/// Deadlines in order of time. Setting one and taking the earliest take logarithmic time; a name set again is moved.
pub struct Timers<K> {
    by_time: BTreeSet<(Instant, K)>,
    by_name: BTreeMap<K, Instant>,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self { by_time: BTreeSet::new(), by_name: BTreeMap::new() }
    }
}

impl<K: Copy + Ord> Timers<K> {
    /// Sets, moves or (with `None`) clears the deadline of `name`.
    pub fn set(&mut self, name: K, at: Option<Instant>) {
        if self.by_name.get(&name) == at.as_ref() {
            return;
        }
        let old = match at {
            Some(at) => self.by_name.insert(name, at),
            None => self.by_name.remove(&name),
        };
        if let Some(old) = old {
            self.by_time.remove(&(old, name));
        }
        if let Some(at) = at {
            self.by_time.insert((at, name));
        }
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|&(at, _)| at)
    }

    /// Takes out a name whose time has come.
    pub fn pop(&mut self, now: Instant) -> Option<K> {
        let &(at, name) = self.by_time.first().filter(|(at, _)| *at <= now)?;
        self.by_time.remove(&(at, name));
        self.by_name.remove(&name);
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_deadline() {
        let mut t = Timers::default();
        t.set('a', Some(Instant(5)));
        t.set('b', Some(Instant(7)));
        t.set('a', Some(Instant(9)));
        assert_eq!(t.next(), Some(Instant(7)));
        assert_eq!((t.pop(Instant(6)), t.pop(Instant(7)), t.pop(Instant(7))), (None, Some('b'), None));
        t.set('a', None);
        assert_eq!(t.next(), None);
    }
}
