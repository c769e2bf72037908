//! The resolver against a name server of the tests' own, over UDP and TCP.

use super::*;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};

/// A name server on a thread of its own. A name says how it is answered:
/// `silent` not at all, `v6silent` not for IPv6, `late` after half a second, `big` in full over TCP only, `cut` with a broken
/// message, `servfail`, `nx`, `two` IPv4 and IPv6, `forged` with a false answer of another id first, `edns` with a failure unless
/// the query says how long an answer may be.
struct Server {
    addr: SocketAddr,
    asked: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Server {
    fn start() -> Self {
        // One port that is free for both.
        let both = || {
            let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
            let addr = udp.local_addr().unwrap();
            TcpListener::bind(addr).ok().map(|tcp| (udp, addr, tcp))
        };
        let (udp, addr, tcp) = core::iter::repeat_with(both).find_map(|bound| bound).unwrap();
        let asked: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
        let log = asked.clone();
        std::thread::spawn(move || {
            let mut buf = [0; 512];
            while let Ok((n, from)) = udp.recv_from(&mut buf) {
                let question = Question::read(&buf[..n]);
                *log.lock().unwrap().entry(question.name.clone()).or_default() += 1;
                let udp = udp.try_clone().unwrap();
                if question.name.starts_with("forged") {
                    let mut forged = question.clone();
                    forged.message[0] ^= 1;
                    udp.send_to(&forged.answer(false), from).unwrap();
                }
                if question.name.starts_with("late") {
                    std::thread::spawn(move || {
                        std::thread::sleep(Duration::from_millis(500));
                        let _ = udp.send_to(&question.answer(false), from);
                    });
                } else if !question.is_silent() {
                    udp.send_to(&question.answer(false), from).unwrap();
                }
            }
        });
        std::thread::spawn(move || {
            for stream in tcp.incoming() {
                let mut stream = stream.unwrap();
                let mut len = [0; 2];
                while stream.read_exact(&mut len).is_ok() {
                    let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
                    stream.read_exact(&mut message).unwrap();
                    let answer = Question::read(&message).answer(true);
                    let len = u16::try_from(answer.len()).unwrap().to_be_bytes();
                    stream.write_all(&[&len, &answer[..]].concat()).unwrap();
                }
            }
        });
        Self { addr, asked }
    }

    fn asked(&self, name: &str) -> usize {
        self.asked.lock().unwrap().get(name).copied().unwrap_or_default()
    }

    fn names(&self) -> Names {
        Names::new(Servers::Listed(vec![self.addr]))
    }
}

#[derive(Clone)]
struct Question {
    message: Vec<u8>,
    end: usize,
    name: String,
    kind: u16,
}

impl Question {
    fn read(message: &[u8]) -> Self {
        let (mut at, mut labels) = (12, Vec::new());
        while message[at] != 0 {
            let end = at + 1 + usize::from(message[at]);
            labels.push(String::from_utf8(message[at + 1..end].to_vec()).unwrap());
            at = end;
        }
        let kind = u16::from_be_bytes([message[at + 1], message[at + 2]]);
        Self { message: message.to_vec(), end: at + 5, name: labels.join("."), kind }
    }

    /// Whether the query has an OPT record (RFC 6891) that allows more than the 512 bytes of old.
    fn has_edns(&self) -> bool {
        let (head, opt) = self.message.split_at(self.end);
        head[11] == 1 && opt[..3] == [0, 0, 41] && u16::from_be_bytes([opt[3], opt[4]]) > 512
    }

    fn is_silent(&self) -> bool {
        self.name.starts_with("silent") || (self.name.starts_with("v6silent") && self.kind == 28)
    }

    fn answer(&self, tcp: bool) -> Vec<u8> {
        let is = |start: &str| self.name.starts_with(start);
        let big = if is("big") { 40 } else { 1 };
        let (count, code, cut) = match () {
            () if is("nx") => (0, 3, false),
            () if is("servfail") || (is("edns") && !self.has_edns()) => (0, 2, false),
            () if is("big") && !tcp => (0, 0, true),
            () if self.kind == 28 && !is("two") => (0, 0, false),
            () => (big, 0, false),
        };
        let flags = [0x81 | if cut { 2 } else { 0 }, 0x80 | code];
        let head = [&self.message[..2], &flags, &[0, 1, 0, count, 0, 0, 0, 0], &self.message[12..self.end]].concat();
        let record = |n: u8| {
            let data: Vec<u8> = if self.kind == 28 {
                vec![0x2a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n]
            } else {
                vec![1, 2, 3, n]
            };
            let kind = u8::try_from(self.kind).unwrap();
            [&[0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0, u8::try_from(data.len()).unwrap()][..], &data].concat()
        };
        let records: Vec<u8> = (1..=count).flat_map(record).collect();
        let end = if is("cut") { records.len() - 1 } else { records.len() };
        [head, records[..end].to_vec()].concat()
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, future)
}

fn ips(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|ip| ip.parse().unwrap()).collect()
}

const NOW: Instant = Instant(1_000_000_000);

#[test]
fn a_name_has_its_addresses_in_any_case_and_with_a_dot_at_its_end() {
    let server = Server::start();
    let names = server.names();
    block_on(async {
        assert_eq!(names.look_up(NOW, "one.test").await, ips(&["1.2.3.1"]));
        assert_eq!(names.look_up(NOW, "two.test").await, ips(&["2a00::1", "1.2.3.1"]));
        assert_eq!(names.look_up(NOW, "_srv.test").await, ips(&["1.2.3.1"]));
        assert_eq!(names.look_up(NOW, "ONE.test.").await, ips(&["1.2.3.1"]));
    });
    assert_eq!(server.asked("one.test"), 2, "once for each kind, and then from the cache");
}

#[test]
fn the_operators_search_list_is_for_nobody_else() {
    let server = Server::start();
    block_on(async { assert_eq!(server.names().look_up(NOW, "nx").await, ips(&[])) });
    let asked = server.asked.lock().unwrap();
    assert_eq!(asked.keys().collect::<Vec<_>>(), ["nx"], "as written, and no other");
}

#[test]
fn an_answer_is_kept_and_asked_for_again_when_it_is_over() {
    let server = Server::start();
    let names = server.names();
    block_on(async {
        for (after, asked) in [(0, 2), (59, 2), (61, 4)] {
            names.look_up(NOW + Duration::from_secs(after), "one.test").await;
            assert_eq!(server.asked("one.test"), asked, "after {after} s");
        }
        for _ in 0..3 {
            assert_eq!(names.look_up(NOW, "nx.test").await, ips(&[]));
        }
        assert_eq!(server.asked("nx.test"), 2, "and that there is none is kept too");
        for _ in 0..2 {
            assert_eq!(names.look_up(NOW, "servfail.test").await, ips(&[]));
        }
        assert!(server.asked("servfail.test") >= 4, "but not that a server failed");
    });
}

#[test]
fn three_hundred_silent_names_hold_nobody_up() {
    let server = Server::start();
    let names = Rc::new(server.names());
    block_on(async {
        let silent: Vec<_> = (0..300)
            .map(|n| {
                let names = names.clone();
                tokio::task::spawn_local(async move { names.look_up(NOW, &format!("silent{n}.test")).await })
            })
            .collect();
        while server.asked("silent299.test") == 0 {
            tokio::task::yield_now().await;
        }
        let start = crate::host::system::Timer::start();
        assert_eq!(names.look_up(NOW, "good.test").await, ips(&["1.2.3.1"]));
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        // A cancelled look-up keeps no socket open.
        let sockets = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let before = sockets();
        silent.iter().for_each(tokio::task::JoinHandle::abort);
        let start = crate::host::system::Timer::start();
        while sockets() + 500 > before {
            assert!(start.elapsed() < Duration::from_secs(20), "{} of {before} descriptors are left", sockets());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

#[test]
fn who_has_answered_for_one_kind_does_not_wait_for_the_other() {
    let server = Server::start();
    let names = server.names();
    block_on(async {
        let start = crate::host::system::Timer::start();
        assert_eq!(names.look_up(NOW, "v6silent.test").await, ips(&["1.2.3.1"]));
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        assert_eq!(names.look_up(NOW, "late.test").await, ips(&["1.2.3.1"]));
    });
}

#[test]
fn a_long_answer_comes_over_tcp_and_a_false_or_broken_one_is_no_answer() {
    let server = Server::start();
    let names = server.names();
    block_on(async {
        let many = names.look_up(NOW, "big.test").await;
        assert_eq!(many.len(), EXIT_ADDRESSES_MAX, "as many as are tried");
        assert_eq!(names.look_up(NOW, "forged.test").await, ips(&["1.2.3.1"]));
        assert_eq!(names.look_up(NOW, "cut.test").await, ips(&[]));
        for bad in ["", ".", "a..b", "127.0.0.1", "a b"] {
            assert_eq!(names.look_up(NOW, bad).await, ips(&[]), "{bad:?}");
        }
    });
}

#[test]
fn servers_that_are_listed_may_answer_at_length_as_the_system_s() {
    let server = Server::start();
    block_on(async { assert_eq!(server.names().look_up(NOW, "edns.test").await, ips(&["1.2.3.1"])) });
    for servers in [Servers::System, Servers::Listed(vec![server.addr])] {
        assert!(system::read(&servers).1.edns0, "{servers:?}");
    }
}

#[test]
fn a_server_that_does_not_listen_leaves_the_next_one() {
    let server = Server::start();
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let names = Names::new(Servers::Listed(vec![closed, server.addr]));
    block_on(async { assert_eq!(names.look_up(NOW, "one.test").await, ips(&["1.2.3.1"])) });
}

#[test]
fn this_machine_s_name_is_known_without_asking() {
    let server = Server::start();
    let found = block_on(async { server.names().look_up(NOW, "localhost").await });
    assert!(found.contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)) || found.contains(&IpAddr::V6(Ipv6Addr::LOCALHOST)));
    let found = block_on(async { server.names().look_up(NOW, "a.localhost").await });
    assert_eq!(found, ips(&["::1", "127.0.0.1"]));
    assert_eq!(server.asked.lock().unwrap().len(), 0);
}
