//! What becomes of the last hops that chance drew: counted for their guard, tried another way, or used by the next circuit.

use super::{Circuits, Context};
use crate::proto::path::Sample;
use crate::role::client::draws::{Draw, DrawnFor};
use crate::role::client::event::CircuitState;
use crate::role::client::exits::NOBODY;
use crate::role::client::purpose::PathEnd;
use crate::role::contact::Contact;
use crate::role::slab::Key;

/// Why a circuit ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::role::client) enum Ending {
    /// We need it no longer.
    Ours,
    /// A relay on it ended it, does not answer, or broke a rule.
    Failed,
    /// Its link is gone, and with it all that was on it: it says nothing of this circuit.
    Lost,
}

/// Paths that are drawn until one is another way.
const WAYS_DRAWN: usize = 8;

impl Circuits {
    /// A circuit stands.
    pub(super) fn account_built(&mut self, key: Key, cx: &mut Context<'_>) {
        let Some(circuit) = self.table.get_mut(key) else { return };
        let Some(first) = circuit.path().first().copied() else { return };
        self.busy.works(&first);
        // A single hop carries nothing of the user's for anybody else.
        if circuit.is_probe() || circuit.path().len() < 2 {
            cx.paths.reached(cx.now, &first);
        } else {
            cx.paths.first_hop(cx.now, &first, true);
        }
        if circuit.draw_mut().is_some_and(Draw::stands) {
            cx.paths.sample(cx.now, &first, Sample::Stood);
        }
        self.probe_standbys(cx);
    }

    /// A circuit ends, or is not used any more. Does nothing the second time.
    // spec: CLIENT-38
    pub(in crate::role::client) fn account_end(&mut self, key: Key, ending: Ending, cx: &mut Context<'_>) {
        let Some(circuit) = self.table.get_mut(key) else { return };
        let Some(mut draw) = circuit.take_draw() else { return };
        let is_unused = circuit.purpose().is_none() && !circuit.is_probe();
        // Who says that it leaves ends the circuit as well as who ends it.
        let is_left = ending == Ending::Ours && circuit.is_leaving();
        let ending = if is_left { Ending::Failed } else { ending };
        let begun = circuit.state() == CircuitState::Open || !circuit.built().is_empty();
        match ending {
            // It served, or it was a probe that stood.
            Ending::Ours if !is_unused && circuit.state() == CircuitState::Open => {}
            _ if circuit.has_lasted(cx.now.mono) && !is_unused => {}
            Ending::Failed if begun && !circuit.has_lasted(cx.now.mono) => {
                let Some(first) = circuit.path().first().copied() else { return };
                let verdict = draw.failed(circuit.path());
                if verdict.takes_back {
                    cx.paths.sample(cx.now, &first, Sample::DidNotLast);
                }
                if verdict.is_lost {
                    cx.paths.sample(cx.now, &first, Sample::Failed);
                } else {
                    self.draws.again(draw);
                }
                self.probe_standbys(cx);
            }
            // The guard did not answer, the link is gone, or nobody needed it: nothing is known of the last hop.
            Ending::Ours | Ending::Failed | Ending::Lost => self.draws.again(draw),
        }
    }

    /// A path to the last hop that waits longest for this user, by another way than it was tried before.
    pub(super) fn draw_again(
        &mut self,
        user: [u8; 16],
        is_exit: bool,
        cx: &mut Context<'_>,
    ) -> Option<(Vec<Contact>, Draw)> {
        let draw = self.draws.take(user)?;
        let end = if is_exit { PathEnd::ThisExit(draw.last) } else { PathEnd::Drawn(draw.last) };
        let path = another_way(&draw, |cx| cx.paths.path(cx.now, cx.rng, end), cx)?;
        Some((path, draw))
    }

    /// Builds the probes that are due.
    // spec: CLIENT-37
    fn probe_standbys(&mut self, cx: &mut Context<'_>) {
        let (standby, draw) = match self.draws.take_probe() {
            Some(draw @ Draw { of: DrawnFor::Probe(standby), .. }) => (standby, Some(draw)),
            _ => match cx.paths.probe_due(cx.now) {
                Some(standby) => (standby, None),
                None => return,
            },
        };
        let is_exit = self.cfg.wants_exits;
        let end = match &draw {
            Some(draw) if is_exit => PathEnd::ThisExit(draw.last),
            Some(draw) => PathEnd::Drawn(draw.last),
            None if is_exit => PathEnd::Exit,
            None => PathEnd::Any,
        };
        let drawn = |cx: &mut Context<'_>| cx.paths.probe(cx.now, cx.rng, &standby, end);
        let path = match &draw {
            Some(draw) => another_way(draw, drawn, cx),
            None => drawn(cx),
        };
        let Some(path) = path else { return };
        let Some(last) = path.last().map(|c| c.id) else { return };
        let draw = draw.unwrap_or_else(|| Draw::new(last, DrawnFor::Probe(standby)));
        self.start(&path, is_exit, None, Some(draw), cx);
    }

    /// A last hop for a circuit of this user that has none yet.
    pub(super) fn drawn(path: &[Contact], user: [u8; 16]) -> Option<Draw> {
        path.last().map(|c| Draw::new(c.id, DrawnFor::User(user)))
    }

    /// A spare circuit's last hop serves this user from now on.
    pub(super) fn draw_belongs_to(draw: Option<&mut Draw>, user: [u8; 16]) {
        if let Some(draw) = draw.filter(|d| d.of == DrawnFor::User(NOBODY)) {
            draw.of = DrawnFor::User(user);
        }
    }
}

fn another_way(
    draw: &Draw,
    mut path: impl FnMut(&mut Context<'_>) -> Option<Vec<Contact>>,
    cx: &mut Context<'_>,
) -> Option<Vec<Contact>> {
    let mut found = path(cx)?;
    // In a small network there may be no other.
    for _ in 0..WAYS_DRAWN {
        if draw.is_another_way(found.iter().map(|c| c.id)) {
            break;
        }
        found = path(cx)?;
    }
    Some(found)
}
