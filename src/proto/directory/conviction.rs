//! Proof that a relay signed two roots for one cut: it told some one thing and others another (spec 17).

use crate::base::time::UnixMs;
use crate::wire::directory::Statement;
use crate::wire::ids::{NetworkId, RelayId};
use std::collections::BTreeMap;

/// Statements that are remembered to be compared with later ones; the oldest cut's go first.
const REMEMBERED_MAX: usize = 4096;

/// Two statements that convict the relay that signed them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conviction {
    statements: [Statement; 2],
}

impl Conviction {
    /// From two statements, if they convict who is said to have signed them; `identity` is its key.
    // spec: AGREE-12
    pub fn new([a, b]: [Statement; 2], network: NetworkId, identity: &[u8; 32]) -> Option<Self> {
        let is_double = a.cut == b.cut && a.relay == b.relay && a.root != b.root;
        let holds = |s: &Statement| s.verify(network, identity).is_ok();
        (is_double && holds(&a) && holds(&b)).then_some(Self { statements: [a, b] })
    }

    /// Who is convicted.
    pub fn relay(&self) -> RelayId {
        let [first, _] = &self.statements;
        first.relay
    }

    /// What proves it.
    pub fn statements(&self) -> &[Statement; 2] {
        &self.statements
    }
}

/// What relays stated, by cut and relay, to find those that state two things.
#[derive(Default)]
pub struct Stated(BTreeMap<(UnixMs, RelayId), Statement>);

impl Stated {
    /// Remembers a statement whose signature holds. Gives the one with another root that the relay signed for the same cut.
    pub fn note(&mut self, s: &Statement) -> Option<Statement> {
        if let Some(known) = self.0.get(&(s.cut, s.relay)) {
            return Some(*known).filter(|known| known.root != s.root);
        }
        if self.0.len() >= REMEMBERED_MAX {
            self.0.pop_first();
        }
        self.0.insert((s.cut, s.relay), *s);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Duration;
    use crate::proto::directory::testing::{NETWORK, START, id, key};

    fn said(root: u8) -> Statement {
        let (cut, relay, signature) = (START, id(3), [0; 64]);
        Statement { cut, root: [root; 32], beacon: [0; 32], count: 5, relay, signature }.sign(NETWORK, &key(3))
    }

    // spec: AGREE-12
    #[test]
    fn two_signed_roots_of_one_cut_convict_and_nothing_else_does() {
        let identity = key(3).public();
        let convict = |a, b| Conviction::new([a, b], NETWORK, &identity);
        assert_eq!(convict(said(1), said(2)).map(|c| c.relay()), Some(id(3)));
        assert!(convict(said(2), said(1)).is_some(), "in whatever order");
        assert_eq!(convict(said(1), said(1)), None);
        assert_eq!(convict(said(1), Statement { root: [2; 32], ..said(1) }), None, "forged");
        let later = Statement { cut: START.plus(Duration::from_secs(1)), ..said(2) }.sign(NETWORK, &key(3));
        assert_eq!(convict(said(1), later), None, "of another cut");
        let other = Statement { relay: id(4), ..said(2) }.sign(NETWORK, &key(3));
        assert_eq!(convict(said(1), other), None, "in another's name");
        assert_eq!(Conviction::new([said(1), said(2)], NetworkId([1; 32]), &identity), None, "of another network");
        assert_eq!(Conviction::new([said(1), said(2)], NETWORK, &key(4).public()), None);
    }

    #[test]
    fn who_states_two_things_is_found_and_memory_is_bounded() {
        let mut stated = Stated::default();
        assert_eq!((stated.note(&said(1)), stated.note(&said(1))), (None, None));
        assert_eq!(stated.note(&said(2)), Some(said(1)));
        for n in 1..=REMEMBERED_MAX as u64 {
            stated.note(&Statement { cut: UnixMs(START.0 + n), ..said(1) });
        }
        assert_eq!((stated.0.len(), stated.note(&said(2))), (REMEMBERED_MAX, None), "the oldest went");
    }
}
