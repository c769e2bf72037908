//! The guard file: which relays a client's circuits begin with, kept from one run to the next.
//!
//! ```text
//! umbel-guards 1
//! guard ID ADDED CONFIRMED MISSING
//! ```
//!
//! One line a guard, the preferred first; times in Unix milliseconds, 0 where there is none.

use crate::base::time::UnixMs;
use crate::host::dir::NodeDir;
use crate::host::error::Error;
use crate::proto::path::{GUARDS_MAX, GuardRecord, Guards};
use crate::wire::error::Malformed;
use crate::wire::ids::RelayId;

const GUARDS_FILE: &str = "guards";
const MAGIC: &str = "umbel-guards 1";

/// The guards of earlier runs; none at a first start.
///
/// # Errors
/// [`ErrorKind::Config`](crate::host::error::ErrorKind::Config) when the file cannot be read or is damaged: forgetting guards
/// silently would expose the user to new ones.
pub fn load(dir: &NodeDir) -> Result<Guards, Error> {
    let Some(bytes) = dir.load(GUARDS_FILE)? else { return Ok(Guards::new()) };
    let records = core::str::from_utf8(&bytes).ok().and_then(|text| decode(text).ok());
    records.map(Guards::restore).ok_or_else(|| {
        Error::config(&dir.file(GUARDS_FILE), "the list of guards is damaged")
            .with_hint("restore it from a backup; only if there is none remove it: new guards mean new risk")
    })
}

/// Keeps the guards for the next start.
pub fn save(dir: &NodeDir, guards: &[GuardRecord]) {
    if let Err(why) = dir.save(GUARDS_FILE, encode(guards).as_bytes()) {
        tracing::warn!(%why, "the guards could not be kept for the next start");
    }
}

fn encode(guards: &[GuardRecord]) -> String {
    let mut out = format!("{MAGIC}\n");
    for g in guards {
        let or_zero = |t: Option<UnixMs>| t.map_or(0, |t| t.0);
        let (confirmed, missing) = (or_zero(g.confirmed), or_zero(g.missing_since));
        out.push_str(&format!("guard {} {} {confirmed} {missing}\n", g.id, g.added.0));
    }
    out
}

fn decode(text: &str) -> Result<Vec<GuardRecord>, Malformed> {
    let mut lines = text.lines();
    if lines.next() != Some(MAGIC) {
        return Err(Malformed::UnknownVersion);
    }
    let mut list: Vec<GuardRecord> = Vec::new();
    for line in lines {
        let mut words = line.split(' ');
        if words.next() != Some("guard") || list.len() >= GUARDS_MAX {
            return Err(Malformed::BadText);
        }
        let id: RelayId = words.next().ok_or(Malformed::Truncated)?.parse()?;
        let mut time = || words.next().and_then(|w| w.parse().ok()).map(UnixMs).ok_or(Malformed::BadText);
        let (added, confirmed, missing) = (time()?, time()?, time()?);
        if list.iter().any(|g| g.id == id) {
            return Err(Malformed::NotCanonical);
        }
        let set = |t: UnixMs| (t.0 != 0).then_some(t);
        list.push(GuardRecord { id, added, confirmed: set(confirmed), missing_since: set(missing) });
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_file_reads_back_and_a_damaged_one_is_refused() {
        let record = |n: u8, confirmed, missing_since| GuardRecord {
            id: RelayId([n; 32]),
            added: UnixMs(1_700_000_000_000 + u64::from(n)),
            confirmed,
            missing_since,
        };
        let kept = vec![record(1, Some(UnixMs(5)), None), record(2, None, Some(UnixMs(7)))];
        assert_eq!(decode(&encode(&kept)).unwrap(), kept);
        let twice = encode(&[kept[0], kept[0]]);
        for bad in ["", "umbel-guards 2\n", "umbel-guards 1\nguard x 1 2 3\n", "umbel-guards 1\nrelay\n", &twice] {
            assert!(decode(bad).is_err(), "{bad:?}");
        }
    }
}
