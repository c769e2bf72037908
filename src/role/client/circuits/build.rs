//! How circuits come to be: drawn and built for a purpose, or ahead of need.

use super::{CLOSED_RETRY, Circuits, Context, Timer};
use crate::base::time::Now;
use crate::proto::circuit::client::ClientCircuit;
use crate::role::client::circuit::Circuit;
use crate::role::client::event::CircuitState;
use crate::role::client::exits::NOBODY;
use crate::role::client::purpose::{CircuitPurpose, Isolation, PathEnd};
use crate::role::contact::Contact;
use crate::role::limits::SPARE_RETRY_MAX;
use crate::wire::cell::Cell;
use crate::wire::ids::RelayId;

/// A path, and whether its last relay was drawn as an exit.
type Drawn = (Vec<Contact>, bool);

impl Circuits {
    /// Makes a spare circuit serve a purpose, where one can.
    pub(in crate::role::client) fn take_spare(&mut self, purpose: CircuitPurpose, cx: &mut Context<'_>) -> bool {
        let spare = |state| {
            let fits = |c: &Circuit| {
                c.state() == state && c.can_serve(purpose, cx.paths) && self.may_end(purpose, c.path().last(), cx.now)
            };
            self.table.iter().find(|(_, c)| fits(c)).map(|(key, _)| key)
        };
        let Some(key) = spare(CircuitState::Open).or_else(|| spare(CircuitState::Building)) else {
            if matches!(purpose, CircuitPurpose::Exit(_) | CircuitPurpose::Fourth(..)) {
                self.demand.missed(cx.now.mono);
            }
            return false;
        };
        if let CircuitPurpose::Fourth(relay, _) = purpose {
            let Some(hop) = cx.paths.contact(&relay).map(|c| c.hop_key()) else { return false };
            let extends = self.act(key, cx.links, |circuit| circuit.extend(cx.now.mono, hop, cx.rng));
            if extends != Some(true) {
                return false;
            }
            self.timers.set(Timer::Build(key), Some(cx.now.mono + self.build_times.timeout()));
        }
        let exit = self.act(key, cx.links, |circuit| {
            circuit.serve(purpose);
            circuit.path().last().copied()
        });
        self.of_purpose.entry(purpose).or_default().push(key);
        if let (CircuitPurpose::Exit(Isolation { user, .. }), Some(Some(exit))) = (purpose, exit) {
            self.drawn.note(cx.now.mono, user, exit);
        }
        self.keep_spares(cx);
        true
    }

    /// Whether a circuit for this purpose may end in this relay, as far as the exits go that were drawn before.
    fn may_end(&self, purpose: CircuitPurpose, last: Option<&RelayId>, now: Now) -> bool {
        match (purpose, last) {
            (CircuitPurpose::Exit(Isolation { user, .. }), Some(exit)) => self.drawn.admits(now.mono, &user, exit),
            _ => true,
        }
    }

    /// Builds circuits ahead of need, as many as are wanted and as there is room for beside what is needed.
    pub(in crate::role::client) fn keep_spares(&mut self, cx: &mut Context<'_>) {
        if !cx.paths.is_ready() {
            return;
        }
        let have = self.table.iter().filter(|(_, c)| c.purpose().is_none()).count();
        for _ in have..self.demand.wanted(cx.now.mono) {
            if !self.has_room_for_spares() || self.try_build(None, cx).is_none() {
                self.retry_spares(cx.now);
                break;
            }
        }
    }

    /// Tries again later, and ever later while nothing can be built.
    // spec: CLIENT-11
    pub(super) fn retry_spares(&mut self, now: Now) {
        self.timers.set(Timer::Spares, Some(now.mono + self.spare_pause));
        self.spare_pause = self.spare_pause.saturating_mul(2).min(SPARE_RETRY_MAX);
    }

    /// Looks soon at whoever waits for a circuit: from the clock, so that failures cannot build circuits in a circle.
    pub(in crate::role::client) fn retry_soon(&mut self, now: Now) {
        self.timers.set(Timer::Spares, Some(now.mono + CLOSED_RETRY));
    }

    fn draw(&mut self, purpose: Option<CircuitPurpose>, cx: &mut Context<'_>) -> Option<Drawn> {
        let draw = |end, cx: &mut Context<'_>| cx.paths.path(cx.now, cx.rng, end);
        match purpose {
            Some(CircuitPurpose::Direct(relay)) => cx.paths.contact(&relay).map(|c| (vec![c], false)),
            Some(CircuitPurpose::Last(relay, _)) => draw(PathEnd::This(relay), cx).map(|p| (p, false)),
            Some(CircuitPurpose::Fourth(relay, _)) => {
                let mut path = draw(PathEnd::Before(relay), cx)?;
                path.push(cx.paths.contact(&relay)?);
                Some((path, false))
            }
            Some(CircuitPurpose::Exit(isolation)) => self.draw_exit(isolation.user, cx).map(|p| (p, true)),
            None => {
                let exit = if self.cfg.wants_exits { self.draw_exit(NOBODY, cx) } else { None };
                exit.map(|p| (p, true)).or_else(|| draw(PathEnd::Any, cx).map(|p| (p, false)))
            }
        }
    }

    /// A path to an exit for this user: one of those drawn before, once they are as many as may be.
    // spec: CLIENT-17
    fn draw_exit(&mut self, user: [u8; 16], cx: &mut Context<'_>) -> Option<Vec<Contact>> {
        let known = self.drawn.only(cx.now.mono, &user, cx.rng).unwrap_or_default();
        let again = known.into_iter().find_map(|exit| cx.paths.path(cx.now, cx.rng, PathEnd::ThisExit(exit)));
        let path = again.or_else(|| cx.paths.path(cx.now, cx.rng, PathEnd::Exit))?;
        self.drawn.note(cx.now.mono, user, path.last()?.id);
        Some(path)
    }

    /// Starts a circuit; `None` when there is no path.
    pub(in crate::role::client) fn try_build(
        &mut self,
        purpose: Option<CircuitPurpose>,
        cx: &mut Context<'_>,
    ) -> Option<()> {
        let (path, is_exit) = self.draw(purpose, cx)?;
        if path.first().is_some_and(|first| self.busy.is_busy(cx.now.mono, &first.id)) {
            return None;
        }
        let hops: Vec<_> = path.iter().map(Contact::hop_key).collect();
        let (machine, request) = ClientCircuit::start(self.cfg.network, &hops, self.cfg.profile, cx.rng)?;
        let link = cx.links.link_to(cx.now, path.first()?, cx.rng)?;
        let calls_alone = self.cfg.is_relay && matches!(purpose, Some(CircuitPurpose::Direct(_)));
        cx.links.want_padding(cx.now, link, !calls_alone);
        let id = cx.links.allocate_circuit(link)?;
        let relays = path.iter().map(|c| c.id).collect();
        let key = self.table.insert(Circuit::new(machine, (link, id), relays, is_exit, purpose, cx.now.mono));
        if let Some(purpose) = purpose {
            self.of_purpose.entry(purpose).or_default().push(key);
        }
        cx.links.add_circuit(cx.now, link, id, key, &Cell::Create(id, &request));
        self.timers.set(Timer::Build(key), Some(cx.now.mono + self.build_times.timeout()));
        Some(())
    }
}
