//! Reports about a client's directory: who confirmed it, what changed in it, and why there is none any more.

use crate::base::time::{Duration, Now};
use crate::proto::directory::client_sync::Report;
use crate::proto::directory::progress::{Dispute, Stage};

/// How long the warning stays that the set of relays changed more than usual churn explains.
const CHANGE_TOLD: Duration = Duration::from_secs(86_400);

fn hours(time: Duration) -> String {
    match time.as_secs() {
        s @ 0..7_200 => format!("{} minutes", s.div_ceil(60)),
        s => format!("{} hours", s / 3_600),
    }
}

/// The problems, each with its code. `missing` is what the node does about its directory where it had one and has none.
pub(super) fn troubles(
    report: &Report,
    dispute: Option<Dispute>,
    missing: Option<&Stage>,
    now: Now,
) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    if let Some(stage) = missing {
        let (reason, next) = (stage.reason(), stage.next(now));
        found.push(("directory-old", format!("the set of relays is too old to be used; {reason}; {next}")));
    }
    // spec: DIR-75
    if let Some(Dispute { drawn, answered, named, age, ends_in }) = dispute {
        let who = match named < answered {
            true => "relays disagree on it: somebody may be offering a false one",
            false => "the others do not answer: many relays are down, or somebody keeps your questions from them",
        };
        let (age, ends_in) = (hours(age), hours(ends_in));
        let message = format!(
            "only {named} of {drawn} relays confirm the newest set of relays, and {who}; the set of {age} ago stays in use, for \
             {ends_in} more at most"
        );
        found.push(("directory-disputed", message));
    }
    // spec: DIR-67
    if let Some((change, at)) = report.change.filter(|(_, at)| now.unix.distance(*at) < CHANGE_TOLD) {
        let ago = hours(now.unix.distance(at));
        let what = "if you know of no reason, compare the root in `umbel status` with somebody you trust";
        found.push(("directory-changed", format!("{change} ({ago} ago): more than usual; {what}")));
    }
    // spec: DIR-76
    if report.vouched == Some(1) && report.checkpoint_met != Some(true) {
        let what = "whoever runs it decides which network this is: give another invite, from somebody else";
        found.push(("directory-one-seed", format!("one relay alone vouches for the directory, and {what}")));
    }
    if report.vouched.is_some() && report.checkpoint.is_some() && report.checkpoint_met.is_none() {
        let what = "ask for a fresh invite, or compare the root in `umbel status` with whoever wrote it";
        let message =
            format!("the directory has no relay of the invite, and nobody knows the set that it names: {what}");
        found.push(("directory-not-invited", message));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::{Instant, UnixMs};
    use crate::proto::directory::client_sync::Checkpoint;
    use crate::proto::directory::continuity::Change;

    const NOW: Now = Now { mono: Instant(9_000_000), unix: UnixMs(1_700_000_000_000) };

    fn codes(report: &Report, dispute: Option<Dispute>, missing: Option<&Stage>) -> Vec<&'static str> {
        troubles(report, dispute, missing, NOW).into_iter().map(|(code, _)| code).collect()
    }

    // spec: DIR-67 DIR-75 DIR-76
    #[test]
    fn each_kind_of_doubt_is_told_in_words_and_only_while_it_lasts() {
        let mut report = Report { vouched: Some(2), ..Report::default() };
        assert!(codes(&report, None, None).is_empty());
        report.vouched = Some(1);
        assert_eq!(codes(&report, None, None), ["directory-one-seed"]);
        report.checkpoint = Some(Checkpoint { cut: UnixMs(1), root: [1; 32], relays: vec![] });
        assert_eq!(codes(&report, None, None), ["directory-one-seed", "directory-not-invited"]);
        report.checkpoint_met = Some(true);
        assert!(codes(&report, None, None).is_empty(), "the invite's root is worth a seed");
        let change = Change { kept: 600, new: 380, gone: 400, live: (1000, 980), between: Duration::from_secs(3600) };
        report.change = Some((change, NOW.unix.minus(Duration::from_secs(1800))));
        let told = troubles(&report, None, None, NOW);
        assert!(
            told[0].1.starts_with("of 1000 relays 400 are gone, and 380 are new, within 60 minutes; 980 can be reached now, 1000 could then (30 minutes ago)")
        );
        report.change = Some((change, NOW.unix.minus(CHANGE_TOLD)));
        assert!(codes(&report, None, None).is_empty());
        let (age, ends_in) = (Duration::from_secs(3 * 3600), Duration::from_secs(45 * 3600));
        let silent = Dispute { drawn: 193, answered: 90, named: 90, age, ends_in };
        let told = troubles(&report, Some(silent), None, NOW).remove(0).1;
        assert!(
            told.contains("only 90 of 193") && told.contains("do not answer") && told.contains("45 hours more"),
            "{told}"
        );
        let told = troubles(&report, Some(Dispute { answered: 120, ..silent }), None, NOW).remove(0).1;
        assert!(told.contains("disagree"), "{told}");
        assert_eq!(codes(&report, None, Some(&Stage::Asking(2, 4))), ["directory-old"]);
    }
}
