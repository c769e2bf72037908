//! Keeps BBR from pausing links (ProbeRTT).
//!
//! A sender with BBR nearly stops for 200 ms and a round trip every ten seconds, to measure the path's minimum round trip
//! again. Circuits do not need that: they keep queues short and drain them themselves (spec 09, CONG-7), and they cross
//! several links, which would pause one after the other. The ten seconds start again when a socket switches to another
//! congestion control and back. It then keeps its window and the minimum round trip that the system has measured on it within
//! the last minutes, and measures the bandwidth anew. A window that was reduced after a loss has to grow again.
//!
//! If the path has become much longer, the old round trip keeps the window too small, and the socket takes less than the link
//! has to send. Such a link is left to BBR's own ProbeRTT until the system has forgotten the old round trip. A link that is
//! merely busy is not mistaken for one: on the emulated path of `benches/netem`, sockets of links that ten circuits filled
//! were blocked for at most 14 % of the time, and for 60 % and more once the path was longer.
//!
//! All this is about version 1 of BBR, as in Linux. Version 3 halves its window every five seconds instead, which this does not
//! prevent.

use crate::base::time::{Duration, Instant};
use core::cell::OnceCell;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::TcpStream;

/// Time between two renewals: less than the ten seconds after which BBR pauses.
const RENEW_AFTER: Duration = Duration::from_secs(9);

/// How long the system remembers a socket's minimum round trip (Linux, `tcp_min_rtt_wlen`).
const FORGOTTEN_AFTER: Duration = Duration::from_secs(300);

/// When a link's socket starts BBR again; never if it does not use BBR.
pub(super) struct Renewal {
    at: Option<Instant>,
    /// When a renewal was last due, or the link began.
    since: Instant,
    /// For how much of the time since then the socket took nothing.
    blocked: Duration,
}

impl Renewal {
    /// For a link's socket. `allowed` caches whether this process may switch back to BBR.
    pub(super) fn of(stream: &TcpStream, allowed: &OnceCell<bool>, now: Instant) -> Self {
        let renews = uses_bbr(&SockRef::from(stream)) && *allowed.get_or_init(may_return);
        Self { at: renews.then(|| now + RENEW_AFTER), since: now, blocked: Duration::ZERO }
    }

    /// For every other connection.
    pub(super) fn never() -> Self {
        Self { at: None, since: Instant::default(), blocked: Duration::ZERO }
    }

    /// Whether it ever renews. If not, [`Renewal::blocked`] need not be called.
    pub(super) fn is_on(&self) -> bool {
        self.at.is_some()
    }

    /// Adds time in which there was something to write and the socket did not take it.
    pub(super) fn blocked(&mut self, time: Duration) {
        self.blocked += time;
    }

    /// Renews if it is due. An idle link needs no renewal, because BBR measures the round trip again when it sends again.
    pub(super) fn tick(&mut self, stream: &TcpStream, now: Instant) {
        if self.is_due(now) && !leave_and_return(&SockRef::from(stream)) {
            *self = Self::never();
        }
    }

    /// Whether to renew now, and when to check again.
    fn is_due(&mut self, now: Instant) -> bool {
        if self.at.is_none_or(|at| now < at) {
            return false;
        }
        let kept_up = self.blocked * 2 < now.since(self.since);
        (self.since, self.blocked) = (now, Duration::ZERO);
        self.at = Some(now + if kept_up { RENEW_AFTER } else { FORGOTTEN_AFTER });
        kept_up
    }
}

/// Whether this process may switch a socket back to BBR: a route can set a congestion control that a process may not choose.
fn may_return() -> bool {
    Socket::new(Domain::IPV4, Type::STREAM, None).is_ok_and(|socket| leave_and_return(&socket))
}

#[cfg(target_os = "linux")]
fn uses_bbr(socket: &Socket) -> bool {
    socket.tcp_congestion().is_ok_and(|name| is_bbr(&name))
}

/// The name is padded with zeros to a fixed size.
#[cfg(target_os = "linux")]
fn is_bbr(name: &[u8]) -> bool {
    name.split(|b| *b == 0).next() == Some(b"bbr")
}

/// Switches to Reno, which every Linux has and every process may use, and back to BBR.
#[cfg(target_os = "linux")]
fn leave_and_return(socket: &Socket) -> bool {
    socket.set_tcp_congestion(b"reno").is_ok() && socket.set_tcp_congestion(b"bbr").is_ok()
}

#[cfg(not(target_os = "linux"))]
fn uses_bbr(_: &Socket) -> bool {
    false
}

#[cfg(not(target_os = "linux"))]
fn leave_and_return(_: &Socket) -> bool {
    false
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Both ends of a connection, the first with this congestion control; `None` where the system does not give it.
    async fn pair(congestion: &[u8]) -> Option<(TcpStream, TcpStream)> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        SockRef::from(&near).set_tcp_congestion(congestion).ok()?;
        Some((near, far))
    }

    #[tokio::test]
    async fn a_socket_takes_up_bbr_anew_before_it_would_stop_and_still_carries() {
        let Some((mut near, mut far)) = pair(b"bbr").await else {
            eprintln!("LEFT OUT: this system gives no BBR");
            return;
        };
        let start = Instant(1_000);
        let mut renewal = Renewal::of(&near, &OnceCell::new(), start);
        assert_eq!(renewal.at, Some(start + RENEW_AFTER));
        let due = start + RENEW_AFTER;
        renewal.tick(&near, Instant(due.0 - 1));
        assert_eq!(renewal.at, Some(due), "not before its time");
        near.write_all(b"before ").await.unwrap();
        renewal.tick(&near, due);
        assert_eq!(renewal.at, Some(due + RENEW_AFTER));
        assert!(uses_bbr(&SockRef::from(&near)), "it came back");
        near.write_all(b"and after").await.unwrap();
        let mut got = [0; 16];
        far.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"before and after");
    }

    #[test]
    fn a_link_that_is_held_up_is_left_alone_until_its_old_round_trip_is_forgotten() {
        let mut due = Instant(0) + RENEW_AFTER;
        let mut renewal = Renewal { at: Some(due), ..Renewal::never() };
        for (blocked_s, then) in [(4, RENEW_AFTER), (5, FORGOTTEN_AFTER), (140, RENEW_AFTER), (9, FORGOTTEN_AFTER)] {
            assert!(!renewal.is_due(Instant(due.0 - 1)), "not before its time");
            renewal.blocked(Duration::from_secs(blocked_s));
            assert_eq!(
                renewal.is_due(due),
                then == RENEW_AFTER,
                "after {blocked_s} s in which the socket took nothing"
            );
            due = due + then;
            assert_eq!(renewal.at, Some(due));
        }
    }

    #[test]
    fn bbr_is_known_by_its_whole_name() {
        for (name, is) in
            [(&b"bbr\0\0\0"[..], true), (b"bbr", true), (b"bbr2\0", false), (b"cubic\0", false), (b"", false)]
        {
            assert_eq!(is_bbr(name), is, "{name:?}");
        }
    }

    #[tokio::test]
    async fn who_may_not_return_to_bbr_never_leaves_it() {
        let Some((near, _far)) = pair(b"bbr").await else {
            eprintln!("LEFT OUT: this system gives no BBR");
            return;
        };
        let mut renewal = Renewal::of(&near, &OnceCell::from(false), Instant(0));
        renewal.tick(&near, Instant(u64::MAX));
        assert!(uses_bbr(&SockRef::from(&near)));
        assert_eq!(renewal.at, None);
    }

    #[tokio::test]
    async fn other_congestion_controls_are_left_alone() {
        let (near, _far) = pair(b"reno").await.expect("every Linux has Reno");
        let renewal = Renewal::of(&near, &OnceCell::new(), Instant(0));
        assert_eq!(renewal.at, None);
    }
}
