//! What the proxy needs from the rest of the node: streams to the world, and published objects.
//!
//! The traits are for one thread: futures are not `Send`. The node implements them over circuits; a test implements them
//! over sockets and memory. The proxy itself opens no connection and looks no name up.

use crate::crypto::hash::{context, derive};
use crate::node::proxy::codec::socks::Credentials;
pub use crate::role::client::Isolation;
use crate::role::client::Part;
use crate::role::limits::CIRCUITS_PER_USER;
use crate::wire::message::{EndReason, Target};
use crate::wire::umbel_link::ContentLink;
use bytes::Bytes;
use core::future::Future;
use core::net::IpAddr;
use core::ops::Range;

/// A user name that ends so asks for a circuit for each destination.
pub const BY_DESTINATION: &[u8] = b"+destination";

/// Makes isolation tokens, with a salt of its own so that nobody who sees one can try destinations out.
#[derive(Clone)]
pub struct Isolator {
    salt: [u8; 32],
    by_destination: bool,
}

impl Isolator {
    /// `salt` is 32 fresh random bytes. `by_destination`: whether each destination has a circuit of its own for everybody, and
    /// not only for users who ask for it.
    pub fn new(salt: [u8; 32], by_destination: bool) -> Self {
        Self { salt, by_destination }
    }

    /// For a stream through an exit: one of the few circuits of its user, the same for all hosts of a registrable domain.
    /// Which one, nobody outside can tell or choose.
    pub fn stream(&self, who: &Credentials, target: &Target) -> Isolation {
        let target = match target {
            Target::Host(name, port) => Target::Host(name.to_ascii_lowercase(), *port),
            other => other.clone(),
        };
        if self.is_by_destination(who) {
            return self.own(b"stream", who, &target.encode());
        }
        // spec: PROXY-34
        match &target {
            Target::Host(name, _) => self.shared(who, domain(name).as_bytes()),
            Target::Addr(address) => self.shared(who, &prefix(address.ip())),
            Target::Directory | Target::Store => self.shared(who, b""),
        }
    }

    /// For a look-up of a name: where streams to that name go.
    pub fn name(&self, who: &Credentials, name: &str) -> Isolation {
        let name = name.to_ascii_lowercase();
        if self.is_by_destination(who) {
            return self.own(b"name", who, name.as_bytes());
        }
        self.shared(who, domain(&name).as_bytes())
    }

    /// For an object: one for each user and each site, whatever port or form it was asked by.
    // spec: PROXY-36
    pub fn site(&self, who: &Credentials, link: &ContentLink) -> Isolation {
        self.own(b"site", who, link.host().as_bytes())
    }

    // spec: PROXY-35
    fn is_by_destination(&self, who: &Credentials) -> bool {
        self.by_destination || who.user.ends_with(BY_DESTINATION)
    }

    /// One of the circuits of a user.
    fn shared(&self, who: &Credentials, what: &[u8]) -> Isolation {
        let [first, ..] = self.hash(b"circuit", who, what);
        Isolation { user: self.user(who), part: Part::Shared(first % CIRCUITS_PER_USER) }
    }

    /// A circuit for this alone.
    fn own(&self, kind: &[u8], who: &Credentials, what: &[u8]) -> Isolation {
        let what = self.hash(kind, who, what).first_chunk().map_or(0, |b| u64::from_be_bytes(*b));
        Isolation { user: self.user(who), part: Part::Own(what, 0) }
    }

    /// Names a user, for what is shared out between users.
    // spec: PROXY-17
    pub fn user(&self, who: &Credentials) -> [u8; 16] {
        let mut user = [0; 16];
        user.iter_mut().zip(self.hash(b"user", who, b"")).for_each(|(to, from)| *to = from);
        user
    }

    fn hash(&self, kind: &[u8], who: &Credentials, what: &[u8]) -> [u8; 32] {
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
        derive(context::LOCAL, &parts)
    }
}

/// What a domain's owner holds, as the public suffix list has it; the whole name where it lies under no suffix.
fn domain(name: &str) -> &str {
    let name = name.strip_suffix('.').unwrap_or(name);
    psl::domain_str(name).unwrap_or(name)
}

/// What one customer of a provider has of the addresses, as a rule.
fn prefix(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().iter().take(8).copied().collect(),
    }
}

/// Why no stream could be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The node has no directory or no circuit yet.
    #[error("the node is not connected to the network yet")]
    NotReady,
    /// No circuit could be built.
    #[error("the network is unreachable: no path through it could be built; this machine may be offline")]
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
    use std::collections::{BTreeMap, BTreeSet};

    fn who(user: &str, password: &str) -> Credentials {
        Credentials { user: user.into(), password: password.into() }
    }

    fn host(name: &str, port: u16) -> Target {
        Target::Host(name.into(), port)
    }

    // spec: PROXY-34
    #[test]
    fn a_user_s_domains_are_spread_over_eight_circuits_and_each_keeps_to_its_own() {
        let isolator = Isolator::new([7; 32], false);
        let alice = who("alice", "1");
        let mut met = BTreeMap::new();
        for n in 0..4000 {
            let token = isolator.stream(&alice, &host(&format!("a{n}.example"), 443));
            *met.entry(token).or_insert(0) += 1;
        }
        assert_eq!(met.len(), usize::from(CIRCUITS_PER_USER));
        assert!(met.values().all(|n| (350..650).contains(n)), "evenly: {met:?}");
        for (one, other) in [("a.co.uk", "www.a.co.uk."), ("X.example", "x.example"), ("127.0.0.1", "127.0.0.1")] {
            let token = isolator.stream(&alice, &host(one, 80));
            assert_eq!(token, isolator.stream(&alice, &host(other, 8080)), "{one} and {other}");
            assert_eq!(token, isolator.name(&alice, other), "and where the name is looked up");
        }
        let spread = |names: &dyn Fn(usize) -> Target| {
            (0..64).map(|n| isolator.stream(&alice, &names(n))).collect::<BTreeSet<_>>().len()
        };
        assert_eq!(spread(&|n| host(&format!("x{n}.a.co.uk"), 80)), 1, "hosts of one domain");
        assert!(spread(&|n| host(&format!("a{n}.co.uk"), 80)) > 4, "domains under one suffix");
        assert!(spread(&|n| host(&format!("a{n}.github.io"), 80)) > 4, "customers of one provider");
        assert!(spread(&|n| Target::Addr(([9, 8, 7, n as u8], 80).into())) > 4, "addresses");
        let v6 = |net: u16, n: usize| Target::Addr(([0x2001, 0xdb8, 0, net, 0, 0, 0, n as u16], 80).into());
        assert_eq!(spread(&|n| v6(1, n)), 1, "addresses of one /64");
        assert!(spread(&|n| v6(n as u16, 1)) > 4);
    }

    // spec: PROXY-17 PROXY-34
    #[test]
    fn another_user_or_password_is_another_circuit_and_nobody_can_choose_a_neighbour() {
        let isolator = Isolator::new([7; 32], false);
        let users = [who("a", "b"), who("ab", ""), who("", "ab"), who("", ""), who("a", "c")];
        let all: BTreeSet<_> = users.iter().map(|u| isolator.stream(u, &host("h.example", 80)).user).collect();
        assert_eq!(all.len(), users.len());
        let neighbours = |salt: u8| {
            let isolator = Isolator::new([salt; 32], false);
            let part = |n: usize| isolator.stream(&who("", ""), &host(&format!("a{n}.example"), 80)).part;
            (0..64).map(|n| part(n) == part(0)).collect::<Vec<_>>()
        };
        assert_ne!(neighbours(1), neighbours(2), "who meets whom is drawn anew by each process");
    }

    // spec: PROXY-35
    #[test]
    fn who_asks_for_it_has_a_circuit_for_each_destination() {
        let (usual, strict) = (Isolator::new([7; 32], false), Isolator::new([7; 32], true));
        for (isolator, who) in [(&usual, who("a+destination", "")), (&strict, who("a", ""))] {
            let token = |name: &str, port| isolator.stream(&who, &host(name, port));
            let mut tokens: BTreeSet<_> = (0..500).map(|n| token(&format!("x{n}.one.example"), 80)).collect();
            tokens.insert(token("x0.one.example", 81));
            tokens.insert(isolator.name(&who, "x0.one.example"));
            assert_eq!(tokens.len(), 502);
            assert!(tokens.iter().all(|t| t.user == token("x", 1).user), "one user, whose exits are drawn together");
            assert_eq!(token("X0.One.example", 80), token("x0.one.example", 80));
        }
    }

    // spec: PROXY-36
    #[test]
    fn each_site_is_kept_apart_for_each_user() {
        let isolator = Isolator::new([7; 32], false);
        let link = |root, key| ContentLink { root: Address([root; 32]), key: Secret::new([key; 32]) };
        let (alice, bob) = (who("alice", "1"), who("bob", "1"));
        let all = [
            isolator.site(&alice, &link(1, 2)),
            isolator.site(&alice, &link(3, 2)),
            isolator.site(&alice, &link(1, 4)),
            isolator.site(&bob, &link(1, 2)),
            isolator.site(&alice, &link(2, 1)),
            isolator.name(&alice, &link(1, 2).host()),
        ];
        assert_eq!(BTreeSet::from(all).len(), all.len());
        assert_eq!(isolator.site(&alice, &link(1, 2)), all[0], "every request of a page has its site's token");
    }

    #[test]
    fn each_end_of_a_stream_has_a_sentence_of_its_own() {
        let texts: BTreeSet<_> = (0..=u8::MAX).filter_map(EndReason::from_wire).map(end_text).collect();
        assert_eq!(texts.len(), (0..=u8::MAX).filter_map(EndReason::from_wire).count());
        assert!(texts.iter().all(|text| text.len() > 10));
    }
}
