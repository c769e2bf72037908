//! What a site's file may do in a browser: the policy sent with it, and the form in which it is sent.
//!
//! A policy cannot keep a page that runs scripts from other hosts in every browser: some connect for `RTCPeerConnection`
//! whatever it says. So scripts run where the browser itself is confined, by a proxy of [`Scope::Sites`], or where the user
//! allowed them; elsewhere pages are sent without scripts.

use super::Scope;
use super::hints::Hints;
use crate::node::proxy::codec::http::HttpRequest;

/// What a site's pages may do where scripts run: use their own site, inline script and style, and no other host.
const SITE_POLICY: &str = "default-src 'self' 'unsafe-inline' 'wasm-unsafe-eval' data: blob:; \
    connect-src 'self' data: blob:; form-action 'self'; base-uri 'self'; frame-ancestors 'self'; object-src 'none'; \
    webrtc 'block'";

/// The same where no script runs. The sandbox keeps a page from leaving by itself (`meta refresh`) as well. To be let
/// compile WebAssembly helps nobody who cannot run a script.
const SCRIPTLESS_POLICY: &str = "default-src 'none'; script-src 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; media-src 'self' data:; font-src 'self' data:; frame-src 'self'; form-action 'self'; \
    base-uri 'self'; frame-ancestors 'self'; object-src 'none'; webrtc 'block'; sandbox allow-same-origin allow-forms \
    allow-popups allow-popups-to-escape-sandbox allow-top-navigation-by-user-activation allow-downloads";

/// For browsers that know it: what a page may connect or lead to by any means at all, hints and WebRTC among them.
const CONNECTIONS: &str = "(response-origin \"http://*.umbel\");webrtc=block";

/// Stands at the end of a page whose scripts do not run. It begins by ending what the page may have left open.
const NOTICE: &str = "\n<!----></script></style></title></textarea></template></select></svg></math>\
    <div style=\"position:fixed;bottom:0;left:0;right:0;z-index:2147483647;margin:0;padding:8px 16px;background:#fff;\
    color:#000;border-top:2px solid #000;font:14px/1.5 sans-serif\">This page has scripts. They do not run here, because \
    this browser could let them reach past the proxy. To run them, open the page's address with \
    <b>umbel&nbsp;browse</b>.</div>\n";

/// The form in which a file is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As it is.
    Plain,
    /// A page that may not run scripts: without hints, and with a notice where it has scripts.
    Scriptless,
    /// As text: no page of this kind can be shown safely without scripts.
    Text,
}

impl Form {
    /// The form for an answer to this request.
    pub(super) fn of(scope: Scope, request: &HttpRequest, mime: &str) -> Self {
        // A browser that will show the answer as a page says that it takes HTML. Programs get the file's own bytes.
        let page = request.fields.iter().any(|f| {
            f.name.eq_ignore_ascii_case("accept") && f.value.to_ascii_lowercase().windows(9).any(|w| w == b"text/html")
        });
        // spec: PROXY-32
        match kind(mime) {
            _ if scope.scripts() || !page => Self::Plain,
            Kind::Html => Self::Scriptless,
            Kind::Other => Self::Plain,
            Kind::Xml => Self::Text,
        }
    }

    /// The form once the first bytes are known: a mark at the front names an encoding in which no tag would be found.
    pub(super) fn with_first(self, first: &[u8]) -> Self {
        let wide = first.starts_with(&[0xfe, 0xff]) || first.starts_with(&[0xff, 0xfe]);
        if self == Self::Scriptless && wide { Self::Text } else { self }
    }

    /// Whether the answer is the file's own bytes, of which parts can be asked for.
    pub(super) fn is_whole(self) -> bool {
        self != Self::Scriptless
    }

    /// How many bytes are sent after the file's own.
    pub(super) fn more(self) -> u64 {
        if self == Self::Scriptless { NOTICE.len() as u64 } else { 0 }
    }

    /// The type that a browser is told.
    pub(super) fn mime(self, mime: &str) -> String {
        match self {
            Self::Plain => mime.to_owned(),
            // The page's own word for its encoding stays in the page; one out here could be a wide one.
            Self::Scriptless => "text/html".to_owned(),
            Self::Text => "text/plain".to_owned(),
        }
    }

    /// What takes the hints out, where that is to be done.
    pub(super) fn filter(self) -> Option<Filter> {
        (self == Self::Scriptless).then(Filter::default)
    }
}

/// Passes a page on in its scriptless form.
#[derive(Debug, Default)]
pub(super) struct Filter {
    hints: Hints,
}

impl Filter {
    /// The next bytes.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.hints.pass(bytes)
    }

    /// The last bytes: the rest of the page, and as many bytes as [`Form::more`] says.
    pub(super) fn end(&mut self) -> Vec<u8> {
        let mut rest = self.hints.end();
        if self.hints.has_scripts() {
            rest.extend_from_slice(NOTICE.as_bytes());
        } else {
            rest.resize(rest.len().saturating_add(NOTICE.len()), b'\n');
        }
        rest
    }
}

/// What a browser would make of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Html,
    Xml,
    Other,
}

/// The kind of a type that is checked already.
pub(super) fn kind(mime: &str) -> Kind {
    let essence = mime.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "text/html" => Kind::Html,
        // SVG and XHTML are among them.
        e if e.contains("xml") || e.contains("xsl") => Kind::Xml,
        // A document of several parts brings heads of its own.
        e if e.starts_with("multipart/") => Kind::Xml,
        _ => Kind::Other,
    }
}

/// The fields that hold a site's file in.
pub(super) fn policy(scope: Scope) -> Vec<(&'static str, String)> {
    // spec: PROXY-30
    if scope.scripts() {
        let connections = ("Connection-Allowlist", CONNECTIONS.to_owned());
        vec![("Content-Security-Policy", SITE_POLICY.to_owned()), connections]
    } else {
        vec![("Content-Security-Policy", SCRIPTLESS_POLICY.to_owned())]
    }
}

/// The ETag of a file in this form: a browser keeps what it was sent together with its policy, and must not show the one
/// where the other is due.
pub(super) fn etag(scope: Scope, form: Form, mime: &str, root: &str) -> String {
    let form = match form {
        Form::Plain if scope.scripts() && kind(mime) != Kind::Other => "-scripts",
        Form::Plain => "",
        Form::Scriptless => "-scriptless",
        Form::Text => "-text",
    };
    format!("\"{root}{form}\"")
}

/// How long a browser may keep a file. A site's content never changes, but the policy of a page does with its proxy.
pub(super) fn cache(mime: &str) -> &'static str {
    if kind(mime) == Kind::Other { "private, max-age=3600, immutable" } else { "private, no-cache" }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PROXY-32
    #[test]
    fn what_no_filter_can_read_is_text() {
        for first in [&[0xfe, 0xff, 0][..], &[0xff, 0xfe]] {
            assert_eq!(Form::Scriptless.with_first(first), Form::Text);
            assert_eq!(Form::Plain.with_first(first), Form::Plain);
        }
        assert_eq!(Form::Scriptless.with_first(b"\xef\xbb\xbf<p>"), Form::Scriptless);
        for mime in
            ["image/svg+xml", "application/xhtml+xml", "TEXT/XML; charset=x", "multipart/x-mixed-replace", "text/xsl"]
        {
            assert_eq!(kind(mime), Kind::Xml, "{mime}");
        }
        assert_eq!((kind("Text/HTML;charset=utf-16"), kind("text/plain")), (Kind::Html, Kind::Other));
        assert_eq!(Form::Scriptless.mime("text/html;charset=utf-16"), "text/html");
    }

    #[test]
    fn a_filter_sends_as_many_bytes_as_it_said() {
        for page in ["<p>quiet", "<script></script>", "<link rel=x"] {
            let mut filter = Form::Scriptless.filter().unwrap();
            let sent = filter.pass(page.as_bytes()).len() + filter.end().len();
            assert_eq!(sent as u64, page.len() as u64 + Form::Scriptless.more(), "{page}");
        }
    }
}
