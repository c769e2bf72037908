//! Requests that go through an exit, and what servers of many kinds answer.

use super::fake::{FILE, SITE, host, serve};
use super::{Running, start};
use std::io::{Read, Write};
use std::net::TcpStream;

/// Reads up to the end of a request's head.
fn read_head(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return String::new(),
        }
    }
    String::from_utf8(head).expect("a head")
}

/// A proxy before a server that gives this answer to each request, and keeps its connections open.
fn answering(answer: &'static str) -> Running {
    let proxy = start();
    let (give, take) = std::sync::mpsc::channel();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.fake.name("old.test", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            read_head(&mut stream);
            stream.write_all(answer.as_bytes()).unwrap();
            // The other end of the channel never hangs up before the test does: until then the connection stays open.
            let _ = give.send(stream);
        }
    });
    std::mem::forget(take);
    proxy
}

fn ask(proxy: &Running, more: &str) -> String {
    let text = format!("GET http://old.test/ HTTP/1.1\r\nHost: old.test\r\n{more}\r\n");
    let mut stream = TcpStream::connect(proxy.address).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut all = String::new();
    let _ = stream.read_to_string(&mut all);
    all
}

// spec: PROXY-40
#[test]
fn a_connection_takes_one_request_after_the_other_each_for_its_own_host() {
    let proxy = answering("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nold");
    let both = "GET http://old.test/ HTTP/1.1\r\nHost: old.test\r\n\r\n\r\n\
         POST http://server.test/b HTTP/1.1\r\nHost: server.test\r\nContent-Length: 1\r\n\r\nx\r\n\
         GET http://old.test/ HTTP/1.1\r\nHost: old.test\r\nConnection: close\r\n\r\n";
    let answer = String::from_utf8(proxy.raw(both.as_bytes())).unwrap();
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{answer}");
    assert!(
        answer.contains("POST /b HTTP/1.1\r\nHost: server.test\r\n") && answer.ends_with("\r\n\r\nold"),
        "{answer}"
    );
    let asked: Vec<_> = proxy.fake.take_log().into_iter().map(|(what, _)| what).collect();
    let (old, server) = ("Host(\"old.test\", 80)", "Host(\"server.test\", 80)");
    assert_eq!(asked, [old, server, old], "a stream for each");
    let twice =
        proxy.curl(&["-x", "http://PROXY", "http://old.test/1", "http://old.test/2", "-w", " %{num_connects} "]);
    assert_eq!(twice, "old 1 old 0 ");
}

// spec: PROXY-41
#[test]
fn what_a_server_says_to_its_next_hop_stays_there() {
    let proxy = answering(
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\nProxy-Authenticate: Basic\r\n\
         X-End: 2\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
         3 \r\nabc\r\n2;x=y\nde\r\n0\r\nX-Sum: 5\r\nContent-Length: 9\r\n\r\n",
    );
    let answer = ask(&proxy, "");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let lower = head.to_lowercase();
    assert!(!["x-hop", "timeout", "proxy-", "trailer"].iter().any(|hop| lower.contains(hop)), "{head}");
    assert!(head.contains("X-End: 2") && head.contains("Transfer-Encoding: chunked"), "{head}");
    assert_eq!(body, "3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n", "one form, whatever the server's");
    let old = proxy.raw(b"GET http://old.test/ HTTP/1.0\r\n\r\n");
    assert!(old.ends_with(b"\r\n\r\nabcde"), "HTTP/1.0 knows no chunks: {}", String::from_utf8_lossy(&old));
}

// spec: PROXY-42
#[test]
fn a_connection_changes_to_the_protocol_that_both_want() {
    let proxy = start();
    let echo = serve(|stream| {
        let head = read_head(stream).to_lowercase();
        assert!(head.contains("connection: upgrade\r\nupgrade: websocket\r\n"), "{head}");
        let _ = stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nfirst ");
        let mut said = [0; 4];
        while stream.read_exact(&mut said).is_ok() {
            let _ = stream.write_all(&said);
        }
    });
    proxy.fake.name("echo.test", echo);
    for scheme in ["http", "ws"] {
        let head = format!(
            "GET {scheme}://echo.test/ HTTP/1.1\r\nHost: echo.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n"
        );
        let mut stream = TcpStream::connect(proxy.address).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let answer = read_head(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 101 ") && answer.contains("Upgrade: websocket"), "{scheme}: {answer}");
        for said in ["ping", "pong"] {
            stream.write_all(said.as_bytes()).unwrap();
        }
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "first pingpong", "{scheme}");
    }
    let plain = proxy.curl(&["-x", "http://PROXY", "--http2", "http://server.test/hello"]);
    assert!(!plain.to_lowercase().contains("upgrade"), "HTTP/2 would not know of the proxy: {plain}");
}

// spec: PROXY-43
#[test]
fn an_answer_that_two_readers_could_read_differently_goes_no_further() {
    for bad in [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        "HTTP/1.1 407 Your password\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
        "220 mail.example ESMTP\r\n",
    ] {
        let answer = ask(&answering(bad), "");
        assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("Not an answer"), "{bad:?}: {answer}");
        assert!(!answer.contains("Proxy-Authenticate"), "{answer}");
    }
    let cut = ask(&answering("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nabcdef"), "");
    assert!(cut.ends_with("abcd"), "what follows an answer is dropped: {cut}");
}

// spec: PROXY-44
#[test]
fn a_server_says_that_it_wants_the_body_before_it_answers() {
    let proxy = start();
    let server = serve(|stream| {
        assert!(read_head(stream).contains("Expect: 100-continue"));
        let _ = stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
        let mut body = [0; 4];
        let _ = stream.read_exact(&mut body);
        let _ = stream.write_all(&[b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", &body[..]].concat());
    });
    proxy.fake.name("asks.test", server);
    let head = "PUT http://asks.test/ HTTP/1.1\r\nHost: asks.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    let mut stream = TcpStream::connect(proxy.address).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(read_head(&mut stream), "HTTP/1.1 100 Continue\r\n\r\n");
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 103 "));
    stream.write_all(b"body").unwrap();
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 200 "));
    let mut body = [0; 4];
    stream.read_exact(&mut body).unwrap();
    assert_eq!(&body, b"body");
}

// spec: PROXY-39
// spec: PROXY-45
#[test]
fn a_site_s_file_is_asked_for_by_conditions() {
    let proxy = start();
    let get = |root: u8, path: &str, more: &str| {
        let text = format!("GET http://{0}{path} HTTP/1.1\r\nHost: {0}\r\nConnection: close\r\n{more}\r\n", host(root));
        String::from_utf8_lossy(&proxy.raw(text.as_bytes())).into_owned()
    };
    let whole = get(FILE, "/", "");
    let line = |name: &str| whole.lines().find_map(|l| l.strip_prefix(name)).expect("a field").to_owned();
    let (etag, date) = (line("ETag: "), line("Date: "));
    assert!(date.ends_with(" GMT") && date.len() == 29, "{date}");
    for (condition, status) in [
        ("If-None-Match: *".to_owned(), 304),
        (format!("If-None-Match: \"x\"\r\nIf-None-Match: W/{etag}"), 304),
        ("If-None-Match: \"x\"".to_owned(), 200),
        (format!("If-Match: \"x\", {etag}"), 200),
        ("If-Match: *".to_owned(), 200),
        ("If-Match: \"x\"".to_owned(), 412),
        (format!("If-Match: W/{etag}"), 412),
        (format!("If-Range: W/{etag}\r\nRange: bytes=0-1"), 200),
        ("If-Range: Fri, 27 Nov 2026 00:00:00 GMT\r\nRange: bytes=0-1".to_owned(), 200),
        (format!("If-Range: {etag}\r\nRange: BYTES=0-1"), 206),
        ("Range: bytes=5-99999999999999999999999".to_owned(), 206),
    ] {
        let answer = get(FILE, "/", &format!("{condition}\r\n"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{condition}: {}", &answer[..60]);
        assert!(answer.contains("\r\nDate: "), "{condition}");
    }
    assert!(get(SITE, "/empty.txt", "Range: bytes=0-\r\n").starts_with("HTTP/1.1 200 "), "an empty file is whole");
    assert!(get(FILE, "/", "Range: bytes=1000000-\r\n").starts_with("HTTP/1.1 416 "));
}
