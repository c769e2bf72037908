//! A browser's processes, from their start to the last one's end.

use super::browser::look_up;
use super::profile::Profile;
use crate::host::error::{Error, ErrorKind, reason};
use crate::node::signal::Signals;
use rustix::process::{Pid, Signal, kill_process_group};
use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

/// How long a browser may take to close when it is asked to.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// Longest path of a folder for temporary files in which a browser can make its socket.
const TMP_MAX: usize = 60;

/// A browser that runs. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Window {
    child: Child,
    group: Option<Pid>,
}

/// Variables that would override this set-up of the browser, or of a library in it.
const FOREIGN: &[&str] =
    &["MOZ_", "CHROME", "CHROMIUM_", "GOOGLE_", "NSS_", "SSLKEYLOGFILE", "LD_PRELOAD", "LD_AUDIT", "XRE_"];
/// Those of them that are harmless, and that some desktops need.
const HARMLESS: &[&str] = &["MOZ_ENABLE_WAYLAND", "MOZ_HEADLESS"];

fn is_foreign(name: &str) -> bool {
    let proxy = name.to_ascii_lowercase().ends_with("_proxy");
    proxy || (FOREIGN.iter().any(|start| name.starts_with(start)) && !HARMLESS.contains(&name))
}

impl Window {
    /// Starts the browser in a group of processes of its own. `json`: standard output belongs to the report.
    pub(super) fn open(line: Vec<OsString>, profile: &Profile, json: bool) -> Result<Self, Error> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut words = line.into_iter();
        let program = words.next().unwrap_or_default();
        // The kernel ends the browser when this process dies in whatever way. std has no call for it.
        let mut command = match look_up(&path, "setpriv") {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "KILL", "--"]).arg(&program);
                command
            }
            None => Command::new(&program),
        };
        command.args(words).stdin(Stdio::null()).process_group(0).kill_on_drop(true);
        if json {
            command.stdout(io::stderr());
        }
        environment(&mut command, profile);
        let child = command.spawn().map_err(|e| {
            Error::new(ErrorKind::Io, format!("{} does not start: {}", program.display(), reason(&e)))
                .with_hint("start it by hand to see why, or choose another with --browser")
        })?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(Self { child, group })
    }

    /// Waits for the browser's end. A signal, or the loss of its proxy, ends it: it must not run without.
    pub(super) async fn until_closed(
        mut self,
        signals: &mut Signals,
        lost: impl Future<Output = Error>,
    ) -> Result<(), Error> {
        let mut hangup = signal(SignalKind::hangup())
            .map_err(|e| Error::new(ErrorKind::Io, format!("the system does not let signals be caught: {e}")))?;
        // spec: NODE-5
        let ended = tokio::select! {
            status = self.child.wait() => judge(status),
            () = signals.next() => { self.close().await; Ok(()) }
            _ = hangup.recv() => { self.close().await; Ok(()) }
            why = lost => { self.close().await; Err(why) }
        };
        self.end();
        ended
    }

    /// Asks the browser to close, and waits for a while.
    async fn close(&mut self) {
        self.signal(Signal::TERM);
        if tokio::time::timeout(CLOSE_MAX, self.child.wait()).await.is_err() {
            self.end();
            let _ = self.child.wait().await;
        }
    }

    /// Ends what is left of it: a crashed browser's other processes may still run.
    fn end(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, what: Signal) {
        if let Some(group) = self.group {
            // No process is left, as intended.
            let _ = kill_process_group(group, what);
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.end();
    }
}

fn judge(status: io::Result<ExitStatus>) -> Result<(), Error> {
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Error::new(ErrorKind::Io, format!("the browser ended by itself: {status}"))
            .with_hint("what it printed says why; as root, Chromium needs the argument --no-sandbox after --")),
        Err(e) => Err(Error::new(ErrorKind::Io, format!("the browser cannot be watched: {}", reason(&e)))),
    }
}

/// The browser's home is its own folder, and nothing outside tells it about proxies.
fn environment(command: &mut Command, profile: &Profile) {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_none_or(is_foreign) {
            command.env_remove(&name);
        }
    }
    let home = profile.home();
    if std::env::var_os("XAUTHORITY").is_none()
        && let Some(user) = std::env::var_os("HOME")
    {
        command.env("XAUTHORITY", std::path::PathBuf::from(user).join(".Xauthority"));
    }
    for (name, folder) in [
        ("HOME", ""),
        ("XDG_CONFIG_HOME", ".config"),
        ("XDG_CACHE_HOME", ".cache"),
        ("XDG_DATA_HOME", ".local/share"),
        ("XDG_STATE_HOME", ".local/state"),
    ] {
        command.env(name, home.join(folder));
    }
    // Chromium keeps a socket there, whose path has little room.
    if profile.tmp().as_os_str().len() <= TMP_MAX {
        command.env("TMPDIR", profile.tmp());
    }
    command.env("GIO_USE_VFS", "local");
    // The system's resolver asks no server: Firefox looks its machine's own name up when it locks its profile.
    command.env("RES_OPTIONS", "attempts:0");
    // Firefox takes some settings only with this: among them that it asks no server for others.
    command.env("MOZ_REMOTE_SETTINGS_DEVTOOLS", "1");
    command.env("MOZ_CRASHREPORTER_DISABLE", "1").env("MOZ_DATA_REPORTING", "0");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_redirect_a_browser_are_known() {
        for name in ["http_proxy", "ALL_PROXY", "no_proxy", "CHROMIUM_FLAGS", "MOZ_LOG", "SSLKEYLOGFILE", "LD_PRELOAD"]
        {
            assert!(is_foreign(name), "{name}");
        }
        for name in ["DISPLAY", "WAYLAND_DISPLAY", "MOZ_ENABLE_WAYLAND", "PATH", "LANG", "XAUTHORITY"] {
            assert!(!is_foreign(name), "{name}");
        }
    }
}
