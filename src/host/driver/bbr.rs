//! Spares links the stops of BBR.
//!
//! A sender with BBR stops for 200 ms and a round trip every ten seconds, to see the least round trip of its path once more.
//! Circuits have no use for that: they keep queues short and drain them by themselves (spec 09, CONG-7), and they lead over
//! several links, which stop one after the other. BBR begins its ten seconds anew when a socket leaves it and takes it up
//! again. It then keeps its window and the least round trip that the system has seen on that socket within the last minutes, and
//! measures the rate anew; what a loss made it put aside of its window, it has to grow again.
//!
//! On a path that has become much longer that round trip holds the window too small, and the socket takes less than the link has
//! to send. Such a link is left to BBR's own rhythm until the system has forgotten the old round trip. A link that is merely busy
//! is not taken for one: on the emulated path of `benches/netem`, links that ten circuits filled took nothing for 14 % of
//! the time at most, and for 60 % and more once their path was longer.
//!
//! All this is of the BBR in Linux (version 1). Version 3 halves its window every five seconds instead, which this does not spare a link.

use crate::base::time::{Duration, Instant};
use core::cell::OnceCell;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::TcpStream;

/// From one renewal to the next: within the ten seconds after which BBR stops.
const RENEW_AFTER: Duration = Duration::from_secs(9);

/// The system keeps the least round trip of a socket for five minutes (Linux, `tcp_min_rtt_wlen`).
const FORGOTTEN_AFTER: Duration = Duration::from_secs(300);

/// When a link's socket takes up BBR anew; never, where it does not use BBR.
pub(super) struct Renewal {
    at: Option<Instant>,
    /// When this was last checked, and for how much of the time since then the socket took nothing.
    since: Instant,
    blocked: Duration,
}

impl Renewal {
    /// For a link's socket. `allowed` keeps what was found out about this process.
    pub(super) fn of(stream: &TcpStream, allowed: &OnceCell<bool>, now: Instant) -> Self {
        let renews = uses_bbr(&SockRef::from(stream)) && *allowed.get_or_init(may_return);
        Self { at: renews.then(|| now + RENEW_AFTER), since: now, blocked: Duration::ZERO }
    }

    /// For every other connection.
    pub(super) fn never() -> Self {
        Self { at: None, since: Instant::default(), blocked: Duration::ZERO }
    }

    /// Whether it ever renews. If not, it needs no reports.
    pub(super) fn is_on(&self) -> bool {
        self.at.is_some()
    }

    /// For this time there was something to write, and the socket did not take it.
    pub(super) fn blocked(&mut self, time: Duration) {
        self.blocked += time;
    }

    /// Renews if it is time. An idle link needs no renewal, because BBR measures its round trip again when the link wakes.
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

/// Whether a socket of this process that has left BBR may take it up again: a route can prescribe what a process may not choose.
fn may_return() -> bool {
    Socket::new(Domain::IPV4, Type::STREAM, None).is_ok_and(|socket| leave_and_return(&socket))
}

#[cfg(target_os = "linux")]
fn uses_bbr(socket: &Socket) -> bool {
    socket.tcp_congestion().is_ok_and(|name| is_bbr(&name))
}

/// The name comes in a field of fixed size, padded with zeros.
#[cfg(target_os = "linux")]
fn is_bbr(name: &[u8]) -> bool {
    name.split(|b| *b == 0).next() == Some(b"bbr")
}

/// Every Linux has Reno, and lets everyone use it.
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
