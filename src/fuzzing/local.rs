//! What the proxy reads: SOCKS handshakes and HTTP requests of local programs, and answers of web servers.

use crate::node::proxy::codec::http::AnswerBody;
use crate::node::proxy::codec::{http, socks};

/// A SOCKS client's side of the handshake: read whole, and read byte by byte.
pub fn socks(bytes: &[u8]) {
    // Far above any handshake; reading byte by byte is quadratic.
    let bytes = bytes.get(..1500).unwrap_or(bytes);
    let whole = socks_outcome(bytes, bytes.len());
    assert_eq!(whole, socks_outcome(bytes, 1), "how the bytes are split makes a difference");
    let Some(Ok((request, message))) = whole else { return };
    let mut message = message.to_vec();
    // SOCKS 4a: the address 0.0.0.x only says that a name follows.
    if let Some([4, _, _, _, 0, 0, 0, mark @ 1..=255]) = message.first_chunk_mut::<8>() {
        *mark = 1;
    }
    assert_eq!(request.encode(), message);
}

/// What a client's bytes come to: nothing yet, a request with its message, or a refusal with its answer.
type SocksOutcome<'a> = Option<Result<(socks::SocksRequest, &'a [u8]), Vec<u8>>>;

fn socks_outcome(bytes: &[u8], step: usize) -> SocksOutcome<'_> {
    let mut handshake = socks::Handshake::new();
    let (mut start, mut end) = (0, 0);
    while end < bytes.len() {
        end = bytes.len().min(end + step.max(1));
        while start < end {
            match handshake.advance(&bytes[start..end]) {
                Ok(socks::Step::More) => break,
                Ok(socks::Step::Answer { used, .. }) => start += used,
                Ok(socks::Step::Request { used, request }) => return Some(Ok((request, &bytes[start..start + used]))),
                Err(refused) => return Some(Err(refused.answer)),
            }
        }
    }
    None
}

/// A request's head and body, as a browser sends them.
pub fn http(bytes: &[u8]) {
    let Ok(Some((request, used))) = http::parse(bytes) else { return };
    assert_eq!(http::parse(&bytes[..used]), Ok(Some((request.clone(), used))), "what follows makes a difference");
    assert_eq!(http::parse(&bytes[..used - 1]), Ok(None), "a head is over with its last byte");
    let again = request.encode();
    assert_eq!(http::parse(&again), Ok(Some((request.clone(), again.len()))));
    if let Some(head) = request.forward()
        && head.len() <= http::HEAD_MAX
    {
        let forwarded = http::parse(&head).map(|f| f.map(|(f, used)| (f.body, f.method, used)));
        assert_eq!(forwarded, Ok(Some((request.body, request.method.clone(), head.len()))), "the server reads another");
    }
    let rest = &bytes[used..];
    let mut body = http::Body::new(request.body);
    let Ok(whole) = body.take(rest) else { return };
    let (mut piecemeal, mut taken) = (http::Body::new(request.body), 0);
    for byte in rest.chunks(1) {
        taken += piecemeal.take(byte).unwrap_or_else(|_| panic!("how the body is split makes a difference"));
    }
    assert_eq!((taken, piecemeal.is_over()), (whole, body.is_over()));
}

/// The head of a server's answer to a GET, as it goes on to the program.
pub fn http_answer(bytes: &[u8]) {
    let Ok(Some((answer, used))) = http::read(bytes) else { return };
    assert_eq!(http::read(&bytes[..used]), Ok(Some((answer.clone(), used))), "what follows makes a difference");
    assert_eq!(http::read(&bytes[..used - 1]), Ok(None), "a head is over with its last byte");
    let Ok(body) = answer.body("GET") else { return };
    let head = answer.write(body == AnswerBody::Chunked, body == AnswerBody::UntilEnd);
    if head.len() > http::ANSWER_HEAD_MAX {
        return;
    }
    let again = http::read(&head).map(|read| read.map(|(again, used)| (again.body("GET"), again.status, used)));
    assert_eq!(again, Ok(Some((Ok(body), answer.status, head.len()))), "the program reads another answer");
}
