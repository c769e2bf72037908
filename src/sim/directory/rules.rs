//! What the simulation takes from the protocol, in one place: the profile, the moments of cuts, and how a cut is settled.

use crate::base::time::{Duration, UnixMs};
use crate::proto::directory::snapshot::{Snapshot, cut_before};
use crate::proto::profile::Profile;
use crate::wire::descriptor::SignedDescriptor;
use crate::wire::ids::NetworkId;
use std::sync::Arc;

/// The profile of real networks.
pub const PROFILE_CONST: Profile = Profile::DEFAULT;
/// The same, for machines.
pub const PROFILE: &Profile = &PROFILE_CONST;
/// Bytes of a member in a page besides its record.
pub const MEMBER_OVERHEAD: usize = 0;

/// Auditors of a relay at each cut.
pub const AUDITORS: usize = 11;
/// How many of them must reach a newcomer.
pub const TO_JOIN: usize = 8;
/// How many of them must reach a member.
pub const TO_STAY: usize = 5;
/// Cuts running at which a newcomer is to be reached.
pub const CUTS_TO_JOIN: u8 = 2;

/// Most members of a cut's group.
pub const GROUP_MAX: usize = 96;

/// Rounds of the ladder in a group of this size.
pub fn rounds(group: usize) -> usize {
    ((2 * group).div_ceil(3) + 1).min(64)
}

/// Length of a round, in milliseconds.
pub fn round_ms(group: usize, members: usize) -> f64 {
    match members {
        20_001.. => 90_000.0,
        _ if group < GROUP_MAX => 3_000.0,
        _ => 15_000.0,
    }
}

/// What was heard of a relay until a cut.
pub struct Heard {
    /// Its newest record.
    pub record: Arc<SignedDescriptor>,
    /// Whether it is there.
    pub live: bool,
}

/// A moment of a cut near this one.
pub fn cut_near(at: UnixMs) -> UnixMs {
    cut_before(at, PROFILE)
}

/// The time from this set's cut to the next.
pub fn period(_set: &Snapshot) -> Duration {
    PROFILE.period
}

/// Settles a cut on top of the set before.
pub fn settle(_previous: Option<&Snapshot>, heard: &[Heard], cut: UnixMs, network: NetworkId) -> Snapshot {
    let records: Vec<_> = heard.iter().filter(|h| h.live).map(|h| Arc::clone(&h.record)).collect();
    Snapshot::settle(&records, cut, PROFILE, network)
}
