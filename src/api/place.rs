//! Where a node stands in its network: what the operator of a relay wants to know before anything else.

use super::local::Local;
use crate::base::time::{Duration, UnixMs};
use crate::proto::directory::schedule;
use crate::proto::directory::snapshot::{RELAYS_MIN, Snapshot};
use crate::proto::profile::Profile;
use crate::wire::ids::to_text;
#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

/// A relay that is not in the set after this many cuts has something to mend.
const CUTS_PATIENT: u32 = 3;

/// A node's network, and the node's place in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
#[non_exhaustive]
pub struct NetworkStatus {
    /// The network's id.
    pub id: String,
    /// The keys of its founders; none where anybody may join.
    pub founders: Vec<String>,
    /// Relays in the set in use; before there is one, relays that the node knows.
    pub relays: u64,
    /// Seconds to the next cut; none for a client without a set.
    pub next_cut_s: Option<u64>,
    /// Whether this relay is in the set; none for a client.
    pub member: Option<bool>,
    /// Since when, in seconds since 1970, where the set says it.
    pub since_unix: Option<u64>,
    /// How this stands, for people, and what to do next: a sentence without a full stop.
    pub message: String,
}

/// What [`NetworkStatus::message`] is made of.
struct Facts<'a> {
    set: Option<&'a Snapshot>,
    known: usize,
    next_cut: Option<Duration>,
    uptime: Duration,
    period: Duration,
    revoked: bool,
}

impl Local {
    /// Where the node stands in its network.
    pub(super) fn network_status(&self) -> NetworkStatus {
        let now = self.about.clock.now();
        let snapshot = self.agent.snapshots().borrow().clone();
        let set = snapshot.as_deref();
        let known = self.agent.with(|node, _| node.relays_known());
        let (own, network) = (self.about.relay, &self.about.network);
        let next_cut = Some(next_cut(set, now.unix, self.about.profile)).filter(|_| own.is_some() || set.is_some());
        let since = own.and_then(|own| set?.standing(&own)).map(|s| s.since).filter(|s| s.0 != 0);
        let facts = Facts {
            set,
            known,
            next_cut: next_cut.map(|at| at.distance(now.unix)),
            uptime: Duration::from_micros(now.mono.0),
            period: set.map_or(self.about.profile.cuts.period_min, |s| schedule::period(s, self.about.profile)),
            revoked: self.agent.with(|node, _| node.is_revoked()),
        };
        let member = own.map(|own| set.is_some_and(|s| s.get(&own).is_some()));
        NetworkStatus {
            id: network.id.to_string(),
            founders: network.founders().iter().map(to_text).collect(),
            relays: set.map_or(known, Snapshot::len) as u64,
            next_cut_s: facts.next_cut.map(|d| d.as_secs()),
            member,
            since_unix: since.map(UnixMs::secs),
            message: message(&facts, member, since, now.unix),
        }
    }
}

fn next_cut(set: Option<&Snapshot>, now: UnixMs, profile: &Profile) -> UnixMs {
    set.map_or_else(|| schedule::first_cut_after(now, profile), |set| schedule::next_cut_after(set, now, profile))
}

// spec: NODE-32
fn message(facts: &Facts<'_>, member: Option<bool>, since: Option<UnixMs>, now: UnixMs) -> String {
    let next = facts.next_cut.map_or(String::new(), |d| format!(", the next cut is in {} s", d.as_secs()));
    let known = facts.known;
    match (facts.set, member) {
        (_, Some(false)) if facts.revoked => {
            "NOT in the set: a founder took this relay's membership back; only an invite with another member key lets it in".into()
        }
        (None, Some(_)) if known < RELAYS_MIN => format!(
            "{known} of the {RELAYS_MIN} relays that a network needs are known: start more of them by an invite \
             (umbel invite prints one)"
        ),
        (None, Some(_)) => format!("{known} relays are known{next}: then there is a first set"),
        (None, None) => "no set yet: the relays of the invite are asked".to_owned(),
        (Some(set), None) => format!("{} relays{next}", set.len()),
        (Some(set), Some(true)) => {
            let since = since.map_or(String::new(), |s| format!(" for {} s", now.distance(s).as_secs()));
            format!("one of {} relays{since}{next}", set.len())
        }
        (Some(_), Some(false)) if facts.uptime > facts.period * CUTS_PATIENT => format!(
            "NOT in the set{next}: others must reach this relay at the address that it publishes, and its clock must be right"
        ),
        (Some(_), Some(false)) => format!("not in the set yet{next}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::directory::testing::{NETWORK, record};

    const P: &Profile = &Profile::TESTING;
    const CUT: UnixMs = UnixMs(1_700_000_000_000);

    // spec: NODE-32
    #[test]
    fn a_node_says_where_it_stands_and_what_comes_next() {
        let records: Vec<_> = (0..5).map(|i| record(i, CUT.minus(Duration::from_secs(5)))).collect();
        let set = Snapshot::settle(&records, CUT, P, NETWORK);
        let (second, now) = (Duration::from_secs(1), CUT.plus(Duration::from_secs(7)));
        let facts = |set, known, uptime| {
            let (next_cut, period) = (Some(Duration::from_secs(40)), second);
            Facts { set, known, next_cut, uptime: second * uptime, period, revoked: false }
        };
        let (none, some) = (|known| facts(None, known, 1), |uptime| facts(Some(&set), 9, uptime));
        for (facts, member, since, words) in [
            (none(2), Some(false), None, &["2 of the 3 relays", "umbel invite"][..]),
            (none(3), Some(false), None, &["3 relays are known", "next cut is in 40 s", "first set"]),
            (none(3), None, None, &["no set yet", "relays of the invite"]),
            (some(1), None, None, &["5 relays", "in 40 s"]),
            (some(1), Some(true), Some(CUT), &["one of 5 relays for 7 s", "in 40 s"]),
            (some(1), Some(true), None, &["one of 5 relays, the next cut"]),
            (some(1), Some(false), None, &["not in the set yet", "in 40 s"]),
            (some(4), Some(false), None, &["NOT in the set", "clock"]),
        ] {
            let said = message(&facts, member, since, now);
            assert!(words.iter().all(|w| said.contains(w)) && !said.ends_with('.'), "{said}");
        }
    }
}
