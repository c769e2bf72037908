//! A role that the network drives and a test can still reach.

use crate::base::time::{Instant, Now};
use crate::role::{ConnId, Input, Output, Role};
use core::cell::{Ref, RefCell, RefMut};
use std::rc::Rc;

/// One role, two holders: the network drives it, a test looks into it.
pub struct Shared<R>(Rc<RefCell<R>>);

impl<R> Shared<R> {
    /// Wraps a role so that the network and the test can both reach it.
    pub fn new(role: R) -> Self {
        Self(Rc::new(RefCell::new(role)))
    }

    /// Borrows the role.
    pub fn get(&self) -> Ref<'_, R> {
        self.0.borrow()
    }

    /// Changes it. Call [`Net::poke`](crate::sim::net::Net::poke) afterwards.
    pub fn get_mut(&self) -> RefMut<'_, R> {
        self.0.borrow_mut()
    }
}

impl<R> Clone for Shared<R> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<R: Role> Role for Shared<R> {
    fn accept(&mut self, now: Now, from: core::net::IpAddr) -> Option<ConnId> {
        self.get_mut().accept(now, from)
    }

    fn handle(&mut self, now: Now, input: Input<'_>) {
        self.get_mut().handle(now, input);
    }

    fn poll(&mut self) -> Option<Output> {
        self.get_mut().poll()
    }

    fn read_budget(&mut self, conn: ConnId) -> usize {
        self.get_mut().read_budget(conn)
    }

    fn transmit(&mut self, now: Now, conn: ConnId, out: &mut Vec<u8>) -> bool {
        self.get_mut().transmit(now, conn, out)
    }

    fn deadline(&self) -> Option<Instant> {
        self.get().deadline()
    }
}
