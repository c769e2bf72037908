//! How many cells may be in flight: delay-based congestion control, one for each circuit and hop that data goes to (spec 09).
//!
//! The controller is of Copa's kind (Arun and Balakrishnan, NSDI 2018), with Vegas's thought behind it: delay above the
//! path's own delay is a queue, and a flow may keep a few cells in it and no more. Each acknowledgement gives a round trip.
//! The *standing* round trip is the least of the last moments, so acknowledgements that arrive bunched together, and
//! cells that a link had to send again, do not pass for a queue. From the queueing delay `dq` follows the rate a flow
//! should have, `queue / dq` cells a second; the window moves towards it, faster the longer it has moved one way. Flows
//! through one bottleneck see the same `dq`, so they want the same rate; and because the window swings around its
//! target, the queue runs empty again and again, and everybody sees the path's own delay.

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
    /// How long a least round trip counts as the path's own.
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
}

/// Bounds the step of one round trip to this share of the window.
const STEP_SHARE: f64 = 0.5;
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
        self.base.add(now, round_trip, p.base_lifetime);
        self.standing.add(now, round_trip, p.standing_least.max(smoothed / 2));
        let (Some(base), Some(standing)) = (self.base.least(), self.standing.least()) else { return };
        let dq = standing.saturating_sub(base).saturating_sub(p.grace).as_secs_f64();
        let rate = self.window / standing.as_secs_f64().max(1e-6);
        // spec: CONG-3
        let way = if dq <= 0.0 || rate * dq < f64::from(p.queue) { Way::Up } else { Way::Down };
        if self.starting {
            self.start(way, base, standing, cells);
        } else {
            self.steer(way, cells);
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

    fn steer(&mut self, way: Way, cells: u32) {
        if way != self.way {
            (self.way, self.velocity, self.steady) = (way, 1.0, 0);
        }
        let p = self.params;
        // In a round trip a window's cells are acknowledged, so the steps of one add up to `queue * velocity`.
        let a_round = (f64::from(p.queue) * self.velocity).min(self.window * STEP_SHARE);
        let step = a_round * f64::from(cells) / self.window;
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
