//! A node's complete settings: options and variables first, then the configuration file, then defaults.
//!
//! The file is TOML, `umbel.toml` in the node's folder or where `--config` says. Its keys are the names of the options. A key
//! or value that means nothing is an error with its line, so that a mistyped `exti = false` does not pass for a setting.

use crate::api::{INVITE_FILE, LISTEN_DEFAULT, SHARDS_MAX};
use crate::host::error::{Error, ErrorKind, reason};
use crate::node::cli::{ClientArgs, Global, RelayArgs, TestnetArgs};
use crate::node::setting::{Level, Listen, Loopback, NameServer, Paths, ProfileName, Size};
use crate::node::signal::DRAIN_MAX;
use crate::proto::profile::Profile;
use serde::Deserialize;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The configuration file's name in the node's folder.
pub const CONFIG_FILE: &str = "umbel.toml";
/// Where a proxy listens by default.
pub const SOCKS_DEFAULT: &str = "127.0.0.1:6250";
/// Relays of a testnet by default.
pub const RELAYS_DEFAULT: u16 = 8;

/// What all nodes are told.
#[derive(Clone, Debug)]
pub struct Common {
    /// The node's folder. It may not exist yet.
    pub dir: PathBuf,
    /// Written when the node is ready.
    pub ready_file: Option<PathBuf>,
    /// How much is logged.
    pub log: Level,
    /// Whether the log contains addresses, destinations and links.
    pub unredacted: bool,
    /// Whether what the command prints on standard output is JSON.
    pub json: bool,
    /// The configuration file that was named.
    file: Option<PathBuf>,
    /// How much is logged, where the command line or the environment says it: the file cannot change that.
    log_given: Option<Level>,
}

/// The settings of `umbel testnet`.
#[derive(Clone, Debug)]
pub struct TestnetConfig {
    /// What all nodes are told.
    pub common: Common,
    /// How many relays.
    pub relays: usize,
    /// Where the proxy listens; port 0 means any.
    pub socks: SocketAddr,
    /// Whether the proxy gives each destination a circuit of its own.
    pub isolate_destinations: bool,
    /// Whether one relay is an exit.
    pub exit: bool,
    /// Whether sites run scripts in every browser.
    pub site_scripts: bool,
}

/// The settings of `umbel relay`.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// What all nodes are told.
    pub common: Common,
    /// The kind of network, if it was named. Otherwise the invite says it.
    pub profile: Option<&'static Profile>,
    /// Where links are accepted; port 0 means any.
    pub listen: SocketAddr,
    /// The address that others reach, where it is not the one listened on.
    pub advertise: Option<SocketAddr>,
    /// Invites to the network to join.
    pub invites: Vec<PathBuf>,
    /// Further seeds from the configuration file, in the form they have in an invite.
    pub seeds: Vec<String>,
    /// Where to write an invite.
    pub write_invite: Option<PathBuf>,
    /// Bytes of content kept for others, if it was named; zero keeps none.
    pub store: Option<u64>,
    /// Bytes of the disk to leave free, if it was named.
    pub store_reserve: Option<u64>,
    /// Whether keys that are gone are replaced by new ones.
    pub new_identity: bool,
    /// The file of locators that the store does not keep.
    pub store_deny: Option<PathBuf>,
    /// Whether the relay connects to servers outside.
    pub exit: bool,
    /// The name servers that the exit asks. None stands for the system's.
    pub name_servers: Vec<SocketAddr>,
    /// Threads that carry cells, 1 to 64.
    pub shards: usize,
    /// The operator's family.
    pub family: Option<String>,
    /// How long the relay goes on serving others after the signal to end.
    pub drain: Duration,
}

/// The settings of `umbel client`.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// What all nodes are told.
    pub common: Common,
    /// Invites to the network to use, besides the one that the folder keeps.
    pub invites: Vec<PathBuf>,
    /// Further seeds from the configuration file, in the form they have in an invite.
    pub seeds: Vec<String>,
    /// Where the proxy listens; port 0 means any.
    pub socks: SocketAddr,
    /// Whether the proxy gives each destination a circuit of its own.
    pub isolate_destinations: bool,
    /// Whether sites run scripts in every browser.
    pub site_scripts: bool,
    /// Whether further guards are used when those that may be are used up.
    pub guards_fail_open: bool,
}

/// The keys of the configuration file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    relays: Option<u16>,
    socks: Option<Loopback>,
    isolate_destinations: Option<bool>,
    exit: Option<bool>,
    site_scripts: Option<bool>,
    guards_fail_open: Option<bool>,
    ready_file: Option<PathBuf>,
    profile: Option<ProfileName>,
    listen: Option<Listen>,
    advertise: Option<Listen>,
    #[serde(default)]
    invite: Paths,
    #[serde(default)]
    seeds: Vec<String>,
    write_invite: Option<PathBuf>,
    store: Option<Size>,
    store_reserve: Option<Size>,
    store_deny: Option<PathBuf>,
    #[serde(default)]
    name_servers: Vec<NameServer>,
    shards: Option<u16>,
    family: Option<String>,
    drain: Option<u32>,
    log: Option<Level>,
}

impl TestnetConfig {
    /// Completes what the command line says.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when the configuration file cannot be read or understood.
    pub fn new(global: &Global, args: &TestnetArgs) -> Result<Self, Error> {
        let dir = global.dir.clone().map_or_else(default_testnet_dir, Ok)?;
        let file = File::of(&dir, args.config.as_deref())?;
        Ok(Self {
            relays: usize::from(args.relays.or(file.relays).unwrap_or(RELAYS_DEFAULT)),
            socks: socks(args.socks.or(file.socks)),
            isolate_destinations: args.isolate_destinations.or(file.isolate_destinations).unwrap_or(false),
            exit: args.exit.or(file.exit).unwrap_or(false),
            site_scripts: args.site_scripts.or(file.site_scripts).unwrap_or(false),
            common: Common::new(dir, global, (args.ready_file.clone(), args.config.clone()), &file),
        })
    }
}

impl RelayConfig {
    /// Completes what the command line says.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when the configuration file or the invite cannot be read or understood.
    pub fn new(global: &Global, args: &RelayArgs) -> Result<Self, Error> {
        let dir = global.dir.clone().map_or_else(default_dir, Ok)?;
        let file = File::of(&dir, args.config.as_deref())?;
        Ok(Self {
            profile: args.profile.or(file.profile).map(|p| p.0),
            listen: args.listen.or(file.listen).map_or(LISTEN_DEFAULT, |l| l.0),
            advertise: args.advertise.or(file.advertise).map(|l| l.0),
            invites: invites(&args.invite, &file)?,
            seeds: file.seeds.clone(),
            write_invite: args.write_invite.clone().or(file.write_invite.clone()),
            store: args.store.or(file.store).map(|s| s.0),
            store_reserve: args.store_reserve.or(file.store_reserve).map(|s| s.0),
            new_identity: args.new_identity,
            store_deny: args.store_deny.clone().or(file.store_deny.clone()),
            exit: args.exit.or(file.exit).unwrap_or(false),
            name_servers: name_servers(&args.name_servers, &file.name_servers),
            shards: args.shards.or(file.shards).map_or_else(cores, usize::from).clamp(1, SHARDS_MAX),
            family: args.family.clone().or(file.family.clone()),
            drain: args.drain.or(file.drain).map_or(DRAIN_MAX, |s| Duration::from_secs(s.into())),
            common: Common::new(dir, global, (args.ready_file.clone(), args.config.clone()), &file),
        })
    }
}

impl ClientConfig {
    /// Completes what the command line says.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when the configuration file or the invite cannot be read or understood, or nothing names a network.
    pub fn new(global: &Global, args: &ClientArgs) -> Result<Self, Error> {
        let dir = global.dir.clone().map_or_else(default_dir, Ok)?;
        let file = File::of(&dir, args.config.as_deref())?;
        let invites = invites(&args.invite, &file)?;
        if invites.is_empty() && !dir.join(INVITE_FILE).is_file() {
            return Err(Error::new(ErrorKind::Config, "no network is named: there is no invite")
                .with_hint("give the network's invite file with --invite"));
        }
        Ok(Self {
            invites,
            seeds: file.seeds.clone(),
            socks: socks(args.socks.or(file.socks)),
            isolate_destinations: args.isolate_destinations.or(file.isolate_destinations).unwrap_or(false),
            site_scripts: args.site_scripts.or(file.site_scripts).unwrap_or(false),
            guards_fail_open: args.guards_fail_open.or(file.guards_fail_open).unwrap_or(false),
            common: Common::new(dir, global, (args.ready_file.clone(), args.config.clone()), &file),
        })
    }
}

impl Common {
    fn new(
        dir: PathBuf,
        global: &Global,
        (ready_file, named): (Option<PathBuf>, Option<PathBuf>),
        file: &File,
    ) -> Self {
        Self {
            dir,
            file: named,
            log_given: global.log,
            ready_file: ready_file.or_else(|| file.ready_file.clone()),
            log: global.log.or(file.log).unwrap_or(Level::Info),
            unredacted: global.unredacted,
            json: global.json,
        }
    }
}

impl Common {
    /// How much is to be logged, by the configuration file as it stands now.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when the file cannot be read or understood.
    pub fn read_log_level(&self) -> Result<Level, Error> {
        let file = File::of(&self.dir, self.file.as_deref())?;
        Ok(self.log_given.or(file.log).unwrap_or(Level::Info))
    }
}

impl File {
    fn of(dir: &Path, named: Option<&Path>) -> Result<Self, Error> {
        let path = named.map_or_else(|| dir.join(CONFIG_FILE), Path::to_owned);
        match std::fs::read(&path) {
            Ok(bytes) => Self::parse(&path, bytes),
            // A bad folder is reported when it is created.
            Err(e) if named.is_none() && matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(Self::default())
            }
            Err(e) => Err(Error::config(&path, format_args!("the configuration cannot be read: {}", reason(&e)))
                .with_hint("check the path of --config and who owns the file")),
        }
    }

    fn parse(path: &Path, bytes: Vec<u8>) -> Result<Self, Error> {
        let text = String::from_utf8(bytes).map_err(|e| {
            let line = 1 + e.as_bytes().iter().take(e.utf8_error().valid_up_to()).filter(|&&b| b == b'\n').count();
            Error::config(path, format_args!("line {line}: this is not UTF-8 text")).with_hint("save the file as UTF-8")
        })?;
        let mut file: Self = toml::from_str(&text).map_err(|e| explain(path, &text, &e))?;
        // Paths in a file are relative to the file, wherever the node is started.
        let base = path.parent().unwrap_or(Path::new("."));
        let paths = [&mut file.ready_file, &mut file.write_invite, &mut file.store_deny];
        for p in paths.into_iter().flatten().chain(&mut file.invite.0) {
            *p = base.join(&*p);
        }
        Ok(file)
    }
}

fn explain(path: &Path, text: &str, error: &toml::de::Error) -> Error {
    let start = error.span().map_or(0, |s| s.start);
    let before = text.get(..start).unwrap_or(text);
    let line = 1 + before.matches('\n').count();
    let source = text.lines().nth(line - 1).unwrap_or_default();
    let key = source.split_once('=').map(|(key, _)| key.trim()).filter(|key| !key.is_empty() && !key.starts_with('#'));
    let place = key.map_or_else(|| format!("line {line}"), |key| format!("line {line}, key {key}"));
    let message = error.message().lines().next().unwrap_or_default().replace('`', "\"");
    let hint = match message.split_once(", expected ") {
        Some((problem, expected)) if problem.starts_with("unknown field") => {
            let keys = expected.trim_start_matches("one of ").replace('"', "");
            return Error::config(path, format_args!("{place}: {problem}"))
                .with_hint(format!("remove it, or use one of: {keys}"));
        }
        _ if message.starts_with("invalid type") => {
            "write text and addresses in quotes, numbers and true or false without"
        }
        _ if key.is_some() => "correct the value; umbel relay --help tells what it may be",
        _ => "write one setting a line, as in: listen = \"0.0.0.0:6251\"",
    };
    Error::config(path, format_args!("{place}: {message}")).with_hint(hint)
}

/// The invites that were named, by the option or else the file; each can be read.
fn invites(option: &[PathBuf], file: &File) -> Result<Vec<PathBuf>, Error> {
    let named = if option.is_empty() { &file.invite.0 } else { option };
    for path in named {
        std::fs::File::open(path).map_err(|e| {
            Error::config(path, format_args!("the invite cannot be read: {}", reason(&e)))
                .with_hint("give the file that somebody in the network wrote with umbel invite")
        })?;
    }
    Ok(named.to_vec())
}

/// The option's, else the file's.
fn name_servers(option: &[NameServer], file: &[NameServer]) -> Vec<SocketAddr> {
    let named = if option.is_empty() { file } else { option };
    named.iter().map(|server| server.0).collect()
}

fn socks(given: Option<Loopback>) -> SocketAddr {
    given.map_or_else(|| literal(SOCKS_DEFAULT), |l| l.0)
}

fn literal(addr: &str) -> SocketAddr {
    addr.parse().expect("a constant of this file, tested below")
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The folder of this user's node where none is named.
pub fn default_dir() -> Result<PathBuf, Error> {
    Ok(state_home()?.join("umbel"))
}

/// The folder of a testnet where none is named.
pub fn default_testnet_dir() -> Result<PathBuf, Error> {
    Ok(state_home()?.join("umbel-testnet"))
}

fn state_home() -> Result<PathBuf, Error> {
    let of = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    of("XDG_STATE_HOME").or_else(|| of("HOME").map(|h| h.join(".local/state"))).ok_or_else(|| {
        Error::new(ErrorKind::Config, "there is no home folder to keep the node's files in")
            .with_hint("name a folder with --dir")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::cli::{Cli, Command};
    use clap::Parser;

    fn relay(line: &str) -> Result<RelayConfig, Error> {
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let Command::Relay(args) = &cli.command else { panic!("not a relay") };
        RelayConfig::new(&cli.global, args)
    }

    #[test]
    fn an_option_wins_over_the_file_and_the_file_over_the_default() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().display();
        let plain = relay(&format!("umbel relay --dir {dir}")).unwrap();
        assert_eq!((plain.listen, plain.store, plain.exit), (LISTEN_DEFAULT, None, false));
        assert!(plain.profile.is_none() && plain.invites.is_empty() && plain.shards >= 1);

        let text = "listen = \"127.0.0.1:7\"\nstore = \"2G\"\nexit = true\nready-file = \"ready\"\nstore-deny = \"no\"\ninvite = \"i\"\nseeds = [\"s\"]\nname-servers = [\"192.0.2.1\", \"[::1]:54\"]\n";
        std::fs::write(temp.path().join(CONFIG_FILE), text).unwrap();
        std::fs::write(temp.path().join("i"), "").unwrap();
        let both = relay(&format!("umbel relay --dir {dir} --store 3G --exit=false --profile testing")).unwrap();
        assert_eq!((both.listen, both.store, both.exit), (literal("127.0.0.1:7"), Some(3 << 30), false));
        assert_eq!(both.common.ready_file, Some(temp.path().join("ready")));
        assert_eq!(both.store_deny, Some(temp.path().join("no")));
        assert_eq!(both.invites, [temp.path().join("i")]);
        assert_eq!(both.name_servers, [literal("192.0.2.1:53"), literal("[::1]:54")]);
        let named = relay(&format!("umbel relay --dir {dir} --name-servers 192.0.2.2,::2")).unwrap();
        assert_eq!(named.name_servers, [literal("192.0.2.2:53"), literal("[::2]:53")]);
        assert_eq!((both.profile.unwrap().name, both.seeds), ("testing", vec!["s".to_owned()]));
    }

    #[test]
    fn a_mistake_in_the_file_is_named_with_its_line_and_key() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("x.toml");
        for (text, expected) in [
            ("exit = true\nexti = false\n", "line 2, key exti: unknown field \"exti\""),
            ("\nstore = 10\n", "line 2, key store: invalid type"),
            ("store = \"10X\"\n", "line 1, key store: \"10X\" is not a size"),
            ("socks = \"0.0.0.0:1\"\n", "line 1, key socks: \"0.0.0.0:1\" is not a loopback"),
            ("listen = [\n", "line 1"),
            ("name-servers = [\"dns.example\"]\n", "line 1, key name-servers: \"dns.example\" is not a name server"),
            ("log = \"loud\"", "line 1, key log: there is no level"),
            ("invite = 7\n", "line 1, key invite: invalid type"),
            ("exit = true\nexit = false\n", "line 2, key exit: duplicate key"),
            ("hello\n", "line 1"),
        ] {
            std::fs::write(&path, text).unwrap();
            let failure =
                relay(&format!("umbel relay --dir {} --config {}", temp.path().display(), path.display())).unwrap_err();
            assert_eq!(failure.kind(), ErrorKind::Config);
            assert!(failure.to_string().contains("x.toml: ") && failure.to_string().contains(expected), "{failure}");
            assert!(failure.hint().is_some());
        }
        std::fs::write(&path, [b'\n', 0xff]).unwrap();
        let failure = File::of(temp.path(), Some(&path)).unwrap_err();
        assert!(failure.to_string().contains("line 2"), "{failure}");
        assert_eq!(File::of(temp.path(), Some(temp.path())).unwrap_err().kind(), ErrorKind::Config, "a folder");
    }
}
