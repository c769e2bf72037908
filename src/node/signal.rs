//! Signals: the first SIGTERM or SIGINT asks the node to finish what it does, the second ends it at once.

use crate::host::error::{Error, ErrorKind};
use std::future::Future;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long a node takes at most to finish what it does, unless its owner says otherwise.
pub const DRAIN_MAX: Duration = Duration::from_secs(30);

/// The signals that end a node, as one, and SIGHUP, which does not.
#[derive(Debug)]
pub struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// All was finished.
    Done,
    /// Its time ran out.
    OutOfTime,
    /// A second signal came.
    Cut,
}

impl Signals {
    /// From here on the signals no longer kill the process. Needs a running tokio runtime.
    pub fn catch() -> Result<Self, Error> {
        let catch = |kind| {
            signal(kind)
                .map_err(|e| Error::new(ErrorKind::Io, format!("the system does not let signals be caught: {e}")))
        };
        Ok(Self {
            term: catch(SignalKind::terminate())?,
            int: catch(SignalKind::interrupt())?,
            hup: catch(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one that ends the node. SIGHUP, and the terminal that closes, end none.
    pub async fn next(&mut self) {
        self.next_or_hangup(|| ()).await;
    }

    /// As [`Signals::next`]; calls `reload` at each SIGHUP.
    pub async fn next_or_hangup(&mut self, mut reload: impl FnMut()) {
        loop {
            tokio::select! {
                _ = self.term.recv() => return,
                _ = self.int.recv() => return,
                _ = self.hup.recv() => reload(),
            }
        }
    }

    /// After the first signal: runs `work` to its end, for `most`, or until the second signal.
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
