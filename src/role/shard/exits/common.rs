//! Places for exit connections that the shards of one relay have in common.
//!
//! All circuits that come over one link belong to one shard, and so do all streams of a busy client. Divided evenly, the
//! places of the other shards would be of no use to it.

use core::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

/// Of all places, one eighth is divided evenly, so that no shard is left without any.
const SURE_PART: usize = 8;

/// How many exit connections and look-ups the shards of one relay may have together.
#[derive(Clone, Debug)]
pub struct ExitPlaces {
    /// What each shard has in any case.
    sure: usize,
    /// What whoever asks first has, besides.
    max: usize,
    taken: Arc<AtomicUsize>,
}

impl ExitPlaces {
    /// For this many shards, and how many places all of them have together.
    // spec: STREAM-35
    pub fn new(places: usize, shards: usize) -> Self {
        let sure = places / SURE_PART / shards.max(1);
        Self { sure, max: places.saturating_sub(sure * shards), taken: Arc::default() }
    }
}

/// What one shard has of them.
#[derive(Default)]
pub(super) struct HeldPlaces {
    of: Option<ExitPlaces>,
    /// How many more than are sure.
    beyond: usize,
}

impl HeldPlaces {
    pub(super) fn of(places: ExitPlaces) -> Self {
        Self { of: Some(places), beyond: 0 }
    }

    /// Whether a shard that holds this many finds no place for one more.
    pub(super) fn is_full(&self, held: usize) -> bool {
        self.of.as_ref().is_some_and(|p| held >= p.sure && p.taken.load(Ordering::Relaxed) >= p.max)
    }

    /// The shard holds this many now. Two shards that find the last place at once both have it.
    pub(super) fn hold(&mut self, held: usize) {
        let Some(places) = &self.of else { return };
        let beyond = held.saturating_sub(places.sure);
        if beyond > self.beyond {
            places.taken.fetch_add(beyond - self.beyond, Ordering::Relaxed);
        } else {
            places.taken.fetch_sub(self.beyond - beyond, Ordering::Relaxed);
        }
        self.beyond = beyond;
    }
}

impl Drop for HeldPlaces {
    fn drop(&mut self) {
        self.hold(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: STREAM-35
    #[test]
    fn a_shard_has_what_the_others_leave_and_is_sure_of_its_part() {
        let places = ExitPlaces::new(160, 2);
        let (mut busy, mut quiet) = (HeldPlaces::of(places.clone()), HeldPlaces::of(places));
        let fill = |shard: &mut HeldPlaces| {
            let mut held = 0;
            while !shard.is_full(held) {
                held += 1;
                shard.hold(held);
            }
            held
        };
        assert_eq!(fill(&mut busy), 150, "all but what is sure to the other");
        assert_eq!(fill(&mut quiet), 10);
        busy.hold(149);
        assert!(!quiet.is_full(10), "a place became free");
        quiet.hold(11);
        assert!(busy.is_full(149) && quiet.is_full(11));
        drop(busy);
        assert_eq!(fill(&mut quiet), 150, "a shard that ended leaves its own");
    }
}
