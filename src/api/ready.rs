//! When a node can do its work, and when it never will.

use crate::base::time::Duration;
use crate::host::driver::Clock;
use crate::host::error::{Error, ErrorKind};
use crate::host::service::AgentHandle;
use crate::proto::directory::progress::Stage;
use crate::proto::directory::snapshot::Snapshot;
use crate::proto::profile::Profile;
#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::sync::watch;

/// How far a node is on its way to its first work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
#[non_exhaustive]
pub struct Bootstrap {
    /// In percent; 100 is ready.
    pub percent: u8,
    /// What it does now, for people: a clause without a full stop.
    pub reason: String,
    /// What comes next, and when; empty where it is ready.
    pub next: String,
}

/// Watches a node's first snapshot and first circuit, from any thread.
#[derive(Clone)]
pub(super) struct Readiness {
    pub(super) snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    pub(super) built: watch::Receiver<u64>,
    pub(super) skews: watch::Receiver<Option<i64>>,
    pub(super) stages: watch::Receiver<Stage>,
    clock: Clock,
    online: watch::Receiver<bool>,
    pub(super) profile: &'static Profile,
    /// A relay is ready with its directory: it builds circuits only when its user wants something.
    is_relay: bool,
}

impl Readiness {
    pub(super) fn new(agent: &AgentHandle, clock: Clock, profile: &'static Profile, is_relay: bool) -> Self {
        let (snapshots, built, skews) = (agent.snapshots(), agent.circuits_built(), agent.skews());
        let (online, stages) = (agent.online(), agent.stages());
        Self { snapshots, built, skews, stages, clock, online, profile, is_relay }
    }

    /// Whether the node can do its work now.
    pub(super) fn is_ready(&self) -> bool {
        let began = self.snapshots.borrow().is_some() && (self.is_relay || *self.built.borrow() > 0);
        began && *self.online.borrow()
    }

    /// How far the node is on its way to its first work.
    pub(super) fn bootstrap(&self) -> Bootstrap {
        let stage = *self.stages.borrow();
        let (percent, reason, next) = if self.is_ready() {
            (100, "ready".into(), String::new())
        } else if self.snapshots.borrow().is_some() && !self.is_relay && *self.built.borrow() == 0 {
            (90, "the directory is there".into(), "the first circuit is being built".into())
        } else {
            (stage.percent(), stage.reason(), stage.next(self.clock.now()))
        };
        Bootstrap { percent, reason, next }
    }

    /// Waits until the node can do its work.
    ///
    /// # Errors
    /// [`ErrorKind::Clock`] when the relays it reached agree that this machine's clock is wrong.
    pub(super) async fn ready(&self) -> Result<(), Error> {
        self.settled().await?;
        if !self.is_relay {
            self.built.clone().wait_for(|built| *built > 0).await.map_err(|_| ended())?;
        }
        Ok(())
    }

    /// Waits until the node has a snapshot it trusts.
    pub(super) async fn settled(&self) -> Result<(), Error> {
        let (mut snapshots, mut skews) = (self.snapshots.clone(), self.skews.clone());
        loop {
            if snapshots.borrow_and_update().is_some() {
                return Ok(());
            }
            let skew = *skews.borrow_and_update();
            if let Some(skew) = skew.filter(|s| s.unsigned_abs() > self.profile.clock_tolerance.as_millis() as u64) {
                return Err(clock_failure(skew));
            }
            tokio::select! {
                r = snapshots.changed() => r.map_err(|_| ended())?,
                r = skews.changed() => r.map_err(|_| ended())?,
            }
        }
    }

    /// Waits until the snapshot holds `relays` relays.
    pub(super) async fn holds(&self, relays: usize) {
        let whole = |s: &Option<Arc<Snapshot>>| s.as_ref().is_some_and(|s| s.len() >= relays);
        let _ = self.snapshots.clone().wait_for(whole).await;
    }
}

/// The error of everything that is asked of a node that has ended.
pub(super) fn ended() -> Error {
    Error::new(ErrorKind::NotRunning, "the node has ended").with_hint("start it again")
}

/// `skew` is how far this clock is ahead, in milliseconds.
fn clock_failure(skew: i64) -> Error {
    let by = Duration::from_millis(skew.unsigned_abs());
    let minutes = by.as_secs().div_ceil(60);
    let way = if skew > 0 { "ahead of" } else { "behind" };
    Error::new(ErrorKind::Clock, format!("this machine's clock is about {minutes} minutes {way} the network's"))
        .with_rule("DIR-52")
        .with_hint("set the clock (for example with systemd-timesyncd or chrony) and start again")
}
