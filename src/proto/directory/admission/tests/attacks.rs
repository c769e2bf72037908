//! What hostile auditors, identities and records come to at a cut.

use super::*;

const LATER: UnixMs = UnixMs(1_700_000_002_000);

/// Every fifth relay is the adversary's.
fn is_hostile(id: &RelayId) -> bool {
    id.0[0] < 51
}

/// The cut after one at which these were candidates.
fn after(
    one: &Arc<Snapshot>,
    candidates: &[Arc<SignedDescriptor>],
    reaches: impl Fn(&RelayId, &SignedDescriptor) -> bool,
) -> Snapshot {
    let draw = Draw::new(Arc::clone(one));
    let mut all = reports(&draw, candidates, reaches);
    all.iter_mut().for_each(|r| r.cut = LATER);
    let admitted = admit(&Found::new(&draw, &all, LATER), heard(one, candidates), LATER);
    Snapshot::follow(Some(one), admitted.heard, LATER, &P, NETWORK)
}

// Eight neighbours on the ring are the adversary's, of forty members, and he makes keys until they are drawn for twelve of them:
// who makes keys once the draw is known passes it, and is drawn once more.
// spec: ADM-7
#[test]
fn twelve_identities_ground_for_their_auditors_pass_once_and_not_twice() {
    let set = set(40);
    let draw = Draw::new(Arc::clone(&set));
    let eight: Vec<_> = draw.auditors(&relay(200_000).id()).take(8).collect();
    let is_hostile = |a: &RelayId| eight.contains(a);
    let fits = |r: &Arc<SignedDescriptor>| draw.auditors(&r.id()).filter(is_hostile).count() == 8;
    let twelve: Vec<_> = (200_000..240_000).map(relay).filter(fits).take(12).collect();
    assert_eq!(twelve.len(), 12, "such keys can be found");
    let is_one = |r: &SignedDescriptor| twelve.iter().any(|g| g.id() == r.id());
    let reaches = |a: &RelayId, r: &SignedDescriptor| is_hostile(a) || !is_one(r);
    let (one, _) = next(&set, &twelve, reaches);
    assert!(twelve.iter().all(|g| one.get(&g.id()).is_none()), "none is live");
    let tried = twelve.iter().filter(|g| one.member(&g.id()).is_some_and(Member::is_on_probation)).count();
    assert!(tried >= 8, "{tried} are tried out: all that there is place for");
    let two = after(&one, &twelve, reaches);
    assert!(twelve.iter().all(|g| two.member(&g.id()).is_none()), "none is in");
    assert_eq!(two.len(), 40);
}

// All eleven lie, once: the relay that is nowhere waits, as everybody does, and is gone with the next cut.
// spec: ADM-7
#[test]
fn eleven_hostile_auditors_of_eleven_bring_nobody_in() {
    let set = set(40);
    let draw = Draw::new(Arc::clone(&set));
    let ghost = relay(200_000);
    let eleven: Vec<_> = draw.auditors(&ghost.id()).collect();
    let lies = |a: &RelayId, r: &SignedDescriptor| r.id() != ghost.id() || eleven.contains(a);
    let (one, _) = next(&set, &[Arc::clone(&ghost)], lies);
    assert!(one.get(&ghost.id()).is_none() && one.member(&ghost.id()).is_some());
    let two = after(&one, &[Arc::clone(&ghost)], lies);
    assert_eq!((two.member(&ghost.id()), two.len()), (None, 40));
}

// A fifth of all auditors say of nobody that they reached it.
// spec: ADM-6
#[test]
fn slander_by_a_fifth_harms_few_and_for_one_cut() {
    let set = set(1_000);
    let silent = |a: &RelayId, _: &SignedDescriptor| !is_hostile(a);
    let (one, _) = next(&set, &[], silent);
    let slandered: Vec<_> = set.relays().iter().map(|r| r.id()).filter(|id| one.get(id).is_none()).collect();
    assert!(slandered.len() <= 10, "{} of a thousand", slandered.len());
    assert!(slandered.iter().all(|id| one.member(id).is_some()), "they keep their place and their standing");
    let two = after(&one, &[], silent);
    assert!(slandered.iter().all(|id| two.get(id).is_some()), "and are back when others are drawn");
}

// What those say who are no live members, or said at another cut or of another set, is not heard.
// spec: ADM-5
#[test]
fn reports_of_the_dead_and_of_other_cuts_and_sets_count_for_nothing() {
    let (before, new) = (set(12), relay(500));
    let sets = {
        let mut all = heard(&before, &[]);
        all.values_mut().for_each(|h| h.live = (0..8).any(|i| relay(i).id() == h.record.id()));
        Arc::new(Snapshot::follow(Some(&before), all, NEXT, &P, NETWORK))
    };
    assert_eq!((sets.len(), sets.members().len()), (8, 12), "four are away");
    let draw = Draw::new(Arc::clone(&sets));
    let entry = ReportEntry { subject: short(&new.id().0), endpoint: endpoint(&new), addresses: 1 };
    let by = |n: u32, cut, set| Report::sign(cut, set, relay(n).id(), (vec![], vec![entry]), &key(n));
    let count = |all: &[Report]| Found::new(&draw, all, LATER).confirmations(&new).by;
    let root = short(&sets.root);
    let live: Vec<_> = (0..8).map(|n| by(n, LATER, root)).collect();
    assert_eq!(count(&live), 8);
    assert_eq!(count(&(8..12).map(|n| by(n, LATER, root)).collect::<Vec<_>>()), 0, "of those that are away");
    assert_eq!(count(&(0..8).map(|n| by(n, NEXT, root)).collect::<Vec<_>>()), 0, "of another cut");
    assert_eq!(count(&(0..8).map(|n| by(n, LATER, short(&before.root))).collect::<Vec<_>>()), 0, "of another set");
    assert_eq!(count(&[&live[..], &live[..]].concat()), 8, "said twice is said once");
}

// spec: ADM-20 ADM-8
#[test]
fn founders_are_those_that_were_reached_each_at_a_free_place() {
    let at = |n: u32, ago: u64, to: &str| {
        with(n, |d| (d.published, d.addrs) = (CUT.minus(Duration::from_secs(ago)), vec![to.parse().unwrap()]))
    };
    let there = [
        at(1, 9, "1.1.1.1:1"),
        at(2, 8, "2.2.2.2:1"),
        at(3, 7, "3.3.3.3:1"),
        at(4, 6, "3.3.3.3:2"),
        at(5, 5, "3.3.3.3:3"),
    ];
    let nowhere: Vec<_> = (0..160).map(|i| relay(100_000 + i)).collect();
    let all = there.iter().chain(&nowhere);
    let heard: BTreeMap<_, _> =
        all.map(|r| (r.id(), Heard { record: Arc::clone(r), live: true, on_probation: false })).collect();
    let reached = |r: &SignedDescriptor| r.id() != there[0].id() && there.iter().any(|t| t.id() == r.id());
    let first = founders(heard, there[0].id(), reached);
    let expected: BTreeSet<_> = there[..4].iter().map(|r| r.id()).collect();
    assert_eq!(first.keys().copied().collect::<BTreeSet<_>>(), expected, "itself, and the first two of one machine");
}
