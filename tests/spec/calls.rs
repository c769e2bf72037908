//! Runs the vectors of calls: each request and answer is built here from the fields of its case, and read back.

use crate::case::{Case, cases, unknown};
use std::collections::BTreeSet;
use umbel::base::bytes::Reader;
use umbel::base::time::UnixMs;
use umbel::wire::content::Class;
use umbel::wire::content::store::{self, Missing, Status, StoreAnswerKind, StoreRequestKind};
use umbel::wire::directory::climbing::{Climbing, ItemBytes, Rung};
use umbel::wire::directory::{self, DirectoryAnswerKind, DirectoryRequestKind, MemberBytes, Statement, Sum};
use umbel::wire::ids::{Address, Locator, RelayId};
use umbel::wire::report::Report;
use umbel::wire::roll::RollKey;

fn name(case: &Case) -> &str {
    case.name.split_once('/').expect("kind/name").1
}

/// A list of byte strings of `N` bytes.
pub(crate) fn pieces<const N: usize>(case: &Case, key: &str) -> Vec<[u8; N]> {
    let bytes = case.bytes(key);
    let (whole, rest) = bytes.as_chunks::<N>();
    assert!(rest.is_empty(), "{}: {key}", case.name);
    whole.to_vec()
}

fn id(bytes: &[u8]) -> RelayId {
    RelayId(*bytes.first_chunk().expect("32 bytes"))
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(*bytes.first_chunk().expect("8 bytes"))
}

fn reports(case: &Case) -> Vec<Report> {
    case.list("reports").iter().map(|r| Report::decode(r).expect("a report")).collect()
}

fn tags(case: &Case) -> Vec<u64> {
    pieces::<8>(case, "tags").into_iter().map(u64::from_be_bytes).collect()
}

pub(crate) fn sum(bytes: &[u8; 14]) -> Sum {
    let checks = u32::from_be_bytes(*bytes[8..].first_chunk().unwrap());
    Sum { tags: number(bytes), checks, count: u16::from_be_bytes(*bytes[12..].first_chunk().unwrap()) }
}

fn directory_request(case: &Case) -> directory::DirectoryRequest {
    use directory::DirectoryRequest;
    match name(case) {
        "put" => DirectoryRequest::Put(case.list("records")),
        "get" => DirectoryRequest::Get(RelayId(case.array("relay"))),
        "announce" => DirectoryRequest::Announce(tags(case)),
        "fetch" => DirectoryRequest::Fetch(tags(case)),
        "sketch" => DirectoryRequest::Sketch { from: case.number("from") as u16, count: case.number("count") as u16 },
        "list" => DirectoryRequest::List(case.number("from")),
        "statement" => DirectoryRequest::Statement(UnixMs(case.number("cut"))),
        "changes" => {
            DirectoryRequest::Changes { from: UnixMs(case.number("cut")), offset: case.number("start") as u32 }
        }
        "witness" => {
            let relays = pieces::<32>(case, "relays").iter().map(|r| id(r)).collect();
            DirectoryRequest::Witness { cut: UnixMs(case.number("cut")), relays }
        }
        "report" => DirectoryRequest::Report(reports(case)),
        "reports" => DirectoryRequest::Reports {
            cut: UnixMs(case.number("cut")),
            set: case.number("set"),
            held: case.bytes("held"),
        },
        "rolls" | "rolls_of_nobody" => {
            let key = |k: &[u8; 17]| RollKey { founder: k[0], written: UnixMs(number(&k[1..])), tag: number(&k[9..]) };
            let have = pieces::<17>(case, "have").iter().map(key).collect();
            DirectoryRequest::Rolls { have, given: case.list("records") }
        }
        "page" => DirectoryRequest::Page { cut: UnixMs(case.number("cut")), start: case.number("start") as u32 },
        "climb" => DirectoryRequest::Climb {
            cut: UnixMs(case.number("cut")),
            items: case.list("climbing").iter().map(|c| climbing(c)).collect(),
        },
        "tell" => DirectoryRequest::Tell(pieces::<172>(case, "statements").iter().map(statement).collect()),
        _ => unknown(case),
    }
}

fn directory_answer(case: &Case) -> directory::DirectoryAnswer {
    use directory::{DirectoryAnswer, Refusal};
    match name(case) {
        "taken" => {
            let n = |key| case.number(key) as u16;
            DirectoryAnswer::Taken { new: n("new"), held: n("held"), refused: n("refused") }
        }
        "record" => DirectoryAnswer::Record(case.bytes("record")),
        "wanted" => DirectoryAnswer::Wanted(case.bytes("wanted")),
        "items" => DirectoryAnswer::Items(case.list("records")),
        "sums" => DirectoryAnswer::Sums {
            salt: case.number("salt"),
            items: case.number("items") as u32,
            from: case.number("from") as u16,
            sums: pieces::<14>(case, "sums").iter().map(sum).collect(),
        },
        "listed" => DirectoryAnswer::Listed { more: case.number("more") == 1, tags: tags(case) },
        "statement" => DirectoryAnswer::Statement(statement(&case.array("statement"))),
        "changes" => DirectoryAnswer::Changes {
            cut: UnixMs(case.number("cut")),
            beacon: case.array("beacon"),
            total: case.number("total") as u32,
            offset: case.number("start") as u32,
            bytes: case.bytes("changes"),
        },
        "witnessed" | "witnessed_nothing" => {
            DirectoryAnswer::Witnessed(pieces::<172>(case, "statements").iter().map(statement).collect())
        }
        "page" => DirectoryAnswer::Page {
            cut: UnixMs(case.number("cut")),
            total: case.number("total") as u32,
            start: case.number("start") as u32,
            members: case.list("members").iter().map(|m| member(m)).collect(),
        },
        "reports" => DirectoryAnswer::Reports(reports(case)),
        "rolls" => DirectoryAnswer::Rolls(case.list("records")),
        "unknown" => DirectoryAnswer::Unknown(UnixMs(case.number("newest"))),
        "refused_malformed" | "refused_busy" => {
            DirectoryAnswer::Refused(if case.number("reason") == 1 { Refusal::Malformed } else { Refusal::Busy })
        }
        _ => unknown(case),
    }
}

fn climbing(bytes: &[u8]) -> Climbing {
    let (kind, rest) = bytes.split_first().expect("a kind");
    let (item, rungs) = match kind {
        1 => {
            let (length, rest) = rest.split_first_chunk().expect("a length");
            let (record, rungs) = rest.split_at(usize::from(u16::from_be_bytes(*length)));
            (ItemBytes::Record(record.to_vec()), rungs)
        }
        3 => {
            let (two, rungs) = rest.split_at(2 * 172);
            let two: Vec<_> = two.as_chunks::<172>().0.iter().map(statement).collect();
            (ItemBytes::Conviction(Box::new([two[0], two[1]])), rungs)
        }
        // The vector's report has one signature of the ladder after it.
        _ => {
            let (report, rungs) = rest.split_at(rest.len() - 1 - 65);
            (ItemBytes::Report(Box::new(Report::decode(report).expect("a report"))), rungs)
        }
    };
    let rung = |r: &[u8; 65]| Rung { place: r[0], signature: *r[1..].first_chunk().unwrap() };
    let rungs: Vec<_> = rungs[1..].as_chunks::<65>().0.iter().map(rung).collect();
    Climbing { item, rungs }
}

fn statement(s: &[u8; 172]) -> Statement {
    Statement {
        cut: UnixMs(number(s)),
        root: *s[8..].first_chunk().unwrap(),
        beacon: *s[40..].first_chunk().unwrap(),
        count: u32::from_be_bytes(*s[72..].first_chunk().unwrap()),
        relay: id(&s[76..]),
        signature: *s[108..].first_chunk().unwrap(),
    }
}

fn member(bytes: &[u8]) -> MemberBytes {
    let mut r = Reader::new(bytes);
    let member = MemberBytes::decode(&mut r).unwrap();
    r.finish().unwrap();
    member
}

/// Checks a store's request; it borrows its block from the case's bytes.
fn check_store_request(case: &Case) {
    use store::StoreRequest;
    let object = |case: &Case| Locator(case.array("locator"));
    let n = |key| case.number(key) as u32;
    let block = if case.has("block") { case.bytes("block") } else { Vec::new() };
    let request = match name(case) {
        "status" => StoreRequest::Status(object(case)),
        "get" => StoreRequest::Get(object(case), n("index")),
        "put_root" => StoreRequest::PutRoot { lease_s: n("lease"), block: &block },
        "name" => StoreRequest::Name { object: object(case), blocks: n("blocks"), from: n("from"), names: names(case) },
        "put" => StoreRequest::Put(object(case), n("index"), &block),
        "missing" => StoreRequest::Missing(object(case)),
        "names" => StoreRequest::Names(object(case), n("from")),
        "replicate" => StoreRequest::Replicate(object(case)),
        _ => unknown(case),
    };
    assert_eq!(request.encode(), case.bytes("body"), "{}", case.name);
    assert_eq!(StoreRequest::decode(&case.bytes("body")), Ok(request), "{}", case.name);
}

fn names(case: &Case) -> Vec<Address> {
    pieces::<32>(case, "names").into_iter().map(Address).collect()
}

fn check_store_answer(case: &Case) {
    use store::StoreAnswer;
    let n = |key| case.number(key) as u32;
    let block = if case.has("block") { case.bytes("block") } else { Vec::new() };
    let answer = match name(case) {
        "status" | "status_unnamed" => StoreAnswer::Status(Status {
            class: if case.number("class") == 1 { Class::Small } else { Class::Large },
            blocks: n("blocks"),
            held: n("held"),
            expires: UnixMs(case.number("expires")),
            idle_ms: n("idle"),
            copies: n("copies") as u16,
            pending: n("pending") as u16,
        }),
        "block" => StoreAnswer::Block(&block),
        "stored" => StoreAnswer::Stored,
        "missing" => {
            let mut missing = Missing::none(n("blocks"));
            case.numbers("missing").into_iter().for_each(|i| missing.insert(i as u32));
            StoreAnswer::Missing(missing)
        }
        "names" | "names_past_the_last" => {
            StoreAnswer::Names { blocks: n("blocks"), from: n("from"), names: names(case) }
        }
        refused => {
            assert_eq!(refused, format!("refused_{}", n("refusal")), "{}", case.name);
            let [kind] = case.array("body");
            assert_eq!(u32::from(kind), n("refusal"), "{}", case.name);
            let answer = StoreAnswer::decode(&[kind]).expect("a refusal").encode();
            assert_eq!(answer, [kind], "{}", case.name);
            return;
        }
    };
    assert_eq!(answer.encode(), case.bytes("body"), "{}", case.name);
    assert_eq!(StoreAnswer::decode(&case.bytes("body")), Ok(answer), "{}", case.name);
}

// spec: DIR-12 CONT-19
#[test]
fn calls() {
    let (mut taken, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for case in cases("calls") {
        let body = case.bytes("body");
        let class = match case.kind.as_str() {
            "directory_request" => directory::DirectoryRequest::decode(&body).err(),
            "directory_answer" => directory::DirectoryAnswer::decode(&body).err(),
            "store_request" => store::StoreRequest::decode(&body).err(),
            "store_answer" => store::StoreAnswer::decode(&body).err(),
            _ => unknown(&case),
        };
        case.expect(&class.map_or("ok".into(), |why| format!("{why:?}")));
        if let Some(kind) = body.first() {
            let seen = if class.is_none() { &mut taken } else { &mut refused };
            seen.insert((case.kind.clone(), *kind));
        }
        match case.kind.as_str() {
            _ if class.is_some() => {}
            "directory_request" => {
                let request = directory_request(&case);
                assert_eq!(request.encode(), body, "{}", case.name);
                assert_eq!(directory::DirectoryRequest::decode(&body), Ok(request), "{}", case.name);
            }
            "directory_answer" => {
                let answer = directory_answer(&case);
                assert_eq!(answer.encode(), body, "{}", case.name);
                assert_eq!(directory::DirectoryAnswer::decode(&body), Ok(answer), "{}", case.name);
            }
            "store_request" => check_store_request(&case),
            "store_answer" => check_store_answer(&case),
            _ => unknown(&case),
        }
    }
    let numbers = [
        ("directory_request", DirectoryRequestKind::ALL.iter().map(|k| k.to_wire()).collect::<Vec<_>>()),
        ("directory_answer", DirectoryAnswerKind::ALL.iter().map(|k| k.to_wire()).collect()),
        ("store_request", StoreRequestKind::ALL.iter().map(|k| k.to_wire()).collect()),
        ("store_answer", StoreAnswerKind::ALL.iter().map(|k| k.to_wire()).collect()),
    ];
    for (family, number) in numbers.into_iter().flat_map(|(f, all)| all.into_iter().map(move |n| (f.to_owned(), n))) {
        let key = (family, number);
        let vectors = (taken.contains(&key), refused.contains(&key));
        assert_eq!(vectors, (true, true), "{key:?} needs a vector that is taken and one that is refused");
    }
}
