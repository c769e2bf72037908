//! The rule "drive after every touch", kept by the compiler.

use crate::base::time::{Instant, Now};
use crate::role::{ConnId, Input, Output, Role};
use core::net::IpAddr;

/// A role's state before it is driven. Its methods are those of [`Role`], but it is no role: only a [`Driven`] of it is
/// one, so no driver can be given a state that nobody drives.
pub trait Drive {
    /// What it tells its owner.
    type Event;

    /// Continues everything that the last change made possible.
    fn drive(&mut self, now: Now);
    /// The next thing its owner should know.
    fn event(&mut self) -> Option<Self::Event>;
    /// See [`Role::accept`].
    fn accept(&mut self, now: Now, from: IpAddr) -> Option<ConnId>;
    /// See [`Role::handle`].
    fn handle(&mut self, now: Now, input: Input<'_>);
    /// See [`Role::poll`].
    fn poll(&mut self) -> Option<Output>;
    /// See [`Role::read_budget`].
    fn read_budget(&mut self, conn: ConnId) -> usize;
    /// See [`Role::transmit`].
    fn transmit(&mut self, now: Now, conn: ConnId, out: &mut Vec<u8>) -> bool;
    /// See [`Role::deadline`].
    fn deadline(&self) -> Option<Instant>;
}

/// Holds a role's state so that it cannot be changed without being driven afterwards: there is no `&mut T` but inside
/// [`Driven::act`].
pub struct Driven<T>(T);

impl<T: Drive> Driven<T> {
    /// Takes hold of a state that has nothing to do yet.
    pub fn new(state: T) -> Self {
        Self(state)
    }

    /// Changes the state, then drives it.
    pub fn act<R>(&mut self, now: Now, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.0);
        self.0.drive(now);
        result
    }

    /// Looks at the state.
    pub fn look(&self) -> &T {
        &self.0
    }

    /// The next thing the owner should know. Ask after every change.
    pub fn event(&mut self) -> Option<T::Event> {
        self.0.event()
    }
}

impl<T: Drive> Role for Driven<T> {
    fn accept(&mut self, now: Now, from: IpAddr) -> Option<ConnId> {
        self.act(now, |state| state.accept(now, from))
    }

    fn handle(&mut self, now: Now, input: Input<'_>) {
        self.act(now, |state| state.handle(now, input));
    }

    fn poll(&mut self) -> Option<Output> {
        self.0.poll()
    }

    fn read_budget(&mut self, conn: ConnId) -> usize {
        self.0.read_budget(conn)
    }

    fn transmit(&mut self, now: Now, conn: ConnId, out: &mut Vec<u8>) -> bool {
        // Where nothing was written, nothing changed.
        let wrote = self.0.transmit(now, conn, out);
        if wrote {
            self.0.drive(now);
        }
        wrote
    }

    fn deadline(&self) -> Option<Instant> {
        self.0.deadline()
    }
}

/// Makes a role of a type whose field `state` is a [`Driven`].
macro_rules! driven_role {
    ($Name:ident) => {
        impl $crate::role::Role for $Name {
            fn accept(
                &mut self,
                now: $crate::base::time::Now,
                from: core::net::IpAddr,
            ) -> Option<$crate::role::ConnId> {
                $crate::role::Role::accept(&mut self.state, now, from)
            }

            fn handle(&mut self, now: $crate::base::time::Now, input: $crate::role::Input<'_>) {
                $crate::role::Role::handle(&mut self.state, now, input);
            }

            fn poll(&mut self) -> Option<$crate::role::Output> {
                $crate::role::Role::poll(&mut self.state)
            }

            fn read_budget(&mut self, conn: $crate::role::ConnId) -> usize {
                $crate::role::Role::read_budget(&mut self.state, conn)
            }

            fn transmit(
                &mut self,
                now: $crate::base::time::Now,
                conn: $crate::role::ConnId,
                out: &mut Vec<u8>,
            ) -> bool {
                $crate::role::Role::transmit(&mut self.state, now, conn, out)
            }

            fn deadline(&self) -> Option<$crate::base::time::Instant> {
                $crate::role::Role::deadline(&self.state)
            }
        }
    };
}

pub(super) use driven_role;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Counter {
        changes: u32,
        driven: u32,
    }

    impl Drive for Counter {
        type Event = ();

        fn drive(&mut self, _now: Now) {
            self.driven = self.changes;
        }

        fn event(&mut self) -> Option<()> {
            None
        }

        fn accept(&mut self, _now: Now, _from: IpAddr) -> Option<ConnId> {
            self.changes += 1;
            None
        }

        fn handle(&mut self, _now: Now, _input: Input<'_>) {
            self.changes += 1;
        }

        fn poll(&mut self) -> Option<Output> {
            None
        }

        fn read_budget(&mut self, _conn: ConnId) -> usize {
            0
        }

        fn transmit(&mut self, _now: Now, _conn: ConnId, _out: &mut Vec<u8>) -> bool {
            self.changes += 1;
            true
        }

        fn deadline(&self) -> Option<Instant> {
            None
        }
    }

    #[test]
    fn every_change_is_driven() {
        let now = Now::default();
        let mut role = Driven::new(Counter::default());
        let conn = ConnId::Link(crate::role::LinkKey(crate::role::slab::Key::from_u64(0)));
        role.act(now, |c| c.changes += 1);
        assert_eq!(role.look().driven, 1);
        role.handle(now, Input::Timer);
        assert_eq!(role.look().driven, 2);
        role.accept(now, core::net::Ipv4Addr::LOCALHOST.into());
        assert_eq!(role.look().driven, 3);
        assert!(role.transmit(now, conn, &mut Vec::new()));
        assert_eq!(role.look().driven, 4);
    }
}
