//! The control socket, between a node of canned answers and the real program.

mod targets;

use crate::cli::{code, out, umbel};
use std::cell::Cell;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::oneshot;
use umbel::base::secret::Secret;
use umbel::crypto::hash::sha256;
use umbel::host::dir::NodeDir;
use umbel::host::error::Error;
use umbel::host::system::Timer;
use umbel::node::control::report::{
    CustodianReport, InviteReport, LookupReport, Progress, PutReport, RollReport, Status, Unit,
};
use umbel::node::control::server::{DoorSink, GetSink, Handler, Input, News, listen, serve};
use umbel::node::control::{
    BrowseRequest, Door, Entry, GetRequest, Kind, LookupRequest, Opened, PutRequest, RelaysRequest, RollRequest,
};
use umbel::node::relays::{RelayRow, RelaysReport};
use umbel::wire::ids::Address;
use umbel::wire::umbel_link::ContentLink;

/// An error as a node writes it.
fn error(code: &str, message: &str, rule: Option<&str>, hint: &str) -> Error {
    let written = serde_json::json!({ "code": code, "message": message, "rule": rule, "hint": hint });
    serde_json::from_value(written).unwrap()
}

/// A node of canned answers: `file` and `folder` are content, every other link is not found.
struct Canned {
    /// A fetch stops for good once this many bytes were sent.
    stall_at: Arc<AtomicU64>,
    /// Fetches under way.
    fetching: Arc<AtomicUsize>,
    puts: Cell<u64>,
}

const FILE_BYTES: usize = 3_000_000;

fn content() -> Vec<u8> {
    (0..FILE_BYTES).map(|i| ((i * i) >> 5) as u8).collect()
}

/// The folder's files, which together are the content.
const FILES: [(&str, usize); 5] =
    [("a.txt", 1000), ("b/empty", 0), ("b/c/deep", 1_500_000), ("b/d", 400_000), ("z", FILE_BYTES - 1_901_000)];

struct Fetching(Arc<AtomicUsize>);

impl Drop for Fetching {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Handler for Canned {
    async fn status(&self) -> Result<Status, Error> {
        Ok(Status { version: "9".into(), role: "client".into(), ready: true, ..Status::default() })
    }

    async fn relays(&self, _: RelaysRequest) -> Result<RelaysReport, Error> {
        let row = |n: usize| RelayRow { id: n.to_string(), ..RelayRow::default() };
        Ok(RelaysReport { total: 2_000, relays: (0..1_234).map(row).collect(), ..RelaysReport::default() })
    }

    async fn invite(&self) -> Result<InviteReport, Error> {
        Ok(InviteReport { invite: "umbel-invite 2\n".into(), ..InviteReport::default() })
    }

    async fn roll(&self, _: RollRequest) -> Result<RollReport, Error> {
        Ok(RollReport::default())
    }

    async fn put(
        &self,
        request: PutRequest,
        input: Option<Input>,
        news: &mut dyn FnMut(News),
    ) -> Result<PutReport, Error> {
        let path = request.path.unwrap_or_else(|| "/input".into());
        assert!(path.is_absolute());
        let mut read = Vec::new();
        if let Some(mut input) = input {
            input.read_to_end(&mut read).await.unwrap();
        }
        for done in 1..=3 {
            news(News::Progress(Progress { phase: "sending".into(), done, total: 3, unit: Unit::Blocks }));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if path.ends_with("big") {
            return Err(error("store-full", "no custodian has room", Some("CONT-16"), "try later"));
        }
        self.puts.set(self.puts.get() + 1);
        let text = |s: &str| s.to_owned();
        Ok(PutReport {
            link: text("umbel:r/k"),
            verify_link: text("v"),
            url: text("http://k.r.umbel/"),
            root: text("r"),
            bytes: read.len() as u64,
            files: 1,
            blocks: 1,
            copies: self.puts.get(),
            custodians: vec![text("c")],
            expires_unix: 1,
            verified: true,
            elapsed_ms: 15,
            hidden: Vec::new(),
            left_out: Vec::new(),
        })
    }

    async fn get(&self, request: GetRequest, sink: &mut GetSink) -> Result<(), Error> {
        self.fetching.fetch_add(1, Ordering::SeqCst);
        let _fetching = Fetching(self.fetching.clone());
        let link: umbel::Link = request.link.parse()?;
        let link = link.path();
        let kind = if link == "file" { Kind::File } else { Kind::Directory };
        if !["file", "folder", "evil", "cut"].contains(&link) {
            return Err(error("not-found", "no custodian holds this", None, "check the link"));
        }
        let offset = request.offset;
        sink.open(Opened { root: "r".into(), bytes: FILE_BYTES as u64, kind, offset }).await?;
        if kind == Kind::File {
            return self.send(sink, offset as usize, FILE_BYTES, offset).await;
        }
        if link == "evil" {
            sink.entry(Entry { path: "../evil".into(), bytes: 4 }).await?;
            return sink.data(b"evil").await;
        }
        let mut start = 0;
        for (path, bytes) in FILES {
            sink.entry(Entry { path: path.into(), bytes: bytes as u64 }).await?;
            let end = start + bytes;
            self.send(sink, (offset as usize).clamp(start, end), end, offset).await?;
            start = end;
            if link == "cut" && path == "b/d" {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn browse(&self, request: BrowseRequest, opened: &mut DoorSink) -> Result<(), Error> {
        let port = if request.outside { 2 } else { 1 };
        opened.open(Door { addr: ([127, 0, 0, 1], port).into() }).await?;
        std::future::pending().await
    }

    async fn lookup(&self, request: LookupRequest) -> Result<LookupReport, Error> {
        let custodians = vec![CustodianReport { id: "c".into(), answered: true, holds: true, error: None }];
        Ok(LookupReport { key: request.key, kind: "block".into(), locator: None, answered: 1, holding: 1, custodians })
    }
}

impl Canned {
    /// Sends content, in pieces, until the place to stall.
    async fn send(&self, sink: &mut GetSink, from: usize, to: usize, offset: u64) -> Result<(), Error> {
        let content = content();
        for (i, piece) in content[from..to].chunks(10_000).enumerate() {
            if offset == 0 && (from + i * 10_000) as u64 >= self.stall_at.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            sink.data(piece).await?;
            if self.stall_at.load(Ordering::SeqCst) != u64::MAX {
                tokio::time::sleep(Duration::from_millis(8)).await;
            }
        }
        Ok(())
    }
}

/// A running canned node and its folder.
struct Node {
    home: tempfile::TempDir,
    dir: PathBuf,
    stall_at: Arc<AtomicU64>,
    fetching: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Node {
    fn start() -> Self {
        Self::start_in("node")
    }

    fn start_in(name: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join(name);
        let (stall_at, fetching) = (Arc::new(AtomicU64::new(u64::MAX)), Arc::new(AtomicUsize::new(0)));
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let canned = (stall_at.clone(), fetching.clone(), dir.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            tokio::task::LocalSet::new().block_on(&runtime, async move {
                let (stall_at, fetching, dir) = canned;
                let dir = NodeDir::open(&dir).unwrap();
                let listener = tokio::net::UnixListener::from_std(listen(dir.path()).unwrap()).unwrap();
                ready.send(()).unwrap();
                let handler = Rc::new(Canned { stall_at, fetching, puts: Cell::new(0) });
                tokio::select! {
                    () = serve(listener, handler) => panic!("serve ends when it is dropped"),
                    _ = stopped => {}
                }
            });
        });
        is_ready.recv().unwrap();
        Self { home, dir, stall_at, fetching, stop: Some(stop), thread: Some(thread) }
    }

    fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = umbel(self.home.path());
        command.current_dir(self.home.path()).arg("--dir").arg(&self.dir).arg("--json").args(args);
        command
    }

    /// Fetches one of the canned links to `name`.
    fn get(&self, link: &str, name: &str) -> (i32, serde_json::Value) {
        self.json(&["get", &url(link), "-o", name])
    }

    fn json(&self, args: &[&str]) -> (i32, serde_json::Value) {
        let output = self.command(args).output().unwrap();
        (code(&output), serde_json::from_str(&out(&output)).expect("one JSON object"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Starts a fetch that stalls, waits until `OUT.part-state` knows of some of it, and kills it.
    fn kill_a_fetch(&self, link: &str, name: &str) {
        self.stall_at.store(2_000_000, Ordering::SeqCst);
        let mut fetch = self.command(&["get", &url(link), "-o", name]).stdout(Stdio::null()).spawn().unwrap();
        let state = self.path(&format!("{name}.part-state"));
        wait_for(|| {
            let text = fs::read_to_string(&state).unwrap_or_default();
            let offset = serde_json::from_str::<serde_json::Value>(&text).ok().and_then(|v| v["offset"].as_u64());
            offset.unwrap_or(0) > 0
        });
        fetch.kill().unwrap();
        fetch.wait().unwrap();
        assert!(!self.path(name).exists(), "nothing stands where the whole is expected");
        wait_for(|| self.fetching.load(Ordering::SeqCst) == 0);
        self.stall_at.store(u64::MAX, Ordering::SeqCst);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}

fn url(name: &str) -> String {
    let link = ContentLink { root: Address([7; 32]), key: Secret::new([8; 32]) };
    link.url() + name
}

fn wait_for(mut done: impl FnMut() -> bool) {
    let begun = Timer::start();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(30), "waited too long");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn hex_of_content() -> String {
    data_encoding::HEXLOWER.encode(&sha256(&[&content()]))
}

fn assert_folder(path: &Path) {
    let mut start = 0;
    for (name, bytes) in FILES {
        assert!(fs::read(path.join(name)).unwrap() == content()[start..start + bytes], "{name}");
        start += bytes;
    }
}

fn leftovers(node: &Node) -> Vec<String> {
    let names = fs::read_dir(node.home.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|n| n.contains(".part") || n.starts_with('.')).collect()
}

#[test]
fn status_put_and_lookup_answer_over_the_socket() {
    let node = Node::start();
    let mode = fs::metadata(node.dir.join("control.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "the socket is this user's alone");

    let (exit, status) = node.json(&["status"]);
    assert_eq!((exit, &status["version"], &status["ready"]), (0, &"9".into(), &true.into()));
    fs::write(node.path("small"), "x").unwrap();
    let (exit, put) = node.json(&["put", "small"]);
    assert_eq!((exit, &put["link"], &put["copies"]), (0, &"umbel:r/k".into(), &1.into()));
    let key = "a".repeat(52);
    let (exit, lookup) = node.json(&["lookup", &key]);
    assert_eq!((exit, &lookup["key"], &lookup["holding"]), (0, &key.into(), &1.into()));
}

#[test]
fn a_node_s_failure_is_the_command_s() {
    let node = Node::start();
    fs::write(node.path("big"), "x").unwrap();
    let (exit, full) = node.json(&["put", "big"]);
    assert_eq!(exit, 8);
    assert_eq!(full["error"]["code"], "store-full");
    assert_eq!(full["error"]["rule"], "CONT-16");
    let (exit, missing) = node.get("nothing", "x");
    assert_eq!((exit, &missing["error"]["code"]), (4, &"not-found".into()));
    assert_eq!(leftovers(&node), [""; 0]);
}

#[test]
fn a_folder_deeper_than_a_socket_s_address_works() {
    let node = Node::start_in(&"deep/".repeat(40));
    assert_eq!(node.json(&["status"]).0, 0);
}

#[test]
fn a_file_arrives_whole_under_its_name() {
    let node = Node::start();
    fs::write(node.path("x"), "an older file").unwrap();
    let (exit, report) = node.get("file", "x");
    assert_eq!((exit, &report["bytes"], &report["resumed_from"]), (0, &FILE_BYTES.into(), &0.into()));
    assert_eq!((&report["root"], &report["sha256"]), (&"r".into(), &hex_of_content().into()));
    assert!(fs::read(node.path("x")).unwrap() == content());
    assert_eq!(leftovers(&node), [""; 0]);
}

#[test]
fn a_file_streams_to_standard_output_and_a_folder_does_not() {
    let node = Node::start();
    let output = node.command(&["get", &url("file"), "-o", "-"]).output().unwrap();
    assert_eq!(code(&output), 0);
    assert!(output.stdout == content());
    let report: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(report["sha256"], hex_of_content());
    let output = node.command(&["get", &url("folder"), "-o", "-"]).output().unwrap();
    let refused: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((code(&output), out(&output), &refused["error"]["code"]), (2, String::new(), &"usage".into()));
}

#[test]
fn a_killed_get_goes_on_where_it_was() {
    let node = Node::start();
    node.kill_a_fetch("file", "x");
    let (exit, report) = node.get("file", "x");
    assert_eq!(exit, 0, "{report}");
    assert!(report["resumed_from"].as_u64().unwrap() > 0);
    assert_eq!(report["sha256"], hex_of_content());
    assert!(fs::read(node.path("x")).unwrap() == content());
    assert_eq!(leftovers(&node), [""; 0]);
}

#[test]
fn a_part_that_was_changed_is_not_trusted() {
    let node = Node::start();
    for damage in ["changed", "cut off"] {
        node.kill_a_fetch("file", "x");
        let part = node.path("x.part");
        let mut bytes = fs::read(&part).unwrap();
        if damage == "changed" {
            bytes[7] ^= 1;
        } else {
            bytes.truncate(7);
        }
        fs::write(&part, bytes).unwrap();
        let (exit, report) = node.get("file", "x");
        assert_eq!((exit, &report["resumed_from"]), (0, &0.into()), "{damage}");
        assert!(fs::read(node.path("x")).unwrap() == content(), "{damage}");
        fs::remove_file(node.path("x")).unwrap();
    }
}

#[test]
fn a_folder_arrives_whole_and_resumes_as_well() {
    let node = Node::start();
    let (exit, report) = node.get("folder", "site");
    assert_eq!((exit, &report["sha256"]), (0, &hex_of_content().into()));
    assert_folder(&node.path("site"));
    node.kill_a_fetch("folder", "again");
    let (exit, report) = node.get("folder", "again");
    assert_eq!(exit, 0, "{report}");
    assert!(report["resumed_from"].as_u64().unwrap() > 0);
    assert_eq!(report["sha256"], hex_of_content());
    assert_folder(&node.path("again"));

    node.kill_a_fetch("folder", "changed");
    fs::write(node.path("changed.part/a.txt"), [1; 1000]).unwrap();
    let (exit, report) = node.get("folder", "changed");
    assert_eq!((exit, &report["resumed_from"]), (0, &0.into()), "{report}");
    assert_folder(&node.path("changed"));
    assert_eq!(leftovers(&node), [""; 0]);
}

#[test]
fn another_link_s_part_is_begun_anew_and_a_stranger_s_is_kept() {
    let node = Node::start();
    node.kill_a_fetch("file", "x");
    let (exit, report) = node.get("folder", "x");
    assert_eq!((exit, &report["resumed_from"]), (0, &0.into()), "{report}");
    assert_folder(&node.path("x"));

    fs::write(node.path("y.part"), "mine").unwrap();
    let (exit, report) = node.get("file", "y");
    assert_eq!((exit, &report["error"]["code"]), (2, &"usage".into()));
    assert_eq!(fs::read(node.path("y.part")).unwrap(), b"mine");
}

#[test]
fn what_stands_in_the_way_is_kept() {
    let node = Node::start();
    fs::create_dir(node.path("full")).unwrap();
    fs::write(node.path("full/mine"), "mine").unwrap();
    for link in ["file", "folder"] {
        let (exit, report) = node.get(link, "full");
        assert_eq!((exit, &report["error"]["code"]), (2, &"usage".into()), "{report}");
    }
    assert_eq!(fs::read(node.path("full/mine")).unwrap(), b"mine");
    assert_eq!(leftovers(&node), [""; 0]);
}

#[test]
fn a_hostile_or_short_folder_does_not_arrive() {
    let node = Node::start();
    let (exit, evil) = node.get("evil", "site");
    assert_eq!((exit, &evil["error"]["code"]), (6, &"tampered".into()));
    let (exit, cut) = node.get("cut", "site");
    assert_eq!((exit, &cut["error"]["code"]), (1, &"io".into()));
    assert!(!node.path("site").exists() && !node.path("evil").exists());
}

#[test]
fn a_node_that_ends_in_the_middle_leaves_a_part_to_go_on_from() {
    let mut node = Node::start();
    node.stall_at.store(1_000_000, Ordering::SeqCst);
    let fetch = node.command(&["get", &url("file"), "-o", "x"]).stdout(Stdio::piped()).spawn().unwrap();
    wait_for(|| fs::metadata(node.path("x.part")).is_ok_and(|m| m.len() >= 900_000));
    node.stop();
    let output = fetch.wait_with_output().unwrap();
    assert_eq!(code(&output), 3, "{}", out(&output));
    assert!(out(&output).contains("the node ended before it answered"));
    assert!(node.path("x.part").exists() && !node.path("x").exists());
}

#[test]
fn a_fetch_ends_when_its_command_goes_away_and_two_do_not_share_a_part() {
    let node = Node::start();
    node.stall_at.store(500_000, Ordering::SeqCst);
    let mut fetch = node.command(&["get", &url("file"), "-o", "x"]).spawn().unwrap();
    wait_for(|| fs::metadata(node.path("x.part")).is_ok_and(|m| m.len() >= 400_000));
    let (exit, second) = node.get("file", "x");
    assert_eq!(exit, 2, "{second}");
    assert!(second["error"]["message"].as_str().unwrap().contains(&format!("process {} is fetching", fetch.id())));
    fetch.kill().unwrap();
    fetch.wait().unwrap();
    wait_for(|| node.fetching.load(Ordering::SeqCst) == 0);
}

#[test]
fn nonsense_on_the_socket_gets_an_error_and_hurts_nobody() {
    let node = Node::start();
    let say = |line: &[u8]| {
        let mut stream = UnixStream::connect(node.dir.join("control.sock")).unwrap();
        let _ = stream.write_all(line);
        let mut answer = String::new();
        let _ = BufReader::new(stream).read_line(&mut answer);
        answer
    };
    for line in
        [&b"hello\n"[..], b"{\"op\":\"fly\"}\n", b"{\"op\":\"get\",\"link\":\"x\",\"offset\":-1}\n", b"\n", b"\xff\n"]
    {
        assert!(say(line).starts_with("{\"error\":{\"code\":\"usage\""), "{line:?}");
    }
    assert_eq!(say(&[b'x'; 200_000]), "", "a request without an end");
    assert_eq!(node.json(&["status"]).0, 0);
}
