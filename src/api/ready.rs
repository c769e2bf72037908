//! When a node can do its work, and when it never will.

use crate::base::time::Duration;
use crate::node::driver::Clock;
use crate::node::error::{Error, ErrorKind};
use crate::node::service::AgentHandle;
use crate::proto::profile::Profile;

/// Waits for a node's first snapshot and first circuit.
pub(super) struct Readiness {
    node: AgentHandle,
    profile: &'static Profile,
}

impl Readiness {
    pub(super) fn new(node: &AgentHandle, profile: &'static Profile, _clock: Clock) -> Self {
        Self { node: node.clone(), profile }
    }

    /// Waits until the node has a snapshot it trusts.
    ///
    /// # Errors
    /// [`ErrorKind::Clock`] when the relays it reached agree that this machine's clock is wrong.
    pub(super) async fn settled(&self) -> Result<(), Error> {
        let mut snapshots = self.node.snapshots();
        let mut skews = self.node.skews();
        loop {
            if snapshots.borrow_and_update().is_some() {
                return Ok(());
            }
            let skew = *skews.borrow_and_update();
            if let Some(skew) = skew.filter(|s| s.unsigned_abs() > self.profile.clock_tolerance.as_millis() as u64) {
                return Err(clock_failure(skew));
            }
            tokio::select! {
                r = snapshots.changed() => if r.is_err() { return Ok(()) },
                r = skews.changed() => if r.is_err() { return Ok(()) },
            }
        }
    }

    /// Waits until a circuit was built.
    pub(super) async fn circuit(&self) {
        let mut built = self.node.circuits_built();
        while *built.borrow_and_update() == 0 {
            if built.changed().await.is_err() {
                return;
            }
        }
    }
}

/// `skew` is how far this clock is ahead, in milliseconds.
fn clock_failure(skew: i64) -> Error {
    let by = Duration::from_millis(skew.unsigned_abs());
    let minutes = by.as_secs().div_ceil(60);
    let way = if skew > 0 { "ahead of" } else { "behind" };
    Error::new(ErrorKind::Clock, format!("this machine's clock is about {minutes} minutes {way} the network's"))
        .with_rule("DIR-46")
        .with_hint("set the clock (for example with systemd-timesyncd or chrony) and start again")
}
