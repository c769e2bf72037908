//! Who is heard of at a cut: auditors drawn anew for every cut try to reach each relay, at moments of their own.

use super::dice::unit;
use super::rules::{AUDITORS, CUTS_TO_JOIN, TO_JOIN, TO_STAY};
use crate::base::rng::Rng;

/// What is known of one relay's audits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Whether it was ever let in.
    pub is_member: bool,
    /// Cuts running at which enough auditors confirmed it.
    passed: u8,
}

/// What the auditors of one relay find.
#[derive(Clone, Copy, Debug)]
pub struct Audited {
    /// Whether it is there at the cut.
    pub is_up: bool,
    /// The part of the period, counted from its begin, for which it was in its other state.
    pub other: f64,
    /// The share of hostile auditors.
    pub hostile: f64,
    /// What those say of it: yes, no, or as it is.
    pub lie: Option<bool>,
}

impl Audited {
    /// How many of the auditors confirm it.
    pub fn confirmed(self, rng: &mut Rng) -> usize {
        let one = |rng: &mut Rng| {
            let is_hostile = unit(rng) < self.hostile;
            let truth = if unit(rng) < self.other { !self.is_up } else { self.is_up };
            if is_hostile { self.lie.unwrap_or(truth) } else { truth }
        };
        (0..AUDITORS).filter(|_| one(rng)).count()
    }
}

impl Standing {
    /// Of a member from before the run.
    pub const MEMBER: Self = Self { is_member: true, passed: 0 };

    /// Takes a cut's audits in: whether the relay counts as there.
    pub fn audited(&mut self, confirmed: usize) -> bool {
        if self.is_member {
            return confirmed >= TO_STAY;
        }
        self.passed = if confirmed >= TO_JOIN { self.passed.saturating_add(1) } else { 0 };
        self.is_member = self.passed >= CUTS_TO_JOIN;
        self.is_member
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(audited: Audited, enough: usize) -> f64 {
        let mut rng = Rng::from_seed([8; 32]);
        (0..20_000).filter(|_| audited.confirmed(&mut rng) >= enough).count() as f64 / 20_000.0
    }

    #[test]
    fn who_is_there_is_confirmed_whatever_a_fifth_of_the_auditors_say() {
        let there = Audited { is_up: true, other: 0.0, hostile: 0.2, lie: Some(false) };
        assert!(share(there, TO_STAY) > 0.99);
        let invented = Audited { is_up: false, other: 0.0, hostile: 0.2, lie: Some(true) };
        // Of eleven auditors eight are hostile: 0.0002.
        assert!(share(invented, TO_JOIN) < 0.001);
        assert_eq!(share(Audited { hostile: 0.0, ..invented }, 1), 0.0);
    }

    #[test]
    fn who_left_early_in_the_period_is_not_confirmed() {
        let left = |other| Audited { is_up: false, other, hostile: 0.0, lie: None };
        assert!(share(left(0.1), TO_STAY) < 0.01 && share(left(0.9), TO_STAY) > 0.99);
    }

    #[test]
    fn a_newcomer_passes_at_two_cuts_running() {
        let mut s = Standing::default();
        assert!(!s.audited(TO_JOIN) && !s.audited(TO_JOIN - 1) && !s.audited(AUDITORS) && s.audited(TO_JOIN));
        assert!(s.audited(TO_STAY) && !s.audited(TO_STAY - 1) && s.audited(TO_STAY), "a member needs fewer");
    }
}
