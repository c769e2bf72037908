//! SOCKS 5, 4 and 4a as a local program speaks them to the proxy (spec PROXY).
//!
//! [`Handshake`] reads one message after the other from the front of what was received and says what to answer; it does
//! no input or output. It accepts CONNECT and Tor's RESOLVE; everything else is refused with the reply the client's
//! protocol has for it, so that the client can say why.
//!
//! *Seen by:* the user's own machine only.

// What a peer sends is cut with checked calls: no bytes make a parser panic.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use crate::base::bytes::Reader;
use crate::base::numbered::numbered;
use crate::wire::error::Malformed;
use crate::wire::message::{EndReason, Target, host_name};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest message a client can need: SOCKS 4a with a user and a name of 255 bytes each. More than this without an end
/// is refused, so no client makes the proxy keep more.
pub const MESSAGE_MAX: usize = 8 + 256 + 256;
/// Longest user name, password or host name.
pub const FIELD_MAX: usize = 255;

const NO_AUTH: u8 = 0;
const USER_PASSWORD: u8 = 2;
const NO_METHOD: u8 = 0xff;

/// Which protocol the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// SOCKS 4 and 4a.
    V4,
    /// SOCKS 5.
    V5,
}

numbered! {
    /// What the client asks for.
    pub enum Command {
        /// A stream to the target.
        Connect = 1,
        /// The address of the target's name (Tor's extension 0xF0); the port means nothing.
        Resolve = 0xf0,
    }
}

/// Who the client says it is. It proves nothing; it only keeps streams apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// User name, at most [`FIELD_MAX`] bytes from SOCKS.
    pub user: Vec<u8>,
    /// Password, likewise; empty in SOCKS 4.
    pub password: Vec<u8>,
}

/// A request that was read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocksRequest {
    /// The protocol, which the replies must follow.
    pub version: Version,
    /// What for.
    pub command: Command,
    /// Where to; never the relay's own services.
    pub target: Target,
    /// For isolation.
    pub credentials: Credentials,
}

numbered! {
    /// How a request ended, in the terms of SOCKS 5 (spec PROXY-9).
    pub enum Reply {
        /// Granted.
        Succeeded = 0,
        /// No better word.
        Failure = 1,
        /// Forbidden, by this node or by the exit.
        NotAllowed = 2,
        /// There is no path through the network.
        NetworkUnreachable = 3,
        /// The exit cannot reach the host, or its name is unknown.
        HostUnreachable = 4,
        /// The host refused, or reset.
        Refused = 5,
        /// The host did not answer in time.
        TimedOut = 6,
        /// BIND, UDP ASSOCIATE, RESOLVE_PTR and unknown ones.
        CommandNotSupported = 7,
        /// An unknown kind of address.
        AddressNotSupported = 8,
    }
}

impl Reply {
    /// The reply for a stream that ended with this reason before it was open.
    pub fn from_end(reason: EndReason) -> Self {
        match reason {
            EndReason::Policy | EndReason::NotOffered => Self::NotAllowed,
            EndReason::Unreachable => Self::HostUnreachable,
            EndReason::Refused | EndReason::Reset => Self::Refused,
            EndReason::TimedOut => Self::TimedOut,
            EndReason::Done | EndReason::Resource | EndReason::Protocol => Self::Failure,
        }
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing until more bytes arrive.
    More,
    /// Drop `used` bytes from the front, send `answer`, go on.
    Answer {
        /// Bytes of input that were this message.
        used: usize,
        /// To be sent.
        answer: [u8; 2],
    },
    /// Drop `used` bytes from the front; the handshake is over. What follows belongs to the stream.
    Request {
        /// Bytes of input that were this message.
        used: usize,
        /// The request, to be answered with [`encode_reply`].
        request: SocksRequest,
    },
}

/// A handshake that cannot go on. `answer` (may be empty) is sent, then the connection is closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("SOCKS: {error}")]
pub struct Refused {
    /// What is wrong with the message.
    pub error: Malformed,
    /// The bytes to answer with, in the client's version of the protocol; may be empty.
    pub answer: Vec<u8>,
}

impl Refused {
    fn silent(error: Malformed) -> Self {
        Self { error, answer: Vec::new() }
    }

    fn with(error: Malformed, version: Version, reply: Reply) -> Self {
        Self { error, answer: encode_reply(version, reply, None) }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HandshakeState {
    /// The first byte tells the version.
    Greeting,
    /// SOCKS 5, method 2 was chosen.
    Login,
    /// SOCKS 5, the request comes.
    Request,
}

/// Reads one client's handshake.
#[derive(Clone, Debug)]
pub struct Handshake {
    state: HandshakeState,
    credentials: Credentials,
}

impl Default for Handshake {
    fn default() -> Self {
        Self::new()
    }
}

impl Handshake {
    /// Before the first byte.
    pub fn new() -> Self {
        Self { state: HandshakeState::Greeting, credentials: Credentials::default() }
    }

    /// Reads one message from the front of `input`, all that was received and not used yet.
    pub fn advance(&mut self, input: &[u8]) -> Result<Step, Refused> {
        let mut r = Reader::new(input);
        let step = match (&self.state, input.first()) {
            (_, None) => return Ok(Step::More),
            (HandshakeState::Greeting, Some(4)) => self.version4(&mut r),
            (HandshakeState::Greeting, Some(5)) => self.methods(&mut r),
            (HandshakeState::Login, Some(1)) => self.login(&mut r),
            (HandshakeState::Request, Some(5)) => self.request(&mut r),
            (HandshakeState::Greeting | HandshakeState::Login, _) => {
                return Err(Refused::silent(Malformed::UnknownVersion));
            }
            (HandshakeState::Request, _) => {
                return Err(Refused::with(Malformed::UnknownVersion, Version::V5, Reply::Failure));
            }
        };
        let used = input.len().saturating_sub(r.len());
        match step {
            Ok(Done::Answer(answer)) => Ok(Step::Answer { used, answer }),
            Ok(Done::Request(request)) => Ok(Step::Request { used, request }),
            // spec: PROXY-6
            Err(Stop::More) if input.len() >= MESSAGE_MAX => Err(Refused::silent(Malformed::OutOfRange)),
            Err(Stop::More) => Ok(Step::More),
            Err(Stop::Refused(refused)) => Err(refused),
        }
    }

    fn methods(&mut self, r: &mut Reader<'_>) -> Result<Done, Stop> {
        r.u8()?;
        let methods = r.bytes8()?;
        // A client that can say who it is wants its streams apart, so that method goes first.
        // spec: PROXY-5
        let method = [USER_PASSWORD, NO_AUTH].into_iter().find(|m| methods.contains(m));
        match method {
            Some(USER_PASSWORD) => self.state = HandshakeState::Login,
            Some(_) => self.state = HandshakeState::Request,
            None => {
                return Err(Stop::Refused(Refused { error: Malformed::UnknownKind, answer: vec![5, NO_METHOD] }));
            }
        }
        Ok(Done::Answer([5, method.unwrap_or(NO_METHOD)]))
    }

    fn login(&mut self, r: &mut Reader<'_>) -> Result<Done, Stop> {
        r.u8()?;
        let (user, password) = (r.bytes8()?, r.bytes8()?);
        self.credentials = Credentials { user: user.to_vec(), password: password.to_vec() };
        self.state = HandshakeState::Request;
        Ok(Done::Answer([1, 0]))
    }

    fn request(&mut self, r: &mut Reader<'_>) -> Result<Done, Stop> {
        let refuse = |error, reply| Stop::Refused(Refused::with(error, Version::V5, reply));
        let [_, command, reserved] = r.array()?;
        if reserved != 0 {
            return Err(refuse(Malformed::NonZeroPadding, Reply::Failure));
        }
        // spec: PROXY-7
        let command = Command::from_wire(command).ok_or(refuse(Malformed::UnknownKind, Reply::CommandNotSupported))?;
        let target = match r.u8()? {
            1 => ip(Ipv4Addr::from(r.array::<4>()?), r.u16()?),
            4 => ip(Ipv6Addr::from(r.array::<16>()?), r.u16()?),
            3 => {
                let name = r.bytes8()?;
                let port = r.u16()?;
                let name = host_name(name).map_err(|error| refuse(error, Reply::AddressNotSupported))?;
                Target::Host(name.to_owned(), port)
            }
            _ => return Err(refuse(Malformed::UnknownKind, Reply::AddressNotSupported)),
        };
        let credentials = core::mem::take(&mut self.credentials);
        Ok(Done::Request(SocksRequest { version: Version::V5, command, target, credentials }))
    }

    fn version4(&mut self, r: &mut Reader<'_>) -> Result<Done, Stop> {
        let refuse = |error| Stop::Refused(Refused::with(error, Version::V4, Reply::Failure));
        let [_, command] = r.array()?;
        let command = Command::from_wire(command).ok_or(refuse(Malformed::UnknownKind))?;
        let (port, address) = (r.u16()?, r.array::<4>()?);
        let user = terminated(r)?.to_vec();
        let target = match address {
            // 0.0.0.x with x not zero is 4a: the name follows.
            [0, 0, 0, 1..=255] => Target::Host(host_name(terminated(r)?).map_err(refuse)?.to_owned(), port),
            address => ip(Ipv4Addr::from(address), port),
        };
        let credentials = Credentials { user, password: Vec::new() };
        Ok(Done::Request(SocksRequest { version: Version::V4, command, target, credentials }))
    }
}

#[cfg(feature = "unstable")]
impl SocksRequest {
    /// Writes the request's own message as a client would; what was read is written back byte for byte, save that the
    /// address 0.0.0.x of SOCKS 4a is written as 0.0.0.1.
    pub fn encode(&self) -> Vec<u8> {
        match self.version {
            Version::V5 => [&[5, self.command.to_wire(), 0][..], &address5(&self.target)].concat(),
            Version::V4 => self.encode4(),
        }
    }

    fn encode4(&self) -> Vec<u8> {
        let (address, port, name) = match &self.target {
            Target::Host(name, port) => ([0, 0, 0, 1], *port, Some(name)),
            Target::Addr(SocketAddr::V4(a)) => (a.ip().octets(), a.port(), None),
            // SOCKS 4 has no words for these and the parser makes none.
            Target::Addr(SocketAddr::V6(_)) | Target::Directory | Target::Store => ([0; 4], 0, None),
        };
        let mut out = vec![4, self.command.to_wire()];
        out.extend_from_slice(&port.to_be_bytes());
        out.extend_from_slice(&address);
        out.extend_from_slice(&self.credentials.user);
        out.push(0);
        if let Some(name) = name {
            out.extend_from_slice(name.as_bytes());
            out.push(0);
        }
        out
    }
}

/// The reply to a request. `address` is what RESOLVE found; a CONNECT has none to tell.
pub fn encode_reply(version: Version, reply: Reply, address: Option<IpAddr>) -> Vec<u8> {
    let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    match (version, address) {
        (Version::V5, _) => {
            [&[5, reply.to_wire(), 0][..], &address5(&Target::Addr(SocketAddr::new(address, 0)))].concat()
        }
        (Version::V4, IpAddr::V4(a)) if reply == Reply::Succeeded => [&[0, 90, 0, 0][..], &a.octets()].concat(),
        // 91: rejected or failed. An IPv6 address cannot be told in SOCKS 4.
        (Version::V4, _) => vec![0, 91, 0, 0, 0, 0, 0, 0],
    }
}

fn address5(target: &Target) -> Vec<u8> {
    match target {
        Target::Host(name, port) => [&[3, name.len() as u8][..], name.as_bytes(), &port.to_be_bytes()].concat(),
        Target::Addr(SocketAddr::V4(a)) => [&[1][..], &a.ip().octets(), &a.port().to_be_bytes()].concat(),
        Target::Addr(SocketAddr::V6(a)) => [&[4][..], &a.ip().octets(), &a.port().to_be_bytes()].concat(),
        Target::Directory | Target::Store => vec![1, 0, 0, 0, 0, 0, 0],
    }
}

fn ip(address: impl Into<IpAddr>, port: u16) -> Target {
    Target::Addr(SocketAddr::new(address.into(), port))
}

/// A field that ends with a zero byte.
fn terminated<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], Stop> {
    let mut look = *r;
    let rest = look.rest();
    match rest.iter().take(FIELD_MAX + 1).position(|&b| b == 0) {
        Some(n) => {
            let field = r.take(n)?;
            r.u8()?;
            Ok(field)
        }
        // spec: PROXY-6
        None if rest.len() > FIELD_MAX => {
            Err(Stop::Refused(Refused::with(Malformed::OutOfRange, Version::V4, Reply::Failure)))
        }
        None => Err(Stop::More),
    }
}

enum Done {
    Answer([u8; 2]),
    Request(SocksRequest),
}

enum Stop {
    More,
    Refused(Refused),
}

impl From<Malformed> for Stop {
    /// A [`Reader`] only ever misses bytes that have not arrived yet.
    fn from(_: Malformed) -> Self {
        Self::More
    }
}

#[cfg(test)]
mod tests;
