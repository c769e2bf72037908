//! A network in which every relay's directory is the real machine and every message is sent: what the model is held against.
//!
//! Calls take the time of a line, and those to a relay that is away fail. Links, circuits and proofs of work are left out.

use super::churn::{Change, Presence};
use super::costs::on_line;
use super::gossip::Lines;
use super::plan::Plan;
use super::population::Population;
use super::report::{CutLine, Report};
use super::{Watch, rules};
use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant, Now, UnixMs};
use crate::crypto::work::WorkParams;
use crate::proto::directory::kept::Kept;
use crate::proto::directory::relay_sync::{DirOutput, RelayDirectory};
use crate::proto::directory::snapshot::Snapshot;
use crate::proto::profile::Profile;
use crate::proto::rpc::{Call, CallError, CallId};
use crate::wire::descriptor::SignedDescriptor;
use crate::wire::ids::{NetworkId, RelayId};
use core::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

/// How long a call to a relay that is away takes to fail, in microseconds.
const DIAL_TIMEOUT: u64 = 3_000_000;
/// Relays that a starting one knows of an invite or of its last run.
const SEEDS: usize = 4;
/// Between two founding relays' starts, in microseconds.
const START_APART: usize = 200_000;

/// As public networks, without the proof of work: of three hundred relays it would take an hour.
static PROFILE: Profile = Profile { work: WorkParams { bits: 2, effort: 0 }, ..rules::PROFILE_CONST };

enum Event {
    /// A call arrives: its sender, and the one it is for.
    Arrives(usize, Call),
    /// The answer is back.
    Answered(usize, u32, CallId, Result<Vec<u8>, CallError>),
    /// The machine asked to be woken.
    Wake(usize, u32),
    /// It is time to publish again.
    Publish(usize, u32),
    /// The relay starts.
    Start(usize),
}

struct Node {
    dir: Option<RelayDirectory>,
    /// Counts starts: what was under way before is not for this run.
    run: u32,
    armed: u64,
    settled: Option<Arc<Snapshot>>,
    /// What it wrote down for its next run.
    kept: Vec<u8>,
    sent: f64,
    started: u64,
}

impl Node {
    const AWAY: Self =
        Self { dir: None, run: 0, armed: u64::MAX, settled: None, kept: Vec::new(), sent: 0.0, started: 0 };
}

/// All machines, and what is under way between them.
struct Machines {
    now: u64,
    begins: UnixMs,
    network: NetworkId,
    population: Population,
    presence: Presence,
    nodes: Vec<Node>,
    lines: Lines,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event>,
    sequence: u64,
    rng: Rng,
}

impl Machines {
    fn new(plan: &Plan) -> Self {
        let mut seed = [7; 32];
        seed[..8].copy_from_slice(&plan.seed.to_be_bytes());
        let mut rng = Rng::from_seed(seed);
        let network = NetworkId(rng.bytes());
        let begins = rules::cut_near(UnixMs(1_700_006_400_000)).plus(Duration::from_secs(7));
        let hostile = plan.hostile_relays();
        let mut population = Population::new(network, &PROFILE, plan.relays, plan.skew_ms, rng.fork());
        (0..plan.relays).for_each(|i| {
            population.add(begins, i < hostile);
        });
        let presence = Presence::new(plan.churn, plan.relays, |i| i < hostile, rng.fork());
        let mut all = Self {
            now: 0,
            begins,
            network,
            population,
            presence,
            nodes: Vec::new(),
            lines: Lines::internet(plan.loss, &PROFILE),
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            sequence: 0,
            rng,
        };
        for i in 0..plan.relays {
            all.nodes.push(Node::AWAY);
            let at = (all.rng.below(START_APART) + i * START_APART) as u64;
            if all.presence.is_up(i) {
                all.later(at, Event::Start(i));
            }
        }
        all
    }

    fn later(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.events.insert(self.sequence, event);
        self.queue.push(Reverse((at, self.sequence)));
    }

    /// What time it is to relay `i`.
    fn clock(&self, i: usize) -> Now {
        let skew = self.population.get(i).map_or(0, |r| r.skew);
        let unix = self.begins.0.saturating_add(self.now / 1000).saturating_add_signed(skew);
        Now { mono: Instant(self.now), unix: UnixMs(unix) }
    }

    /// Relays that run, some by chance: whom an invite or a last run names.
    fn some_running(&mut self, but: usize) -> Vec<SignedDescriptor> {
        let running: Vec<usize> =
            self.nodes.iter().enumerate().filter(|(i, n)| *i != but && n.dir.is_some()).map(|(i, _)| i).collect();
        let draw = |rng: &mut Rng| running.get(rng.below(running.len())).copied();
        let chosen: Vec<usize> = (0..SEEDS).filter_map(|_| draw(&mut self.rng)).collect();
        chosen.iter().filter_map(|i| self.population.get(*i)).map(|r| (*r.record).clone()).collect()
    }

    fn start(&mut self, i: usize) {
        let seeds = self.some_running(i);
        let Some((key, id)) = self.population.get(i).map(|r| (Arc::clone(&r.key), r.record.id())) else { return };
        let now = self.now;
        let Some(node) = self.nodes.get_mut(i).filter(|n| n.dir.is_none()) else { return };
        let mut dir = RelayDirectory::new(self.network, &PROFILE, key, id, seeds);
        if let Ok(kept) = Kept::decode(&node.kept, &PROFILE, self.network) {
            dir.restore(kept);
        }
        node.dir = Some(dir);
        node.run += 1;
        node.started = now;
        let run = node.run;
        self.publish(i, run);
    }

    fn publish(&mut self, i: usize, run: u32) {
        let clock = self.clock(i);
        let Some(record) = self.population.publish(i, clock.unix, |_| ()) else { return };
        let Some(dir) = self.nodes.get_mut(i).filter(|n| n.run == run).and_then(|n| n.dir.as_mut()) else { return };
        dir.publish(clock, (*record).clone());
        let refresh = PROFILE.descriptor_refresh.as_micros() as u64;
        self.later(self.now + refresh, Event::Publish(i, run));
        self.drain(i);
    }

    /// Carries out what a machine wants.
    fn drain(&mut self, i: usize) {
        let clock = self.clock(i);
        let mut calls = Vec::new();
        let Some(node) = self.nodes.get_mut(i) else { return };
        let Some(dir) = &mut node.dir else { return };
        while let Some(output) = dir.poll(clock, &mut self.rng) {
            match output {
                DirOutput::Call(call) => calls.push(call),
                DirOutput::Settled(set) => node.settled = Some(set),
                DirOutput::Keep(bytes) => node.kept = bytes,
                DirOutput::Known(_) | DirOutput::Peers(_) => {}
            }
        }
        let next = dir.deadline().map_or(u64::MAX, |at| at.0.max(self.now + 1_000));
        let run = node.run;
        if next < node.armed || node.armed <= self.now {
            node.armed = next;
            if next != u64::MAX {
                self.later(next, Event::Wake(i, run));
            }
        }
        for call in calls {
            self.sent(i, call.body.len());
            let at = self.arrival();
            self.later(at, Event::Arrives(i, call));
        }
    }

    fn sent(&mut self, i: usize, body: usize) {
        if let Some(node) = self.nodes.get_mut(i) {
            node.sent += on_line(body);
        }
    }

    fn arrival(&mut self) -> u64 {
        self.now + (self.lines.once(&mut self.rng) * 1_000.0) as u64
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Start(i) => self.start(i),
            Event::Publish(i, run) => self.publish(i, run),
            Event::Wake(i, run) => {
                if self.nodes.get(i).is_some_and(|n| n.run == run && n.armed <= self.now) {
                    self.drain(i);
                }
            }
            Event::Arrives(from, call) => self.arrives(from, call),
            Event::Answered(i, run, id, result) => {
                let clock = self.clock(i);
                let Some(dir) = self.nodes.get_mut(i).filter(|n| n.run == run).and_then(|n| n.dir.as_mut()) else {
                    return;
                };
                dir.answer(clock, id, result);
                self.drain(i);
            }
        }
    }

    fn arrives(&mut self, from: usize, call: Call) {
        let run = self.nodes.get(from).map_or(0, |n| n.run);
        let to = self.population.number(&call.to).filter(|to| self.nodes.get(*to).is_some_and(|n| n.dir.is_some()));
        let Some(to) = to else {
            return self
                .later(self.now + DIAL_TIMEOUT, Event::Answered(from, run, call.id, Err(CallError::Unreachable)));
        };
        let clock = self.clock(to);
        let Some(dir) = self.nodes.get_mut(to).and_then(|n| n.dir.as_mut()) else { return };
        let answer = dir.request(clock, &call.body);
        self.sent(to, answer.len());
        self.drain(to);
        let at = self.arrival();
        self.later(at, Event::Answered(from, run, call.id, Ok(answer)));
    }

    /// Lets time pass, in microseconds from the start.
    fn run_to(&mut self, to: u64) {
        for (at, change) in self.presence.advance(to as f64 / 1_000.0) {
            let at = (at * 1_000.0) as u64;
            self.run_events(at.max(self.now));
            match change {
                Change::Up(i) => self.start(i as usize),
                Change::Down(i) => self.stop(i as usize),
                Change::Replaced(i, _) => {
                    self.stop(i as usize);
                    let born = UnixMs(self.begins.0 + self.now / 1_000);
                    let heir = self.population.add(born, false);
                    self.nodes.push(Node::AWAY);
                    self.start(heir);
                }
            }
        }
        self.run_events(to);
    }

    fn run_events(&mut self, to: u64) {
        while let Some(Reverse((at, sequence))) = self.queue.peek().copied().filter(|Reverse((at, _))| *at <= to) {
            self.queue.pop();
            self.now = self.now.max(at);
            if let Some(event) = self.events.remove(&sequence) {
                self.happen(event);
            }
        }
        self.now = self.now.max(to);
    }

    fn stop(&mut self, i: usize) {
        if let Some(node) = self.nodes.get_mut(i) {
            (node.dir, node.settled, node.armed) = (None, None, u64::MAX);
        }
    }

    /// How the relays stand at this moment.
    fn line(&self) -> Option<(Arc<Snapshot>, CutLine)> {
        let honest = |i: usize| self.population.get(i).is_some_and(|r| !r.hostile);
        let running: Vec<usize> = (0..self.nodes.len()).filter(|i| honest(*i) && self.presence.is_up(*i)).collect();
        let sets = running.iter().filter_map(|i| self.nodes.get(*i)?.settled.as_ref());
        let mut counts = BTreeMap::new();
        sets.for_each(|s| counts.entry((s.cut, s.root)).or_insert((0_usize, s)).0 += 1);
        let (most, set) = counts.values().max_by_key(|(n, _)| *n)?;
        let at = |id: &RelayId| self.population.number(id);
        let listed: std::collections::BTreeSet<usize> = set.relays().iter().filter_map(|r| at(&r.id())).collect();
        let settled_in = 2 * rules::period(set).as_micros() as u64;
        let old = |i: &usize| self.nodes.get(*i).is_some_and(|n| n.started + settled_in <= self.now);
        let owed: Vec<_> = running.iter().filter(|i| old(i)).collect();
        let share = |part: usize, of: usize| if of == 0 { 1.0 } else { part as f64 / of as f64 };
        // Of those that were there at the cut; who came since is catching up.
        let ripe = running.iter().filter(|i| old(i)).count();
        let agreeing = running
            .iter()
            .filter(|i| old(i))
            .filter(|i| self.nodes.get(**i).and_then(|n| n.settled.as_ref()).is_some_and(|s| s.root == set.root));
        let line = CutLine {
            hour: self.now as f64 / 3.6e9,
            members: set.len(),
            running: running.len(),
            agreement: share(agreeing.count(), ripe),
            roots: counts.len(),
            completeness: share(owed.iter().filter(|i| listed.contains(**i)).count(), owed.len()),
            dead: share(listed.iter().filter(|i| !self.presence.is_up(**i)).count(), listed.len()),
            late_items: 0,
        };
        (*most > 0).then(|| (Arc::clone(set), line))
    }

    fn sent_by_all(&self) -> f64 {
        self.nodes.iter().map(|n| n.sent).sum()
    }
}

/// Runs a plan to its end.
pub fn run(plan: &Plan, watch: &mut dyn Watch) -> Report {
    let mut all = Machines::new(plan);
    let mut report = Report::default();
    let end = (plan.days * 8.64e10) as u64;
    let (mut last, mut counted_from) = (UnixMs(0), None);
    let step = 5_000_000;
    while all.now < end {
        all.run_to(all.now + step);
        let Some((set, line)) = all.line() else { continue };
        // Each cut is looked at when it is used, by the latest of clocks.
        let named = set.cut.plus(Duration::from_millis(rules::lag_ms(&set) as u64 + 2 * plan.skew_ms));
        let is_due = UnixMs(all.begins.0 + all.now / 1_000) >= named;
        if set.cut > last && is_due {
            last = set.cut;
            report.push(line);
            counted_from.get_or_insert((all.now, all.sent_by_all()));
        }
        if !watch.goes_on(all.now as f64 / 3.6e9, plan.days * 24.0) {
            report.ended_early = Some("its time was over");
            break;
        }
    }
    if let Some((from, sent)) = counted_from.filter(|(from, _)| *from < all.now) {
        let days = (all.now - from) as f64 / 8.64e10;
        report.relay_bytes_day = (all.sent_by_all() - sent) / days / all.presence.count_up().max(1) as f64;
    }
    report
}
