//! What is wrong with the relays that paths begin and end with, in words.

use super::local::Local;
use crate::proto::directory::index::ExitFigures;
use crate::proto::path::GuardTrouble;
use crate::proto::path::guards::GUARDS_USED_MAX;

/// The share of all relays that figures about exits suppose in one hand.
pub(super) const SHARE_SUPPOSED: f64 = 0.2;

impl Local {
    /// A word for programs and a sentence for people, for each thing that is wrong with guards and exits.
    pub(super) fn path_problems(&self) -> Vec<(&'static str, String)> {
        let guards = self.agent.with(|node, now| node.guard_trouble(now));
        let mut found: Vec<_> = guards.into_iter().map(guard_problem).collect();
        // Several guards may be suspended: one line says it.
        found.dedup_by_key(|(code, _)| *code);
        let least = self.about.profile.paths.exit_operators;
        let snapshot = self.agent.snapshots().borrow().clone();
        let figures = snapshot.filter(|_| self.about.relay.is_none()).map(|s| s.index().exit_figures);
        found.extend(figures.and_then(|figures| few_exits(figures, least)));
        found
    }
}

fn guard_problem(trouble: GuardTrouble) -> (&'static str, String) {
    match trouble {
        GuardTrouble::Suspended(id) => {
            let short: String = id.to_string().chars().take(8).collect();
            let what = "of the circuits through it far fewer stand than through other relays";
            ("guard-suspended", format!("the guard {short} is not used any more: {what}; a standby is in its place"))
        }
        GuardTrouble::UsedUp => {
            let why = "whoever makes guards fail may be waiting to be chosen himself";
            let what = "wait until one is back, or take that risk with --guards-fail-open";
            let gone = format!("the {GUARDS_USED_MAX} guards that this node used lately are gone or suspended");
            ("guards-used-up", format!("{gone}, and no other is used for now: {why}; {what}"))
        }
        GuardTrouble::Unreachable => {
            let why = "a firewall may let only some ports through, or somebody may block them";
            let what = "try another connection, or let further guards be drawn with --guards-fail-open";
            (
                "guards-unreachable",
                format!("none of this node's guards can be reached, though other relays can: {why}; {what}"),
            )
        }
    }
}

// spec: CLIENT-40
fn few_exits(figures: ExitFigures, least: usize) -> Option<(&'static str, String)> {
    let ExitFigures { exits, operators, .. } = figures;
    if exits == 0 || operators >= least {
        return None;
    }
    let percent = (figures.seen_at_both_ends(SHARE_SUPPOSED) * 100.0).ceil();
    let who =
        format!("this network has {exits} exits of {operators} operators, where {least} would be enough to hide among");
    let what = format!("who runs a fifth of its relays may see {percent} % of paths to the Internet at both ends");
    Some(("exits-few", format!("{who}: {what}; content in the network is not concerned")))
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: CLIENT-40
    #[test]
    fn exits_of_few_operators_come_with_a_warning_that_says_what_they_cost() {
        let figures = ExitFigures { relays: 100, exits: 10, operators: 3, largest: 8 };
        let (code, message) = few_exits(figures, 12).expect("three are few");
        assert_eq!(code, "exits-few");
        assert!(message.contains("10 exits of 3 operators") && message.contains("20 %"), "{message}");
        assert!(few_exits(ExitFigures { operators: 12, ..figures }, 12).is_none());
        assert!(few_exits(ExitFigures { exits: 0, operators: 0, ..figures }, 12).is_none(), "none are no risk");
    }

    #[test]
    fn what_is_wrong_with_guards_is_said_with_what_to_do() {
        for trouble in [GuardTrouble::UsedUp, GuardTrouble::Unreachable] {
            assert!(guard_problem(trouble).1.contains("--guards-fail-open"));
        }
    }
}
