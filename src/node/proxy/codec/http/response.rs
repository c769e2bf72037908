//! The head of a server's answer, and where its body ends (spec PROXY).
//!
//! Servers are many and old, so what they write is read leniently; what goes on to the program is written anew, in one form. So
//! no answer can be taken for two, and none of one server for another's.
//!
//! *Seen by:* exits and servers, which may send anything.

use super::{Field, HttpRequest, field, is_named_by_connection, values};

/// Maximum length of an answer's head, in bytes.
pub const ANSWER_HEAD_MAX: usize = 64 * 1024;
/// Most fields of an answer's head.
pub const ANSWER_FIELDS_MAX: usize = 256;

/// Why an answer is not passed on. The program gets an answer of the proxy's own instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The head is longer than [`ANSWER_HEAD_MAX`] or has more than [`ANSWER_FIELDS_MAX`] fields.
    #[error("the head of the server's answer is too long")]
    TooLong,
    /// It is no HTTP/1 answer.
    #[error("the server's answer is not HTTP")]
    NotHttp,
    /// Two lengths that differ, a length and chunks, or a transfer coding that was not asked for.
    #[error("the length of the server's answer is ambiguous")]
    AmbiguousLength,
    /// A server asks for the proxy's password, or changes the protocol without being asked to.
    #[error("the server's answer is one that only a proxy may give, or that was not asked for")]
    NotAsked,
}

/// Where an answer's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerBody {
    /// There is none.
    None,
    /// After this many bytes.
    Known(u64),
    /// After the last chunk.
    Chunked,
    /// With the stream.
    UntilEnd,
}

/// The head of an answer: [`read`] gives it, [`HttpAnswer::write`] writes what goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// 100 to 999.
    pub status: u16,
    /// What follows the status.
    pub reason: String,
    /// HTTP/1.1, not 1.0.
    pub version_1_1: bool,
    /// All fields, as received; folded lines are one.
    pub fields: Vec<Field>,
}

/// Reads a head from the front of `input`, all that was received. `None`: more must arrive. With the answer comes the
/// number of bytes it took.
pub fn read(input: &[u8]) -> Result<Option<(HttpAnswer, usize)>, AnswerError> {
    let mut space = [httparse::EMPTY_HEADER; ANSWER_FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut space);
    let mut config = httparse::ParserConfig::default();
    config
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .ignore_invalid_headers_in_responses(true);
    let window = input.get(..ANSWER_HEAD_MAX).unwrap_or(input);
    // spec: PROXY-43
    let used = match config.parse_response(&mut parsed, window) {
        Ok(httparse::Status::Complete(used)) => used,
        Ok(httparse::Status::Partial) if input.len() >= ANSWER_HEAD_MAX => return Err(AnswerError::TooLong),
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(AnswerError::TooLong),
        Err(_) => return Err(AnswerError::NotHttp),
    };
    let status = parsed.code.filter(|code| *code >= 100).ok_or(AnswerError::NotHttp)?;
    let fields = parsed.headers.iter().map(|h| Field { name: h.name.to_owned(), value: unfold(h.value) });
    let reason = parsed.reason.unwrap_or_default().to_owned();
    let answer = HttpAnswer { status, reason, version_1_1: parsed.version == Some(1), fields: fields.collect() };
    Ok(Some((answer, used)))
}

/// Folded lines as one.
fn unfold(value: &[u8]) -> Vec<u8> {
    value.iter().map(|&b| if matches!(b, b'\r' | b'\n') { b' ' } else { b }).collect::<Vec<_>>().trim_ascii().to_vec()
}

impl HttpAnswer {
    /// Whether another answer follows it.
    pub fn is_interim(&self) -> bool {
        self.status < 200
    }

    /// Whether the server has taken up the protocol that the request asked for.
    pub fn is_upgrade(&self) -> bool {
        self.status == 101
    }

    /// Whether it may be an answer to this request.
    pub fn answers(&self, request: &HttpRequest) -> Result<(), AnswerError> {
        let unasked = self.is_upgrade() && request.upgrade().is_none();
        // A program would give the server the password of its proxy.
        if unasked || self.status == 407 { Err(AnswerError::NotAsked) } else { Ok(()) }
    }

    /// Where the body of this answer to a request with `method` ends.
    pub fn body(&self, method: &str) -> Result<AnswerBody, AnswerError> {
        let (length, mut codings) = (self.length()?, values(&self.fields, "transfer-encoding"));
        if method == "HEAD" || self.is_interim() || matches!(self.status, 204 | 304) {
            return Ok(AnswerBody::None);
        }
        // spec: PROXY-43
        match (codings.next(), codings.next(), length) {
            (None, _, Some(n)) => Ok(AnswerBody::Known(n)),
            (None, _, None) => Ok(AnswerBody::UntilEnd),
            (Some(coding), None, None) if coding.eq_ignore_ascii_case(b"chunked") && self.version_1_1 => {
                Ok(AnswerBody::Chunked)
            }
            _ => Err(AnswerError::AmbiguousLength),
        }
    }

    /// Content-Length. Written several times it must be the same each time.
    fn length(&self) -> Result<Option<u64>, AnswerError> {
        let mut length = None;
        for value in values(&self.fields, "content-length").flat_map(|v| v.split(|&b| b == b',')) {
            let text = core::str::from_utf8(value.trim_ascii()).map_err(|_| AnswerError::AmbiguousLength)?;
            let digits = !text.is_empty() && text.len() <= 18 && text.bytes().all(|b| b.is_ascii_digit());
            let n = text.parse::<u64>().ok().filter(|_| digits).ok_or(AnswerError::AmbiguousLength)?;
            if length.replace(n).is_some_and(|before| before != n) {
                return Err(AnswerError::AmbiguousLength);
            }
        }
        Ok(length)
    }

    /// The head as it goes on to a program. `chunked`: the body is sent in chunks; `close`: the connection ends with it.
    pub fn write(&self, chunked: bool, close: bool) -> Vec<u8> {
        let mut out = format!("HTTP/1.1 {:03} {}\r\n", self.status, self.reason).into_bytes();
        let mut line =
            |name: &str, value: &[u8]| out.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
        for field in self.fields.iter().filter(|f| self.is_end_to_end(&f.name)) {
            line(&field.name, &field.value);
        }
        if let Ok(Some(n)) = self.length()
            && !chunked
            && !self.is_interim()
            && self.status != 204
        {
            line("Content-Length", n.to_string().as_bytes());
        }
        if chunked {
            line("Transfer-Encoding", b"chunked");
        }
        if self.is_upgrade() {
            line("Connection", b"Upgrade");
            values(&self.fields, "upgrade").for_each(|protocol| line("Upgrade", protocol));
        } else if !self.is_interim() {
            // Clients of HTTP/1.0 stay only when told.
            line("Connection", if close { b"close" } else { b"keep-alive" });
        }
        out.extend_from_slice(b"\r\n");
        out
    }

    /// Whether a field goes on as it came. Those that say how long the body is are written anew.
    fn is_end_to_end(&self, name: &str) -> bool {
        const HOP: [&str; 7] =
            ["connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"];
        let name = name.to_ascii_lowercase();
        // spec: PROXY-41
        !(HOP.contains(&name.as_str()) || name.starts_with("proxy-") || is_named_by_connection(&self.fields, &name))
    }
}

/// Whether a line may follow the last chunk of an answer that goes on: a field that says nothing of the connection or of where
/// the answer ends.
pub fn may_trail(line: &[u8]) -> bool {
    const NEVER: [&str; 8] =
        ["connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"];
    field(line).is_ok_and(|f| !NEVER.iter().any(|name| f.name.eq_ignore_ascii_case(name)))
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn answer(text: &str) -> HttpAnswer {
        let (answer, used) = read(text.as_bytes()).unwrap().unwrap();
        assert_eq!(used, text.len());
        answer
    }

    fn with(fields: &str) -> HttpAnswer {
        answer(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"))
    }

    // spec: PROXY-41
    #[test]
    fn what_is_between_server_and_proxy_goes_no_further() {
        let from_server = with(
            "Connection: keep-alive, X-Hop, content-type\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\n\
             TE: trailers\r\nTrailer: X\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\nContent-Type: a/b\r\nETag: \"x\"\r\n",
        );
        let text = |chunked, close| String::from_utf8(from_server.write(chunked, close)).unwrap();
        assert_eq!(
            text(true, false),
            "HTTP/1.1 200 OK\r\nETag: \"x\"\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n"
        );
        assert_eq!(text(false, true), "HTTP/1.1 200 OK\r\nETag: \"x\"\r\nConnection: close\r\n\r\n");
    }

    // spec: PROXY-43
    #[test]
    fn a_body_ends_where_every_reader_would_end_it() {
        let body = |fields: &str| with(fields).body("GET");
        assert_eq!(body("Content-Length: 5\r\n"), Ok(AnswerBody::Known(5)));
        assert_eq!(body("Content-Length: 5\r\nContent-Length: 5, 5\r\n"), Ok(AnswerBody::Known(5)));
        assert_eq!(body("Transfer-Encoding: Chunked\r\n"), Ok(AnswerBody::Chunked));
        assert_eq!(body(""), Ok(AnswerBody::UntilEnd));
        for bad in [
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: -5\r\n",
            "Content-Length: 5 5\r\n",
            "Content-Length: \r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: identity\r\n",
        ] {
            assert_eq!(body(bad), Err(AnswerError::AmbiguousLength), "{bad}");
        }
        assert_eq!(
            answer("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").body("GET"),
            Err(AnswerError::AmbiguousLength)
        );
        assert_eq!(with("Content-Length: 5\r\n").body("HEAD"), Ok(AnswerBody::None));
        for status in ["204 No Content", "304 Not Modified", "103 Early Hints"] {
            let none = answer(&format!("HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\n"));
            assert_eq!(none.body("GET"), Ok(AnswerBody::None), "{status}");
            let length = String::from_utf8(none.write(false, false)).unwrap().contains("Content-Length");
            assert_eq!(length, status.starts_with("304"), "{status}");
        }
    }

    // spec: PROXY-43
    #[test]
    fn what_old_servers_write_is_read_and_written_in_one_form() {
        let old = answer("HTTP/1.0 200\nX : a\n b\r\nno field\r\nContent-Length: 2\n\n");
        let text = String::from_utf8(old.write(false, true)).unwrap();
        assert_eq!(text, "HTTP/1.1 200 \r\nX: a  b\r\nContent-Length: 2\r\nConnection: close\r\n\r\n");
        for bad in ["ICY 200 OK\r\n\r\n", "220 mail.example ESMTP\r\n", "HTTP/2 200 OK\r\n\r\n", "\0"] {
            assert_eq!(read(bad.as_bytes()), Err(AnswerError::NotHttp), "{bad:?}");
        }
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "a".repeat(ANSWER_HEAD_MAX));
        assert_eq!(read(endless.as_bytes()), Err(AnswerError::TooLong));
        assert_eq!(read(&endless.as_bytes()[..1000]), Ok(None));
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: a\r\n".repeat(ANSWER_FIELDS_MAX + 1));
        assert_eq!(read(many.as_bytes()), Err(AnswerError::TooLong));
    }

    // spec: PROXY-42
    #[test]
    fn a_protocol_changes_only_when_both_want_it() {
        let asks = |fields: &str| {
            parse(format!("GET http://h/ HTTP/1.1\r\nHost: h\r\n{fields}\r\n").as_bytes()).unwrap().unwrap().0
        };
        let switched = answer("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
        assert_eq!(switched.answers(&asks("Connection: Upgrade\r\nUpgrade: websocket\r\n")), Ok(()));
        assert_eq!(switched.answers(&asks("")), Err(AnswerError::NotAsked));
        assert_eq!(switched.answers(&asks("Upgrade: websocket\r\n")), Err(AnswerError::NotAsked));
        let text = String::from_utf8(switched.write(false, false)).unwrap();
        assert_eq!(text, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        assert_eq!(answer("HTTP/1.1 407 No\r\n\r\n").answers(&asks("")), Err(AnswerError::NotAsked));
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(input in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
            let _ = read(&[b"HTTP/1.1 200 OK\r\n", &input[..]].concat());
            let _ = read(&input);
        }

        #[test]
        fn what_is_written_reads_the_same(
            fields in proptest::collection::vec("(Content-Length|X|Connection|Transfer-Encoding):[ -~]{0,8}", 0..5),
        ) {
            let text = format!("HTTP/1.1 200 OK\r\n{}\r\n", fields.iter().map(|f| format!("{f}\r\n")).collect::<String>());
            let (first, _) = read(text.as_bytes()).unwrap().unwrap();
            if let Ok(body) = first.body("GET") {
                let again = first.write(body == AnswerBody::Chunked, body == AnswerBody::UntilEnd);
                let (second, used) = read(&again).unwrap().unwrap();
                assert_eq!((second.body("GET"), used), (Ok(body), again.len()));
            }
        }
    }
}
