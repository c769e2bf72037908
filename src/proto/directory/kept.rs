//! What a relay writes down for its next run: its newest settled sets, the records that are in none of them, and rolls.

use crate::base::bytes::{Reader, Writer};
use crate::proto::directory::cuts::Cuts;
use crate::proto::directory::records::Records;
use crate::proto::directory::rolls::Rolls;
use crate::proto::directory::snapshot::{RELAYS_MAX, Snapshot, Unsettled};
use crate::proto::profile::Profile;
use crate::wire::descriptor::SignedDescriptor;
use crate::wire::error::Malformed;
use crate::wire::ids::NetworkId;
use std::sync::Arc;

const FILE_VERSION: u8 = 2;
/// Sets that are written down.
const SETS_KEPT: usize = 2;

/// What an earlier run left, verified.
#[derive(Debug, Default)]
pub struct Kept {
    /// The newest sets, the oldest first, each with whether the relay stated it.
    pub(super) sets: Vec<(Snapshot, bool)>,
    /// Records besides those of the sets.
    pub(super) records: Vec<Arc<SignedDescriptor>>,
    /// The rolls of a private network; verified when they are taken.
    pub(super) rolls: Vec<Vec<u8>>,
}

impl Kept {
    /// Writes them.
    pub(super) fn encode(cuts: &Cuts, records: &Records, rolls: &Rolls) -> Vec<u8> {
        let mut out = Vec::new();
        let mut w = Writer::new(&mut out);
        let sets = || cuts.all().skip(cuts.all().len().saturating_sub(SETS_KEPT));
        w.u8(FILE_VERSION).u8(sets().count() as u8);
        for (set, is_ours) in sets() {
            let bytes = set.encode();
            w.u8(u8::from(is_ours)).u32(bytes.len() as u32).put(&bytes);
        }
        let newest = cuts.newest();
        let is_in_set =
            |r: &SignedDescriptor| newest.and_then(|s| s.member(&r.id())).is_some_and(|m| m.record.hash() == r.hash());
        let others: Vec<_> = records.all().filter(|r| !is_in_set(r)).take(RELAYS_MAX).collect();
        w.u32(others.len() as u32);
        for record in others {
            w.bytes16(record.bytes());
        }
        let rolls: Vec<_> = rolls.all().collect();
        w.u8(rolls.len() as u8);
        for roll in &rolls {
            w.bytes16(roll);
        }
        out
    }

    /// Reads them, and verifies every record again.
    pub fn decode(bytes: &[u8], profile: &Profile, network: NetworkId) -> Result<Self, Unsettled> {
        let mut r = Reader::new(bytes);
        if r.u8()? != FILE_VERSION {
            return Err(Malformed::UnknownVersion.into());
        }
        let mut kept = Self::default();
        for _ in 0..r.u8()? {
            let is_ours = r.u8()? == 1;
            let length = usize::try_from(r.u32()?).map_err(|_| Malformed::OutOfRange)?;
            kept.sets.push((Snapshot::decode(r.take(length)?, profile, network)?, is_ours));
        }
        let rules = profile.descriptor_rules(network);
        for _ in 0..r.u32()? {
            kept.records.push(Arc::new(SignedDescriptor::decode(r.bytes16()?, &rules)?));
        }
        for _ in 0..r.u8()? {
            kept.rolls.push(r.bytes16()?.to_vec());
        }
        r.finish()?;
        Ok(kept)
    }
}
