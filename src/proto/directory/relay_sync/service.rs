//! What a relay's directory answers to everybody.

use super::audits::Given;
use super::{RelayDirectory, VERIFY_BURST, VERIFY_PER_MS};
use crate::base::addr::{Subnet, subnet};
use crate::base::time::{Duration, Instant, Now, UnixMs};
use crate::proto::directory::progress::Stage;
use crate::proto::directory::records::Taken;
use crate::proto::directory::snapshot::RELAYS_MIN;
use crate::wire::descriptor::record_hash;
use crate::wire::directory::{DirectoryAnswer, DirectoryRequest, RECORDS_MAX, Refusal, TAGS_MAX};
use crate::wire::lists::{RECORD_OVERHEAD, fitting};
use core::net::IpAddr;
use std::collections::BTreeMap;
use std::sync::Arc;

/// For one source, within [`SOURCE_WINDOW`].
const SOURCE_SHARE: u64 = 1024;
const SOURCE_WINDOW: Duration = Duration::from_secs(4);
/// Sources that are told apart within it.
const SOURCES_MAX: usize = 4096;

impl RelayDirectory {
    /// How far we are on the way to a settled set.
    pub fn stage(&self, now: Now) -> Stage {
        match self.cuts.newest() {
            Some(_) => Stage::Settled(self.settle_at),
            None if self.joined => {
                let known = self.records.valid(now.unix).count();
                Stage::Gathering(known, (known >= RELAYS_MIN).then_some(self.settle_at))
            }
            None => Stage::Asking(1, self.seeds.len()),
        }
    }

    /// Answers a request to this relay's directory, which came over a link from this address.
    pub fn request(&mut self, now: Now, body: &[u8], from: Option<IpAddr>) -> Vec<u8> {
        let Ok(request) = DirectoryRequest::decode(body) else {
            return DirectoryAnswer::Refused(Refusal::Malformed).encode();
        };
        let kind = request.kind();
        let answer = self.answer_to(now, request, from);
        debug_assert!(kind.may_get(answer.kind()), "{kind:?} is answered by {answer:?}");
        answer.encode()
    }

    fn answer_to(&mut self, now: Now, request: DirectoryRequest, from: Option<IpAddr>) -> DirectoryAnswer {
        match request {
            DirectoryRequest::Put(records) => self.put(&records, from, now),
            DirectoryRequest::Get(id) => match self.records.newest(&id).filter(|r| r.expires() > now.unix) {
                Some(r) => DirectoryAnswer::Record(r.bytes().to_vec()),
                None => DirectoryAnswer::Unknown(self.cuts.newest().map_or(UnixMs(0), |s| s.cut)),
            },
            DirectoryRequest::Announce(tags) => self.lacking(&tags),
            DirectoryRequest::Fetch(tags) => {
                let held = self.records.all_tagged(&tags);
                let n = fitting(held.iter().map(|r| r.bytes().len()), RECORDS_MAX, RECORD_OVERHEAD);
                DirectoryAnswer::Items(held.iter().take(n).map(|r| r.bytes().to_vec()).collect())
            }
            DirectoryRequest::Sketch { from, count } => {
                let sketch = self.records.sketch();
                let sums = sketch.sums(usize::from(from), usize::from(count)).to_vec();
                DirectoryAnswer::Sums { salt: sketch.salt(), items: sketch.items(), from, sums }
            }
            DirectoryRequest::List(from) => {
                let mut tags: Vec<_> = self.records.tags(from).take(TAGS_MAX + 1).collect();
                let more = tags.len() > TAGS_MAX;
                tags.truncate(TAGS_MAX);
                DirectoryAnswer::Listed { more, tags }
            }
            DirectoryRequest::Statement(cut) => self.cuts.statement(cut, now.unix),
            DirectoryRequest::Page { cut, start } => self.cuts.page(cut, start, now.unix),
            DirectoryRequest::Changes { from, offset } => self.cuts.changes(from, offset, now.unix, self.profile),
            DirectoryRequest::Witness { cut, relays } => self.witness(now, cut, &relays),
            DirectoryRequest::Climb { cut, items } => self.climb(now, cut, &items),
            DirectoryRequest::Tell(list) => self.hear(now, &list),
            DirectoryRequest::Report(reports) => self.told(&reports, Given::From(from), now),
            DirectoryRequest::Reports { cut, set, held } => self.reports_for(cut, set, &held),
            DirectoryRequest::Rolls { have, given } => self.rolls((&given, from), &have, now),
        }
    }

    /// A bit for each of these records that we lack; busy where they are more than can be verified now.
    // spec: GOSSIP-4
    fn lacking(&self, tags: &[u64]) -> DirectoryAnswer {
        let mut left = self.verifications.left;
        let mut bits = vec![0; tags.len().div_ceil(8)];
        for (n, _) in tags.iter().enumerate().filter(|(_, tag)| self.records.tagged(**tag).is_none()) {
            if left == 0 {
                return DirectoryAnswer::Refused(Refusal::Busy);
            }
            left -= 1;
            if let Some(byte) = bits.get_mut(n / 8) {
                *byte |= 0x80 >> (n % 8);
            }
        }
        DirectoryAnswer::Wanted(bits)
    }

    fn put(&mut self, records: &[Vec<u8>], from: Option<IpAddr>, now: Now) -> DirectoryAnswer {
        let (mut new, mut held, mut refused) = (0, 0, 0);
        for bytes in records {
            let known = self.records.hashed(&record_hash(bytes)).cloned();
            // spec: GOSSIP-4
            if known.is_none() && !self.may_verify(from, now.mono) {
                return DirectoryAnswer::Refused(Refusal::Busy);
            }
            let Some(record) = known.or_else(|| self.records.verified(bytes)) else {
                refused += 1;
                continue;
            };
            self.knocked(&record, from);
            match self.records.take(Arc::clone(&record), now.unix) {
                Taken::New(record) => {
                    self.learned(record, now);
                    new += 1;
                }
                Taken::Held => {
                    self.may_audit(&record, now);
                    held += 1;
                }
                Taken::Refused => refused += 1,
            }
        }
        DirectoryAnswer::Taken { new, held, refused }
    }

    /// Whether something unasked for that came from this address may be verified now; counts it.
    pub(super) fn may_verify(&mut self, from: Option<IpAddr>, now: Instant) -> bool {
        self.verifications.take(from, now)
    }
}

/// How much is verified for others who were not asked: so much at once and so much in a time, and a part of it for one source.
pub(super) struct Verifications {
    left: u64,
    since: Instant,
    sources: BTreeMap<Option<Subnet>, u64>,
    counted_from: Instant,
}

impl Default for Verifications {
    fn default() -> Self {
        let at = Instant::default();
        Self { left: VERIFY_BURST, since: at, sources: BTreeMap::new(), counted_from: at }
    }
}

impl Verifications {
    /// Nothing is left, and nothing comes.
    #[cfg(test)]
    pub(super) fn use_up(&mut self) {
        (self.left, self.since) = (0, Instant(u64::MAX));
    }

    fn take(&mut self, from: Option<IpAddr>, now: Instant) -> bool {
        let ms = u64::try_from(now.since(self.since).as_millis()).unwrap_or(u64::MAX);
        if ms > 0 {
            self.left = self.left.saturating_add(ms.saturating_mul(VERIFY_PER_MS)).min(VERIFY_BURST);
            self.since = now;
        }
        if now.since(self.counted_from) >= SOURCE_WINDOW {
            self.sources.clear();
            self.counted_from = now;
        }
        // Sources beyond the bound have one share together.
        let source =
            from.map(subnet).filter(|s| self.sources.len() < SOURCES_MAX || self.sources.contains_key(&Some(*s)));
        let used = self.sources.entry(source).or_default();
        if self.left == 0 || *used >= SOURCE_SHARE {
            return false;
        }
        *used = used.saturating_add(1);
        self.left = self.left.saturating_sub(1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: GOSSIP-4
    #[test]
    fn one_source_leaves_others_something_to_be_verified() {
        let mut v = Verifications::default();
        let (mut now, flood, honest) = (Instant::default(), Some([9, 9, 9, 9].into()), Some([7, 7, 7, 7].into()));
        let mut taken = 0;
        for at in 0..60_000_u64 {
            now = now + Duration::from_millis(1);
            taken += (0..100).filter(|_| v.take(flood, now)).count() as u64;
            assert!(at % 10 != 0 || v.take(honest, now), "after {taken}");
        }
        assert!(taken <= SOURCE_SHARE * (60_000 / SOURCE_WINDOW.as_millis() as u64 + 1), "{taken} in a minute");
        // Many sources together have what there is.
        let mut v = Verifications::default();
        let all = (0..40_000_u32).filter(|i| v.take(Some(i.to_be_bytes().into()), now)).count() as u64;
        assert_eq!(all, VERIFY_BURST.min((SOURCES_MAX as u64).saturating_add(SOURCE_SHARE)));
        assert!(v.sources.len() <= SOURCES_MAX + 1);
    }
}
