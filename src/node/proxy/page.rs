//! Short answers of the proxy's own: pages that say what is wrong, and heads.
//!
//! Nothing of a request is ever repeated in them, so they cannot carry anyone's script or spill a link.

use crate::host::system::unix_now;
use std::time::{Duration, SystemTime};

/// The last date that HTTP can write, in milliseconds since 1970.
const YEAR_9999: u64 = 253_402_300_799_000;

/// An answer that is not content.
#[derive(Clone, Debug)]
pub(super) struct Page {
    pub(super) status: u16,
    pub(super) title: &'static str,
    pub(super) text: String,
    /// One more field, as `Name: value`.
    pub(super) field: Option<String>,
}

impl Page {
    pub(super) fn new(status: u16, title: &'static str, text: impl Into<String>) -> Self {
        Self { status, title, text: text.into(), field: None }
    }

    pub(super) fn with_field(mut self, field: String) -> Self {
        self.field = Some(field);
        self
    }

    /// The whole answer; without the body for HEAD.
    pub(super) fn encode(&self, head_only: bool, close: bool) -> Vec<u8> {
        let body = format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{0}</title>\n<h1>{0}</h1>\n<p>{1}.</p>\n",
            self.title, self.text
        );
        let mut head = Head::new(self.status, close);
        head.field("Content-Type", "text/html; charset=utf-8");
        head.field("Content-Length", &body.len().to_string());
        head.field("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'");
        head.field("Cache-Control", "no-store");
        if let Some((name, value)) = self.field.as_deref().and_then(|field| field.split_once(": ")) {
            head.field(name, value);
        }
        let mut out = head.finish();
        if !head_only {
            out.extend_from_slice(body.as_bytes());
        }
        out
    }
}

/// The head of an answer, with what every answer of the node's own carries.
pub(super) struct Head {
    out: Vec<u8>,
}

impl Head {
    pub(super) fn new(status: u16, close: bool) -> Self {
        let mut head = Self { out: format!("HTTP/1.1 {status} {}\r\n", reason(status)).into_bytes() };
        // spec: PROXY-39
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(unix_now().0.min(YEAR_9999));
        head.field("Date", &httpdate::fmt_http_date(now));
        // spec: PROXY-26
        head.field("X-Content-Type-Options", "nosniff");
        head.field("Referrer-Policy", "no-referrer");
        head.field("Cross-Origin-Resource-Policy", "same-origin");
        head.field("Cross-Origin-Opener-Policy", "same-origin");
        head.field("X-DNS-Prefetch-Control", "off");
        if close {
            head.field("Connection", "close");
        } else {
            // Clients of HTTP/1.0 stay only when told.
            head.field("Connection", "keep-alive");
        }
        head
    }

    /// Adds a field. A value that could end the line is left out: publishers write some of them.
    pub(super) fn field(&mut self, name: &str, value: &str) {
        if value.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
            self.out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.out.extend_from_slice(b"\r\n");
        self.out
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        301 => "Moved Permanently",
        304 => "Not Modified",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        410 => "Gone",
        412 => "Precondition Failed",
        416 => "Range Not Satisfiable",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}

/// The text with a capital letter in front: errors are written to stand inside a sentence.
pub(super) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_would_end_the_line_is_left_out() {
        let mut head = Head::new(200, true);
        head.field("Content-Type", "text/html\r\nSet-Cookie: a=b");
        head.field("X", "fine value");
        let text = String::from_utf8(head.finish()).unwrap();
        assert!(!text.contains("Set-Cookie") && text.contains("X: fine value\r\n") && text.contains("nosniff"));
    }
}
