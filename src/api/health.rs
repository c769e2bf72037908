//! What keeps a node from its work now, or a part of it: looked at every few seconds, said in the log when it begins and when
//! it is over, told as an event, and listed in the status.

use super::directory;
use super::event::Event;
use super::local::Local;
use super::problem::Problem;
use crate::base::time::{Duration, Now};
use crate::host::system::{boot_ms, unix_now};
use crate::proto::content::store::{StoreHealth, block_cost};
use crate::wire::content::Class;
use tokio::sync::broadcast;

/// How often a node looks at itself.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A client whose links are all gone, or say nothing, is offline after this time.
const CONTACT_CLIENT: Duration = Duration::from_secs(15);
/// A relay that heard of no other for this long is offline: this long, and four intervals of gossip.
const CONTACT_RELAY: Duration = Duration::from_secs(30);
/// Intervals of gossip without a link from outside after which a relay takes itself to be unreachable: by chance that happens
/// to one that can be reached once in 10^8 times.
const UNREACHABLE_AFTER: u32 = 20;
/// A store counts as full for this long after content was refused for want of room.
const REFUSED_SHOWN: Duration = Duration::from_secs(300);
/// The monotonic clock stood still for more than this: the machine slept.
const SLEPT_MS: u64 = 5_000;

/// Looks at the node until it ends.
pub(super) async fn watch(local: Local, events: broadcast::WeakSender<Event>) {
    let mut was_ready = false;
    while let Some(events) = events.upgrade() {
        local.look(&events).await;
        let ready = local.readiness().is_ready();
        if ready != was_ready {
            // The first time is told as the end of the bootstrap.
            let _ = events.send(Event::Ready(ready));
        }
        was_ready = ready;
        drop(events);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl Local {
    /// Looks at the node, and tells what is news.
    async fn look(&self, events: &broadcast::Sender<Event>) {
        let found = self.find_problems().await;
        let mut health = self.health.borrow_mut();
        let known = core::mem::take(&mut health.problems);
        for new in &found {
            if known.iter().all(|p| p.code != new.code) {
                tracing::warn!(problem = %new.code, "{}", new.message);
                let _ = events.send(Event::Problem(new.clone()));
            }
        }
        for old in &known {
            if found.iter().all(|p| p.code != old.code) {
                tracing::info!(problem = %old.code, "this is over: {}", old.message);
                let _ = events.send(Event::Solved(old.clone()));
            }
        }
        let since = |new: Problem| match known.iter().find(|p| p.code == new.code) {
            Some(old) => Problem { since_unix: old.since_unix, ..new },
            None => new,
        };
        health.problems = found.into_iter().map(since).collect();
        self.agent.set_online(!health.problems.iter().any(Problem::stops_work));
    }

    async fn find_problems(&self) -> Vec<Problem> {
        let now = self.about.clock.now();
        self.notice_sleep(now);
        let mut found = Vec::new();
        let mut add = |code: &str, message: String| {
            found.push(Problem { code: code.into(), message, since_unix: unix_now().secs() });
        };
        if let Some(message) = self.offline(now) {
            add("offline", message);
        }
        if let Some(message) = self.clock_is_off() {
            add("clock", message);
        }
        if let Some(message) = self.unreachable(now).await {
            add("unreachable", message);
        }
        let snapshot = self.agent.snapshots().borrow().clone();
        for (code, message) in self.directory_trouble(now, snapshot.is_none()) {
            add(code, message);
        }
        if let Some((code, message)) = self.store_trouble() {
            add(code, message);
        }
        for (code, message) in self.path_problems() {
            add(code, message);
        }
        if let Some((file, why)) = self.about.dir.trouble() {
            add("state-not-kept", format!("the file {file} cannot be written: {why}; the next start will miss it"));
        }
        found
    }

    /// After the machine slept nothing is known of clocks, and nobody could be heard.
    fn notice_sleep(&self, now: Now) {
        let asleep = boot_ms().saturating_sub(now.mono.0 / 1_000);
        let before = self.health.borrow_mut().asleep_ms.replace(asleep);
        if before.is_some_and(|before| asleep > before + SLEPT_MS) {
            self.agent.with(|node, now| node.client().forget_clocks(now));
        }
    }

    fn offline(&self, now: Now) -> Option<String> {
        let heard = self.agent.with(|node, _| node.client().last_heard());
        let is_relay = self.about.relay.is_some();
        let patience = match is_relay {
            true => CONTACT_RELAY + self.about.profile.gossip_interval * 4,
            false => CONTACT_CLIENT,
        };
        let snapshot = self.agent.snapshots().borrow().clone()?;
        // A relay by itself has nobody to hear.
        let is_alone = snapshot.relays().iter().all(|r| Some(r.id()) == self.about.relay);
        let silence = self.health.borrow_mut().silence(now.mono, heard, is_alone);
        (silence >= patience).then(|| {
            format!("no relay of the network has answered for {} s; check this machine's connection", silence.as_secs())
        })
    }

    // spec: NODE-21
    fn clock_is_off(&self) -> Option<String> {
        let skew = self.agent.compare_clocks()?;
        let limit = u64::try_from(self.about.profile.clock_tolerance.as_millis()).unwrap_or(u64::MAX);
        (skew.unsigned_abs() > limit).then(|| {
            let minutes = skew.unsigned_abs().div_ceil(60_000);
            let way = if skew > 0 { "ahead of" } else { "behind" };
            let why = "other relays do not take what is signed with it; set the clock, and have NTP keep it";
            format!("this machine's clock is about {minutes} minutes {way} the network's: {why}")
        })
    }

    /// What a client's user should know of the set of relays in use, or of there being none any more.
    fn directory_trouble(&self, now: Now, is_missing: bool) -> Vec<(&'static str, String)> {
        let (report, dispute, stage) =
            self.agent.with(|n, now| (n.report().cloned().unwrap_or_default(), n.dispute(now), n.stage(now)));
        let had_one = self.health.borrow_mut().had_directory(!is_missing);
        directory::troubles(&report, dispute, (is_missing && had_one).then_some(&stage), now)
    }

    async fn unreachable(&self, now: Now) -> Option<String> {
        self.about.relay?;
        let (mut open, mut total) = (0, 0);
        for shard in self.agent.shards() {
            let accepted = shard.counts().await.relay.accepted;
            open += accepted.0;
            total += accepted.1;
        }
        let others = self.agent.snapshots().borrow().as_ref().map_or(0, |s| s.len().saturating_sub(1));
        let silence = self.health.borrow_mut().unvisited(now.mono, open, total, others == 0);
        (silence >= self.about.profile.gossip_interval * UNREACHABLE_AFTER).then(|| {
            let minutes = silence.as_secs() / 60;
            let what = "open the port in the firewall and forward it in the router, or give the right address with --advertise";
            format!("nobody has connected to this relay for {minutes} minutes: {what}")
        })
    }

    fn store_trouble(&self) -> Option<(&'static str, String)> {
        let (used, cap, _) = self.agent.store_figures()?;
        let state = self.about.store.as_ref()?.get();
        let words = &state.words;
        let lately = state.refused.0 > 0 && unix_now().distance(state.refused.1) < REFUSED_SHOWN;
        let code = match state.health {
            StoreHealth::Good if used.saturating_add(block_cost(Class::Large)) > cap || lately => {
                let what = "give more with --store, or make room on the disk";
                return Some(("store-full", format!("the store is full: content is refused; {what}")));
            }
            StoreHealth::Good => return None,
            StoreHealth::DiskFull => "disk-full",
            _ => "store-failed",
        };
        let what = match state.health {
            StoreHealth::DiskFull => "make room on the disk, or give less with --store",
            StoreHealth::ReadOnly => "mount the disk for writing again",
            StoreHealth::Denied => "check who owns the folder",
            _ => "check the disk",
        };
        Some((code, format!("the store takes nothing in: {} ({words}); {what}: it goes on by itself", state.health)))
    }
}
