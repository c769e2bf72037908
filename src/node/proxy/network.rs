//! What the local proxy needs of the network: streams through exits, names, and content.

use super::AgentHandle;
use super::stream::AgentStream;
use crate::node::proxy::upstream::{Isolation as Token, OpenError};
use crate::role::client::{Isolation, StreamFailure, Want};
use crate::wire::message::{EndReason, Target};
use core::net::IpAddr;

fn open_error(why: StreamFailure) -> OpenError {
    match why {
        StreamFailure::Ended(reason) => OpenError::Ended(reason),
        StreamFailure::NoPath => OpenError::NoPath,
        StreamFailure::CircuitClosed => OpenError::Ended(EndReason::Reset),
        StreamFailure::TimedOut => OpenError::Ended(EndReason::TimedOut),
        StreamFailure::TooMany => OpenError::Ended(EndReason::Resource),
    }
}

/// The circuit that streams with this token share.
fn exit(token: Token) -> Want {
    let mut wide = [0; 32];
    wide.iter_mut().zip(token.as_bytes()).for_each(|(to, from)| *to = *from);
    Want::Exit(Isolation(wide))
}

impl AgentHandle {
    /// Whether a stream to the outside can be had at all.
    fn exits(&self) -> Result<(), OpenError> {
        let snapshot = self.snapshots().borrow().clone().ok_or(OpenError::NotReady)?;
        if snapshot.relays().iter().any(|r| r.exit) { Ok(()) } else { Err(OpenError::NoExit) }
    }

    pub(super) async fn connect_exit(
        &self,
        target: Target,
        token: Token,
        first: &[u8],
    ) -> Result<AgentStream, OpenError> {
        self.exits()?;
        self.open(exit(token), target, first).await.map_err(open_error)
    }

    pub(super) async fn resolve_exit(&self, name: &str, token: Token) -> Result<Vec<IpAddr>, OpenError> {
        self.exits()?;
        self.look_up(exit(token), name).await.map_err(open_error)
    }
}
