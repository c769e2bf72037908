//! A client and its relays, joined without links between: what is legal where, and what is not.

use super::client::{CircuitError, ClientCircuit, ClientEvent};
use super::relay::{RelayCircuit, RelayEvent, Verdict};
use crate::base::rng::Rng;
use crate::base::time::{Duration, Instant};
use crate::crypto::aead::Cipher;
use crate::crypto::agree::AgreeSecret;
use crate::proto::handshake::{HopKey, respond};
use crate::proto::profile::Profile;
use crate::proto::stream::mux::{SEND_BUFFER_MAX, StreamEvent};
use crate::proto::violation::Violation;
use crate::wire::cell::{BODY_SIZE, Body};
use crate::wire::ids::{NetworkId, RelayId};
use crate::wire::message::{ExtendFailure, Target};

const NET: NetworkId = NetworkId([1; 32]);

struct Relay {
    id: RelayId,
    onion: AgreeSecret,
    circuit: Option<RelayCircuit>,
}

struct Chain {
    client: ClientCircuit,
    relays: Vec<Relay>,
    rng: Rng,
    heard: Vec<String>,
    now: Instant,
    /// What a cell takes to the client.
    delay: Duration,
}

fn relay(n: u8) -> Relay {
    Relay { id: RelayId([n; 32]), onion: AgreeSecret::from_bytes([n; 32]), circuit: None }
}

fn key(r: &Relay) -> HopKey {
    HopKey { relay: r.id, onion_key: r.onion.public(), cipher: Cipher::Aes256Gcm }
}

impl Chain {
    fn built(hops: usize) -> Self {
        let relays: Vec<_> = (1..=6).map(|n| relay(n as u8)).collect();
        let mut rng = Rng::from_seed([7; 32]);
        let path: Vec<_> = relays[..hops].iter().map(key).collect();
        let (client, request) = ClientCircuit::start(NET, &path, &Profile::TESTING, &mut rng).unwrap();
        let mut chain = Self { client, relays, rng, heard: vec![], now: Instant(0), delay: Duration::ZERO };
        let reply = chain.respond(0, &request);
        let Self { client, rng, heard, .. } = &mut chain;
        client.created(&reply, rng, &mut |e| heard.push(tell(&e))).unwrap();
        chain.run().unwrap();
        assert!(chain.client.is_built() && chain.heard == ["Built"]);
        chain.heard.clear();
        chain
    }

    fn respond(
        &mut self,
        at: usize,
        request: &[u8; crate::wire::handshake::REQUEST_SIZE],
    ) -> [u8; crate::wire::handshake::REPLY_SIZE] {
        let r = &mut self.relays[at];
        let (reply, keys) = respond(&NET, r.id, Cipher::Aes256Gcm, &r.onion, request, &mut self.rng).unwrap();
        r.circuit = Some(RelayCircuit::new(&keys, &Profile::TESTING));
        reply
    }

    /// Carries a cell outward from the client until a hop takes it.
    fn outward(&mut self, body: &mut Body) -> Result<(), Violation> {
        for at in 0..self.relays.len() {
            let mut asked = None;
            let mut heard = vec![];
            let circuit = self.relays[at].circuit.as_mut().expect("the hop is built");
            let cell = *body;
            let verdict = circuit.take_from_client(self.now, &cell, body, &mut |e| match e {
                RelayEvent::Extend(to, request) => asked = Some((to, *request)),
                RelayEvent::Stream(s, StreamEvent::Begin(Target::Store, data)) => heard.push((s, data.to_vec())),
                RelayEvent::Stream(..) => {}
            })?;
            if let Some((to, request)) = asked {
                match self.relays.iter().position(|r| r.id == to) {
                    Some(next) => {
                        let reply = self.respond(next, &request);
                        self.circuit(at).extended(&reply);
                    }
                    None => self.circuit(at).extend_failed(ExtendFailure::Unknown),
                }
            }
            for (stream, data) in heard {
                self.circuit(at).mux().accept(stream);
                self.circuit(at).mux().write(stream, &data);
            }
            if verdict == Verdict::Taken {
                return Ok(());
            }
        }
        panic!("passed on by the last relay");
    }

    fn circuit(&mut self, at: usize) -> &mut RelayCircuit {
        self.relays[at].circuit.as_mut().expect("the hop is built")
    }

    fn inward(&mut self, from: usize, body: &mut Body) -> Result<(), CircuitError> {
        for at in (0..from).rev() {
            let cell = *body;
            self.circuit(at).take_from_next(&cell, body).map_err(CircuitError::from)?;
        }
        let Self { client, rng, heard, .. } = self;
        client.receive(self.now + self.delay, body, rng, &mut |e| heard.push(tell(&e)))
    }

    /// Carries outward what the client has to send now.
    fn send(&mut self) -> Result<bool, CircuitError> {
        let (mut body, mut sent) = ([0; BODY_SIZE], false);
        while self.client.fill(self.now, &mut body) {
            sent = true;
            self.outward(&mut body)?;
        }
        Ok(sent)
    }

    fn run(&mut self) -> Result<(), CircuitError> {
        let mut body = [0; BODY_SIZE];
        loop {
            let mut quiet = !self.send()?;
            for at in 0..self.relays.len() {
                while self.relays[at].circuit.as_mut().is_some_and(|c| c.fill(self.now, &mut body)) {
                    quiet = false;
                    self.inward(at, &mut body)?;
                }
            }
            if quiet {
                return Ok(());
            }
        }
    }
}

fn tell(event: &ClientEvent<'_>) -> String {
    format!("{event:?}")
}

// spec: CIRC-2 CIRC-3
#[test]
fn circuits_of_one_to_six_hops_carry_streams_to_every_hop() {
    for hops in 1..=6 {
        let mut chain = Chain::built(hops);
        for hop in 0..hops {
            let mux = chain.client.mux(hop).unwrap();
            let stream = mux.open(Target::Store).unwrap();
            mux.write(stream, b"hi");
            chain.run().unwrap();
            let heard = core::mem::take(&mut chain.heard);
            assert_eq!(heard.len(), 2);
            assert!(heard[1].starts_with(&format!("Stream({hop}, StreamId(1), Data")), "{heard:?}");
        }
    }
}

// spec: CIRC-1
#[test]
fn a_circuit_is_never_longer_than_six_hops() {
    let mut chain = Chain::built(6);
    let seventh = key(&relay(9));
    let Chain { client, rng, .. } = &mut chain;
    assert!(!client.extend(seventh, rng));
    let path = [seventh; 7];
    assert!(ClientCircuit::start(NET, &path, &Profile::TESTING, rng).is_none());
}

// spec: CIRC-7
#[test]
fn an_extension_that_fails_leaves_the_circuit_usable() {
    let mut chain = Chain::built(3);
    let nobody = key(&relay(99));
    let Chain { client, rng, .. } = &mut chain;
    assert!(client.extend(nobody, rng));
    chain.run().unwrap();
    assert_eq!(chain.heard, ["ExtendFailed(3, Unknown)"]);
    let fourth = key(&chain.relays[3]);
    let Chain { client, rng, .. } = &mut chain;
    assert!(client.extend(fourth, rng));
    chain.run().unwrap();
    assert_eq!(chain.client.hops(), 4);
}

// spec: CIRC-5
#[test]
fn a_hop_that_is_not_the_last_refuses_to_extend() {
    let mut chain = Chain::built(2);
    chain.client.mux(0).unwrap().extend(RelayId([5; 32]), &[0; crate::wire::handshake::REQUEST_SIZE]);
    assert_eq!(chain.run(), Err(CircuitError::Violation(Violation::ExtendTwice)));
}

// spec: CIRC-6
#[test]
fn only_the_last_hop_may_say_extended() {
    let mut chain = Chain::built(3);
    let fourth = key(&chain.relays[3]);
    let Chain { client, rng, .. } = &mut chain;
    client.extend(fourth, rng);
    chain.circuit(1).mux().extended(&[0; crate::wire::handshake::REPLY_SIZE]);
    let mut body = [0; BODY_SIZE];
    assert!(chain.circuit(1).fill(Instant(0), &mut body));
    assert_eq!(chain.inward(1, &mut body), Err(CircuitError::Violation(Violation::UnaskedExtension)));
}

// spec: CIRC-4
#[test]
fn created_twice_is_a_violation() {
    let mut chain = Chain::built(1);
    let Chain { client, rng, .. } = &mut chain;
    let again = client.created(&[0; crate::wire::handshake::REPLY_SIZE], rng, &mut |_| ());
    assert_eq!(again, Err(CircuitError::Violation(Violation::UnaskedExtension)));
}

// spec: ONION-9
#[test]
fn a_cell_for_nobody_closes_the_circuit() {
    let mut onward = crate::proto::onion::ClientLayers::default();
    let keys = crate::proto::handshake::LayerKeys {
        position: 1,
        cipher: Cipher::Aes256Gcm,
        forward: crate::base::secret::Secret::new([1; 32]),
        backward: crate::base::secret::Secret::new([2; 32]),
    };
    let deeper = crate::proto::handshake::LayerKeys {
        position: 2,
        cipher: Cipher::Aes256Gcm,
        forward: crate::base::secret::Secret::new([3; 32]),
        backward: crate::base::secret::Secret::new([4; 32]),
    };
    onward.push(&keys);
    onward.push(&deeper);
    let mut alone = RelayCircuit::new(&keys, &Profile::TESTING);
    let mut for_second = [0; BODY_SIZE];
    onward.seal_for(1, &mut for_second);
    let verdict = alone.take_from_client(Instant(0), &for_second, &mut [0; BODY_SIZE], &mut |_| ());
    assert_eq!(verdict, Err(Violation::BehindLastHop));
}

// spec: CONG-9
#[test]
fn a_circuit_whose_hops_rest_wakes_for_each_of_them() {
    let mut chain = Chain::built(2);
    let streams = [0, 1].map(|hop| chain.client.mux(hop).unwrap().open(Target::Store).unwrap());
    let write = |chain: &mut Chain| {
        for (hop, &stream) in streams.iter().enumerate() {
            chain.client.mux(hop).unwrap().write(stream, &[7; 50_000]);
        }
    };
    let left =
        |chain: &mut Chain| [0, 1].map(|hop| SEND_BUFFER_MAX - chain.client.mux(hop).unwrap().write_room(streams[hop]));
    // Acknowledgements tell of a long path.
    chain.delay = Duration::from_millis(200);
    write(&mut chain);
    chain.run().unwrap();
    chain.now = chain.now + chain.delay;
    // Then each hop has more to send than may leave at once, though no window is full.
    write(&mut chain);
    chain.send().unwrap();
    assert!(left(&mut chain).iter().all(|&n| n > 0), "both rest");
    for _ in 0..100 {
        let Some(until) = chain.client.rests_until() else { break };
        assert!(until > chain.now);
        chain.client.woken(Instant(until.0 - 1));
        assert_eq!(chain.client.rests_until(), Some(until), "not yet");
        chain.now = until;
        chain.client.woken(until);
        chain.send().unwrap();
    }
    assert_eq!(left(&mut chain), [0, 0]);
}
