//! Sites: `http://<key>.<root>.umbel/path`, answered by the node out of content it fetches and verifies.
//!
//! Every site is an origin of its own. Its pages may use what lies in the same site and nothing else: the policy sent
//! with each answer keeps a page from calling out, and other pages from reading it.

use super::client::Client;
use super::document::{Filter, Form, cache, etag, policy};
use super::page::{Head, Page, capital};
use super::range::{Wanted, wanted};
use super::upstream::{Isolation, Kind, Object, ObjectBody, ObjectError, Upstream};
use super::{OPEN_TIMEOUT, READ_TIMEOUT, Scope, Shared};
use crate::api::site::{self, Named};
use crate::node::proxy::codec::http::{BodyLength, HttpRequest};
use crate::node::proxy::codec::socks::Credentials;
use crate::wire::ids::to_text;
use crate::wire::umbel_link::ContentLink;
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::rc::Rc;
use tokio::sync::OnceCell;
use tokio::time::timeout;

/// Opened objects kept at a time, each with its manifest; the one unused for longest makes room.
pub(super) const OBJECTS_MAX: usize = 32;

/// What a site's pages may not ask the browser for.
const PERMISSIONS: &str = "geolocation=(), camera=(), microphone=(), usb=(), serial=(), bluetooth=(), midi=()";
/// Opened objects, one for each user and site, shared by the requests of a page.
pub(super) struct Objects<O> {
    entries: RefCell<BTreeMap<Isolation, Slot<O>>>,
    clock: Cell<u64>,
}

struct Slot<O> {
    /// Filled by the first request; the others wait for it.
    object: Rc<OnceCell<Rc<O>>>,
    used: u64,
}

impl<O> Objects<O> {
    pub(super) fn new() -> Self {
        Self { entries: RefCell::new(BTreeMap::new()), clock: Cell::new(0) }
    }

    fn slot(&self, key: Isolation) -> Rc<OnceCell<Rc<O>>> {
        let now = self.clock.get().saturating_add(1);
        self.clock.set(now);
        let mut entries = self.entries.borrow_mut();
        if !entries.contains_key(&key) && entries.len() >= OBJECTS_MAX {
            let oldest = entries.iter().min_by_key(|(_, slot)| slot.used).map(|(&key, _)| key);
            oldest.and_then(|key| entries.remove(&key));
        }
        let slot = entries.entry(key).or_insert_with(|| Slot { object: Rc::new(OnceCell::new()), used: now });
        slot.used = now;
        Rc::clone(&slot.object)
    }

    fn forget(&self, key: Isolation) {
        self.entries.borrow_mut().remove(&key);
    }
}

/// A file that a request found.
struct File {
    range: Range<u64>,
    mime: String,
    /// What a browser should call it when it saves it; empty where the URL says it.
    name: String,
}

enum Found {
    File(File),
    /// The path is a directory's without its `/`: it is asked for again with it.
    Slash,
    Nothing,
}

/// Answers one request. True: the connection must end after the answer. An error: it must be reset.
pub(super) async fn serve<U: Upstream>(
    shared: &Shared<U>,
    client: &mut Client,
    request: &HttpRequest,
    host: &str,
    path: &str,
    who: &Credentials,
) -> io::Result<bool> {
    let close = request.wants_close() || request.body != BodyLength::Known(0);
    let head_only = request.method == "HEAD";
    match client.unless_gone(answer(shared, request, host, path, who)).await? {
        Ok(Answer::Page(page)) => client.send(&page.encode(head_only, close)).await?,
        Ok(Answer::Head(head)) => client.send(&head.finish(close)).await?,
        Ok(Answer::Content(head, content)) => send_content(client, head, content, close).await?,
        Err(why) => {
            tracing::debug!(%why, "a site's request failed");
            client.send(&error_page(why).encode(head_only, close)).await?;
        }
    }
    Ok(close)
}

enum Answer<B> {
    Page(Page),
    Head(Fields),
    Content(Fields, Content<B>),
}

/// A file on its way.
struct Content<B> {
    first: Bytes,
    rest: B,
    /// How many bytes the rest must have.
    left: u64,
    /// What changes them on the way.
    filter: Option<Filter>,
}

/// A head that does not know yet whether the connection goes on.
struct Fields {
    status: u16,
    fields: Vec<(&'static str, String)>,
}

impl Fields {
    fn finish(&self, close: bool) -> Vec<u8> {
        let mut head = Head::new(self.status, close);
        for (name, value) in &self.fields {
            head.field(name, value);
        }
        head.finish()
    }
}

type Body<U> = <<U as Upstream>::Object as Object>::Body;

async fn answer<U: Upstream>(
    shared: &Shared<U>,
    request: &HttpRequest,
    host: &str,
    path: &str,
    who: &Credentials,
) -> Result<Answer<Body<U>>, ObjectError> {
    if let Some(page) = forbidden(request, host) {
        return Ok(Answer::Page(page));
    }
    let link = match ContentLink::from_host(host) {
        Ok(link) => link,
        Err(why) => return Ok(Answer::Page(Page::new(400, "Not a link", capital(&why.to_string())))),
    };
    let key = shared.isolator.site(who, &link);
    // A kept object may have lost its circuits since: then it is opened anew, once.
    for again in [false, true] {
        let slot = shared.objects.slot(key);
        let kept = slot.initialized();
        let result = open_and_answer(shared, request, &link, key, path, &slot).await;
        match result {
            Err(_) if kept && !again => shared.objects.forget(key),
            Err(why) => {
                shared.objects.forget(key);
                return Err(why);
            }
            Ok(answer) => return Ok(answer),
        }
    }
    Err(ObjectError::NoPath)
}

async fn open_and_answer<U: Upstream>(
    shared: &Shared<U>,
    request: &HttpRequest,
    link: &ContentLink,
    key: Isolation,
    path: &str,
    slot: &OnceCell<Rc<U::Object>>,
) -> Result<Answer<Body<U>>, ObjectError> {
    let open = async {
        let opened = timeout(OPEN_TIMEOUT, shared.upstream.open_object(link, key)).await;
        opened.unwrap_or(Err(ObjectError::TimedOut)).map(Rc::new)
    };
    let object = slot.get_or_try_init(|| open).await?;
    let (name, query) = path.split_once('?').map_or((path, None), |(name, query)| (name, Some(query)));
    match find(&**object, name) {
        Found::File(file) => file_answer(&**object, request, file, shared.scope, &to_text(&link.root.0)).await,
        Found::Slash => {
            let query = query.map(|q| format!("?{q}")).unwrap_or_default();
            // One slash in front whatever was asked for: two would name another host.
            let to = format!("Location: /{}/{query}", name.trim_start_matches('/'));
            Ok(Answer::Page(Page::new(301, "A directory", "This is a directory").with_field(to)))
        }
        Found::Nothing => {
            Ok(Answer::Page(Page::new(404, "Not on this site", "The site is there, but it has no page of this name")))
        }
    }
}

/// What no site answers.
fn forbidden(request: &HttpRequest, host: &str) -> Option<Page> {
    // spec: PROXY-24
    if !matches!(request.method.as_str(), "GET" | "HEAD") {
        let page = Page::new(405, "Read only", "A .umbel site can only be read");
        return Some(page.with_field("Allow: GET, HEAD".to_owned()));
    }
    if request.body != BodyLength::Known(0) {
        return Some(Page::new(400, "Bad request", "A request to a .umbel site has no body"));
    }
    // Browsers name the page that asks. Another site's page has no business here, even where it could not read the answer.
    let origins = request.fields.iter().filter(|f| f.name.eq_ignore_ascii_case("origin"));
    let own = |value: &[u8]| {
        let host_of = value.strip_prefix(b"http://").and_then(|h| core::str::from_utf8(h).ok());
        host_of.and_then(super::destination::site).as_deref() == Some(host)
    };
    let foreign = origins.into_iter().any(|f| !own(&f.value));
    foreign.then(|| Page::new(403, "Another site's page", "A page of another site must not read this one"))
}

fn find<O: Object>(object: &O, path: &str) -> Found {
    let Some(path) = site::decode(path.trim_start_matches('/')) else { return Found::Nothing };
    let info = object.info();
    if info.kind == Kind::File {
        return if path.is_empty() || path == info.name {
            Found::File(File { range: 0..info.len, mime: info.mime, name: info.name })
        } else {
            Found::Nothing
        };
    }
    match site::find(&path, |name| object.entry(name)) {
        Named::File(entry) => {
            let end = entry.offset.saturating_add(entry.len);
            Found::File(File { range: entry.offset..end, mime: entry.mime, name: String::new() })
        }
        Named::Slash => Found::Slash,
        Named::Nothing => Found::Nothing,
    }
}

async fn file_answer<O: Object>(
    object: &O,
    request: &HttpRequest,
    file: File,
    scope: Scope,
    root: &str,
) -> Result<Answer<O::Body>, ObjectError> {
    let len = file.range.end.saturating_sub(file.range.start);
    let mime = mime(&file.mime);
    let mut form = if len == 0 { Form::Plain } else { Form::of(scope, request, mime) };
    let tag = etag(scope, form, mime, root);
    match condition(request, &tag) {
        Condition::Holds => {}
        // spec: PROXY-45
        Condition::NotModified => {
            let fields = vec![("ETag", tag), ("Cache-Control", cache(mime).to_owned())];
            return Ok(Answer::Head(Fields { status: 304, fields }));
        }
        Condition::Failed => {
            let page = Page::new(412, "Not this one", "The file is there, but it is not the one that was asked for");
            return Ok(Answer::Page(page));
        }
    }
    // spec: PROXY-25
    let same = !request.has("if-range") || request.field("if-range") == Some(tag.as_str());
    let field = if same && request.method == "GET" && form.is_whole() { request.field("range") } else { None };
    let (status, part) = match wanted(field, len) {
        Wanted::All => (200, 0..len),
        Wanted::Part(part) => (206, part),
        Wanted::Outside => {
            let page = Page::new(416, "Outside the file", "The file has no bytes in this range");
            return Ok(Answer::Page(page.with_field(format!("Content-Range: bytes */{len}"))));
        }
    };
    let size = part.end.saturating_sub(part.start);
    let content = if size == 0 || request.method == "HEAD" {
        None
    } else {
        let start = file.range.start.saturating_add(part.start);
        let mut rest = object.read(start..start.saturating_add(size)).await?;
        // The first bytes come before the head goes out, so that most failures still get a page of their own.
        let first = next(&mut rest).await?.ok_or(ObjectError::Tampered)?;
        let left = size.checked_sub(first.len() as u64).ok_or(ObjectError::Tampered)?;
        form = form.with_first(&first);
        Some(Content { first, rest, left, filter: form.filter() })
    };
    let mut fields = site_fields(&file, form, scope, etag(scope, form, mime, root));
    fields.push(("Content-Length", size.saturating_add(form.more()).to_string()));
    if status == 206 {
        fields.push(("Content-Range", format!("bytes {}-{}/{len}", part.start, part.end.saturating_sub(1))));
    }
    let head = Fields { status, fields };
    Ok(match content {
        None => Answer::Head(head),
        Some(content) => Answer::Content(head, content),
    })
}

/// What a request's conditions (RFC 9110, section 13) say of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Holds,
    NotModified,
    Failed,
}

/// A site's content has no date, so those conditions that name one say nothing.
fn condition(request: &HttpRequest, etag: &str) -> Condition {
    let weak = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag) == etag;
    if request.has("if-match") && !request.words("if-match").any(|tag| tag == "*" || tag == etag) {
        return Condition::Failed;
    }
    let known = request.words("if-none-match").any(|tag| tag == "*" || weak(tag));
    if known { Condition::NotModified } else { Condition::Holds }
}

fn site_fields(file: &File, form: Form, scope: Scope, etag: String) -> Vec<(&'static str, String)> {
    let mime = mime(&file.mime);
    // spec: PROXY-26
    let mut fields = vec![
        ("Content-Type", form.mime(mime)),
        ("ETag", etag),
        ("Cache-Control", cache(mime).to_owned()),
        ("Vary", "Accept".to_owned()),
        ("Permissions-Policy", PERMISSIONS.to_owned()),
    ];
    fields.extend(policy(scope));
    if form.is_whole() {
        fields.push(("Accept-Ranges", "bytes".to_owned()));
    }
    if !file.name.is_empty() {
        fields.push(("Content-Disposition", format!("inline; filename*=UTF-8''{}", encode(&file.name))));
    }
    fields
}

/// The publisher's MIME type if it looks like one.
fn mime(text: &str) -> &str {
    let ok = |b: u8| b.is_ascii_alphanumeric() || b" /;=.+-_\"".contains(&b);
    if text.contains('/') && text.bytes().all(ok) { text } else { "application/octet-stream" }
}

fn encode(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    name.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

async fn next<B: ObjectBody>(body: &mut B) -> Result<Option<Bytes>, ObjectError> {
    timeout(READ_TIMEOUT, body.next()).await.unwrap_or(Err(ObjectError::TimedOut))
}

async fn send_content<B: ObjectBody>(
    client: &mut Client,
    head: Fields,
    content: Content<B>,
    close: bool,
) -> io::Result<()> {
    let Content { first, rest: mut body, mut left, mut filter } = content;
    client.send(&head.finish(close)).await?;
    pass_on(client, &mut filter, &first).await?;
    // spec: PROXY-28
    while left > 0 {
        let more = client.unless_gone(next(&mut body)).await?;
        let chunk = more.map_err(io::Error::other)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        left = left.checked_sub(chunk.len() as u64).ok_or(io::ErrorKind::InvalidData)?;
        pass_on(client, &mut filter, &chunk).await?;
    }
    match filter {
        Some(mut filter) => client.send(&filter.end()).await,
        None => Ok(()),
    }
}

async fn pass_on(client: &mut Client, filter: &mut Option<Filter>, bytes: &[u8]) -> io::Result<()> {
    match filter {
        Some(filter) => client.send(&filter.pass(bytes)).await,
        None => client.send(bytes).await,
    }
}

fn error_page(why: ObjectError) -> Page {
    // spec: PROXY-27
    let (status, title) = match why {
        ObjectError::NotFound => (404, "Not found"),
        ObjectError::WrongKey => (403, "Wrong key"),
        ObjectError::Tampered => (502, "Tampered"),
        ObjectError::NoPath => (502, "No path"),
        ObjectError::NotReady => (503, "Not ready"),
        ObjectError::TimedOut => (504, "Timed out"),
    };
    Page::new(status, title, capital(&why.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publishers_mime_type_cannot_be_more_than_that() {
        assert_eq!(mime("text/html; charset=utf-8"), "text/html; charset=utf-8");
        for bad in ["", "html", "text/html\r\nX: y", "text/html,a"] {
            assert_eq!(mime(bad), "application/octet-stream");
        }
    }

    #[test]
    fn the_table_of_objects_is_bounded_and_keeps_what_is_used() {
        let objects = Objects::<()>::new();
        let isolator = super::super::upstream::Isolator::new([0; 32], true);
        let key = |n: usize| isolator.name(&Credentials::default(), &n.to_string());
        let first = objects.slot(key(0));
        for n in 1..OBJECTS_MAX + 5 {
            objects.slot(key(n));
            assert!(Rc::ptr_eq(&objects.slot(key(0)), &first));
        }
        assert_eq!(objects.entries.borrow().len(), OBJECTS_MAX);
    }
}
