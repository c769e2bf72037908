//! What a relay's directory answers to everybody.

use super::{RelayDirectory, VERIFY_BURST, VERIFY_PER_MS};
use crate::base::time::{Instant, Now, UnixMs};
use crate::proto::directory::records::Taken;
use crate::wire::directory::{Answer, Refusal, Request};

impl RelayDirectory {
    /// Answers a request to this relay's directory.
    pub fn request(&mut self, now: Now, body: &[u8]) -> Vec<u8> {
        let answer = match Request::decode(body) {
            Err(_) => Answer::Refused(Refusal::Malformed),
            Ok(Request::Put(records)) => self.put(&records, now),
            Ok(Request::Get(id)) => match self.records.newest(&id).filter(|r| r.expires() > now.unix) {
                Some(r) => Answer::Record(r.bytes().to_vec()),
                None => Answer::Unknown(self.cuts.newest().map_or(UnixMs(0), |s| s.cut)),
            },
            Ok(Request::Compare(sums)) => Answer::Differs(self.records.differing(&sums)),
            Ok(Request::Digest { low, high, entries }) => {
                let (more, records, wanted) = self.records.delta(low, high, &entries, now.unix);
                Answer::Delta { more, records, wanted }
            }
            Ok(Request::Statement(cut)) => self.cuts.statement(cut, now.unix),
            Ok(Request::Page { cut, start }) => self.cuts.page(cut, start, now.unix),
        };
        answer.encode()
    }

    fn put(&mut self, records: &[Vec<u8>], now: Now) -> Answer {
        let (mut new, mut held, mut refused) = (0, 0, 0);
        for bytes in records {
            // spec: DIR-34
            if !self.records.holds(bytes) && !self.may_verify(now.mono) {
                return Answer::Refused(Refusal::Busy);
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
        Answer::Taken { new, held, refused }
    }

    fn may_verify(&mut self, now: Instant) -> bool {
        let (left, since) = self.verifications;
        let ms = u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX);
        let left = left.saturating_add(ms.saturating_mul(VERIFY_PER_MS)).min(VERIFY_BURST);
        let since = if ms > 0 { now } else { since };
        self.verifications = (left.saturating_sub(1), since);
        left > 0
    }
}
