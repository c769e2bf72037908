//! What every role does with its links: takes their bytes in, closes them, and lets the clock act on them.

use super::table::{ClosedLink, Due, LinkViolation, Links};
use crate::base::rng::Rng;
use crate::base::time::{Now, UnixMs};
use crate::proto::link::Feed;
use crate::role::LinkKey;
use crate::wire::cell::CellBuf;
use crate::wire::ids::RelayId;
use core::net::IpAddr;

/// An owner of links. It interprets their cells and is told when a link opens or closes.
pub trait LinkHandler {
    /// How it names a circuit.
    type Circuit: Copy;

    /// Its links, and the randomness for their padding.
    fn links(&mut self) -> (&mut Links<Self::Circuit>, &mut Rng);

    /// Takes one cell, which lies in the driver's buffer. A violation closes the link.
    fn cell(&mut self, now: Now, link: LinkKey, cell: &mut CellBuf) -> Result<(), LinkViolation>;

    /// A link that this node dialled is open; the relay said that its clock stands at `theirs`.
    fn link_opened(&mut self, _now: Now, _peer: RelayId, _theirs: UnixMs) {}

    /// A peer's handshake is to be answered, now or later.
    fn handshake_due(&mut self, now: Now, link: LinkKey) {
        self.answer_link(now, link, &mut |_| true);
    }

    /// Answers a peer's handshake, if `admits` takes the time at which the peer says it began it.
    fn answer_link(&mut self, now: Now, link: LinkKey, admits: &mut dyn FnMut(UnixMs) -> bool) {
        if self.links().0.answer(now, link, admits).is_err() {
            return self.close_link(now, link, false);
        }
        self.links().0.settle(link);
    }

    /// A link is gone.
    fn link_closed(&mut self, now: Now, closed: ClosedLink<Self::Circuit>);

    /// A peer connected from this address. Links of the largest holder make room; `None` when there is no room.
    fn accept_link(&mut self, now: Now, from: IpAddr) -> Option<LinkKey> {
        while let Some(link) = self.links().0.yielding(from) {
            self.close_link(now, link, false);
        }
        let (links, rng) = self.links();
        links.accept(now, from, rng)
    }

    /// Bytes arrived on a link.
    fn link_received(&mut self, now: Now, link: LinkKey, bytes: &mut [u8]) {
        self.links().0.heard(now, link);
        let mut feed = Feed::new(bytes);
        loop {
            let taken = match self.links().0.next_cell(now, link, &mut feed) {
                Ok(Some(cell)) => self.cell(now, link, cell),
                Ok(None) => break,
                Err(violation) => Err(violation),
            };
            if taken.is_err() {
                return self.close_link(now, link, false);
            }
        }
        if self.links().0.owes_answer(link).is_some() {
            return self.handshake_due(now, link);
        }
        if let Some((Some(peer), Some(theirs))) = self.links().0.settle(link) {
            self.link_opened(now, peer, theirs);
        }
    }

    /// Closes a link. `is_gone` when its connection has ended already.
    fn close_link(&mut self, now: Now, link: LinkKey, is_gone: bool) {
        if let Some(closed) = self.links().0.close(link, is_gone) {
            self.link_closed(now, closed);
        }
    }

    /// Closes a link of ours that carries nothing, after everything that was sent on it.
    fn finish_link(&mut self, now: Now, link: LinkKey) {
        if let Some(closed) = self.links().0.finish(link) {
            self.link_closed(now, closed);
        }
    }

    /// The peer asks for the end of a link.
    fn close_asked(&mut self, now: Now, link: LinkKey) -> Result<(), LinkViolation> {
        if self.links().0.close_asked(link)? {
            self.finish_link(now, link);
        }
        Ok(())
    }

    /// Lets the clock act on the links.
    fn tick_links(&mut self, now: Now) {
        loop {
            let (links, rng) = self.links();
            match links.tick(now, rng) {
                Some(Due::Close(link)) => self.close_link(now, link, false),
                Some(Due::Finish(link)) => self.finish_link(now, link),
                Some(Due::Nothing) => {}
                None => return,
            }
        }
    }
}
