//! A web server of a few pages, reached through an exit.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A page that only what runs scripts shows whole.
const PAGE: &str = "<!doctype html><title>behind the exit</title><h1 id=h>plain</h1>\
                    <script>document.getElementById('h').textContent = 'scripts ' + 'run'</script>";

/// A running server. Its threads end with the test program.
pub(crate) struct Web {
    port: u16,
    pages: Arc<BTreeMap<String, Vec<u8>>>,
    sent: Arc<AtomicU64>,
}

impl Web {
    /// `/hello` and `/page` on all addresses of this machine; `/endless` never ends.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// The same with further pages.
    pub(crate) fn with(more: &[(&str, &[u8])]) -> Self {
        let mut pages: BTreeMap<String, Vec<u8>> = more.iter().map(|(p, b)| ((*p).to_owned(), b.to_vec())).collect();
        pages.insert("/hello".into(), b"hello from behind the exit\n".to_vec());
        pages.insert("/page".into(), PAGE.into());
        let listener = TcpListener::bind("0.0.0.0:0").expect("a free port");
        let web = Self {
            port: listener.local_addr().expect("an address").port(),
            pages: Arc::new(pages),
            sent: Arc::default(),
        };
        let (pages, sent) = (web.pages.clone(), web.sent.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (pages, sent) = (pages.clone(), sent.clone());
                std::thread::spawn(move || answer(&stream, &pages, &sent));
            }
        });
        web
    }

    /// The URL of a page by the name `localhost`, which the exit must look up.
    pub(crate) fn url(&self, page: &str) -> String {
        format!("http://localhost:{}{page}", self.port)
    }

    /// The URL of a page by an address that is not loopback, for programs that will not proxy loopback.
    pub(crate) fn lan_url(&self, page: &str) -> Option<String> {
        lan().map(|ip| format!("http://{ip}:{}{page}", self.port))
    }

    /// Bytes of `/endless` that were sent.
    pub(crate) fn endless_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

/// An address of this machine that is not loopback. Connecting UDP sends nothing.
pub(crate) fn lan() -> Option<std::net::Ipv4Addr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("198.51.100.1:9").ok()?;
    match socket.local_addr().ok()? {
        SocketAddr::V4(addr) if !addr.ip().is_loopback() && !addr.ip().is_unspecified() => Some(*addr.ip()),
        _ => None,
    }
}

fn answer(mut stream: &TcpStream, pages: &BTreeMap<String, Vec<u8>>, sent: &AtomicU64) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let path = lines.next().and_then(|l| l.split(' ').nth(1).map(str::to_owned)).unwrap_or_default();
    while lines.next().is_some_and(|l| !l.is_empty()) {}
    if path == "/endless" {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        while stream.write_all(&[b'.'; 16_384]).is_ok() {
            sent.fetch_add(16_384, Ordering::Relaxed);
        }
        return;
    }
    let (status, kind, body) = match pages.get(&path) {
        Some(body) if path == "/page" => ("200 OK", "text/html", body.as_slice()),
        Some(body) => ("200 OK", "application/octet-stream", body.as_slice()),
        None => ("404 Not Found", "text/plain", &b"no such page"[..]),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body);
}
