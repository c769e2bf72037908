//! The addresses of names, for exit streams: the one place where a node asks a name server.
//!
//! Nothing blocks a thread, so a name whose server says nothing costs the others nothing; how many may be looked up at once is
//! the role's to say. IPv4 and IPv6 addresses are asked for side by side, and who has answered does not wait long for the other
//! (RFC 8305, section 3). Answers are kept in a cache of this relay's own.
//!
//! What `hickory` does: questions leave from a socket of their own with a random port and a random id; an answer must come
//! from the server, with that id and that question; one that is cut short is asked for again over TCP; CNAMEs are followed
//! to a bounded depth. The letters of names are not drawn at random (0x20): servers that write them back in lower case would
//! be taken for forgers.

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

/// From asking for a name's addresses to the answer.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);
/// How much longer a look-up waits for the other kind of address once it has one kind.
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);
/// How often the system's files are checked for changes.
const FILES_CHECK: Duration = Duration::from_secs(1);

/// Whom to ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Servers {
    /// The servers of `/etc/resolv.conf`.
    #[default]
    System,
    /// These.
    Listed(Vec<SocketAddr>),
}

/// What the files say, and the client that was made from that.
struct Settings {
    stamp: Stamp,
    resolver: Option<Resolver<Transport>>,
    hosts: Hosts,
}

/// Looks names up on one thread.
pub struct Names {
    servers: Servers,
    settings: RefCell<Option<Rc<Settings>>>,
    checked: Cell<Option<Instant>>,
    cache: RefCell<Cache>,
}

/// The addresses of one kind, and how long they may be kept.
type Found = (Vec<IpAddr>, Duration);

impl Names {
    /// Nothing is read before the first name.
    pub fn new(servers: Servers) -> Self {
        Self { servers, settings: RefCell::default(), checked: Cell::default(), cache: RefCell::default() }
    }

    /// A name's addresses, at most [`EXIT_ADDRESSES_MAX`]; none where there are none or nobody answers. Dropping the future ends
    /// the questions.
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
    /// What needs no server: names of the hosts file, and this machine's.
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

/// Asks for both kinds of addresses; IPv6 ones come first. `None` when nobody answered.
async fn ask_both(resolver: &Resolver<Transport>, name: &str) -> Option<Found> {
    let mut fqdn = Name::from_ascii(name).ok()?;
    fqdn.set_fqdn(true);
    let mut v6 = core::pin::pin!(ask(resolver, fqdn.clone(), RecordType::AAAA));
    let mut v4 = core::pin::pin!(ask(resolver, fqdn, RecordType::A));
    let (first, of_v6) = tokio::select! {
        found = &mut v6 => (found, true),
        found = &mut v4 => (found, false),
    };
    // Only addresses are worth connecting to while the other answer is out.
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
        // The other kind may still be answered, for the next one who asks.
        (Some((addrs, _)), None) | (None, Some((addrs, _))) => Some((addrs, TTL_MIN)),
        (None, None) => None,
    }
}

/// Asks for one kind of addresses; `None` when nobody answered, or not in a way that can be relied on.
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

/// Whether there is no such name or no such address, and not merely a server that could not say.
fn is_sure(none: &hickory_resolver::net::NoRecords) -> bool {
    use hickory_resolver::proto::op::ResponseCode;
    matches!(none.response_code, ResponseCode::NXDomain | ResponseCode::NoError)
}

#[cfg(test)]
mod tests;
