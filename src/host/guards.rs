//! The guard file: which relays a client's circuits begin with, kept from one run to the next.
//!
//! ```text
//! umbel-guards 2 CHECK
//! guard ID ADDED CONFIRMED MISSING CHECK
//! ```
//!
//! Each line has a check (`lines`); form 1 had none. One line a guard, the preferred first; times in Unix milliseconds, 0 where there is none.

use crate::base::time::UnixMs;
use crate::host::dir::NodeDir;
use crate::host::error::Error;
use crate::host::lines;
use crate::proto::path::{GUARDS_MAX, GuardRecord, Guards};
use crate::wire::ids::RelayId;
use zeroize::Zeroizing;

const GUARDS_FILE: &str = "guards";
const KIND: &str = "umbel-guards 2";
const KIND_PLAIN: &str = "umbel-guards 1";

/// The guards of earlier runs; none at a first start.
///
/// # Errors
/// [`ErrorKind::Config`](crate::host::error::ErrorKind::Config) when the file cannot be read or is damaged: forgetting guards
/// silently would expose the user to new ones.
pub fn load(dir: &NodeDir) -> Result<Guards, Error> {
    let Some(bytes) = dir.load(GUARDS_FILE)? else { return Ok(Guards::new()) };
    let line = |at: usize| 1 + bytes.iter().take(at).filter(|b| **b == b'\n').count();
    let records = core::str::from_utf8(&bytes).map_err(|e| line(e.valid_up_to())).and_then(decode);
    records.map(Guards::restore).map_err(|line| {
        Error::config(&dir.file(GUARDS_FILE), format_args!("the list of guards is damaged in line {line}"))
            .with_rule("NODE-24")
            .with_hint("restore it from a backup; only if there is none remove it: new guards mean new risk")
    })
}

/// Keeps the guards for the next start.
///
/// # Errors
/// The file cannot be written; the folder remembers that until it can ([`NodeDir::trouble`]).
pub fn save(dir: &NodeDir, guards: &[GuardRecord]) -> Result<(), Error> {
    dir.save(GUARDS_FILE, encode(guards).as_bytes())
}

fn encode(guards: &[GuardRecord]) -> Zeroizing<String> {
    let line = |g: &GuardRecord| {
        let or_zero = |t: Option<UnixMs>| t.map_or(0, |t| t.0);
        let (confirmed, missing) = (or_zero(g.confirmed), or_zero(g.missing_since));
        Zeroizing::new(format!("guard {} {} {confirmed} {missing}", g.id, g.added.0))
    };
    lines::seal(KIND, guards.iter().map(line))
}

/// The guards, or the number of the line that is wrong.
fn decode(text: &str) -> Result<Vec<GuardRecord>, usize> {
    let lines = match text.strip_prefix(KIND_PLAIN).and_then(|rest| rest.strip_prefix('\n')) {
        Some(rest) => rest.lines().collect(),
        None => lines::open(KIND, text)?,
    };
    let mut list: Vec<GuardRecord> = Vec::new();
    for (n, line) in lines.into_iter().enumerate() {
        let guard = guard(line).filter(|g| list.len() < GUARDS_MAX && list.iter().all(|known| known.id != g.id));
        list.push(guard.ok_or(n + 2)?);
    }
    Ok(list)
}

fn guard(line: &str) -> Option<GuardRecord> {
    let mut words = line.strip_prefix("guard ")?.split(' ');
    let id: RelayId = words.next()?.parse().ok()?;
    let mut time = || words.next().and_then(|w| w.parse().ok()).map(UnixMs);
    let (added, confirmed, missing) = (time()?, time()?, time()?);
    let set = |t: UnixMs| (t.0 != 0).then_some(t);
    Some(GuardRecord { id, added, confirmed: set(confirmed), missing_since: set(missing) })
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: NODE-24
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
        for bad in ["", "umbel-guards 2\n", "umbel-guards 1\nguard x 1 2 3\n", "umbel-guards 1\nrelay\n", &*twice] {
            assert!(decode(bad).is_err(), "{bad:?}");
        }
        let good = encode(&kept);
        for at in 0..good.len() {
            let mut bytes = good.as_bytes().to_vec();
            bytes[at] ^= 1;
            let line = 1 + good[..at].matches('\n').count();
            assert_eq!(decode(core::str::from_utf8(&bytes).unwrap()), Err(line), "byte {at}");
        }
        let plain = format!("umbel-guards 1\nguard {} 7 0 9\n", kept[0].id);
        assert_eq!(decode(&plain).unwrap()[0].missing_since, Some(UnixMs(9)));
    }
}
