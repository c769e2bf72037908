//! File descriptors, which are limited for each process and for the system: what happens when they run out, and how that is
//! reported.
//!
//! Every link, exit stream and connection to the proxy takes one. When none is left, `accept` fails at once and would fail
//! again at once. So an accept loop waits until a descriptor was closed, or for a second at most. Connections wait in the
//! listener's backlog meanwhile.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::io::{self, ErrorKind};
use tokio::sync::Notify;

/// The first pause after a failed `accept`.
const REST_MIN: Duration = Duration::from_millis(50);
/// The longest pause, while this process closes nothing: other processes may free descriptors too.
const REST_MAX: Duration = Duration::from_secs(1);

/// `ENFILE` and `EMFILE`: none is left in the system, or in the process. The same numbers on every Unix.
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

/// How often a connection found no descriptor. The limit is the process's, and so is the count.
static SHORT: AtomicU64 = AtomicU64::new(0);

/// How often since the start a connection could not be accepted or made because the process, or the system, had no file
/// descriptor left.
pub fn times_short() -> u64 {
    SHORT.load(Ordering::Relaxed)
}

/// Whether a call failed because there is no descriptor, or no local port or memory for a socket.
pub fn is_shortage(why: &io::Error) -> bool {
    why.raw_os_error().is_some_and(|code| [ENFILE, EMFILE].contains(&code))
        || matches!(why.kind(), ErrorKind::AddrNotAvailable | ErrorKind::OutOfMemory)
}

/// Counts a shortage of descriptors, and logs it with its consequence.
pub fn warn_short(consequence: &'static str) {
    SHORT.fetch_add(1, Ordering::Relaxed);
    let limit = crate::host::system::open_files_limit();
    tracing::warn!(limit, "too many open files: {consequence} until some are closed; raise the limit (ulimit -n)");
}

/// A descriptor held in reserve.
pub struct Reserve(Option<std::fs::File>);

impl Reserve {
    /// Opens one, if there is one.
    pub fn take() -> Self {
        Self(std::fs::File::open("/dev/null").ok())
    }

    /// Closes it, so that the next call that needs one finds it. False if it was given up before.
    pub fn give_up(&mut self) -> bool {
        self.0.take().is_some()
    }

    /// Opens it again, if it was given up and there is one.
    pub fn renew(&mut self) {
        if self.0.is_none() {
            *self = Self::take();
        }
    }
}

/// The pauses of an accept loop.
pub struct Pause {
    consequence: &'static str,
    rest: Duration,
}

impl Pause {
    /// `consequence`: what a shortage means here, as a clause for the log.
    pub fn new(consequence: &'static str) -> Self {
        Self { consequence, rest: REST_MIN }
    }

    /// Waits after `accept` failed with `why`, until `freed` is notified or the pause is over.
    pub async fn after(&mut self, why: &io::Error, freed: &Notify) {
        // The peer closed its connection while it waited in the queue, so the next one is taken at once.
        if why.kind() == ErrorKind::ConnectionAborted {
            return;
        }
        if is_shortage(why) {
            warn_short(self.consequence);
        } else {
            tracing::warn!(%why, "a connection could not be accepted");
        }
        tokio::select! {
            () = freed.notified() => {}
            () = tokio::time::sleep(self.rest) => self.rest = (self.rest * 2).min(REST_MAX),
        }
    }

    /// A connection was accepted: the next pause is short again.
    pub fn over(&mut self) {
        self.rest = REST_MIN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: NODE-17
    #[tokio::test]
    async fn who_has_no_descriptor_says_so_and_waits_for_one() {
        let (freed, mut pause) = (Notify::new(), Pause::new("tests wait"));
        let shortage = io::Error::from_raw_os_error(EMFILE);
        let before = times_short();
        // It goes on as soon as something is closed.
        pause.rest = Duration::from_secs(3600);
        tokio::join!(pause.after(&shortage, &freed), async { freed.notify_waiters() });
        assert!(times_short() > before);
        assert_eq!(pause.rest, Duration::from_secs(3600));
        // Otherwise after a pause, which grows to a second.
        pause.over();
        let start = crate::host::system::Timer::start();
        for rest in [REST_MIN, REST_MIN * 2] {
            assert_eq!(pause.rest, rest);
            pause.after(&shortage, &freed).await;
        }
        assert!(start.elapsed() >= REST_MIN * 3);
        pause.rest = Duration::from_secs(3600);
        pause.after(&ErrorKind::ConnectionAborted.into(), &freed).await;
        pause.over();
        assert_eq!(pause.rest, REST_MIN);
    }

    #[test]
    fn a_reserve_is_there_once() {
        let mut reserve = Reserve::take();
        assert!(reserve.give_up() && !reserve.give_up());
        reserve.renew();
        assert!(reserve.give_up());
    }

    #[test]
    fn a_shortage_is_told_from_other_failures() {
        for code in [ENFILE, EMFILE] {
            assert!(is_shortage(&io::Error::from_raw_os_error(code)));
        }
        let (refused, aborted) = (ErrorKind::ConnectionRefused.into(), ErrorKind::ConnectionAborted.into());
        assert!(!is_shortage(&refused) && !is_shortage(&aborted));
    }
}
