//! An upstream that dials loopback by a table of names, and serves objects from memory.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use tokio::io::AsyncWriteExt;
use umbel::base::secret::Secret;
use umbel::node::proxy::upstream::{
    Entry, Isolation, Kind, Object, ObjectBody, ObjectError, ObjectInfo, OpenError, Upstream,
};
use umbel::wire::ids::Address;
use umbel::wire::message::{EndReason, Target};
use umbel::wire::umbel_link::ContentLink;

#[derive(Default)]
struct Tables {
    names: BTreeMap<String, SocketAddr>,
    /// The sequence of requests to the upstream.
    log: Vec<(String, Isolation)>,
    /// What came with the last request to open a stream.
    first: Vec<u8>,
}

#[derive(Clone, Default)]
pub(super) struct Fake(Arc<Mutex<Tables>>);

impl Fake {
    pub(super) fn name(&self, name: &str, address: SocketAddr) {
        self.0.lock().expect("one thread at a time").names.insert(name.to_owned(), address);
    }

    /// What was asked since the last call.
    pub(super) fn take_log(&self) -> Vec<(String, Isolation)> {
        std::mem::take(&mut self.0.lock().expect("one thread at a time").log)
    }

    /// The bytes that the last stream was opened with.
    pub(super) fn first(&self) -> Vec<u8> {
        self.0.lock().expect("one thread at a time").first.clone()
    }

    fn note(&self, what: String, isolation: Isolation) {
        self.0.lock().expect("one thread at a time").log.push((what, isolation));
    }

    fn find(&self, name: &str) -> Option<SocketAddr> {
        self.0.lock().expect("one thread at a time").names.get(name).copied()
    }
}

/// Objects by the first byte of their root.
pub(super) const SITE: u8 = 1;
pub(super) const FILE: u8 = 2;
pub(super) const BREAKS: u8 = 3;
pub(super) const NOT_FOUND: u8 = 4;
pub(super) const WRONG_KEY: u8 = 5;
pub(super) const TAMPERED: u8 = 6;
pub(super) const NO_PATH: u8 = 7;
pub(super) const TIMED_OUT: u8 = 8;

/// The host name of one of the objects.
pub(super) fn host(root: u8) -> String {
    ContentLink { root: Address([root; 32]), key: Secret::new([0x5a; 32]) }.host()
}

/// The single file's content.
pub(super) fn file() -> Vec<u8> {
    (0..1_000_000u32).map(|n| (n % 251) as u8).collect()
}

const PAGES: &[(&str, &str, &str)] = &[
    ("index.html", "text/html", "<h1>front</h1><a href=\"docs/\">docs</a><a href=\"with%20space.txt\">s</a>"),
    ("docs/index.html", "text/html", "<h1>docs</h1><a href=\"../index.html\">up</a>"),
    ("with space.txt", "text/plain", "spaced"),
    ("evil.bin", "text/html\r\nSet-Cookie: a=b", "evil"),
    ("empty.txt", "text/plain", ""),
    ("picture.svg", "image/svg+xml", "<svg xmlns=\"http://www.w3.org/2000/svg\"/>"),
    ("scripts.html", "text/html", "<link rel=preconnect href=//h><p id=p><script>p.textContent = 'runs'</script>"),
];

impl Upstream for Fake {
    type Stream = tokio::net::TcpStream;
    type Object = Memory;

    async fn connect(&self, target: Target, isolation: Isolation, first: Vec<u8>) -> Result<Self::Stream, OpenError> {
        self.note(format!("{target:?}"), isolation);
        self.0.lock().expect("one thread at a time").first.clone_from(&first);
        let address = match &target {
            Target::Addr(address) => *address,
            Target::Host(name, _) => match name.as_str() {
                "policy.test" => return Err(OpenError::Ended(EndReason::Policy)),
                "slow.test" => return Err(OpenError::Ended(EndReason::TimedOut)),
                "delayed.test" => {
                    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                    self.find("server.test").expect("it is there")
                }
                "noexit.test" => return Err(OpenError::NoExit),
                "offline.test" => return Err(OpenError::NoPath),
                "starting.test" => return Err(OpenError::NotReady),
                name => self.find(name).ok_or(OpenError::Ended(EndReason::Unreachable))?,
            },
            Target::Directory | Target::Store => panic!("the proxy asked for a relay's own service"),
        };
        let refused = |_| OpenError::Ended(EndReason::Refused);
        let mut stream = tokio::net::TcpStream::connect(address).await.map_err(refused)?;
        stream.write_all(&first).await.map_err(refused)?;
        Ok(stream)
    }

    async fn resolve(&self, name: &str, isolation: Isolation) -> Result<Vec<IpAddr>, OpenError> {
        self.note(format!("resolve {name}"), isolation);
        Ok(if name == "server.test" {
            vec![IpAddr::from([0x2a00, 0, 0, 0, 0, 0, 0, 5u16]), IpAddr::from([9, 8, 7, 6])]
        } else {
            Vec::new()
        })
    }

    async fn open_object(&self, link: &ContentLink, isolation: Isolation) -> Result<Self::Object, ObjectError> {
        self.note("object".to_owned(), isolation);
        assert_eq!(link.key.expose(), &[0x5a; 32]);
        match link.root.0[0] {
            SITE => Ok(Memory::site()),
            FILE => Ok(Memory::file(None)),
            BREAKS => Ok(Memory::file(Some(500_000))),
            WRONG_KEY => Err(ObjectError::WrongKey),
            TAMPERED => Err(ObjectError::Tampered),
            NO_PATH => Err(ObjectError::NoPath),
            TIMED_OUT => Err(ObjectError::TimedOut),
            _ => Err(ObjectError::NotFound),
        }
    }
}

pub(super) struct Memory {
    content: Bytes,
    entries: BTreeMap<String, Entry>,
    kind: Kind,
    breaks_at: Option<usize>,
}

impl Memory {
    fn site() -> Self {
        let (mut content, mut entries) = (Vec::new(), BTreeMap::new());
        for (name, mime, text) in PAGES {
            let entry = Entry { offset: content.len() as u64, len: text.len() as u64, mime: (*mime).to_owned() };
            entries.insert((*name).to_owned(), entry);
            content.extend_from_slice(text.as_bytes());
        }
        Self { content: content.into(), entries, kind: Kind::Directory, breaks_at: None }
    }

    fn file(breaks_at: Option<usize>) -> Self {
        Self { content: file().into(), entries: BTreeMap::new(), kind: Kind::File, breaks_at }
    }
}

impl Object for Memory {
    type Body = MemoryBody;

    fn info(&self) -> ObjectInfo {
        let (mime, name) = ("application/x-test".to_owned(), "a file.bin".to_owned());
        ObjectInfo { kind: self.kind, len: self.content.len() as u64, mime, name }
    }

    fn entry(&self, path: &str) -> Option<Entry> {
        self.entries.get(path).cloned()
    }

    async fn read(&self, range: Range<u64>) -> Result<MemoryBody, ObjectError> {
        let rest = self.content.slice(range.start as usize..range.end as usize);
        Ok(MemoryBody { rest, breaks_in: self.breaks_at.map(|at| at.saturating_sub(range.start as usize)) })
    }
}

pub(super) struct MemoryBody {
    rest: Bytes,
    breaks_in: Option<usize>,
}

impl ObjectBody for MemoryBody {
    async fn next(&mut self) -> Result<Option<Bytes>, ObjectError> {
        tokio::task::yield_now().await;
        let n = self.rest.len().min(16_384);
        if let Some(left) = &mut self.breaks_in {
            *left = left.checked_sub(n).ok_or(ObjectError::Tampered)?;
        }
        Ok(Some(self.rest.split_to(n)).filter(|chunk| !chunk.is_empty()))
    }
}

/// A web server that answers each request with the request itself: its head, an empty line, its body.
pub(super) fn serve_http() -> SocketAddr {
    serve(|stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("a handle"));
        let (mut head, mut body) = (String::new(), Vec::new());
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let lower = head.to_lowercase();
        if let Some((_, rest)) = lower.split_once("content-length: ") {
            let n: usize = rest.lines().next().and_then(|n| n.parse().ok()).expect("a length");
            body.resize(n, 0);
            reader.read_exact(&mut body).expect("a body");
        }
        while lower.contains("chunked") && !body.ends_with(b"0\r\n\r\n") {
            let mut byte = [0];
            reader.read_exact(&mut byte).expect("a chunk");
            body.push(byte[0]);
        }
        let size = head.len() + body.len();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n");
        let _ = stream.write_all(&[answer.as_bytes(), head.as_bytes(), &body].concat());
    })
}

/// A server that does this with each connection.
pub(super) fn serve(each: fn(&mut std::net::TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            std::thread::spawn(move || each(&mut stream));
        }
    });
    address
}
