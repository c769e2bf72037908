//! How far a node is on its way to a directory: what it does, what it waits for, and what comes next.

use crate::base::time::{Duration, Instant, Now};

/// What a node is doing about its directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Nothing yet.
    #[default]
    Starting,
    /// There is nobody to ask.
    NoSource,
    /// One source after the other is asked for its newest set: the how-manieth, of how many.
    Asking(usize, usize),
    /// All sources failed lately; the next attempt is at that time.
    Waiting(&'static str, Instant),
    /// The set is fetched: records that are there, of how many.
    Fetching(usize, usize),
    /// Signers are asked.
    Checking {
        /// Those that answered.
        answered: usize,
        /// Those that were drawn.
        drawn: usize,
        /// Those that must name the same set.
        needed: usize,
    },
    /// The slower seeds are waited for.
    Comparing,
    /// A relay gathers records: how many it holds; when the next cut is, where it knows.
    Gathering(usize, Option<Instant>),
    /// There is a directory; when the next is looked for.
    Settled(Instant),
}

impl Stage {
    /// How much of the way to the first work is done, in percent. A working circuit is the rest.
    pub fn percent(&self) -> u8 {
        let part = |from: usize, to: usize, done: usize, of: usize| {
            let span = to.saturating_sub(from).saturating_mul(done.min(of)).checked_div(of).unwrap_or(0);
            u8::try_from(from.saturating_add(span)).unwrap_or(u8::MAX)
        };
        match *self {
            Self::Starting | Self::NoSource => 0,
            Self::Asking(..) | Self::Waiting(..) => 5,
            Self::Fetching(got, of) => part(10, 60, got, of),
            Self::Checking { answered, needed, .. } => part(60, 85, answered, needed),
            Self::Comparing => 85,
            Self::Gathering(..) => 20,
            Self::Settled(_) => 90,
        }
    }

    /// What the node is doing, for people: a clause without a full stop.
    pub fn reason(&self) -> String {
        match *self {
            Self::Starting => "starting".into(),
            Self::NoSource => "no relay of the network is known".into(),
            Self::Asking(nth, of) => format!("asking relay {nth} of {of} for the set of relays"),
            Self::Waiting(why, _) => format!("the relay asked last gave no directory: {why}"),
            Self::Fetching(got, of) => format!("fetching the set of relays: {got} of {of} are here"),
            Self::Checking { answered, drawn, .. } => format!("{answered} of {drawn} signers answered"),
            Self::Comparing => "comparing what the other seeds say".into(),
            Self::Gathering(known, _) => format!("gathering relays: {known} known"),
            Self::Settled(_) => "the directory is there".into(),
        }
    }

    /// What comes next, and when, for people: a clause without a full stop.
    pub fn next(&self, now: Now) -> String {
        let seconds = |at: Instant| at.since(now.mono).as_millis().div_ceil(1000);
        match *self {
            Self::Starting | Self::Asking(..) => "then its set is fetched and checked with other relays".into(),
            Self::NoSource => "start the node once more with an invite".into(),
            Self::Waiting(_, at) => format!("the next is asked in {} s", seconds(at)),
            Self::Fetching(..) => "then it is checked with other relays".into(),
            Self::Checking { needed, .. } => format!("{needed} must name the same set"),
            Self::Comparing => "for two seconds at most".into(),
            Self::Gathering(_, Some(at)) => format!("next cut in {} s", seconds(at)),
            Self::Gathering(_, None) => "the first cut needs three relays".into(),
            Self::Settled(at) => format!("the next set is looked for in {} s", seconds(at)),
        }
    }

    /// Whether somebody who reads a log should hear of the step from `before` to this.
    pub fn is_news_after(&self, before: &Self) -> bool {
        let far = self.percent().abs_diff(before.percent()) >= 10;
        core::mem::discriminant(self) != core::mem::discriminant(before) || far
    }
}

/// Why a directory that most relays confirm, or none, deserves a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dispute {
    /// Signers drawn for the newest cut that was offered.
    pub drawn: usize,
    /// The most that named one set.
    pub named: usize,
    /// Those that answered at all.
    pub answered: usize,
    /// How old the set is that stays in use.
    pub age: Duration,
    /// When it will not be used any more.
    pub ends_in: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::UnixMs;

    #[test]
    fn the_way_goes_up_and_says_what_comes_next() {
        let now = Now { mono: Instant(5_000_000), unix: UnixMs(1) };
        let at = now.mono + Duration::from_millis(39_400);
        let way = [
            Stage::Starting,
            Stage::Asking(2, 4),
            Stage::Fetching(0, 9),
            Stage::Fetching(9, 9),
            Stage::Checking { answered: 3, drawn: 49, needed: 30 },
            Stage::Checking { answered: 30, drawn: 49, needed: 30 },
            Stage::Comparing,
            Stage::Settled(at),
        ];
        assert!(way.is_sorted_by(|a, b| a.percent() <= b.percent()) && way[7].percent() < 100);
        assert_eq!(way[1].reason(), "asking relay 2 of 4 for the set of relays");
        assert_eq!(
            (way[4].reason(), way[4].next(now)),
            ("3 of 49 signers answered".into(), "30 must name the same set".into())
        );
        assert_eq!(Stage::Gathering(2, Some(at)).next(now), "next cut in 40 s");
        assert!(way[3].is_news_after(&way[2]) && !Stage::Fetching(1, 90).is_news_after(&Stage::Fetching(2, 90)));
        assert_eq!(
            (Stage::Fetching(0, 0).percent(), Stage::Checking { answered: 9, drawn: 9, needed: 0 }.percent()),
            (10, 60)
        );
    }
}
