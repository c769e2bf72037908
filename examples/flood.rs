//! A stranger that takes as much of one relay as it lets itself be taken. `benches/flood.py` runs it.
//!
//! ```text
//! flood links      INVITE SECONDS COUNT [FROM]                 connections, half of them silent, half with a handshake
//! flood handshakes INVITE SECONDS COUNT [FROM]                 requests for circuits, each given up at once
//! flood circuits   INVITE SECONDS COUNT [FROM]                 circuits that stay, over five links
//! flood slow       INVITE SECONDS COUNT FROM EXIT SERVER       links that ask for a download each and read nothing
//! flood names      INVITE SECONDS COUNT [FROM]                 streams to names that nobody answers for
//! ```
//!
//! INVITE and EXIT are invites that name the relay that is meant; FROM is the address to connect from (127.77.0.1). At its end
//! it prints one line of JSON: what it sent and what it was answered.

#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;
use umbel::base::rng::Rng;
use umbel::base::time::{Instant, Now};
use umbel::host::system::{self, Timer};
use umbel::node::process;
use umbel::proto::circuit::client::{ClientCircuit, ClientEvent};
use umbel::proto::handshake::ClientHandshake;
use umbel::proto::link::Link;
use umbel::proto::profile::Profile;
use umbel::role::contact::Contact;
use umbel::wire::cell::{CELL_SIZE, Cell, CellBuf, CircuitId, Command, DestroyReason, body_mut, encode_header};
use umbel::wire::handshake::REQUEST_SIZE;
use umbel::wire::ids::NetworkId;
use umbel::wire::invite::Invite;
use umbel::wire::message::Target;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Links over which circuits are asked for.
const LINKS: usize = 5;
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was answered.
#[derive(Default)]
struct Counts {
    sent: u64,
    created: u64,
    busy: u64,
    refused: u64,
    lost: u64,
}

/// The relay that is flooded, and where from.
struct Flood {
    network: NetworkId,
    profile: &'static Profile,
    to: Contact,
    from: IpAddr,
    rng: Rng,
    begun: Timer,
    seconds: f64,
    count: u64,
}

/// One link, driven by hand.
struct Peer {
    stream: TcpStream,
    link: Link,
    next: u32,
}

fn relay(path: &str) -> Outcome<(NetworkId, &'static Profile, Contact)> {
    let invite = Invite::parse(&std::fs::read_to_string(path)?)?;
    let (network, profile) = (invite.network(), Profile::named(&invite.profile).ok_or("an unknown profile")?);
    let seeds = invite.seeds(&profile.descriptor_rules(network))?;
    Ok((network, profile, Contact::from(seeds.first().ok_or("an invite without a relay")?)))
}

impl Flood {
    fn now(&self) -> Now {
        Now { mono: Instant(1 + self.begun.elapsed().as_micros() as u64), unix: system::unix_now() }
    }

    /// How many should have been sent by now.
    fn due(&self) -> u64 {
        let part = self.begun.elapsed().as_secs_f64() / self.seconds;
        (self.count as f64 * part.min(1.0)) as u64
    }

    fn is_over(&self) -> bool {
        self.begun.elapsed().as_secs_f64() >= self.seconds
    }

    fn dial(&self) -> Outcome<TcpStream> {
        let to = *self.to.addrs.first().ok_or("a relay without an address")?;
        let socket = socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(self.from, 0).into())?;
        socket.connect_timeout(&to.into(), Duration::from_secs(2))?;
        Ok(socket.into())
    }

    fn link(&mut self) -> Link {
        Link::initiator(self.network, &self.to.link_key, self.to.cipher, &mut self.rng)
    }

    /// Connects, and waits until the link is open.
    fn peer(&mut self) -> Outcome<Peer> {
        let (stream, link) = (self.dial()?, self.link());
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut peer = Peer { stream, link, next: 0 };
        peer.send(self.now(), &[])?;
        while !peer.link.is_open() {
            peer.read(self.now(), &mut |_| ())?;
        }
        Ok(peer)
    }

    /// A request that costs its sender little: only its share is fresh.
    fn requests(&mut self) -> impl FnMut(&mut Rng) -> [u8; REQUEST_SIZE] + use<> {
        let mut request = *ClientHandshake::start(self.network, self.to.hop_key(), 1, &mut self.rng).request();
        move |rng| {
            if let Some(share) = request.get_mut(34..66) {
                share.copy_from_slice(&rng.bytes::<32>());
            }
            request
        }
    }
}

impl Peer {
    fn send(&mut self, now: Now, cells: &[CellBuf]) -> Outcome<()> {
        let (mut bytes, mut cells) = (Vec::new(), cells.iter());
        loop {
            let before = bytes.len();
            self.link.transmit(now, &mut bytes, &mut |to| cells.next().map(|c| *to = *c).is_some());
            if bytes.len() == before {
                break;
            }
        }
        Ok(self.stream.write_all(&bytes)?)
    }

    /// Reads once; false when nothing has come.
    fn read(&mut self, now: Now, hear: &mut dyn FnMut(&mut CellBuf)) -> Outcome<bool> {
        let mut bytes = vec![0; 64 * 1024];
        let n = match self.stream.read(&mut bytes) {
            Ok(0) => return Err("the relay closed the link".into()),
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(e) => return Err(e.into()),
        };
        let mut sink = |cell: &mut CellBuf| {
            hear(cell);
            true
        };
        self.link.receive(now, bytes.get_mut(..n).unwrap_or_default(), &mut sink)?;
        Ok(true)
    }
}

fn cell(of: &Cell<'_>) -> CellBuf {
    let mut buf = [0; CELL_SIZE];
    of.encode(&mut buf);
    buf
}

/// Connections, held open; every second one says nothing.
fn links(f: &mut Flood) -> Outcome<Counts> {
    let (mut held, mut counts) = (Vec::new(), Counts::default());
    while !f.is_over() {
        while counts.sent < f.due() {
            counts.sent += 1;
            let Ok(mut stream) = f.dial() else {
                counts.lost += 1;
                continue;
            };
            if counts.sent.is_multiple_of(2) {
                let (mut link, mut first) = (f.link(), Vec::new());
                link.transmit(f.now(), &mut first, &mut |_| false);
                counts.lost += u64::from(stream.write_all(&first).is_err());
            }
            held.push(stream);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(counts)
}

/// CREATEs over a few links; each circuit is given up at once, or kept.
fn creates(f: &mut Flood, keep: bool) -> Outcome<Counts> {
    let mut peers = Vec::new();
    let (mut counts, mut padded) = (Counts::default(), Timer::start());
    let mut request = f.requests();
    while !f.is_over() {
        while peers.len() < LINKS {
            match f.peer() {
                Ok(peer) => {
                    peer.stream.set_nonblocking(true)?;
                    peers.push(peer);
                }
                Err(_) => {
                    counts.lost += 1;
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        }
        let (pads, now) = (padded.elapsed() > Duration::from_secs(2), f.now());
        if pads {
            padded = Timer::start();
        }
        let due = f.due();
        peers.rotate_left(1);
        peers.retain_mut(|peer| {
            let mut cells = Vec::new();
            while counts.sent < due && cells.len() < 16 {
                counts.sent += 1;
                peer.next += 1;
                cells.push(cell(&Cell::Create(CircuitId(peer.next), &request(&mut f.rng))));
            }
            if pads {
                cells.push(cell(&Cell::Padding));
            }
            let mut given_up = Vec::new();
            let mut hear = |heard: &mut CellBuf| match Cell::decode(heard) {
                Ok(Cell::Created(id, _)) => {
                    counts.created += 1;
                    given_up.push(id);
                }
                Ok(Cell::Destroy(_, DestroyReason::Busy)) => counts.busy += 1,
                Ok(Cell::Destroy(..)) => counts.refused += 1,
                _ => {}
            };
            let read = loop {
                match peer.read(now, &mut hear) {
                    Ok(true) => {}
                    end => break end.is_ok(),
                }
            };
            if !keep {
                cells.extend(given_up.iter().map(|&id| cell(&Cell::Destroy(id, DestroyReason::None))));
            }
            // A write that the socket does not take whole breaks the link: then another one is opened.
            let lives = read && peer.send(now, &cells).is_ok();
            counts.lost += u64::from(!lives);
            lives
        });
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(counts)
}

/// A circuit over one link, built through `path`; then a stream to `target` is opened.
fn stream(f: &mut Flood, peer: &mut Peer, path: &[Contact], targets: Vec<Target>) -> Outcome<()> {
    let hops: Vec<_> = path.iter().map(Contact::hop_key).collect();
    let started = ClientCircuit::start(f.network, &hops, f.profile, &mut f.rng);
    let (mut circuit, request) = started.ok_or("no path")?;
    peer.next += 1;
    let id = CircuitId(peer.next);
    peer.send(f.now(), &[cell(&Cell::Create(id, &request))])?;
    while !circuit.is_built() {
        let (now, mut rng, mut failed) = (f.now(), f.rng.fork(), false);
        peer.read(now, &mut |heard| {
            let mut tell = |event: ClientEvent<'_>| failed |= matches!(event, ClientEvent::ExtendFailed(..));
            let mut reply = *heard;
            match Cell::decode(heard) {
                Ok(Cell::Created(_, reply)) => drop(circuit.created(reply, &mut rng, &mut tell)),
                Ok(Cell::Relay(..)) => drop(circuit.receive(now.mono, body_mut(&mut reply), &mut rng, &mut tell)),
                Ok(Cell::Destroy(..)) => failed = true,
                _ => {}
            }
        })?;
        if failed {
            return Err("refused".into());
        }
        flush(f.now(), peer, &mut circuit, id)?;
    }
    for target in targets {
        let mux = circuit.mux(hops.len() - 1).ok_or("no last hop")?;
        let stream = mux.open(target).ok_or("no place for a stream")?;
        mux.write(stream, b"GET /big HTTP/1.0\r\n\r\n");
    }
    flush(f.now(), peer, &mut circuit, id)
}

fn flush(now: Now, peer: &mut Peer, circuit: &mut ClientCircuit, id: CircuitId) -> Outcome<()> {
    let (mut cells, mut buf) = (Vec::new(), [0; CELL_SIZE]);
    while circuit.fill(now.mono, body_mut(&mut buf)) {
        encode_header(&mut buf, id, Command::Relay);
        cells.push(buf);
    }
    peer.send(now, &cells)
}

/// Links that ask for a download and read nothing of it.
fn slow(f: &mut Flood, exit: &str, server: &str) -> Outcome<Counts> {
    let (path, server) = ([f.to.clone(), relay(exit)?.2], server.parse()?);
    let (mut held, mut counts) = (Vec::new(), Counts::default());
    while !f.is_over() {
        // All of them in the first quarter of the time.
        while counts.sent < (f.due() * 4).min(f.count) && !f.is_over() {
            counts.sent += 1;
            let begun = f.peer().and_then(|mut peer| {
                stream(f, &mut peer, &path, vec![Target::Addr(server)])?;
                Ok(peer)
            });
            match begun {
                Ok(peer) => {
                    counts.created += 1;
                    held.push(peer);
                }
                Err(_) => counts.lost += 1,
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(counts)
}

/// Streams to names that nobody answers for, at the relay itself.
fn names(f: &mut Flood) -> Outcome<Counts> {
    let (mut peer, path, mut counts) = (f.peer()?, [f.to.clone()], Counts::default());
    while !f.is_over() {
        while counts.sent < f.due() {
            let batch = 25.min(f.count);
            let name = |n: u64| Target::Host(format!("n{n}.silent.test"), 80);
            let targets = (counts.sent..counts.sent + batch).map(name).collect();
            counts.sent += batch;
            if stream(f, &mut peer, &path, targets).is_err() {
                counts.lost += batch;
                match f.peer() {
                    Ok(again) => peer = again,
                    Err(_) => std::thread::sleep(Duration::from_millis(50)),
                }
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(counts)
}

fn main() -> Outcome<()> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [kind, invite, seconds, count, rest @ ..] = &args[..] else { return Err("see the top of this file".into()) };
    process::raise_open_files();
    let (network, profile, to) = relay(invite)?;
    let from = rest.first().map_or("127.77.0.1", String::as_str).parse()?;
    let (rng, begun) = (system::rng()?, Timer::start());
    let (seconds, count) = (seconds.parse()?, count.parse()?);
    let mut f = Flood { network, profile, to, from, rng, begun, seconds, count };
    let counts = match (kind.as_str(), rest) {
        ("links", _) => links(&mut f)?,
        ("handshakes", _) => creates(&mut f, false)?,
        ("circuits", _) => creates(&mut f, true)?,
        ("slow", [_, exit, server]) => slow(&mut f, exit, server)?,
        ("names", _) => names(&mut f)?,
        _ => return Err("see the top of this file".into()),
    };
    let Counts { sent, created, busy, refused, lost } = counts;
    println!(r#"{{"sent":{sent},"created":{created},"busy":{busy},"refused":{refused},"lost":{lost}}}"#);
    Ok(())
}
