//! Fetching a set in pages: each page is a step of its own, and what is there stays there when the next source goes on.

use super::{ClientDirOutput, ClientDirectory, Role, SourceFault, Step};
use crate::base::time::{Duration, Instant, Now, UnixMs};
use crate::proto::directory::snapshot::{Member, Snapshot};
use crate::proto::directory::vote::Root;
use crate::proto::rpc::Route;
use crate::wire::descriptor::{SignedDescriptor, record_hash};
use crate::wire::directory::{DirectoryAnswer, DirectoryRequest, PAGE_MEMBERS_MAX, Statement};
use crate::wire::ids::RelayId;
use crate::wire::lists::{MEMBER_OVERHEAD, is_full};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A source that takes longer for a page lets another go on, where there is one.
const SLOW_PAGE: Duration = Duration::from_secs(15);

/// Sources that are asked for what changed, before the whole is fetched.
pub(super) const CHANGES_TRIES: usize = 3;

/// A set of which pages are there, for the next attempt.
pub(super) struct Partial {
    root: Root,
    got: Vec<Member>,
}

/// A set from which the next ones are computed.
pub(super) struct Base {
    pub(super) set: Arc<Snapshot>,
    /// What is there of the changes that follow it.
    pub(super) bytes: Vec<u8>,
    /// Sets that were computed.
    pub(super) steps: usize,
}

impl Base {
    fn new(set: Arc<Snapshot>) -> Self {
        Self { set, bytes: Vec::new(), steps: 0 }
    }
}

/// Fetching a set.
pub(super) struct Fetch {
    statement: Statement,
    /// Who is asked now.
    source: (RelayId, Route),
    /// The others that may have it.
    others: VecDeque<(RelayId, Route)>,
    got: Vec<Member>,
    /// How many of them came from others than who is asked now: if the whole is wrong, nobody knows who spoilt it.
    from_others: usize,
    /// Records verified before, by their hashes.
    known: BTreeMap<Root, Arc<SignedDescriptor>>,
    /// From which what changed is asked for; none: the pages are.
    pub(super) base: Option<Base>,
    /// How often what was handed over as changes was none.
    pub(super) spoilt: usize,
    /// Sources that do not have what changed, for its pages.
    later: VecDeque<(RelayId, Route)>,
    /// Whether a majority named this root already.
    agreed: bool,
    /// When the last page was asked for.
    asked_at: Instant,
}

impl Fetch {
    pub(super) fn source(&self) -> RelayId {
        self.source.0
    }

    pub(super) fn got(&self) -> usize {
        self.got.len()
    }

    pub(super) fn whole(&self) -> usize {
        usize::try_from(self.statement.count).unwrap_or(usize::MAX)
    }

    pub(super) fn root(&self) -> Root {
        self.statement.root
    }

    pub(super) fn cut(&self) -> UnixMs {
        self.statement.cut
    }

    fn next_request(&self) -> DirectoryRequest {
        if let Some(base) = &self.base {
            let offset = u32::try_from(base.bytes.len()).unwrap_or(u32::MAX);
            return DirectoryRequest::Changes { from: base.set.cut, offset };
        }
        let start = u32::try_from(self.got.len()).unwrap_or(u32::MAX);
        DirectoryRequest::Page { cut: self.statement.cut, start }
    }
}

impl ClientDirectory {
    /// Fetches the set that the statement names from the first source that has it.
    pub(super) fn fetch(
        &mut self,
        now: Now,
        statement: Statement,
        source: (RelayId, Route),
        others: VecDeque<(RelayId, Route)>,
        agreed: bool,
    ) {
        let partial = self.partial.take();
        let before = self.verified.iter().flat_map(|v| v.members()).chain(partial.iter().flat_map(|p| &p.got));
        let known = before.map(|m| (m.record.hash(), Arc::clone(&m.record))).collect();
        let got = partial.filter(|p| p.root == statement.root).map(|p| p.got).unwrap_or_default();
        let from_others = got.len();
        // spec: DIR-81
        let base = self.base_before(statement.cut).filter(|_| agreed);
        let fetch = Fetch {
            statement,
            source,
            others,
            got,
            from_others,
            known,
            agreed,
            asked_at: now.mono,
            base,
            spoilt: 0,
            later: VecDeque::new(),
        };
        self.ask_for_page(now, fetch);
    }

    /// The set that we have, under the last cut before this one that had the same: relays forget what changed long ago.
    pub(super) fn base_before(&self, before: UnixMs) -> Option<Base> {
        let set = self.verified.clone().filter(|v| v.cut < before)?;
        let cut = self.sources.same_at;
        if cut <= set.cut || cut >= before {
            return Some(Base::new(set));
        }
        let later = Snapshot::assemble(set.members().to_vec(), cut, set.beacon, self.profile);
        Some(Base::new(later.map_or(set, Arc::new)))
    }

    pub(super) fn ask_for_page(&mut self, now: Now, mut fetch: Fetch) {
        fetch.asked_at = now.mono;
        let ((source, route), request) = (fetch.source, fetch.next_request());
        // spec: DIR-71
        self.enter(now, Step::Fetch(Box::new(fetch)));
        self.call(source, route, Role::Source, &request);
    }

    /// One page of a snapshot arrived, or did not.
    pub(super) fn page(&mut self, now: Now, mut fetch: Fetch, answer: Result<DirectoryAnswer, SourceFault>) {
        if let Some(base) = fetch.base.take() {
            return self.changed(now, fetch, base, answer);
        }
        if let Err(reason) = answer.and_then(|answer| self.take_page(&mut fetch, answer)) {
            return self.fetch_elsewhere(now, fetch, reason);
        }
        if fetch.got.len() < fetch.whole() {
            // spec: DIR-82
            let is_slow = now.mono.since(fetch.asked_at) > SLOW_PAGE;
            return if is_slow { self.fetch_in_turn(now, fetch) } else { self.ask_for_page(now, fetch) };
        }
        let s = fetch.statement;
        // spec: DIR-28
        let all = Snapshot::assemble(fetch.got.clone(), s.cut, s.beacon, self.profile);
        match all.ok().filter(|all| all.root == s.root) {
            Some(set) => self.fetched(now, &fetch, Arc::new(set)),
            None if fetch.from_others > 0 => {
                // One of several spoilt it: all of it from one, then.
                fetch.from_others = 0;
                fetch.got.clear();
                self.ask_for_page(now, fetch);
            }
            None => {
                fetch.got.clear();
                self.fetch_elsewhere(now, fetch, SourceFault::WrongRecords);
            }
        }
    }

    /// This source does not go on: the next one does, where this one stopped.
    pub(super) fn fetch_elsewhere(&mut self, now: Now, mut fetch: Fetch, reason: SourceFault) {
        // spec: DIR-72
        let next = fetch.others.pop_front().or_else(|| {
            // These said that they do not have what changed.
            fetch.base = None;
            fetch.later.pop_front()
        });
        let Some(next) = next else {
            self.partial = Some(Partial { root: fetch.statement.root, got: core::mem::take(&mut fetch.got) });
            self.step = Step::Fetch(Box::new(fetch));
            return self.fail(now, reason);
        };
        self.out.push_back(ClientDirOutput::SourceFailed { relay: fetch.source(), reason });
        fetch.source = next;
        fetch.from_others = fetch.got.len();
        self.ask_for_page(now, fetch);
    }

    /// This source does not have what changed: the next may, and when a few do not, the pages are fetched from the first of them.
    pub(super) fn without_changes(&mut self, now: Now, mut fetch: Fetch) {
        fetch.later.push_back(fetch.source);
        let next = if fetch.later.len() < CHANGES_TRIES { fetch.others.pop_front() } else { None };
        fetch.base = next.and_then(|_| self.base_before(fetch.cut()));
        match next.or_else(|| fetch.later.pop_front()) {
            Some(source) => {
                fetch.source = source;
                self.ask_for_page(now, fetch);
            }
            None => self.fetch_elsewhere(now, fetch, SourceFault::NothingSettled),
        }
    }

    /// The pages of this source come slowly: perhaps another's come faster. What is there stays.
    fn fetch_in_turn(&mut self, now: Now, mut fetch: Fetch) {
        if let Some(next) = fetch.others.pop_front() {
            fetch.others.push_back(fetch.source);
            fetch.source = next;
            fetch.from_others = fetch.got.len();
            return self.ask_for_page(now, fetch);
        }
        if fetch.agreed || self.sources.len() < 2 {
            return self.ask_for_page(now, fetch);
        }
        self.fetch_elsewhere(now, fetch, SourceFault::Slow);
    }

    fn take_page(&self, fetch: &mut Fetch, answer: DirectoryAnswer) -> Result<(), SourceFault> {
        let DirectoryAnswer::Page { cut, total, start, members } = answer else { return Err(SourceFault::Malformed) };
        let missing = fetch.whole().saturating_sub(fetch.got.len());
        let expected = usize::try_from(start).is_ok_and(|n| n == fetch.got.len());
        // A page is full, or the last: who hands records over one by one would make us wait for ever.
        // spec: DIR-73
        let full = members.len() == missing
            || members.len() < missing
                && is_full(members.iter().map(|m| m.record.len()), PAGE_MEMBERS_MAX, MEMBER_OVERHEAD);
        if cut != fetch.statement.cut || total != fetch.statement.count || !expected || !full || members.is_empty() {
            return Err(SourceFault::Malformed);
        }
        let rules = self.profile.descriptor_rules(self.network);
        let mut page = Vec::new();
        for bytes in members {
            let record = match fetch.known.get(&record_hash(&bytes.record)) {
                Some(known) => Arc::clone(known),
                None => {
                    let record = SignedDescriptor::decode(&bytes.record, &rules);
                    Arc::new(record.map_err(|_| SourceFault::WrongRecords)?)
                }
            };
            page.push(Member::from_wire(record, &bytes).map_err(|_| SourceFault::WrongRecords)?);
        }
        fetch.got.append(&mut page);
        Ok(())
    }

    /// The set is there, and it is what the statement names.
    pub(super) fn fetched(&mut self, now: Now, fetch: &Fetch, set: Arc<Snapshot>) {
        match (fetch.agreed, &self.verified) {
            (false, _) => self.check(now, fetch.source(), fetch.statement, Some(set)),
            (true, None) => self.accept(now, set),
            (true, Some(_)) => self.compare(now, fetch, set),
        }
    }

    /// A set that enough signers named: if it differs from what we had by more than time explains, many more are asked.
    fn compare(&mut self, now: Now, fetch: &Fetch, set: Arc<Snapshot>) {
        let abrupt = self.reference.as_ref().is_some_and(|r| r.change(&set).is_abrupt());
        // spec: DIR-74
        if abrupt && self.ballot.as_mut().is_some_and(|b| b.vote.escalate()) {
            return self.check_fetched(now, fetch.source(), fetch.statement, set);
        }
        self.accept(now, set);
    }
}
