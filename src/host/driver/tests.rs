//! The driver with roles that only count.

use super::*;
use crate::role::ExitKey;
use crate::role::slab::Key;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Reads slowly, or writes without end.
struct Busy {
    turns: Rc<Cell<u32>>,
    writes: bool,
}

impl Role for Busy {
    fn accept(&mut self, _now: Now, _from: core::net::IpAddr) -> Option<ConnId> {
        Some(ConnId::Exit(ExitKey(Key::from_u64(1))))
    }

    fn handle(&mut self, _now: Now, input: Input<'_>) {
        if matches!(input, Input::Received(..)) {
            self.turns.set(self.turns.get() + 1);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn poll(&mut self) -> Option<Output> {
        None
    }

    fn read_budget(&mut self, _conn: ConnId) -> usize {
        READ_TARGET
    }

    fn transmit(&mut self, _now: Now, _conn: ConnId, out: &mut Vec<u8>) -> bool {
        self.turns.set(self.turns.get() + u32::from(self.writes));
        out.extend(core::iter::repeat_n(0, 1000).filter(|_| self.writes));
        self.writes
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }
}

struct Quiet;

impl Hooks<Busy> for Quiet {
    fn ask(
        &self,
        _core: &Rc<Core<Busy>>,
        _ask: AskId,
        _service: Service,
        _body: Vec<u8>,
        _from: Option<core::net::IpAddr>,
    ) {
    }
    fn after(&self, _core: &Rc<Core<Busy>>) {}
}

/// The most turns that a connection took while another task waited for the thread.
fn longest_run(writes: bool, peer: impl FnOnce(std::net::TcpStream, &AtomicBool) + Send + 'static) -> u32 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let longest = tokio::task::LocalSet::new().block_on(&runtime, async {
        let turns = Rc::new(Cell::new(0));
        let core = Core::start(Busy { turns: turns.clone(), writes }, Clock::start(), Box::new(Quiet));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::task::spawn_local(core.listen(listener));
        let stop = done.clone();
        std::thread::spawn(move || peer(std::net::TcpStream::connect(addr).unwrap(), &stop));
        let mut longest = 0;
        while turns.get() < 100 {
            let before = turns.get();
            tokio::task::yield_now().await;
            longest = longest.max(turns.get() - before);
        }
        longest
    });
    done.store(true, Ordering::Relaxed);
    longest
}

#[test]
fn a_peer_that_always_has_more_to_say_leaves_turns_to_others() {
    let longest = longest_run(false, |mut peer, done| {
        let bytes = vec![0; 1 << 20];
        while !done.load(Ordering::Relaxed) && peer.write_all(&bytes).is_ok() {}
    });
    // A task may be run twice between two runs of another.
    assert!(longest <= 2 * conn::READS_PER_TURN, "{longest} reads in a row");
}

#[test]
fn a_peer_that_always_takes_more_leaves_turns_to_others() {
    let longest = longest_run(true, |mut peer, done| {
        let mut bytes = vec![0; 1 << 20];
        while !done.load(Ordering::Relaxed) && std::io::Read::read(&mut peer, &mut bytes).is_ok() {}
    });
    assert!(longest <= 2 * (conn::WRITES_PER_TURN + 1), "{longest} writes in a row");
}

// spec: STREAM-24
#[cfg(target_os = "linux")]
#[test]
fn the_system_asks_a_silent_destination_whether_it_is_there() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let core = Core::start(Busy { turns: Rc::default(), writes: false }, Clock::start(), Box::new(Quiet));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let destination = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        tokio::task::spawn_local(core.listen(listener));
        // The sixth field of /proc/net/tcp is the timer that runs; 02 is keep-alive's.
        let remote = format!(":{:04X} 01 ", destination.local_addr().unwrap().port());
        let asks = || {
            let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
            table.lines().any(|line| {
                line.contains(&remote) && line.split_whitespace().nth(5).is_some_and(|t| t.starts_with("02:"))
            })
        };
        let (clock, mut asked) = (Clock::start(), false);
        while !asked && clock.now().mono.0 < 10_000_000 {
            tokio::task::yield_now().await;
            asked = asks();
        }
        assert!(asked, "no keep-alive timer runs");
    });
}
