//! SOCKS clients: a handshake, then a tunnel or the gateway inside the stream.

use super::client::Client;
use super::destination::{Destination, Refusal, SITE_PORT, classify};
use super::mapped::Mapped;
use super::places::Stage;
use super::upstream::{OpenError, Upstream};
use super::{OPEN_TIMEOUT, Shared, exit, http, tunnel};
use crate::api::public_answers;
use crate::base::host::{Host, ip_may_leave, lies_under};
use crate::base::redact::Sensitive;
use crate::node::proxy::codec::socks::{
    Command, Credentials, Handshake, Refused, Reply, SocksRequest, Step, encode_reply,
};
use crate::wire::message::{EndReason, Target};
use std::io;
use std::net::IpAddr;
use tokio::time::timeout;

/// Serves a client whose first byte is 4 or 5.
pub(super) async fn serve<U: Upstream>(shared: &Shared<U>, client: &mut Client) -> io::Result<()> {
    // spec: PROXY-4
    let Ok(read) = timeout(shared.head_timeout, handshake(client)).await else {
        return Err(io::ErrorKind::TimedOut.into());
    };
    let request = match read? {
        Ok(request) => request,
        Err(refused) => {
            tracing::debug!(why = %refused, "a SOCKS client is refused");
            client.send(&refused.answer).await?;
            client.close().await;
            return Ok(());
        }
    };
    client.place.belongs_to(shared.isolator.user(&request.credentials));
    client.place.enter(Stage::Busy);
    match request.command {
        Command::Connect => connect(shared, client, request).await,
        Command::Resolve => resolve(shared, client, request).await,
    }
}

async fn handshake(client: &mut Client) -> io::Result<Result<SocksRequest, Refused>> {
    let mut handshake = Handshake::new();
    loop {
        match handshake.advance(&client.buffer) {
            Ok(Step::More) => {
                if !client.fill().await? {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Ok(Step::Answer { used, answer }) => {
                client.used(used);
                client.send(&answer).await?;
            }
            Ok(Step::Request { used, request }) => {
                client.used(used);
                return Ok(Ok(request));
            }
            Err(refused) => return Ok(Err(refused)),
        }
    }
}

async fn refuse(client: &mut Client, request: &SocksRequest, reply: Reply) -> io::Result<()> {
    client.send(&encode_reply(request.version, reply, None)).await?;
    client.close().await;
    Ok(())
}

async fn connect<U: Upstream>(shared: &Shared<U>, client: &mut Client, request: SocksRequest) -> io::Result<()> {
    let granted = encode_reply(request.version, Reply::Succeeded, None);
    let sorted = classify(request.target.clone(), &mut shared.mapped.borrow_mut(), shared.private);
    match sorted {
        Ok(Destination::Site(host)) => {
            // spec: PROXY-18
            client.send(&granted).await?;
            http::serve(shared, client, Some(http::Inside { host, credentials: request.credentials })).await
        }
        // spec: PROXY-31
        Ok(Destination::Exit(target)) if !shared.scope.outside() => {
            if port(&target) != SITE_PORT {
                return refuse(client, &request, Reply::NotAllowed).await;
            }
            client.send(&granted).await?;
            http::explain(shared, client, Refusal::Outside).await
        }
        Ok(Destination::Exit(target)) => {
            // spec: PROXY-29
            let first = std::mem::take(&mut client.buffer);
            match exit::open(shared, client, &request.credentials, target, first).await? {
                Ok(stream) => {
                    client.send(&granted).await?;
                    tunnel::run(client, stream, Vec::new(), &shared.scratch).await
                }
                Err(why) => refuse(client, &request, reply(why)).await,
            }
        }
        Err(why) => {
            tracing::debug!(%why, target = ?Sensitive(&request.target), "a SOCKS request is refused");
            refuse(client, &request, Reply::NotAllowed).await
        }
    }
}

fn port(target: &Target) -> u16 {
    match target {
        Target::Host(_, port) => *port,
        Target::Addr(address) => address.port(),
        Target::Directory | Target::Store => 0,
    }
}

fn reply(why: OpenError) -> Reply {
    // spec: PROXY-9
    match why {
        OpenError::NotReady | OpenError::NoPath | OpenError::NoExit => Reply::NetworkUnreachable,
        OpenError::Ended(why) => Reply::from_end(why),
    }
}

async fn resolve<U: Upstream>(shared: &Shared<U>, client: &mut Client, request: SocksRequest) -> io::Result<()> {
    let found = match &request.target {
        Target::Addr(address) => own_address(shared, address.ip()),
        Target::Host(name, _) => client.unless_gone(look_up(shared, &request.credentials, name)).await?,
        Target::Directory | Target::Store => Err(Reply::NotAllowed),
    };
    let answer = match found {
        Ok(ip) => encode_reply(request.version, Reply::Succeeded, Some(ip)),
        Err(reply) => encode_reply(request.version, reply, None),
    };
    client.send(&answer).await?;
    client.close().await;
    Ok(())
}

/// The answer to a question that holds it already.
fn own_address<U: Upstream>(shared: &Shared<U>, ip: IpAddr) -> Result<IpAddr, Reply> {
    let ip = ip.to_canonical();
    if ip_may_leave(ip, shared.private) || Mapped::is_mapped(ip) { Ok(ip) } else { Err(refused(Refusal::Local)) }
}

fn refused(why: Refusal) -> Reply {
    tracing::debug!(%why, "a look-up is refused");
    Reply::NotAllowed
}

async fn look_up<U: Upstream>(shared: &Shared<U>, who: &Credentials, name: &str) -> Result<IpAddr, Reply> {
    // spec: PROXY-46
    let host = Host::parse(name).map_err(|_| refused(Refusal::NoHost))?;
    let name = match &host {
        Host::Ip(ip) => return own_address(shared, *ip),
        // spec: PROXY-20
        Host::Name(name) if lies_under(name, "umbel") => return Ok(shared.mapped.borrow_mut().address(name).into()),
        // spec: PROXY-31
        _ if !shared.scope.outside() => return Err(refused(Refusal::Outside)),
        _ if !host.may_leave(shared.private) => return Err(refused(Refusal::Local)),
        Host::Name(name) => name,
    };
    // spec: PROXY-16
    let asked = shared.upstream.resolve(name, shared.isolator.name(who, name));
    let found = timeout(OPEN_TIMEOUT, asked).await.unwrap_or(Err(OpenError::Ended(EndReason::TimedOut)));
    // An exit must not choose a site either.
    let found = public_answers(found.map_err(reply)?, shared.private).into_iter().filter(|ip| !Mapped::is_mapped(*ip));
    found.min_by_key(IpAddr::is_ipv6).ok_or(Reply::HostUnreachable)
}
