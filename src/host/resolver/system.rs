//! The system's resolver settings: `/etc/resolv.conf` and `/etc/hosts`, read again when they change.

use super::Servers;
use core::time::Duration;
use hickory_resolver::Hosts;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::system_conf::read_system_conf;
use std::fs::Metadata;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::MetadataExt;

const FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];
/// Time-out of one query, unless the system sets another.
const SERVER_TIMEOUT: Duration = Duration::from_secs(3);
/// The system's time-out is taken between these bounds.
const SERVER_TIMEOUT_BOUNDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(4));
/// Most retries of a query, over all servers.
const RETRIES_MAX: usize = 2;
/// Most name servers; further ones are ignored.
const SERVERS_MAX: usize = 4;

/// Identifies a state of the files, by their metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp([Option<(u64, u64, i64, i64)>; 2]);

impl Stamp {
    /// The state of the files now.
    pub(super) fn read() -> Self {
        let of = |m: Metadata| (m.ino(), m.len(), m.mtime(), m.mtime_nsec());
        Self(FILES.map(|file| std::fs::metadata(file).ok().map(of)))
    }
}

/// The settings for a resolver, and the hosts file.
pub(super) fn read(servers: &Servers) -> (ResolverConfig, ResolverOpts, Hosts) {
    let (mut found, mut options) = (Vec::new(), ResolverOpts::default());
    options.timeout = SERVER_TIMEOUT;
    // Whatever the system says of it: without, an answer of more than 512 bytes costs a connection.
    options.edns0 = true;
    match servers {
        Servers::Listed(listed) => {
            for addr in listed {
                let mut server = NameServerConfig::udp_and_tcp(addr.ip());
                server.connections.iter_mut().for_each(|connection| connection.port = addr.port());
                found.push(server);
            }
        }
        Servers::System => match read_system_conf() {
            Ok((system, told)) => {
                found.extend(system.name_servers().iter().cloned());
                options.timeout = told.timeout.clamp(SERVER_TIMEOUT_BOUNDS.0, SERVER_TIMEOUT_BOUNDS.1);
                options.attempts = told.attempts;
            }
            Err(why) => {
                tracing::warn!(%why, "/etc/resolv.conf cannot be used: 127.0.0.1 is asked");
                found.push(NameServerConfig::udp_and_tcp(IpAddr::V4(Ipv4Addr::LOCALHOST)));
            }
        },
    }
    found.truncate(SERVERS_MAX);
    options.attempts = options.attempts.clamp(1, RETRIES_MAX);
    // Answers are kept in `cache`, and the hosts file is searched before a server is asked.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    let hosts = Hosts::from_system().unwrap_or_default();
    // The search list is the operator's: `printer` must not become `printer.corp.example` for a stranger.
    (ResolverConfig::from_parts(None, Vec::new(), found), options, hosts)
}
