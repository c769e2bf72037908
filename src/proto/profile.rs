//! Network profiles: every time constant, quota and threshold, in one table per kind of network (spec DIR).
//!
//! The rules are the same code on every network; only these numbers differ.

use crate::base::time::Duration;
use crate::crypto::work::WorkParams;
use crate::proto::congestion::CongestionParams;
use crate::wire::descriptor::DescriptorRules;
use crate::wire::ids::NetworkId;

/// The parameters of a network: periods, quotas, windows. Every node of a network uses the same profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The name in configuration and invites.
    pub name: &'static str,
    /// What makes a relay a member.
    pub admission: Admission,
    /// When cuts are.
    pub cuts: CutParams,
    /// How long a member that is not heard of stays in the set, with its record and its standing.
    pub dormant_max: Duration,
    /// Mean time between two samples of a member's presence.
    pub sample_interval: Duration,
    /// How long a descriptor is valid after its publication.
    pub descriptor_lifetime: Duration,
    /// The shortest lifetime that a relay chooses. Between the two it is two periods of the cuts.
    pub lifetime_min: Duration,
    /// How often a relay publishes a fresh descriptor.
    pub descriptor_refresh: Duration,
    /// Between two rounds of anti-entropy with a random relay.
    pub gossip_interval: Duration,
    /// How often a client asks its guard for a newer root.
    pub client_refresh: Duration,
    /// A snapshot older than this is no longer used.
    pub snapshot_max_age: Duration,
    /// Length of a term: custodians of a key change only between terms (or when members come and go).
    pub term: Duration,
    /// How many signers a client asks for a root (all, where there are fewer relays).
    pub signers_asked: usize,
    /// What a relay's proof of work costs.
    pub work: WorkParams,
    /// Custodians of a key (all relays, where there are fewer).
    pub custodians: usize,
    /// Whether the hops of a path must lie in distinct /16 (IPv4) or /32 (IPv6) and families.
    pub distinct_prefixes: bool,
    /// Whether an exit may connect to private and loopback addresses.
    pub private_exit: bool,
    /// Whether relays may have private and loopback addresses.
    pub private_relays: bool,
    /// Whether every relay must be a member, signed by the network's founders.
    pub members_only: bool,
    /// How far a peer's clock may be from ours.
    pub clock_tolerance: Duration,
    /// How long a stored object is kept without renewal.
    pub lease: Duration,
    /// How often a custodian compares each of its objects with one of the object's other custodians.
    pub replicate_interval: Duration,
    /// Within which time, by chance, a custodian acts on a change of members.
    pub replicate_spread: Duration,
    /// How many cells may be in flight on a circuit, each way.
    pub congestion: CongestionParams,
    /// Bytes a stream's receiver grants in advance. More than the first window of a circuit can carry; what is fast grows.
    pub stream_window_bytes: u32,
    /// Who may stand where in a path, and for how long.
    pub paths: PathRules,
}

/// Which relays may be guards, last hops and middles, and how guards are replaced (spec 12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathRules {
    /// For how long a guard has been a member when it is drawn.
    pub guard_age: Duration,
    /// In which share of its samples a guard was present when it is drawn, in percent.
    pub guard_presence: u32,
    /// For how long a last hop that chance draws has been a member.
    pub last_hop_age: Duration,
    /// For how long a middle has been a member.
    pub middle_age: Duration,
    /// The shortest lifetime of a guard; it is drawn between this and the longest.
    pub guard_lifetime_min: Duration,
    /// The longest lifetime of a guard.
    pub guard_lifetime_max: Duration,
    /// Within this time a client asks a bounded number of guards for circuits.
    pub guard_window: Duration,
    /// With fewer operators of exits than this, as far as families and prefixes tell them apart, exits are used with a warning.
    pub exit_operators: usize,
}

impl PathRules {
    /// Real networks.
    pub const PUBLIC: Self = Self {
        guard_age: Duration::from_secs(21 * 86_400),
        guard_presence: 95,
        last_hop_age: Duration::from_secs(7 * 86_400),
        middle_age: DAY,
        guard_lifetime_min: Duration::from_secs(270 * 86_400),
        guard_lifetime_max: Duration::from_secs(365 * 86_400),
        guard_window: Duration::from_secs(90 * 86_400),
        exit_operators: 12,
    };

    /// Networks of one machine or one group: who is a member may stand anywhere.
    pub const OPEN: Self = Self {
        guard_age: Duration::ZERO,
        guard_presence: 0,
        last_hop_age: Duration::ZERO,
        middle_age: Duration::ZERO,
        guard_window: Duration::from_secs(600),
        exit_operators: 1,
        ..Self::PUBLIC
    };
}

/// What makes a relay a member of the settled set (spec 16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Its record alone.
    Records,
    /// Members that went to its addresses and say so.
    Audits,
}

/// When cuts are: they lie the closer the fewer and the younger the members are (spec 10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutParams {
    /// The shortest time between two cuts. Every cut is a multiple of it since 1970.
    pub period_min: Duration,
    /// The longest.
    pub period_max: Duration,
    /// Time between two cuts for each live member.
    pub period_per_member: Duration,
    /// Members of a cut's group.
    pub group: usize,
    /// A round of the ladder: in that time a relay's word reaches all others.
    pub round: Duration,
    /// The same in a large network, of more than two thousand relays.
    pub round_large: Duration,
    /// What came less than this before a cut may not have reached everybody: it climbs the ladder.
    pub late_window: Duration,
}

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

impl Profile {
    /// Real networks: hours and days, one address prefix a hop.
    pub const PUBLIC: Self = Self {
        name: "public",
        admission: Admission::Audits,
        cuts: CutParams {
            period_min: Duration::from_secs(30),
            period_max: HOUR,
            period_per_member: Duration::from_millis(3600),
            group: 96,
            round: Duration::from_secs(3),
            round_large: Duration::from_secs(15),
            late_window: Duration::from_secs(6),
        },
        dormant_max: DAY,
        sample_interval: DAY,
        descriptor_lifetime: DAY,
        lifetime_min: DAY,
        descriptor_refresh: Duration::from_secs(12 * 3600),
        gossip_interval: Duration::from_secs(30),
        client_refresh: HOUR,
        snapshot_max_age: Duration::from_secs(48 * 3600),
        term: Duration::from_secs(30 * 86_400),
        signers_asked: 49,
        work: WorkParams { bits: 18, effort: 256 },
        custodians: 12,
        distinct_prefixes: true,
        private_exit: false,
        private_relays: false,
        members_only: false,
        clock_tolerance: Duration::from_secs(600),
        lease: Duration::from_secs(30 * 86_400),
        replicate_interval: DAY,
        replicate_spread: Duration::from_secs(300),
        congestion: CongestionParams::DEFAULT,
        stream_window_bytes: 256 * 1024,
        paths: PathRules::PUBLIC,
    };

    /// Networks of people who know each other: members only, cuts of seconds, neither audits nor quotas.
    pub const PRIVATE: Self = Self {
        name: "private",
        cuts: CutParams {
            period_min: Duration::from_secs(5),
            period_max: Duration::from_secs(60),
            period_per_member: Duration::from_millis(500),
            group: 96,
            round: SECOND,
            round_large: SECOND,
            late_window: Duration::from_secs(2),
        },
        dormant_max: DAY,
        sample_interval: HOUR,
        descriptor_lifetime: Duration::from_secs(120),
        lifetime_min: Duration::from_secs(20),
        descriptor_refresh: Duration::from_secs(40),
        gossip_interval: Duration::from_secs(5),
        client_refresh: Duration::from_secs(20),
        snapshot_max_age: DAY,
        signers_asked: 49,
        work: WorkParams { bits: 2, effort: 0 },
        distinct_prefixes: false,
        private_relays: true,
        members_only: true,
        admission: Admission::Records,
        paths: PathRules::OPEN,
        ..Self::PUBLIC
    };

    /// Loopback networks: seconds instead of days, no address quotas. Used by `umbel testnet` and the tests.
    pub const TESTING: Self = Self {
        name: "testing",
        admission: Admission::Records,
        cuts: CutParams {
            period_min: SECOND,
            period_max: SECOND,
            period_per_member: Duration::ZERO,
            group: 12,
            round: Duration::from_millis(60),
            round_large: Duration::from_millis(60),
            late_window: Duration::from_millis(300),
        },
        dormant_max: Duration::from_secs(60),
        sample_interval: HOUR,
        descriptor_lifetime: Duration::from_secs(60),
        lifetime_min: Duration::from_secs(60),
        descriptor_refresh: Duration::from_secs(20),
        gossip_interval: Duration::from_secs(5),
        client_refresh: Duration::from_secs(5),
        snapshot_max_age: Duration::from_secs(600),
        term: HOUR,
        signers_asked: 49,
        work: WorkParams { bits: 6, effort: 1 },
        custodians: 12,
        distinct_prefixes: false,
        private_exit: true,
        private_relays: true,
        members_only: false,
        clock_tolerance: Duration::from_secs(300),
        lease: DAY,
        replicate_interval: Duration::from_secs(60),
        replicate_spread: SECOND,
        congestion: CongestionParams::DEFAULT,
        stream_window_bytes: 256 * 1024,
        paths: PathRules::OPEN,
    };

    /// The profile of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        [&Self::PUBLIC, &Self::PRIVATE, &Self::TESTING].into_iter().find(|p| p.name == name)
    }

    /// What to do where no profile has this name.
    pub fn hint(name: &str) -> &'static str {
        // Founded by a version whose directories nobody can read any more.
        let is_old = name == "default";
        if is_old { "\"default\" is called \"public\" now" } else { "use \"public\" or \"testing\"" }
    }

    /// What this kind of network asks of the descriptors of `network`.
    pub fn descriptor_rules(&self, network: NetworkId) -> DescriptorRules {
        DescriptorRules {
            network,
            work: self.work,
            private_addrs: self.private_relays,
            lifetime_max_s: u32::try_from(self.descriptor_lifetime.as_secs()).unwrap_or(u32::MAX),
            members_of: self.members_only.then_some(self.name),
        }
    }

    /// How many of `asked` signers must agree on a root: more than three fifths (30 of 49).
    pub fn signers_needed(asked: usize) -> usize {
        asked * 3 / 5 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::work::Search;

    #[test]
    fn thirty_of_forty_nine_signers_are_needed() {
        assert_eq!(Profile::signers_needed(49), 30);
        assert_eq!(Profile::signers_needed(5), 4);
        assert_eq!(Profile::signers_needed(1), 1);
    }

    /// What a public network's work costs: `cargo test --release --lib what_work_costs -- --ignored --nocapture`.
    #[test]
    #[ignore = "takes ten seconds on a release build"]
    #[allow(clippy::disallowed_methods, reason = "it measures")]
    fn what_work_costs() {
        let params = Profile::PUBLIC.work;
        let begun = std::time::Instant::now();
        let (mut search, mut found) = (Search::new([5; 32], params, 0), 0);
        for _ in 0..50 {
            found += u32::from(search.step().is_some());
        }
        let attempt = begun.elapsed() / 50;
        let nodes = (2_usize << params.bits) * 16;
        println!(
            "an attempt: {attempt:?} and {} MiB; a proof: {:?} on average ({} attempts; {found} found)",
            (nodes * 7 / 2) >> 20,
            attempt * params.attempts(),
            params.attempts()
        );
        let easy = WorkParams { effort: 1, ..params };
        let work = Search::new([5; 32], easy, 0).run();
        let begun = std::time::Instant::now();
        for _ in 0..10_000 {
            assert!(std::hint::black_box(&work).holds(&[5; 32], easy));
        }
        println!("verifying: {:?}", begun.elapsed() / 10_000);
    }
}
