//! What the directory costs on the line: every message as the cells that carry it.

use super::rules;
use crate::proto::directory::peers::PUSH_PEERS;
use crate::proto::profile::Profile;
use crate::wire::cell::{BODY_SIZE, CELL_SIZE};
use crate::wire::directory::{BUCKETS, DirectoryAnswer, DirectoryRequest, PAGE_MEMBERS_MAX};

/// Bytes of a cell that carry no body: the marks and headers of onion and message.
const CELL_OVERHEAD: usize = 48;
/// Bytes of a statement in its answer.
const STATEMENT: usize = 1 + 172;
/// Cells that a client receives until a circuit of three relays stands and a stream of one call is over: three replies
/// and the stream's end.
const CELLS_OF_CIRCUIT: f64 = 4.0;

/// Bytes on a line of a body of this length.
pub fn on_line(body: usize) -> f64 {
    let room = BODY_SIZE - CELL_OVERHEAD;
    (body.max(1).div_ceil(room) * CELL_SIZE) as f64
}

/// What was spent since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Costs {
    /// Bytes that an average relay sent.
    pub relay: f64,
    /// Bytes that a client received.
    pub client: f64,
    /// Milliseconds of virtual time.
    pub ms: f64,
}

/// What a cut brought.
#[derive(Clone, Copy, Debug, Default)]
pub struct CutCosts {
    /// Records that were published since the cut before.
    pub records: usize,
    /// Bytes of one record on average.
    pub record_len: usize,
    /// Relays in the set.
    pub members: usize,
    /// Time since the cut before, in milliseconds.
    pub period: f64,
}

impl Costs {
    /// Adds one cut.
    pub fn add(&mut self, cut: CutCosts, profile: &Profile) {
        self.ms += cut.period;
        let pushed = DirectoryRequest::Put(vec![vec![0; cut.record_len]]).encode().len();
        let rounds = cut.period / profile.gossip_interval.as_millis() as f64;
        let compare = DirectoryRequest::Compare(Box::new([0; BUCKETS])).encode().len();
        let differs = DirectoryAnswer::Differs([0; BUCKETS / 8]).encode().len();
        let answered = on_line(7);
        // Whoever hears of a record pushes it on, and answers those who push it.
        self.relay += cut.records as f64 * (PUSH_PEERS + 1) as f64 * (on_line(pushed) + answered);
        self.relay += rounds * (on_line(compare) + on_line(differs));
        // A client refreshes once an interval, or once a cut where those are rarer.
        let refresh = profile.client_refresh.as_millis() as f64;
        let asks = (cut.period / refresh).min(1.0);
        self.client += asks * (set_bytes(cut) + check_bytes(cut, profile));
    }

    /// Bytes of a day.
    pub fn a_day(&self) -> (f64, f64) {
        let days = (self.ms / 86_400_000.0).max(1e-9);
        (self.relay / days, self.client / days)
    }
}

/// Bytes of a whole set, page by page.
pub fn set_bytes(cut: CutCosts) -> f64 {
    let page = |members: usize| on_line(18 + members * (cut.record_len + 2 + rules::MEMBER_OVERHEAD));
    let (full, rest) = (cut.members / PAGE_MEMBERS_MAX, cut.members % PAGE_MEMBERS_MAX);
    full as f64 * page(PAGE_MEMBERS_MAX) + if rest == 0 { 0.0 } else { page(rest) }
}

/// Bytes of one check of a root.
pub fn check_bytes(cut: CutCosts, profile: &Profile) -> f64 {
    let signers = profile.signers_asked.min(cut.members) as f64;
    signers * (CELLS_OF_CIRCUIT * CELL_SIZE as f64 + on_line(STATEMENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_takes_whole_cells() {
        assert!(on_line(1) == 1408.0 && on_line(1_000) == 1408.0 && on_line(1_400) == 2.0 * 1408.0);
    }

    #[test]
    fn costs_grow_with_members_and_time() {
        let cut = CutCosts { records: 10, record_len: 220, members: 1_000, period: 3_600_000.0 };
        let day = |cut: CutCosts| {
            let mut costs = Costs::default();
            costs.add(cut, &Profile::PUBLIC);
            costs.a_day()
        };
        let one = day(cut);
        assert!(one.0 > 0.0 && one.1 > 0.0);
        assert!(day(CutCosts { records: 20, ..cut }).0 > one.0);
        assert!(day(CutCosts { members: 2_000, ..cut }).1 > one.1);
        assert!(set_bytes(cut) > 220_000.0 && set_bytes(cut) < 260_000.0);
    }
}
