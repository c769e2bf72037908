//! The head of an HTTP/1 request to the local proxy, and where its body ends (spec PROXY).
//!
//! The parser is strict on purpose: the same bytes go on to a server that may read them its own way, so whatever two
//! readers could understand differently (bare line feeds, folded lines, two lengths, two hosts) is refused.
//!
//! *Seen by:* the user's own machine; what [`HttpRequest::forward`] writes is seen by the exit and the server.

// What a peer sends is cut with checked calls: no bytes make a parser panic.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use crate::node::proxy::codec::socks::Credentials;
use crate::wire::message::{Target, host_name};
use core::net::{IpAddr, Ipv6Addr, SocketAddr};

mod body;
mod response;
#[cfg(feature = "unstable")]
pub use body::BodyError;
pub use body::{Body, Part};
#[cfg(feature = "unstable")]
pub use response::{ANSWER_FIELDS_MAX, ANSWER_HEAD_MAX};
pub use response::{AnswerBody, AnswerError, HttpAnswer, may_trail, read};

/// Maximum length of a request's head, in bytes.
pub const HEAD_MAX: usize = 16 * 1024;
/// Most fields of a head.
pub const FIELDS_MAX: usize = 128;
/// Maximum length of a method name, in bytes.
pub const METHOD_MAX: usize = 24;

/// Why a head is refused. Each is answered with its [`HeadError::status`] and the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// The head is longer than [`HEAD_MAX`] or has more than [`FIELDS_MAX`] fields.
    #[error("the request's head is too long")]
    TooLong,
    /// A line does not end with CR LF, or a control character stands in it.
    #[error("the request has a stray control character or line end")]
    BadLine,
    /// The first line is not `METHOD target HTTP/1.x`.
    #[error("the request line is not understood")]
    BadRequestLine,
    /// Not HTTP/1.0 or HTTP/1.1.
    #[error("only HTTP/1.0 and HTTP/1.1 are spoken here")]
    BadVersion,
    /// The target is no URL, authority or path.
    #[error("the request's target is not understood")]
    BadTarget,
    /// A URL of another scheme than `http:` or `ws:`.
    #[error("only http: and ws: addresses can be asked for; for https: and wss: a program opens a tunnel with CONNECT")]
    BadScheme,
    /// A field's name or value is not allowed, or the field continues on the next line.
    #[error("a header field is not understood")]
    BadField,
    /// No host, two hosts, or one that is no host.
    #[error("the Host field is missing, doubled or not understood")]
    BadHost,
    /// Two lengths, a length and chunks, or another transfer coding: two readers could disagree on where the body ends.
    #[error("the length of the request's body is ambiguous")]
    AmbiguousLength,
    /// Proxy-Authorization is not `Basic`, or is doubled.
    #[error("Proxy-Authorization must be Basic, once")]
    BadAuthorization,
}

impl HeadError {
    /// The status to answer with.
    pub fn status(self) -> u16 {
        match self {
            Self::TooLong => 431,
            Self::BadVersion => 505,
            _ => 400,
        }
    }
}

/// How the client named what it wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// `CONNECT host:port`: a tunnel.
    Tunnel(Target),
    /// `GET http://host/path`: for a proxy.
    Absolute {
        /// Host and port, 80 where none stands.
        target: Target,
        /// Path and query, beginning with `/`.
        path: String,
    },
    /// `GET /path`: for the server itself.
    Origin {
        /// The Host field's host and port; `None` only in HTTP/1.0.
        target: Option<Target>,
        /// Path and query, beginning with `/`; or `*`.
        path: String,
    },
}

/// How long the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// Content-Length; 0 if absent.
    Known(u64),
    /// In chunks.
    Chunked,
}

/// A header field. The name keeps its case; the value has no white space around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name, a token.
    pub name: String,
    /// The value; may hold bytes above 127.
    pub value: Vec<u8>,
}

/// The head of a request, parsed: [`parse`] gives it, [`HttpRequest::forward`] writes what goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// The method, a token.
    pub method: String,
    /// What is asked for.
    pub form: Form,
    /// HTTP/1.1, not 1.0.
    pub version_1_1: bool,
    /// All fields, as received.
    pub fields: Vec<Field>,
    /// How the body that follows the head ends.
    pub body: BodyLength,
    /// From Proxy-Authorization, for isolation.
    pub credentials: Credentials,
}

/// Reads a head from the front of `input`, all that was received. `None`: more must arrive. With the request comes the
/// number of bytes it took.
pub fn parse(input: &[u8]) -> Result<Option<(HttpRequest, usize)>, HeadError> {
    let window = input.get(..HEAD_MAX).unwrap_or(input);
    check_lines(window)?;
    let Some(end) = window.windows(4).position(|w| w == b"\r\n\r\n") else {
        // spec: PROXY-11
        return if input.len() >= HEAD_MAX { Err(HeadError::TooLong) } else { Ok(None) };
    };
    let head = window.get(..end).unwrap_or_default();
    let mut lines = head.split(|&b| b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let first = lines.next().ok_or(HeadError::BadRequestLine)?;
    let mut fields = Vec::new();
    for line in lines {
        if fields.len() >= FIELDS_MAX {
            return Err(HeadError::TooLong);
        }
        fields.push(field(line)?);
    }
    let request = request(first, fields)?;
    Ok(Some((request, end.saturating_add(4))))
}

/// Every line ends with CR LF and no other control character stands anywhere: servers differ on all others.
fn check_lines(head: &[u8]) -> Result<(), HeadError> {
    let mut before = 0;
    let mut at_end = 0u8;
    for &b in head {
        // spec: PROXY-12
        if (b == b'\n') != (before == b'\r') || b == 0x7f || (b < 0x20 && !matches!(b, b'\r' | b'\n' | b'\t')) {
            return Err(HeadError::BadLine);
        }
        // After the empty line comes the body, which may be anything.
        at_end = match b {
            b'\r' => at_end,
            b'\n' => at_end.saturating_add(1),
            _ => 0,
        };
        if at_end == 2 {
            return Ok(());
        }
        before = b;
    }
    Ok(())
}

fn request(first: &[u8], fields: Vec<Field>) -> Result<HttpRequest, HeadError> {
    let first = core::str::from_utf8(first).map_err(|_| HeadError::BadRequestLine)?;
    let mut words = first.split(' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(HeadError::BadRequestLine);
    };
    if method.len() > METHOD_MAX || !is_token(method.as_bytes()) {
        return Err(HeadError::BadRequestLine);
    }
    let version_1_1 = match version {
        "HTTP/1.1" => true,
        "HTTP/1.0" => false,
        _ if version.starts_with("HTTP/") => return Err(HeadError::BadVersion),
        _ => return Err(HeadError::BadRequestLine),
    };
    let host = host_field(&fields, version_1_1)?;
    let form = form(method, target, host)?;
    let body = body_length(&fields, version_1_1)?;
    if matches!(form, Form::Tunnel(_)) && body != BodyLength::Known(0) {
        return Err(HeadError::AmbiguousLength);
    }
    let credentials = credentials(&fields)?;
    Ok(HttpRequest { method: method.to_owned(), form, version_1_1, fields, body, credentials })
}

fn field(line: &[u8]) -> Result<Field, HeadError> {
    let colon = line.iter().position(|&b| b == b':').ok_or(HeadError::BadField)?;
    let (name, rest) = line.split_at_checked(colon).ok_or(HeadError::BadField)?;
    // A folded line begins with white space, which is no token, and is refused here (spec PROXY-12).
    if !is_token(name) {
        return Err(HeadError::BadField);
    }
    let name = core::str::from_utf8(name).map_err(|_| HeadError::BadField)?.to_owned();
    let value = rest.get(1..).unwrap_or_default().trim_ascii();
    Ok(Field { name, value: value.to_vec() })
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn form(method: &str, target: &str, host: Option<Target>) -> Result<Form, HeadError> {
    if !target.bytes().all(|b| b.is_ascii_graphic()) || target.contains('#') {
        return Err(HeadError::BadTarget);
    }
    if method == "CONNECT" {
        return Ok(Form::Tunnel(authority(target, None).ok_or(HeadError::BadTarget)?));
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok(Form::Origin { target: host, path: target.to_owned() });
    }
    let (scheme, rest) = target.split_once("://").ok_or(HeadError::BadTarget)?;
    // WebSocket begins as a request of HTTP to the same port.
    if !["http", "ws"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Err(HeadError::BadScheme);
    }
    let cut = rest.find(['/', '?']).unwrap_or(rest.len());
    let (name, path) = rest.split_at_checked(cut).ok_or(HeadError::BadTarget)?;
    let target = authority(name, Some(80)).ok_or(HeadError::BadTarget)?;
    let path = match path {
        "" if method == "OPTIONS" => "*".to_owned(),
        path if path.starts_with('/') => path.to_owned(),
        path => format!("/{path}"),
    };
    Ok(Form::Absolute { target, path })
}

/// Reads `host:port`; `port` stands in where none is written. A user before the host is refused: it belongs to tricks.
fn authority(text: &str, port: Option<u16>) -> Option<Target> {
    let (host, number) = match text.strip_prefix('[') {
        Some(rest) => {
            let (ip, rest) = rest.split_once(']')?;
            let number = if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) };
            (Err(ip.parse::<Ipv6Addr>().ok()?), number)
        }
        None => match text.split_once(':') {
            Some((host, number)) => (Ok(host), Some(number)),
            None => (Ok(text), None),
        },
    };
    let port = match number {
        Some(n) if n.len() <= 5 && n.bytes().all(|b| b.is_ascii_digit()) => n.parse().ok().filter(|&n| n != 0)?,
        Some(_) => return None,
        None => port?,
    };
    Some(match host {
        Err(ip) => Target::Addr(SocketAddr::new(IpAddr::V6(ip), port)),
        Ok(name) => match name.parse::<IpAddr>() {
            Ok(ip) => Target::Addr(SocketAddr::new(ip, port)),
            Err(_) => {
                let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
                let name = host_name(name.as_bytes()).ok().filter(|name| name.bytes().all(plain))?;
                Target::Host(name.to_owned(), port)
            }
        },
    })
}

/// Writes a target as it stands in a Host field or a URL.
fn write_authority(target: &Target, default_port: Option<u16>) -> String {
    let (host, port) = match target {
        Target::Host(name, port) => (name.clone(), *port),
        Target::Addr(SocketAddr::V4(a)) => (a.ip().to_string(), a.port()),
        Target::Addr(SocketAddr::V6(a)) => (format!("[{}]", a.ip()), a.port()),
        // The parser makes none of these.
        Target::Directory | Target::Store => return String::new(),
    };
    if Some(port) == default_port { host } else { format!("{host}:{port}") }
}

fn host_field(fields: &[Field], version_1_1: bool) -> Result<Option<Target>, HeadError> {
    let mut hosts = values(fields, "host");
    // spec: PROXY-12
    match (hosts.next(), hosts.next()) {
        (None, _) if version_1_1 => Err(HeadError::BadHost),
        (None, _) => Ok(None),
        (Some(host), None) => {
            let host = core::str::from_utf8(host).map_err(|_| HeadError::BadHost)?;
            authority(host, Some(80)).map(Some).ok_or(HeadError::BadHost)
        }
        (Some(_), Some(_)) => Err(HeadError::BadHost),
    }
}

fn body_length(fields: &[Field], version_1_1: bool) -> Result<BodyLength, HeadError> {
    let (mut lengths, mut codings) = (values(fields, "content-length"), values(fields, "transfer-encoding"));
    let (length, coding) = (lengths.next(), codings.next());
    // spec: PROXY-12
    if lengths.next().is_some() || codings.next().is_some() || (length.is_some() && coding.is_some()) {
        return Err(HeadError::AmbiguousLength);
    }
    match (length, coding) {
        (Some(n), _) if !n.is_empty() && n.len() <= 18 && n.iter().all(u8::is_ascii_digit) => {
            let n = core::str::from_utf8(n).ok().and_then(|n| n.parse().ok());
            n.map(BodyLength::Known).ok_or(HeadError::AmbiguousLength)
        }
        (None, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") && version_1_1 => Ok(BodyLength::Chunked),
        (None, None) => Ok(BodyLength::Known(0)),
        _ => Err(HeadError::AmbiguousLength),
    }
}

fn credentials(fields: &[Field]) -> Result<Credentials, HeadError> {
    let mut all = values(fields, "proxy-authorization");
    let Some(value) = all.next() else { return Ok(Credentials::default()) };
    if all.next().is_some() {
        return Err(HeadError::BadAuthorization);
    }
    let bad = HeadError::BadAuthorization;
    let (scheme, token) = value.split_at_checked(6).ok_or(bad)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return Err(bad);
    }
    let plain = data_encoding::BASE64.decode(token.trim_ascii()).map_err(|_| bad)?;
    let mut parts = plain.splitn(2, |&b| b == b':');
    let (user, password) = (parts.next().unwrap_or_default(), parts.next().ok_or(bad)?);
    Ok(Credentials { user: user.to_vec(), password: password.to_vec() })
}

/// The values of all fields of this name, written in lower case here.
fn values<'a>(fields: &'a [Field], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    fields.iter().filter(move |f| f.name.eq_ignore_ascii_case(name)).map(|f| f.value.as_slice())
}

impl HttpRequest {
    /// The value of a field that stands once; `None` if it stands not at all or more often.
    pub fn field<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        let mut all = values(&self.fields, name);
        match (all.next(), all.next()) {
            (Some(value), None) => core::str::from_utf8(value).ok(),
            _ => None,
        }
    }

    /// Whether a field stands at all.
    pub fn has(&self, name: &str) -> bool {
        values(&self.fields, name).next().is_some()
    }

    /// The words of a list, over all fields of this name.
    pub fn words<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        values(&self.fields, name).flat_map(list)
    }

    /// Whether the client wants the connection closed after the answer.
    pub fn wants_close(&self) -> bool {
        let said = |what: &str| is_named_by(&self.fields, "connection", what);
        // What programs once said to proxies in its place.
        let said_once = |what: &str| is_named_by(&self.fields, "proxy-connection", what);
        said("close") || said_once("close") || !(self.version_1_1 || said("keep-alive") || said_once("keep-alive"))
    }

    /// The protocol that the client wants to go on with, WebSocket mostly. HTTP/2 is not passed on: its client would have to
    /// be told that there is a proxy.
    pub fn upgrade(&self) -> Option<&str> {
        let wanted =
            self.field("upgrade").filter(|_| self.version_1_1 && is_named_by_connection(&self.fields, "upgrade"))?;
        let is_http2 = list(wanted.as_bytes()).any(|word| word.eq_ignore_ascii_case("h2c"));
        (!is_http2 && !wanted.is_empty()).then_some(wanted)
    }

    /// The head as it goes on to the server: origin form, the URL's host, no field that is between client and proxy, and
    /// the connection closed after the one answer, or changed to another protocol.
    pub fn forward(&self) -> Option<Vec<u8>> {
        let Form::Absolute { target, path } = &self.form else { return None };
        let version = if self.version_1_1 { "1.1" } else { "1.0" };
        let mut out = format!("{} {path} HTTP/{version}\r\n", self.method).into_bytes();
        out.extend_from_slice(format!("Host: {}\r\n", write_authority(target, Some(80))).as_bytes());
        for field in self.fields.iter().filter(|f| self.is_end_to_end(&f.name)) {
            out.extend_from_slice(&[field.name.as_bytes(), b": ", &field.value, b"\r\n"].concat());
        }
        // spec: PROXY-42
        match self.upgrade() {
            Some(protocol) => {
                out.extend_from_slice(format!("Connection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n").as_bytes())
            }
            None => out.extend_from_slice(b"Connection: close\r\n\r\n"),
        }
        Some(out)
    }

    /// Whether a field goes on to the server.
    fn is_end_to_end(&self, name: &str) -> bool {
        const FRAMING: [&str; 2] = ["content-length", "transfer-encoding"];
        const HOP: [&str; 7] = ["host", "connection", "keep-alive", "te", "trailer", "upgrade", "http2-settings"];
        let name = name.to_ascii_lowercase();
        // The length goes on whatever Connection says: without it the server would read the body as a request.
        if FRAMING.contains(&name.as_str()) {
            return true;
        }
        // spec: PROXY-13
        !(HOP.contains(&name.as_str()) || name.starts_with("proxy-") || is_named_by_connection(&self.fields, &name))
    }

    /// The head as it was sent, in its plainest form. Parsed again it is the same request.
    #[cfg(feature = "unstable")]
    pub fn encode(&self) -> Vec<u8> {
        let target = match &self.form {
            Form::Tunnel(target) => write_authority(target, None),
            Form::Absolute { target, path } if path == "*" => format!("http://{}", write_authority(target, None)),
            Form::Absolute { target, path } => format!("http://{}{path}", write_authority(target, None)),
            Form::Origin { path, .. } => path.clone(),
        };
        let version = if self.version_1_1 { "1.1" } else { "1.0" };
        let mut out = format!("{} {target} HTTP/{version}\r\n", self.method).into_bytes();
        for field in &self.fields {
            out.extend_from_slice(&[field.name.as_bytes(), b": ", &field.value, b"\r\n"].concat());
        }
        out.extend_from_slice(b"\r\n");
        out
    }
}

/// Whether a list in fields of this name contains a word.
fn is_named_by(fields: &[Field], field: &str, word: &str) -> bool {
    values(fields, field).any(|v| list(v).any(|w| w.eq_ignore_ascii_case(word)))
}

/// Whether Connection names this field: then it is for the next hop alone.
fn is_named_by_connection(fields: &[Field], name: &str) -> bool {
    is_named_by(fields, "connection", name)
}

/// The words of a comma-separated list.
fn list(value: &[u8]) -> impl Iterator<Item = &str> {
    value.split(|&b| b == b',').filter_map(|word| core::str::from_utf8(word.trim_ascii()).ok())
}

#[cfg(test)]
mod tests;
