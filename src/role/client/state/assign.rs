//! Which circuit a stream gets: at first, and after one that does not answer, refuses it or closes.

use super::ClientState;
use crate::base::time::Now;
use crate::proto::rpc::CallError;
use crate::role::client::circuits::{Crowd, Ending};
use crate::role::client::event::{CircuitState, StreamFailure};
use crate::role::client::purpose::CircuitPurpose;
use crate::role::client::streams::Builds;
use crate::role::limits::{BUILDS_PER_CALLEE, BUILDS_PER_STREAM};
use crate::role::slab::Key;
use crate::wire::message::EndReason;
use std::collections::BTreeSet;

/// Whether a waiting stream can get a circuit.
enum Hope {
    /// One is being built, or may be once the directory has come.
    Coming,
    /// One is there.
    There,
    /// These are all in use.
    Crowded(Crowd),
    /// None can be had.
    None,
}

/// Circuits for streams.
impl ClientState {
    /// Gives every waiting stream a circuit: one that is open, one that is being built, or a new one.
    pub(super) fn assign(&mut self, now: Now) {
        // Streams whose circuit is open come first: a circuit in use makes way for nobody.
        for _ in 0..self.streams.waiting() {
            let Some((stream, purpose, _)) = self.streams.next_waiting() else { continue };
            match self.circuits.usable(now, purpose) {
                Some(circuit) => self.attach(now, stream, circuit),
                None => self.streams.wait(stream),
            }
        }
        let mut crowded = BTreeSet::new();
        for _ in 0..self.streams.waiting() {
            let Some((stream, purpose, builds)) = self.streams.next_waiting() else { continue };
            match self.hope(now, purpose, builds, &crowded) {
                Hope::Coming => self.streams.wait(stream),
                // If a spare circuit is open already, nothing has to be built first.
                Hope::There => match self.circuits.usable(now, purpose) {
                    Some(circuit) => self.attach(now, stream, circuit),
                    None => self.streams.wait(stream),
                },
                Hope::Crowded(crowd) => {
                    crowded.insert(crowd);
                    self.streams.wait_for_room(stream);
                }
                Hope::None => self.fail_stream(stream, StreamFailure::NoPath),
            }
        }
    }

    fn hope(&mut self, now: Now, purpose: CircuitPurpose, builds: Builds, crowded: &BTreeSet<Crowd>) -> Hope {
        // Another stream of this round may have got one for both.
        if self.circuits.usable(now, purpose).is_some() {
            return Hope::There;
        }
        if self.circuits.is_building(purpose) {
            return Hope::Coming;
        }
        if builds.failed >= BUILDS_PER_STREAM || builds.without_callee >= BUILDS_PER_CALLEE {
            return Hope::None;
        }
        if let Some(crowd) = Crowd::of(purpose).find(|crowd| crowded.contains(crowd)) {
            return Hope::Crowded(crowd);
        }
        if let Some(crowd) = self.make_room(now, purpose) {
            return Hope::Crowded(crowd);
        }
        let (circuits, mut cx) = self.building(now);
        if circuits.take_spare(purpose, &mut cx) {
            return Hope::There;
        }
        let waits_for_directory = !(cx.paths.is_ready() || matches!(purpose, CircuitPurpose::Direct(_)));
        if circuits.try_build(Some(purpose), &mut cx).is_some() || circuits.rests(now) || waits_for_directory {
            Hope::Coming
        } else {
            Hope::None
        }
    }

    /// Closes unused circuits until one more of this purpose has room. The crowd that leaves none, if one does.
    // spec: CLIENT-19
    fn make_room(&mut self, now: Now, purpose: CircuitPurpose) -> Option<Crowd> {
        while let Some(crowd) = self.circuits.crowded(purpose) {
            let calls = &self.calls;
            let Some(unused) = self.circuits.unused(crowd, |stream| calls.is_idle(stream)) else { return Some(crowd) };
            self.close_circuit(now, unused, false, Ending::Ours);
        }
        None
    }

    fn attach(&mut self, now: Now, stream: Key, circuit: Key) {
        let (streams, calls, mut circuits) = self.carried();
        if !streams.attach(now, stream, circuit, &mut circuits) {
            streams.wait(stream);
            return;
        }
        if let Some(place) = streams.place(stream) {
            calls.pump(now, stream, place, &mut circuits);
        }
        self.circuits.expect(now, circuit);
    }
}

/// Streams that get no answer.
impl ClientState {
    /// Has a stream tried again, if it may be; see [`Streams::try_again`](super::Streams::try_again).
    pub(super) fn retries(&mut self, now: Now, stream: Key, how: (bool, bool)) -> bool {
        let (streams, _, mut circuits) = self.carried();
        streams.try_again(now, stream, how, &mut circuits)
    }

    /// Whether an exit's refusal is answered with another exit: it has not connected, so the destination has nothing yet.
    pub(super) fn refused_by_exit(&mut self, now: Now, stream: Key, reason: EndReason) -> bool {
        // spec: CLIENT-23
        matches!(reason, EndReason::NotOffered | EndReason::Policy | EndReason::Resource)
            && self.retries(now, stream, (true, true))
    }

    /// A stream's time is over: to be answered on this circuit, or at all.
    pub(super) fn stream_is_late(&mut self, now: Now, stream: Key) {
        if self.streams.is_opening(stream) && self.retries(now, stream, (true, false))
            || self.streams.wait_on(now, stream)
        {
            return;
        }
        let (streams, _, mut circuits) = self.carried();
        let why = streams.give_up(now, stream, &mut circuits);
        self.fail_stream(stream, why);
    }

    /// Looks at a circuit on which an answer is awaited.
    pub(super) fn look_at(&mut self, now: Now, circuit: Key) {
        let owes = |state: &Self, &stream: &Key| state.streams.is_opening(stream) || state.calls.awaits(stream);
        if !self.circuits.streams_on(circuit).iter().any(|stream| owes(self, stream)) {
            return self.circuits.rest(circuit, &mut self.links);
        }
        let Some(since) = self.circuits.look(now, circuit, &mut self.links) else { return };
        let link = self.circuits.look_up(circuit).map(|c| c.link().0);
        let guard_is_silent = link.is_some_and(|link| self.links.is_silent(now, link, now.mono.since(since)));
        tracing::debug!(guard_is_silent, "a circuit does not answer");
        let stalled = if guard_is_silent { self.circuits.beside(circuit) } else { vec![circuit] };
        let ending = if guard_is_silent { Ending::Lost } else { Ending::Failed };
        for circuit in stalled {
            self.circuit_stalled(now, circuit, ending);
        }
    }

    /// A circuit does not answer: it takes no new streams, and those that wait for an answer on it take another, as far as
    /// they may. What is open stays: the circuit may go on later.
    fn circuit_stalled(&mut self, now: Now, circuit: Key, ending: Ending) {
        // A circuit that is being built has a timer of its own.
        if self.circuits.look_up(circuit).is_none_or(|c| c.state() != CircuitState::Open) {
            return;
        }
        self.circuits.spend(circuit);
        let (circuits, mut cx) = self.building(now);
        circuits.account_end(circuit, ending, &mut cx);
        self.circuits.rest(circuit, &mut self.links);
        for stream in self.circuits.streams_on(circuit) {
            if self.calls.serves(stream) {
                self.give_up_calls(now, stream, CallError::TimedOut);
            } else {
                self.retries(now, stream, (false, false));
            }
        }
        let is_built = self.circuits.look_up(circuit).is_some_and(|c| c.is_unused(|_| false));
        if is_built {
            self.close_circuit(now, circuit, false, ending);
        }
    }
}
