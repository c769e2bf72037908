//! What the proxy does not do, and how it says so.

use super::fake::{SITE, host, serve};
use super::{start, start_as, start_with};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use umbel::base::rng::Rng;
use umbel::node::proxy::{BindError, Config, Proxy};

// spec: PROXY-1
#[test]
fn it_listens_for_this_machine_only() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let config = Config::new(address.parse().unwrap(), true);
        let bound = runtime.block_on(Proxy::bind(config, &mut Rng::from_seed([0; 32])));
        assert!(matches!(bound, Err(BindError::NotLoopback(_))), "{address}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = Config::new(taken.local_addr().unwrap(), true);
    let bound = runtime.block_on(Proxy::bind(config, &mut Rng::from_seed([0; 32])));
    assert!(matches!(bound, Err(BindError::Busy(_))));
}

// spec: PROXY-9
// spec: PROXY-7
#[test]
fn a_socks_client_learns_why() {
    let proxy = start_with(false);
    let ask = |command: u8, name: &str, port: u16| {
        let head = [5, 1, 0, 5, command, 0, 3, name.len() as u8];
        let answer = proxy.raw(&[&head[..], name.as_bytes(), &port.to_be_bytes()].concat());
        assert_eq!(answer[..2], [5, 0]);
        assert_eq!(answer[2..].len(), 10, "{name}: one reply, then the end");
        answer[3]
    };
    assert_eq!(ask(1, "policy.test", 80), 2);
    assert_eq!(ask(1, "noexit.test", 80), 3);
    assert_eq!(ask(1, "unknown.test", 80), 4);
    assert_eq!(ask(1, "slow.test", 80), 6);
    assert_eq!(ask(1, "starting.test", 80), 3);
    assert_eq!(ask(1, "offline.test", 80), 3);
    assert_eq!(ask(1, &host(SITE), 443), 2);
    for command in [2, 3, 0xf1] {
        assert_eq!(ask(command, "server.test", 80), 7);
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    proxy.fake.name("closed.test", free);
    assert_eq!(ask(1, "closed.test", 80), 5);
}

// spec: PROXY-10
#[test]
fn an_http_client_learns_why() {
    let proxy = start_with(false);
    let get = |host: &str| proxy.status(&format!("GET http://{host}/ HTTP/1.1\r\nHost: x\r\n\r\n"));
    let tunnel = |host: &str| proxy.status(&format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n"));
    for (host, status) in [
        ("policy.test", 403),
        ("noexit.test", 502),
        ("unknown.test", 502),
        ("slow.test", 504),
        ("starting.test", 503),
        ("offline.test", 502),
    ] {
        assert_eq!((get(host), tunnel(host)), (status, status), "{host}");
    }
    let answer =
        String::from_utf8(proxy.raw(format!("CONNECT {}:443 HTTP/1.0\r\n\r\n", host(SITE)).as_bytes())).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("it needs no https"), "{answer}");
}

// spec: PROXY-16
#[test]
fn a_name_is_handed_to_an_exit_as_it_came() {
    // Nobody but the exit knows these names: whoever looks them up here finds nothing.
    let proxy = start();
    let socks = |command: u8, name: &str| {
        let head = [5, 1, 0, 5, command, 0, 3, name.len() as u8];
        let answer = proxy.raw(&[&head[..], name.as_bytes(), &80u16.to_be_bytes(), b"GET / HTTP/1.0\r\n\r\n"].concat());
        answer[3]
    };
    assert_eq!(socks(0xf0, "server.test"), 0, "RESOLVE");
    assert_eq!(socks(1, "server.test"), 0, "CONNECT");
    assert_eq!(proxy.status("GET http://server.test/ HTTP/1.0\r\n\r\n"), 200);
    let asked: Vec<_> = proxy.fake.take_log().into_iter().map(|(what, _)| what).collect();
    let host = r#"Host("server.test", 80)"#;
    assert_eq!(asked, ["resolve server.test", host, host]);
}

// spec: PROXY-15
// spec: PROXY-46
#[test]
fn what_belongs_to_this_machine_or_its_network_does_not_leave() {
    let proxy = start_with(false);
    let plain = ["localhost", "127.0.0.1", "[::1]", "192.168.1.1", "printer", "a.local", "x.onion", "198.18.0.9"];
    let spelled = ["127.1", "0x7f.1", "0177.0.0.1", "2130706433", "10.9.8.7.", "LOCALHOST.", "localhost.localdomain"];
    for host in plain.into_iter().chain(spelled).chain(["x.onion..", "a.umbel..", "1.2.3.4.5"]) {
        let status = proxy.status(&format!("CONNECT {host}:80 HTTP/1.0\r\n\r\n"));
        assert!(status == 403 || status == 502, "{host}");
        let name = host.trim_matches(['[', ']']);
        let head = [&[5, 1, 0, 5, 0xf0, 0, 3, name.len() as u8][..], name.as_bytes(), &[0, 0]].concat();
        if name.parse::<std::net::IpAddr>().is_err() {
            assert_eq!(proxy.raw(&head)[3], 2, "{host}");
        }
    }
    assert_eq!(proxy.fake.take_log(), [], "the upstream was asked for none of them");
}

// spec: PROXY-12
#[test]
fn an_ambiguous_request_is_answered_and_goes_nowhere() {
    let proxy = start();
    for bad in [
        "POST http://server.test/ HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET http://server.test/ HTTP/1.1\nHost: a\n\n",
        "GET http://server.test/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET http://server.test/ HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",
        "\x16\x03\x01 this is TLS\r\n\r\n",
    ] {
        assert_eq!(proxy.status(bad), 400, "{bad:?}");
    }
    assert_eq!(proxy.fake.take_log(), []);
}

// spec: PROXY-23
// spec: PROXY-24
#[test]
fn a_web_page_reads_neither_the_node_nor_a_site() {
    let proxy = start();
    let site = host(SITE);
    // A page that fetches the proxy's own port, by its address or by a name made to point there.
    for name in ["127.0.0.1:6250", "localhost:6250", "rebound.example:6250", "rebound.example", &format!("{site}:6250")]
    {
        let answer =
            String::from_utf8(proxy.raw(format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n").as_bytes())).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("This is a proxy"), "{name}: {answer}");
        assert!(!answer.to_lowercase().contains("access-control"));
    }
    assert_eq!(proxy.status(&format!("GET / HTTP/1.1\r\nHost: {site}\r\nConnection: close\r\n\r\n")), 200);
    // A page of another site, or of the web.
    for origin in ["http://example.org", "null", &format!("http://{}", host(9)), &format!("https://{site}")] {
        let text =
            format!("GET http://{site}/ HTTP/1.1\r\nHost: {site}\r\nOrigin: {origin}\r\nConnection: close\r\n\r\n");
        assert_eq!(proxy.status(&text), 403, "{origin}");
    }
    let own =
        format!("GET http://{site}/ HTTP/1.1\r\nHost: {site}\r\nOrigin: http://{site}\r\nConnection: close\r\n\r\n");
    assert_eq!(proxy.status(&own), 200);
    // Nothing can be changed there.
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let text = format!("{method} http://{site}/ HTTP/1.1\r\nHost: {site}\r\nConnection: close\r\n\r\n");
        assert_eq!(proxy.status(&text), 405, "{method}");
    }
    // A stream to one site does not answer for another name.
    for name in ["rebound.example", &host(2), "198.18.0.1"] {
        let head = format!("CONNECT {site}:80 HTTP/1.0\r\n\r\nGET / HTTP/1.1\r\nHost: {name}\r\n\r\n");
        let answer = String::from_utf8(proxy.raw(head.as_bytes())).unwrap();
        assert!(answer.contains("HTTP/1.1 421 "), "{name}: {answer}");
    }
}

// spec: PROXY-3
#[test]
fn a_stream_that_is_reset_is_reset_towards_the_program() {
    let proxy = start();
    let resets = serve(|stream| {
        let _ = stream.write_all(b"half");
        std::thread::sleep(Duration::from_millis(200));
        let socket = socket2::SockRef::from(&*stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    });
    proxy.fake.name("resets.test", resets);
    let mut stream = TcpStream::connect(proxy.address).unwrap();
    stream.write_all(b"CONNECT resets.test:80 HTTP/1.0\r\n\r\n").unwrap();
    let mut all = Vec::new();
    let ended = stream.read_to_end(&mut all);
    assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert!(all.ends_with(b"half"));
}

// spec: PROXY-2
#[test]
fn a_stop_ends_idle_connections_and_lets_others_finish() {
    let mut proxy = start();
    let slow = serve(|stream| {
        let mut byte = [0];
        let _ = stream.read(&mut byte);
        let _ = stream.write_all(b"late");
    });
    proxy.fake.name("late.test", slow);
    let idle = TcpStream::connect(proxy.address).unwrap();
    let mut busy = TcpStream::connect(proxy.address).unwrap();
    busy.write_all(b"CONNECT late.test:80 HTTP/1.0\r\n\r\n").unwrap();
    let mut granted = [0; 39];
    busy.read_exact(&mut granted).unwrap();
    proxy.stop.take().unwrap().send(()).unwrap();
    assert!(proxy.ended.recv_timeout(Duration::from_millis(300)).is_err(), "a stream is still open");
    assert!(TcpStream::connect(proxy.address).is_err(), "nothing new is accepted");
    busy.write_all(b"x").unwrap();
    let mut rest = Vec::new();
    busy.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"late");
    drop(busy);
    proxy.ended.recv_timeout(Duration::from_secs(10)).expect("the proxy ends with its last stream");
    drop(idle);
}

// spec: PROXY-2
#[test]
fn connections_beyond_the_bound_wait_their_turn() {
    let usual = Config::new("127.0.0.1:0".parse().unwrap(), true);
    let proxy = start_as(Config { connections: 4, ..usual });
    let held: Vec<_> = (0..4).map(|_| TcpStream::connect(proxy.address).unwrap()).collect();
    let mut one_more = TcpStream::connect(proxy.address).unwrap();
    one_more.write_all(format!("GET http://{}/ HTTP/1.0\r\n\r\n", host(SITE)).as_bytes()).unwrap();
    one_more.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut byte = [0];
    assert!(one_more.read(&mut byte).is_err(), "it is not served yet");
    drop(held);
    one_more.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(one_more.read(&mut byte).unwrap(), 1);
}

// spec: PROXY-4
#[test]
fn a_client_that_does_not_finish_its_request_is_dropped() {
    let usual = Config::new("127.0.0.1:0".parse().unwrap(), true);
    let proxy = start_as(Config { head_timeout: Duration::from_millis(300), ..usual });
    for begun in [&b""[..], b"\x05", b"\x05\x01\x00", b"\x04\x01", b"GET / HT"] {
        let answer = proxy.raw(begun);
        assert!(answer.len() <= 2, "{begun:?}");
    }
    assert_eq!(proxy.status(&format!("GET http://{}/ HTTP/1.0\r\n\r\n", host(SITE))), 200, "others go on");
}
