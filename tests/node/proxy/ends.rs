//! When a connection ends: what is half-closed goes on, what is gone does not, and who makes room.

use super::fake::{SITE, host, serve};
use super::{start, start_as};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;
use umbel::node::proxy::Config;

fn connect(address: std::net::SocketAddr, said: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(said).unwrap();
    stream
}

const GET: &str = "GET / HTTP/1.0\r\n\r\n";

// spec: PROXY-38
#[test]
fn a_program_that_has_said_all_before_the_exit_has_connected_gets_its_answer() {
    let proxy = start();
    let ways = [
        ["GET http://delayed.test/ HTTP/1.0\r\n\r\n", ""].concat().into_bytes(),
        ["CONNECT delayed.test:80 HTTP/1.0\r\n\r\n", GET].concat().into_bytes(),
        [b"\x04\x01\x00\x50\0\0\0\x01user\0delayed.test\0", GET.as_bytes()].concat(),
        [b"\x05\x01\x00\x05\x01\x00\x03\x0cdelayed.test\x00\x50", GET.as_bytes()].concat(),
    ];
    for said in ways {
        let mut stream = connect(proxy.address, &said);
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(String::from_utf8_lossy(&answer).contains("200 OK"), "{:?}", String::from_utf8_lossy(&said));
    }
}

// spec: PROXY-38
#[test]
fn a_program_that_is_gone_takes_its_request_with_it() {
    let proxy = start();
    let (ended_out, ended) = std::sync::mpsc::channel();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.fake.name("silent.test", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // It reads, and never answers.
            let mut all = Vec::new();
            let _ = stream.unwrap().read_to_end(&mut all);
            let _ = ended_out.send(all.len());
        }
    });
    for said in
        ["GET http://silent.test/ HTTP/1.1\r\nHost: silent.test\r\n\r\n", "CONNECT silent.test:80 HTTP/1.0\r\n\r\n"]
    {
        for half_closed in [false, true] {
            let stream = connect(proxy.address, said.as_bytes());
            while proxy.fake.take_log().is_empty() {
                std::thread::yield_now();
            }
            if half_closed {
                stream.shutdown(Shutdown::Write).unwrap();
                if said.starts_with("GET") {
                    assert!(ended.recv_timeout(Duration::from_millis(300)).is_err(), "it may wait for the answer");
                }
            }
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            drop(stream);
            ended.recv_timeout(Duration::from_secs(20)).expect("the server's connection ends");
        }
    }
}

// spec: PROXY-37
#[test]
fn a_full_proxy_does_without_what_waits_for_another_request() {
    let config = Config { connections: 2, ..Config::new("127.0.0.1:0".parse().unwrap(), true) };
    let proxy = start_as(config);
    let site = host(SITE);
    let request = format!("GET http://{site}/empty.txt HTTP/1.1\r\nHost: {site}\r\n\r\n");
    let tunnelled = serve(|stream| {
        let _ = stream.read_to_end(&mut Vec::new());
        let _ = stream.write_all(b"done");
    });
    proxy.fake.name("tunnel.test", tunnelled);
    let mut tunnel = connect(proxy.address, b"CONNECT tunnel.test:1 HTTP/1.0\r\n\r\n");
    assert_eq!(tunnel.read(&mut [0; 100]).unwrap(), 39, "the tunnel is open");
    let mut idle = connect(proxy.address, request.as_bytes());
    let mut piece = [0; 2000];
    assert!(idle.read(&mut piece).unwrap() > 100);
    for _ in 0..3 {
        let mut next = connect(proxy.address, request.as_bytes());
        assert!(next.read(&mut piece).unwrap() > 100, "the next one has a place");
        assert_eq!(idle.read(&mut piece).unwrap(), 0, "in order: nothing was under way");
        idle = next;
    }
    tunnel.shutdown(Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    tunnel.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"done", "the tunnel was spared");
}
