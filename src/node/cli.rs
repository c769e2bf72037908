//! The command line.
//!
//! A setting comes from the first of: its option, its `UMBEL_*` variable, the configuration file, its default. Here are the
//! first two; [`crate::node::config`] adds the others.

use crate::node::setting::{Level, Listen, Loopback, NameServer, ProfileName, Size};
use crate::node::sim::args::SimArgs;
use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const MAIN_EXAMPLES: &str = "\
Try it:
  umbel testnet                     a whole network on this machine, with a sample site
  umbel put ./site                  publish a folder into it, and get a link
  umbel get umbel:<root>/<key> -o site
  curl --proxy socks5h://127.0.0.1:6250 http://<key>.<root>.umbel/

Exit codes:
  0 done            4 not found      8 store full     12 configuration
  1 file or system  5 wrong key      9 time-out       13 clock
  2 usage or link   6 tampered      10 DIR in use
  3 no node runs    7 no path       11 port busy";

/// An anonymous network: onion circuits, and content that is found by its hash.
#[derive(Clone, Debug, Parser)]
#[command(name = "umbel", version, styles = STYLES, after_help = MAIN_EXAMPLES, max_term_width = 100)]
#[command(arg_required_else_help = true, infer_long_args = false)]
pub struct Cli {
    /// Options of all commands.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// The node's folder: keys, caches, control socket [default: ~/.local/state/umbel]
    #[arg(long, global = true, value_name = "DIR", env = "UMBEL_DIR", hide_env_values = true)]
    pub dir: Option<PathBuf>,
    /// Print one JSON object on standard output, errors included
    #[arg(long, global = true)]
    pub json: bool,
    /// How much to log on standard error: off, error, warn, info, debug or trace
    #[arg(
        long,
        global = true,
        value_name = "LEVEL",
        env = "UMBEL_LOG",
        hide_env_values = true,
        hide_possible_values = true
    )]
    pub log: Option<Level>,
    /// Let addresses, destinations and links stand in the log (for a test network)
    #[arg(long, global = true, hide = true)]
    pub unredacted: bool,
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run a whole network in this process, with a proxy and a sample site
    Testnet(TestnetArgs),
    /// Run a relay
    Relay(RelayArgs),
    /// Run a client: a proxy on this machine, and the node that put and get talk to
    Client(ClientArgs),
    /// Publish a file or folder and print its link
    Put(PutArgs),
    /// Fetch what a link or URL names into a file or folder
    Get(GetArgs),
    /// Open a browser window that reaches nothing but the network
    Browse(BrowseArgs),
    /// Print an invite to the node's network, for others to join by
    #[command(after_help = INVITE_EXAMPLES)]
    Invite,
    /// Found a private network, and make people members of it
    Network(NetworkArgs),
    /// Show what the node does
    Status,
    /// Show the relays of the set that the node knows
    Relays(RelaysArgs),
    /// Show which relays keep a relay's record or a block, and which of them answer
    Lookup(LookupArgs),
    /// Simulate a network in virtual time: its directory under attack, or its content
    Sim(SimArgs),
}

const TESTNET_EXAMPLES: &str = "\
Examples:
  umbel testnet
  umbel testnet --relays 40 --exit --socks 127.0.0.1:0 --ready-file /tmp/ready.json

The network lives as long as the process. While it runs, put, get, status and lookup find it without --dir.";

/// Options of `umbel testnet`.
#[derive(Clone, Debug, Args)]
#[command(after_help = TESTNET_EXAMPLES)]
pub struct TestnetArgs {
    /// How many relays, 4 to 64 [default: 8]
    #[arg(long, value_name = "N", env = "UMBEL_RELAYS", hide_env_values = true, value_parser = clap::value_parser!(u16).range(4..=64))]
    pub relays: Option<u16>,
    /// Where the proxy listens; port 0 takes any free port [default: 127.0.0.1:6250]
    #[arg(long, value_name = "ADDR", env = "UMBEL_SOCKS", hide_env_values = true)]
    pub socks: Option<Loopback>,
    /// Give each destination a circuit of its own, instead of 8 circuits for each user of the proxy
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(env = "UMBEL_ISOLATE_DESTINATIONS", hide_env_values = true, hide_possible_values = true)]
    pub isolate_destinations: Option<bool>,
    /// Let the last relay connect to servers outside the network
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(env = "UMBEL_EXIT", hide_env_values = true, hide_possible_values = true)]
    pub exit: Option<bool>,
    /// Let sites run scripts in every browser that uses the proxy, not only where umbel browse started it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(env = "UMBEL_SITE_SCRIPTS", hide_env_values = true, hide_possible_values = true)]
    pub site_scripts: Option<bool>,
    /// Written once the first circuit works: a JSON object that tells what runs where
    #[arg(long, value_name = "FILE", env = "UMBEL_READY_FILE", hide_env_values = true)]
    pub ready_file: Option<PathBuf>,
    /// The configuration file [default: DIR/umbel.toml, if it exists]
    #[arg(long, value_name = "FILE", env = "UMBEL_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
}

const RELAY_EXAMPLES: &str = "\
Examples:
  umbel relay --dir r1 --profile testing --listen 127.0.0.1:7001 --write-invite net.invite
  umbel relay --dir r2 --profile testing --listen 127.0.0.1:7002 --invite net.invite --store 10G

The first starts a network and writes the invite with which others join it. The second joins and keeps content for others.";

/// Options of `umbel relay`.
#[derive(Clone, Debug, Args)]
#[command(after_help = RELAY_EXAMPLES)]
pub struct RelayArgs {
    /// The kind of network: public, private or testing [default: the invite's, else public]
    #[arg(long, value_name = "PROFILE", env = "UMBEL_PROFILE", hide_env_values = true)]
    pub profile: Option<ProfileName>,
    /// Where links are accepted; port 0 takes any free port [default: 0.0.0.0:6251]
    #[arg(long, value_name = "ADDR", env = "UMBEL_LISTEN", hide_env_values = true)]
    pub listen: Option<Listen>,
    /// The address that others reach, where it is not the one listened on
    #[arg(long, value_name = "ADDR", env = "UMBEL_ADVERTISE", hide_env_values = true)]
    pub advertise: Option<Listen>,
    /// An invite to the network to join, as many as there are; needed at the first start only. Without any, a new network starts
    #[arg(long, value_name = "FILE", env = "UMBEL_INVITE", hide_env_values = true)]
    pub invite: Vec<PathBuf>,
    /// Write an invite for others to join by, and keep it current
    #[arg(long, value_name = "FILE", env = "UMBEL_WRITE_INVITE", hide_env_values = true)]
    pub write_invite: Option<PathBuf>,
    /// How much content to keep for others, as in 512M or 10G; 0 keeps none [default: 1G]
    #[arg(long, value_name = "SIZE", env = "UMBEL_STORE", hide_env_values = true)]
    pub store: Option<Size>,
    /// How much of the disk to leave free: where less is, no content is taken in [default: 256M, or a twentieth of a small disk]
    #[arg(long, value_name = "SIZE", env = "UMBEL_STORE_RESERVE", hide_env_values = true)]
    pub store_reserve: Option<Size>,
    /// Go on as a new relay, with a new id, where the keys of the folder are gone
    #[arg(long)]
    pub new_identity: bool,
    /// Content not to keep: a file of locators as `umbel lookup` shows them, one a line; read at the start
    #[arg(long, value_name = "FILE", env = "UMBEL_STORE_DENY", hide_env_values = true)]
    pub store_deny: Option<PathBuf>,
    /// Connect to servers outside the network for clients: read about the risks first
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(env = "UMBEL_EXIT", hide_env_values = true, hide_possible_values = true)]
    pub exit: Option<bool>,
    /// Name servers that the exit asks, such as 192.0.2.53 or `[2001:db8::53]:5353`, separated by commas [default: those of
    /// /etc/resolv.conf]
    #[arg(long, value_name = "ADDR", env = "UMBEL_NAME_SERVERS", hide_env_values = true, value_delimiter = ',')]
    pub name_servers: Vec<NameServer>,
    /// How many threads carry cells [default: one a core]
    #[arg(long, value_name = "N", env = "UMBEL_SHARDS", hide_env_values = true, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub shards: Option<u16>,
    /// The name that all relays of one operator share: no path holds two of them
    #[arg(long, value_name = "NAME", env = "UMBEL_FAMILY", hide_env_values = true)]
    pub family: Option<String>,
    /// How many seconds the relay goes on for those it serves after the first signal to end; a second signal ends it at once
    /// [default: 30]
    #[arg(long, value_name = "SECONDS", env = "UMBEL_DRAIN", hide_env_values = true)]
    pub drain: Option<u32>,
    /// The configuration file [default: DIR/umbel.toml, if it exists]
    #[arg(long, value_name = "FILE", env = "UMBEL_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
    /// Written once links are accepted: a JSON object that tells what runs where
    #[arg(long, value_name = "FILE", env = "UMBEL_READY_FILE", hide_env_values = true)]
    pub ready_file: Option<PathBuf>,
}

const CLIENT_EXAMPLES: &str = "\
Examples:
  umbel client --invite net.invite
  curl --proxy socks5h://127.0.0.1:6250 http://example.com/

The invite is needed at the first start only: the node keeps what it learns of the network.";

/// Options of `umbel client`.
#[derive(Clone, Debug, Args)]
#[command(after_help = CLIENT_EXAMPLES)]
pub struct ClientArgs {
    /// An invite to the network to use, as many as there are; needed at the first start only
    #[arg(long, value_name = "FILE", env = "UMBEL_INVITE", hide_env_values = true)]
    pub invite: Vec<PathBuf>,
    /// Where the proxy listens; port 0 takes any free port [default: 127.0.0.1:6250]
    #[arg(long, value_name = "ADDR", env = "UMBEL_SOCKS", hide_env_values = true)]
    pub socks: Option<Loopback>,
    /// Give each destination a circuit of its own, instead of 8 circuits for each user of the proxy
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(env = "UMBEL_ISOLATE_DESTINATIONS", hide_env_values = true, hide_possible_values = true)]
    pub isolate_destinations: Option<bool>,
    /// Let sites run scripts in every browser that uses the proxy, not only where umbel browse started it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(env = "UMBEL_SITE_SCRIPTS", hide_env_values = true, hide_possible_values = true)]
    pub site_scripts: Option<bool>,
    /// Use further guards when the three of the last 90 days are gone, suspended or out of reach
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(env = "UMBEL_GUARDS_FAIL_OPEN", hide_env_values = true, hide_possible_values = true)]
    pub guards_fail_open: Option<bool>,
    /// The configuration file [default: DIR/umbel.toml, if it exists]
    #[arg(long, value_name = "FILE", env = "UMBEL_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
    /// Written once the first circuit works: a JSON object that tells what runs where
    #[arg(long, value_name = "FILE", env = "UMBEL_READY_FILE", hide_env_values = true)]
    pub ready_file: Option<PathBuf>,
}

const PUT_EXAMPLES: &str = "\
Examples:
  umbel put ./site --dry-run
  umbel put ./site --exclude .git --exclude '*.log'
  umbel put notes.pdf --json
  tar c photos | umbel put - --name photos.tar

Success means that the content was read back from the network. Whoever has the link can read, and nothing that was
published can be withdrawn; the verify link lets others check and keep copies without reading.

Of a folder all files are published, hidden ones too, and nothing from outside: symbolic links and what is mounted in it
are left out, as are pipes, sockets and devices. What is hidden or left out is named before anything is sent.";

/// Options of `umbel put`.
#[derive(Clone, Debug, Args)]
#[command(after_help = PUT_EXAMPLES)]
pub struct PutArgs {
    /// The file or folder to publish; - reads standard input
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// Derive the key from the content: equal files get equal links, and whoever has the file can tell that it was published
    #[arg(long)]
    pub convergent: bool,
    /// Publish it under this name, which also tells a file's type [default: the name in PATH; none for standard input]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Leave out of a folder what matches: *.log in any folder, build/*.o at that place, target/ a folder
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// Publish also what a folder's symbolic links and mount points lead to, wherever that is
    #[arg(long)]
    pub follow: bool,
    /// List what would be published and what left out, and publish nothing
    #[arg(long)]
    pub dry_run: bool,
}

const GET_EXAMPLES: &str = "\
Examples:
  umbel get umbel:<root>/<key> -o notes.pdf
  umbel get http://<key>.<root>.umbel/video.mp4 -o - | mpv -

A URL is read as the browser's proxy reads it. OUT.part grows beside OUT until all is there and checked. A get that was
killed goes on from it when run again. A file keeps its rights and an empty folder is filled; a device or pipe is written
into as the content comes.";

/// Options of `umbel get`.
#[derive(Clone, Debug, Args)]
#[command(after_help = GET_EXAMPLES)]
pub struct GetArgs {
    /// A link or URL.
    #[arg(
        value_name = "LINK|URL",
        help = "What to fetch: umbel:<root>/<key>, or a URL http://<key>.<root>.umbel/path"
    )]
    pub link: String,
    /// The file or folder to make; - writes a file to standard output
    #[arg(short, long, value_name = "OUT")]
    pub out: PathBuf,
}

const BROWSE_EXAMPLES: &str = "\
Examples:
  umbel browse http://<key>.<root>.umbel/
  umbel browse https://example.com/
  umbel browse --browser firefox --keep reading

A window is for sites, whose scripts run and which reach no other host, or for hosts outside, where sites come without
scripts: the URL decides. Both use circuits of their own and a profile of their own, which is removed when the window
closes. Where no node runs on DIR, the command runs a client of its own for as long as the window is open.";

/// Options of `umbel browse`.
#[derive(Clone, Debug, Args)]
#[command(after_help = BROWSE_EXAMPLES)]
pub struct BrowseArgs {
    /// A link or URL.
    #[arg(value_name = "URL", help = "What to open: a site's URL or link, or a URL outside the network")]
    pub url: Option<String>,
    /// Reach hosts outside the network; sites then come without scripts
    #[arg(long)]
    pub outside: bool,
    /// The browser: chromium, firefox, or the path of one [default: the first that is installed]
    #[arg(long, value_name = "BROWSER", env = "UMBEL_BROWSER", hide_env_values = true)]
    pub browser: Option<String>,
    /// Keep the profile under this name, and use it again the next time
    #[arg(long, value_name = "NAME")]
    pub keep: Option<String>,
    /// An invite to the network to use, where no node runs
    #[arg(long, value_name = "FILE", env = "UMBEL_INVITE", hide_env_values = true)]
    pub invite: Vec<PathBuf>,
    /// Further arguments for the browser, such as --headless
    #[arg(last = true, value_name = "ARGS")]
    pub arguments: Vec<OsString>,
}

const INVITE_EXAMPLES: &str = "\
Examples:
  umbel invite > net.invite
  umbel --dir r2 invite | ssh friend 'cat > net.invite'

Works on any node, whether it runs or not. The invite names at most 12 relays of the set that the node knows, of several
operators and networks where there are, and the set itself, with which a newcomer can compare what it is told. It holds
no secret; of a private network it lets a client in, and makes no relay a member: see umbel network invite.";

const NETWORK_EXAMPLES: &str = "\
Examples:
  umbel --dir r1 network create
  umbel relay --dir r1 --listen 192.168.1.5:6251
  umbel --dir r1 network invite bob > bob.invite
  umbel relay --dir r2 --listen 192.168.1.6:6251 --invite bob.invite      on bob's machine
  umbel --dir r1 network revoke bob

A private network is for people who know each other: who has a member key may run relays, who has an invite without one may
use the network, and nobody else gets an answer. Private addresses are allowed; nothing is audited.";

/// Options of `umbel network`.
#[derive(Clone, Debug, Args)]
#[command(after_help = NETWORK_EXAMPLES)]
pub struct NetworkArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: NetworkCommand,
}

/// What a founder does.
#[derive(Clone, Debug, Subcommand)]
pub enum NetworkCommand {
    /// Found a network in DIR: the key of its founder, and this machine's place in it, lie there
    Create {
        /// The key of another founder, as `umbel network key` prints it; up to three
        #[arg(long, value_name = "KEY")]
        founder: Vec<String>,
    },
    /// Print the public part of the founder's key in DIR; make one where there is none
    Key,
    /// Make somebody a member: print an invite with a key of theirs, which is SECRET
    Invite {
        /// What to call them; for you alone
        #[arg(value_name = "NAME")]
        name: String,
        /// An invite with the relays to name, where DIR is no node's
        #[arg(long, value_name = "FILE")]
        invite: Option<PathBuf>,
    },
    /// Take a member key back: its relays are out of the network from the next cut on
    Revoke {
        /// The name under which it was given, or the key itself
        #[arg(value_name = "NAME")]
        whose: String,
    },
    /// Show whom the founder in DIR made a member
    Members,
}

const RELAYS_EXAMPLES: &str = "\
Examples:
  umbel relays
  umbel relays --where 'age>7d && exit:443'
  umbel relays --where '(presence<90 || !live) && store' --json

A test is one of: age>7d (s, min, h, d), presence>=90 (percent of the last samples), exit, exit:PORT, store, live, family,
family:TEXT, prefix:203.0, id:TEXT; a text is how the value begins. && binds closer than ||; ! negates; parentheses group.";

/// Options of `umbel relays`.
#[derive(Clone, Debug, Args)]
#[command(after_help = RELAYS_EXAMPLES)]
pub struct RelaysArgs {
    /// Show only relays for which this holds
    #[arg(long = "where", value_name = "FILTER")]
    pub filter: Option<String>,
}

const LOOKUP_EXAMPLES: &str = "\
Examples:
  umbel lookup <relay id>
  umbel lookup <root of a link>";

/// Options of `umbel lookup`.
#[derive(Clone, Debug, Args)]
#[command(after_help = LOOKUP_EXAMPLES)]
pub struct LookupArgs {
    /// A relay's id, or a block's address such as a link's root: 52 characters of base32
    #[arg(value_name = "ID|HASH")]
    pub key: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_stand_before_or_after_the_command() {
        for line in ["umbel --dir d --json put p", "umbel put p --json --dir d"] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert!(cli.global.json && cli.global.dir.as_deref() == Some("d".as_ref()), "{line}");
        }
        let cli = Cli::try_parse_from("umbel relay --exit --store 1G --ready-file f".split(' ')).unwrap();
        let Command::Relay(args) = cli.command else { panic!("not a relay") };
        assert_eq!((args.exit, args.store), (Some(true), Some(Size(1 << 30))));
    }
}
