//! A network over its cuts, in virtual time.

use super::agreement::{Contested, Division, by_group, carry, divide};
use super::attack::{Strategy, strategy};
use super::audits::{Audited, Standing};
use super::churn::{Change, Presence};
use super::costs::{self, Costs, CutCosts};
use super::gossip::Lines;
use super::ladder::Group;
use super::plan::{Defence, Plan};
use super::population::Population;
use super::report::{CutLine, Report};
use super::rules::{self, Heard};
use crate::base::rng::Rng;
use crate::base::time::{Duration, UnixMs};
use crate::crypto::hash::{context, derive};
use crate::proto::directory::changes::compare;
use crate::proto::directory::snapshot::Snapshot;
use crate::proto::directory::standing::{SAMPLES_MAX, Standing as Member};
use crate::proto::directory::vote::Root;
use crate::proto::profile::Profile;
use crate::wire::descriptor::SignedDescriptor;
use crate::wire::ids::NetworkId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How old the network is when a simulation begins, in days.
const FOUNDED_DAYS: u64 = 60;
/// When a simulation's time begins.
const START: UnixMs = UnixMs(1_700_006_400_000);

/// Everything that is simulated.
pub struct World {
    /// What was asked for.
    pub plan: Plan,
    /// The network's numbers.
    pub profile: &'static Profile,
    /// Every relay that ever was.
    pub population: Population,
    /// Which of them are there.
    pub presence: Presence,
    /// What the adversary does.
    pub strategy: Box<dyn Strategy>,
    /// The majority's newest set.
    pub set: Arc<Snapshot>,
    /// How the relays divided at that cut.
    pub division: Division,
    /// By number: whether the set lists the relay.
    pub listed: Vec<bool>,
    /// How long after its cut that set was named, in milliseconds.
    pub lag: f64,
    /// Cuts so far.
    pub index: u64,
    /// The root that the adversary made up for this cut.
    pub forged: Root,
    /// What the directory cost so far.
    pub costs: Costs,
    /// Records published since the last cut.
    published: usize,
    network: NetworkId,
    lines: Lines,
    /// Identities of the attack, by number in the population.
    identities: Vec<usize>,
    ghosts: Vec<(Arc<SignedDescriptor>, Standing)>,
    /// By number.
    audits: Vec<Standing>,
    /// Relays that went away and are still listed, with the moment in milliseconds.
    leaving: BTreeMap<usize, f64>,
    /// Honest newcomers that are not listed yet, with the number of cuts at their start.
    waiting: BTreeMap<usize, u64>,
    rng: Rng,
}

impl World {
    /// A network at the moment of a cut, all of whose relays know each other.
    pub fn new(plan: &Plan) -> Self {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&plan.seed.to_be_bytes());
        let mut rng = Rng::from_seed(seed);
        let profile = rules::PROFILE;
        let network = NetworkId(rng.bytes());
        let start = rules::cut_near(START);
        let mut population = Population::new(network, profile, plan.relays, plan.skew_ms, rng.fork());
        let hostile = plan.hostile_relays();
        // Records are renewed at different times, as they are in a network that has run for long.
        let refresh = profile.descriptor_refresh.as_millis() as usize;
        let first = start.minus(profile.cuts.late_window);
        for i in 0..plan.relays {
            let age = Duration::from_millis(rng.below(refresh) as u64);
            population.add(first.minus(age), i < hostile);
        }
        let presence = Presence::new(plan.churn, plan.relays, |i| i < hostile, rng.fork());
        let identities: Vec<usize> = match plan.identities {
            0 => (0..hostile).collect(),
            n => (0..n.min(hostile)).collect(),
        };
        let records: Vec<_> = population.iter().map(|r| Arc::clone(&r.record)).collect();
        let age = Duration::from_secs(FOUNDED_DAYS * 86_400);
        // As old as the network, and there whenever it was looked for.
        let standing = (0..SAMPLES_MAX).fold(Member::new(start.minus(age)), |s, _| s.sampled(true));
        let set = Arc::new(rules::begin(&records, start, network, |_| standing));
        let division = divide(plan.relays, |_| true, 0, |_, _| true);
        let mut world = Self {
            profile,
            population,
            presence,
            strategy: strategy(plan),
            set,
            division,
            listed: Vec::new(),
            lag: 0.0,
            index: 0,
            forged: [0; 32],
            costs: Costs::default(),
            published: 0,
            network,
            lines: Lines::internet(plan.loss, profile),
            identities,
            ghosts: Vec::new(),
            audits: vec![Standing::MEMBER; plan.relays],
            leaving: BTreeMap::new(),
            waiting: BTreeMap::new(),
            rng,
            plan: plan.clone(),
        };
        world.list();
        world.invent();
        world
    }

    /// Milliseconds from the start to a moment.
    pub fn ms(&self, at: UnixMs) -> f64 {
        at.0.saturating_sub(rules::cut_near(START).0) as f64
    }

    /// The time to the next cut.
    pub fn period(&self) -> Duration {
        rules::period(&self.set)
    }

    /// Whether relay `i` runs and answers.
    pub fn is_up(&self, i: usize) -> bool {
        let hostile = self.population.get(i).is_some_and(|r| r.hostile);
        if hostile { self.strategy.is_there(self.index) } else { self.presence.is_up(i) }
    }

    /// Lets everything happen up to the next cut, and settles it.
    pub fn cut(&mut self, report: &mut Report) {
        let at = self.set.cut.plus(self.period());
        self.index += 1;
        let now = self.ms(at);
        self.pass(now);
        self.renew(at);
        let group = self.plan.has(Defence::Ladder).then(|| self.group(at));
        let boundary = group.as_ref().map_or(0.0, |g| -g.window);
        let releases = self.strategy.releases(self.identities.len(), boundary, &mut self.rng);
        let n = self.population.len();
        let mut rng = self.rng.fork();
        let contested = carry(&releases, &self.lines, n, |i| self.side(i, now), &mut rng);
        let honest = |i: usize| self.population.get(i).is_some_and(|r| !r.hostile) && self.is_up(i);
        self.division = match &group {
            Some(group) => by_group(n, honest, group, &contested, &self.lines, &mut rng),
            None => divide(n, honest, contested.len(), |i, item| self.counts(i, contested.get(item))),
        };
        self.settle(at, &contested);
        self.list();
        self.forged = derive(context::DIR_NODE, &[b"forged", &self.set.root]);
        self.tell(at, contested.len(), report);
    }

    /// The group that agrees on the cut at this moment.
    fn group(&self, cut: UnixMs) -> Group {
        Group::draw(&self.set, cut, &self.population, |i| self.is_up(i))
    }

    /// On which side of a cut line a relay is, if it runs.
    fn side(&self, i: usize, now: f64) -> Option<u8> {
        self.is_up(i).then(|| self.strategy.side(i, now))
    }

    /// Whether a relay counts an item by its own clock.
    fn counts(&self, i: usize, item: Option<&Contested>) -> bool {
        let skew = self.population.get(i).map_or(0, |r| r.skew);
        item.and_then(|item| item.heard.get(i)).is_some_and(|heard| i64::from(*heard) <= -skew)
    }

    /// Lets relays come and go up to a moment.
    pub fn pass(&mut self, now: f64) {
        for (at, change) in self.presence.advance(now) {
            match change {
                Change::Up(i) => {
                    self.leaving.remove(&(i as usize));
                }
                Change::Down(i) => {
                    self.left(i as usize, at);
                }
                Change::Replaced(i, heir) => {
                    self.left(i as usize, at);
                    let born = UnixMs(rules::cut_near(START).0 + at as u64);
                    let number = self.population.add(born, false);
                    debug_assert_eq!(number, heir as usize);
                    self.waiting.insert(number, self.index);
                }
            }
        }
    }

    fn left(&mut self, i: usize, at: f64) {
        if self.listed.get(i) == Some(&true) {
            self.leaving.entry(i).or_insert(at);
        }
        self.waiting.remove(&i);
    }

    /// Running relays renew records whose time has come.
    fn renew(&mut self, cut: UnixMs) {
        let due = cut.minus(self.profile.cuts.late_window);
        for i in 0..self.population.len() {
            let Some(old) = self.population.get(i).map(|r| r.record.published) else { continue };
            let next = old.plus(self.profile.descriptor_refresh);
            if next <= due && self.is_up(i) {
                self.population.publish(i, next.max(due.minus(self.period())), |_| ());
                self.published += 1;
            }
        }
    }

    /// The adversary's invented records.
    fn invent(&mut self) {
        let (at, n) = (self.set.cut, self.strategy.ghosts());
        if n == 0 {
            return;
        }
        let mut invented = Population::new(self.network, self.profile, n, 0, self.rng.fork());
        for _ in 0..n {
            invented.add(at, true);
        }
        self.ghosts = invented.iter().map(|r| (Arc::clone(&r.record), Standing::default())).collect();
    }

    fn settle(&mut self, cut: UnixMs, contested: &[Contested]) {
        let backdated = cut.minus(self.profile.cuts.late_window);
        for (item, counted) in contested.iter().zip(&self.division.counted) {
            if let Some(i) = self.identities.get(item.identity).filter(|_| *counted) {
                self.population.publish(*i, backdated, |_| ());
            }
        }
        let heard = self.hear(self.ms(cut));
        let period = self.period().as_millis() as f64;
        let record_len = self.population.get(0).map_or(0, |r| r.record.bytes().len());
        self.lag = rules::lag_ms(&self.set);
        let set = Arc::new(rules::settle(&self.set, heard, cut, self.network));
        let before = core::mem::replace(&mut self.set, set);
        let (records, members) = (core::mem::take(&mut self.published), self.set.len());
        let changes = compare(&before, &self.set).encode().len();
        self.costs.add(CutCosts { records, record_len, members, period, changes }, self.profile);
    }

    /// What the audits of the period that ends now found.
    fn hear(&mut self, now: f64) -> Vec<Heard> {
        let (period, lies) = (self.period().as_millis() as f64, self.strategy.lies_in_audits());
        let (audits, hostile) = (self.plan.has(Defence::Audits), self.hostile_share());
        self.audits.resize(self.population.len(), Standing::default());
        let mut heard = Vec::new();
        for (i, relay) in self.population.iter().enumerate() {
            let Some(standing) = self.audits.get_mut(i).filter(|_| !self.presence.is_gone(i)) else { continue };
            let is_up = if relay.hostile { self.strategy.is_there(self.index) } else { self.presence.is_up(i) };
            let since = self.presence.since(i).max(now - period);
            let other = if relay.hostile { 0.0 } else { 1.0 - (now - since) / period };
            let audited = Audited { is_up, other, hostile, lie: lies.then_some(relay.hostile) };
            let live = !audits || standing.audited(audited.confirmed(&mut self.rng));
            if live || standing.is_member {
                heard.push(Heard { record: Arc::clone(&relay.record), live });
            }
        }
        for (ghost, standing) in &mut self.ghosts {
            let audited = Audited { is_up: false, other: 0.0, hostile, lie: lies.then_some(true) };
            if !audits || standing.audited(audited.confirmed(&mut self.rng)) {
                heard.push(Heard { record: Arc::clone(ghost), live: true });
            }
        }
        heard
    }

    /// The share of members that are hostile.
    fn hostile_share(&self) -> f64 {
        let listed = self.population.iter().zip(&self.listed).filter(|(_, l)| **l);
        let hostile = listed.filter(|(r, _)| r.hostile).count();
        hostile as f64 / self.set.len().max(1) as f64
    }

    fn list(&mut self) {
        let mut listed = vec![false; self.population.len()];
        for r in self.set.relays() {
            if let Some(l) = self.population.number(&r.id()).and_then(|i| listed.get_mut(i)) {
                *l = true;
            }
        }
        self.listed = listed;
    }

    /// Bytes of a client's first directory: the set and one check.
    pub fn first_directory(&self) -> f64 {
        let record_len = self.population.get(0).map_or(0, |r| r.record.bytes().len());
        let cut = CutCosts { records: 0, record_len, members: self.set.len(), period: 0.0, changes: 0 };
        costs::set_bytes(cut) + costs::check_bytes(cut, self.profile)
    }

    fn tell(&mut self, cut: UnixMs, late_items: usize, report: &mut Report) {
        let now = self.ms(cut);
        let running: usize = self.division.sizes.iter().sum();
        let most = self.division.sizes.get(self.division.majority as usize).copied().unwrap_or_default();
        let known = self.set.relays().iter().filter_map(|r| self.population.number(&r.id())).count();
        report.ghosts_settled = report.ghosts_settled.max((self.set.len() - known) as u64);
        let (mut owed, mut present, mut away) = (0, 0, 0);
        let settled_in = 2.0 * self.period().as_millis() as f64;
        for i in 0..self.population.len() {
            let listed = self.listed.get(i) == Some(&true);
            let honest = self.population.get(i).is_some_and(|r| !r.hostile);
            away += usize::from(listed && !self.is_up(i));
            if honest && self.presence.is_up(i) && self.presence.since(i) + settled_in <= now {
                owed += 1;
                present += usize::from(listed);
            }
        }
        let share = |part: usize, of: usize| if of == 0 { 1.0 } else { part as f64 / of as f64 };
        report.push(CutLine {
            hour: now / 3_600_000.0,
            members: self.set.len(),
            running,
            agreement: share(most, running),
            roots: self.division.sizes.len(),
            completeness: share(present, owed),
            dead: if self.set.len() == 0 { 0.0 } else { away as f64 / self.set.len() as f64 },
            late_items,
        });
        let usable = now + self.lag;
        let listed = &self.listed;
        self.leaving.retain(|i, at| {
            let still = listed.get(*i) == Some(&true);
            if !still {
                report.noticed_hours.push((usable - *at) / 3_600_000.0);
            }
            still
        });
        let index = self.index;
        self.waiting.retain(|i, since| {
            let still = listed.get(*i) != Some(&true);
            if !still {
                report.newcomer_cuts.push((index - *since) as f64);
            }
            still
        });
    }
}
