//! What went wrong, for a person and for a program: a kind, whose fault it is, the spec's rule, and what to do next.
//!
//! Every fallible operation of the library ends in success or in one [`Error`]. A node hands it to a command over the
//! control socket unchanged.

use crate::crypto::SelfTestError;
#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

/// The kind of an [`Error`]. In JSON it is written in kebab case, as in `"not-found"`; names never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum ErrorKind {
    /// A file or the system failed in a way no other kind names.
    Io,
    /// An argument does not make sense.
    Usage,
    /// The link or URL is cut off, mistyped or of another kind.
    Link,
    /// The node has ended: it was shut down, or its thread is gone. For a command: no node answers on the folder's socket.
    NotRunning,
    /// No custodian holds what was asked for, or the folder has no such file.
    NotFound,
    /// The content is there, but the link's key does not open it.
    WrongKey,
    /// What arrived is not what the link names. None of it was passed on.
    Tampered,
    /// No circuit could be built to where the answer is, or the node has no directory yet.
    NoPath,
    /// The custodians have no room, or their disks fail. It may work later, or with less content.
    StoreFull,
    /// No answer in time.
    TimedOut,
    /// Another node runs on the folder.
    DirInUse,
    /// Another program listens on the address.
    PortBusy,
    /// The configuration, an invite or a file of the folder is not usable.
    Config,
    /// This machine's clock is too far from the network's.
    Clock,
    /// The network has no relay that connects to other hosts.
    NoExit,
    /// The destination refused the connection, or cannot be reached, or its name is not known.
    Refused,
    /// The stream, its circuit or the connection behind the exit broke.
    Reset,
    /// A limit of this node (streams, jobs) or of the exit was reached.
    Busy,
    /// The exit's policy, or this node's own, forbids the destination.
    Forbidden,
}

/// Whose fault an [`Error`] is, that is, who can fix it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The program or person that asked. Another argument, link or folder may work.
    You,
    /// This machine: its disk, clock, ports or limits.
    Machine,
    /// A relay that broke the rules or has no room. Another one may do.
    Relay,
    /// The publisher of the content, or the host that was connected to.
    Publisher,
    /// The network: too few relays, or none can be reached.
    Network,
}

impl ErrorKind {
    /// The usual fault for this kind of error.
    fn fault(self) -> Fault {
        match self {
            Self::Usage | Self::Link | Self::WrongKey | Self::NotRunning | Self::Forbidden => Fault::You,
            Self::DirInUse | Self::Config => Fault::You,
            Self::Io | Self::PortBusy | Self::Clock => Fault::Machine,
            Self::Tampered | Self::StoreFull | Self::Busy | Self::Reset => Fault::Relay,
            Self::NotFound | Self::Refused => Fault::Publisher,
            Self::NoPath | Self::NoExit | Self::TimedOut => Fault::Network,
        }
    }
}

/// Why something was not done. Displays as one sentence without a full stop.
///
/// ```
/// let error = "umbel:cut-off".parse::<umbel::Link>().unwrap_err();
/// assert_eq!(error.kind(), umbel::ErrorKind::Link);
/// assert_eq!(error.fault(), umbel::Fault::You);
/// assert!(error.hint().is_some());
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(from = "Written", into = "Written"))]
pub struct Error(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    written: Written,
    /// Set if it is not the kind's usual one.
    fault: Option<Fault>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// The JSON form.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
struct Written {
    #[cfg_attr(feature = "serde", serde(rename = "code"))]
    kind: ErrorKind,
    message: String,
    rule: Option<Cow<'static, str>>,
    hint: Option<Cow<'static, str>>,
}

impl From<Written> for Error {
    fn from(written: Written) -> Self {
        Self(Box::new(Inner { written, fault: None, source: None }))
    }
}

impl From<Error> for Written {
    fn from(error: Error) -> Self {
        error.0.written
    }
}

impl PartialEq for Error {
    /// Errors are equal when they read the same; their sources are not compared.
    fn eq(&self, other: &Self) -> bool {
        self.0.written == other.0.written
    }
}

impl Eq for Error {}

impl Error {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        self.0.written.kind
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        self.0.fault.unwrap_or_else(|| self.kind().fault())
    }

    /// The requirement of the specification that was broken, as in `"INVITE-2"`, where there is one.
    pub fn rule(&self) -> Option<&str> {
        self.0.written.rule.as_deref()
    }

    /// What to do about it: a sentence without a full stop.
    pub fn hint(&self) -> Option<&str> {
        self.0.written.hint.as_deref()
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Written { kind, message: message.into(), rule: None, hint: None }.into()
    }

    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.0.written.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub(crate) fn with_rule(mut self, rule: &'static str) -> Self {
        self.0.written.rule = Some(Cow::Borrowed(rule));
        self
    }

    #[must_use]
    pub(crate) fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.written.kind = kind;
        self
    }

    #[must_use]
    pub(crate) fn with_fault(mut self, fault: Fault) -> Self {
        self.0.fault = Some(fault);
        self
    }

    #[must_use]
    pub(crate) fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    /// A file that cannot be read or written; `verb` is what was tried.
    pub(crate) fn file(verb: &str, path: &Path, error: &io::Error) -> Self {
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => "check who owns the file and its folder",
            io::ErrorKind::NotFound => "check the path",
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on the disk and try again",
            _ => "check the disk and the path",
        };
        Self::new(ErrorKind::Io, format!("cannot {verb} {}: {}", path.display(), reason(error))).with_hint(hint)
    }

    /// A file of the folder or of the configuration that is not usable.
    pub(crate) fn config(path: &Path, message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Config, format!("{}: {message}", path.display()))
    }

    /// An address that cannot be listened on; `setting` is the option that names it.
    pub(crate) fn bind(addr: SocketAddr, setting: &str, error: &io::Error) -> Self {
        let (kind, message, hint) = match error.kind() {
            io::ErrorKind::AddrInUse => (
                ErrorKind::PortBusy,
                format!("another program already listens on {addr}"),
                format!("choose another port with {setting}, or port 0 for any free one"),
            ),
            io::ErrorKind::PermissionDenied => (
                ErrorKind::PortBusy,
                format!("this user may not listen on {addr}"),
                format!("choose a port above 1023 with {setting}"),
            ),
            _ => (
                ErrorKind::Config,
                format!("cannot listen on {addr}: {}", reason(error)),
                format!("give an address of this machine with {setting}"),
            ),
        };
        Self::new(kind, message).with_hint(hint)
    }

    /// A failed self-test: no node may run on this machine.
    pub(crate) fn self_test(error: SelfTestError) -> Self {
        Self::new(ErrorKind::Io, format!("the self-test failed: {error}"))
            .with_rule("KEY-6")
            .with_hint("run no node here: the processor is faulty, or this program was miscompiled")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.written.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|s| s as _)
    }
}

impl From<io::Error> for Error {
    /// An error of a [`Stream`](crate::Stream) or [`Object`](crate::Object) is restored unchanged; every other becomes
    /// [`ErrorKind::Io`].
    fn from(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(own) => own,
            Err(other) => Self::new(ErrorKind::Io, reason(&other)).with_source(other),
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::Refused => io::ErrorKind::ConnectionRefused,
            ErrorKind::TimedOut => io::ErrorKind::TimedOut,
            ErrorKind::NoPath | ErrorKind::NoExit | ErrorKind::NotRunning | ErrorKind::Busy => {
                io::ErrorKind::NotConnected
            }
            ErrorKind::Reset => io::ErrorKind::ConnectionReset,
            ErrorKind::NotFound => io::ErrorKind::NotFound,
            ErrorKind::Tampered | ErrorKind::WrongKey => io::ErrorKind::InvalidData,
            ErrorKind::Forbidden => io::ErrorKind::PermissionDenied,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// The error's text in lower case, without the system's error number.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or_default();
    let mut chars = words.chars();
    chars.next().map(|c| c.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: KEY-6
    #[test]
    fn a_failed_self_test_names_what_is_wrong_and_says_not_to_go_on() {
        use crate::crypto::Fault;
        let error = SelfTestError { primitive: "X25519", implementation: "aws-lc", fault: Fault::Difference };
        let e = Error::self_test(error);
        assert_eq!(
            (e.to_string().as_str(), e.rule()),
            (
                "the self-test failed: X25519 (aws-lc) is wrong: the two implementations compute different results",
                Some("KEY-6")
            )
        );
        assert!(e.hint().is_some_and(|hint| hint.starts_with("run no node here")));
    }

    #[test]
    fn system_errors_read_as_words() {
        let e = io::Error::from_raw_os_error(13);
        assert_eq!(reason(&e), "permission denied");
        let busy = Error::bind("127.0.0.1:1".parse().unwrap(), "--socks", &io::ErrorKind::AddrInUse.into());
        assert_eq!(busy.kind(), ErrorKind::PortBusy);
        assert!(busy.hint().unwrap().contains("--socks"));
    }

    #[test]
    fn an_error_survives_the_way_through_an_io_error() {
        let e = Error::new(ErrorKind::Refused, "no").with_fault(Fault::Network);
        let through = Error::from(io::Error::from(e.clone()));
        assert_eq!((through.kind(), through.fault()), (ErrorKind::Refused, Fault::Network));
        let foreign = Error::from(io::Error::from_raw_os_error(13));
        assert_eq!((foreign.kind(), foreign.fault()), (ErrorKind::Io, Fault::Machine));
        assert!(std::error::Error::source(&foreign).is_some());
    }
}
