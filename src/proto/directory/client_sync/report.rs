//! What a client can say of its directory: who confirmed it, and what deserves a look.

use super::{ClientDirectory, SourceFault};
use crate::base::time::{Duration, Now, UnixMs};
use crate::proto::directory::continuity::Change;
use crate::proto::directory::progress::Dispute;
use crate::proto::directory::vote::Root;
use crate::wire::ids::RelayId;

/// A cut and its root as an invite names them, with the invite's relays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The cut.
    pub cut: UnixMs,
    /// The root of its settled set.
    pub root: Root,
    /// The relays that the invite names.
    pub relays: Vec<RelayId>,
}

/// How a client came to its directory.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Signers that named the root of the set in use; 0 for a set of an earlier run.
    pub signers: usize,
    /// Signers that were drawn for it.
    pub drawn: usize,
    /// Seeds that vouched for the first directory, in this run or the one that kept it.
    pub vouched: Option<usize>,
    /// The invite's checkpoint.
    pub checkpoint: Option<Checkpoint>,
    /// Whether the first directory goes together with the checkpoint; `None`: nobody could say.
    pub checkpoint_met: Option<bool>,
    /// More changed between two sets than time explains, and when that was.
    pub change: Option<(Change, UnixMs)>,
    /// What failed last, and when.
    pub last_fault: Option<(SourceFault, UnixMs)>,
    /// Of the newest cut that too few confirm: signers drawn, those that answered, those that name the root
    /// named most.
    pub disputed: Option<(usize, usize, usize)>,
}

impl Report {
    pub(super) fn failed(&mut self, reason: SourceFault, now: Now) {
        self.last_fault = Some((reason, now.unix));
    }
}

impl ClientDirectory {
    /// The checkpoint of the invite.
    pub fn set_checkpoint(&mut self, checkpoint: Option<Checkpoint>) {
        self.report.checkpoint = checkpoint;
    }

    /// How many seeds vouched for the first directory in an earlier run.
    pub fn set_vouched(&mut self, vouched: Option<usize>) {
        self.report.vouched = vouched;
    }

    /// How it came to its directory.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The newest set that was offered and that too few relays confirm, while an older one is in use.
    pub fn dispute(&self, now: Now) -> Option<Dispute> {
        let (drawn, answered, named) = self.report.disputed?;
        let age = self.verified.as_ref()?.age(now.unix);
        let ends_in = self.profile.snapshot_max_age.checked_sub(age).unwrap_or(Duration::ZERO);
        Some(Dispute { drawn, answered, named, age, ends_in })
    }
}
