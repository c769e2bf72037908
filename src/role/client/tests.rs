//! A client and the one relay it knows, held by the test.

use super::*;
use crate::base::time::{Duration, Instant, UnixMs};
use crate::crypto::aead::Cipher;
use crate::crypto::agree::AgreeSecret;
use crate::proto::handshake::respond;
use crate::proto::link::Link;
use crate::proto::path::Sample;
use crate::proto::profile::Profile;
use crate::role::contact::Contact;
use crate::role::limits::{CIRCUIT_BUILD_TIMEOUT, SITE_CIRCUITS_MAX, SPARE_LIFETIME};
use crate::role::{ConnId, Input, Output, Role};
use crate::wire::cell::{CELL_SIZE, Cell, CellBuf, CircuitId, DestroyReason};
use crate::wire::ids::NetworkId;
use core::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

const NET: NetworkId = NetworkId([1; 32]);
const RELAY: RelayId = RelayId([2; 32]);
const STORE: RelayId = RelayId([3; 32]);
/// The isolation of a user who has one circuit.
fn of(user: u8) -> Isolation {
    Isolation { user: [user; 16], part: Part::Shared(0) }
}

const CIPHER: Cipher = Cipher::ChaCha20Poly1305;

fn key(n: u8) -> AgreeSecret {
    AgreeSecret::from_bytes([n; 32])
}

/// Every path is the relay alone; the store may stand after it or not.
#[derive(Default)]
struct Known {
    failed: u32,
    store_fits: bool,
    asked: Vec<PathEnd>,
    samples: Vec<Sample>,
}

struct Source(Rc<RefCell<Known>>);

fn contact(id: RelayId) -> Contact {
    let addrs = vec!["127.0.0.1:3".parse().unwrap()];
    Contact { id, addrs, link_key: key(10).public(), onion_key: key(11).public(), cipher: CIPHER }
}

impl PathSource for Source {
    fn path(&mut self, _now: Now, _rng: &mut Rng, end: PathEnd) -> Option<Vec<Contact>> {
        self.0.borrow_mut().asked.push(end);
        Some(vec![contact(RELAY)])
    }

    fn sample(&mut self, _now: Now, _first: &RelayId, sample: Sample) {
        self.0.borrow_mut().samples.push(sample);
    }

    fn contact(&self, relay: &RelayId) -> Option<Contact> {
        Some(contact(*relay))
    }

    fn may_follow(&self, _path: &[RelayId], _relay: &RelayId) -> bool {
        self.0.borrow().store_fits
    }

    fn first_hop(&mut self, _now: Now, _relay: &RelayId, works: bool) {
        self.0.borrow_mut().failed += u32::from(!works);
    }

    fn is_ready(&self) -> bool {
        true
    }
}

/// What the relay does with CREATE.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Created,
    Destroy,
    Busy,
    Nothing,
    /// It is not even there.
    Refused,
}

struct Rig {
    client: Client,
    known: Rc<RefCell<Known>>,
    now: Now,
    answer: Answer,
    link: Option<(ConnId, Link)>,
    rng: Rng,
    dials: u32,
    last: Option<StreamKey>,
    created: Vec<CircuitId>,
}

impl Rig {
    fn new(spares: usize, answer: Answer) -> Self {
        Self::with_circuits(512, spares, answer)
    }

    fn with_circuits(circuits_max: usize, spares: usize, answer: Answer) -> Self {
        let known = Rc::new(RefCell::new(Known::default()));
        let profile = &Profile::TESTING;
        let cfg = ClientConfig {
            network: NET,
            profile,
            spare_circuits: spares,
            wants_exits: true,
            circuits_max,
            is_relay: false,
        };
        let client = Client::new(cfg, Box::new(Source(known.clone())), Rng::from_seed([5; 32]));
        let now = Now { mono: Instant(1_000_000), unix: UnixMs(1_000_000) };
        let mut rig = Self {
            client,
            known,
            now,
            answer,
            link: None,
            rng: Rng::from_seed([6; 32]),
            dials: 0,
            last: None,
            created: Vec::new(),
        };
        rig.client.paths_changed(now);
        rig.run();
        rig
    }

    /// Lets everything happen that follows.
    fn run(&mut self) {
        while let Some(output) = self.client.poll() {
            match output {
                Output::Dial(conn, _) => {
                    self.dials += 1;
                    if self.answer == Answer::Refused {
                        self.client.handle(self.now, Input::Failed(conn, crate::role::DialError::Refused));
                        continue;
                    }
                    self.link = Some((conn, Link::responder(NET, Arc::new(key(10)), CIPHER, &mut self.rng)));
                    self.client.handle(self.now, Input::Connected(conn));
                    self.carry(conn);
                }
                Output::Wake(conn) => self.carry(conn),
                _ => {}
            }
        }
    }

    fn carry(&mut self, conn: ConnId) {
        let Some((_, link)) = self.link.as_mut().filter(|(c, _)| *c == conn) else { return };
        let mut bytes = Vec::new();
        while self.client.transmit(self.now, conn, &mut bytes) {}
        let (answer, rng, mut answers) = (self.answer, &mut self.rng, Vec::new());
        let mut hear = |cell: &mut CellBuf| {
            let Ok(Cell::Create(id, request)) = Cell::decode(cell) else { return true };
            let mut out = [0; CELL_SIZE];
            match answer {
                Answer::Created => {
                    let (reply, _) = respond(&NET, RELAY, CIPHER, &key(11), request, rng).unwrap();
                    Cell::Created(id, &reply).encode(&mut out);
                    self.created.push(id);
                }
                Answer::Destroy => Cell::Destroy(id, DestroyReason::None).encode(&mut out),
                Answer::Busy => Cell::Destroy(id, DestroyReason::Busy).encode(&mut out),
                Answer::Nothing | Answer::Refused => return true,
            }
            answers.push(out);
            true
        };
        link.receive(self.now, &mut bytes, &mut hear).unwrap();
        let (mut bytes, mut answers) = (Vec::new(), answers.into_iter());
        loop {
            let before = bytes.len();
            link.transmit(self.now, &mut bytes, &mut |to| answers.next().map(|c| *to = c).is_some());
            if bytes.len() == before {
                break;
            }
        }
        if !bytes.is_empty() {
            self.client.handle(self.now, Input::Received(conn, &mut bytes));
        }
    }

    /// Lets time pass; the relay pads its link meanwhile.
    fn wait(&mut self, time: Duration) {
        let end = self.now.mono + time;
        while self.now.mono < end {
            let pad = self.now.mono + Duration::from_secs(5);
            let next = self.client.deadline().map_or(pad, |d| d.min(pad)).max(self.now.mono).min(end);
            self.now.mono = next;
            self.client.handle(self.now, Input::Timer);
            self.run();
            if let Some((conn, link)) = self.link.as_mut().filter(|(_, link)| link.is_open()) {
                let (mut bytes, mut once) = (Vec::new(), true);
                link.transmit(self.now, &mut bytes, &mut |cell| {
                    Cell::Padding.encode(cell);
                    core::mem::take(&mut once)
                });
                self.client.handle(self.now, Input::Received(*conn, &mut bytes));
                self.run();
            }
        }
    }

    /// The relay ends the circuit that it answered last.
    fn destroy_last(&mut self) {
        let id = self.created.pop().expect("a circuit");
        let (conn, link) = self.link.as_mut().expect("a link");
        let (mut bytes, mut once) = (Vec::new(), true);
        link.transmit(self.now, &mut bytes, &mut |cell| {
            Cell::Destroy(id, DestroyReason::None).encode(cell);
            core::mem::take(&mut once)
        });
        self.client.handle(self.now, Input::Received(*conn, &mut bytes));
        self.run();
    }

    fn ids(&self) -> Vec<u64> {
        self.client.circuits().iter().map(|c| c.id).collect()
    }
}

// spec: CLIENT-38
#[test]
fn the_last_hop_of_a_circuit_that_fails_is_tried_once_more_before_another_is_drawn() {
    let mut rig = Rig::new(0, Answer::Created);
    let purpose = CircuitPurpose::Exit(of(1));
    let target = Target::Addr("192.0.2.1:80".parse().unwrap());
    for _ in 0..3 {
        rig.client.open(rig.now, purpose, target.clone()).unwrap();
        rig.run();
        rig.wait(Duration::from_secs(1));
        rig.destroy_last();
        rig.wait(Duration::from_secs(1));
    }
    let known = rig.known.borrow();
    assert_eq!(known.asked[..3], [PathEnd::Exit, PathEnd::ThisExit(RELAY), PathEnd::Exit]);
    let (stood, taken_back) = (Sample::Stood, Sample::DidNotLast);
    assert_eq!(known.samples[..5], [stood, taken_back, stood, taken_back, Sample::Failed], "it counts once");
    assert_eq!(known.failed, 0, "the guard itself works");
}

// spec: CLIENT-39
#[test]
fn the_last_hop_of_a_spare_circuit_that_grew_old_is_the_next_one_s() {
    let mut rig = Rig::new(1, Answer::Created);
    rig.wait(SPARE_LIFETIME + Duration::from_secs(60));
    assert_eq!(rig.known.borrow().asked[..2], [PathEnd::Exit, PathEnd::ThisExit(RELAY)]);
    assert!(rig.known.borrow().samples.iter().all(|s| *s == Sample::Stood));
}

// spec: CLIENT-12
#[test]
fn a_guard_that_refuses_circuits_has_failed() {
    let rig = Rig::new(1, Answer::Destroy);
    assert_eq!(rig.known.borrow().failed, 1);
}

// spec: CLIENT-12
#[test]
fn a_guard_that_answers_no_create_has_failed() {
    let mut rig = Rig::new(1, Answer::Nothing);
    rig.wait(CIRCUIT_BUILD_TIMEOUT);
    assert_eq!(rig.known.borrow().failed, 1);
}

// spec: CLIENT-25
#[test]
fn a_busy_guard_is_kept_and_asked_again() {
    let mut rig = Rig::new(1, Answer::Busy);
    let purpose = CircuitPurpose::Exit(of(1));
    rig.client.open(rig.now, purpose, Target::Addr("192.0.2.1:80".parse().unwrap())).unwrap();
    rig.wait(Duration::from_secs(20));
    assert_eq!((rig.known.borrow().failed, rig.dials), (0, 1), "nothing failed, and no other link was opened");
    assert!(rig.client.event().is_none(), "the stream waits");
    rig.answer = Answer::Created;
    rig.wait(Duration::from_secs(9));
    assert!(rig.client.circuits().iter().any(|c| c.state == CircuitState::Open && c.purpose == Some(purpose)));
    let mut rig = Rig::new(1, Answer::Busy);
    rig.wait(Duration::from_secs(290));
    assert_eq!(rig.known.borrow().failed, 0);
    rig.wait(Duration::from_secs(60));
    assert!(rig.known.borrow().failed > 0, "not for ever");
}

// spec: CLIENT-26
#[test]
fn a_guard_that_ends_a_link_that_worked_is_asked_for_another_first() {
    let lost = |then| {
        let mut rig = Rig::new(1, Answer::Created);
        rig.answer = then;
        let (conn, _) = rig.link.take().unwrap();
        rig.client.handle(rig.now, Input::Closed(conn));
        rig.wait(Duration::from_secs(1));
        (rig.known.borrow().failed, rig.dials >= 2, rig.client.circuits().len())
    };
    assert_eq!(lost(Answer::Created), (0, true, 1));
    let (failed, dialled, circuits) = lost(Answer::Refused);
    assert!(failed >= 1 && dialled && circuits == 0, "the next one says that it is gone");
}

// spec: CLIENT-11
#[test]
fn while_nothing_can_be_built_the_tries_grow_rare_and_never_end() {
    let mut rig = Rig::new(2, Answer::Refused);
    rig.wait(Duration::from_secs(600));
    assert!((20..80).contains(&rig.dials), "{} tries in ten minutes", rig.dials);
    rig.answer = Answer::Created;
    rig.wait(Duration::from_secs(31));
    assert_eq!(rig.client.circuits().len(), 2, "the relay is back, and nobody had to ask");
}

#[test]
fn spare_circuits_are_replaced_before_they_are_old() {
    let mut rig = Rig::new(2, Answer::Created);
    let first = rig.ids();
    rig.wait(SPARE_LIFETIME / 2);
    assert_eq!(rig.ids(), first);
    rig.wait(SPARE_LIFETIME / 2 + Duration::from_secs(120));
    let second = rig.ids();
    assert!(second.len() == 2 && second.iter().all(|id| !first.contains(id)), "{first:?} {second:?}");
}

// spec: CLIENT-9
#[test]
fn a_client_without_a_limit_on_circuits_builds_what_it_is_told_to() {
    let rig = Rig::with_circuits(usize::MAX, 12, Answer::Created);
    assert_eq!(rig.ids().len(), 12);
}

#[test]
fn a_spare_circuit_serves_no_relay_that_may_not_follow_it() {
    let mut rig = Rig::new(1, Answer::Created);
    let spare = rig.ids();
    for fits in [false, true] {
        rig.known.borrow_mut().store_fits = fits;
        rig.client.open(rig.now, CircuitPurpose::Fourth(STORE, u64::from(fits)), Target::Store);
        rig.run();
        let circuits = rig.client.circuits();
        let used = circuits.iter().any(|c| spare.contains(&c.id) && c.purpose.is_some());
        assert_eq!(used, fits);
    }
}

// spec: CLIENT-18
#[test]
fn content_for_the_proxy_has_a_share_of_the_circuits_and_no_more() {
    let mut rig = Rig::new(0, Answer::Created);
    for n in 0..SITE_CIRCUITS_MAX as u64 + 50 {
        rig.stream(CircuitPurpose::Fourth(STORE, SITE_ROUTE | n));
    }
    assert_eq!(rig.client.circuits().len(), SITE_CIRCUITS_MAX);
    rig.stream(CircuitPurpose::Fourth(STORE, 7));
    assert_eq!(rig.client.circuits().len(), SITE_CIRCUITS_MAX + 1, "the node's own calls have room");
    assert!(rig.stream(CircuitPurpose::Exit(of(1))).is_some(), "and so have streams");
}

#[test]
fn more_streams_than_a_circuit_takes_get_another() {
    let mut rig = Rig::new(0, Answer::Created);
    for _ in 0..600 {
        rig.client.open(rig.now, CircuitPurpose::Exit(of(1)), Target::Directory).unwrap();
        rig.run();
    }
    assert_eq!(rig.client.circuits().len(), 2);
    assert!(rig.client.streams().iter().all(|s| s.circuit.is_some()));
}

impl Rig {
    /// Opens a stream and says which circuit carries it.
    fn stream(&mut self, want: CircuitPurpose) -> Option<u64> {
        let key = self.client.open(self.now, want, Target::Directory).unwrap();
        self.last = Some(key);
        self.run();
        self.client.streams().iter().find(|s| s.id == key.to_u64()).unwrap().circuit
    }
}

// spec: CLIENT-15
#[test]
fn streams_share_a_circuit_only_under_one_token_and_for_one_kind_of_end() {
    for spares in [0, 2] {
        let mut rig = Rig::new(spares, Answer::Created);
        rig.known.borrow_mut().store_fits = true;
        let exit = |n| CircuitPurpose::Exit(of(n));
        let wants = [
            exit(1),
            exit(2),
            CircuitPurpose::Last(STORE, 1),
            CircuitPurpose::Last(STORE, 2),
            CircuitPurpose::Last(RELAY, 1),
            CircuitPurpose::Direct(RELAY),
        ];
        let mut carried: Vec<_> = wants.iter().map(|want| rig.stream(*want).unwrap()).collect();
        for (want, circuit) in wants.iter().zip(&carried) {
            assert_eq!(rig.stream(*want), Some(*circuit), "{want:?} has its circuit");
        }
        carried.sort_unstable();
        carried.dedup();
        assert_eq!(carried.len(), wants.len(), "and no other want's");
    }
}

// spec: CLIENT-15
#[test]
fn a_circuit_that_is_being_built_belongs_to_those_it_is_built_for() {
    let mut rig = Rig::new(0, Answer::Nothing);
    for n in [1, 1, 2, 1] {
        assert_eq!(rig.stream(CircuitPurpose::Exit(of(n))), None);
    }
    let wants: Vec<_> = rig.client.circuits().iter().map(|c| c.purpose).collect();
    assert_eq!(wants, [1, 2].map(|n| Some(CircuitPurpose::Exit(of(n)))), "one for each, and none twice");
}

#[test]
fn a_spare_circuit_that_is_open_goes_before_one_that_is_being_built() {
    let mut rig = Rig::new(1, Answer::Created);
    let open = rig.ids()[0];
    rig.answer = Answer::Nothing;
    rig.client.set_spare_circuits(rig.now, 2);
    rig.run();
    assert_eq!(rig.ids().len(), 2);
    assert_eq!(rig.stream(CircuitPurpose::Exit(of(1))), Some(open));
}

// spec: CLIENT-16
#[test]
fn a_circuit_takes_no_new_stream_ten_minutes_after_its_first() {
    let mut rig = Rig::new(0, Answer::Created);
    let want = CircuitPurpose::Exit(of(1));
    let first = rig.stream(want);
    rig.client.drop_stream(rig.now, rig.last.unwrap());
    let begun = rig.now.mono;
    // No stream is answered; each is given up at once, so that no answer is awaited of the circuit.
    while rig.now.mono < begun + Duration::from_secs(600) {
        assert_eq!(rig.stream(want), first, "after {:?}", rig.now.mono.since(begun));
        let key = rig.last.unwrap();
        rig.client.drop_stream(rig.now, key);
        rig.wait(Duration::from_secs(20));
    }
    let second = rig.stream(want);
    assert!(second.is_some() && second != first);
}
