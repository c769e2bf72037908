//! `umbel browse`: a browser that reaches nothing but the network.
//!
//! ```text
//! browser (own profile) --SOCKS--> its own proxy, its own circuits --> the node that runs, or a client of this process
//! ```
//!
//! Two things hold a page in. The browser is told at its start to use nothing but the proxy, WebRTC and name look-ups
//! included; and the proxy of a window for sites reaches no other host, whatever the browser asks for. A window for hosts
//! outside shows sites without their scripts. So no script of a site ever has a way out.
//!
//! *Seen by:* the pages shown, which may be hostile.

mod browser;
mod chromium;
mod firefox;
mod profile;
mod window;

use crate::api::{Client, INVITE_FILE, Invite, Link};
use crate::base::host::lies_under;
use crate::host::error::{Error, ErrorKind};
use crate::node::cli::BrowseArgs;
use crate::node::control::client::{Conversation, strange};
use crate::node::control::frame::Frame;
use crate::node::control::{BrowseRequest, Request};
use crate::node::door::BrowserProxy;
use crate::node::output::Report;
use crate::node::signal::Signals;
use browser::Browser;
use profile::Profile;
use serde::Serialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use window::Window;

/// What `umbel browse` reports when the window is closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct BrowseReport {
    /// The browser's program.
    browser: String,
    /// Whether the window was for hosts outside.
    outside: bool,
    /// The name under which the profile is kept; null where it is removed.
    kept: Option<String>,
}

impl Report for BrowseReport {
    fn text(&self) -> String {
        match &self.kept {
            Some(name) => format!("The window is closed; its profile is kept as {name}.\n"),
            None => "The window is closed; its profile is removed.\n".to_owned(),
        }
    }
}

/// What the window is to open.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Start {
    url: Option<String>,
    outside: bool,
}

/// Runs the command on the node of `dir`.
pub(crate) async fn browse(dir: &Path, args: BrowseArgs, json: bool) -> Result<BrowseReport, Error> {
    let start = start(args.url.as_deref(), args.outside)?;
    let browser = Browser::find(args.browser.as_deref())?;
    browser.check(&args.arguments)?;
    let mut signals = Signals::catch()?;
    let profile = Profile::open(dir, args.keep.as_deref(), start.outside)?;
    let door = tokio::select! {
        () = signals.next() => None,
        door = Door::open(dir, args.invite, start.outside) => Some(door?),
    };
    if let Some(mut door) = door {
        browser.furnish(&profile, door.addr(), start.outside)?;
        let line = browser.command(&profile, door.addr(), &args.arguments, start.url.as_deref());
        let window = Window::open(line, &profile, json)?;
        let closed = window.until_closed(&mut signals, door.lost()).await;
        door.close().await;
        closed?;
    }
    let kept = args.keep;
    profile.close()?;
    Ok(BrowseReport { browser: browser.program().display().to_string(), outside: start.outside, kept })
}

/// Reads the command's URL: what it opens, and what the window is for.
fn start(url: Option<&str>, outside: bool) -> Result<Start, Error> {
    let Some(text) = url else { return Ok(Start { url: None, outside }) };
    let refuse = |what: &str, hint: &str| {
        Err(Error::new(ErrorKind::Usage, format!("this URL {what}")).with_hint(hint.to_owned()))
    };
    if text.starts_with("umbel:") {
        let link: Link = text.parse()?;
        return Ok(Start { url: Some(format!("{}{}", link.url(), link.path())), outside });
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return refuse("has a blank or a control character in it", "copy the whole URL again");
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return refuse("has no scheme", "begin with http:// or https://, or give a link umbel:<root>/<key>");
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default().split(':').next().unwrap_or_default();
    let site = lies_under(&host.trim_end_matches('.').to_ascii_lowercase(), "umbel");
    match (scheme.to_ascii_lowercase().as_str(), site) {
        ("http", true) => Ok(Start { url: Some(text.to_owned()), outside }),
        ("https", true) => refuse("names a site by https:", "write http://, the network encrypts it"),
        ("http" | "https", false) => Ok(Start { url: Some(text.to_owned()), outside: true }),
        _ => {
            refuse("is of a kind that does not go through the network", "give one that begins with http:// or https://")
        }
    }
}

/// Where the browser's proxy lives.
enum Door {
    /// In the running node. It closes with this connection to the control socket.
    Node { talk: Conversation, addr: SocketAddr },
    /// In a client of this process.
    Own { client: Client, proxy: BrowserProxy },
}

impl Door {
    async fn open(dir: &Path, invites: Vec<PathBuf>, outside: bool) -> Result<Self, Error> {
        match Conversation::ask(dir, &Request::Browse(BrowseRequest { outside })).await {
            Ok(mut talk) => match talk.next::<()>().await? {
                Frame::Door(door) if door.addr.ip().is_loopback() => Ok(Self::Node { talk, addr: door.addr }),
                _ => Err(strange("no proxy for the browser")),
            },
            Err(why) if why.kind() == ErrorKind::NotRunning => {
                if invites.is_empty() && !dir.join(INVITE_FILE).exists() {
                    return Err(why.with_hint(
                        "start one with umbel client or umbel testnet, or give the network's invite with --invite",
                    ));
                }
                Self::own(dir, invites, outside).await
            }
            Err(why) => Err(why),
        }
    }

    async fn own(dir: &Path, invites: Vec<PathBuf>, outside: bool) -> Result<Self, Error> {
        let mut builder = Client::builder(dir);
        for path in invites {
            builder = builder.invite(Invite::read(path)?);
        }
        let client = builder.start().await?;
        client.ready().await?;
        let proxy = BrowserProxy::open(&client, outside).await?;
        Ok(Self::Own { client, proxy })
    }

    fn addr(&self) -> SocketAddr {
        match self {
            Self::Node { addr, .. } => *addr,
            Self::Own { proxy, .. } => proxy.addr(),
        }
    }

    /// Waits until the proxy has stopped, and returns the reason.
    async fn lost(&mut self) -> Error {
        match self {
            Self::Node { talk, .. } => match talk.next::<()>().await {
                Err(why) => why,
                Ok(_) => strange("a second answer"),
            },
            Self::Own { proxy, .. } => {
                proxy.ended().await;
                Error::new(ErrorKind::NotRunning, "the client ended before the window")
            }
        }
    }

    async fn close(self) {
        if let Self::Own { client, proxy } = self {
            drop(proxy);
            client.shutdown().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: NODE-6
    #[test]
    fn the_url_decides_what_a_window_is_for() {
        let root = "a".repeat(52);
        let site = format!("http://{root}.{root}.umbel/a?b#c");
        let window = |url: &str, outside| start(Some(url), outside).unwrap();
        assert_eq!(window(&site, false), Start { url: Some(site.clone()), outside: false });
        assert!(window(&site, true).outside && !start(None, false).unwrap().outside);
        assert_eq!(window(&format!("umbel:{root}/{root}"), false).url, Some(format!("http://{root}.{root}.umbel/")));
        for outside in
            ["http://example.com/", "https://a.umbel.example/", "http://x@y.example:81/.umbel", "HTTP://e.org"]
        {
            assert!(window(outside, false).outside, "{outside}");
        }
        for site in ["http://x.UMBEL./", "http://e.org@x.umbel:80/", "http://x.umbel?http://e.org/"] {
            assert!(!window(site, false).outside, "{site}");
        }
        for bad in [
            "example.com",
            "file:///etc/passwd",
            "javascript:0",
            "--no-sandbox",
            "about:config",
            "https://x.umbel/",
            "http://a b/",
        ] {
            assert_eq!(start(Some(bad), false).unwrap_err().kind(), ErrorKind::Usage, "{bad}");
        }
    }
}
