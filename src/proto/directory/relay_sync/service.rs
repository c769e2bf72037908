//! What a relay's directory answers to everybody.

use super::{RelayDirectory, VERIFY_BURST, VERIFY_PER_MS};
use crate::base::time::{Instant, Now, UnixMs};
use crate::proto::directory::progress::Stage;
use crate::proto::directory::records::Taken;
use crate::proto::directory::snapshot::RELAYS_MIN;
use crate::wire::directory::{DirectoryAnswer, DirectoryRequest, RECORDS_MAX, Refusal, TAGS_MAX};
use crate::wire::lists::{RECORD_OVERHEAD, fitting};

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

    /// Answers a request to this relay's directory.
    pub fn request(&mut self, now: Now, body: &[u8]) -> Vec<u8> {
        let Ok(request) = DirectoryRequest::decode(body) else {
            return DirectoryAnswer::Refused(Refusal::Malformed).encode();
        };
        let kind = request.kind();
        let answer = self.answer_to(now, request);
        debug_assert!(kind.may_get(answer.kind()), "{kind:?} is answered by {answer:?}");
        answer.encode()
    }

    fn answer_to(&mut self, now: Now, request: DirectoryRequest) -> DirectoryAnswer {
        match request {
            DirectoryRequest::Put(records) => self.put(&records, now),
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
            DirectoryRequest::Rolls { have, given } => self.rolls(&given, &have, now),
        }
    }

    /// A bit for each of these records that we lack; busy where they are more than can be verified now.
    // spec: GOSSIP-4
    fn lacking(&self, tags: &[u64]) -> DirectoryAnswer {
        let (mut left, _) = self.verifications;
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

    fn put(&mut self, records: &[Vec<u8>], now: Now) -> DirectoryAnswer {
        let (mut new, mut held, mut refused) = (0, 0, 0);
        for bytes in records {
            // spec: GOSSIP-4
            if !self.records.holds(bytes) && !self.may_verify(now.mono) {
                return DirectoryAnswer::Refused(Refusal::Busy);
            }
            match self.records.offer(bytes, now.unix) {
                Taken::New(record) => {
                    self.learned(record, now);
                    new += 1;
                }
                Taken::Held => held += 1,
                Taken::Refused => refused += 1,
            }
        }
        DirectoryAnswer::Taken { new, held, refused }
    }

    pub(super) fn may_verify(&mut self, now: Instant) -> bool {
        let (left, since) = self.verifications;
        let ms = u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX);
        let left = left.saturating_add(ms.saturating_mul(VERIFY_PER_MS)).min(VERIFY_BURST);
        let since = if ms > 0 { now } else { since };
        self.verifications = (left.saturating_sub(1), since);
        left > 0
    }
}
