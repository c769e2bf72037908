//! Custodians without links: calls are carried in memory, in virtual time, and some custodians are hostile.

use super::block;
use super::call::{StoreCall, StoreCallId, StoreReply};
use super::replicate::{Replicator, ReplicatorOutput};
use super::service::StoreService;
use super::store::MemoryStore;
use super::tree::{KeyChoice, Label, Source, Tree};
use crate::base::rng::Rng;
use crate::base::secret::Secret;
use crate::base::time::{Duration, Instant, Now, UnixMs};
use crate::proto::rpc::{Call, CallError, Route};
use crate::wire::content::store::{Refusal, StoreAnswer, StoreRequest};
use crate::wire::ids::RelayId;
use std::collections::BTreeMap;

/// How a custodian behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    Honest,
    WrongBytes,
    OtherBlock,
    Truncated,
    Junk,
    Silent,
    Refuses,
    Busy,
    ClaimsNotFound,
    Closes,
    Unreachable,
    /// Takes everything and throws it away.
    Forgets,
}

pub(super) struct Custodian {
    pub(super) service: StoreService<MemoryStore>,
    pub(super) manner: Manner,
    /// How many calls it answers honestly before it behaves as above.
    pub(super) honest_for: u32,
    pub(super) calls: u32,
    /// The replicator's call that waits for requests.
    watcher: Option<StoreCallId>,
}

impl Custodian {
    /// Lets this custodian's replicator go on as far as it can, its own store answering at once; its calls to others.
    pub(super) fn replicate(&mut self, now: Now, rng: &mut Rng, r: &mut Replicator) -> Vec<Call> {
        let mut calls = Vec::new();
        loop {
            if let Some(id) = self.watcher {
                let wanted = self.service.take_wanted();
                if !wanted.is_empty() {
                    self.watcher = None;
                    r.stored(now, rng, id, StoreReply::Wanted(wanted));
                }
            }
            match r.poll(now, rng) {
                None => return calls,
                Some(ReplicatorOutput::Call(call)) => calls.push(call),
                Some(ReplicatorOutput::Store(id, call)) => {
                    let reply = match call {
                        StoreCall::Request(body) => StoreReply::Answer(self.service.request_now(now, &body)),
                        StoreCall::Round { after, max } => self.service.round(after, max),
                        StoreCall::Tend => self.service.tend(now),
                        StoreCall::Scrub(bytes) => self.service.scrub(bytes),
                        StoreCall::Spread(seen) => {
                            self.service.note(&seen);
                            StoreReply::Noted
                        }
                        StoreCall::Wanted => {
                            self.watcher = Some(id);
                            continue;
                        }
                    };
                    r.stored(now, rng, id, reply);
                }
            }
        }
    }
}

pub(super) struct Net {
    pub(super) custodians: BTreeMap<RelayId, Custodian>,
    pub(super) now: Now,
    /// Every call that was carried: to whom, and by which route.
    pub(super) carried: Vec<(RelayId, Route)>,
    /// The first bytes of the calls' bodies.
    pub(super) bodies: Vec<Vec<u8>>,
}

pub(super) const LEASE: Duration = Duration::from_secs(100_000);

pub(super) fn id(n: u8) -> RelayId {
    RelayId([n; 32])
}

impl Net {
    /// Custodians 1..=n, honest, with room for `cap` bytes each.
    pub(super) fn new(n: u8, cap: u64) -> Self {
        let custodian = || Custodian {
            service: StoreService::new(MemoryStore::new(cap), LEASE),
            manner: Manner::Honest,
            honest_for: 0,
            calls: 0,
            watcher: None,
        };
        let custodians = (1..=n).map(|n| (id(n), custodian())).collect();
        let now = Now { mono: Instant(1_000_000), unix: UnixMs(1_700_000_000_000) };
        Self { custodians, now, carried: Vec::new(), bodies: Vec::new() }
    }

    pub(super) fn ids(&self) -> Vec<RelayId> {
        self.custodians.keys().copied().collect()
    }

    pub(super) fn at(&mut self, n: u8) -> &mut Custodian {
        self.custodians.get_mut(&id(n)).unwrap()
    }

    pub(super) fn pass(&mut self, d: Duration) {
        self.now.mono = self.now.mono + d;
        self.now.unix = self.now.unix.plus(d);
    }

    /// Carries a call. No answer at all where the custodian is silent.
    pub(super) fn carry(&mut self, call: &Call) -> Option<Result<Vec<u8>, CallError>> {
        let now = self.now;
        self.carried.push((call.to, call.route));
        self.bodies.push(call.body.iter().take(128).copied().collect());
        let Some(c) = self.custodians.get_mut(&call.to) else { return Some(Err(CallError::Unreachable)) };
        c.calls += 1;
        let manner = if c.calls <= c.honest_for { Manner::Honest } else { c.manner };
        Some(match manner {
            Manner::Silent => return None,
            Manner::Refuses => Err(CallError::Refused),
            Manner::Closes => Err(CallError::Closed),
            Manner::Unreachable => Err(CallError::Unreachable),
            Manner::Busy => Ok(StoreAnswer::Refused(Refusal::Busy).encode()),
            Manner::ClaimsNotFound => Ok(StoreAnswer::Refused(Refusal::NotFound).encode()),
            Manner::Junk => Ok(vec![77; 9]),
            Manner::Forgets => {
                let honest = c.service.request_now(now, &call.body);
                match StoreRequest::decode(&call.body) {
                    Ok(StoreRequest::Get(..)) => Ok(StoreAnswer::Refused(Refusal::NotFound).encode()),
                    _ => Ok(honest),
                }
            }
            Manner::OtherBlock => match StoreRequest::decode(&call.body) {
                Ok(StoreRequest::Get(o, 0)) => Ok(c.service.request_now(now, &StoreRequest::Get(o, 1).encode())),
                Ok(StoreRequest::Get(o, _)) => Ok(c.service.request_now(now, &StoreRequest::Get(o, 0).encode())),
                _ => Ok(c.service.request_now(now, &call.body)),
            },
            Manner::WrongBytes | Manner::Truncated | Manner::Honest => {
                let mut answer = c.service.request_now(now, &call.body);
                if answer.len() > 100 {
                    match manner {
                        Manner::WrongBytes => answer[60] ^= 1,
                        Manner::Truncated => answer.truncate(100),
                        _ => (),
                    }
                }
                Ok(answer)
            }
        })
    }

    /// Puts an object on custodian `n`, without a push.
    pub(super) fn give(&mut self, n: u8, tree: &Tree, source: &mut impl Source) {
        let now = self.now;
        let s = &mut self.at(n).service;
        let (object, blocks) = (tree.link().locator(), tree.shape().blocks());
        s.request_now(now, &StoreRequest::PutRoot { lease_s: u32::MAX, block: tree.upper_block(0).unwrap() }.encode());
        for (page, names) in tree.names().chunks(2_000).enumerate() {
            let from = 1 + page as u32 * 2_000;
            s.request_now(now, &StoreRequest::Name { object, blocks, from, names: names.to_vec() }.encode());
        }
        for index in 1..blocks {
            let block = match tree.leaf_of(index) {
                Some(leaf) => tree.seal_leaf(source, leaf).unwrap(),
                None => tree.upper_block(index).unwrap().to_vec(),
            };
            assert_eq!(Some(block::address(&block)), tree.address(index));
            s.request_now(now, &StoreRequest::Put(object, index, &block).encode());
        }
        assert!(s.status(now, &object).unwrap().complete());
    }
}

/// Content in which no two leaves are equal.
pub(super) fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(31) >> 3) as u8 ^ (i >> 16) as u8).collect()
}

pub(super) fn tree(content: &[u8]) -> Tree {
    let key = KeyChoice::Random(Secret::new([3; 32]));
    Tree::build(&mut { content }, Label::file("f.bin", "x/y"), key).unwrap()
}
