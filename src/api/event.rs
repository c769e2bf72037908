//! What happens in a node, as it happens.

use super::local::Local;
use super::ready::Readiness;
use core::time::Duration;
use tokio::sync::broadcast;

/// Events kept for a receiver that does not keep up; older ones are dropped and counted.
const EVENTS_KEPT: usize = 64;

/// Something that happened in a node. None tells of users or destinations.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// How far the node is on its way to its first work, in percent, and what it waits for. 100 is ready.
    Bootstrap(u8, &'static str),
    /// A directory was settled, checked and taken into use: so many relays, and how old it is.
    Directory(usize, Duration),
    /// A circuit was built; so many since the start.
    CircuitBuilt(u64),
    /// This machine's clock is so many milliseconds ahead of the relays' (negative: behind).
    ClockSkew(i64),
    /// The receiver was too slow: so many events were dropped.
    Missed(u64),
}

/// Receives the [`Event`]s of a node from the moment it was made.
#[derive(Debug)]
pub struct Events(broadcast::Receiver<Event>);

impl Events {
    pub(super) fn new(events: broadcast::Receiver<Event>) -> Self {
        Self(events)
    }

    /// The next event; `None` once the node has ended. Safe to cancel.
    pub async fn next(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Event::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// Starts the task that tells of a node. Runs inside its `LocalSet`.
pub(super) fn watch(local: &Local) -> broadcast::WeakSender<Event> {
    let (events, _) = broadcast::channel(EVENTS_KEPT);
    let weak = events.downgrade();
    tokio::task::spawn_local(tell(events, local.readiness(), local.clone()));
    weak
}

async fn tell(events: broadcast::Sender<Event>, mut node: Readiness, local: Local) {
    let say = |event| drop(events.send(event));
    let mut ready = false;
    say(Event::Bootstrap(0, "no relay has answered yet"));
    loop {
        tokio::select! {
            Ok(()) = node.snapshots.changed() => {
                let Some(snapshot) = node.snapshots.borrow_and_update().clone() else { continue };
                say(Event::Directory(snapshot.len(), snapshot.age(local.about.clock.now().unix)));
                if !node.is_ready() {
                    say(Event::Bootstrap(50, "the directory is there; the first circuit is being built"));
                }
            }
            Ok(()) = node.built.changed() => {
                let built = *node.built.borrow_and_update();
                say(Event::CircuitBuilt(built));
            }
            Ok(()) = node.skews.changed() => {
                let skew = *node.skews.borrow_and_update();
                if let Some(ahead) = skew {
                    say(Event::ClockSkew(ahead));
                }
            }
            else => return,
        }
        if node.is_ready() && !ready {
            ready = true;
            say(Event::Bootstrap(100, "ready"));
        }
    }
}
