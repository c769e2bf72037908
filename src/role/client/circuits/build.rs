//! How circuits come to be: drawn and built for a purpose, or ahead of need.

use super::{CLOSED_RETRY, Circuits, Context, Timer};
use crate::base::time::Now;
use crate::proto::circuit::client::ClientCircuit;
use crate::proto::rpc::Route;
use crate::role::client::circuit::Circuit;
use crate::role::client::draws::{Draw, choose_ready};
use crate::role::client::event::CircuitState;
use crate::role::client::exits::NOBODY;
use crate::role::client::purpose::{CircuitPurpose, Isolation, PathEnd};
use crate::role::contact::Contact;
use crate::role::limits::SPARE_RETRY_MAX;
use crate::role::{Key, LinkKey};
use crate::wire::cell::{Cell, CircuitId};
use crate::wire::handshake::REQUEST_SIZE;
use crate::wire::ids::RelayId;

/// A path, whether its last relay was drawn as an exit, and that relay, where chance drew it.
type Drawn = (Vec<Contact>, bool, Option<Draw>);

/// What [`Circuits::place`] gives.
type Placed = (ClientCircuit, [u8; REQUEST_SIZE], LinkKey, CircuitId);

impl Circuits {
    /// Makes a spare circuit serve a purpose, where one can.
    pub(in crate::role::client) fn take_spare(&mut self, purpose: CircuitPurpose, cx: &mut Context<'_>) -> bool {
        // A last hop to which a circuit failed is tried another way, and not replaced by that of a spare circuit.
        if matches!(purpose, CircuitPurpose::Exit(Isolation { user, .. }) if self.draws.waits(user)) {
            return false;
        }
        let fits = |state| {
            let fits = |c: &Circuit| {
                c.state() == state && c.can_serve(purpose, cx.paths) && self.may_end(purpose, c.path().last(), cx.now)
            };
            let spares = self.roll.spares().filter_map(|key| Some((key, self.table.get(key)?)));
            spares.filter(|(_, c)| fits(c)).map(|(key, c)| (key, c.ready_as())).collect::<Vec<_>>()
        };
        let open = fits(CircuitState::Open);
        let ready: Vec<_> = open.iter().map(|(_, ready)| *ready).collect();
        let quickest = choose_ready(&ready).and_then(|at| open.get(at)).map(|(key, _)| *key);
        let building = || fits(CircuitState::Building).first().map(|(key, _)| *key);
        let Some(key) = quickest.or_else(building) else {
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
        for (passed, _) in open.iter().filter(|(other, _)| *other != key) {
            if let Some(circuit) = self.table.get_mut(*passed) {
                circuit.passed_over();
            }
        }
        let exit = self.act(key, cx.links, |circuit| {
            circuit.serve(purpose);
            match purpose {
                CircuitPurpose::Exit(Isolation { user, .. }) => Self::draw_belongs_to(circuit.draw_mut(), user),
                // Content chose who comes after it: what becomes of it now says nothing of chance's last hop.
                _ => drop(circuit.take_draw()),
            }
            circuit.path().last().copied()
        });
        self.roll.serves(key, purpose);
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
        let have = self.roll.spares().count();
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
            Some(CircuitPurpose::Direct(relay)) => cx.paths.contact(&relay).map(|c| (vec![c], false, None)),
            Some(CircuitPurpose::Last(relay, number)) => {
                draw(PathEnd::This(relay, Route::guard_of(number)), cx).map(|p| (p, false, None))
            }
            Some(CircuitPurpose::Fourth(relay, _)) => {
                let mut path = draw(PathEnd::Before(relay), cx)?;
                path.push(cx.paths.contact(&relay)?);
                Some((path, false, None))
            }
            Some(CircuitPurpose::Exit(isolation)) => {
                self.draw_exit(isolation.user, cx).map(|(path, draw)| (path, true, Some(draw)))
            }
            None => {
                let exit = if self.cfg.wants_exits { self.draw_exit(NOBODY, cx) } else { None };
                if let Some((path, draw)) = exit {
                    return Some((path, true, Some(draw)));
                }
                let again = if self.cfg.wants_exits { None } else { self.draw_again(NOBODY, false, cx) };
                let fresh = |cx: &mut Context<'_>| draw(PathEnd::Any, cx).map(|p| (Self::drawn(&p, NOBODY), p));
                let (draw, path) = again.map(|(p, d)| (Some(d), p)).or_else(|| fresh(cx))?;
                Some((path, false, draw))
            }
        }
    }

    /// A path to an exit for this user: one of those drawn before, once they are as many as may be.
    // spec: CLIENT-17
    fn draw_exit(&mut self, user: [u8; 16], cx: &mut Context<'_>) -> Option<(Vec<Contact>, Draw)> {
        if let Some((path, draw)) = self.draw_again(user, true, cx) {
            self.drawn.note(cx.now.mono, user, draw.last);
            return Some((path, draw));
        }
        let known = self.drawn.only(cx.now.mono, &user, cx.rng).unwrap_or_default();
        let again = known.into_iter().find_map(|exit| cx.paths.path(cx.now, cx.rng, PathEnd::ThisExit(exit)));
        let path = again.or_else(|| cx.paths.path(cx.now, cx.rng, PathEnd::Exit))?;
        let draw = Self::drawn(&path, user)?;
        self.drawn.note(cx.now.mono, user, draw.last);
        Some((path, draw))
    }

    /// Starts a circuit; `None` when there is no path.
    pub(in crate::role::client) fn try_build(
        &mut self,
        purpose: Option<CircuitPurpose>,
        cx: &mut Context<'_>,
    ) -> Option<()> {
        let (path, is_exit, draw) = self.draw(purpose, cx)?;
        self.start(&path, is_exit, purpose, draw, cx)
    }

    /// Starts a circuit over this path. Where it cannot be started, its last hop waits for the next.
    pub(super) fn start(
        &mut self,
        path: &[Contact],
        is_exit: bool,
        purpose: Option<CircuitPurpose>,
        draw: Option<Draw>,
        cx: &mut Context<'_>,
    ) -> Option<()> {
        let place = self.place(path, cx);
        let Some((machine, request, link, id)) = place else {
            draw.into_iter().for_each(|draw| self.draws.again(draw));
            return None;
        };
        let calls_alone = self.cfg.is_relay && matches!(purpose, Some(CircuitPurpose::Direct(_)));
        cx.links.want_padding(cx.now, link, !calls_alone);
        let relays = path.iter().map(|c| c.id).collect();
        let circuit = Circuit::new(machine, (link, id), relays, is_exit, (purpose, draw), cx.now.mono);
        let is_spare = purpose.is_none() && !circuit.is_probe();
        let key = self.table.insert(circuit);
        self.roll.add(key, purpose, is_spare);
        if let Some(purpose) = purpose {
            self.of_purpose.entry(purpose).or_default().push(key);
        }
        cx.links.add_circuit(cx.now, link, id, key, &Cell::Create(id, &request));
        self.timers.set(Timer::Build(key), Some(cx.now.mono + self.build_times.timeout()));
        Some(())
    }

    /// The machine of a circuit over this path, its first message, and its place on a link.
    fn place(&mut self, path: &[Contact], cx: &mut Context<'_>) -> Option<Placed> {
        if path.first().is_some_and(|first| self.busy.is_busy(cx.now.mono, &first.id)) {
            return None;
        }
        let hops: Vec<_> = path.iter().map(Contact::hop_key).collect();
        let (machine, request) = ClientCircuit::start(self.cfg.network, &hops, self.cfg.profile, cx.rng)?;
        let link = cx.links.link_to(cx.now, path.first()?, cx.rng)?;
        let id = cx.links.allocate_circuit(link)?;
        Some((machine, request, link, id))
    }

    /// The first hop of a circuit has no place for it now. It stays the first hop, and is asked again later.
    // spec: CLIENT-25
    pub(in crate::role::client) fn refused_as_busy(&mut self, key: Key, cx: &mut Context<'_>) {
        let Some(circuit) = self.table.get_mut(key) else { return };
        let Some(first) = circuit.path().first() else { return };
        if let Some(until) = self.busy.heard(cx.now.mono, *first, cx.rng) {
            circuit.was_refused_as_busy();
            self.timers.set(Timer::Busy, Some(until));
        }
    }

    /// Whether circuits wait until a first hop that is busy may be asked again.
    pub(in crate::role::client) fn rests(&self, now: Now) -> bool {
        self.busy.rests(now.mono)
    }
}
