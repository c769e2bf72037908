//! Signals: the first SIGTERM or SIGINT asks the node to finish what it does, the second ends it at once.

use crate::host::error::{Error, ErrorKind};
use std::future::Future;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long a drain may take, unless the operator sets another time.
pub const DRAIN_MAX: Duration = Duration::from_secs(30);

/// SIGTERM and SIGINT, which end a node, and SIGHUP, which does not.
#[derive(Debug)]
pub struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// The work was finished.
    Done,
    /// Its time ran out.
    OutOfTime,
    /// A second signal arrived.
    Cut,
}

impl Signals {
    /// Catches the signals, which no longer kill the process from then on. Needs a running tokio runtime.
    pub fn catch() -> Result<Self, Error> {
        let catch =
            |kind| signal(kind).map_err(|e| Error::new(ErrorKind::Io, format!("signals cannot be caught: {e}")));
        Ok(Self {
            term: catch(SignalKind::terminate())?,
            int: catch(SignalKind::interrupt())?,
            hup: catch(SignalKind::hangup())?,
        })
    }

    /// Waits for the next SIGTERM or SIGINT. Ignores SIGHUP, which a closing terminal sends too.
    pub async fn next(&mut self) {
        self.next_or_hangup(|| ()).await;
    }

    /// As [`Signals::next`], but calls `reload` at each SIGHUP.
    pub async fn next_or_hangup(&mut self, mut reload: impl FnMut()) {
        loop {
            tokio::select! {
                _ = self.term.recv() => return,
                _ = self.int.recv() => return,
                _ = self.hup.recv() => reload(),
            }
        }
    }

    /// After the first signal: runs `work` until it is finished, `most` has passed, or a second signal arrives.
    pub async fn drain(&mut self, most: Duration, work: impl Future<Output = ()>) -> Drained {
        tokio::select! {
            () = work => Drained::Done,
            () = tokio::time::sleep(most) => Drained::OutOfTime,
            () = self.next() => Drained::Cut,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on(f: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(f);
    }

    #[test]
    fn a_drain_ends_with_its_work() {
        block_on(async {
            let mut signals = Signals::catch().unwrap();
            assert_eq!(signals.drain(DRAIN_MAX, async {}).await, Drained::Done);
        });
    }
}
