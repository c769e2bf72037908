//! What happens in a node, as it happens.

use super::local::Local;
use super::problem::Problem;
use super::ready::{Bootstrap, Readiness};
use crate::host::system::unix_now;
use crate::proto::directory::progress::Stage;
use core::time::Duration;
use std::collections::VecDeque;
use tokio::sync::broadcast;

/// How many events are kept for a slow receiver. Older ones are dropped and counted.
const EVENTS_KEPT: usize = 64;

/// Something that happened in a node. None tells of users or destinations.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// How far the node is on its way to its first work.
    Bootstrap(Bootstrap),
    /// A directory was settled, checked and taken into use: its number of relays, and its age.
    Directory(usize, Duration),
    /// A circuit was built: the number built since the start.
    CircuitBuilt(u64),
    /// This machine's clock differs from the relays': milliseconds, positive when this clock is ahead.
    ClockSkew(i64),
    /// The node can do its work from now on, or can no longer do it, for example because no relay answers. The first time is
    /// reported as [`Event::Bootstrap`] too.
    Ready(bool),
    /// Something keeps the node from its work, or a part of it.
    Problem(Problem),
    /// A problem is over.
    Solved(Problem),
    /// The receiver was too slow: the number of events that were dropped.
    Missed(u64),
}

/// Receives the [`Event`]s of a node from the moment it was made; what is so by then comes first.
#[derive(Debug)]
pub struct Events {
    first: VecDeque<Event>,
    later: broadcast::Receiver<Event>,
}

impl Events {
    pub(super) fn new(node: &Readiness, later: broadcast::Receiver<Event>) -> Self {
        let mut first = VecDeque::new();
        match &*node.snapshots.borrow() {
            Some(s) => first.push_back(Event::Directory(s.len(), s.age(unix_now()))),
            None => first.push_back(Event::Bootstrap(node.bootstrap())),
        }
        let built = *node.built.borrow();
        if built > 0 {
            first.push_back(Event::CircuitBuilt(built));
        }
        if node.is_ready() {
            first.push_back(Event::Bootstrap(node.bootstrap()));
        }
        Self { first, later }
    }

    /// The next event; `None` once the node has ended. Safe to cancel.
    pub async fn next(&mut self) -> Option<Event> {
        if let Some(first) = self.first.pop_front() {
            return Some(first);
        }
        match self.later.recv().await {
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
    let (mut ready, mut told) = (false, Stage::Starting);
    loop {
        tokio::select! {
            biased;
            Ok(()) = node.snapshots.changed() => {
                let Some(snapshot) = node.snapshots.borrow_and_update().clone() else { continue };
                say(Event::Directory(snapshot.len(), snapshot.age(local.about.clock.now().unix)));
            }
            Ok(()) = node.stages.changed() => {
                let stage = *node.stages.borrow_and_update();
                if node.is_ready() || ready || !stage.is_news_after(&told) {
                    continue;
                }
                told = stage;
                // spec: CLIENT-29
                let step = node.bootstrap();
                tracing::info!(percent = step.percent, next = %step.next, "{}", step.reason);
                say(Event::Bootstrap(step));
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
            say(Event::Bootstrap(node.bootstrap()));
        }
    }
}
