//! Where a body ends: what follows a request's is another request and must not reach this one's server, and what follows an
//! answer's must not reach the program.

use super::BodyLength;

/// Longest line inside a chunked body: a chunk's size with its extension, or a trailer field.
const LINE_MAX: usize = 1024;
/// Maximum bytes of trailer after the last chunk.
const TRAILER_MAX: usize = 8 * 1024;

/// The chunks of a body are not understood; the connection is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the chunks of a body are not understood")]
pub struct BodyError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyState {
    /// Content-Length: this many bytes are left.
    Plain(u64),
    /// In a chunk's size line.
    Size,
    /// In a chunk's data: this many bytes of it are left.
    Data(u64),
    /// After a chunk's data: CR LF must follow.
    DataEnd,
    /// In the trailer: lines up to an empty one.
    Trailer,
    /// Over.
    End,
}

/// A piece of a body, without what only says how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Content.
    Data(&'a [u8]),
    /// A field after the last chunk, without its line end.
    Trailer(&'a [u8]),
}

/// Follows a body as it passes by.
#[derive(Clone, Debug)]
pub struct Body {
    state: BodyState,
    /// Old servers' chunks are read: blanks after a size, and lines that end with LF alone.
    lenient: bool,
    /// Of the current line.
    line: Vec<u8>,
    trailer: usize,
}

impl Body {
    /// A body that has not begun.
    pub fn new(length: BodyLength) -> Self {
        let state = match length {
            BodyLength::Known(0) => BodyState::End,
            BodyLength::Known(n) => BodyState::Plain(n),
            BodyLength::Chunked => BodyState::Size,
        };
        Self { state, lenient: false, line: Vec::new(), trailer: 0 }
    }

    /// The body of a server's answer. What goes on to the program is written anew, so more can be understood.
    pub fn of_answer(length: BodyLength) -> Self {
        Self { lenient: true, ..Self::new(length) }
    }

    /// Whether the body is over.
    pub fn is_over(&self) -> bool {
        self.state == BodyState::End
    }

    /// How many bytes at the front of `input` belong to the body. They are counted as passed on.
    pub fn take(&mut self, input: &[u8]) -> Result<usize, BodyError> {
        self.read(input, &mut |_| ())
    }

    /// The same; what the bytes say goes to `sink`.
    pub fn read(&mut self, input: &[u8], sink: &mut dyn FnMut(Part<'_>)) -> Result<usize, BodyError> {
        let mut rest = input;
        while !rest.is_empty() && !self.is_over() {
            let used = match self.state {
                BodyState::Plain(left) | BodyState::Data(left) => {
                    let used = self.pass(rest, left);
                    sink(Part::Data(rest.get(..used).unwrap_or_default()));
                    used
                }
                _ => {
                    let used = rest.iter().position(|&b| b == b'\n').map_or(rest.len(), |n| n.saturating_add(1));
                    self.line(rest.get(..used).unwrap_or_default(), sink)?;
                    used
                }
            };
            rest = rest.get(used..).unwrap_or_default();
        }
        Ok(input.len().saturating_sub(rest.len()))
    }

    fn pass(&mut self, rest: &[u8], left: u64) -> usize {
        let used = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
        let left = left.saturating_sub(used as u64);
        self.state = match (self.state, left) {
            (BodyState::Plain(_), 0) => BodyState::End,
            (BodyState::Plain(_), left) => BodyState::Plain(left),
            (_, 0) => BodyState::DataEnd,
            (_, left) => BodyState::Data(left),
        };
        used
    }

    fn line(&mut self, part: &[u8], sink: &mut dyn FnMut(Part<'_>)) -> Result<(), BodyError> {
        // spec: PROXY-12
        if self.line.len().saturating_add(part.len()) > LINE_MAX {
            return Err(BodyError);
        }
        self.line.extend_from_slice(part);
        if !self.line.ends_with(b"\n") {
            return Ok(());
        }
        let line = core::mem::take(&mut self.line);
        let bare = line.strip_suffix(b"\n").filter(|_| self.lenient);
        let text = line.strip_suffix(b"\r\n").or(bare).ok_or(BodyError)?;
        if text.iter().any(|&b| b.is_ascii_control() && b != b'\t') {
            return Err(BodyError);
        }
        self.state = match self.state {
            BodyState::Size => match chunk_size(text, self.lenient)? {
                0 => BodyState::Trailer,
                n => BodyState::Data(n),
            },
            BodyState::DataEnd if text.is_empty() => BodyState::Size,
            BodyState::Trailer if text.is_empty() => BodyState::End,
            BodyState::Trailer => {
                self.trailer = self.trailer.saturating_add(line.len());
                if self.trailer > TRAILER_MAX {
                    return Err(BodyError);
                }
                sink(Part::Trailer(text));
                BodyState::Trailer
            }
            _ => return Err(BodyError),
        };
        Ok(())
    }
}

fn chunk_size(line: &[u8], lenient: bool) -> Result<u64, BodyError> {
    let digits = line.split(|&b| b == b';').next().unwrap_or_default();
    let digits = if lenient { digits.trim_ascii_end() } else { digits };
    if digits.is_empty() || digits.len() > 15 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(BodyError);
    }
    let digits = core::str::from_utf8(digits).map_err(|_| BodyError)?;
    u64::from_str_radix(digits, 16).map_err(|_| BodyError)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKED: &[u8] = b"4;x=y\r\nWiki\r\nA\r\n0123456789\r\n0\r\nT: v\r\n\r\n";

    #[test]
    fn a_known_length_ends_the_body() {
        let mut body = Body::new(BodyLength::Known(5));
        assert_eq!(body.take(b"abc"), Ok(3));
        assert_eq!(body.take(b"deGET"), Ok(2));
        assert!(body.is_over());
        assert_eq!(body.take(b"more"), Ok(0));
        assert!(Body::new(BodyLength::Known(0)).is_over());
    }

    #[test]
    fn a_chunked_body_ends_after_its_trailer_however_it_is_split() {
        for cut in 0..CHUNKED.len() {
            let mut body = Body::new(BodyLength::Chunked);
            assert_eq!(body.take(&CHUNKED[..cut]), Ok(cut));
            assert!(!body.is_over());
            let rest = [&CHUNKED[cut..], b"GET /"].concat();
            assert_eq!(body.take(&rest), Ok(CHUNKED.len() - cut));
            assert!(body.is_over());
        }
    }

    #[test]
    fn an_answer_s_chunks_are_read_leniently_and_what_they_say_comes_out() {
        let mut said = Vec::new();
        let mut body = Body::of_answer(BodyLength::Chunked);
        let used =
            body.read(b"4  \r\nWiki\r\n2\nab\n0\r\nT: v\r\n\r\nmore", &mut |part| said.push(format!("{part:?}")));
        assert_eq!((used, body.is_over()), (Ok(27), true));
        let part = |part: Part<'_>| format!("{part:?}");
        assert_eq!(said, [part(Part::Data(b"Wiki")), part(Part::Data(b"ab")), part(Part::Trailer(b"T: v"))]);
    }

    // spec: PROXY-12
    #[test]
    fn chunks_that_two_servers_could_read_differently_are_refused() {
        for bad in [
            "4\nWiki\r\n",
            "0x4\r\nWiki\r\n",
            "4 \r\nWiki\r\n",
            "-1\r\n",
            "\r\n",
            "2\r\nWiki\r\n",
            "ffffffffffffffff\r\n",
        ] {
            assert_eq!(Body::new(BodyLength::Chunked).take(bad.as_bytes()), Err(BodyError), "{bad:?}");
        }
        assert_eq!(Body::new(BodyLength::Chunked).take(&[b'1'; LINE_MAX + 1]), Err(BodyError));
    }
}
