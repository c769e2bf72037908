//! What changed between a settled set and the one that follows it: the second is computed from the first.
//!
//! Standings need no bytes: which members are sampled follows from the set before, and whether they were there from the rest.

use crate::base::time::UnixMs;
use crate::proto::directory::admission::tries_newcomers_out;
use crate::proto::directory::snapshot::{CONVICTED_FOR, Member, Snapshot, Unsettled};
use crate::proto::directory::standing::Standing;
use crate::proto::profile::{Admission, Profile};
use crate::wire::changes::{Changes, Renewed};
use crate::wire::descriptor::SignedDescriptor;
use crate::wire::ids::{NetworkId, RelayId};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What changed from one set to the next; `None` where the second does not follow from the first in this way.
pub fn between(before: &Snapshot, after: &Snapshot, profile: &Profile, network: NetworkId) -> Option<Changes> {
    let changes = compare(before, after);
    let again = apply(before, &changes, (after.cut, after.beacon), profile, network).ok()?;
    (again.root == after.root).then_some(changes)
}

/// The same, whether or not the second set can be computed from it.
pub fn compare(before: &Snapshot, after: &Snapshot) -> Changes {
    let mut changes = Changes::default();
    let mut kept = BTreeSet::new();
    for (place, old) in (0..).zip(before.members()) {
        let id = old.record.id();
        let follows = |m: &&Member| m.standing.since == old.standing.since;
        let Some(new) = after.member(&id).filter(follows) else {
            changes.gone.push(place);
            continue;
        };
        kept.insert(id);
        if new.is_convicted(after.cut) {
            if !old.is_convicted(before.cut) {
                changes.convicted.push(place);
            }
        } else if new.dormant.is_some() != old.dormant.is_some() {
            changes.turned.push(place);
        }
        if new.record.bytes() != old.record.bytes() {
            changes.renewed.push((place, Renewed::between(old.record.bytes(), new.record.bytes())));
        }
    }
    let is_new = |m: &&Member| !kept.contains(&m.record.id());
    changes.new = after.members().iter().filter(is_new).map(|m| m.record.bytes().to_vec()).collect();
    changes
}

/// The set that follows `before`, of this cut and beacon. Whether it is what relays settled is decided by its root.
pub fn apply(
    before: &Snapshot,
    changes: &Changes,
    (cut, beacon): (UnixMs, [u8; 32]),
    profile: &Profile,
    network: NetworkId,
) -> Result<Snapshot, Unsettled> {
    let rules = profile.descriptor_rules(network);
    let decode = |bytes: &[u8]| SignedDescriptor::decode(bytes, &rules).map(Arc::new);
    let mut gone = changes.gone.iter().peekable();
    let mut turned = changes.turned.iter().peekable();
    let mut convicted = changes.convicted.iter().peekable();
    let mut renewed = changes.renewed.iter().peekable();
    let mut members = Vec::with_capacity(before.members().len());
    for (place, old) in (0u32..).zip(before.members()) {
        let is_gone = gone.next_if(|at| **at == place).is_some();
        let is_turned = turned.next_if(|at| **at == place).is_some();
        let is_convicted = convicted.next_if(|at| **at == place).is_some();
        let record = match renewed.next_if(|(at, _)| *at == place) {
            Some((_, renewed)) => decode(&renewed.over(old.record.bytes())?)?,
            None => Arc::clone(&old.record),
        };
        let id: RelayId = record.id();
        if is_gone {
            continue;
        }
        if is_convicted || old.is_convicted(before.cut) {
            let dormant = if is_convicted { Some(cut.plus(CONVICTED_FOR)) } else { old.dormant };
            members.push(Member { record, standing: old.standing, dormant });
            continue;
        }
        let is_live = old.dormant.is_none() != is_turned;
        let dormant = if is_live { None } else { Some(old.dormant.unwrap_or(cut)) };
        let is_sampled = before.samples(&id, cut, profile);
        let standing = if is_sampled { old.standing.sampled(is_live) } else { old.standing };
        members.push(Member { record, standing, dormant });
    }
    let is_left = [gone.next(), turned.next(), convicted.next()].iter().any(Option::is_some);
    if is_left || renewed.next().is_some() {
        return Err(Unsettled::Misplaced);
    }
    // spec: ADM-7
    let on_probation = profile.admission == Admission::Audits && tries_newcomers_out(before);
    for bytes in &changes.new {
        let dormant = on_probation.then_some(cut);
        members.push(Member { record: decode(bytes)?, standing: Standing::new(cut), dormant });
    }
    members.sort_unstable_by_key(|m| m.record.id());
    Snapshot::assemble(members, cut, beacon, profile)
}
