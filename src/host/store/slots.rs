//! Places of blocks in the data file: pages of 64 KiB, each with one large block or up to sixteen small ones.

use crate::wire::content::Class;
use std::collections::{BTreeMap, BTreeSet};

/// Small blocks on one page.
const SMALL_PER_PAGE: u32 = 16;
/// Bytes of a unit, in which places are numbered: a small block.
pub(super) const UNIT: u64 = 4_096;

/// Which places are taken, and how many pages there may be.
pub(super) struct Slots {
    max_pages: u32,
    /// Pages of the file now.
    pages: u32,
    /// Pages of the file with no block.
    free: BTreeSet<u32>,
    /// Pages of small blocks that are not full, with a bit for each place that is taken.
    small: BTreeMap<u32, u16>,
}

impl Slots {
    /// An empty file, which may have `max_pages` pages.
    pub(super) fn new(max_pages: u32) -> Self {
        Self { max_pages, pages: 0, free: BTreeSet::new(), small: BTreeMap::new() }
    }

    /// Marks the places that are taken, given as class and unit. Called at the start.
    pub(super) fn load(&mut self, taken: impl IntoIterator<Item = (Class, u32)>) {
        let mut pages: BTreeMap<u32, u16> = BTreeMap::new();
        for (class, unit) in taken {
            let bits = pages.entry(unit / SMALL_PER_PAGE).or_default();
            *bits |= if class == Class::Large { u16::MAX } else { 1 << (unit % SMALL_PER_PAGE) };
        }
        self.pages = pages.last_key_value().map_or(0, |(page, _)| page + 1);
        self.free = (0..self.pages).filter(|p| !pages.contains_key(p)).collect();
        self.small = pages.into_iter().filter(|(_, bits)| *bits != u16::MAX).collect();
    }

    /// Length of the data file, in bytes.
    pub(super) fn file_bytes(&self) -> u64 {
        u64::from(self.pages) * u64::from(SMALL_PER_PAGE) * UNIT
    }

    /// Bytes that can be taken without making the file longer.
    pub(super) fn free_bytes(&self) -> u64 {
        self.free.range(..self.max_pages).count() as u64 * u64::from(SMALL_PER_PAGE) * UNIT
    }

    /// Whether the next place of this class makes the file longer.
    pub(super) fn would_grow(&self, class: Class) -> bool {
        let is_low = |page: &u32| *page < self.max_pages;
        let small = class == Class::Small && self.small.keys().next().is_some_and(is_low);
        !small && !self.free.first().is_some_and(is_low)
    }

    /// Whether a place is beyond the file's limit, which was higher at an earlier start.
    pub(super) fn is_beyond(&self, unit: u32) -> bool {
        unit / SMALL_PER_PAGE >= self.max_pages
    }

    fn page(&mut self) -> Option<u32> {
        if let Some(page) = self.free.first().copied().filter(|page| *page < self.max_pages) {
            self.free.remove(&page);
            return Some(page);
        }
        let page = self.pages;
        (page < self.max_pages).then(|| {
            self.pages += 1;
            page
        })
    }

    /// Takes a place; `None` if the file is full.
    pub(super) fn take(&mut self, class: Class) -> Option<u32> {
        if class == Class::Large {
            return self.page().map(|p| p * SMALL_PER_PAGE);
        }
        let open = self.small.first_entry().filter(|e| *e.key() < self.max_pages).map(|e| e.remove_entry());
        let (page, bits) = match open {
            Some(open) => open,
            None => (self.page()?, 0),
        };
        let at = bits.trailing_ones();
        let bits = bits | 1 << at;
        if bits != u16::MAX {
            self.small.insert(page, bits);
        }
        Some(page * SMALL_PER_PAGE + at)
    }

    /// Gives a place back.
    pub(super) fn give(&mut self, class: Class, unit: u32) {
        let page = unit / SMALL_PER_PAGE;
        if class == Class::Small {
            let bits = self.small.get(&page).copied().unwrap_or(u16::MAX) & !(1 << (unit % SMALL_PER_PAGE));
            if bits != 0 {
                self.small.insert(page, bits);
                return;
            }
            self.small.remove(&page);
        }
        self.free.insert(page);
        // The file ends with the last page that is taken.
        while self.pages > 0 && self.free.remove(&(self.pages - 1)) {
            self.pages -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_never_overlap_and_the_file_never_passes_its_limit() {
        let mut slots = Slots::new(3);
        let large = slots.take(Class::Large).unwrap();
        let small: Vec<u32> = (0..17).map(|_| slots.take(Class::Small).unwrap()).collect();
        assert_eq!((large, &small[..2], small[16]), (0, &[16, 17][..], 32));
        assert_eq!(slots.take(Class::Large), None, "the third page has a small block");
        slots.give(Class::Small, small[16]);
        assert_eq!(slots.take(Class::Large), Some(32));
        slots.give(Class::Small, small[3]);
        assert_eq!(slots.take(Class::Small), Some(small[3]));
        assert_eq!((slots.take(Class::Small), slots.file_bytes()), (None, 3 * 65_536));
    }

    #[test]
    fn places_that_are_taken_are_known_again_after_a_start() {
        let mut slots = Slots::new(9);
        slots.load([(Class::Large, 32), (Class::Small, 50), (Class::Small, 48)]);
        assert_eq!(slots.file_bytes(), 4 * 65_536);
        assert_eq!(slots.take(Class::Small), Some(49));
        assert_eq!([0; 3].map(|_| slots.take(Class::Large)), [Some(0), Some(16), Some(64)]);
    }
}
