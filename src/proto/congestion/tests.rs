//! The controller against a path of one bottleneck, in virtual time.

use super::*;
use crate::proto::congestion::pacer::Pacer;
use std::collections::VecDeque;

const P: CongestionParams = CongestionParams::DEFAULT;
const ACK: u32 = 16;

/// A bottleneck shared by flows that always have something to send.
struct Path {
    now: u64,
    cell_us: f64,
    delay_us: u64,
    free_at: f64,
    flows: Vec<Flow>,
    /// Acknowledgements are held back and come in bunches, one for each such interval.
    bunch_us: u64,
    /// One cell in `.0` is lost and arrives `.1` later; all cells sent after it wait.
    lost: Option<(u64, u64)>,
    dice: u64,
    in_order: u64,
}

struct Flow {
    cc: Congestion,
    pacer: Pacer,
    in_flight: u32,
    sent: VecDeque<u64>,
    /// When each acknowledgement arrives, and when its cell was sent.
    acks: VecDeque<(u64, u64)>,
    starts_at: u64,
    delivered: u64,
}

impl Path {
    fn new(cells_a_second: f64, round_trip: Duration, starts: &[u64]) -> Self {
        let flow = |&starts_at: &u64| Flow {
            cc: Congestion::new(P),
            pacer: Pacer::default(),
            in_flight: 0,
            sent: VecDeque::new(),
            acks: VecDeque::new(),
            starts_at,
            delivered: 0,
        };
        Self {
            now: 0,
            cell_us: 1e6 / cells_a_second,
            delay_us: round_trip.as_micros() as u64,
            free_at: 0.0,
            flows: starts.iter().map(flow).collect(),
            bunch_us: 0,
            lost: None,
            dice: 1,
            in_order: 0,
        }
    }

    /// Cells in the queue now.
    fn queue(&self) -> f64 {
        ((self.free_at - self.now as f64) / self.cell_us).max(0.0)
    }

    fn run(&mut self, until: u64, mut look: impl FnMut(&Self)) {
        while self.now < until {
            self.now += 200;
            for i in 0..self.flows.len() {
                self.flow(i);
            }
            look(self);
        }
    }

    /// When a cell that leaves the bottleneck now is handed on.
    fn arrival(&mut self) -> u64 {
        let mut at = self.free_at as u64 + self.delay_us;
        if let Some((one_of, later)) = self.lost {
            self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if (self.dice >> 33).is_multiple_of(one_of) {
                at += later;
            }
        }
        self.in_order = self.in_order.max(at);
        self.in_order
    }

    fn flow(&mut self, i: usize) {
        let (now, cell_us) = (self.now, self.cell_us);
        let f = &mut self.flows[i];
        if now < f.starts_at {
            return;
        }
        while let Some(&(at, sent)) = f.acks.front().filter(|(at, _)| *at <= now) {
            f.acks.pop_front();
            f.in_flight -= ACK;
            f.delivered += u64::from(ACK);
            f.cc.acked(Instant(at), Duration::from_micros(at - sent), ACK);
        }
        f.pacer.woken(Instant(now));
        while self.flows[i].in_flight < self.flows[i].cc.window() && self.flows[i].pacer.rests_until().is_none() {
            self.free_at = self.free_at.max(now as f64) + cell_us;
            let at = self.arrival();
            let at = if self.bunch_us > 0 { at.next_multiple_of(self.bunch_us) } else { at };
            let f = &mut self.flows[i];
            f.in_flight += 1;
            f.pacer.sent(Instant(now), f.cc.interval());
            f.sent.push_back(now);
            if f.sent.len() == ACK as usize {
                f.acks.push_back((at, now));
                f.sent.clear();
            }
        }
        self.flows[i].cc.held_back();
    }
}

fn jain(rates: &[f64]) -> f64 {
    let sum: f64 = rates.iter().sum();
    sum * sum / (rates.len() as f64 * rates.iter().map(|r| r * r).sum::<f64>())
}

/// 100 Mbit/s in cells a second.
const FAST: f64 = 100e6 / 8.0 / 1408.0;
const S: u64 = 1_000_000;

// spec: CONG-3 CONG-5
#[test]
fn one_flow_fills_a_long_path_in_seconds_and_keeps_its_queue_short() {
    let mut path = Path::new(FAST, Duration::from_millis(200), &[0]);
    path.run(5 * S, |_| ());
    let before = path.flows[0].delivered;
    let (mut most, mut sum, mut n) = (0.0_f64, 0.0, 0.0);
    path.run(15 * S, |p| {
        most = most.max(p.queue());
        sum += p.queue();
        n += 1.0;
    });
    let rate = (path.flows[0].delivered - before) as f64 / 10.0;
    let bdp = FAST * 0.2;
    assert!(rate > 0.9 * FAST, "{:.0} % of the bottleneck", 100.0 * rate / FAST);
    assert!(most < bdp && sum / n < bdp / 4.0, "queue {most:.0} at most, {:.0} on average, BDP {bdp:.0}", sum / n);
}

// spec: CONG-3
#[test]
fn ten_flows_that_start_one_after_the_other_share_alike() {
    let starts: Vec<u64> = (0..10).map(|i| i * 3 * S / 2).collect();
    let mut path = Path::new(FAST, Duration::from_millis(200), &starts);
    path.run(45 * S, |_| ());
    let before: Vec<_> = path.flows.iter().map(|f| f.delivered).collect();
    path.run(55 * S, |_| ());
    let rates: Vec<_> = path.flows.iter().zip(before).map(|(f, b)| (f.delivered - b) as f64 / 10.0).collect();
    let total: f64 = rates.iter().sum();
    assert!(jain(&rates) > 0.9, "Jain {:.3} of {rates:?}", jain(&rates));
    assert!(total > 0.85 * FAST, "{:.0} % of the bottleneck", 100.0 * total / FAST);
}

// spec: CONG-3
#[test]
fn fifty_flows_have_room_beside_each_other() {
    let starts: Vec<u64> = (0..50).map(|i| i * S / 5).collect();
    let mut path = Path::new(FAST, Duration::from_millis(200), &starts);
    path.run(20 * S, |_| ());
    let before: Vec<_> = path.flows.iter().map(|f| f.delivered).collect();
    path.run(50 * S, |_| ());
    let rates: Vec<_> = path.flows.iter().zip(before).map(|(f, b)| (f.delivered - b) as f64 / 30.0).collect();
    assert!(jain(&rates) > 0.85, "Jain {:.3} of {rates:?}", jain(&rates));
}

// spec: CONG-7
#[test]
fn flows_that_stay_long_see_the_path_empty_again_and_again() {
    let starts: Vec<u64> = (0..10).map(|i| i * 3 * S / 2).collect();
    let mut path = Path::new(FAST, Duration::from_millis(200), &starts);
    path.run(100 * S, |_| ());
    let (mut least, mut sum, mut n) = (f64::INFINITY, 0.0, 0.0);
    path.run(120 * S, |p| {
        least = least.min(p.queue());
        sum += p.queue();
        n += 1.0;
    });
    let nominal = 10.0 * f64::from(P.queue);
    assert!(least < 1.0 && sum / n < 1.5 * nominal, "queue {least:.0} at least, {:.0} on average", sum / n);
    for f in &path.flows {
        assert!(f.cc.base_round_trip().is_some_and(|b| b < Duration::from_millis(205)), "knows the path's own delay");
    }
}

// spec: CONG-2
#[test]
fn bunched_acknowledgements_do_not_run_the_window_away() {
    let mut path = Path::new(FAST, Duration::from_millis(50), &[0]);
    path.bunch_us = 20_000;
    let mut most = 0.0_f64;
    path.run(5 * S, |_| ());
    path.run(15 * S, |p| most = most.max(p.queue()));
    // Two bunches are excused, one is what came last, and a step of a quarter goes beyond: 87 ms.
    assert!(most < FAST * 0.087, "queue {most:.0}");
}

// spec: CONG-8
#[test]
fn a_path_that_loses_is_not_taken_for_a_full_one() {
    // One packet of a hundred, sent again after the round trip of a link, which keeps its rate.
    let mut path = Path::new(FAST, Duration::from_millis(180), &[0]);
    path.lost = Some((100, 60_000));
    path.run(10 * S, |_| ());
    let before = path.flows[0].delivered;
    path.run(30 * S, |_| ());
    let rate = (path.flows[0].delivered - before) as f64 / 20.0;
    assert!(rate > FAST / 2.0, "{:.0} % of the bottleneck", 100.0 * rate / FAST);
}

// spec: CONG-7
#[test]
fn a_drain_goes_back_to_what_the_path_carries_though_it_loses() {
    let mut path = Path::new(FAST, Duration::from_millis(180), &[0]);
    path.lost = Some((100, 60_000));
    path.run(9 * S, |_| ());
    let mut least_and_after = (u32::MAX, 0);
    let before = path.flows[0].cc.window();
    path.run(25 * S, |p| {
        let cc = &p.flows[0].cc;
        if cc.drain.is_some() {
            least_and_after = (least_and_after.0.min(cc.window()), cc.window());
        }
    });
    let (least, after) = least_and_after;
    assert!(least < before * 6 / 10, "it was drained: {before} cells, then {least}");
    assert!(after > before * 8 / 10, "what the holes hold is no queue: {before} cells before, {after} after");
}

// spec: CONG-9
#[test]
fn only_long_paths_are_paced_and_by_the_window_over_the_round_trip() {
    let interval = |ms| {
        let mut cc = Congestion::new(P);
        (1..100).for_each(|i| cc.acked(Instant(i * 10_000), Duration::from_millis(ms), ACK));
        (cc.interval(), cc.window())
    };
    assert_eq!(interval(19).0, None);
    let (paced, window) = interval(200);
    assert_eq!(paced, Some(Duration::from_millis(200).div_f64(2.0 * f64::from(window))), "twice as fast in the start");
    let mut cc = Congestion::new(P);
    for i in 1..1000 {
        cc.acked(Instant(i * 10_000), Duration::from_millis(200 + (i / 5).min(150)), ACK);
    }
    let paced = cc.interval().unwrap().as_secs_f64() * cc.window;
    assert!((paced - 0.350 / 1.25).abs() < 0.001, "{paced} s for the window in steady state");
}

// spec: CONG-9
#[test]
fn a_stall_is_not_the_path_s_round_trip() {
    let mut path = Path::new(FAST, Duration::from_millis(60), &[0]);
    path.run(5 * S, |_| ());
    // Everything under way stands for five seconds, then comes.
    path.in_order = path.now + 5 * S;
    path.run(10 * S + 80_000, |_| ());
    let cc = &path.flows[0].cc;
    let whole_window = cc.interval().unwrap().as_secs_f64() * f64::from(cc.window());
    assert!(whole_window < 0.2, "the window takes {whole_window:.1} s to leave, on a path of 60 ms");
}

// spec: CONG-10
#[test]
fn a_path_that_becomes_longer_is_not_taken_for_a_full_one() {
    let early = [100_000, 200_000, 300_000].map(|at| (60, 240, at, FAST));
    let late = [(10, 40), (60, 75), (60, 120), (60, 240), (200, 212), (200, 260), (200, 500)];
    let late = late.map(|(from_ms, to_ms)| (from_ms, to_ms, 8 * S, FAST));
    let slow = [(60, 120, 8 * S, FAST / 5.0), (200, 300, 8 * S, FAST / 10.0)];
    for (from_ms, to_ms, at, line) in early.into_iter().chain(late).chain(slow) {
        let mut path = Path::new(line, Duration::from_millis(from_ms), &[0]);
        path.run(at, |_| ());
        path.delay_us = to_ms * 1_000;
        // To notice it and to come back takes some 16 round trips, more where it became little longer.
        path.run(at + 4 * S + 8 * path.delay_us, |_| ());
        let before = path.flows[0].delivered;
        path.run(path.now + 2 * S, |_| ());
        let share = (path.flows[0].delivered - before) as f64 / 2.0 / line;
        assert!(share > 0.8, "{:.0} % of the bottleneck, {from_ms} ms until {at} us, {to_ms} ms since", 100.0 * share);
    }
}

// spec: CONG-10
#[test]
fn a_line_that_becomes_narrower_is_not_taken_for_a_longer_one() {
    for (flows, by) in [(1, 2.0), (1, 8.0), (1, 30.0), (4, 2.0), (4, 8.0), (4, 30.0)] {
        let starts: Vec<u64> = (0..flows).map(|i| i * S).collect();
        let mut path = Path::new(FAST, Duration::from_millis(60), &starts);
        path.run(15 * S, |_| ());
        path.cell_us *= by;
        let mut most = Duration::ZERO;
        path.run(20 * S, |p| most = most.max(p.flows.iter().filter_map(|f| f.cc.base_round_trip()).max().unwrap()));
        assert!(
            most < Duration::from_millis(61),
            "a base of {most:?} on a path of 60 ms, {flows} flows, {by} times narrower"
        );
    }
}

// spec: CONG-7
#[test]
fn flows_on_a_path_that_loses_see_it_empty_too() {
    let mut path = Path::new(FAST, Duration::from_millis(60), &[0, S, 2 * S]);
    path.lost = Some((300, 60_000));
    path.run(120 * S, |_| ());
    for f in &path.flows {
        let base = f.cc.base_round_trip().unwrap();
        assert!(base < Duration::from_millis(90), "a base of {base:?} on a path of 60 ms");
    }
}

// spec: CONG-4 CONG-6
#[test]
fn a_window_that_holds_nobody_back_stays() {
    let mut cc = Congestion::new(P);
    for i in 1..1000 {
        cc.acked(Instant(i * 10_000), Duration::from_millis(5), ACK);
    }
    assert_eq!(cc.window(), P.initial);
}
