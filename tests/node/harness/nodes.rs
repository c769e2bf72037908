//! Nodes as processes: a testnet, or relays and clients one by one.

use super::{COMMAND_MAX, Process, Ran, START_MAX, run, text, until};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use umbel::wire::invite::Invite;

/// The program under test: the one that cargo has built for these tests, or the one that `UMBEL_BIN` names.
pub(crate) fn umbel_program() -> String {
    std::env::var("UMBEL_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_umbel").to_owned())
}

/// Runs `umbel --dir DIR --json ...` for at most `most`.
fn command(dir: &Path, most: Duration, arguments: &[&str]) -> Ran {
    run(most, &umbel_program(), &[&["--dir", &text(dir), "--json"], arguments].concat())
}

/// Starts `umbel --dir DIR --json ...`, which prints into a file beside DIR.
fn spawn(dir: &Path, name: &str, arguments: &[&str]) -> Process {
    let at = text(dir);
    let all = [&["--dir", &at, "--json"], arguments].concat();
    let all: Vec<_> = all.into_iter().map(str::to_owned).collect();
    Process::start(name, &dir.with_extension(format!("{name}.log")), &umbel_program(), &all, &[])
}

/// A process and its ready file.
struct Started {
    process: Process,
    file: PathBuf,
}

impl Started {
    /// Starts `umbel ...` with a ready file beside `dir`, which may not stand there from an earlier run.
    fn start(name: &str, dir: &Path, arguments: &[String], env: &[(&str, &str)]) -> Self {
        let file = dir.with_extension("ready");
        let _ = std::fs::remove_file(&file);
        let mut all = vec!["--dir".to_owned(), text(dir), "--ready-file".to_owned(), text(&file)];
        // The command comes first, its options in any order.
        all.splice(0..0, arguments.iter().take(1).cloned());
        all.extend_from_slice(arguments.get(1..).unwrap_or_default());
        Self { process: Process::start(name, &dir.with_extension("log"), &umbel_program(), &all, env), file }
    }

    /// Waits for the ready file; the process must not end before.
    fn ready(&mut self) -> Value {
        let Self { process, file } = self;
        until("a ready file", START_MAX, || {
            if let Some(status) = process.status() {
                panic!("it ended before it was ready, with {status}\n{}", process.tail());
            }
            file.exists()
        });
        let bytes = std::fs::read(file).expect("a ready file");
        serde_json::from_slice(&bytes).expect("a ready file is one JSON object from the moment it is there")
    }
}

fn string(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("no text {key} in {value}")).to_owned()
}

/// `umbel testnet` with a proxy on a free port.
pub(crate) struct Testnet {
    pub(crate) process: Process,
    pub(crate) ready: Value,
    home: TempDir,
}

impl Testnet {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[])
    }

    /// The same with variables in its environment.
    pub(crate) fn start_with(arguments: &[&str], env: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().expect("a temporary folder");
        let mut all: Vec<String> = ["testnet", "--socks", "127.0.0.1:0"].map(str::to_owned).into();
        all.extend(arguments.iter().map(|a| (*a).to_owned()));
        let mut started = Started::start("testnet", &home.path().join("net"), &all, env);
        let ready = started.ready();
        Self { process: started.process, ready, home }
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn socks(&self) -> String {
        string(&self.ready, "socks")
    }

    pub(crate) fn umbel(&self, arguments: &[&str]) -> Ran {
        self.umbel_within(COMMAND_MAX, arguments)
    }

    pub(crate) fn umbel_within(&self, most: Duration, arguments: &[&str]) -> Ran {
        command(&self.home.path().join("net"), most, arguments)
    }

    /// Starts a command and does not wait for it.
    pub(crate) fn spawn_umbel(&self, name: &str, arguments: &[&str]) -> Process {
        spawn(&self.home.path().join("net"), name, arguments)
    }

    pub(crate) fn status(&self) -> Value {
        self.umbel(&["status"]).ok().json()
    }
}

/// A relay's process; it can be stopped and started again with the same folder.
pub(crate) struct RelayNode {
    name: String,
    dir: PathBuf,
    arguments: Vec<String>,
    started: Started,
    ready: Value,
}

impl RelayNode {
    fn spawn(home: &Path, name: &str, arguments: &[String]) -> Self {
        let dir = home.join(name);
        let started = Started::start(name, &dir, arguments, &[]);
        Self { name: name.to_owned(), dir, arguments: arguments.to_vec(), started, ready: Value::Null }
    }

    fn wait(&mut self) {
        self.ready = self.started.ready();
    }

    pub(crate) fn id(&self) -> String {
        string(&self.ready, "id")
    }

    pub(crate) fn addr(&self) -> String {
        string(&self.ready, "addr")
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.started.process
    }

    /// Starts it again, on the address it had, and waits until it is ready.
    pub(crate) fn restart(&mut self) {
        self.started.process.kill();
        let addr = self.addr();
        let mut arguments = self.arguments.clone();
        if let Some(listen) = arguments.iter_mut().skip_while(|a| *a != "--listen").nth(1) {
            *listen = addr;
        }
        self.started = Started::start(&self.name, &self.dir, &arguments, &[]);
        self.wait();
    }

    pub(crate) fn status(&self) -> Value {
        command(&self.dir, COMMAND_MAX, &["status"]).ok().json()
    }
}

/// Relays as separate processes; the first founded the network and is its only exit.
pub(crate) struct Net {
    pub(crate) relays: Vec<RelayNode>,
    home: TempDir,
}

impl Net {
    /// Starts `n` relays with these further options, and waits until all know all.
    pub(crate) fn start(relays: usize, options: &[&str]) -> Self {
        let home = tempfile::tempdir().expect("a temporary folder");
        let mut net = Self { relays: Vec::new(), home };
        let invite = net.invite();
        for n in 0..relays {
            // Every second relay runs two shards.
            let words = format!("relay --listen 127.0.0.1:0 --shards {}", 1 + n % 2);
            let mut arguments: Vec<String> = words.split(' ').map(str::to_owned).collect();
            let own = net.home.path().join(format!("relay-{n}.invite"));
            arguments.extend(["--write-invite".to_owned(), text(&own)]);
            let network = if n == 0 { ["--profile", "testing", "--exit"].as_slice() } else { &["--invite"] };
            arguments.extend(network.iter().map(|w| (*w).to_owned()));
            arguments.extend((n > 0).then(|| text(&invite)));
            arguments.extend(options.iter().map(|o| (*o).to_owned()));
            let relay = RelayNode::spawn(net.home.path(), &format!("relay-{n}"), &arguments);
            net.relays.push(relay);
            until("the founder's invite", START_MAX, || invite.exists());
        }
        net.relays.iter_mut().for_each(RelayNode::wait);
        let all = Some(relays as u64);
        until("a snapshot of all relays", START_MAX, || {
            net.relays.iter().all(|r| r.status()["directory"]["relays"].as_u64() == all)
        });
        net
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// The founder's invite, which names the founder.
    pub(crate) fn invite(&self) -> PathBuf {
        self.home.path().join("relay-0.invite")
    }

    /// An invite that names these relays only. Each writes its own first.
    pub(crate) fn invite_of(&self, relays: &[usize]) -> PathBuf {
        let of = |n: &usize| {
            let text = std::fs::read_to_string(self.relays[*n].dir.with_extension("invite")).expect("a relay's invite");
            Invite::parse(&text).expect("an invite")
        };
        let mut all = of(&relays[0]);
        all.relays = relays.iter().flat_map(|n| of(n).relays.into_iter().take(1)).collect();
        let file = self.home.path().join(format!("invite-of-{}", relays.len()));
        std::fs::write(&file, all.format()).expect("a file");
        file
    }

    /// Starts a client, waits for its first circuit, and until it knows all relays.
    pub(crate) fn client(&self, name: &str) -> Client {
        let client = Client::start(&self.home.path().join(name), &self.invite());
        client.knows(self.relays.len());
        client
    }
}

/// `umbel client` with a proxy on a free port.
pub(crate) struct Client {
    started: Started,
    ready: Value,
    dir: PathBuf,
}

impl Client {
    pub(crate) fn start(dir: &Path, invite: &Path) -> Self {
        let mut client = Self::begin(dir, Some(invite));
        client.wait();
        client
    }

    /// Starts it and does not wait. Without an invite it must know its network from an earlier run.
    pub(crate) fn begin(dir: &Path, invite: Option<&Path>) -> Self {
        let mut line = ["client", "--socks", "127.0.0.1:0"].map(str::to_owned).to_vec();
        line.extend(invite.into_iter().flat_map(|i| ["--invite".to_owned(), text(i)]));
        Self::begin_with(dir, &line)
    }

    /// Starts it with this line and does not wait.
    pub(crate) fn begin_with(dir: &Path, line: &[String]) -> Self {
        let _ = std::fs::remove_file(dir.with_extension("log"));
        let started = Started::start("client", dir, line, &[]);
        Self { started, ready: Value::Null, dir: dir.to_owned() }
    }

    /// Waits for its first circuit.
    pub(crate) fn wait(&mut self) {
        self.ready = self.started.ready();
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.started.process
    }

    /// Waits until its snapshot has this many relays: the first one may be older than the last relay.
    pub(crate) fn knows(&self, relays: usize) {
        until("all relays in the client's snapshot", START_MAX, || {
            self.status()["directory"]["relays"].as_u64() == Some(relays as u64)
        });
    }

    pub(crate) fn socks(&self) -> String {
        string(&self.ready, "socks")
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn umbel(&self, most: Duration, arguments: &[&str]) -> Ran {
        command(&self.dir, most, arguments)
    }

    /// Starts a command and does not wait for it.
    pub(crate) fn spawn_umbel(&self, name: &str, arguments: &[&str]) -> Process {
        spawn(&self.dir, name, arguments)
    }

    pub(crate) fn status(&self) -> Value {
        self.umbel(COMMAND_MAX, &["status"]).ok().json()
    }
}

impl Drop for Client {
    /// A test that fails tells what its client was doing.
    fn drop(&mut self) {
        if std::thread::panicking() && self.started.process.status().is_none() {
            eprintln!("--- the client's status: {}", self.umbel(COMMAND_MAX, &["status"]).out());
        }
    }
}
