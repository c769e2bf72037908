//! What the proxy needs from the rest of the node: streams to the world, and published objects.
//!
//! The traits are for one thread: futures are not `Send`. The node implements them over circuits; a test implements them
//! over sockets and memory. The proxy itself opens no connection and looks no name up.

use crate::crypto::hash::{context, derive};
use crate::node::proxy::codec::socks::Credentials;
use crate::wire::message::{EndReason, Target};
use crate::wire::umbel_link::ContentLink;
use bytes::Bytes;
use core::fmt;
use core::future::Future;
use core::net::IpAddr;
use core::ops::Range;

/// Streams with different tokens never share a circuit. A salted hash: it tells nothing of who or where to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Isolation([u8; 16]);

impl Isolation {
    /// The token's bytes, for tables.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(6).try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Makes isolation tokens, with a salt of its own so that nobody who sees one can try destinations out.
#[derive(Clone)]
pub struct Isolator {
    salt: [u8; 32],
}

impl Isolator {
    /// `salt` is 32 fresh random bytes.
    pub fn new(salt: [u8; 32]) -> Self {
        Self { salt }
    }

    /// For a stream through an exit: one circuit for each user and each destination host and port.
    pub fn stream(&self, who: &Credentials, target: &Target) -> Isolation {
        let target = match target {
            Target::Host(name, port) => Target::Host(name.to_ascii_lowercase(), *port),
            other => other.clone(),
        };
        // spec: PROXY-17
        self.token(b"stream", who, &target.encode())
    }

    /// For a look-up of a name.
    pub fn name(&self, who: &Credentials, name: &str) -> Isolation {
        self.token(b"name", who, name.to_ascii_lowercase().as_bytes())
    }

    /// For an object: one for each user and each site, whatever port or form it was asked by.
    pub fn site(&self, who: &Credentials, link: &ContentLink) -> Isolation {
        self.token(b"site", who, link.host().as_bytes())
    }

    /// For the places that a user holds in the proxy.
    pub fn user(&self, who: &Credentials) -> Isolation {
        self.token(b"user", who, b"")
    }

    fn token(&self, kind: &[u8], who: &Credentials, what: &[u8]) -> Isolation {
        let length = |field: &[u8]| (field.len() as u64).to_be_bytes();
        let (user, password) = (who.user.as_slice(), who.password.as_slice());
        let parts = [
            &self.salt[..],
            &length(kind),
            kind,
            &length(user),
            user,
            &length(password),
            password,
            &length(what),
            what,
        ];
        let hash = derive(context::LOCAL, &parts);
        let mut token = [0; 16];
        token.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        Isolation(token)
    }
}

/// Why no stream could be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The node has no directory or no circuit yet.
    #[error("the node is not connected to the network yet")]
    NotReady,
    /// No circuit could be built.
    #[error("no path through the network could be built")]
    NoPath,
    /// No relay offers to be an exit.
    #[error("no relay of this network offers connections to other hosts (an exit)")]
    NoExit,
    /// The exit says why.
    #[error("{}", end_text(*.0))]
    Ended(EndReason),
}

fn end_text(why: EndReason) -> &'static str {
    match why {
        EndReason::Done => "the exit closed the stream",
        EndReason::Refused => "the destination refused the connection",
        EndReason::Unreachable => "the destination cannot be reached, or its name is not known",
        EndReason::Reset => "the connection was reset",
        EndReason::NotOffered => "the relay is not an exit",
        EndReason::TimedOut => "the destination did not answer in time",
        EndReason::Resource => "the exit is overloaded",
        EndReason::Policy => "the exit's policy forbids this destination",
        EndReason::Protocol => "the exit broke the protocol",
    }
}

/// Why an object, or a part of it, cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// The node has no directory or no circuit yet.
    #[error("the node is not connected to the network yet")]
    NotReady,
    /// No custodian holds it.
    #[error("none of the relays that should hold this content has it")]
    NotFound,
    /// It is there, but the link's key does not open it.
    #[error("the content is there, but the link's key does not open it")]
    WrongKey,
    /// What came is not what the link names, from every custodian.
    #[error("what the relays gave out is not what the link names; nothing of it was passed on")]
    Tampered,
    /// No circuit could be built.
    #[error("no path through the network could be built")]
    NoPath,
    /// No answer in time.
    #[error("the relays that hold this content did not answer in time")]
    TimedOut,
}

/// Whether an object is one file or a directory of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One file: its content is the object's.
    File,
    /// A directory: its files are concatenated, and the manifest tells where each lies.
    Directory,
}

/// What an opened object says of itself. Written by its publisher: not to be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// File or directory.
    pub kind: Kind,
    /// Bytes of content.
    pub len: u64,
    /// A file's MIME type.
    pub mime: String,
    /// A file's name; may be empty.
    pub name: String,
}

/// A file of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where in the object's content it begins.
    pub offset: u64,
    /// Its bytes.
    pub len: u64,
    /// Its MIME type.
    pub mime: String,
}

/// The network, as the proxy sees it. A clone is another handle on the same node.
pub trait Upstream: Clone + 'static {
    /// A byte stream through an exit. A clean end is an end of file, everything else an error.
    type Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static;
    /// An opened object.
    type Object: Object;

    /// Opens a stream. It is open when the destination has accepted. Dropping the future gives it up. `first` are the
    /// stream's first bytes, which travel with the request to open it; none of them need be written again.
    fn connect(
        &self,
        target: Target,
        isolation: Isolation,
        first: Vec<u8>,
    ) -> impl Future<Output = Result<Self::Stream, OpenError>>;

    /// Has an exit look up a name; empty where nothing is found.
    fn resolve(&self, name: &str, isolation: Isolation) -> impl Future<Output = Result<Vec<IpAddr>, OpenError>>;

    /// Fetches and opens an object's root and, of a directory, its manifest.
    fn open_object(
        &self,
        link: &ContentLink,
        isolation: Isolation,
    ) -> impl Future<Output = Result<Self::Object, ObjectError>>;
}

/// An opened object. Several reads may go on at once.
pub trait Object: 'static {
    /// One read under way.
    type Body: ObjectBody;

    /// What it says of itself.
    fn info(&self) -> ObjectInfo;

    /// A directory's file by its path, without a `/` in front; always `None` of a file.
    fn entry(&self, path: &str) -> Option<Entry>;

    /// Reads these bytes of the content, in order.
    fn read(&self, range: Range<u64>) -> impl Future<Output = Result<Self::Body, ObjectError>>;
}

/// Content on its way. What is not asked for with [`ObjectBody::next`] is not fetched beyond a small bound.
pub trait ObjectBody: 'static {
    /// The next bytes, verified and never empty; `None` after the last.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, ObjectError>>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;
    use crate::wire::ids::Address;
    use std::collections::BTreeSet;

    // spec: PROXY-17
    #[test]
    fn another_user_password_host_or_port_is_another_token() {
        let isolator = Isolator::new([7; 32]);
        let who = |user: &str, password: &str| Credentials { user: user.into(), password: password.into() };
        let token =
            |user, password, host: &str, port| isolator.stream(&who(user, password), &Target::Host(host.into(), port));
        let base = token("a", "b", "h", 80);
        assert_eq!(base, token("a", "b", "H", 80));
        for other in
            [token("ab", "", "h", 80), token("", "ab", "h", 80), token("a", "b", "i", 80), token("a", "b", "h", 81)]
        {
            assert_ne!(base, other);
        }
        let elsewhere = Isolator::new([8; 32]).stream(&who("a", "b"), &Target::Host("h".into(), 80));
        assert_ne!(base, elsewhere, "tokens mean nothing outside this process");
        assert_ne!(isolator.name(&who("", ""), "h"), isolator.name(&who("x", ""), "h"));
    }

    // spec: PROXY-17
    #[test]
    fn look_ups_and_sites_are_kept_apart_as_streams_are() {
        let isolator = Isolator::new([7; 32]);
        let who = |user: &str, password: &str| Credentials { user: user.into(), password: password.into() };
        let link = |root, key| ContentLink { root: Address([root; 32]), key: Secret::new([key; 32]) };
        let (alice, bob) = (who("alice", "1"), who("bob", "1"));
        let stream = |who: &Credentials, target: &str| isolator.stream(who, &Target::Addr(target.parse().unwrap()));
        let all = [
            isolator.name(&alice, "h.example"),
            isolator.name(&alice, "i.example"),
            isolator.name(&bob, "h.example"),
            isolator.name(&who("alice", "2"), "h.example"),
            isolator.site(&alice, &link(1, 2)),
            isolator.site(&alice, &link(3, 2)),
            isolator.site(&alice, &link(1, 4)),
            isolator.site(&bob, &link(1, 2)),
            isolator.site(&alice, &link(2, 1)),
            isolator.name(&alice, &link(1, 2).host()),
            stream(&alice, "9.8.7.6:80"),
            stream(&alice, "9.8.7.6:81"),
            stream(&alice, "9.8.7.5:80"),
            stream(&bob, "9.8.7.6:80"),
        ];
        let bytes: BTreeSet<_> = all.iter().map(|token| *token.as_bytes()).collect();
        assert_eq!(bytes.len(), all.len());
        assert_eq!(isolator.name(&alice, "H.Example"), all[0], "names know no case");
        assert_eq!(isolator.site(&alice, &link(1, 2)), all[4], "every request of a page has its site's token");
    }

    #[test]
    fn a_token_is_told_by_its_first_six_bytes() {
        let token = Isolation([0x01, 0xa2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
        assert_eq!((format!("{token}"), format!("{token:?}")), ("01a203040506".into(), "01a203040506".into()));
    }

    #[test]
    fn each_end_of_a_stream_has_a_sentence_of_its_own() {
        let texts: BTreeSet<_> = (0..=u8::MAX).filter_map(EndReason::from_wire).map(end_text).collect();
        assert_eq!(texts.len(), (0..=u8::MAX).filter_map(EndReason::from_wire).count());
        assert!(texts.iter().all(|text| text.len() > 10));
    }
}
