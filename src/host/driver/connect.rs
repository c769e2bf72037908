//! Connects to an endpoint at any of its addresses ("happy eyeballs", RFC 8305).

use crate::host::descriptors::is_shortage;
use crate::role::DialError;
use crate::role::endpoint::Endpoint;
use core::net::SocketAddr;
use core::time::Duration;
use std::io::ErrorKind;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Time-out of one attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// When an address has not answered for this long, the next one is tried beside it (RFC 8305, section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Time-out of all attempts together, however many addresses there are.
const DIAL_TIMEOUT: Duration = Duration::from_secs(12);

/// Tries the endpoint's addresses in order: the next one when an attempt failed, or after [`ATTEMPT_DELAY`]. Keeps the first
/// connection and cancels the other attempts. Gives it with the time it took. Must be called inside a `LocalSet`.
// spec: STREAM-31
pub(super) async fn connect(endpoint: &Endpoint) -> Result<(TcpStream, Duration), DialError> {
    tokio::time::timeout(DIAL_TIMEOUT, race(endpoint)).await.unwrap_or(Err(DialError::TimedOut))
}

async fn race(endpoint: &Endpoint) -> Result<(TcpStream, Duration), DialError> {
    let mut rest = endpoint.addrs().iter().copied();
    // Dropping it cancels the attempts in progress.
    let mut attempts = JoinSet::new();
    let mut why = None;
    loop {
        let next = rest.next();
        if let Some(addr) = next {
            attempts.spawn_local(attempt(addr));
        }
        tokio::select! {
            ended = attempts.join_next() => match ended {
                Some(Ok(Ok(connected))) => return Ok(connected),
                Some(Ok(Err(reason))) => why = why.max(Some(Telling(reason))),
                // Does not happen: an attempt neither panics nor is cancelled elsewhere.
                Some(Err(_)) => {}
                None => return Err(why.map_or(DialError::Unreachable, |Telling(reason)| reason)),
            },
            () = tokio::time::sleep(ATTEMPT_DELAY), if rest.len() > 0 => {}
        }
    }
}

/// Orders reasons by how much they tell: a host that refuses exists, while an unreachable one may only have an address of a
/// family that this machine does not have.
#[derive(PartialEq, Eq)]
struct Telling(DialError);

impl Telling {
    fn rank(&self) -> u8 {
        match self.0 {
            DialError::Unreachable => 0,
            DialError::Resource => 1,
            DialError::TimedOut => 2,
            DialError::Refused => 3,
        }
    }
}

impl Ord for Telling {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for Telling {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

async fn attempt(addr: SocketAddr) -> Result<(TcpStream, Duration), DialError> {
    let start = tokio::time::Instant::now();
    match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(addr)).await {
        Ok(Ok(stream)) => Ok((stream, start.elapsed())),
        Ok(Err(e)) if e.kind() == ErrorKind::ConnectionRefused => Err(DialError::Refused),
        Ok(Err(e)) if e.kind() == ErrorKind::TimedOut => Err(DialError::TimedOut),
        Ok(Err(e)) if is_shortage(&e) => Err(DialError::Resource),
        Ok(Err(_)) => Err(DialError::Unreachable),
        Err(_) => Err(DialError::TimedOut),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::driver::Clock;
    use std::net::TcpListener;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, future)
    }

    /// A listener on loopback, and an address where nobody listens.
    fn addresses() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        (listener, dead)
    }

    #[test]
    fn an_address_that_refuses_leaves_the_next_one() {
        let (listener, dead) = addresses();
        let live = listener.local_addr().unwrap();
        let clock = Clock::start();
        let (stream, _) = block_on(connect(&Endpoint::relay(&[dead, live]).unwrap())).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), live);
        assert!(clock.now().mono.0 < CONNECT_TIMEOUT.as_micros() as u64);
    }

    /// Addresses that answer nothing: their backlogs are full. They last as long as what is returned with them.
    fn deaf(n: usize) -> (Vec<SocketAddr>, Vec<(socket2::Socket, Vec<std::net::TcpStream>)>) {
        let one = |_| {
            let deaf = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            deaf.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
            deaf.listen(0).unwrap();
            let addr = deaf.local_addr().unwrap().as_socket().unwrap();
            let fill = |_| std::net::TcpStream::connect_timeout(&addr, Duration::from_millis(100)).ok();
            (addr, (deaf, (0..4).map_while(fill).collect()))
        };
        (0..n).map(one).unzip()
    }

    // spec: STREAM-31
    #[test]
    fn addresses_that_say_nothing_hold_the_next_ones_up_for_a_moment_each() {
        let (deaf, _open) = deaf(3);
        let (listener, dead) = addresses();
        let live = listener.local_addr().unwrap();
        for (addrs, pauses) in [(vec![deaf[0], live], 1), ([&deaf[..], &[dead, live]].concat(), 3)] {
            for endpoint in [Endpoint::relay(&addrs).unwrap(), Endpoint::destination(&addrs).unwrap()] {
                if endpoint.addrs().len() < addrs.len() {
                    continue;
                }
                let start = Clock::start();
                let (stream, _) = block_on(connect(&endpoint)).unwrap();
                let took = start.now().mono.0;
                assert_eq!(stream.peer_addr().unwrap(), live);
                let pause = ATTEMPT_DELAY.as_micros() as u64;
                assert!(took >= pauses * pause, "{took}: each preferred address has its chance");
                assert!(took < (pauses + 4) * pause, "{took}: and no more than that");
            }
        }
    }

    #[test]
    fn where_no_address_answers_the_reason_is_told() {
        let (_, dead) = addresses();
        assert_eq!(block_on(connect(&Endpoint::relay(&[dead, dead]).unwrap())).unwrap_err(), DialError::Refused);
        // There is no TCP connection to a multicast address.
        let nowhere: SocketAddr = "[ff02::1]:1".parse().unwrap();
        for addrs in [[dead, nowhere], [nowhere, dead]] {
            let endpoint = Endpoint::destination(&addrs).unwrap();
            assert_eq!(block_on(connect(&endpoint)).unwrap_err(), DialError::Refused, "{addrs:?}");
        }
        assert_eq!(block_on(connect(&Endpoint::destination(&[nowhere]).unwrap())).unwrap_err(), DialError::Unreachable);
    }
}
