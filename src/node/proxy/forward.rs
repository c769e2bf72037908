//! One HTTP request through an exit, and its answer. Both sides are watched all the time: a program that goes away takes its
//! request with it.

use super::client::{Client, gone, send};
use super::places::{Place, Stage};
use super::tunnel::{self, Scratch};
use crate::node::proxy::codec::http::{
    AnswerBody, AnswerError, Body, BodyLength, HEAD_MAX, HttpAnswer, HttpRequest, Part, may_trail, read,
};
use core::cell::Cell;
use std::io;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Bytes of a request's body read at a time.
const UPLOAD_PIECE: usize = 32 * 1024;

/// What became of a request.
pub(super) enum Forwarded<S> {
    /// The answer has gone on whole. `close`: the program was told that the connection ends with it.
    Answered {
        close: bool,
        /// The server may still be about to close it.
        stream: S,
    },
    /// Both sides went on with another protocol, and both have ended.
    Over,
    /// The server ended without an answer.
    NoAnswer,
    /// The server's answer is none that may go on.
    BadAnswer(AnswerError),
}

/// How an answer went.
enum Answered {
    Whole {
        close: bool,
    },
    /// The server goes on with another protocol, and has sent these bytes of it.
    Upgraded(Vec<u8>),
    Nothing,
    Bad(AnswerError),
}

/// Moves what of `received` belongs to the body to the end of `out`.
pub(super) fn pass_on(body: &mut Body, received: &mut Vec<u8>, out: &mut Vec<u8>) -> io::Result<()> {
    let n = body.take(received).map_err(io::Error::other)?.min(received.len());
    out.extend(received.drain(..n));
    Ok(())
}

/// Sends the rest of a request on and its answer back. `body` is the request's, as far as it has not gone ahead.
pub(super) async fn forward<S: AsyncRead + AsyncWrite + Unpin>(
    client: &mut Client,
    request: &HttpRequest,
    body: Body,
    stream: S,
    scratch: &Scratch,
) -> io::Result<Forwarded<S>> {
    let (from_server, mut to_server) = tokio::io::split(stream);
    let sent = Cell::new(body.is_over());
    let mut answer = Answer {
        from: from_server,
        to: &client.stream,
        place: &client.place,
        scratch,
        request,
        sent: &sent,
        buffer: Vec::new(),
    };
    let request_body = RequestBody { from: &client.stream, place: &client.place, buffer: &mut client.buffer, body };
    let answered = tokio::select! {
        biased;
        answered = answer.pass() => answered?,
        failed = request_body.pass(&mut to_server, &sent) => return Err(failed),
    };
    let mut stream = answer.from.unsplit(to_server);
    Ok(match answered {
        Answered::Whole { close } => {
            // A server that keeps its connection open has had all there is.
            let _ = stream.shutdown().await;
            Forwarded::Answered { close, stream }
        }
        Answered::Upgraded(received) => {
            tunnel::run(client, stream, received, scratch).await?;
            Forwarded::Over
        }
        Answered::Nothing => Forwarded::NoAnswer,
        Answered::Bad(why) => Forwarded::BadAnswer(why),
    })
}

/// A request's body on its way.
struct RequestBody<'a> {
    from: &'a TcpStream,
    place: &'a Place,
    buffer: &'a mut Vec<u8>,
    body: Body,
}

impl RequestBody<'_> {
    /// Sends the body, then watches the program. Gives why the request is given up, and ends only then.
    async fn pass<W: AsyncWrite + Unpin>(mut self, to: &mut W, sent: &Cell<bool>) -> io::Error {
        if let Err(why) = self.send(to, sent).await {
            return why;
        }
        // What the program sends now is its next request; it is read as far as there is room.
        while self.buffer.len() < HEAD_MAX {
            match self.receive().await {
                Ok(0) => {
                    self.place.enter(Stage::Ending);
                    break;
                }
                Ok(_) => {}
                Err(why) => return why,
            }
        }
        gone(self.from).await;
        io::ErrorKind::ConnectionReset.into()
    }

    async fn send<W: AsyncWrite + Unpin>(&mut self, to: &mut W, sent: &Cell<bool>) -> io::Result<()> {
        let mut out = Vec::new();
        // spec: PROXY-14
        while !self.body.is_over() {
            if self.buffer.is_empty() && self.receive().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            pass_on(&mut self.body, self.buffer, &mut out)?;
            if to.write_all(&out).await.is_err() {
                // The server takes no more; it may have said why.
                return Ok(());
            }
            self.place.moved();
            out.clear();
        }
        sent.set(true);
        Ok(())
    }

    async fn receive(&mut self) -> io::Result<usize> {
        loop {
            self.from.readable().await?;
            self.buffer.reserve(UPLOAD_PIECE);
            match self.from.try_read_buf(self.buffer) {
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }
}

/// A server's answer on its way.
struct Answer<'a, R> {
    from: R,
    to: &'a TcpStream,
    place: &'a Place,
    scratch: &'a Scratch,
    request: &'a HttpRequest,
    /// The request has been sent whole.
    sent: &'a Cell<bool>,
    /// Received and not used yet.
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Answer<'_, R> {
    async fn pass(&mut self) -> io::Result<Answered> {
        let (head, body) = loop {
            let head = match self.head().await? {
                Ok(Some(head)) => head,
                Ok(None) => return Ok(Answered::Nothing),
                Err(why) => return Ok(Answered::Bad(why)),
            };
            let body = match head.answers(self.request).and_then(|()| head.body(&self.request.method)) {
                Ok(body) => body,
                Err(why) => return Ok(Answered::Bad(why)),
            };
            if !head.is_interim() {
                break (head, body);
            }
            // spec: PROXY-44
            if self.request.version_1_1 {
                self.send(&head.write(false, false)).await?;
            }
            if head.is_upgrade() {
                return Ok(Answered::Upgraded(std::mem::take(&mut self.buffer)));
            }
        };
        let chunked = body == AnswerBody::Chunked && self.request.version_1_1;
        // The end of the connection is the only end that such a body has.
        let until_end = body == AnswerBody::UntilEnd || (body == AnswerBody::Chunked && !chunked);
        let close = self.request.wants_close() || until_end || !self.sent.get();
        self.send(&head.write(chunked, close)).await?;
        match body {
            AnswerBody::None => {}
            AnswerBody::UntilEnd => self.until_end().await?,
            AnswerBody::Known(n) => self.measured(Body::of_answer(BodyLength::Known(n)), false).await?,
            AnswerBody::Chunked => self.measured(Body::of_answer(BodyLength::Chunked), chunked).await?,
        }
        Ok(Answered::Whole { close })
    }

    /// Receives more; false at the end.
    async fn fill(&mut self) -> io::Result<bool> {
        Ok(self.scratch.read(&mut self.from, &mut self.buffer).await? > 0)
    }

    async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        send(self.to, self.place, bytes).await
    }

    /// The next head; `None` where the server ends without one.
    async fn head(&mut self) -> io::Result<Result<Option<HttpAnswer>, AnswerError>> {
        loop {
            match read(&self.buffer) {
                Ok(Some((head, used))) => {
                    self.buffer.drain(..used.min(self.buffer.len()));
                    return Ok(Ok(Some(head)));
                }
                Err(why) => return Ok(Err(why)),
                // A stream that breaks before it has said anything is no worse than one that ends.
                Ok(None) => match self.fill().await {
                    Ok(true) => {}
                    Ok(false) if self.buffer.is_empty() => return Ok(Ok(None)),
                    Ok(false) => return Ok(Err(AnswerError::NotHttp)),
                    Err(_) if self.buffer.is_empty() => return Ok(Ok(None)),
                    Err(why) => return Err(why),
                },
            }
        }
    }

    async fn until_end(&mut self) -> io::Result<()> {
        loop {
            self.send(&self.buffer).await?;
            self.buffer.clear();
            if !self.fill().await? {
                return Ok(());
            }
        }
    }

    /// Passes on a body whose end is known. Chunks are written anew, or their content alone.
    async fn measured(&mut self, mut body: Body, chunked: bool) -> io::Result<()> {
        // What follows the last chunk: its size, the fields, an empty line. The reader bounds them.
        let mut last = b"0\r\n".to_vec();
        while !body.is_over() {
            // spec: PROXY-3
            if self.buffer.is_empty() && !self.fill().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut out = Vec::with_capacity(self.buffer.len());
            let used = body.read(&self.buffer, &mut |part| match part {
                Part::Data(b"") => {}
                Part::Data(bytes) if chunked => {
                    out.extend_from_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
                    out.extend_from_slice(&[bytes, b"\r\n"].concat());
                }
                Part::Data(bytes) => out.extend_from_slice(bytes),
                Part::Trailer(line) if may_trail(line) => last.extend_from_slice(&[line, b"\r\n"].concat()),
                Part::Trailer(_) => {}
            });
            let used = used.map_err(io::Error::other)?;
            self.buffer.drain(..used.min(self.buffer.len()));
            self.send(&out).await?;
        }
        if chunked {
            last.extend_from_slice(b"\r\n");
            self.send(&last).await?;
        }
        Ok(())
    }
}
