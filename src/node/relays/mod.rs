//! `umbel relays`: the set that the node knows, a line for each relay.

mod filter;

use crate::base::addr::{Prefix, prefix};
use crate::base::time::UnixMs;
use crate::proto::directory::snapshot::{Member, Snapshot};
use crate::wire::ids::to_text;
use core::net::{Ipv4Addr, Ipv6Addr};
pub(crate) use filter::Filter;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// What is known of a relay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayRow {
    /// Its id.
    pub id: String,
    /// For how long it has been a member without a break, in seconds at the set's cut; null where the set does not say.
    pub age_s: Option<u64>,
    /// In how many percent of the last samples it was there; null before the first.
    pub presence: Option<u8>,
    /// How many samples that is of, 15 at most.
    pub samples: u8,
    /// Whether it is there now, as far as the set says.
    pub live: bool,
    /// Whether it connects to the Internet for clients.
    pub exit: bool,
    /// Whether it keeps content.
    pub store: bool,
    /// The beginning of its operator's family tag.
    pub family: Option<String>,
    /// The IPv4 /16 or IPv6 /32 of each of its addresses.
    pub prefixes: Vec<String>,
    /// Where its links are accepted.
    pub addrs: Vec<String>,
}

/// What `umbel relays` reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelaysReport {
    /// The cut of the set, in milliseconds since 1970.
    pub cut: u64,
    /// Its root.
    pub root: String,
    /// How old it is, in seconds.
    pub age_s: u64,
    /// How many relays it holds.
    pub total: u64,
    /// Those that were asked for, in the order of their ids.
    pub relays: Vec<RelayRow>,
}

/// Characters of a family tag that are shown: enough to tell operators apart.
const FAMILY_SHOWN: usize = 8;

impl RelaysReport {
    /// The relays of a set that the filter takes.
    pub(crate) fn of(set: &Snapshot, filter: Option<&Filter>, now: UnixMs) -> Self {
        let rows = set.members().iter().map(|m| row(set, m)).filter(|r| filter.is_none_or(|f| f.takes(r)));
        Self {
            cut: set.cut.0,
            root: to_text(&set.root),
            age_s: set.age(now).as_secs(),
            total: set.members().len() as u64,
            relays: rows.collect(),
        }
    }
}

fn row(set: &Snapshot, member: &Member) -> RelayRow {
    let (relay, standing) = (&member.record, member.standing);
    let (samples, present) = (standing.samples_taken(), standing.samples_present());
    let mut prefixes: Vec<_> = relay.addrs.iter().map(|a| prefix_text(prefix(a.ip()))).collect();
    prefixes.dedup();
    RelayRow {
        id: relay.id().to_string(),
        age_s: Some(standing.age(set.cut).as_secs()),
        presence: (present * 100).checked_div(samples).and_then(|p| u8::try_from(p).ok()),
        samples: u8::try_from(samples).unwrap_or(u8::MAX),
        live: member.dormant.is_none(),
        exit: relay.exit,
        store: relay.store,
        family: relay.family.map(|f| to_text(&f).chars().take(FAMILY_SHOWN).collect()),
        prefixes,
        addrs: relay.addrs.iter().map(ToString::to_string).collect(),
    }
}

fn prefix_text(prefix: Prefix) -> String {
    match prefix {
        Prefix::V4([a, b]) => format!("{}/16", Ipv4Addr::new(a, b, 0, 0)),
        Prefix::V6([a, b]) => format!("{}/32", Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0)),
    }
}

/// A time span in its two-digit unit.
fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

impl RelaysReport {
    /// For people: a line for each relay.
    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "{:<8} {:<8} {:<5} {:<4} {:<5} {:<8} {:<18} {}\n",
            "AGE", "PRESENCE", "LIVE", "EXIT", "STORE", "FAMILY", "PREFIX", "ID"
        );
        let yes = |is: bool| if is { "yes" } else { "-" };
        for r in &self.relays {
            let age = r.age_s.map_or("-".to_owned(), span);
            let presence = r.presence.map_or("-".to_owned(), |p| format!("{p} %"));
            let (live, exit, store) = (yes(r.live), yes(r.exit), yes(r.store));
            let (family, prefix) = (r.family.as_deref().unwrap_or("-"), r.prefixes.join(","));
            let _ = writeln!(
                text,
                "{age:<8} {presence:<8} {live:<5} {exit:<4} {store:<5} {family:<8} {prefix:<18} {}",
                r.id
            );
        }
        let _ =
            writeln!(text, "{} of {} relays, of a set that is {} old", self.relays.len(), self.total, span(self.age_s));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_keeps_its_keys_and_is_readable() {
        let row = RelayRow {
            id: "i".into(),
            age_s: Some(700_000),
            presence: Some(93),
            samples: 15,
            live: true,
            exit: true,
            prefixes: vec![prefix_text(prefix([203, 7, 1, 2].into()))],
            addrs: vec!["203.7.1.2:6251".into()],
            ..RelayRow::default()
        };
        let report = RelaysReport { cut: 1, root: "r".into(), age_s: 61, total: 2, relays: vec![row] };
        let json = concat!(
            r#"{"cut":1,"root":"r","age_s":61,"total":2,"relays":[{"id":"i","age_s":700000,"presence":93,"samples":15,"#,
            r#""live":true,"exit":true,"store":false,"family":null,"prefixes":["203.7.0.0/16"],"addrs":["203.7.1.2:6251"]}]}"#
        );
        assert_eq!(serde_json::to_string(&report).unwrap(), json);
        assert_eq!(serde_json::from_str::<RelaysReport>(json).unwrap(), report);
        let text = report.table();
        assert!(text.contains("8 d      93 %     yes   yes  -     -        203.7.0.0/16       i\n"), "{text}");
        assert!(text.ends_with("1 of 2 relays, of a set that is 61 s old\n"), "{text}");
        assert_eq!(prefix_text(prefix("2a00:1450::1".parse().unwrap())), "2a00:1450::/32");
    }
}
