//! Who holds a place in the proxy, and who gives it up when all are taken.
//!
//! A connection may be still for as long as it likes while there is room. When there is none and another program knocks,
//! one goes that can best be done without: first one between two requests.

use core::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// A head that is not complete after this long makes room, when room is needed.
pub(super) const HEAD_SPARED: Duration = Duration::from_secs(5);
/// So does a connection whose program sends no more, when nothing moved for this long: it may have gone.
pub(super) const ENDING_SPARED: Duration = Duration::from_secs(5);
/// So does any other, when nothing moved for this long.
pub(super) const STILL_SPARED: Duration = Duration::from_secs(60);

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its handshake or request is on its way.
    Head,
    /// It waits for another request: nothing is lost with it.
    Between,
    /// A request or a tunnel is under way.
    Busy,
    /// The same, and the program sends no more.
    Ending,
}

/// A place in the proxy, as its holder keeps it up to date.
#[derive(Debug)]
pub(super) struct Place {
    stage: Cell<Stage>,
    /// When bytes last moved, or the stage changed.
    moved: Cell<Instant>,
    /// The user it belongs to, once that is known.
    holder: Cell<Option<[u8; 16]>>,
}

impl Place {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self { stage: Cell::new(Stage::Head), moved: Cell::new(Instant::now()), holder: Cell::new(None) })
    }

    pub(super) fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// From now on the connection is there.
    pub(super) fn enter(&self, stage: Stage) {
        self.stage.set(stage);
        self.moved();
    }

    /// Bytes moved.
    pub(super) fn moved(&self) {
        self.moved.set(Instant::now());
    }

    /// Its user is known.
    pub(super) fn belongs_to(&self, holder: [u8; 16]) {
        self.holder.set(Some(holder));
    }
}

/// All places that are taken: as many as the proxy has at most.
#[derive(Default)]
pub(super) struct Places(Vec<(Rc<Place>, AbortHandle)>);

impl Places {
    /// A connection's task took a place.
    pub(super) fn add(&mut self, place: Rc<Place>, task: AbortHandle) {
        self.0.push((place, task));
    }

    /// Forgets those whose tasks have ended.
    pub(super) fn prune(&mut self) {
        self.0.retain(|(_, task)| !task.is_finished());
    }

    /// Ends the connection that can best be done without; false where each is spared.
    pub(super) fn make_room(&mut self) -> bool {
        let all: Vec<_> = self.0.iter().map(|(place, _)| &**place).collect();
        let Some(victim) = victim(&all, Instant::now()) else { return false };
        self.0.swap_remove(victim).1.abort();
        true
    }
}

/// Which place is given up.
// spec: PROXY-37
fn victim(places: &[&Place], now: Instant) -> Option<usize> {
    let stillest = |wanted: &dyn Fn(&Place) -> bool, spared: Duration| {
        let found = places.iter().enumerate().filter(|(_, place)| wanted(place)).min_by_key(|(_, p)| p.moved.get());
        found.filter(|(_, p)| now.saturating_duration_since(p.moved.get()) >= spared).map(|(at, _)| at)
    };
    let at = |stage| move |place: &Place| place.stage() == stage;
    stillest(&at(Stage::Between), Duration::ZERO)
        .or_else(|| stillest(&at(Stage::Head), HEAD_SPARED))
        .or_else(|| stillest(&at(Stage::Ending), ENDING_SPARED))
        .or_else(|| {
            let largest = largest_holder(places);
            stillest(&|place| Some(place.holder.get()) == largest, STILL_SPARED)
        })
        .or_else(|| stillest(&|_| true, STILL_SPARED))
}

/// Who holds the most places.
fn largest_holder(places: &[&Place]) -> Option<Option<[u8; 16]>> {
    let mut held = BTreeMap::<_, usize>::new();
    for place in places {
        *held.entry(place.holder.get()).or_default() += 1;
    }
    held.into_iter().max_by_key(|&(_, held)| held).map(|(holder, _)| holder)
}

#[cfg(test)]
mod tests {
    use super::super::upstream::Isolator;
    use super::*;
    use crate::node::proxy::codec::socks::Credentials;

    /// A place on which nothing moved since `still` seconds before `now`.
    fn place(now: Instant, stage: Stage, user: &str, still: u64) -> Rc<Place> {
        let who = Credentials { user: user.into(), password: Vec::new() };
        let place = Place::new();
        place.enter(stage);
        place.moved.set(now.checked_sub(Duration::from_secs(still)).unwrap());
        place.belongs_to(Isolator::new([0; 32], false).user(&who));
        place
    }

    fn chosen(places: &[(Stage, &str, u64)]) -> Option<usize> {
        // Far enough from the clock's start that all of these times exist.
        let now = Instant::now() + Duration::from_secs(10_000);
        let places: Vec<_> = places.iter().map(|&(stage, user, still)| place(now, stage, user, still)).collect();
        victim(&places.iter().map(|place| &**place).collect::<Vec<_>>(), now)
    }

    // spec: PROXY-37
    #[test]
    fn what_can_best_be_done_without_goes_first() {
        use Stage::{Between, Busy, Ending, Head};
        let busy = (Busy, "a", 900);
        assert_eq!(chosen(&[busy, (Ending, "a", 800), (Head, "a", 20), (Between, "a", 0)]), Some(3));
        assert_eq!(chosen(&[busy, (Ending, "a", 800), (Head, "a", 20)]), Some(2));
        assert_eq!(chosen(&[busy, (Ending, "a", 800), (Head, "a", 4)]), Some(1), "a head has its time");
        assert_eq!(chosen(&[busy, (Ending, "a", 4)]), Some(0));
        assert_eq!(chosen(&[(Busy, "a", 59), (Ending, "a", 4), (Head, "a", 1)]), None, "all are in use");
    }

    // spec: PROXY-37
    #[test]
    fn the_longest_still_of_the_user_with_the_most_goes_first() {
        use Stage::Busy;
        let of = |user, still| (Busy, user, still);
        assert_eq!(chosen(&[of("a", 900), of("b", 70), of("b", 80), of("b", 75)]), Some(2));
        assert_eq!(chosen(&[of("a", 900), of("b", 1), of("b", 2)]), Some(0), "the one with the most uses all of his");
    }
}
