//! Caches the answers to names for as long as their servers allow, within this exit's own bounds.

use crate::base::time::{Duration, Instant};
use core::net::IpAddr;
use std::collections::BTreeMap;

/// Most names in the cache.
pub(super) const ENTRIES_MAX: usize = 4096;
/// Most bytes of names and addresses in the cache.
pub(super) const BYTES_MAX: usize = 512 * 1024;
/// An answer is kept at least this long, so that a client that asks a hundred times a second does not reach the server each time.
pub(super) const TTL_MIN: Duration = Duration::from_secs(5);
/// An answer with addresses is kept at most this long.
pub(super) const TTL_MAX: Duration = Duration::from_secs(3600);
/// A negative answer is kept at most this long (RFC 2308).
pub(super) const NEGATIVE_TTL_MAX: Duration = Duration::from_secs(60);

struct Entry {
    addrs: Vec<IpAddr>,
    until: Instant,
    /// Its key in `order`.
    used: u64,
}

/// A cache of names. When it is full, the least recently used one goes.
#[derive(Default)]
pub(super) struct Cache {
    entries: BTreeMap<String, Entry>,
    /// Names, the least recently used first.
    order: BTreeMap<u64, String>,
    bytes: usize,
    uses: u64,
}

fn size(name: &str, addrs: &[IpAddr]) -> usize {
    // The name is in both maps.
    2 * name.len() + size_of_val(addrs)
}

impl Cache {
    /// The cached addresses of a name; empty if it has none, `None` if it is not cached.
    pub(super) fn get(&mut self, now: Instant, name: &str) -> Option<Vec<IpAddr>> {
        let entry = self.entries.get_mut(name)?;
        if entry.until <= now {
            self.remove(name);
            return None;
        }
        self.uses += 1;
        self.order.remove(&entry.used);
        entry.used = self.uses;
        self.order.insert(entry.used, name.to_owned());
        Some(entry.addrs.clone())
    }

    /// Caches an answer for as long as its server says, within bounds.
    pub(super) fn put(&mut self, now: Instant, name: &str, addrs: &[IpAddr], ttl: Duration) {
        self.remove(name);
        let max = if addrs.is_empty() { NEGATIVE_TTL_MAX } else { TTL_MAX };
        self.uses += 1;
        self.bytes += size(name, addrs);
        self.order.insert(self.uses, name.to_owned());
        let entry = Entry { addrs: addrs.to_vec(), until: now + ttl.clamp(TTL_MIN, max), used: self.uses };
        self.entries.insert(name.to_owned(), entry);
        while self.entries.len() > ENTRIES_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.order.first_entry().map(|e| e.get().clone()) else { return };
            self.remove(&oldest);
        }
    }

    /// Forgets everything, because the servers or the hosts file have changed.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn remove(&mut self, name: &str) {
        if let Some(entry) = self.entries.remove(name) {
            self.order.remove(&entry.used);
            self.bytes = self.bytes.saturating_sub(size(name, &entry.addrs));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Instant = Instant(1_000_000);

    fn ip(n: u8) -> Vec<IpAddr> {
        vec![IpAddr::from([192, 0, 2, n])]
    }

    #[test]
    fn an_answer_is_kept_as_long_as_its_server_says_within_bounds() {
        let mut cache = Cache::default();
        for (name, addrs, ttl_s, kept) in [
            ("a", ip(1), 60, Duration::from_secs(60)),
            ("brief", ip(2), 0, TTL_MIN),
            ("long", ip(3), 1_000_000, TTL_MAX),
            ("none", vec![], 1_000_000, NEGATIVE_TTL_MAX),
        ] {
            cache.put(START, name, &addrs, Duration::from_secs(ttl_s));
            let end = START + kept;
            assert_eq!(cache.get(Instant(end.0 - 1), name), Some(addrs), "{name}");
            assert_eq!(cache.get(end, name), None, "{name}");
        }
        assert_eq!((cache.bytes, cache.order.len()), (0, 0), "what is over is forgotten");
    }

    #[test]
    fn a_newer_answer_takes_the_place_of_the_older() {
        let mut cache = Cache::default();
        cache.put(START, "a", &ip(1), TTL_MAX);
        cache.put(START, "a", &ip(2), TTL_MAX);
        assert_eq!(cache.get(START, "a"), Some(ip(2)));
        assert_eq!((cache.entries.len(), cache.order.len(), cache.bytes), (1, 1, size("a", &ip(2))));
    }

    #[test]
    fn names_without_end_push_out_the_least_used_only() {
        let mut cache = Cache::default();
        cache.put(START, "wanted", &ip(1), TTL_MAX);
        for n in 0..3 * ENTRIES_MAX {
            cache.put(START, &format!("name-{n}"), &ip(2), TTL_MAX);
            assert!(cache.get(START, "wanted").is_some(), "{n}");
        }
        assert!(cache.entries.len() <= ENTRIES_MAX && cache.bytes <= BYTES_MAX);
        assert_eq!(cache.entries.len(), cache.order.len());
        assert!(cache.get(START, "name-1").is_none());
    }

    #[test]
    fn long_names_with_many_addresses_are_bounded_in_bytes() {
        let mut cache = Cache::default();
        let addrs: Vec<IpAddr> = (0..16).map(|n| IpAddr::from([n, 0, 0, 0, 0, 0, 0, 1])).collect();
        for n in 0..ENTRIES_MAX {
            cache.put(START, &format!("{n:0>253}"), &addrs, TTL_MAX);
        }
        assert!(cache.bytes <= BYTES_MAX && cache.bytes > BYTES_MAX - 2000, "{}", cache.bytes);
        let counted: usize = cache.entries.iter().map(|(name, e)| size(name, &e.addrs)).sum();
        assert_eq!(cache.bytes, counted);
    }
}
