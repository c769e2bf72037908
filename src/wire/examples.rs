//! One or more of each kind in the tables of the wire: what the fuzzer starts from, and what the tests say out of place.

use crate::base::time::UnixMs;
use crate::crypto::aead::Cipher;
use crate::crypto::identity::IdentityKey;
use crate::crypto::work::{Work, WorkParams};
use crate::wire::cell::{BODY_SIZE, Cell, CircuitId, DestroyReason};
use crate::wire::content::store::{self, Missing, Status, StoreAnswer, StoreRequest};
use crate::wire::content::{Class, SMALL};
use crate::wire::descriptor::{Descriptor, SignedDescriptor, find_work};
use crate::wire::directory::climbing::{Climbing, ItemBytes, Rung};
use crate::wire::directory::{self, DirectoryAnswer, DirectoryRequest, MemberBytes, Statement, Sum};
use crate::wire::handshake::{REPLY_SIZE, REQUEST_SIZE};
use crate::wire::ids::{Address, Locator, NetworkId, RelayId};
use crate::wire::message::{EndReason, ExtendFailure, Message, Target};
use crate::wire::report::{Report, ReportEntry};
use crate::wire::roll::RollKey;

/// An example under the name of its fuzz seed.
pub type Example<T> = (&'static str, T);

/// The network of the relays in these examples.
pub const NETWORK: NetworkId = NetworkId([9; 32]);

const BLOCK: &[u8] = &[7; SMALL];
const OBJECT: Locator = Locator([6; 32]);
const RELAY: RelayId = RelayId([1; 32]);

/// The record of a relay: the more, the greater `n`.
pub fn relay(n: u8) -> SignedDescriptor {
    let v6 = ([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(n)], 9001).into();
    let description = Descriptor {
        network: NETWORK,
        identity: [0; 32],
        work: Work::NONE,
        published: UnixMs(1_700_000_000_000),
        lifetime_s: 3600,
        link_key: [n; 32],
        onion_key: [n.wrapping_add(1); 32],
        cipher: if n.is_multiple_of(2) { Cipher::Aes256Gcm } else { Cipher::ChaCha20Poly1305 },
        exit: n > 1,
        store: n > 2,
        family: (n > 2).then_some([n; 32]),
        membership: None,
        addrs: [([10, 0, 0, n], 9000).into(), v6].into_iter().take(usize::from(n)).collect(),
    };
    SignedDescriptor::sign(description, &IdentityKey::from_bytes([n; 32]))
}

/// What a relay of a network says of itself, to be changed and signed: at 127.0.0.1, with a proof of this work.
pub fn description(network: NetworkId, key: &IdentityKey, published: UnixMs, work: WorkParams) -> Descriptor {
    Descriptor {
        network,
        identity: key.public(),
        work: find_work(network, &key.public(), published, work),
        published,
        lifetime_s: 60,
        link_key: [1; 32],
        onion_key: [2; 32],
        cipher: Cipher::Aes256Gcm,
        exit: false,
        store: true,
        family: None,
        membership: None,
        addrs: vec![([127, 0, 0, 1], 9000).into()],
    }
}

/// Cells; `descriptor` is for the one that holds one.
pub fn cells(descriptor: &[u8]) -> Vec<Example<Cell<'_>>> {
    vec![
        ("padding", Cell::Padding),
        ("create", Cell::Create(CircuitId(1), &[1; REQUEST_SIZE])),
        ("created", Cell::Created(CircuitId(1), &[1; REPLY_SIZE])),
        ("relay", Cell::Relay(CircuitId(0x8000_0001), &[7; BODY_SIZE])),
        ("destroy", Cell::Destroy(CircuitId(9), DestroyReason::None)),
        ("destroy_busy", Cell::Destroy(CircuitId(9), DestroyReason::Busy)),
        ("authenticate", Cell::Authenticate { signature: [5; 64], descriptor }),
        ("close", Cell::Close),
        ("padding_negotiate", Cell::PaddingNegotiate(true)),
    ]
}

/// Relay messages.
pub fn messages() -> Vec<Example<Message<'static>>> {
    let begin = |target, data| Message::Begin { target, data };
    vec![
        ("extend", Message::Extend { to: RELAY, request: &[1; REQUEST_SIZE] }),
        ("extended", Message::Extended(&[1; REPLY_SIZE])),
        ("extend_failed", Message::ExtendFailed(ExtendFailure::Unreachable)),
        ("leaving", Message::Leaving),
        ("begin_host", begin(Target::Host("example.org".into(), 443), b"GET / HTTP/1.1\r\n")),
        ("begin_ipv4", begin(Target::Addr(([1, 2, 3, 4], 80).into()), b"")),
        ("begin_ipv6", begin(Target::Addr(([0, 1, 2, 3, 4, 5, 6, 7], 80).into()), b"")),
        ("begin_directory", begin(Target::Directory, b"x")),
        ("begin_store", begin(Target::Store, &[0, 0, 0, 1, 9])),
        ("connected", Message::Connected),
        ("data", Message::Data(b"hello")),
        ("end_done", Message::End(EndReason::Done)),
        ("end_reset", Message::End(EndReason::Reset)),
        ("credit", Message::Credit(65_536)),
        ("ack", Message::Ack([3; 16])),
        ("resolve", Message::Resolve("example.org")),
        ("resolved", Message::Resolved(vec![[1, 2, 3, 4].into(), [0x2a00, 0, 0, 0, 0, 0, 0, 1].into()])),
        ("resolved_nothing", Message::Resolved(vec![])),
    ]
}

/// Requests to a directory.
pub fn directory_requests() -> Vec<Example<DirectoryRequest>> {
    let climbing = Climbing {
        item: ItemBytes::Record(relay(1).bytes().to_vec()),
        rungs: vec![Rung { place: 2, signature: [5; 64] }, Rung { place: 7, signature: [6; 64] }],
    };
    let late = reports().into_iter().map(|(_, r)| Climbing { item: ItemBytes::Report(Box::new(r)), rungs: vec![] });
    let two = Box::new([statement(), Statement { root: [9; 32], ..statement() }]);
    let convicting = Climbing { item: ItemBytes::Conviction(two), rungs: vec![] };
    let roll = RollKey { founder: 1, written: UnixMs(7), tag: 9 };
    vec![
        ("put", DirectoryRequest::Put(vec![relay(1).bytes().to_vec()])),
        ("get", DirectoryRequest::Get(RELAY)),
        ("announce", DirectoryRequest::Announce(vec![1, 2])),
        ("fetch", DirectoryRequest::Fetch(vec![1, 2])),
        ("statement_of", DirectoryRequest::Statement(UnixMs(60_000))),
        ("page_of", DirectoryRequest::Page { cut: UnixMs(60_000), start: 5 }),
        ("changes_of", DirectoryRequest::Changes { from: UnixMs(60_000), offset: 7 }),
        ("witness", DirectoryRequest::Witness { cut: UnixMs(60_000), relays: vec![RELAY, RelayId([4; 32])] }),
        ("climb", DirectoryRequest::Climb { cut: UnixMs(60_000), items: late.chain([climbing, convicting]).collect() }),
        ("tell", DirectoryRequest::Tell(vec![statement()])),
        ("sketch", DirectoryRequest::Sketch { from: 48, count: 96 }),
        ("list", DirectoryRequest::List(7)),
        ("report", DirectoryRequest::Report(reports().into_iter().map(|(_, r)| r).collect())),
        ("reports_of", DirectoryRequest::Reports { cut: UnixMs(60_000), set: 7, held: vec![0xe0] }),
        ("rolls", DirectoryRequest::Rolls { have: vec![roll], given: vec![vec![5; 200]] }),
    ]
}

/// Reports of audits.
pub fn reports() -> Vec<Example<Report>> {
    let key = IdentityKey::from_bytes([3; 32]);
    let entry = |subject, addresses| ReportEntry { subject, endpoint: 7, addresses };
    let sign = |found| Report::sign(UnixMs(5000), 8, RELAY, found, &key);
    vec![
        ("empty", sign((vec![], vec![]))),
        ("usual", sign((vec![0xff, 0xe0], vec![]))),
        ("with_entries", sign((vec![0x7f], vec![entry(1, 1), entry(2, 0x21), entry(3, 0x30)]))),
    ]
}

fn statement() -> Statement {
    let (cut, relay, signature) = (UnixMs(60_000), RelayId([4; 32]), [0; 64]);
    let statement = Statement { cut, root: [1; 32], beacon: [2; 32], count: 3, relay, signature };
    statement.sign(NetworkId([9; 32]), &IdentityKey::from_bytes([7; 32]))
}

/// Answers of a directory.
pub fn directory_answers() -> Vec<Example<DirectoryAnswer>> {
    let record = || relay(1).bytes().to_vec();
    let member = MemberBytes { record: record(), since: UnixMs(30_000), samples: 5, dormant: UnixMs(0) };
    let changes =
        DirectoryAnswer::Changes { cut: UnixMs(60_000), beacon: [2; 32], total: 9, offset: 7, bytes: vec![1, 2] };
    let sum = Sum { tags: 9, checks: 8, count: 1 };
    vec![
        ("taken", DirectoryAnswer::Taken { new: 1, held: 2, refused: 3 }),
        ("record", DirectoryAnswer::Record(record())),
        ("wanted", DirectoryAnswer::Wanted(vec![0xc0])),
        ("items", DirectoryAnswer::Items(vec![record()])),
        ("sums", DirectoryAnswer::Sums { salt: 5, items: 1, from: 0, sums: vec![sum] }),
        ("listed", DirectoryAnswer::Listed { more: false, tags: vec![1, 2] }),
        ("statement", DirectoryAnswer::Statement(statement())),
        ("page", DirectoryAnswer::Page { cut: UnixMs(60_000), total: 1, start: 0, members: vec![member] }),
        ("unknown", DirectoryAnswer::Unknown(UnixMs(60_000))),
        ("refused", DirectoryAnswer::Refused(directory::Refusal::Busy)),
        ("changes", changes),
        ("witnessed", DirectoryAnswer::Witnessed(vec![statement(), statement()])),
        ("reports", DirectoryAnswer::Reports(reports().into_iter().map(|(_, r)| r).collect())),
        ("newer_rolls", DirectoryAnswer::Rolls(vec![vec![5; 200]])),
    ]
}

fn names() -> Vec<Address> {
    vec![Address([1; 32]), Address([2; 32])]
}

/// Requests to a store.
pub fn store_requests() -> Vec<Example<StoreRequest<'static>>> {
    vec![
        ("status_of", StoreRequest::Status(OBJECT)),
        ("get", StoreRequest::Get(OBJECT, 1)),
        ("put_root", StoreRequest::PutRoot { lease_s: 60, block: BLOCK }),
        ("name", StoreRequest::Name { object: OBJECT, blocks: 3, from: 1, names: names() }),
        ("put", StoreRequest::Put(OBJECT, 2, BLOCK)),
        ("missing_of", StoreRequest::Missing(OBJECT)),
        ("names_of", StoreRequest::Names(OBJECT, 1)),
        ("replicate", StoreRequest::Replicate(OBJECT)),
    ]
}

/// Answers of a store.
pub fn store_answers() -> Vec<Example<StoreAnswer<'static>>> {
    let status =
        Status { class: Class::Small, blocks: 1, held: 1, expires: UnixMs(9), idle_ms: 5, copies: 3, pending: 0 };
    let mut missing = Missing::none(11);
    missing.insert(10);
    vec![
        ("status", StoreAnswer::Status(status)),
        ("block", StoreAnswer::Block(BLOCK)),
        ("stored", StoreAnswer::Stored),
        ("missing", StoreAnswer::Missing(missing)),
        ("names", StoreAnswer::Names { blocks: 3, from: 1, names: names() }),
        ("refused", StoreAnswer::Refused(store::Refusal::Full)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::cell::{CELL_SIZE, Command};
    use crate::wire::content::store::{StoreAnswerKind, StoreRequestKind};
    use crate::wire::directory::{DirectoryAnswerKind, DirectoryRequestKind};
    use crate::wire::message::MessageKind;

    /// Each kind of a family has an example.
    macro_rules! complete {
        ($kind:ident, $examples:expr) => {
            for kind in $kind::ALL {
                assert!($examples.iter().any(|(_, e)| e.kind() == *kind), "{} has no example", kind.name());
                assert_eq!($kind::from_wire(kind.to_wire()), Some(*kind));
            }
        };
    }

    #[test]
    fn each_kind_has_an_example() {
        complete!(Command, cells(b"x"));
        complete!(MessageKind, messages());
        complete!(DirectoryRequestKind, directory_requests());
        complete!(DirectoryAnswerKind, directory_answers());
        complete!(StoreRequestKind, store_requests());
        complete!(StoreAnswerKind, store_answers());
    }

    // spec: CELL-6
    #[test]
    fn each_example_is_read_back() {
        for (name, cell) in cells(relay(1).bytes()) {
            let mut out = [0xee; CELL_SIZE];
            cell.encode(&mut out);
            assert_eq!(Cell::decode(&out), Ok(cell), "{name}");
        }
        for (name, request) in directory_requests() {
            assert_eq!(DirectoryRequest::decode(&request.encode()), Ok(request), "{name}");
        }
        for (name, answer) in directory_answers() {
            assert_eq!(DirectoryAnswer::decode(&answer.encode()), Ok(answer), "{name}");
        }
        for (name, request) in store_requests() {
            assert_eq!(StoreRequest::decode(&request.encode()), Ok(request), "{name}");
        }
        for (name, answer) in store_answers() {
            assert_eq!(StoreAnswer::decode(&answer.encode()), Ok(answer), "{name}");
        }
    }
}
