//! What the directory costs on the line: every message as the cells that carry it.

use super::rules;
use crate::base::time::Duration;
use crate::proto::directory::client_sync::SIGNERS_PER_WITNESS;
use crate::proto::directory::peers::PUSH_PEERS;
use crate::proto::directory::relay_sync::{UNASKED_MAX, gather_time};
use crate::proto::profile::Profile;
use crate::wire::cell::{BODY_SIZE, CELL_SIZE};
use crate::wire::changes::CHANGES_PART_MAX;
use crate::wire::directory::{DirectoryAnswer, DirectoryRequest, PAGE_MEMBERS_MAX, Sum};

/// Bytes of a cell that carry no body: the marks and headers of onion and message.
const CELL_OVERHEAD: usize = 48;
/// Bytes of a statement in its answer.
const STATEMENT: usize = 1 + 172;
/// Sums of a first question in a comparison.
const SUMS_FIRST: usize = crate::proto::directory::relay_sync::SUMS_FIRST;
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
    /// Bytes of what changed since the set before, as a client asks for it.
    pub changes: usize,
}

impl Costs {
    /// Adds one cut.
    pub fn add(&mut self, cut: CutCosts, profile: &Profile) {
        self.ms += cut.period;
        self.relay += news_bytes(cut) + rounds_bytes(cut, profile);
        // A client fetches what changed at every cut, and checks the root once an interval, or once a cut where those are
        // rarer.
        let refresh = profile.client_refresh.as_millis() as f64;
        let asks = (cut.period / refresh).min(1.0);
        self.client += parts_bytes(cut.changes) + asks * check_bytes(cut, profile);
    }

    /// Bytes of a day.
    pub fn a_day(&self) -> (f64, f64) {
        let days = (self.ms / 86_400_000.0).max(1e-9);
        (self.relay / days, self.client / days)
    }
}

fn gathering(cut: CutCosts) -> f64 {
    gather_time(Duration::from_millis(cut.period as u64)).as_millis() as f64
}

/// Bytes that a relay sends for what is new: announced to its push peers, or brought at once where that costs no more, and
/// answered; each record is wanted by one relay for each that brings it.
fn news_bytes(cut: CutCosts) -> f64 {
    let peers = (PUSH_PEERS + 1) as f64;
    let together = (cut.records as f64 * gathering(cut) / cut.period.max(1.0)).max(1.0);
    let batches = cut.records as f64 / together;
    let count = together.round() as usize;
    let put = |count: usize| on_line(2 + count * (cut.record_len + 2)) + on_line(7);
    let batch = if count * cut.record_len <= UNASKED_MAX {
        peers * put(count)
    } else {
        peers * (on_line(3 + 8 * count) + on_line(3 + count.div_ceil(8))) + put(count)
    };
    batches * batch
}

/// Bytes that a relay sends for comparing, and for asking after the newest root, and for answering who does.
fn rounds_bytes(cut: CutCosts, profile: &Profile) -> f64 {
    let rounds = cut.period / (profile.gossip_interval.as_millis() as f64).max(gathering(cut));
    let sums = DirectoryAnswer::Sums { salt: 0, items: 0, from: 0, sums: vec![Sum::default(); SUMS_FIRST] };
    let asks = on_line(DirectoryRequest::Sketch { from: 0, count: 0 }.encode().len()) + on_line(9);
    rounds * (asks + on_line(sums.encode().len()) + on_line(STATEMENT))
}

/// Bytes that a client receives for what changed at one cut.
fn parts_bytes(changes: usize) -> f64 {
    let part = |bytes: usize| on_line(49 + bytes);
    let (full, rest) = (changes / CHANGES_PART_MAX, changes % CHANGES_PART_MAX);
    full as f64 * part(CHANGES_PART_MAX) + part(rest)
}

/// Bytes of a whole set, page by page.
pub fn set_bytes(cut: CutCosts) -> f64 {
    let page = |members: usize| on_line(18 + members * (cut.record_len + 2 + rules::MEMBER_OVERHEAD));
    let (full, rest) = (cut.members / PAGE_MEMBERS_MAX, cut.members % PAGE_MEMBERS_MAX);
    full as f64 * page(PAGE_MEMBERS_MAX) + if rest == 0 { 0.0 } else { page(rest) }
}

/// Bytes of one check of a root: witnesses ask for the statements, or in a small set the client itself.
pub fn check_bytes(cut: CutCosts, profile: &Profile) -> f64 {
    let signers = profile.signers_asked.min(cut.members);
    let circuit = CELLS_OF_CIRCUIT * CELL_SIZE as f64;
    if cut.members <= profile.signers_asked {
        return signers as f64 * (circuit + on_line(STATEMENT));
    }
    let (full, rest) = (signers / SIGNERS_PER_WITNESS, signers % SIGNERS_PER_WITNESS);
    let witness = |signers: usize| if signers == 0 { 0.0 } else { circuit + on_line(2 + signers * (STATEMENT - 1)) };
    full as f64 * witness(SIGNERS_PER_WITNESS) + witness(rest)
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
        let cut = CutCosts { records: 10, record_len: 220, members: 1_000, period: 3_600_000.0, changes: 9_000 };
        let day = |cut: CutCosts| {
            let mut costs = Costs::default();
            costs.add(cut, &Profile::PUBLIC);
            costs.a_day()
        };
        let one = day(cut);
        assert!(one.0 > 0.0 && one.1 > 0.0);
        assert!(day(CutCosts { records: 20, ..cut }).0 > one.0);
        assert!(day(CutCosts { changes: 90_000, ..cut }).1 > one.1);
        assert!(set_bytes(cut) > 220_000.0 && set_bytes(cut) < 260_000.0);
    }
}
