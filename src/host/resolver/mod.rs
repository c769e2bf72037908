//! Looks host names up for exit streams. Nothing else in a node asks a name server.
//!
//! Nothing blocks the thread, so a silent name server delays no other name; the role bounds how many look-ups run at once.
//! A and AAAA records are asked for in parallel, and once one answer has addresses the other is not waited for long (RFC 8305,
//! section 3). Answers are cached.
//!
//! `hickory` sends each query from a socket of its own with a random port and a random id; accepts an answer only from that
//! server, with that id and that question; repeats a truncated one over TCP; and follows CNAMEs to a bounded depth. The case
//! of letters is not randomised (0x20), because servers that answer in lower case would be taken for forgers.

mod cache;
mod system;
mod transport;

use crate::base::host::{Host, lies_under};
use crate::base::time::{Duration, Instant};
use crate::role::endpoint::alternate;
use crate::role::limits::EXIT_ADDRESSES_MAX;
use cache::{Cache, TTL_MIN};
use core::cell::{Cell, RefCell};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, Resolver};
use std::rc::Rc;
use system::Stamp;
use transport::Transport;

/// Time-out of one look-up.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);
/// How much longer a look-up waits for the other address family once it has addresses of one.
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);
/// How often the system's files are checked for changes.
const FILES_CHECK: Duration = Duration::from_secs(1);

/// The name servers to ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Servers {
    /// The servers of `/etc/resolv.conf`.
    #[default]
    System,
    /// These servers.
    Listed(Vec<SocketAddr>),
}

/// The system's settings, and the resolver that was made from them.
struct Settings {
    stamp: Stamp,
    resolver: Option<Resolver<Transport>>,
    hosts: Hosts,
}

/// Looks names up on one thread, with a cache of its own.
pub struct Names {
    servers: Servers,
    settings: RefCell<Option<Rc<Settings>>>,
    checked: Cell<Option<Instant>>,
    cache: RefCell<Cache>,
}

/// Addresses, and how long they may be kept.
type Found = (Vec<IpAddr>, Duration);

impl Names {
    /// Reads no settings before the first look-up.
    pub fn new(servers: Servers) -> Self {
        Self { servers, settings: RefCell::default(), checked: Cell::default(), cache: RefCell::default() }
    }

    /// A name's addresses, at most [`EXIT_ADDRESSES_MAX`]; empty if it has none, or no server answers. Dropping the future
    /// cancels the queries.
    pub async fn look_up(&self, now: Instant, name: &str) -> Vec<IpAddr> {
        let Ok(Host::Name(name)) = Host::parse(name) else { return Vec::new() };
        let settings = self.settings(now);
        if let Some(known) = settings.known(&name) {
            return known;
        }
        let known = self.cache.borrow_mut().get(now, &name);
        if let Some(known) = known {
            return known;
        }
        let Some(resolver) = &settings.resolver else { return Vec::new() };
        let asked = ask_both(resolver, &name);
        let Ok(Some((mut addrs, ttl))) = tokio::time::timeout(LOOKUP_TIMEOUT, asked).await else { return Vec::new() };
        addrs.truncate(EXIT_ADDRESSES_MAX);
        self.cache.borrow_mut().put(now, &name, &addrs, ttl);
        addrs
    }

    fn settings(&self, now: Instant) -> Rc<Settings> {
        let settings = self.settings.borrow().clone();
        let is_fresh = self.checked.get().is_some_and(|at| now < at + FILES_CHECK);
        if let Some(settings) = settings.as_ref().filter(|_| is_fresh) {
            return settings.clone();
        }
        self.checked.set(Some(now));
        let stamp = Stamp::read();
        if let Some(settings) = settings.filter(|s| s.stamp == stamp) {
            return settings;
        }
        let (config, options, hosts) = system::read(&self.servers);
        let built = Resolver::builder_with_config(config, Transport::default()).with_options(options).build();
        let resolver = built.inspect_err(|why| tracing::error!(%why, "names cannot be looked up")).ok();
        let settings = Rc::new(Settings { stamp, resolver, hosts });
        *self.settings.borrow_mut() = Some(settings.clone());
        self.cache.borrow_mut().clear();
        settings
    }
}

impl Settings {
    /// Addresses that need no server: those in the hosts file, and those of `localhost`.
    fn known(&self, name: &str) -> Option<Vec<IpAddr>> {
        let mut found = Vec::new();
        if let Ok(name) = Name::from_ascii(name) {
            for kind in [RecordType::AAAA, RecordType::A] {
                let listed = self.hosts.lookup_static_host(&Query::query(name.clone(), kind));
                found.extend(listed.iter().flat_map(|l| l.answers()).filter_map(|record| record.data.ip_addr()));
            }
        }
        if found.is_empty() && lies_under(name, "localhost") {
            found = vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()];
        }
        found.truncate(EXIT_ADDRESSES_MAX);
        (!found.is_empty()).then_some(found)
    }
}

/// Asks for both address families and alternates them, IPv6 first. `None` if no server answered.
async fn ask_both(resolver: &Resolver<Transport>, name: &str) -> Option<Found> {
    let mut fqdn = Name::from_ascii(name).ok()?;
    fqdn.set_fqdn(true);
    let mut v6 = core::pin::pin!(ask(resolver, fqdn.clone(), RecordType::AAAA));
    let mut v4 = core::pin::pin!(ask(resolver, fqdn, RecordType::A));
    let (first, of_v6) = tokio::select! {
        found = &mut v6 => (found, true),
        found = &mut v4 => (found, false),
    };
    // Without addresses there is nothing to connect to yet, so the other answer gets all its time.
    let patience =
        if first.as_ref().is_some_and(|(addrs, _)| !addrs.is_empty()) { RESOLUTION_DELAY } else { LOOKUP_TIMEOUT };
    let second = match of_v6 {
        true => tokio::time::timeout(patience, v4).await,
        false => tokio::time::timeout(patience, v6).await,
    };
    let second = second.ok().flatten();
    let (v6, v4) = if of_v6 { (first, second) } else { (second, first) };
    match (v6, v4) {
        (Some((mut addrs, ttl6)), Some((v4, ttl4))) => {
            let ttl = match (addrs.is_empty(), v4.is_empty()) {
                (true, false) => ttl4,
                (false, true) => ttl6,
                _ => ttl4.min(ttl6),
            };
            addrs.extend(v4);
            Some((alternate(&addrs, IpAddr::is_ipv6), ttl))
        }
        // Kept for a short time only, because the other family may be answered next time.
        (Some((addrs, _)), None) | (None, Some((addrs, _))) => Some((addrs, TTL_MIN)),
        (None, None) => None,
    }
}

/// Asks for one address family; `None` if no server gave a definite answer.
async fn ask(resolver: &Resolver<Transport>, name: Name, kind: RecordType) -> Option<Found> {
    let seconds = |s: u32| Duration::from_secs(u64::from(s));
    match resolver.lookup(name, kind).await {
        Ok(found) => {
            let ttl = found.answers().iter().map(|record| record.ttl).min().unwrap_or_default();
            let addrs = found.answers().iter().filter_map(|record| record.data.ip_addr()).take(EXIT_ADDRESSES_MAX);
            Some((addrs.collect(), seconds(ttl)))
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) if is_sure(&none) => {
            Some((Vec::new(), seconds(none.negative_ttl.unwrap_or_default())))
        }
        Err(_) => None,
    }
}

/// Whether the name or its record does not exist, as opposed to a server that could not tell.
fn is_sure(none: &hickory_resolver::net::NoRecords) -> bool {
    use hickory_resolver::proto::op::ResponseCode;
    matches!(none.response_code, ResponseCode::NXDomain | ResponseCode::NoError)
}

#[cfg(test)]
mod tests;
