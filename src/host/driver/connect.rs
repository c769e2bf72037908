//! Connecting to an endpoint at any of its addresses.

use crate::role::DialError;
use crate::role::endpoint::Endpoint;
use core::net::SocketAddr;
use core::time::Duration;
use std::io::ErrorKind;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// From a connect to its success, at one address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// An address that has not answered for this long does not hold up the next one (as in RFC 8305, section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Tries the endpoint's addresses in their order, the next when one failed or did not answer at once. Keeps the first
/// connection there is and gives the others up. Must be called inside a `LocalSet`.
pub(super) async fn connect(endpoint: &Endpoint) -> Result<TcpStream, DialError> {
    let mut rest = endpoint.addrs().iter().copied();
    // Dropping it ends the attempts that are under way.
    let mut attempts = JoinSet::new();
    let mut why = DialError::Unreachable;
    loop {
        let next = rest.next();
        if let Some(addr) = next {
            attempts.spawn_local(attempt(addr));
        }
        tokio::select! {
            ended = attempts.join_next() => match ended {
                Some(Ok(Ok(stream))) => return Ok(stream),
                Some(Ok(Err(reason))) => why = reason,
                // An attempt does not panic, and nobody else ends it.
                Some(Err(_)) => {}
                None => return Err(why),
            },
            () = tokio::time::sleep(ATTEMPT_DELAY), if rest.len() > 0 => {}
        }
    }
}

async fn attempt(addr: SocketAddr) -> Result<TcpStream, DialError> {
    match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(addr)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(e)) if e.kind() == ErrorKind::ConnectionRefused => Err(DialError::Refused),
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
        let stream = block_on(connect(&Endpoint::relay(&[dead, live]).unwrap())).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), live);
        assert!(clock.now().mono.0 < CONNECT_TIMEOUT.as_micros() as u64);
    }

    #[test]
    fn an_address_that_says_nothing_does_not_hold_up_the_next_one() {
        // A full backlog: the system answers no further connect.
        let deaf = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        deaf.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        deaf.listen(0).unwrap();
        let deaf_addr = deaf.local_addr().unwrap().as_socket().unwrap();
        let _full: Vec<_> =
            (0..4).map_while(|_| std::net::TcpStream::connect_timeout(&deaf_addr, ATTEMPT_DELAY).ok()).collect();
        let (listener, _) = addresses();
        let live = listener.local_addr().unwrap();
        let clock = Clock::start();
        let stream = block_on(connect(&Endpoint::relay(&[deaf_addr, live]).unwrap())).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), live);
        assert!(clock.now().mono.0 >= ATTEMPT_DELAY.as_micros() as u64, "the preferred address has its chance");
        assert!(clock.now().mono.0 < CONNECT_TIMEOUT.as_micros() as u64);
    }

    #[test]
    fn where_no_address_answers_the_reason_is_told() {
        let (_, dead) = addresses();
        assert_eq!(block_on(connect(&Endpoint::relay(&[dead, dead]).unwrap())).unwrap_err(), DialError::Refused);
        assert_eq!(block_on(connect(&Endpoint::Destination(dead))).unwrap_err(), DialError::Refused);
    }
}
