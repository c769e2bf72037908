//! The guard file: which relays a client's circuits begin with, kept from one run to the next.
//!
//! ```text
//! umbel-guards 3 CHECK
//! guard ID ADDED CONFIRMED MISSING LIFETIME USED SUSPENDED DRAWN STOOD CHECK
//! former ID USED CHECK
//! ```
//!
//! Each line ends with a check (`lines`). One line per guard, the preferred one first, then former guards that were used
//! recently. Times are Unix milliseconds, or 0; the lifetime is in seconds. DRAWN and STOOD are the guard's tally. In versions 1,
//! without checks, and 2 a guard's line ends after MISSING.

use crate::base::time::{Duration, UnixMs};
use crate::host::dir::NodeDir;
use crate::host::error::Error;
use crate::host::lines;
use crate::proto::path::bias::Tally;
use crate::proto::path::{GUARDS_MAX, GuardRecord, Guards};
use crate::wire::ids::RelayId;
use zeroize::Zeroizing;

const GUARDS_FILE: &str = "guards";
const KIND: &str = "umbel-guards 3";
const KIND_SHORT: &str = "umbel-guards 2";
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

/// Saves the guards for the next start.
///
/// # Errors
/// The file cannot be written; the folder remembers that until it can ([`NodeDir::trouble`]).
pub fn save(dir: &NodeDir, guards: &[GuardRecord]) -> Result<(), Error> {
    dir.save(GUARDS_FILE, encode(guards).as_bytes())
}

fn encode(guards: &[GuardRecord]) -> Zeroizing<String> {
    let or_zero = |t: Option<UnixMs>| t.map_or(0, |t| t.0);
    let line = |g: &GuardRecord| {
        let used = or_zero(g.used);
        if g.is_former {
            return Zeroizing::new(format!("former {} {used}", g.id));
        }
        let (confirmed, missing, suspended) = (or_zero(g.confirmed), or_zero(g.missing_since), or_zero(g.suspended));
        let lifetime = g.lifetime.map_or(0, |d| d.as_secs());
        let Tally { drawn, stood } = g.tally;
        let times = format!("{} {confirmed} {missing} {lifetime} {used} {suspended}", g.added.0);
        Zeroizing::new(format!("guard {} {times} {drawn} {stood}", g.id))
    };
    lines::seal(KIND, guards.iter().map(line))
}

/// The guards, or the number of the line that is wrong.
fn decode(text: &str) -> Result<Vec<GuardRecord>, usize> {
    let (lines, is_short) = match text.strip_prefix(KIND_PLAIN).and_then(|rest| rest.strip_prefix('\n')) {
        Some(rest) => (rest.lines().collect(), true),
        None if text.starts_with(KIND_SHORT) => (lines::open(KIND_SHORT, text)?, true),
        None => (lines::open(KIND, text)?, false),
    };
    let mut list: Vec<GuardRecord> = Vec::new();
    for (n, line) in lines.into_iter().enumerate() {
        let record = if is_short { short_guard(line) } else { guard(line).or_else(|| former(line)) };
        let same_kind = |of: &GuardRecord| list.iter().filter(|g| g.is_former == of.is_former).count();
        let fits = |g: &GuardRecord| same_kind(g) < GUARDS_MAX && list.iter().all(|known| known.id != g.id);
        let record = record.filter(fits).ok_or(n + 2)?;
        list.push(record);
    }
    Ok(list)
}

fn numbers<const N: usize>(words: &str) -> Option<(RelayId, [u64; N])> {
    let mut words = words.split(' ');
    let id = words.next()?.parse().ok()?;
    let mut numbers = [0; N];
    for number in &mut numbers {
        *number = words.next()?.parse().ok()?;
    }
    words.next().is_none().then_some((id, numbers))
}

fn time(ms: u64) -> Option<UnixMs> {
    (ms != 0).then_some(UnixMs(ms))
}

fn guard(line: &str) -> Option<GuardRecord> {
    let (id, [added, confirmed, missing, lifetime, used, suspended, drawn, stood]) =
        numbers(line.strip_prefix("guard ")?)?;
    let (drawn, stood) = (u32::try_from(drawn).ok()?, u32::try_from(stood).ok()?);
    Some(GuardRecord {
        confirmed: time(confirmed),
        missing_since: time(missing),
        lifetime: (lifetime != 0).then_some(Duration::from_secs(lifetime)),
        used: time(used),
        suspended: time(suspended),
        tally: (stood <= drawn).then_some(Tally { drawn, stood })?,
        ..GuardRecord::new(id, UnixMs(added))
    })
}

fn former(line: &str) -> Option<GuardRecord> {
    let (id, [used]) = numbers(line.strip_prefix("former ")?)?;
    Some(GuardRecord { used: time(used), is_former: true, ..GuardRecord::new(id, UnixMs(used)) })
}

/// A guard from an earlier version of the file, which does not say when it was last used: when it was confirmed counts.
fn short_guard(line: &str) -> Option<GuardRecord> {
    let (id, [added, confirmed, missing]) = numbers(line.strip_prefix("guard ")?)?;
    Some(GuardRecord {
        confirmed: time(confirmed),
        missing_since: time(missing),
        used: time(confirmed),
        ..GuardRecord::new(id, UnixMs(added))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: NODE-24
    #[test]
    fn a_guard_file_reads_back_and_a_damaged_one_is_refused() {
        let record = |n: u8| GuardRecord::new(RelayId([n; 32]), UnixMs(1_700_000_000_000 + u64::from(n)));
        let kept = vec![
            GuardRecord {
                confirmed: Some(UnixMs(5)),
                lifetime: Some(Duration::from_secs(300 * 86_400)),
                used: Some(UnixMs(6)),
                tally: Tally { drawn: 70, stood: 69 },
                ..record(1)
            },
            GuardRecord { missing_since: Some(UnixMs(7)), suspended: Some(UnixMs(8)), ..record(2) },
            GuardRecord { used: Some(UnixMs(9)), is_former: true, ..GuardRecord::new(RelayId([3; 32]), UnixMs(9)) },
        ];
        assert_eq!(decode(&encode(&kept)).unwrap(), kept);
        let twice = encode(&[kept[0], kept[0]]);
        for bad in [
            "",
            "umbel-guards 3\n",
            "umbel-guards 2\n",
            "umbel-guards 1\nguard x 1 2 3\n",
            "umbel-guards 1\nrelay\n",
            &*twice,
        ] {
            assert!(decode(bad).is_err(), "{bad:?}");
        }
        let good = encode(&kept);
        for at in 0..good.len() {
            let mut bytes = good.as_bytes().to_vec();
            bytes[at] ^= 1;
            let line = 1 + good[..at].matches('\n').count();
            assert_eq!(decode(core::str::from_utf8(&bytes).unwrap()), Err(line), "byte {at}");
        }
    }

    // spec: NODE-24
    #[test]
    fn lists_of_earlier_versions_are_taken_over() {
        let id = RelayId([1; 32]);
        let line = format!("guard {id} 7 8 9");
        let expected = GuardRecord {
            confirmed: Some(UnixMs(8)),
            missing_since: Some(UnixMs(9)),
            used: Some(UnixMs(8)),
            ..GuardRecord::new(id, UnixMs(7))
        };
        let plain = format!("umbel-guards 1\n{line}\n");
        let checked = lines::seal("umbel-guards 2", [Zeroizing::new(line.clone())]);
        for text in [plain.as_str(), checked.as_str()] {
            assert_eq!(decode(text), Ok(vec![expected]), "{text}");
        }
        let longer = lines::seal("umbel-guards 2", [Zeroizing::new(line + " 0")]);
        assert_eq!(decode(&longer), Err(2), "a line has its words and no more");
    }
}
