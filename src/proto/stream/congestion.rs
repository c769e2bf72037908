//! How many cells may be in flight: delay-based congestion control, one for each circuit and hop that data goes to (spec 09).
//!
//! The controller is of Copa's kind (Arun and Balakrishnan, NSDI 2018), with Vegas's thought behind it: delay above the
//! path's own delay is a queue, and a flow may keep a few cells in it and no more. Each acknowledgement gives a round trip.
//! The *standing* round trip is the least of the last moments, so acknowledgements that arrive bunched together, and
//! cells that a link had to send again, do not pass for a queue. From the queueing delay `dq` follows the rate a flow
//! should have, `queue / dq` cells a second; the window moves towards it, faster the longer it has moved one way. Flows
//! through one bottleneck see the same `dq`, so they want the same rate. That holds while all of them know the path's own
//! delay, so whoever has not seen it for long sends less for a round trip, as BBR does.

use crate::base::time::{Duration, Instant};

/// The numbers of congestion control, from the network profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CongestionParams {
    /// Cells in flight at the start.
    pub initial: u32,
    /// Never fewer.
    pub least: u32,
    /// Never more.
    pub most: u32,
    /// Cells that one flow keeps in the queue of its bottleneck.
    pub queue: u32,
    /// Delay that is not taken for a queue: relays gather cells before they write.
    pub grace: Duration,
    /// The standing round trip is the least of at least so long.
    pub standing_least: Duration,
    /// After so long without a round trip as short as the least one, the path is drained to see its own again.
    pub base_lifetime: Duration,
}

impl CongestionParams {
    /// Of every profile until measurements on real networks argue for others.
    pub const DEFAULT: Self = Self {
        initial: 128,
        least: 32,
        most: 8192,
        queue: 48,
        grace: Duration::from_millis(4),
        standing_least: Duration::from_millis(10),
        base_lifetime: Duration::from_secs(10),
    };
}

#[cfg(test)]
impl CongestionParams {
    /// A window that stays as it is.
    pub fn fixed(cells: u32) -> Self {
        Self { initial: cells, least: cells, most: cells, ..Self::DEFAULT }
    }
}

/// The least of a sliding time, kept in two halves: exact to half its length.
#[derive(Clone, Copy, Debug, Default)]
struct SlidingLeast {
    since: Instant,
    now: Option<Duration>,
    before: Option<Duration>,
}

impl SlidingLeast {
    fn add(&mut self, at: Instant, value: Duration, length: Duration) {
        if at.since(self.since) >= length / 2 {
            let fresh = at.since(self.since) < length;
            self.before = self.now.filter(|_| fresh);
            self.now = None;
            self.since = at;
        }
        self.now = Some(self.now.map_or(value, |v| v.min(value)));
    }

    fn least(&self) -> Option<Duration> {
        [self.now, self.before].into_iter().flatten().min()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Congestion {
    params: CongestionParams,
    /// Cells, in fractions: small steps add up.
    window: f64,
    base: SlidingLeast,
    standing: SlidingLeast,
    smoothed: Option<Duration>,
    /// Doubles the window every round trip until the first sign of a queue.
    starting: bool,
    way: Way,
    /// How many times the least step.
    velocity: f64,
    /// Round trips that the window has moved this way.
    steady: u32,
    turn_at: Instant,
    window_then: f64,
    /// Whether the window was what held the sender back, since the last turn.
    was_full: bool,
    /// When a round trip was last as short as the base.
    base_at: Instant,
    /// Until when the window is held low, and what it goes back to.
    drain: Option<(Instant, f64)>,
}

/// Bounds the step of one round trip to this share of the window.
const STEP_SHARE: f64 = 0.5;
/// Of `queue`, how far the window moves in a round trip at first: feedback is a round trip old, and the queue swings by it.
const STRIDE: f64 = 0.25;
/// Of the cells that fill the path, how many are left in flight while it drains.
const DRAIN_SHARE: f64 = 0.5;
/// The path stays drained for a round trip and this, so that everybody sees it.
const DRAIN_LEAST: Duration = Duration::from_millis(50);
/// Round trips one way before the velocity grows.
const STEADY_TURNS: u32 = 3;

impl Congestion {
    /// At the start of a circuit.
    pub fn new(params: CongestionParams) -> Self {
        Self {
            params,
            window: f64::from(params.initial),
            base: SlidingLeast::default(),
            standing: SlidingLeast::default(),
            smoothed: None,
            starting: true,
            way: Way::Up,
            velocity: 1.0,
            steady: 0,
            turn_at: Instant::default(),
            window_then: f64::from(params.initial),
            was_full: false,
            base_at: Instant::default(),
            drain: None,
        }
    }

    /// Cells that may be in flight.
    pub fn window(&self) -> u32 {
        self.window as u32
    }

    /// The path's round trip without queues, as far as was seen.
    pub fn base_round_trip(&self) -> Option<Duration> {
        self.base.least()
    }

    /// The sender had more to send than the window allowed.
    pub fn held_back(&mut self) {
        self.was_full = true;
    }

    /// Cells were acknowledged after this round trip.
    // spec: CONG-2
    pub fn acked(&mut self, now: Instant, round_trip: Duration, cells: u32) {
        let p = self.params;
        let smoothed = self.smoothed.map_or(round_trip, |s| (s * 7 + round_trip) / 8);
        self.smoothed = Some(smoothed);
        if self.base.least().is_none_or(|base| round_trip <= base) {
            self.base_at = now;
        }
        self.base.add(now, round_trip, p.base_lifetime * 2);
        self.standing.add(now, round_trip, p.standing_least.max(smoothed / 2));
        let (Some(base), Some(standing)) = (self.base.least(), self.standing.least()) else { return };
        if self.drained(now, base, standing, cells) {
            return;
        }
        let dq = standing.saturating_sub(base).saturating_sub(p.grace).as_secs_f64();
        let rate = self.window / standing.as_secs_f64().max(1e-6);
        // spec: CONG-3
        let way = if dq <= 0.0 || rate * dq < f64::from(p.queue) { Way::Up } else { Way::Down };
        if self.starting {
            self.start(way, base, standing, cells);
        } else {
            self.steer(way, rate * dq - f64::from(p.queue), cells);
        }
        // spec: CONG-4
        self.window = self.window.clamp(f64::from(p.least), f64::from(p.most));
        if now.since(self.turn_at) >= smoothed {
            self.turn(now, way);
        }
    }

    /// Doubles the window each round trip; at the first queue it falls to what the path holds without one.
    // spec: CONG-5
    fn start(&mut self, way: Way, base: Duration, standing: Duration, cells: u32) {
        match way {
            Way::Up if self.was_full => self.window += f64::from(cells),
            Way::Up => {}
            Way::Down => {
                self.starting = false;
                self.window *= base.as_secs_f64() / standing.as_secs_f64().max(1e-6);
                (self.way, self.velocity, self.steady) = (Way::Down, 1.0, 0);
            }
        }
    }

    /// Flows that share a queue hide the path's own delay from each other, and newcomers have never seen it. So a window
    /// that has not seen its base for long falls for a round trip. Whoever sees a new least round trip because of it
    /// counts from there, so all come to do it at once, and all see the path empty. Says whether that goes on now.
    // spec: CONG-7
    fn drained(&mut self, now: Instant, base: Duration, standing: Duration, cells: u32) -> bool {
        if let Some((until, before)) = self.drain {
            if now < until {
                return true;
            }
            // Twice what is acknowledged may leave, and that is what the path takes: no queue grows.
            self.window += f64::from(cells);
            self.base_at = now;
            if self.window >= before {
                self.drain = None;
                (self.velocity, self.steady, self.turn_at, self.window_then) = (1.0, 0, now, before);
            }
            return true;
        } else if !self.starting && now.since(self.base_at) >= self.params.base_lifetime {
            let empty = self.window * base.as_secs_f64() / standing.as_secs_f64().max(1e-6);
            self.drain = Some((now + standing + DRAIN_LEAST, empty));
            self.window = (empty * DRAIN_SHARE).max(f64::from(self.params.least));
            return true;
        }
        false
    }

    fn steer(&mut self, way: Way, excess: f64, cells: u32) {
        if way != self.way {
            (self.way, self.velocity, self.steady) = (way, 1.0, 0);
        }
        let p = self.params;
        // In a round trip a window's cells are acknowledged, so the steps of one add up to `a_round`.
        let stride = f64::from(p.queue) * STRIDE * self.velocity;
        let a_round = match way {
            Way::Up => stride,
            Way::Down => stride.max(excess / 2.0),
        };
        let step = a_round.min(self.window * STEP_SHARE) * f64::from(cells) / self.window;
        match way {
            // A window that does not hold the sender back says nothing about the path.
            // spec: CONG-6
            Way::Up if self.was_full => self.window += step,
            Way::Up => {}
            Way::Down => self.window -= step,
        }
    }

    /// Once a round trip: the velocity grows while the window keeps moving one way.
    fn turn(&mut self, now: Instant, way: Way) {
        let moved = match way {
            Way::Up => self.window > self.window_then,
            Way::Down => self.window < self.window_then,
        };
        if moved && way == self.way {
            self.steady += 1;
            if self.steady >= STEADY_TURNS {
                self.velocity *= 2.0;
            }
        } else {
            (self.velocity, self.steady) = (1.0, 0);
        }
        self.turn_at = now;
        self.window_then = self.window;
        self.was_full = false;
    }
}

#[cfg(test)]
mod tests;
