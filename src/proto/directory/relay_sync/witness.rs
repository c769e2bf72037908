//! Statements of other relays, for clients that cannot afford a circuit to each of them.
//!
//! A client names some relays that it drew. This relay asks them directly, once for a cut, and hands over what they signed: it
//! can withhold a statement and cannot make one up, and clients that name the same relay cost that one nothing more.

use super::{Pending, RelayDirectory};
use crate::base::time::{Now, UnixMs};
use crate::wire::directory::{DirectoryAnswer, DirectoryRequest, Statement, WITNESSED_MAX};
use crate::wire::ids::RelayId;
use std::collections::BTreeMap;

/// Statements of others that a relay holds, of all cuts together; the oldest cut's go first.
const STATEMENTS_HELD: usize = 4096;
/// Relays that are asked for their statement at the same time.
const WITNESS_CALLS_MAX: usize = 48;

/// What others state, by cut and relay; `None`: it was asked and has not answered, or not well.
#[derive(Default)]
pub(super) struct Witness {
    held: BTreeMap<(UnixMs, RelayId), Option<Statement>>,
    calling: usize,
}

impl Witness {
    fn make_room(&mut self, cut: UnixMs) -> bool {
        if self.held.len() >= STATEMENTS_HELD {
            match self.held.first_key_value() {
                Some(((oldest, _), _)) if *oldest < cut => drop(self.held.pop_first()),
                _ => return false,
            }
        }
        true
    }
}

impl RelayDirectory {
    /// The statements of these relays that we hold; those that we lack are asked for.
    pub(super) fn witness(&mut self, now: Now, cut: UnixMs, relays: &[RelayId]) -> DirectoryAnswer {
        // spec: DIR-78
        let Some(set) = self.cuts.spoken_of(cut, now.unix).cloned() else {
            return DirectoryAnswer::Unknown(self.cuts.newest().map_or(UnixMs(0), |s| s.cut));
        };
        let mut list = Vec::new();
        for id in relays.iter().take(WITNESSED_MAX) {
            if *id == self.own {
                list.extend(match self.cuts.statement(cut, now.unix) {
                    DirectoryAnswer::Statement(own) => Some(own),
                    _ => None,
                });
                continue;
            }
            match self.witness.held.get(&(cut, *id)) {
                Some(known) => list.extend(known),
                // Members alone: nobody makes us call whom he likes.
                None if set.get(id).is_some() && self.peers.fit(id, now.mono) => self.ask_to_state(now, cut, *id),
                None => {}
            }
        }
        DirectoryAnswer::Witnessed(list)
    }

    fn ask_to_state(&mut self, now: Now, cut: UnixMs, id: RelayId) {
        if self.witness.calling < WITNESS_CALLS_MAX && self.witness.make_room(cut) {
            self.witness.held.insert((cut, id), None);
            self.witness.calling = self.witness.calling.saturating_add(1);
            self.call(now, id, Pending::State(cut), &DirectoryRequest::Statement(cut));
        }
    }

    /// A relay stated a cut, or did not. Whether the answer is one.
    pub(super) fn stated(&mut self, now: Now, peer: RelayId, cut: UnixMs, answer: Option<DirectoryAnswer>) -> bool {
        self.witness.calling = self.witness.calling.saturating_sub(1);
        match answer {
            Some(DirectoryAnswer::Statement(s)) if s.cut == cut && s.relay == peer => {
                self.witness.held.insert((cut, peer), Some(s));
                if self.signed_by(&s, &peer) {
                    self.stated_by(&s, now);
                }
                true
            }
            // It may know more the next time somebody asks.
            other => {
                self.witness.held.remove(&(cut, peer));
                matches!(other, Some(DirectoryAnswer::Unknown(_)))
            }
        }
    }
}
