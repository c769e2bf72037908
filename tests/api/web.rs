//! A small web server of the test's own.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

/// Answers `GET /x` with "hello from /x", and `GET /endless` with bytes until nobody takes them.
pub(crate) struct Web {
    port: u16,
}

impl Web {
    /// Serves until the process ends.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || while answer(&stream).is_some() {});
            }
        });
        Self { port }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A port where nobody listens.
    pub(crate) fn closed_port(&self) -> u16 {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }
}

fn answer(mut stream: &TcpStream) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let path = head.split(' ').nth(1)?;
    if path == "/endless" {
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
        return None;
    }
    let body = format!("hello from {path}");
    let length = body.len();
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").ok()?;
    // An old client reads to the end.
    head.contains("HTTP/1.1").then_some(())
}
