//! HTTP clients: one request after the other, each to the gateway, an exit, a tunnel, or refused.

use super::client::Client;
use super::destination::{Destination, Refusal, classify, site};
use super::forward::{self, Forwarded};
use super::page::{Page, capital};
use super::places::Stage;
use super::upstream::{OpenError, Upstream};
use super::{Shared, exit, gateway, tunnel};
use crate::node::proxy::codec::http::{Body, Form, HeadError, HttpRequest, parse};
use crate::node::proxy::codec::socks::Credentials;
use crate::wire::message::{EndReason, Target};
use std::io;
use tokio::time::timeout;

/// The stream is already one to a site: by SOCKS, or by CONNECT.
#[derive(Clone)]
pub(super) struct Inside {
    /// The site's host name, in lower case. It may be no link.
    pub(super) host: String,
    /// Who opened the stream.
    pub(super) credentials: Credentials,
}

/// What happens after a request.
enum Next<S> {
    /// Another request may follow.
    Request,
    /// The answer came over this stream. `close`: the connection ends.
    Answered { close: bool, stream: S },
    /// The connection ends.
    Close,
    /// The connection was a tunnel, and both its ends have ended.
    Over,
    /// The requests that follow are to this site.
    Inside(Inside),
}

/// Serves requests until the connection ends. An error means: reset it.
pub(super) async fn serve<U: Upstream>(
    shared: &Shared<U>,
    client: &mut Client,
    mut inside: Option<Inside>,
) -> io::Result<()> {
    // The stream of the last answer stays until the next one, so that its server can end it.
    let mut _last = None;
    loop {
        if !client.another().await? {
            client.close().await;
            return Ok(());
        }
        // spec: PROXY-4
        let Ok(head) = timeout(shared.head_timeout, head(client)).await else {
            return Err(io::ErrorKind::TimedOut.into());
        };
        let request = match head? {
            Ok(request) => request,
            Err(why) => {
                let page = Page::new(why.status(), "Bad request", capital(&why.to_string()));
                return end_with(client, &page, false).await;
            }
        };
        let credentials = inside.as_ref().map_or(&request.credentials, |inside| &inside.credentials);
        client.place.belongs_to(shared.isolator.user(credentials));
        client.place.enter(Stage::Busy);
        let next = match &inside {
            Some(inside) => inside_site(shared, client, &request, inside).await?,
            None => outside(shared, client, &request).await?,
        };
        match next {
            Next::Request => {}
            Next::Answered { close, stream } => {
                _last = Some(stream);
                if close {
                    client.close().await;
                    return Ok(());
                }
            }
            Next::Inside(site) => inside = Some(site),
            Next::Over => return Ok(()),
            Next::Close => {
                client.close().await;
                return Ok(());
            }
        }
        // spec: PROXY-40
        client.place.enter(Stage::Between);
    }
}

/// Answers the one request of a stream that was granted although its destination is refused: a browser shows a page, where
/// it would show only that a proxy refused.
pub(super) async fn explain<U: Upstream>(shared: &Shared<U>, client: &mut Client, why: Refusal) -> io::Result<()> {
    let Ok(read) = timeout(shared.head_timeout, head(client)).await else {
        return Err(io::ErrorKind::TimedOut.into());
    };
    let head_only = read?.is_ok_and(|request| request.method == "HEAD");
    end_with(client, &refusal(why), head_only).await
}

async fn head(client: &mut Client) -> io::Result<Result<HttpRequest, HeadError>> {
    loop {
        match parse(&client.buffer) {
            Ok(Some((request, used))) => {
                client.used(used);
                return Ok(Ok(request));
            }
            Err(why) => return Ok(Err(why)),
            Ok(None) => {
                if !client.fill().await? {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
    }
}

async fn end_with(client: &mut Client, page: &Page, head_only: bool) -> io::Result<()> {
    client.send(&page.encode(head_only, true)).await?;
    client.close().await;
    Ok(())
}

async fn refuse<S>(client: &mut Client, request: &HttpRequest, page: &Page) -> io::Result<Next<S>> {
    client.send(&page.encode(request.method == "HEAD", true)).await?;
    Ok(Next::Close)
}

/// A request on a stream to a site: it must be for that site and no other.
async fn inside_site<U: Upstream>(
    shared: &Shared<U>,
    client: &mut Client,
    request: &HttpRequest,
    inside: &Inside,
) -> io::Result<Next<U::Stream>> {
    let (named, path) = match &request.form {
        Form::Origin { target, path } => (target.as_ref(), path),
        Form::Absolute { target, path } => (Some(target), path),
        Form::Tunnel(_) => {
            let page = Page::new(400, "Bad request", "A tunnel cannot be opened inside a stream to a site");
            return refuse(client, request, &page).await;
        }
    };
    // A page of another name that was made to point here must not be answered (spec PROXY-23).
    let same = named.is_none_or(|target| is_host(target, &inside.host));
    // spec: PROXY-23
    if !same {
        let page = Page::new(421, "Another site", "This stream leads to another site than the request names");
        return refuse(client, request, &page).await;
    }
    site_request(shared, client, request, &inside.host, path, &inside.credentials).await
}

/// Whether a target names this site on its port.
fn is_host(target: &Target, host: &str) -> bool {
    matches!(target, Target::Host(name, 80) if site(name).as_deref() == Some(host))
}

async fn site_request<U: Upstream>(
    shared: &Shared<U>,
    client: &mut Client,
    request: &HttpRequest,
    host: &str,
    path: &str,
    who: &Credentials,
) -> io::Result<Next<U::Stream>> {
    let close = gateway::serve(shared, client, request, host, path, who).await?;
    Ok(if close { Next::Close } else { Next::Request })
}

/// A request to the proxy itself.
async fn outside<U: Upstream>(
    shared: &Shared<U>,
    client: &mut Client,
    request: &HttpRequest,
) -> io::Result<Next<U::Stream>> {
    let (target, path) = match &request.form {
        Form::Tunnel(target) => (target, None),
        Form::Absolute { target, path } => (target, Some(path)),
        // spec: PROXY-24
        Form::Origin { target: Some(target @ Target::Host(name, 80)), path } if site(name).is_some() => {
            (target, Some(path))
        }
        Form::Origin { .. } => {
            let text = "This is umbel's proxy, for programs of this machine. Set it as SOCKS or HTTP proxy";
            return refuse(client, request, &Page::new(400, "This is a proxy", text)).await;
        }
    };
    let sorted = classify(target.clone(), &mut shared.mapped.borrow_mut(), shared.private);
    match (sorted, path) {
        (Ok(Destination::Site(host)), Some(path)) if is_host(target, &host) => {
            site_request(shared, client, request, &host, path, &request.credentials).await
        }
        // The URL names a mapped address: as an origin it would mix sites (spec PROXY-23).
        (Ok(Destination::Site(_)), Some(_)) => {
            let page = Page::new(421, "Another site", "A site is asked for by its name, not by an address");
            refuse(client, request, &page).await
        }
        (Ok(Destination::Site(host)), None) => {
            client.send(GRANTED).await?;
            Ok(Next::Inside(Inside { host, credentials: request.credentials.clone() }))
        }
        // spec: PROXY-31
        (Ok(Destination::Exit(_)), _) if !shared.scope.outside() => {
            refuse(client, request, &refusal(Refusal::Outside)).await
        }
        (Ok(Destination::Exit(target)), path) => exit(shared, client, request, target, path.is_none()).await,
        (Err(why), _) => refuse(client, request, &refusal(why)).await,
    }
}

const GRANTED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

async fn exit<U: Upstream>(
    shared: &Shared<U>,
    client: &mut Client,
    request: &HttpRequest,
    target: Target,
    tunnel: bool,
) -> io::Result<Next<U::Stream>> {
    // What is here already does not wait for the exit's answer.
    // spec: PROXY-29
    let mut body = Body::new(request.body);
    let first = if tunnel {
        std::mem::take(&mut client.buffer)
    } else {
        let mut first = request.forward().ok_or(io::ErrorKind::InvalidInput)?;
        forward::pass_on(&mut body, &mut client.buffer, &mut first)?;
        first
    };
    let stream = match exit::open(shared, client, &request.credentials, target, first).await? {
        Ok(stream) => stream,
        Err(why) => return refuse(client, request, &failure(why)).await,
    };
    if tunnel {
        client.send(GRANTED).await?;
        tunnel::run(client, stream, Vec::new(), &shared.scratch).await?;
        return Ok(Next::Over);
    }
    match forward::forward(client, request, body, stream, &shared.scratch).await? {
        Forwarded::Answered { close, stream } => Ok(Next::Answered { close, stream }),
        Forwarded::Over => Ok(Next::Over),
        Forwarded::NoAnswer => refuse(client, request, &failure(OpenError::Ended(EndReason::Reset))).await,
        // spec: PROXY-43
        Forwarded::BadAnswer(why) => {
            refuse(client, request, &Page::new(502, "Not an answer", capital(&why.to_string()))).await
        }
    }
}

pub(super) fn refusal(why: Refusal) -> Page {
    let status = match why {
        Refusal::SitePort | Refusal::Local | Refusal::Outside | Refusal::NoHost => 403,
        Refusal::Forgotten => 502,
        Refusal::Port => 400,
    };
    Page::new(status, "Refused", capital(&why.to_string()))
}

fn failure(why: OpenError) -> Page {
    // spec: PROXY-10
    let status = match why {
        OpenError::NotReady | OpenError::Ended(EndReason::Resource) => 503,
        OpenError::Ended(EndReason::TimedOut) => 504,
        OpenError::Ended(EndReason::Policy) => 403,
        OpenError::NoPath | OpenError::NoExit | OpenError::Ended(_) => 502,
    };
    let title = match why {
        OpenError::NotReady | OpenError::NoPath => "Network unreachable",
        OpenError::NoExit | OpenError::Ended(_) => "No connection",
    };
    Page::new(status, title, capital(&why.to_string()))
}
