//! An exit with name servers of its own, and nodes whose file descriptors run out.

use crate::harness::{COMMAND_MAX, Net, Process, Web, installed, run, until};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;
use umbel::host::system::Timer;

/// A name server that knows `good.test` and says nothing to whoever asks for another name.
fn name_server() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buf = [0; 512];
        while let Ok((n, from)) = socket.recv_from(&mut buf) {
            let name = b"\x04good\x04test\0";
            let end = 12 + name.len() + 4;
            if n < end || buf[12..12 + name.len()] != *name {
                continue;
            }
            let is_v4 = buf[end - 3] == 1;
            let mut answer = buf[..end].to_vec();
            answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_v4), 0, 0, 0, 0]);
            if is_v4 {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
            }
            let _ = socket.send_to(&answer, from);
        }
    });
    addr
}

/// Asks a SOCKS proxy for a stream to a name and writes as much as it takes, without an answer.
fn ask_in_vain(socks: &str, name: &str) -> TcpStream {
    let mut stream = TcpStream::connect(socks).unwrap();
    let head = [5, 1, 0, 5, 1, 0, 3, u8::try_from(name.len()).unwrap()];
    stream.write_all(&[&head[..], name.as_bytes(), &[0, 80]].concat()).unwrap();
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen).unwrap();
    stream.set_nonblocking(true).unwrap();
    let bytes = vec![7; 64 * 1024];
    while matches!(stream.write(&bytes), Ok(n) if n > 0) {}
    stream
}

/// The most memory that a process has had, in MB.
fn peak_mb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

// spec: STREAM-27
// spec: STREAM-28
#[test]
fn silent_names_of_one_client_hold_up_no_other_and_cost_little() {
    let (web, server) = (Web::start(), name_server().to_string());
    let mut net = Net::start(5, &["--name-servers", &server]);
    let (greedy, other) = (net.client("greedy"), net.client("other"));
    let fetch = || {
        let url = web.url("/hello").replace("localhost", "good.test").replace("127.0.0.1", "good.test");
        let start = Timer::start();
        let arguments = ["-sS", "--noproxy", "", "--max-time", "30", "--socks5-hostname", &other.socks(), &url];
        let text = run(COMMAND_MAX, "curl", &arguments).ok().out();
        assert_eq!(text, "hello from behind the exit\n");
        start.elapsed()
    };
    fetch();
    let held: Vec<_> = (0..300).map(|n| ask_in_vain(&greedy.socks(), &format!("silent{n}.test"))).collect();
    for _ in 0..5 {
        let took = fetch();
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
    let peak = peak_mb(net.relays[0].process().pid());
    println!("the exit's memory was {peak} MB at most");
    assert!(peak < 256, "{peak} MB");
    drop(held);
}

fn descriptors(process: &Process) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", process.pid())).unwrap().count()
}

// spec: NODE-16
// spec: NODE-17
#[test]
fn a_relay_out_of_descriptors_says_so_once_and_recovers() {
    if !installed("prlimit") {
        return;
    }
    let mut net = Net::start(4, &[]);
    let (addr, relay) = (net.relays[1].addr(), &mut net.relays[1]);
    let free = descriptors(relay.process()) + 8;
    let pid = relay.process().pid().to_string();
    run(COMMAND_MAX, "prlimit", &["--pid", &pid, &format!("--nofile={free}:{free}")]).ok();
    let crowd: Vec<_> = (0..100).map(|_| TcpStream::connect(&addr).unwrap()).collect();
    until("the relay says so", COMMAND_MAX, || relay.process().log().contains("too many open files"));
    // It answers its operator all the same.
    let status = relay.status();
    assert!(
        status["files_short"].as_u64() > Some(0) && status["files_limit"].as_u64() == Some(free as u64),
        "{status}"
    );
    std::thread::sleep(Duration::from_secs(3));
    let log = relay.process().log();
    assert_eq!(log.matches("too many open files: incoming connections wait").count(), 1, "{log}");
    drop(crowd);
    until("the relay accepts again", COMMAND_MAX, || {
        let stream = TcpStream::connect(&addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        descriptors(relay.process()) < free - 1 && stream.peer_addr().is_ok()
    });
}
