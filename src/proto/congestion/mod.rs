//! How many cells may be in flight: delay-based congestion control, one for each circuit and hop that data goes to (spec 09).
//!
//! The controller is of Copa's kind (Arun and Balakrishnan, NSDI 2018), with the principle of Vegas: delay above the
//! path's own delay is a queue, and a flow may keep a few cells in it and no more. Each acknowledgement gives a round trip.
//! The *standing* round trip is the minimum of the last moments, so acknowledgements that arrive bunched together, and
//! few cells that a link had to send again, do not pass for a queue. Where links lose many packets, everything waits for
//! one that was lost all the time, and a link's own congestion control may pause it; such delay comes in jumps, where a
//! queue grows no faster than cells arrive, so as much as the round trip jumps is not taken for a queue either. From the
//! queueing delay `dq` follows the rate a flow should have, `queue / dq` cells a second; the window moves towards it,
//! faster the longer it has moved one way. Flows through one bottleneck see the same `dq`, so they want the same rate. That
//! holds while all of them know the path's own delay, so whoever has not seen it for long sends less for a round trip, as
//! BBR does.

pub mod pacer;
mod windowed;

use crate::base::time::{Duration, Instant};
use windowed::{WindowedMax, WindowedMin};

/// The numbers of congestion control, from the network profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CongestionParams {
    /// Cells in flight at the start.
    pub initial: u32,
    /// The window is never smaller, in cells.
    pub min: u32,
    /// The window is never larger, in cells.
    pub max: u32,
    /// Cells that one flow keeps in the queue of its bottleneck.
    pub queue: u32,
    /// Delay that is not taken for a queue: relays gather cells before they write.
    pub grace: Duration,
    /// Minimum length of the window whose minimum is the standing round trip.
    pub standing_min: Duration,
    /// Without a round trip as short as the base for this long, the path is drained to measure the base again.
    pub base_lifetime: Duration,
}

impl CongestionParams {
    /// Of every profile until measurements on real networks argue for others.
    pub const DEFAULT: Self = Self {
        initial: 128,
        min: 32,
        max: 8192,
        queue: 32,
        grace: Duration::from_millis(3),
        standing_min: Duration::from_millis(10),
        base_lifetime: Duration::from_secs(10),
    };
}

#[cfg(test)]
impl CongestionParams {
    /// A window that stays as it is.
    pub const fn fixed(cells: u32) -> Self {
        Self { initial: cells, min: cells, max: cells, ..Self::DEFAULT }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

/// The controller of one sender: [`Congestion::acked`] takes each acknowledgement, [`Congestion::window`] says how many
/// cells may be in flight.
#[derive(Clone, Debug)]
pub struct Congestion {
    params: CongestionParams,
    /// Cells, in fractions: small steps add up.
    window: f64,
    base: WindowedMin,
    standing: WindowedMin,
    smoothed: Option<Duration>,
    /// The last acknowledgement: when, and after what round trip.
    last: Option<(Instant, Duration)>,
    /// The largest increase of the round trip from one acknowledgement to the next.
    jumps: WindowedMax,
    /// Doubles the window every round trip until the first sign of a queue.
    starting: bool,
    way: Way,
    /// Multiplies the smallest step.
    velocity: f64,
    /// Round trips that the window has moved this way.
    steady: u32,
    /// The window when it was last reduced.
    peak: f64,
    turn: Turn,
    /// Cells a second that were acknowledged in the last turn.
    rate: f64,
    /// When a round trip was last as short as the base.
    base_at: Instant,
    // Boxed, as most circuits are quiet and know neither.
    drain: Option<Box<Drain>>,
    backoff: Option<Box<Backoff>>,
}

/// A backoff: the window was reduced because of delay, and has not come back half of the way. Does the delay shrink with
/// it?
#[derive(Clone, Copy, Debug)]
struct Backoff {
    since: Instant,
    /// The window that it began from.
    from: f64,
    /// The maximum of the standing round trip since then.
    max_standing: Duration,
    /// Since when the window is small.
    small_at: Option<Instant>,
}

/// The window on its way down and up again, for the path to be seen empty.
#[derive(Clone, Copy, Debug)]
struct Drain {
    low: f64,
    /// Where it goes back to.
    back: f64,
    /// Until when it stays low, once it is there.
    until: Option<Instant>,
}

/// One smoothed round trip, between two looks at what has become of the window.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    since: Instant,
    /// The window at its beginning.
    window: f64,
    /// Cells acknowledged.
    acked: u32,
    /// Whether the window was what held the sender back.
    was_full: bool,
    /// Whether there was any sign of a queue.
    saw_queue: bool,
}

/// Bounds the step of one round trip to this share of the window.
const STEP_SHARE: f64 = 0.5;
/// Of `queue`, how far the window moves in a round trip at first: feedback is a round trip old, and the queue swings by it.
const STRIDE: f64 = 0.25;
/// Of the cells that fill the path, how many are left in flight while it drains.
const DRAIN_SHARE: f64 = 0.5;
/// After a backoff the window is small at this share of what it was.
const BACKOFF_SHARE: f64 = 0.5;
/// Delay above the base that is still this share of its maximum since the backoff began has not shrunk.
const BACKOFF_STAYS: f64 = 0.7;
/// And it is at least this multiple of what the round trip jumps by.
const BACKOFF_CALM: u32 = 16;
/// A backoff that lasts for more round trips gave way to other flows.
const BACKOFF_TURNS: u32 = 16;
/// How long the window stays low, so that every flow sees the path empty.
const DRAIN_MIN: Duration = Duration::from_millis(50);
/// Round trips one way before the velocity grows.
const STEADY_TURNS: u32 = 3;
/// Maximum of the velocity.
const VELOCITY_MAX: f64 = 64.0;
/// Where there is no queue at all, one round trip moves the window up by no more than this share of it.
const STRIDE_SHARE: f64 = 0.25;
/// This multiple of the largest recent jump is not taken for a queue: one hole is often followed by another.
const JUMPS_EXCUSED: u32 = 2;
/// At most this multiple of the base is excused.
const EXCUSE_MAX: u32 = 2;
/// The rate at the end of the start is this multiple of what was measured over half a round trip or more.
const START_GROWTH: f64 = 1.2;

/// Shorter round trips are not paced: what bunches there is gone sooner than a timer fires.
const PACED_FROM: Duration = Duration::from_millis(20);
/// Pacing takes the round trip as at most this multiple of the standing one.
const PACED_LATE_MAX: u32 = 2;
/// Cells leave at this multiple of the window over the round trip, so that late ones catch up.
const PACE: f64 = 1.25;
/// The same while the window doubles.
const PACE_STARTING: f64 = 2.0;

impl Congestion {
    /// At the start of a circuit.
    pub fn new(params: CongestionParams) -> Self {
        Self {
            params,
            window: f64::from(params.initial),
            base: WindowedMin::default(),
            standing: WindowedMin::default(),
            smoothed: None,
            last: None,
            jumps: WindowedMax::default(),
            starting: true,
            way: Way::Up,
            velocity: 1.0,
            steady: 0,
            peak: 0.0,
            turn: Turn { window: f64::from(params.initial), ..Turn::default() },
            rate: 0.0,
            base_at: Instant::default(),
            drain: None,
            backoff: None,
        }
    }

    /// Cells that may be in flight.
    pub fn window(&self) -> u32 {
        self.window as u32
    }

    /// From one cell to the next, so that the window's cells are spread over the round trip; `None` on a short path.
    // spec: CONG-9
    pub fn interval(&self) -> Option<Duration> {
        // After a stall everything that was under way comes with round trips of its length: the past, not the path.
        let late = self.standing.min()? * PACED_LATE_MAX;
        let round_trip = self.smoothed?.min(late);
        if round_trip < PACED_FROM {
            return None;
        }
        let gain = if self.starting { PACE_STARTING } else { PACE };
        Some(round_trip.div_f64(gain * self.window))
    }

    /// The path's round trip without queues, as far as was seen.
    #[cfg(test)]
    pub fn base_round_trip(&self) -> Option<Duration> {
        self.base.min()
    }

    /// The sender had more to send than the window allowed.
    pub fn held_back(&mut self) {
        self.turn.was_full = true;
    }

    /// Cells were acknowledged after this round trip.
    // spec: CONG-2
    pub fn acked(&mut self, now: Instant, round_trip: Duration, cells: u32) {
        let p = self.params;
        let smoothed = self.smoothed.map_or(round_trip, |s| (s * 7 + round_trip) / 8);
        self.smoothed = Some(smoothed);
        if self.base.min().is_none_or(|base| round_trip <= base) {
            self.base_at = now;
        }
        self.base.add(now, round_trip, p.base_lifetime * 2);
        self.standing.add(now, round_trip, p.standing_min.max(smoothed / 2));
        let (Some(base), Some(standing)) = (self.base.min(), self.standing.min()) else { return };
        if self.drain(now, base, standing, cells) {
            return;
        }
        self.record_delay_jump(now, smoothed, round_trip, cells);
        let dq = standing.saturating_sub(base).saturating_sub(self.excused_delay(base)).as_secs_f64();
        let rate = self.window / standing.as_secs_f64().max(1e-6);
        self.turn.saw_queue |= dq > 0.0;
        self.turn.acked += cells;
        let excess = rate * dq - f64::from(p.queue);
        // spec: CONG-3
        let way = if excess < 0.0 { Way::Up } else { Way::Down };
        if self.starting {
            self.start(now, way, base, cells);
        } else {
            self.steer(now, way, dq, excess, cells);
        }
        self.detect_longer_path(now, round_trip, base, standing);
        // spec: CONG-4
        self.window = self.window.clamp(f64::from(p.min), f64::from(p.max));
        if now.since(self.turn.since) >= smoothed {
            self.end_turn(now, way);
        }
    }

    /// Notes how much the round trip grew since the last acknowledgement, beyond what the flow's own cells between them take.
    fn record_delay_jump(&mut self, now: Instant, smoothed: Duration, round_trip: Duration, cells: u32) {
        let own = smoothed.mul_f64(f64::from(cells) / self.window).min(smoothed);
        let jump = match self.last.replace((now, round_trip)) {
            // What was seen before a pause says nothing of what came meanwhile.
            Some((at, before)) if now.since(at) < smoothed * 2 => round_trip.saturating_sub(before).saturating_sub(own),
            _ => Duration::ZERO,
        };
        self.jumps.add(now, jump, smoothed * 2);
    }

    /// Delay that is not taken for a queue.
    // spec: CONG-8
    fn excused_delay(&self, base: Duration) -> Duration {
        // While the window doubles, the links' own windows do too and add a little delay; and jumps are no sign yet.
        let (graces, jumps) = if self.starting { (2, 1) } else { (1, JUMPS_EXCUSED) };
        (self.params.grace * graces).max((self.jumps.max() * jumps).min(base * EXCUSE_MAX))
    }

    /// Doubles the window each round trip; at the first queue, reduces it to what the path holds without one.
    // spec: CONG-5
    fn start(&mut self, now: Instant, way: Way, base: Duration, cells: u32) {
        match way {
            Way::Up if self.turn.was_full => self.window += f64::from(cells),
            Way::Up => {}
            Way::Down => {
                self.starting = false;
                let holds = self.arriving(now) * base.as_secs_f64() + f64::from(self.params.queue);
                // The rate was still growing while it was measured.
                let holds = (holds * START_GROWTH).max(f64::from(self.params.initial));
                self.window = self.window.min(holds);
                self.peak = self.window;
                (self.way, self.velocity, self.steady) = (Way::Down, 1.0, 0);
                self.begin_backoff(now);
            }
        }
    }

    /// Cells that arrive a second: of the turn that goes on, once it has lasted for half a round trip, or of the last one.
    fn arriving(&self, now: Instant) -> f64 {
        let turn = now.since(self.turn.since);
        let goes_on = turn * 2 >= self.smoothed.unwrap_or_default();
        let fresh = if goes_on { f64::from(self.turn.acked) / turn.as_secs_f64().max(1e-6) } else { 0.0 };
        self.rate.max(fresh)
    }

    /// Flows that share a queue hide the path's own delay from each other, and newcomers have never seen it. So a window
    /// that has not seen its base for long drains for a round trip. Whoever sees a new minimum round trip because of it
    /// counts from there, so all come to do it at once, and all see the path empty. Says whether that goes on now.
    // spec: CONG-7
    fn drain(&mut self, now: Instant, base: Duration, standing: Duration, cells: u32) -> bool {
        if let Some(drain) = &mut self.drain {
            let cells = f64::from(cells);
            match drain.until {
                // Fewer cells leave than arrive, evenly: whoever just stopped would come back in a burst.
                None => {
                    self.window -= cells * (1.0 - DRAIN_SHARE);
                    if self.window <= drain.low {
                        drain.until = Some(now + DRAIN_MIN);
                    }
                }
                Some(until) if now < until => {}
                Some(_) => {
                    // Twice what is acknowledged may leave at most, and that is what the path takes: no queue grows.
                    self.window += cells;
                    self.base_at = now;
                    if self.window >= drain.back {
                        (self.velocity, self.steady) = (1.0, 0);
                        self.turn = Turn { since: now, window: self.window, ..Turn::default() };
                        self.drain = None;
                    }
                }
            }
            return true;
        }
        if self.starting || now.since(self.base_at) < self.params.base_lifetime {
            return false;
        }
        // Low enough for the path to be seen empty; what holes hold is none of that, but it comes back.
        let rate = self.window / standing.as_secs_f64().max(1e-6);
        let low = (rate * base.as_secs_f64() * DRAIN_SHARE).max(f64::from(self.params.min));
        let back = rate * (base + self.excused_delay(base)).min(standing).as_secs_f64();
        self.drain = Some(Box::new(Drain { low, back: back.max(low), until: None }));
        true
    }

    /// The window begins to shrink; or goes on, if it has not come back half of the way since.
    fn begin_backoff(&mut self, now: Instant) {
        if self.backoff.as_ref().is_none_or(|b| self.window > b.from * BACKOFF_SHARE) {
            self.backoff =
                Some(Box::new(Backoff { since: now, from: self.window, max_standing: Duration::ZERO, small_at: None }));
        }
    }

    /// A queue that the window made is gone when the window is a small part of what it was. Delay that has not shrunk with it is
    /// the path's own: the path has become longer.
    // spec: CONG-10
    fn detect_longer_path(&mut self, now: Instant, round_trip: Duration, base: Duration, standing: Duration) {
        let lasts = self.smoothed.unwrap_or_default() * BACKOFF_TURNS;
        let Some(backoff) = self.backoff.as_mut().filter(|b| now.since(b.since) < lasts) else {
            self.backoff = None;
            return;
        };
        backoff.max_standing = backoff.max_standing.max(standing);
        if self.window > backoff.from * BACKOFF_SHARE {
            backoff.small_at = None;
            return;
        }
        let small_at = *backoff.small_at.get_or_insert(now);
        // What comes back now must have left since.
        if now.since(small_at) < round_trip {
            return;
        }
        let above = standing.saturating_sub(base);
        let stayed = above >= backoff.max_standing.saturating_sub(base).mul_f64(BACKOFF_STAYS);
        // Delay that jumps up and down is not the path's.
        if stayed && self.jumps.max() * BACKOFF_CALM <= above {
            // This fills the longer path at the rate it had, or at somewhat more.
            self.peak = backoff.from * standing.as_secs_f64() / base.as_secs_f64().max(1e-6);
            self.base = WindowedMin::default();
            self.base.add(now, standing, self.params.base_lifetime * 2);
            self.base_at = now;
        }
        self.backoff = None;
    }

    fn steer(&mut self, now: Instant, way: Way, dq: f64, excess: f64, cells: u32) {
        if way != self.way {
            if way == Way::Down {
                self.peak = self.window;
                self.begin_backoff(now);
            }
            (self.way, self.velocity, self.steady) = (way, 1.0, 0);
        }
        let p = self.params;
        // In a round trip a window's cells are acknowledged, so the steps of one add up to `a_round`.
        let stride = f64::from(p.queue) * STRIDE * self.velocity;
        let a_round = match way {
            // A needless backoff is undone: half of the way to the peak each round trip, as in BIC.
            Way::Up if dq <= 0.0 => stride.min(self.window * STRIDE_SHARE).max((self.peak - self.window) / 2.0),
            Way::Up => stride,
            Way::Down => stride.max(excess / 2.0),
        };
        let step = a_round.min(self.window * STEP_SHARE) * f64::from(cells) / self.window;
        match way {
            // A window that does not hold the sender back says nothing about the path.
            // spec: CONG-6
            Way::Up if self.turn.was_full => self.window += step,
            Way::Up => {}
            Way::Down => self.window -= step,
        }
    }

    /// Once a round trip: the velocity grows while the window keeps moving one way, sooner where there is no queue at all.
    fn end_turn(&mut self, now: Instant, way: Way) {
        let moved = match way {
            Way::Up => self.window > self.turn.window,
            Way::Down => self.window < self.turn.window,
        };
        if moved && way == self.way {
            self.steady += 1;
            if self.steady >= STEADY_TURNS || !self.turn.saw_queue {
                let faster = if self.turn.saw_queue { 2.0 } else { 4.0 };
                self.velocity = (self.velocity * faster).min(VELOCITY_MAX);
            }
        } else {
            (self.velocity, self.steady) = (1.0, 0);
        }
        self.rate = f64::from(self.turn.acked) / now.since(self.turn.since).as_secs_f64().max(1e-6);
        self.turn = Turn { since: now, window: self.window, ..Turn::default() };
    }
}

#[cfg(test)]
mod tests;
