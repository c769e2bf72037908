//! The rolls of a private network that a relay holds: whose membership its founders took back (spec 18).

use crate::base::time::UnixMs;
use crate::crypto::hash::blake3;
use crate::proto::profile::Profile;
use crate::wire::descriptor::SignedDescriptor;
use crate::wire::ids::NetworkId;
use crate::wire::roll::{Roll, RollKey};
use std::collections::{BTreeMap, BTreeSet};

/// Rounds in which a relay gives rolls unasked, after one was new to it.
const GIVING_ROUNDS: u32 = 8;

/// Member keys that count for nothing.
pub type Revoked = BTreeSet<[u8; 32]>;

/// What became of a roll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakenRoll {
    /// It is new to us: tell others.
    New,
    /// We have it, or a later one of its founder.
    Held,
    /// It does not verify, is of the future, or this is no private network.
    Refused,
}

#[derive(Clone)]
struct Held {
    key: RollKey,
    roll: Roll,
}

/// The newest roll of each founder that is in time for the next cut, and the newest of all.
pub struct Rolls {
    network: NetworkId,
    profile: &'static Profile,
    next_cut: UnixMs,
    held: BTreeMap<u8, Vec<Held>>,
    /// Rounds of anti-entropy in which they are still given unasked.
    to_give: u32,
}

/// How a roll is named: its place in the order of its founder's.
fn key(roll: &Roll, bytes: &[u8]) -> RollKey {
    let [a, b, c, d, e, f, g, h, ..] = blake3(bytes);
    RollKey { founder: roll.founder(), written: roll.written, tag: u64::from_be_bytes([a, b, c, d, e, f, g, h]) }
}

fn rank(key: &RollKey) -> (UnixMs, u64) {
    (key.written, key.tag)
}

impl Rolls {
    /// None yet.
    pub fn new(network: NetworkId, profile: &'static Profile) -> Self {
        Self { network, profile, next_cut: UnixMs(0), held: BTreeMap::new(), to_give: 0 }
    }

    fn in_time(&self, key: &RollKey, cut: UnixMs) -> bool {
        key.written <= cut.minus(self.profile.cuts.late_window)
    }

    /// Whether this roll would be new: only then it is worth a verification.
    pub fn lacks(&self, bytes: &[u8]) -> bool {
        let Ok(roll) = Roll::decode(bytes) else { return false };
        self.profile.members_only && self.wants(&key(&roll, bytes))
    }

    /// Whether it is newer than all of its founder's, or than those that are in time for the next cut, and is so itself.
    fn wants(&self, key: &RollKey) -> bool {
        let list = self.held.get(&key.founder).map_or(&[][..], Vec::as_slice);
        let is_in_time = |held: &&Held| self.in_time(&held.key, self.next_cut);
        let is_newer = |than: Option<&Held>| than.is_none_or(|held| rank(&held.key) < rank(key));
        is_newer(list.last()) || self.in_time(key, self.next_cut) && is_newer(list.iter().rfind(is_in_time))
    }

    /// Takes a roll that somebody brings.
    pub fn take(&mut self, bytes: &[u8], now: UnixMs) -> TakenRoll {
        let Ok(roll) = Roll::decode(bytes) else { return TakenRoll::Refused };
        if !self.profile.members_only || roll.written > now.plus(self.profile.clock_tolerance) {
            return TakenRoll::Refused;
        }
        let key = key(&roll, bytes);
        // spec: INVITE-11
        if !self.wants(&key) {
            return TakenRoll::Held;
        }
        if roll.verify(self.profile.name, self.network).is_err() {
            return TakenRoll::Refused;
        }
        let list = self.held.entry(key.founder).or_default();
        list.push(Held { key, roll });
        list.sort_unstable_by_key(|held| rank(&held.key));
        self.to_give = GIVING_ROUNDS;
        self.advance(self.next_cut);
        TakenRoll::New
    }

    /// The next cut is this one: of each founder the newest roll that is in time for it stays, and the newest of all.
    pub fn advance(&mut self, next_cut: UnixMs) {
        self.next_cut = next_cut;
        let margin = self.profile.cuts.late_window;
        for list in self.held.values_mut() {
            let counts = list.iter().rposition(|held| held.key.written <= next_cut.minus(margin));
            let (counts, last) = (counts.unwrap_or(usize::MAX), list.len().saturating_sub(1));
            let mut at = 0..;
            list.retain(|_| at.next().is_some_and(|n| n == counts || n == last));
        }
    }

    /// The member keys that count for nothing at this cut.
    // spec: INVITE-11
    pub fn at(&self, cut: UnixMs) -> Revoked {
        let of =
            |list: &Vec<Held>| list.iter().rev().find(|h| self.in_time(&h.key, cut)).map(|h| h.roll.revoked().to_vec());
        self.held.values().filter_map(of).flatten().collect()
    }

    /// Whether a founder took back what this record's relay is a member by.
    pub fn revokes(&self, record: &SignedDescriptor) -> bool {
        let Some(membership) = &record.membership else { return false };
        self.held.values().flatten().any(|held| held.roll.revoked().contains(&membership.member))
    }

    /// The newest roll of each founder, by name.
    pub fn have(&self) -> Vec<RollKey> {
        self.held.values().filter_map(|list| list.last()).map(|held| held.key).collect()
    }

    /// The newest roll of each founder of whom somebody with these has an older one, or none.
    pub fn newer_than(&self, theirs: &[RollKey]) -> Vec<Vec<u8>> {
        let has = |key: &RollKey| theirs.iter().any(|k| k.founder == key.founder && rank(k) >= rank(key));
        self.held.values().filter_map(|list| list.last()).filter(|h| !has(&h.key)).map(|h| h.roll.encode()).collect()
    }

    /// What is given to the next relay in a round of anti-entropy: all, while some are new to us, and then none.
    pub fn given(&mut self) -> Vec<Vec<u8>> {
        if self.to_give == 0 {
            return Vec::new();
        }
        self.to_give = self.to_give.saturating_sub(1);
        self.newer_than(&[])
    }

    /// All that are held.
    pub fn all(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.held.values().flatten().map(|held| held.roll.encode())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Duration;
    use crate::crypto::identity::IdentityKey;
    use crate::wire::membership::Charter;

    const P: &Profile = &Profile::PRIVATE;
    const NOW: UnixMs = UnixMs(1_700_000_000_000);

    fn founder(n: u8) -> IdentityKey {
        IdentityKey::from_bytes([n; 32])
    }

    fn charter() -> Charter {
        Charter::private([9; 32], vec![founder(1).public(), founder(2).public()]).unwrap()
    }

    fn network() -> NetworkId {
        charter().network(P.name)
    }

    fn roll(by: u8, written: UnixMs, keys: &[u8]) -> Vec<u8> {
        let keys = keys.iter().map(|k| [*k; 32]).collect();
        Roll::sign(&charter(), network(), &founder(by), written, keys).unwrap().encode()
    }

    fn rolls() -> Rolls {
        Rolls::new(network(), P)
    }

    fn keys(of: &Revoked) -> Vec<u8> {
        of.iter().map(|k| k[0]).collect()
    }

    fn before(seconds: u64) -> UnixMs {
        NOW.minus(Duration::from_secs(seconds))
    }

    // spec: INVITE-11
    #[test]
    fn the_newest_roll_of_each_founder_that_is_in_time_counts() {
        let mut held = rolls();
        held.advance(NOW);
        assert_eq!(held.take(&roll(1, before(90), &[1, 2]), NOW), TakenRoll::New);
        assert_eq!(held.take(&roll(2, before(30), &[3]), NOW), TakenRoll::New);
        assert_eq!(keys(&held.at(NOW)), [1, 2, 3], "two founders do not undo each other's");
        // An older one, whoever brings it, takes nothing back; a later one counts from the first cut that all have it for.
        assert_eq!(held.take(&roll(1, before(95), &[7]), NOW), TakenRoll::Held);
        assert_eq!(held.take(&roll(1, before(1), &[1, 4]), NOW), TakenRoll::New);
        assert_eq!((keys(&held.at(NOW)), keys(&held.at(NOW.plus(P.cuts.late_window)))), (vec![1, 2, 3], vec![1, 3, 4]));
        held.advance(NOW.plus(P.cuts.period_min));
        assert_eq!(held.all().count(), 2, "what counts no more is forgotten");
        assert_eq!(keys(&held.at(NOW.plus(P.cuts.period_min))), [1, 3, 4]);
    }

    // spec: INVITE-9
    // spec: INVITE-11
    #[test]
    fn what_no_founder_signed_or_the_future_wrote_is_refused() {
        let mut held = rolls();
        let good = roll(1, NOW, &[1]);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_ne!(held.take(&bad, NOW), TakenRoll::New, "byte {at}");
        }
        let late = NOW.plus(P.clock_tolerance);
        assert_eq!(held.take(&roll(1, late.plus(Duration::from_millis(1)), &[1]), NOW), TakenRoll::Refused);
        assert_eq!(held.take(&good[..good.len() - 1], NOW), TakenRoll::Refused);
        assert!(held.lacks(&good) && held.have().is_empty());
        let mut public = Rolls::new(network(), &Profile::PUBLIC);
        assert!(!public.lacks(&good) && public.take(&good, NOW) == TakenRoll::Refused);
    }

    #[test]
    fn two_relays_tell_each_other_what_they_lack_and_end_alike() {
        let (mut one, mut two) = (rolls(), rolls());
        // A founder who signs two rolls at one time: both relays choose the same one.
        let (a, b) = (roll(1, NOW, &[1]), roll(1, NOW, &[2]));
        one.take(&a, NOW);
        two.take(&b, NOW);
        two.take(&roll(2, NOW, &[3]), NOW);
        for _ in 0..2 {
            for r in one.newer_than(&two.have()) {
                two.take(&r, NOW);
            }
            for r in two.newer_than(&one.have()) {
                one.take(&r, NOW);
            }
        }
        let later = NOW.plus(P.cuts.period_min);
        assert_eq!(one.at(later), two.at(later));
        assert!(one.newer_than(&two.have()).is_empty() && one.at(later).contains(&[3; 32]));
    }
}
