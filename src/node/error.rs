//! What went wrong, for a person and for a program: a sentence, a hint, an exit code.
//!
//! Every command ends in success or in one [`Failure`]. A node hands it to its caller over the control socket unchanged.

use crate::crypto::SelfTestError;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

/// The kind of a failure: its name in JSON and its exit code are for programs and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// A file or the system failed in a way no other code names.
    Io,
    /// The command line does not make sense.
    Usage,
    /// The link or URL is cut off, mistyped or of another kind.
    Link,
    /// No node answers on the DIR's control socket.
    NotRunning,
    /// No custodian holds what was asked for.
    NotFound,
    /// The content is there, but the link's key does not open it.
    WrongKey,
    /// What came is not what the link names.
    Tampered,
    /// No circuit could be built to where the answer is.
    NoPath,
    /// The custodians have no room.
    StoreFull,
    /// No answer in time.
    TimedOut,
    /// Another node runs on this DIR.
    DirInUse,
    /// Another program listens on the address.
    PortBusy,
    /// The configuration or a file of the DIR is not usable.
    Config,
    /// This machine's clock is too far from the network's.
    Clock,
}

impl Code {
    /// The exit code of the process.
    pub fn exit(self) -> u8 {
        match self {
            Self::Io => 1,
            Self::Usage | Self::Link => 2,
            Self::NotRunning => 3,
            Self::NotFound => 4,
            Self::WrongKey => 5,
            Self::Tampered => 6,
            Self::NoPath => 7,
            Self::StoreFull => 8,
            Self::TimedOut => 9,
            Self::DirInUse => 10,
            Self::PortBusy => 11,
            Self::Config => 12,
            Self::Clock => 13,
        }
    }
}

/// Why a command did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind.
    pub code: Code,
    /// What happened: one sentence without a full stop.
    pub message: String,
    /// The requirement of the spec that was broken, where there is one.
    pub rule: Option<Cow<'static, str>>,
    /// What to do about it.
    pub hint: Option<Cow<'static, str>>,
}

/// The JSON form, `{"error":{...}}`.
#[derive(Serialize)]
struct Wrapped<'a> {
    error: &'a Failure,
}

impl Failure {
    /// A failure without rule and hint.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), rule: None, hint: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the requirement that was broken.
    #[must_use]
    pub fn rule(mut self, rule: &'static str) -> Self {
        self.rule = Some(Cow::Borrowed(rule));
        self
    }

    /// A file that cannot be read or written, for no fault of the configuration.
    pub fn file(verb: &str, path: &Path, error: &io::Error) -> Self {
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => "check who owns the file and its folder",
            io::ErrorKind::NotFound => "check the path",
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on the disk and try again",
            _ => "check the disk and the path",
        };
        Self::new(Code::Io, format!("cannot {verb} {}: {}", path.display(), reason(error))).hint(hint)
    }

    /// A file of the DIR or of the configuration that is not usable.
    pub fn config(path: &Path, message: impl fmt::Display) -> Self {
        Self::new(Code::Config, format!("{}: {message}", path.display()))
    }

    /// An address that cannot be listened on; `setting` is the option that names it.
    pub fn bind(addr: SocketAddr, setting: &str, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::new(Code::PortBusy, format!("another program already listens on {addr}"))
                .hint(format!("choose another port with {setting}, or port 0 for any free one")),
            io::ErrorKind::PermissionDenied => Self::new(Code::PortBusy, format!("this user may not listen on {addr}"))
                .hint(format!("choose a port above 1023 with {setting}")),
            _ => Self::new(Code::Config, format!("cannot listen on {addr}: {}", reason(error)))
                .hint(format!("give an address of this machine with {setting}")),
        }
    }

    /// A machine on which no node may run.
    pub fn self_test(error: SelfTestError) -> Self {
        Self::new(Code::Io, format!("the self-test failed: {error}"))
            .rule("KEY-6")
            .hint("run no node here: the processor is faulty, or this program was miscompiled")
    }

    /// The JSON form on one line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&Wrapped { error: self }).unwrap_or_default()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// The error in words, without the system's number.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or_default();
    let mut chars = words.chars();
    chars.next().map(|c| c.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_form_has_its_four_keys_always() {
        let f = Failure::new(Code::DirInUse, "a node runs here");
        assert_eq!(
            f.to_json(),
            r#"{"error":{"code":"dir-in-use","message":"a node runs here","rule":null,"hint":null}}"#
        );
        let f = f.rule("NODE-3").hint("stop it");
        assert_eq!(
            f.to_json(),
            r#"{"error":{"code":"dir-in-use","message":"a node runs here","rule":"NODE-3","hint":"stop it"}}"#
        );
    }

    // spec: KEY-6
    #[test]
    fn a_failed_self_test_names_what_is_wrong_and_says_not_to_go_on() {
        use crate::crypto::Fault;
        let error = SelfTestError { primitive: "X25519", implementation: "aws-lc", fault: Fault::Difference };
        let f = Failure::self_test(error);
        assert_eq!(
            (f.message.as_str(), f.rule.as_deref()),
            (
                "the self-test failed: X25519 (aws-lc) is wrong: the two implementations compute different results",
                Some("KEY-6")
            )
        );
        assert!(f.hint.is_some_and(|hint| hint.starts_with("run no node here")));
    }

    #[test]
    fn exit_codes_are_the_published_ones() {
        use Code::*;
        let all = [
            Io, Usage, NotRunning, NotFound, WrongKey, Tampered, NoPath, StoreFull, TimedOut, DirInUse, PortBusy,
            Config, Clock,
        ];
        for (code, exit) in all.into_iter().zip(1..=13) {
            assert_eq!(code.exit(), exit, "{code:?}");
        }
        assert_eq!(Link.exit(), 2);
    }

    #[test]
    fn system_errors_read_as_words() {
        let e = io::Error::from_raw_os_error(13);
        assert_eq!(reason(&e), "permission denied");
        let busy = Failure::bind("127.0.0.1:1".parse().unwrap(), "--socks", &io::ErrorKind::AddrInUse.into());
        assert_eq!(busy.code, Code::PortBusy);
        assert!(busy.hint.unwrap().contains("--socks"));
    }
}
