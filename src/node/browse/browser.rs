//! Browsers that can be restricted to a proxy: which are installed, and how each is set up.

use super::profile::Profile;
use super::{chromium, firefox};
use crate::host::error::{Error, ErrorKind};
use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// How a browser is told what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    Chromium,
    Firefox,
}

/// Programs that are looked for, in this order.
const PROGRAMS: [(Engine, &str); 6] = [
    (Engine::Chromium, "chromium"),
    (Engine::Chromium, "chromium-browser"),
    (Engine::Firefox, "firefox-esr"),
    (Engine::Firefox, "firefox"),
    (Engine::Chromium, "google-chrome-stable"),
    (Engine::Chromium, "google-chrome"),
];

/// An installed browser.
#[derive(Clone, Debug)]
pub(super) struct Browser {
    engine: Engine,
    program: PathBuf,
}

impl Browser {
    /// Finds the one that is asked for: by its engine's name, by its path, or the first that is installed.
    pub(super) fn find(wanted: Option<&str>) -> Result<Self, Error> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = |engine: Option<Engine>| {
            let all = PROGRAMS.into_iter().filter(|(e, _)| engine.is_none_or(|wanted| wanted == *e));
            all.into_iter().find_map(|(engine, name)| Some(Self { engine, program: look_up(&path, name)? }))
        };
        let missing = |what: &str| {
            Error::new(ErrorKind::Config, format!("{what} is not installed, or not on the PATH")).with_rule("NODE-7").with_hint(
                "install Chromium or Firefox (Debian: apt-get install chromium, or firefox-esr), or give a path with --browser",
            )
        };
        match wanted {
            None => found(None).ok_or_else(|| missing("neither Chromium nor Firefox")),
            Some("chromium") => found(Some(Engine::Chromium)).ok_or_else(|| missing("Chromium")),
            Some("firefox") => found(Some(Engine::Firefox)).ok_or_else(|| missing("Firefox")),
            Some(other) => {
                let program = if other.contains('/') { Some(PathBuf::from(other)) } else { look_up(&path, other) };
                let program = program.filter(|p| p.is_file()).ok_or_else(|| missing(other))?;
                // spec: NODE-7
                let engine = engine_of(&program).ok_or_else(|| {
                    Error::new(ErrorKind::Usage, format!("{other} is neither Chromium nor Firefox by its name"))
                        .with_rule("NODE-7")
                        .with_hint("other browsers were not tried, so they are not started")
                })?;
                Ok(Self { engine, program })
            }
        }
    }

    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// Refuses arguments that would loosen the browser's restrictions.
    pub(super) fn check(&self, arguments: &[OsString]) -> Result<(), Error> {
        let (names, prefixes) = match self.engine {
            Engine::Chromium => (chromium::RESERVED, chromium::RESERVED_PREFIXES),
            Engine::Firefox => (firefox::RESERVED, &[][..]),
        };
        for argument in arguments {
            let text = argument.to_string_lossy().to_ascii_lowercase();
            let Some(name) = text.strip_prefix('-') else { continue };
            let name = name.trim_start_matches('-').split('=').next().unwrap_or_default();
            // spec: NODE-8
            if names.contains(&name) || prefixes.iter().any(|p| name.starts_with(p)) {
                return Err(Error::new(ErrorKind::Usage, format!("--{name} would loosen what holds the browser"))
                    .with_rule("NODE-8")
                    .with_hint("leave it out; umbel browse sets the profile, the proxy and all that goes past it"));
            }
        }
        Ok(())
    }

    /// Writes the settings into the profile.
    pub(super) fn furnish(&self, profile: &Profile, proxy: SocketAddr, outside: bool) -> Result<(), Error> {
        match self.engine {
            Engine::Chromium => chromium::furnish(profile),
            Engine::Firefox => firefox::furnish(profile, proxy, outside),
        }
    }

    /// The whole command line. The user's arguments come first, so that ours take precedence.
    pub(super) fn command(
        &self,
        profile: &Profile,
        proxy: SocketAddr,
        more: &[OsString],
        url: Option<&str>,
    ) -> Vec<OsString> {
        let ours = match self.engine {
            Engine::Chromium => chromium::arguments(profile, proxy),
            Engine::Firefox => firefox::arguments(profile),
        };
        let url = url.unwrap_or("about:blank");
        let program = std::iter::once(self.program.clone().into_os_string());
        program.chain(more.iter().cloned()).chain(ours).chain([OsString::from(url)]).collect()
    }
}

fn engine_of(program: &Path) -> Option<Engine> {
    let name = program.file_name()?.to_string_lossy().to_ascii_lowercase();
    match () {
        () if name.starts_with("firefox") => Some(Engine::Firefox),
        () if name.starts_with("chrom") || name.starts_with("google-chrome") => Some(Engine::Chromium),
        () => None,
    }
}

/// A program's path.
pub(super) fn look_up(path: &OsStr, name: &str) -> Option<PathBuf> {
    std::env::split_paths(path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(name)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(engine: Engine) -> Browser {
        Browser { engine, program: "/usr/bin/x".into() }
    }

    // spec: NODE-8
    #[test]
    fn arguments_that_would_loosen_the_browser_are_refused() {
        for (engine, argument) in [
            (Engine::Chromium, "--proxy-server=direct://"),
            (Engine::Chromium, "--No-Proxy-Server"),
            (Engine::Chromium, "-proxy-pac-url=x"),
            (Engine::Chromium, "--user-data-dir=/root"),
            (Engine::Chromium, "--host-resolver-rules=MAP * 1.2.3.4"),
            (Engine::Chromium, "--force-webrtc-ip-handling-policy=default"),
            (Engine::Chromium, "--enable-features=Everything"),
            (Engine::Chromium, "--load-extension=/x"),
            (Engine::Chromium, "--enable-quic"),
            (Engine::Firefox, "-P"),
            (Engine::Firefox, "--profile"),
            (Engine::Firefox, "--setDefaultPref"),
        ] {
            let refused = of(engine).check(&[OsString::from("--headless"), OsString::from(argument)]);
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Usage, "{argument}");
        }
        for argument in ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1,1", "--screenshot=a.png"] {
            assert!(of(Engine::Chromium).check(&[OsString::from(argument)]).is_ok(), "{argument}");
        }
    }

    // spec: NODE-7
    #[test]
    fn a_browser_that_was_not_tried_is_not_started() {
        for (wanted, kind) in
            [("/bin/sh", ErrorKind::Usage), ("/nowhere/firefox", ErrorKind::Config), ("lynxx", ErrorKind::Config)]
        {
            let failed = Browser::find(Some(wanted)).unwrap_err();
            assert!(failed.kind() == kind && failed.hint().is_some(), "{wanted}: {failed}");
        }
        for (name, engine) in [
            ("/opt/firefox-esr", Some(Engine::Firefox)),
            ("/a/chromium-browser", Some(Engine::Chromium)),
            ("/a/google-chrome", Some(Engine::Chromium)),
            ("/firefox/links", None),
        ] {
            assert_eq!(engine_of(Path::new(name)), engine, "{name}");
        }
    }
}
