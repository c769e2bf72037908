//! How records spread: news is announced to a few relays, which say what of it they lack; and now and then two relays find out
//! by their sketches what they do not have in common. Both cost what is new or differs, and not what is held.

use super::{DirOutput, JOIN_RETRY_FIRST, Pending, RelayDirectory, WARM_ROUND_FIRST};
use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant, Now, UnixMs};
use crate::proto::directory::records::Taken;
use crate::proto::directory::sketch::{Difference, SUMS_MAX, difference};
use crate::wire::descriptor::SignedDescriptor;
use crate::wire::directory::{DirectoryAnswer, DirectoryRequest, SUMS_ASKED_MAX, Sum, TAGS_MAX};
use crate::wire::ids::RelayId;
use crate::wire::lists::lists;
use std::collections::VecDeque;
use std::sync::Arc;

/// Rounds after which one push peer is replaced.
const TURN_EVERY: u32 = 16;
/// One round in this many is with any relay, the others are with push peers, to which there are links.
const STRANGER_EVERY: u32 = 4;
/// How long new records are gathered before they are announced together, at least.
pub const PUSH_DELAY: Duration = Duration::from_millis(20);
/// And this part of the time between two cuts, so that a large network, which cuts seldom, fills its cells.
const PUSH_DELAY_OF_PERIOD: u32 = 100;
/// But never longer.
const PUSH_DELAY_MAX: Duration = Duration::from_secs(60);
/// While very much comes it is up to this many times the least: then each call carries much.
const PUSH_DELAY_FACTOR_MAX: u32 = 25;
/// New records that one delay is for; for each more of them that came together the next ones wait longer.
const PUSH_BATCH: usize = 4;
/// Fewer bytes of new records are pushed unasked: they cost a cell, as their announcement would.
pub const UNASKED_MAX: usize = 1200;
/// New records that wait to be announced; more come by comparison.
const FRESH_MAX: usize = 4096;
/// Records asked for at once: the longest ones fit a list.
const FETCHED_AT_ONCE: usize = 64;
/// Sums asked for first.
pub const SUMS_FIRST: usize = 48;
/// Records given to the other relay after one comparison. It compares too, and asks for the rest.
const GIVEN_MAX: usize = 1024;
/// Calls of one comparison.
const ROUND_CALLS_MAX: usize = 2048;
/// The salt of a relay's sketch is another one after this long.
const SALT_LIFETIME: Duration = Duration::from_secs(3600);

/// How long news is gathered in a network that cuts so often, if not much comes. To the last of `n` relays it takes some
/// `log4(n)` of these times.
pub fn gather_time(period: Duration) -> Duration {
    (period / PUSH_DELAY_OF_PERIOD).clamp(PUSH_DELAY, PUSH_DELAY_MAX)
}

/// What is new here and was not announced.
#[derive(Default)]
pub(super) struct News {
    tags: Vec<u64>,
    at: Option<Instant>,
    /// How many were announced together last.
    last: usize,
    /// By how much that was late: this machine, or this thread, has more to do than it can.
    late: Duration,
}

impl News {
    /// Something is new, in a network that cuts so often. What finds no room is left to comparisons.
    pub(super) fn add(&mut self, tag: u64, period: Duration, now: Instant) {
        if self.tags.len() >= FRESH_MAX {
            return;
        }
        self.tags.push(tag);
        let factor = u32::try_from(self.last / PUSH_BATCH).unwrap_or(u32::MAX).clamp(1, PUSH_DELAY_FACTOR_MAX);
        let rushed = PUSH_DELAY.saturating_mul(factor).max(self.late.saturating_mul(2));
        let rushed = rushed.min(PUSH_DELAY.saturating_mul(PUSH_DELAY_FACTOR_MAX));
        self.at.get_or_insert(now + rushed.max(gather_time(period)));
    }

    /// When it is to be announced.
    pub(super) fn due(&self) -> Option<Instant> {
        self.at
    }

    /// Takes it all, if it is time.
    fn take(&mut self, now: Instant) -> Option<Vec<u64>> {
        let at = self.at.take_if(|at| *at <= now)?;
        (self.late, self.last) = (now.since(at), self.tags.len());
        Some(core::mem::take(&mut self.tags))
    }
}

/// A comparison with another relay.
pub(super) struct Round {
    pub(super) peer: RelayId,
    salt: Option<u64>,
    sums: Vec<Sum>,
    /// How many sums to ask for next.
    wants: usize,
    /// All tags of the other one are asked for in order, these and the following next; its sums were too few.
    listing: Option<u64>,
    /// What is to be fetched from it.
    lacking: VecDeque<u64>,
    /// The sums said what they can.
    is_read: bool,
    calls: usize,
}

impl Round {
    pub(super) fn with(peer: RelayId) -> Self {
        Self {
            peer,
            salt: None,
            sums: Vec::new(),
            wants: SUMS_FIRST,
            listing: None,
            lacking: VecDeque::new(),
            is_read: false,
            calls: 0,
        }
    }

    /// What to ask next; `None` at the end.
    fn next(&mut self) -> Option<DirectoryRequest> {
        self.calls += 1;
        // spec: GOSSIP-8
        if self.calls > ROUND_CALLS_MAX {
            return None;
        }
        if !self.lacking.is_empty() {
            let part = self.lacking.drain(..self.lacking.len().min(FETCHED_AT_ONCE)).collect();
            return Some(DirectoryRequest::Fetch(part));
        }
        if let Some(from) = self.listing {
            return Some(DirectoryRequest::List(from));
        }
        let have = self.sums.len();
        let wanted = self.wants.min(SUMS_MAX.saturating_sub(have)).min(SUMS_ASKED_MAX);
        let number = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        Some(DirectoryRequest::Sketch { from: number(have), count: number(wanted) })
    }
}

impl RelayDirectory {
    /// Announces what is new to the push peers. What is so little that its announcement would cost as much goes at once.
    // spec: GOSSIP-2
    pub(super) fn announce(&mut self, now: Now, rng: &mut Rng) {
        let Some(tags) = self.news.take(now.mono) else { return };
        let to = self.peers.push_to(self.own, &self.ids, now.mono, rng);
        let peers = to.iter().copied().collect();
        if self.pushed_to != peers {
            self.pushed_to.clone_from(&peers);
            self.out.push_back(DirOutput::Peers(peers));
        }
        let held = self.records.all_tagged(&tags);
        held.iter().for_each(|r| self.records.passed_on(r));
        let bytes: usize = held.iter().map(|r| r.bytes().len()).sum();
        for peer in to {
            if bytes <= UNASKED_MAX {
                let list: Vec<_> = held.iter().filter(|r| r.id() != peer).cloned().collect();
                self.deliver(peer, &list, now);
                continue;
            }
            for part in tags.chunks(TAGS_MAX) {
                if self.room() {
                    let pending = Pending::Announced(part.to_vec());
                    self.call(now, peer, pending, &DirectoryRequest::Announce(part.to_vec()));
                } else {
                    self.not_announced(part);
                }
            }
        }
    }

    /// Brings these records to another relay. Where there is no room for the call they are not passed on.
    fn deliver(&mut self, peer: RelayId, list: &[Arc<SignedDescriptor>], now: Now) {
        for part in lists(list, |r| r.bytes().len()) {
            if self.room() {
                let of = part.iter().map(|r| r.id()).collect();
                let request = DirectoryRequest::Put(part.iter().map(|r| r.bytes().to_vec()).collect());
                self.call(now, peer, Pending::Push(of), &request);
            } else {
                part.iter().for_each(|r| self.records.refused(&r.id()));
            }
        }
    }

    /// These were not passed on: others may not have them.
    pub(super) fn not_announced(&mut self, tags: &[u64]) {
        self.records.all_tagged(tags).iter().for_each(|r| self.records.refused(&r.id()));
    }

    /// The other relay said what of an announcement it lacks.
    // spec: GOSSIP-6
    pub(super) fn wanted(&mut self, peer: RelayId, tags: &[u64], bits: &[u8], now: Now) {
        let wants = |n: usize| bits.get(n / 8).is_some_and(|byte| byte & (0x80 >> (n % 8)) != 0);
        let wanted: Vec<_> = tags.iter().enumerate().filter(|(n, _)| wants(*n)).map(|(_, tag)| *tag).collect();
        self.give(peer, &wanted, now);
    }

    /// Brings these records to a relay that lacks them.
    fn give(&mut self, peer: RelayId, tags: &[u64], now: Now) {
        self.deliver(peer, &self.records.all_tagged(tags), now);
    }

    /// Begins a comparison with another relay, and asks it for its newest statement.
    pub(super) fn start_round(&mut self, now: Now, rng: &mut Rng) {
        if self.rounds.is_multiple_of(TURN_EVERY) {
            self.peers.turn(rng);
        }
        let interval = self.profile.gossip_interval.max(gather_time(self.period()));
        let warm = WARM_ROUND_FIRST.saturating_mul(1 << self.rounds.min(12)).min(interval);
        let jitter = rng.below(1 + usize::try_from(warm.as_millis() / 2).unwrap_or(0)) as u64;
        self.round_at = now.mono + warm.mul_f32(0.75) + Duration::from_millis(jitter);
        let among = if self.rounds.is_multiple_of(STRANGER_EVERY) { &self.ids[..] } else { self.peers.pushed() };
        let among = if among.is_empty() { &self.ids[..] } else { among };
        let Some(peer) = self.peers.any(among, now.mono, rng) else { return };
        self.rounds = self.rounds.saturating_add(1);
        self.compare(peer, now, rng);
        self.call(now, peer, Pending::Newest, &DirectoryRequest::Statement(UnixMs(0)));
        self.ask_reports(now, peer);
        let given = self.rolls.given();
        self.ask_for_rolls(now, peer, given);
    }

    /// Compares with this relay.
    // spec: GOSSIP-1
    pub(super) fn compare(&mut self, peer: RelayId, now: Now, rng: &mut Rng) {
        // spec: GOSSIP-9
        if self.salted_at.is_none_or(|at| now.mono >= at + SALT_LIFETIME) {
            self.salted_at = Some(now.mono);
            self.records.set_salt(u64::from_be_bytes(rng.bytes()));
        }
        self.round = Some(Round::with(peer));
        self.next_step(now);
    }

    fn next_step(&mut self, now: Now) {
        let Some(round) = &mut self.round else { return };
        let is_over = round.lacking.is_empty() && round.listing.is_none() && round.is_read;
        match round.next().filter(|_| !is_over) {
            Some(request) => {
                let peer = round.peer;
                self.call(now, peer, Pending::Round, &request);
            }
            None => self.round_over(now),
        }
    }

    /// The other relay's answer in a comparison; false where it is none, and the comparison failed.
    // spec: GOSSIP-7
    pub(super) fn compared(&mut self, peer: RelayId, answer: Option<DirectoryAnswer>, now: Now) -> bool {
        let Some(mut round) = self.round.take_if(|r| r.peer == peer) else { return true };
        let good = match answer {
            Some(DirectoryAnswer::Sums { salt, items, from, sums }) => {
                self.take_sums(&mut round, (salt, items), from, sums, now)
            }
            Some(DirectoryAnswer::Listed { more, tags }) => self.take_list(&mut round, more, &tags, now),
            Some(DirectoryAnswer::Items(list)) => self.take_items(&list, now),
            _ => false,
        };
        if good {
            self.round = Some(round);
            self.next_step(now);
        } else {
            self.round_failed(now);
        }
        good
    }

    fn take_sums(&mut self, round: &mut Round, (salt, items): (u64, u32), from: u16, sums: Vec<Sum>, now: Now) -> bool {
        let fits = usize::from(from) == round.sums.len() && round.salt.is_none_or(|s| s == salt);
        if !fits || round.listing.is_some() || round.is_read {
            // Its salt changed meanwhile, or it answers something else.
            return false;
        }
        round.salt = Some(salt);
        let is_last = sums.is_empty() || round.sums.len() + sums.len() >= SUMS_MAX;
        round.sums.extend(sums);
        let more = usize::try_from(items.abs_diff(self.records.sketch().items())).unwrap_or(usize::MAX);
        // A sum and a half for each record in which we differ, at 14 bytes; or all tags at 8.
        let is_far = more.saturating_mul(21) > usize::try_from(items).unwrap_or(usize::MAX).saturating_mul(8);
        round.wants = round.sums.len().max(more.saturating_mul(3) / 2);
        match difference(&round.sums, salt, self.records.tags(0)) {
            Some(Difference { theirs, ours }) => {
                round.is_read = true;
                round.lacking = theirs.into_iter().collect();
                let ours: Vec<_> = ours.into_iter().take(GIVEN_MAX).collect();
                self.give(round.peer, &ours, now);
            }
            None if is_last || is_far => (round.is_read, round.listing) = (true, Some(0)),
            None => {}
        }
        true
    }

    fn take_list(&mut self, round: &mut Round, more: bool, tags: &[u64], now: Now) -> bool {
        let Some(from) = round.listing else { return false };
        let rises = tags.first().is_none_or(|tag| *tag >= from) && tags.is_sorted_by(|a, b| a < b);
        let (Some(last), true) = (tags.last().copied().or((!more).then_some(u64::MAX)), rises) else { return false };
        round.lacking = tags.iter().filter(|tag| self.records.tagged(**tag).is_none()).copied().collect();
        round.listing = last.checked_add(1).filter(|_| more);
        let end = if more { last } else { u64::MAX };
        let ours = self.records.tags(from).take_while(|tag| *tag <= end);
        let ours: Vec<_> = ours.filter(|tag| tags.binary_search(tag).is_err()).take(GIVEN_MAX).collect();
        self.give(round.peer, &ours, now);
        true
    }

    /// Takes what was fetched. A relay that names what it does not give is left.
    fn take_items(&mut self, list: &[Vec<u8>], now: Now) -> bool {
        let mut good = false;
        for bytes in list {
            match self.records.offer(bytes, now.unix) {
                Taken::New(record) => {
                    self.learned(record, now);
                    good = true;
                }
                Taken::Held => good = true,
                Taken::Refused => {}
            }
        }
        good
    }

    fn round_failed(&mut self, now: Now) {
        self.round = None;
        let pause = JOIN_RETRY_FIRST.saturating_mul(1 << self.join_failures.min(10)).min(self.profile.gossip_interval);
        self.join_failures = self.join_failures.saturating_add(1);
        if !self.joined {
            // spec: GOSSIP-5
            self.round_at = now.mono + pause;
        }
    }

    fn round_over(&mut self, now: Now) {
        self.round = None;
        if !self.joined {
            self.joined = true;
            self.rounds = 0;
            self.aim(now);
        }
    }
}
