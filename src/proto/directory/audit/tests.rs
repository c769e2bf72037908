use super::*;
use crate::proto::directory::snapshot::Snapshot;
use crate::proto::directory::testing::{NETWORK, id, key, record, with};
use crate::proto::profile::Profile;

const P: Profile = Profile::TESTING;
const CUT: UnixMs = UnixMs(1_700_000_000_000);
const NEXT: UnixMs = UnixMs(1_700_000_030_000);
const REPORT: Instant = Instant(20_000_000);

fn rng() -> Rng {
    Rng::from_seed([5; 32])
}

fn at(ms: u64) -> Now {
    Now { mono: Instant(ms * 1000), unix: CUT.plus(Duration::from_millis(ms)) }
}

fn old(i: u8) -> Arc<SignedDescriptor> {
    record(i, CUT.minus(Duration::from_secs(5)))
}

fn set(n: u8) -> Arc<Snapshot> {
    let records: Vec<_> = (0..n).map(old).collect();
    Arc::new(Snapshot::settle(&records, CUT, &P, NETWORK))
}

/// Candidates that all name one address, each with keys of its own.
fn naming(n: u8, addr: &str) -> Vec<Arc<SignedDescriptor>> {
    (0..n).map(|i| with(100 + i, CUT, |d| (d.addrs, d.lifetime_s) = (vec![addr.parse().unwrap()], 7200))).collect()
}

/// A candidate that came from its own address.
fn itself(record: Arc<SignedDescriptor>) -> (Arc<SignedDescriptor>, Option<IpAddr>) {
    let ip = record.addrs[0].ip();
    (record, Some(ip))
}

fn begun(set: &Arc<Snapshot>, candidates: &[(Arc<SignedDescriptor>, Option<IpAddr>)]) -> Auditor {
    let mut auditor = Auditor::new(id(0), Arc::new(key(0)));
    auditor.begin(at(0), Arc::new(Draw::new(Arc::clone(set))), (NEXT, REPORT), |_| None, candidates);
    auditor
}

/// Runs a period to its end: whom it dialled, and what it reported. `reach` answers each dial at once.
fn run(auditor: &mut Auditor, reach: impl Fn(&Dial) -> bool) -> (Vec<Dial>, Option<Report>) {
    run_from(auditor, 0, reach)
}

fn run_from(auditor: &mut Auditor, from: u64, reach: impl Fn(&Dial) -> bool) -> (Vec<Dial>, Option<Report>) {
    let (mut dials, mut report, mut rng) = (Vec::new(), None, rng());
    for ms in (from..from + 20_100).step_by(10) {
        while let Some(output) = auditor.poll(at(ms), &mut rng) {
            match output {
                AuditOutput::Dial(dial) => {
                    auditor.answered(at(ms), dial.number, reach(&dial));
                    dials.push(dial);
                }
                AuditOutput::Report(r) => report = Some(*r),
            }
        }
    }
    assert!(auditor.deadline().is_none(), "the period is over");
    (dials, report)
}

// spec: ADM-15
#[test]
fn every_member_drawn_is_dialled_once_and_a_bit_says_that_it_answered() {
    let set = set(30);
    let mut auditor = begun(&set, &[]);
    let draw = Draw::new(Arc::clone(&set));
    let mine: Vec<_> = draw.members_of(&id(0)).into_iter().map(|m| m.record.id()).collect();
    let (dials, report) = run(&mut auditor, |d| d.relay.id() != mine[1]);
    let dialled: Vec<_> = dials.iter().map(|d| d.relay.id()).collect();
    assert_eq!(dialled[..mine.len()], mine);
    assert_eq!(dialled[mine.len()..], [mine[1]], "who did not answer, once more");
    let report = report.unwrap();
    assert_eq!((report.cut, report.set, report.verify(&key(0).public())), (NEXT, short(&set.root), Ok(())));
    for (at, _) in mine.iter().enumerate() {
        let byte = report.members.get(at / 8).copied().unwrap_or(0);
        assert_eq!(byte & (0x80 >> (at % 8)) != 0, at != 1, "member {at}");
    }
    assert!(report.entries.is_empty(), "of one that did not answer nothing is said");
}

// It was starting again when its turn came: it is up a while later, and well before the report.
// spec: ADM-23
#[test]
fn a_member_that_did_not_answer_is_dialled_once_more_before_the_report() {
    let set = set(30);
    let mut auditor = Auditor::new(id(0), Arc::new(key(0)));
    let report_at = Instant(3_600_000_000);
    auditor.begin(at(0), Arc::new(Draw::new(Arc::clone(&set))), (NEXT, report_at), |_| None, &[]);
    let drawn = Draw::new(set).members_of(&id(0)).len();
    let (down, mut dials, mut report, mut rng) = (2, Vec::new(), None, rng());
    while let Some(next) = auditor.deadline() {
        let now = Now { mono: next, unix: CUT };
        while let Some(output) = auditor.poll(now, &mut rng) {
            match output {
                AuditOutput::Dial(dial) => {
                    let is_first = dials.iter().all(|(addr, _)| *addr != dial.addr);
                    auditor.answered(now, dial.number, !(is_first && dials.len() < down));
                    dials.push((dial.addr, next));
                }
                AuditOutput::Report(r) => report = Some(*r),
            }
        }
    }
    assert_eq!(dials.len(), drawn + down);
    for ((addr, then), (other, again)) in dials.iter().zip(&dials[drawn..]) {
        assert_eq!(addr, other);
        assert!(report_at.since(*again) <= AGAIN_BEFORE && report_at > *again && *then < *again);
    }
    // The first ones lie all over the hour: nobody knows when to be there.
    let quarters: BTreeSet<_> = dials[..drawn].iter().map(|(_, at)| at.0 / 900_000_000).collect();
    assert_eq!(quarters.len(), 4, "{dials:?}");
    let bits: u32 = report.unwrap().members.iter().map(|byte| byte.count_ones()).sum();
    assert_eq!(bits as usize, drawn, "all were reached");
}

// spec: ADM-13
#[test]
fn who_reaches_nobody_says_nothing() {
    let mut offline = begun(&set(30), &[]);
    let (dials, report) = run(&mut offline, |_| false);
    assert!(!dials.is_empty() && dials.iter().all(|d| d.or_linked));
    assert_eq!(report, None);
}

#[test]
fn only_a_live_member_audits() {
    let mut stranger = Auditor::new(id(77), Arc::new(key(77)));
    stranger.begin(at(0), Arc::new(Draw::new(set(30))), (NEXT, REPORT), |_| None, &[itself(old(60))]);
    assert!(stranger.deadline().is_none() && stranger.poll(at(9), &mut rng()).is_none());
}

// A hundred records name one address: it is dialled twice, then left alone ever longer.
// spec: ADM-12
#[test]
fn an_address_that_many_records_name_is_dialled_a_bounded_few_times() {
    let set = set(3);
    let candidates: Vec<_> = naming(100, "10.200.0.1:80").into_iter().map(|r| (r, None)).collect();
    let mut auditor = begun(&set, &candidates);
    let to_victim = |dials: &[Dial]| dials.iter().filter(|d| d.addr == "10.200.0.1:80".parse().unwrap()).count();
    let (dials, report) = run(&mut auditor, |d| d.addr.port() == 9000);
    assert!((1..=Shares::MOST[0] as usize).contains(&to_victim(&dials)), "{}", to_victim(&dials));
    assert!(report.unwrap().entries.is_empty());
    // An hour of cuts every half minute.
    let mut all = to_victim(&dials);
    for period in 1..120 {
        let from = period * 30_000;
        let report_at = Instant(from * 1000 + 20_000_000);
        auditor.begin(at(from), Arc::new(Draw::new(Arc::clone(&set))), (NEXT, report_at), |_| None, &candidates);
        all += to_victim(&run_from(&mut auditor, from, |d| d.addr.port() == 9000).0);
    }
    assert!(all <= 8, "{all} dials in an hour");
}

// spec: ADM-11
#[test]
fn nobody_has_a_member_dialled_by_naming_its_address() {
    let candidates: Vec<_> = naming(20, "10.1.0.1:9000").into_iter().map(itself).collect();
    let (dials, _) = run(&mut begun(&set(3), &candidates), |_| true);
    assert_eq!(dials.len(), 2, "the two other members, each once");
}

// spec: ADM-14
#[test]
fn who_came_from_its_own_address_goes_before_those_who_only_say_so() {
    let set = set(3);
    let invented: Vec<_> = (0..150).map(|i| (record(100 + i, CUT), None)).collect();
    let mut auditor = Auditor::new(id(0), Arc::new(key(0)));
    let twice = invented.iter().chain(&invented).cloned().collect::<Vec<_>>();
    auditor.begin(at(0), Arc::new(Draw::new(Arc::clone(&set))), (NEXT, REPORT), |_| None, &twice);
    auditor.learned(&record(50, CUT), itself(record(50, CUT)).1, at(1));
    let (dials, report) = run(&mut auditor, |d| d.relay.id() == id(50) || d.relay.id() == id(1));
    let place = dials.iter().position(|d| d.relay.id() == id(50)).unwrap();
    assert!(place <= 3, "it was dialled as number {place}");
    assert!(dials.len() <= 2 + CANDIDATE_DIALS_MAX);
    let report = report.unwrap();
    assert_eq!(report.entries.len(), 1);
    assert_eq!(
        report.entries[0],
        ReportEntry { subject: short(&id(50).0), endpoint: endpoint(&record(50, CUT)), addresses: 1 }
    );
}

#[test]
fn who_came_from_its_own_address_takes_the_place_of_one_that_did_not() {
    let draw = Some(Arc::new(Draw::new(set(3))));
    let mut period = Period::new(draw, NEXT, Some(REPORT), Instant(0));
    let one = |i: u16| with((i % 250) as u8, CUT, |d| d.addrs = vec![([11, (i >> 8) as u8, i as u8, 1], 1).into()]);
    for i in 0..CANDIDATE_DIALS_MAX as u16 + 40 {
        period.add(&one(i), Some(false));
    }
    assert_eq!((period.waiting.len(), period.candidate_dials), (CANDIDATE_DIALS_MAX, CANDIDATE_DIALS_MAX));
    for i in 0..40 {
        period.add(&one(1000 + i), Some(true));
    }
    assert_eq!((period.waiting.len(), period.candidate_dials), (CANDIDATE_DIALS_MAX, CANDIDATE_DIALS_MAX));
    assert_eq!(period.waiting.iter().take_while(|w| w.candidate == Some(true)).count(), 40);
    // Once all that wait came themselves, no more come in.
    for i in 0..CANDIDATE_DIALS_MAX as u16 {
        period.add(&one(2000 + i), Some(true));
    }
    assert_eq!(period.waiting.len(), CANDIDATE_DIALS_MAX);
}

#[test]
fn addresses_of_a_family_that_this_machine_has_no_way_to_are_not_held_against_a_relay() {
    let set = set(3);
    let both = with(60, CUT, |d| d.addrs.push("[2a00:1::1]:9000".parse().unwrap()));
    let mut auditor = begun(&set, &[itself(Arc::clone(&both))]);
    let (_, report) = run(&mut auditor, |d| d.addr.is_ipv4());
    assert_eq!(report.unwrap().entries[0].addresses, 0b10_0001);
    // With a way to IPv6, silence there is the relay's own.
    let other = with(61, CUT, |d| d.addrs = vec!["[2a00:2::1]:9000".parse().unwrap()]);
    let mut auditor = begun(&set, &[itself(both), itself(Arc::clone(&other))]);
    let (_, report) = run(&mut auditor, |d| d.addr.is_ipv4() || d.relay.id() == other.id());
    let entries = report.unwrap().entries;
    assert_eq!(entries.iter().map(|e| e.addresses).collect::<Vec<_>>(), [1, 1]);
}

// One machine's thousand ports, and its neighbourhood's addresses, are no more than a few dials.
// spec: ADM-12
#[test]
fn a_machine_that_is_named_at_a_hundred_ports_is_dialled_twice() {
    let set = set(3);
    let to = |dials: &[Dial], net: [u8; 2]| {
        let is_there = |d: &&Dial| matches!(d.addr.ip(), IpAddr::V4(ip) if ip.octets()[..2] == net);
        dials.iter().filter(is_there).count()
    };
    let many = |addr: fn(u8) -> [u8; 4]| {
        let one = move |i: u8| with(100 + i, CUT, |d| d.addrs = vec![(addr(i), 1000 + u16::from(i)).into()]);
        (0..100).map(move |i| (one(i), None)).collect::<Vec<_>>()
    };
    for (addr, most) in [((|_| [99, 1, 2, 3]) as fn(u8) -> [u8; 4], 2), (|i| [99, 1, 2, i], 4), (|i| [99, 1, i, i], 32)]
    {
        let (dials, _) = run(&mut begun(&set, &many(addr)), |_| true);
        assert_eq!(to(&dials, [99, 1]), most, "{:?}", addr(7));
    }
}

// Who comes itself and names a victim besides brings it no more dials than others do.
// spec: ADM-12
#[test]
fn a_victim_named_beside_one_s_own_address_is_dialled_no_more_often() {
    let set = set(3);
    let victim: SocketAddr = "99.1.2.3:80".parse().unwrap();
    let come = |i: u8| {
        itself(with(100 + i, CUT, |d| (d.addrs, d.lifetime_s) = (vec![([40, i, 1, 1], 1).into(), victim], 7200)))
    };
    let candidates: Vec<_> = (0..100).map(come).collect();
    let mut auditor = begun(&set, &candidates);
    let mut all = 0;
    for period in 0..120 {
        let from = period * 30_000;
        if period > 0 {
            let at_ms = Instant(from * 1000 + 20_000_000);
            auditor.begin(at(from), Arc::new(Draw::new(Arc::clone(&set))), (NEXT, at_ms), |_| None, &candidates);
        }
        let (dials, _) = run_from(&mut auditor, from, |d| d.addr != victim);
        all += dials.iter().filter(|d| d.addr == victim).count();
    }
    assert!((1..=10).contains(&all), "{all} dials in an hour of cuts");
}

// spec: ADM-19
#[test]
fn who_answers_at_many_ports_leaves_nobody_out_of_a_report() {
    let set = set(3);
    // Two hundred of two /16s come first, and answer; thirty others have one each.
    let crowd = (0..200_u8).map(|i| with(20 + i, CUT, |d| d.addrs = vec![([90 + i % 2, 1, i, i], 1).into()]));
    let mut auditor = begun(&set, &[]);
    let period = auditor.period.as_mut().unwrap();
    crowd.for_each(|r| {
        period.subjects.insert((r.id(), endpoint(&r)), Subject { record: r, reached: 1 });
    });
    let others: Vec<_> =
        (0..30_u8).map(|i| with(220 + i, CUT, |d| d.addrs = vec![([10 + i, 9, 9, 9], 1).into()])).collect();
    others.iter().for_each(|r| {
        period.subjects.insert((r.id(), endpoint(r)), Subject { record: Arc::clone(r), reached: 1 });
    });
    auditor.ways[0] = (true, true);
    let entries = auditor.report().unwrap().entries;
    assert_eq!(entries.len(), REPORT_ENTRIES_MAX);
    assert!(others.iter().all(|r| entries.iter().any(|e| e.subject == short(&r.id().0))), "each prefix has its turn");
}

// Before there is a set everybody is audited by everybody, within the same bounds.
// spec: ADM-20
#[test]
fn without_a_set_everybody_is_gone_to_and_known_who_answered() {
    let mut auditor = Auditor::new(id(0), Arc::new(key(0)));
    let victims = naming(60, "99.1.2.3:80").into_iter().map(|r| (r, None));
    let all: Vec<_> =
        [(record(0, CUT), None), itself(record(1, CUT)), (record(2, CUT), None)].into_iter().chain(victims).collect();
    auditor.found(at(0), NEXT, &all);
    let mut dials = Vec::new();
    for ms in (0..20_000).step_by(10) {
        while let Some(AuditOutput::Dial(dial)) = auditor.poll(at(ms), &mut rng()) {
            auditor.answered(at(ms), dial.number, dial.addr.port() == 9000);
            dials.push(dial);
        }
    }
    assert_eq!(dials.first().map(|d| d.relay.id()), Some(id(1)), "who came itself goes first");
    assert!(dials.iter().all(|d| d.relay.id() != id(0)), "not itself");
    assert!(dials.iter().filter(|d| d.addr.port() == 80).count() <= Shares::MOST[0] as usize);
    let known = |auditor: &Auditor| [0, 1, 2, 100].map(|i| auditor.has_reached(&record(i, CUT)));
    assert_eq!(known(&auditor), [false, true, true, false]);
    // It counts in the period after that as well, and no longer.
    auditor.found(at(30_000), NEXT, &[]);
    assert_eq!(known(&auditor), [false, true, true, false]);
    auditor.found(at(60_000), NEXT, &[]);
    assert_eq!(known(&auditor), [false; 4]);
}
