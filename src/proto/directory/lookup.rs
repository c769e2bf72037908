//! Asking the custodians of one key what they hold: `umbel lookup`, for relay records and for content alike.

use crate::base::time::Now;
use crate::proto::directory::rendezvous;
use crate::proto::directory::snapshot::Snapshot;
use crate::proto::profile::Profile;
use crate::proto::rpc::{Call, CallError, CallId, Route, Service};
use crate::wire::content::store;
use crate::wire::descriptor::{DescriptorRules, SignedDescriptor};
use crate::wire::directory::{DirectoryAnswer, DirectoryRequest};
use crate::wire::ids::{Locator, NetworkId, RelayId};
use std::collections::{BTreeMap, VecDeque};

/// Custodians asked at the same time.
pub const ASKED_AT_ONCE: usize = 4;

/// What is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A relay's record.
    Record(RelayId),
    /// The object with this root address, or any key that content is placed under.
    Content([u8; 32]),
}

/// A custodian's answer about the record or object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It holds all of it. For a record: a copy that verifies.
    Holds,
    /// It holds part of an object.
    Part,
    /// It does not hold it.
    Lacks,
    /// It answered with something else, or with a record that does not verify.
    Nonsense,
    /// It did not answer.
    Failed(CallError),
}

/// What the job asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookupOutput {
    /// Carry this call.
    Call(Call),
    /// The next custodian's answer, in the order they come.
    Custodian(RelayId, Found),
    /// All were asked.
    Done,
}

/// One look-up. Its calls go by [`Route::Fourth`], each on a circuit of its own: no custodian learns who asks.
pub struct Lookup {
    wanted: Wanted,
    rules: DescriptorRules,
    custodians: Vec<RelayId>,
    next: usize,
    calls: BTreeMap<CallId, RelayId>,
    next_call: u64,
    first_route: u64,
    out: VecDeque<LookupOutput>,
    done: bool,
}

impl Lookup {
    /// A look-up of the key's custodians in `snapshot`. Its circuits have numbers from `first_route` on.
    pub fn new(
        snapshot: &Snapshot,
        wanted: Wanted,
        profile: &'static Profile,
        network: NetworkId,
        first_route: u64,
    ) -> Self {
        let custodians = match wanted {
            Wanted::Record(id) => snapshot.record_custodians(&id, profile.custodians),
            Wanted::Content(address) => snapshot.custodians(&rendezvous::locate(&address), profile.custodians),
        };
        Self {
            wanted,
            rules: profile.descriptor_rules(network),
            custodians,
            next: 0,
            calls: BTreeMap::new(),
            next_call: 0,
            first_route,
            out: VecDeque::new(),
            done: false,
        }
    }

    /// Who is responsible, best first.
    pub fn custodians(&self) -> &[RelayId] {
        &self.custodians
    }

    /// What to do next. Drain it until `None`.
    pub fn poll(&mut self, _now: Now) -> Option<LookupOutput> {
        if let Some(output) = self.out.pop_front() {
            return Some(output);
        }
        let next = self.custodians.get(self.next).filter(|_| self.calls.len() < ASKED_AT_ONCE);
        if let Some(&to) = next {
            self.next += 1;
            return Some(LookupOutput::Call(self.ask(to)));
        }
        let over = self.calls.is_empty() && !core::mem::replace(&mut self.done, self.calls.is_empty());
        over.then_some(LookupOutput::Done)
    }

    fn ask(&mut self, to: RelayId) -> Call {
        self.next_call += 1;
        let id = CallId(self.next_call);
        self.calls.insert(id, to);
        let (service, body) = match self.wanted {
            Wanted::Record(relay) => (Service::Directory, DirectoryRequest::Get(relay).encode()),
            Wanted::Content(address) => {
                (Service::Store, store::StoreRequest::Status(Locator(rendezvous::locate(&address))).encode())
            }
        };
        Call { id, to, route: Route::Fourth(self.first_route.wrapping_add(self.next_call)), service, body }
    }

    /// The answer to a call of ours.
    pub fn answer(&mut self, _now: Now, id: CallId, result: Result<Vec<u8>, CallError>) {
        let Some(from) = self.calls.remove(&id) else { return };
        let found = match result {
            Err(e) => Found::Failed(e),
            Ok(body) => self.read(&body),
        };
        self.out.push_back(LookupOutput::Custodian(from, found));
    }

    fn read(&self, body: &[u8]) -> Found {
        match self.wanted {
            Wanted::Record(id) => match DirectoryAnswer::decode(body) {
                // spec: DIR-51
                Ok(DirectoryAnswer::Record(r))
                    if SignedDescriptor::decode(&r, &self.rules).is_ok_and(|r| r.id() == id) =>
                {
                    Found::Holds
                }
                Ok(DirectoryAnswer::Unknown(_)) => Found::Lacks,
                Ok(_) | Err(_) => Found::Nonsense,
            },
            Wanted::Content(_) => match store::StoreAnswer::decode(body) {
                Ok(store::StoreAnswer::Status(s)) if s.complete() => Found::Holds,
                Ok(store::StoreAnswer::Status(_)) => Found::Part,
                Ok(store::StoreAnswer::Refused(store::Refusal::NotFound)) => Found::Lacks,
                Ok(_) | Err(_) => Found::Nonsense,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::{Duration, UnixMs};
    use crate::proto::directory::testing::{NETWORK, Net, id, record};
    use crate::wire::content::Class;

    fn look(
        net: &mut Net,
        wanted: Wanted,
        answer: &mut dyn FnMut(&mut Net, &Call) -> Option<Vec<u8>>,
    ) -> Vec<(RelayId, Found)> {
        let snapshot = net.newest().swap_remove(0);
        let mut lookup = Lookup::new(&snapshot, wanted, &Profile::TESTING, NETWORK, 100);
        let (mut found, mut waiting, mut routes) = (vec![], VecDeque::new(), vec![]);
        loop {
            match lookup.poll(net.now()) {
                Some(LookupOutput::Call(call)) => {
                    routes.push(call.route);
                    waiting.push_back(call);
                    assert!(waiting.len() <= ASKED_AT_ONCE);
                }
                Some(LookupOutput::Custodian(relay, f)) => found.push((relay, f)),
                Some(LookupOutput::Done) => break,
                None => {
                    let call = waiting.pop_front().expect("it ends");
                    let result = answer(net, &call).ok_or(CallError::Unreachable);
                    lookup.answer(net.now(), call.id, result);
                }
            }
        }
        assert_eq!(lookup.poll(net.now()), None);
        let mut distinct = routes.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), routes.len(), "no two custodians on one circuit");
        let asked: Vec<_> = found.iter().map(|(r, _)| *r).collect();
        assert_eq!(asked, lookup.custodians());
        found
    }

    // spec: DIR-51
    #[test]
    fn each_custodian_of_a_record_says_whether_it_holds_it() {
        let mut net = Net::start(20, 1);
        net.run(2_000);
        let snapshot = net.newest().swap_remove(0);
        let custodians = snapshot.record_custodians(&id(6), 12);
        let other = record(7, net.now().unix.minus(Duration::from_secs(1)));
        let mut answer = |net: &mut Net, call: &Call| match custodians.iter().position(|c| *c == call.to) {
            Some(0) => None,
            Some(1) => Some(vec![77]),
            Some(2) => Some(DirectoryAnswer::Record(other.bytes().to_vec()).encode()),
            Some(3) => Some(DirectoryAnswer::Unknown(UnixMs(0)).encode()),
            _ => net.find(&call.to).and_then(|to| net.ask(to, &call.body)),
        };
        let found = look(&mut net, Wanted::Record(id(6)), &mut answer);
        let said: Vec<_> = found.into_iter().map(|(_, f)| f).collect();
        let (first, rest) = said.split_at(4);
        assert_eq!(first, [Found::Failed(CallError::Unreachable), Found::Nonsense, Found::Nonsense, Found::Lacks]);
        assert!(rest.len() == 8 && rest.iter().all(|f| *f == Found::Holds));
    }

    #[test]
    fn custodians_of_content_are_asked_by_locator() {
        let mut net = Net::start(20, 2);
        net.run(2_000);
        let mut turn = 0;
        let mut answer = |_: &mut Net, call: &Call| {
            let locator = Locator(rendezvous::locate(&[5; 32]));
            assert_eq!(store::StoreRequest::decode(&call.body), Ok(store::StoreRequest::Status(locator)));
            turn += 1;
            let status = store::Status {
                class: Class::Large,
                blocks: 3,
                held: 3,
                expires: UnixMs(9),
                idle_ms: 0,
                copies: 1,
                pending: 0,
            };
            Some(match turn {
                1 => store::StoreAnswer::Status(status).encode(),
                2 => store::StoreAnswer::Status(store::Status { held: 1, ..status }).encode(),
                3 => store::StoreAnswer::Refused(store::Refusal::NotFound).encode(),
                _ => vec![0],
            })
        };
        let found = look(&mut net, Wanted::Content([5; 32]), &mut answer);
        assert_eq!(found.len(), 10, "every second relay keeps content");
        let said: Vec<_> = found.into_iter().map(|(_, f)| f).take(4).collect();
        assert_eq!(said, [Found::Holds, Found::Part, Found::Lacks, Found::Nonsense]);
    }

    #[test]
    fn with_forty_relays_nobody_is_custodian_of_everything() {
        let mut net = Net::start(40, 3);
        net.run(2_000);
        let s = net.newest().swap_remove(0);
        let mut kept: BTreeMap<RelayId, usize> = BTreeMap::new();
        for r in s.relays() {
            s.record_custodians(&r.id(), 12).into_iter().for_each(|c| *kept.entry(c).or_default() += 1);
        }
        assert!(kept.values().all(|n| (2..28).contains(n)), "{kept:?}");
    }
}
