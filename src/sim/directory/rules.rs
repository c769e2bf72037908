//! What the simulation takes from the protocol, in one place: the profile, the moments of cuts, and how a cut is settled.

use crate::base::time::{Duration, UnixMs};
use crate::proto::directory::schedule::{self, Steps};
use crate::proto::directory::snapshot::{self, Snapshot};
use crate::proto::directory::standing::Standing;
use crate::proto::profile::Profile;
use crate::wire::descriptor::SignedDescriptor;
use crate::wire::ids::NetworkId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The profile of real networks.
pub const PROFILE_CONST: Profile = Profile::PUBLIC;
/// The same, for machines.
pub const PROFILE: &Profile = &PROFILE_CONST;
/// Bytes of a member in a page besides its record: since when, samples, dormant.
pub const MEMBER_OVERHEAD: usize = 18;
/// Auditors of a relay at each cut.
pub const AUDITORS: usize = 11;
/// How many of them must reach a newcomer.
pub const TO_JOIN: usize = 8;
/// How many of them must reach a member.
pub const TO_STAY: usize = 5;
/// Cuts running at which a newcomer is to be reached.
pub const CUTS_TO_JOIN: u8 = 2;
/// How long after a cut relays name the set that they settled on top of this one, in milliseconds.
pub fn lag_ms(previous: &Snapshot) -> f64 {
    Steps::after(Some(previous), PROFILE).lag().as_millis() as f64
}

/// What came this long before a cut has reached everybody, in milliseconds.
pub fn late_window_ms() -> f64 {
    PROFILE.cuts.late_window.as_millis() as f64
}

/// What was heard of a relay until a cut.
pub type Heard = snapshot::Heard;

/// A moment at which a cut can be, whatever the period is then.
pub fn cut_near(at: UnixMs) -> UnixMs {
    let longest = PROFILE.cuts.period_max.as_millis() as u64;
    UnixMs(at.0 - at.0 % longest)
}

/// The time from this set's cut to the next.
pub fn period(set: &Snapshot) -> Duration {
    schedule::next_cut_after(set, set.cut, PROFILE).distance(set.cut)
}

/// The set of a network that has run for long, without a set before it.
pub fn begin(
    records: &[Arc<SignedDescriptor>],
    cut: UnixMs,
    network: NetworkId,
    standing: impl Fn(&SignedDescriptor) -> Standing,
) -> Snapshot {
    Snapshot::settle(records, cut, PROFILE, network).with_standings(standing)
}

/// Settles a cut on top of the set before.
pub fn settle(previous: &Snapshot, heard: Vec<Heard>, cut: UnixMs, network: NetworkId) -> Snapshot {
    let heard: BTreeMap<_, _> = heard.into_iter().map(|h| (h.record.id(), h)).collect();
    Snapshot::follow(Some(previous), heard, cut, PROFILE, network)
}
