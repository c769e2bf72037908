//! From the parsed command line to the exit code.

use crate::host::error::{Error, ErrorKind};
use crate::node::cli::{BrowseArgs, Cli, Command, GetArgs, Global, NetworkCommand, PutArgs};
use crate::node::config::{ClientConfig, Common, RelayConfig, TestnetConfig, default_dir, default_testnet_dir};
use crate::node::control::client::Conversation;
use crate::node::control::report::{Listing, LookupReport, Status};
use crate::node::control::{LookupRequest, RelaysRequest, Request, SOCKET_NAME};
use crate::node::get::Got;
use crate::node::output::{Bar, exit_code, fail, print, print_aside, say_aside, written};
use crate::node::relays::Filter;
use crate::node::setting::Level;
use crate::node::{browse, daemon, get, log, network, process, put, sim};
use crate::wire::ids::{ID_TEXT_LEN, from_text};
use clap::Parser;
use std::ffi::OsString;
use std::future::Future;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The `umbel` program: runs a command line and returns the exit code. `args` begins with the program's name.
///
/// For programs that ship Umbel's commands under their own name. Unlike everything else in this library it catches signals,
/// starts the log and changes limits of the process.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let json = args.iter().any(|a| a == "--json");
    let aside = content_on_stdout(&args);
    match Cli::try_parse_from(args) {
        Ok(cli) => {
            let json = cli.global.json;
            let code = run(cli).unwrap_or_else(|failure| fail(&failure, json, aside));
            log::flush();
            code
        }
        // Help and version were asked for.
        Err(e) if !e.use_stderr() => written(e.print()),
        Err(e) if json => fail(&usage(&e), true, aside),
        Err(e) => {
            let _ = e.print();
            ExitCode::from(exit_code(ErrorKind::Usage))
        }
    }
}

/// Whether the command line asks for content on standard output. Then no error may be written there, not even one about the
/// command line itself.
// spec: NODE-12
fn content_on_stdout(args: &[OsString]) -> bool {
    let out = |a: &OsString| a == "-" || get::leads_to_stdout(Path::new(a));
    let joined = |a: &OsString| {
        let text = a.to_str().and_then(|a| a.strip_prefix("--out=").or_else(|| a.strip_prefix("-o")));
        text.is_some_and(|rest| out(&rest.trim_start_matches('=').into()))
    };
    let apart = |pair: &[OsString]| matches!(pair, [name, value] if (name == "-o" || name == "--out") && out(value));
    args.iter().any(|a| a == "get") && (args.iter().any(joined) || args.windows(2).any(apart))
}

/// An error of the parser: its hint is the usage line and what else it advises, its message the rest.
fn usage(error: &clap::Error) -> Error {
    let text = error.render().to_string();
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("For more information"));
    let (advice, complaint): (Vec<_>, Vec<_>) =
        lines.partition(|l| ["Usage:", "tip:", "[possible values"].iter().any(|start| l.starts_with(start)));
    let message = complaint.join(" ").trim_start_matches("error: ").to_owned();
    let hint = if advice.is_empty() { "umbel --help lists commands and options".to_owned() } else { advice.join("; ") };
    Error::new(ErrorKind::Usage, message).with_hint(hint)
}

fn run(cli: Cli) -> Result<ExitCode, Error> {
    let global = &cli.global;
    match cli.command {
        Command::Testnet(args) => {
            let config = TestnetConfig::new(global, &args)?;
            prepare(&config.common)?;
            daemon::testnet(config).map(|()| ExitCode::SUCCESS)
        }
        Command::Relay(args) => {
            let config = RelayConfig::new(global, &args)?;
            prepare(&config.common)?;
            daemon::relay(config).map(|()| ExitCode::SUCCESS)
        }
        Command::Client(args) => {
            let config = ClientConfig::new(global, &args)?;
            prepare(&config.common)?;
            daemon::client(config).map(|()| ExitCode::SUCCESS)
        }
        Command::Put(args) => command(global, put(global, args)),
        Command::Get(args) => command(global, get(global, args)),
        Command::Browse(args) => command(global, browse(global, args)),
        Command::Invite => command(global, invite(global)),
        Command::Network(args) => command(global, network(global, args.command)),
        Command::Status => command(global, status(global)),
        Command::Relays(args) => command(global, relays(global, args.filter)),
        Command::Lookup(args) => command(global, lookup(global, args.key)),
        Command::Sim(args) => sim::run(&args, global.json),
    }
}

/// Prepares this process to run a node.
fn prepare(common: &Common) -> Result<(), Error> {
    log::start(common.log, common.unredacted);
    process::forbid_core_dumps()?;
    process::raise_open_files();
    Ok(())
}

fn command(global: &Global, work: impl Future<Output = Result<ExitCode, Error>>) -> Result<ExitCode, Error> {
    log::start(global.log.unwrap_or(Level::Warn), global.unredacted);
    // A link's read key passes through this process too.
    process::forbid_core_dumps()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|e| Error::new(ErrorKind::Io, format!("the command cannot start: {e}")))?.block_on(work)
}

/// The folder of the node to talk to: the one named, else the client's, or the testnet's if that alone runs.
fn node_dir(global: &Global) -> Result<PathBuf, Error> {
    if let Some(dir) = &global.dir {
        return Ok(dir.clone());
    }
    let (own, testnet) = (default_dir()?, default_testnet_dir()?);
    let runs = |dir: &PathBuf| UnixStream::connect(dir.join(SOCKET_NAME)).is_ok();
    Ok(if !runs(&own) && runs(&testnet) { testnet } else { own })
}

async fn browse(global: &Global, args: BrowseArgs) -> Result<ExitCode, Error> {
    let report = browse::browse(&node_dir(global)?, args, global.json).await?;
    // Standard output is the browser's, for example with --dump-dom.
    Ok(if global.json { print(&report, true) } else { print_aside(&report, false) })
}

/// Asks the running node for an invite; without one, takes the invite that an earlier run left in the folder.
async fn invite(global: &Global) -> Result<ExitCode, Error> {
    let dir = node_dir(global)?;
    let report = network::current_invite(&dir).await?.ok_or_else(|| {
        let message = format!("no node runs on {}, and none has joined a network there", dir.display());
        Error::new(ErrorKind::NotRunning, message).with_hint("name a node's folder with --dir")
    })?;
    Ok(print(&report, global.json))
}

async fn network(global: &Global, command: NetworkCommand) -> Result<ExitCode, Error> {
    let dir = global.dir.clone().map_or_else(default_dir, Ok)?;
    Ok(match command {
        NetworkCommand::Create { founder } => print(&network::create(&dir, &founder)?, global.json),
        NetworkCommand::Key => print(&network::key(&dir)?, global.json),
        NetworkCommand::Invite { name, invite } => {
            let made = network::invite(&dir, &name, invite).await?;
            if !global.json {
                say_aside(&format!(
                    "This invite holds a member key. It is a secret of {name:?}: give it to nobody else.\n"
                ));
            }
            print(&made, global.json)
        }
        NetworkCommand::Revoke { whose } => print(&network::revoke(&dir, &whose).await?, global.json),
        NetworkCommand::Members => print(&network::members(&dir)?, global.json),
    })
}

async fn relays(global: &Global, filter: Option<String>) -> Result<ExitCode, Error> {
    // Checked first, so that a mistake is reported even if no node runs.
    filter.as_deref().map(Filter::parse).transpose()?;
    let talk = Conversation::ask(&node_dir(global)?, &Request::Relays(RelaysRequest { filter })).await?;
    Ok(print(&talk.relays().await?, global.json))
}

async fn status(global: &Global) -> Result<ExitCode, Error> {
    let talk = Conversation::ask(&node_dir(global)?, &Request::Status).await?;
    let report: Status = talk.report(|_| ()).await?;
    Ok(print(&report, global.json))
}

async fn lookup(global: &Global, key: String) -> Result<ExitCode, Error> {
    from_text(&key).map_err(|_| {
        Error::new(ErrorKind::Usage, format!("{key:?} is neither a relay's id nor a block's address"))
            .with_hint(format!("both are {ID_TEXT_LEN} letters and digits; of a link, give the part before the slash"))
    })?;
    let talk = Conversation::ask(&node_dir(global)?, &Request::Lookup(LookupRequest { key })).await?;
    let report: LookupReport = talk.report(|_| ()).await?;
    Ok(print(&report, global.json))
}

async fn put(global: &Global, args: PutArgs) -> Result<ExitCode, Error> {
    if args.dry_run {
        return Ok(print(&put::list(&args)?, global.json));
    }
    let bar = Bar::new();
    let tell = |listing: &Listing| {
        if !global.json {
            bar.aside(|| say_aside(&put::summary(listing)));
        }
    };
    let report = put::put(&node_dir(global)?, &args, tell, |p| bar.set(p)).await;
    bar.clear();
    Ok(print(&report?, global.json))
}

async fn get(global: &Global, args: GetArgs) -> Result<ExitCode, Error> {
    let bar = Bar::new();
    let report = get::get(&node_dir(global)?, &args.link, &args.out, &mut |p| bar.set(&p)).await;
    bar.clear();
    Ok(match report? {
        Got::Path(report) => print(&report, global.json),
        Got::Stdout(report) => print_aside(&report, global.json),
        Got::Closed => ExitCode::SUCCESS,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: NODE-12
    #[test]
    fn every_way_to_ask_for_standard_output_is_seen() {
        let seen = |line: &str| content_on_stdout(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        for line in [
            "umbel get l -o -",
            "umbel --json get l --out -",
            "umbel get -o- l",
            "umbel get l --out=-",
            "umbel get -o=- l",
        ] {
            assert!(seen(line), "{line}");
        }
        for line in ["umbel get l -o x", "umbel put -", "umbel get - -o x", "umbel get l -o", "umbel get l -o-x"] {
            assert!(!seen(line), "{line}");
        }
    }
}
