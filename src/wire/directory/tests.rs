//! Requests and answers are read back, and nothing else is.

use super::*;
use crate::wire::descriptor::{DESCRIPTOR_MAX, DESCRIPTOR_OPEN_MAX};
use crate::wire::directory::climbing::{CLIMBING_MAX, ItemBytes, RUNGS_MAX, Rung};

/// The calls' largest body (`proto::rpc::BODY_MAX`, which this layer cannot name).
const BODY_MAX: usize = 65 * 1024;

const NETWORK: NetworkId = NetworkId([9; 32]);

fn statement() -> Statement {
    let key = IdentityKey::from_bytes([3; 32]);
    let (cut, relay, signature) = (UnixMs(5000), RelayId([4; 32]), [0; SIGNATURE_SIZE]);
    Statement { cut, root: [1; 32], beacon: [2; 32], count: 12, relay, signature }.sign(NETWORK, &key)
}

/// The longest.
fn report() -> Report {
    let entry = |subject| crate::wire::report::ReportEntry { subject, endpoint: 1, addresses: 1 };
    let found = (vec![1; crate::wire::report::REPORT_BITS_MAX], (0..99).map(entry).collect());
    Report::sign(UnixMs(1), 2, RelayId([3; 32]), found, &IdentityKey::from_bytes([3; 32]))
}

#[test]
fn every_request_is_read_back() {
    let rungs = vec![Rung { place: 9, signature: [3; 64] }; RUNGS_MAX];
    let record = Climbing { item: ItemBytes::Record(vec![1; DESCRIPTOR_MAX]), rungs: rungs.clone() };
    let longest = Climbing { item: ItemBytes::Report(Box::new(report())), rungs };
    for request in [
        DirectoryRequest::Put(vec![vec![1; 300], vec![]]),
        DirectoryRequest::Get(RelayId([1; 32])),
        DirectoryRequest::Announce(vec![7; TAGS_MAX]),
        DirectoryRequest::Fetch(vec![7; RECORDS_MAX]),
        DirectoryRequest::Sketch { from: 9, count: SUMS_ASKED_MAX as u16 },
        DirectoryRequest::List(u64::MAX),
        DirectoryRequest::Statement(UnixMs(1)),
        DirectoryRequest::Page { cut: UnixMs(2), start: 192 },
        DirectoryRequest::Climb { cut: UnixMs(3), items: vec![record; CLIMBING_MAX] },
        DirectoryRequest::Climb { cut: UnixMs(3), items: vec![longest; CLIMBING_MAX] },
        DirectoryRequest::Tell(vec![statement(); STATEMENTS_MAX]),
        DirectoryRequest::Report(vec![report(); REPORTS_MAX]),
        DirectoryRequest::Reports { cut: UnixMs(2), set: 7, held: vec![1; HELD_MAX] },
    ] {
        let bytes = request.encode();
        assert!(bytes.len() <= BODY_MAX, "{}", bytes.len());
        assert_eq!(DirectoryRequest::decode(&bytes), Ok(request));
    }
}

#[test]
fn every_answer_is_read_back_and_the_fullest_fits_a_body() {
    let full = |n: usize| vec![vec![1; DESCRIPTOR_OPEN_MAX]; n];
    let member = MemberBytes { record: vec![1; DESCRIPTOR_OPEN_MAX], since: UnixMs(1), samples: 3, dormant: UnixMs(0) };
    for answer in [
        DirectoryAnswer::Taken { new: 1, held: 2, refused: 3 },
        DirectoryAnswer::Record(vec![1; 200]),
        DirectoryAnswer::Wanted(vec![1; TAGS_MAX / 8]),
        DirectoryAnswer::Items(full(RECORDS_MAX)),
        DirectoryAnswer::Sums { salt: 1, items: 2, from: 3, sums: vec![Sum::default(); SUMS_ASKED_MAX] },
        DirectoryAnswer::Listed { more: true, tags: vec![1; TAGS_MAX] },
        DirectoryAnswer::Statement(statement()),
        DirectoryAnswer::Page { cut: UnixMs(1), total: 900, start: 192, members: vec![member; PAGE_MEMBERS_MAX] },
        DirectoryAnswer::Unknown(UnixMs(9)),
        DirectoryAnswer::Refused(Refusal::Malformed),
        DirectoryAnswer::Refused(Refusal::Busy),
        DirectoryAnswer::Reports(vec![report(); REPORTS_MAX]),
    ] {
        let bytes = answer.encode();
        assert!(bytes.len() <= BODY_MAX, "{}", bytes.len());
        assert_eq!(DirectoryAnswer::decode(&bytes), Ok(answer));
    }
}

// spec: DIR-12
#[test]
fn what_is_unknown_or_too_much_is_an_error() {
    assert_eq!(DirectoryRequest::decode(&[99]), Err(Malformed::UnknownKind));
    assert_eq!(DirectoryRequest::decode(&[1, RECORDS_MAX as u8 + 1]), Err(Malformed::OutOfRange));
    assert_eq!(DirectoryRequest::decode(&[4, 0, RECORDS_MAX as u8 + 1]), Err(Malformed::OutOfRange));
    assert_eq!(DirectoryRequest::decode(&[11, 0, 0, 4, 1]), Err(Malformed::OutOfRange));
    assert_eq!(DirectoryRequest::decode(&[1, 0, 0]), Err(Malformed::TrailingBytes));
    let long = [&[1, 1, 2, 155][..], &[0; DESCRIPTOR_MAX + 1]].concat();
    assert_eq!(DirectoryRequest::decode(&long), Err(Malformed::OutOfRange));
    assert_eq!(DirectoryAnswer::decode(&[12, 2, 0, 0]), Err(Malformed::OutOfRange));
}

// spec: DIR-27
#[test]
fn a_statement_holds_for_what_was_signed_alone() {
    let s = statement();
    let key = IdentityKey::from_bytes([3; 32]).public();
    assert_eq!(s.verify(NETWORK, &key), Ok(()));
    assert!(s.verify(NetworkId([8; 32]), &key).is_err());
    assert!(Statement { count: 13, ..s }.verify(NETWORK, &key).is_err());
    assert!(Statement { cut: UnixMs(6000), ..s }.verify(NETWORK, &key).is_err());
    assert!(Statement { relay: RelayId([5; 32]), ..s }.verify(NETWORK, &key).is_err());
}

proptest::proptest! {
    #[test]
    fn any_bytes_give_a_value_that_encodes_to_them_or_an_error(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)
    ) {
        if let Ok(request) = DirectoryRequest::decode(&bytes) {
            proptest::prop_assert_eq!(request.encode(), bytes.clone());
        }
        if let Ok(answer) = DirectoryAnswer::decode(&bytes) {
            proptest::prop_assert_eq!(answer.encode(), bytes);
        }
    }
}
