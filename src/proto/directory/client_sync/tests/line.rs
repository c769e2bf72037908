//! How long a client's directory takes on a slow line, and how many bytes a day: the real machine and the real encoders, in
//! virtual time. The line is a model (bytes a second, a round trip, cells), the relays answer from one list of sets.

use super::*;
use crate::crypto::aead::Cipher;
use crate::crypto::identity::IdentityKey;
use crate::crypto::work::{Work, WorkParams};
use crate::proto::directory::cuts::Cuts;
use crate::proto::directory::schedule;
use crate::proto::directory::snapshot::Heard;
use crate::proto::directory::standing::Standing;
use crate::proto::directory::testing::NETWORK;
use crate::wire::cell::CELL_SIZE;
use crate::wire::descriptor::Descriptor;
use std::collections::BTreeSet;

/// The numbers of a real network, without the work, as a hundred thousand proofs are not what is measured here; and records are
/// renewed once a month, as audits say who lives.
const BIG: &Profile = &Profile {
    work: WorkParams { effort: 0, ..Profile::PUBLIC.work },
    descriptor_lifetime: Duration::from_secs(60 * 86_400),
    ..Profile::PUBLIC
};
/// Bytes of a body that one cell carries.
const CELL_TEXT: usize = 1300;
/// Cells of a circuit of three relays: built, a stream opened, all ended.
const CIRCUIT_CELLS: usize = 10;

/// A relay's identity and record by number; every address in a public /16 of its own as far as they go (100.64.0.0/10 is none).
fn key_of(i: usize) -> IdentityKey {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&(i as u64).to_be_bytes());
    IdentityKey::from_bytes(seed)
}

fn record_of(i: usize, published: UnixMs, version: u8) -> Arc<SignedDescriptor> {
    let key = key_of(i);
    let mut keys = [version; 32];
    keys[..8].copy_from_slice(&(i as u64).to_be_bytes());
    let d = Descriptor {
        network: NETWORK,
        identity: key.public(),
        work: Work::NONE,
        published,
        lifetime_s: BIG.descriptor_lifetime.as_secs() as u32,
        link_key: keys,
        onion_key: keys,
        cipher: Cipher::ChaCha20Poly1305,
        exit: i.is_multiple_of(3),
        store: true,
        family: None,
        membership: None,
        addrs: vec![format!("{}.{}.0.1:9000", 20 + i / 250 % 80, i % 250).parse().unwrap()],
    };
    Arc::new(SignedDescriptor::sign(d, &key))
}

/// A client with a slow line; all relays have the same sets.
struct Line {
    now: Now,
    relays: BTreeMap<RelayId, Arc<IdentityKey>>,
    cuts: Cuts,
    /// Bytes a second.
    rate: u64,
    trip: Duration,
    free: Instant,
    coming: BTreeMap<(Instant, CallId), Vec<u8>>,
    circuits: BTreeSet<Route>,
    /// Bytes for signers, and for sets.
    bytes: [u64; 2],
    /// Sets that were taken into use.
    checks: usize,
    rng: Rng,
}

impl Line {
    fn new(records: &[(usize, Arc<SignedDescriptor>)], start: UnixMs, rate: u64, trip: Duration) -> Self {
        let relays: BTreeMap<_, _> = records.iter().map(|(i, r)| (r.id(), Arc::new(key_of(*i)))).collect();
        let (own, key) = relays.first_key_value().map(|(id, key)| (*id, Arc::clone(key))).unwrap();
        Self {
            now: Now { mono: Instant(1), unix: start },
            relays,
            cuts: Cuts::new(NETWORK, own, key),
            rate,
            trip,
            free: Instant(1),
            coming: BTreeMap::new(),
            circuits: BTreeSet::new(),
            bytes: [0; 2],
            checks: 0,
            rng: Rng::from_seed([5; 32]),
        }
    }

    fn state(&mut self, cut: UnixMs, relay: RelayId) -> Option<Statement> {
        match self.cuts.statement(cut, self.now.unix) {
            DirectoryAnswer::Statement(s) => Some(Statement { relay, ..s }.sign(NETWORK, self.relays.get(&relay)?)),
            _ => None,
        }
    }

    fn answer(&mut self, to: RelayId, body: &[u8]) -> DirectoryAnswer {
        let unix = self.now.unix;
        match DirectoryRequest::decode(body).unwrap() {
            DirectoryRequest::Statement(cut) => match self.state(cut, to) {
                Some(s) => DirectoryAnswer::Statement(s),
                None => DirectoryAnswer::Unknown(UnixMs(0)),
            },
            DirectoryRequest::Page { cut, start } => self.cuts.page(cut, start, unix),
            DirectoryRequest::Changes { from, offset } => self.cuts.changes(from, offset, unix, BIG),
            DirectoryRequest::Witness { cut, relays } => {
                DirectoryAnswer::Witnessed(relays.into_iter().filter_map(|id| self.state(cut, id)).collect())
            }
            other => panic!("{other:?}"),
        }
    }

    /// Carries a call: over the line one after the other, in cells, a circuit first where there is none.
    fn carry(&mut self, call: &Call) {
        let answer = self.answer(call.to, &call.body).encode();
        let mut cells = call.body.len().div_ceil(CELL_TEXT) + answer.len().div_ceil(CELL_TEXT);
        if call.route != Route::Direct && self.circuits.insert(call.route) {
            cells += CIRCUIT_CELLS;
        }
        let size = (cells * CELL_SIZE) as u64;
        let signers = matches!(
            DirectoryRequest::decode(&call.body),
            Ok(DirectoryRequest::Witness { .. } | DirectoryRequest::Statement(_))
        );
        self.bytes[usize::from(!signers)] += size;
        let takes = Duration::from_micros(size * 1_000_000 / self.rate);
        self.free = self.free.max(self.now.mono + self.trip) + takes;
        self.coming.insert((self.free, call.id), answer);
    }

    /// Runs a client until a moment or until `done`.
    fn run(&mut self, dir: &mut ClientDirectory, until: Instant, done: impl Fn(&ClientDirectory) -> bool) -> bool {
        while !done(dir) && self.now.mono < until {
            while let Some(output) = dir.poll(self.now, &mut self.rng) {
                match output {
                    ClientDirOutput::Call(call) => self.carry(&call),
                    ClientDirOutput::Verified(set) => {
                        self.checks += 1;
                        dir.set_guards(set.relays().iter().take(3).map(|r| r.id()).collect());
                    }
                    ClientDirOutput::SourceFailed { reason, .. } => assert_eq!(reason, SourceFault::Stale),
                    _ => {}
                }
            }
            let next = self.coming.first_key_value().map(|((at, _), _)| *at);
            let next = [next, dir.deadline()].into_iter().flatten().min().unwrap().clamp(self.now.mono, until);
            let step = next.since(self.now.mono).max(Duration::from_millis(1));
            self.now = Now { mono: self.now.mono + step, unix: self.now.unix.plus(step) };
            while let Some(entry) = self.coming.first_entry().filter(|e| e.key().0 <= self.now.mono) {
                let ((_, id), body) = entry.remove_entry();
                dir.answer(self.now, id, Ok(body));
            }
        }
        done(dir)
    }
}

/// What is heard of these relays on top of a set, those that are away among them. Newcomers are on probation first.
fn heard(
    set: Option<&Snapshot>,
    records: &[(usize, Arc<SignedDescriptor>)],
    away: &BTreeSet<usize>,
) -> BTreeMap<RelayId, Heard> {
    let of = |(i, r): &(usize, Arc<SignedDescriptor>)| {
        let on_probation = set.is_some_and(|set| set.member(&r.id()).is_none());
        Heard { record: Arc::clone(r), live: !on_probation && !away.contains(i), on_probation }
    };
    records.iter().map(|one| (one.1.id(), of(one))).collect()
}

/// The first directory of `n` relays over 256 kbit/s and 500 ms, and then a day of it.
fn a_day(n: usize) {
    let start = UnixMs(1_700_006_400_000);
    let mut now = start;
    let mut records: Vec<_> = (0..n).map(|i| (i, record_of(i, start.minus(Duration::from_secs(3600)), 1))).collect();
    let mut line = Line::new(&records, start, 256_000 / 8, Duration::from_millis(500));
    let mut away = BTreeSet::new();
    // A network of a year: its members are old, so that cuts are as seldom as its size says.
    let old = start.minus(Duration::from_secs(365 * 86_400));
    let members = Snapshot::follow(None, heard(None, &records, &away), start, BIG, NETWORK);
    let aged = members.with_standings(|_| Standing::new(old));
    let mut set = Arc::new(Snapshot::assemble(aged.members().to_vec(), start, aged.beacon, BIG).unwrap());
    line.cuts.push(Arc::clone(&set), set.cut);
    line.now.unix = start.plus(Duration::from_secs(1));
    let seeds = records.iter().take(2).map(|(_, r)| (**r).clone()).collect();
    let mut dir = ClientDirectory::new(NETWORK, BIG, seeds, None);
    let limit = line.now.mono + Duration::from_secs(7_200);
    assert!(line.run(&mut dir, limit, |d| d.verified.is_some()), "{:?}", dir.stage());
    let took = line.now.mono.since(Instant(1));
    let [asking, whole] = core::mem::take(&mut line.bytes);
    println!("N {n}: first directory in {} s: {whole} bytes of sets, {asking} for signers", took.as_secs());
    // A day: 2 % an hour come and go, 1 % a day are new, 1 % leave for good, and 1 in 30 renews its record.
    let (mut rng, mut next, mut cuts) = (Rng::from_seed([6; 32]), n, 0usize);
    line.checks = 0;
    let day = start.plus(Duration::from_secs(86_400));
    while schedule::next_cut_after(&set, set.cut, BIG) < day {
        let cut = schedule::next_cut_after(&set, set.cut, BIG);
        let hours = cut.distance(now).as_secs_f64() / 3600.0;
        let some = |of: usize, share: f64| (of as f64 * share).round() as usize;
        for _ in 0..some(n, 0.02 * hours) {
            away.insert(records[rng.below(records.len())].0);
        }
        away.retain(|_| rng.below(100) >= 60);
        for _ in 0..some(n, 0.01 / 24.0 * hours) {
            records.swap_remove(rng.below(records.len()));
            records.push((next, record_of(next, cut.minus(Duration::from_secs(1200)), 1)));
            next += 1;
        }
        for _ in 0..some(n, hours / 24.0 / 30.0) {
            let at = rng.below(records.len());
            records[at].1 = record_of(records[at].0, cut.minus(Duration::from_secs(1200)), 2);
        }
        line.relays.extend(records.iter().rev().take(n / 50 + 1).map(|(i, r)| (r.id(), Arc::new(key_of(*i)))));
        set = Arc::new(Snapshot::follow(Some(&set), heard(Some(&set), &records, &away), cut, BIG, NETWORK));
        let later = line.now.mono + cut.distance(line.now.unix);
        line.run(&mut dir, later, |_| false);
        line.cuts.push(Arc::clone(&set), set.cut);
        (now, cuts) = (cut, cuts + 1);
    }
    let end = line.now.mono + Duration::from_secs(3 * 3600);
    line.run(&mut dir, end, |_| false);
    let lag = dir.verified.as_ref().map(|v| set.cut.distance(v.cut)).unwrap();
    assert!(lag <= 4 * schedule::period(&set, BIG), "{lag:?}, {:?}", dir.report());
    let ([asking, sets], checks) = (line.bytes, line.checks);
    println!(
        "N {n}: a day of {cuts} cuts, {checks} checked: {sets} bytes of sets, {asking} for signers, {} in all",
        sets + asking
    );
    assert!(checks >= cuts / 4 && sets < whole, "{checks} checks, {sets} bytes");
}

// spec: DIR-71 DIR-80
#[test]
fn a_first_directory_over_a_slow_line_completes_and_a_day_costs_what_changed() {
    a_day(3_000);
}

// spec: DIR-71 DIR-80
#[test]
#[ignore = "a hundred thousand signatures, made and verified: a minute on a release build"]
fn a_hundred_thousand_relays_over_a_slow_line() {
    a_day(100_000);
}
