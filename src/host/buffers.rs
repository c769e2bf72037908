//! How much of a connection the system holds before it is read.
//!
//! It lets a receive buffer grow with the round trip that it sees. Where the processor is what is scarce, that round trip is the
//! wait in the buffer itself, which so grows to megabytes. What lies there is read in the order in which it came: a keystroke
//! waits for all of it, and all of it has left the processor's caches meanwhile. In our own queues whoever was quiet goes first.
//! Between two ends of one machine, or of one network with next to no delay, a small buffer carries as much.
//!
//! On a longer way a buffer must hold what is sent in a round trip, and how large that is the system knows best.

use core::net::IpAddr;
use core::time::Duration;
use socket2::SockRef;
use tokio::net::TcpStream;

/// What the system holds for a near peer, either way. It may count twice as much, with its own overhead.
const NEAR_BYTES: usize = 256 * 1024;

/// A peer that accepted a connection within this time is near. [`NEAR_BYTES`] in each round trip are a gigabit a second.
const NEAR_WITHIN: Duration = Duration::from_millis(2);

/// Bounds what waits on a connection to be read here. `took`: how long it took to connect, where this end did.
pub fn bound_received(stream: &TcpStream, took: Option<Duration>) {
    if is_near(addresses(stream), took) {
        let _ = SockRef::from(stream).set_recv_buffer_size(NEAR_BYTES);
    }
}

/// Bounds what waits on a connection for its peer, a program of this machine, to read it.
pub fn bound_sent(stream: &TcpStream) {
    if is_near(addresses(stream), None) {
        let _ = SockRef::from(stream).set_send_buffer_size(NEAR_BYTES);
    }
}

fn addresses(stream: &TcpStream) -> Option<(IpAddr, IpAddr)> {
    Some((stream.local_addr().ok()?.ip(), stream.peer_addr().ok()?.ip()))
}

/// Both ends have one address, or both are on loopback, or it took no time to connect.
fn is_near(ends: Option<(IpAddr, IpAddr)>, took: Option<Duration>) -> bool {
    let is_one_machine = |(own, peer): (IpAddr, IpAddr)| own == peer || (own.is_loopback() && peer.is_loopback());
    ends.is_some_and(is_one_machine) || took.is_some_and(|took| took < NEAR_WITHIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    #[test]
    fn near_is_one_machine_or_next_to_no_delay() {
        let [own, peer] = ["192.0.2.1", "192.0.2.9"].map(|ip| Some(ip.parse::<IpAddr>().unwrap()));
        let [fast, slow] = [Some(Duration::from_micros(300)), Some(Duration::from_millis(20))];
        assert!(is_near(own.zip(peer), fast) && is_near(own.zip(own), slow) && is_near(own.zip(own), None));
        assert!(!is_near(own.zip(peer), slow) && !is_near(own.zip(peer), None) && !is_near(None, None));
    }

    /// A connection whose one end sends as fast as it can: the most that waits at the other, which reads as fast as it can.
    async fn most_that_waits(bound: fn(&TcpStream)) -> usize {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut writer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut reader, _) = listener.accept().await.unwrap();
        bound(&reader);
        let flood = std::thread::spawn(move || while writer.write_all(&[7; 64 * 1024]).is_ok() {});
        let mut space = vec![0; 16 * NEAR_BYTES];
        let mut most = 0;
        for _ in 0..400 {
            // Meanwhile this end had something else to do.
            tokio::time::sleep(Duration::from_millis(1)).await;
            most = most.max(reader.peek(&mut space).await.unwrap());
            reader.read_exact(&mut space[..NEAR_BYTES]).await.unwrap();
        }
        drop(reader);
        flood.join().unwrap();
        most
    }

    #[tokio::test]
    async fn no_more_waits_to_be_read_than_the_bound() {
        let most = most_that_waits(|reader| bound_received(reader, None)).await;
        assert!((NEAR_BYTES / 4..4 * NEAR_BYTES).contains(&most), "{most}");
    }

    #[tokio::test]
    async fn no_more_waits_for_a_program_that_does_not_read_than_the_bound() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _program = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (proxy, _) = listener.accept().await.unwrap();
        bound_sent(&proxy);
        let mut proxy = proxy.into_std().unwrap();
        let taken: usize = core::iter::from_fn(|| proxy.write(&[7; 16 * 1024]).ok()).sum();
        assert!((NEAR_BYTES / 4..4 * NEAR_BYTES).contains(&taken), "{taken}");
    }
}
