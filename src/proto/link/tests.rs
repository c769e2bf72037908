use super::record::RECORDS_PER_KEY;
use super::*;
use crate::base::rng::Rng;
use crate::base::time::Instant;
use crate::crypto::aead::CounterKey;
use crate::wire::cell::CELL_SIZE;
use crate::wire::link::{COUNT_SIZE, RECORD_CELLS_MAX, RECORD_SIZE_MAX, cells_size};
use proptest::prelude::*;

mod interop;

const NET: NetworkId = NetworkId([9; 32]);
const NOW: Now = Now { mono: Instant(5), unix: UnixMs(1_700_000_000_123) };
const CIPHERS: [Cipher; 2] = [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305];

fn secret() -> Arc<AgreeSecret> {
    Arc::new(AgreeSecret::from_bytes([3; 32]))
}

fn pair(cipher: Cipher) -> (Link, Link) {
    let mut rng = Rng::from_seed([1; 32]);
    let key = secret();
    (Link::initiator(NET, &key.public(), cipher, &mut rng), Link::responder(NET, key, cipher, &mut rng))
}

/// All that `link` has to send: its handshake message, or one record of `cells`.
fn send(link: &mut Link, cells: &[CellBuf]) -> Vec<u8> {
    let (mut out, mut cells) = (Vec::new(), cells.iter());
    link.transmit(NOW, &mut out, &mut |cell| cells.next().map(|c| *cell = *c).is_some());
    out
}

fn take(link: &mut Link, bytes: &[u8]) -> Result<Vec<CellBuf>, LinkError> {
    take_in_parts(link, bytes, bytes.len().max(1))
}

fn take_in_parts(link: &mut Link, bytes: &[u8], part: usize) -> Result<Vec<CellBuf>, LinkError> {
    let mut got = Vec::new();
    for chunk in bytes.to_vec().chunks_mut(part) {
        link.receive(NOW, chunk, &mut |cell| {
            got.push(*cell);
            true
        })?;
    }
    Ok(got)
}

fn open_pair(cipher: Cipher) -> (Link, Link) {
    let (mut i, mut r) = pair(cipher);
    let first = send(&mut i, &[]);
    assert_eq!(take(&mut r, &first), Ok(Vec::new()));
    let second = send(&mut r, &[]);
    assert_eq!(take(&mut i, &second), Ok(Vec::new()));
    (i, r)
}

fn cells(n: usize, tint: u8) -> Vec<CellBuf> {
    (0..n).map(|i| [tint.wrapping_add(i as u8); CELL_SIZE]).collect()
}

// spec: LINK-1 LINK-2 LINK-7 LINK-8
#[test]
fn two_ends_shake_hands_and_talk() {
    for cipher in CIPHERS {
        let (mut i, mut r) = pair(cipher);
        assert!(i.is_initiator() && i.wants_handshake_write() && !i.is_open());
        assert!(!r.is_initiator() && !r.wants_handshake_write() && !r.is_open());
        assert_eq!(send(&mut r, &cells(1, 1)), [0_u8; 0], "the responder says nothing first");
        let first = send(&mut i, &cells(1, 1));
        assert_eq!(first.len(), 1256);
        assert_eq!(send(&mut i, &cells(1, 1)), [0_u8; 0], "no record before message 2");
        take(&mut r, &first).unwrap();
        assert!(r.is_open() && r.wants_handshake_write());
        let second = send(&mut r, &cells(1, 1));
        assert_eq!(second.len(), 1164, "message 2 goes out alone");
        take(&mut i, &second).unwrap();
        assert!(i.is_open() && !i.wants_handshake_write() && !r.wants_handshake_write());
        assert_eq!(i.handshake_hash(), r.handshake_hash());
        assert!(i.handshake_hash().is_some());
        assert_eq!((i.peer_time(), r.peer_time()), (Some(NOW.unix), Some(UnixMs(NOW.unix.0 / 1000 * 1000))));

        for n in [1, 2, 15, 16] {
            let record = send(&mut i, &cells(n, 7));
            assert_eq!(record.len(), COUNT_SIZE + cells_size(n));
            assert_eq!(take(&mut r, &record), Ok(cells(n, 7)));
            let record = send(&mut r, &cells(n, 9));
            assert_eq!(take(&mut i, &record), Ok(cells(n, 9)));
        }
    }
}

// spec: LINK-10 LINK-12
#[test]
fn a_record_is_never_empty_and_never_holds_more_than_sixteen() {
    let (mut i, mut r) = open_pair(Cipher::Aes256Gcm);
    assert_eq!(send(&mut i, &[]), [0_u8; 0]);
    let record = send(&mut i, &cells(20, 0));
    assert_eq!(record.len(), RECORD_SIZE_MAX);
    assert_eq!(take(&mut r, &record), Ok(cells(16, 0)), "and the empty call before it used no counter");
}

#[test]
fn records_are_appended_to_what_the_buffer_holds() {
    let (mut i, mut r) = open_pair(Cipher::Aes256Gcm);
    let mut out = b"before".to_vec();
    for tint in [1, 2] {
        let mut given = false;
        i.transmit(NOW, &mut out, &mut |cell| {
            assert_eq!(*cell, [0; CELL_SIZE], "the buffer is clean");
            cell.fill(tint);
            !core::mem::replace(&mut given, true)
        });
    }
    assert_eq!(take(&mut r, &out[6..]), Ok([cells(1, 1), cells(1, 2)].concat()));
}

#[test]
fn a_message_and_the_records_after_it_may_come_together() {
    let (mut i, mut r) = pair(Cipher::ChaCha20Poly1305);
    let first = send(&mut i, &[]);
    take_in_parts(&mut r, &first, 1).unwrap();
    let mut both = send(&mut r, &[]);
    both.extend(send(&mut r, &cells(3, 3)));
    both.extend(send(&mut r, &cells(1, 9)));
    for part in [1, 1163, both.len()] {
        let (mut i, _) = pair(Cipher::ChaCha20Poly1305);
        send(&mut i, &[]);
        assert_eq!(take_in_parts(&mut i, &both, part), Ok([cells(3, 3), cells(1, 9)].concat()), "in parts of {part}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    // spec: LINK-9
    #[test]
    fn how_the_bytes_are_split_makes_no_difference(counts in proptest::collection::vec(1usize..=16, 1..6), parts in proptest::collection::vec(1usize..30_000, 1..20), aes: bool) {
        let (mut i, mut r) = open_pair(CIPHERS[usize::from(aes)]);
        let (mut bytes, mut want) = (Vec::new(), Vec::new());
        for (tint, n) in counts.into_iter().enumerate() {
            bytes.extend(send(&mut i, &cells(n, tint as u8 * 16)));
            want.extend(cells(n, tint as u8 * 16));
        }
        let (mut got, mut rest, mut parts) = (Vec::new(), &mut bytes[..], parts.into_iter().cycle());
        while !rest.is_empty() {
            let (part, after) = rest.split_at_mut(parts.next().unwrap().min(rest.len()));
            prop_assert_eq!(r.receive(NOW, part, &mut |cell| { got.push(*cell); true }), Ok(()));
            rest = after;
        }
        prop_assert!(got == want);
    }
}

// spec: LINK-3
#[test]
fn any_changed_byte_of_the_handshake_closes() {
    let (mut i, mut r) = pair(Cipher::Aes256Gcm);
    let first = send(&mut i, &[]);
    take(&mut r, &first).unwrap();
    let second = send(&mut r, &[]);
    // Every byte of the X25519 shares, payloads and tags; every 41st of the two KEM fields, which one tag covers.
    let sample = |len: usize| (0..len).filter(move |at| *at < 40 || *at > len - 64 || at % 41 == 0);
    for at in sample(first.len()) {
        let mut bad = first.clone();
        bad[at] ^= 0x80 >> (at % 8);
        let (_, mut r) = pair(Cipher::Aes256Gcm);
        let result = take(&mut r, &bad);
        // The top bit of an X25519 share is ignored by the curve but not by the transcript.
        assert_eq!(result, Err(LinkError::BadHandshake), "byte {at} of message 1");
        assert!(!r.wants_handshake_write() && !r.is_open(), "nothing is answered");
        assert_eq!(send(&mut r, &cells(1, 1)), [0_u8; 0]);
    }
    for at in sample(second.len()) {
        let mut bad = second.clone();
        bad[at] ^= 0x80 >> (at % 8);
        let (mut i, _) = pair(Cipher::Aes256Gcm);
        assert_eq!(take(&mut i, &bad), Err(LinkError::BadHandshake), "nothing comes before message 1");
        let (mut i, _) = pair(Cipher::Aes256Gcm);
        send(&mut i, &[]);
        assert_eq!(take(&mut i, &bad), Err(LinkError::BadHandshake), "byte {at} of message 2");
        assert_eq!(send(&mut i, &cells(1, 1)), [0_u8; 0]);
    }
}

// spec: LINK-1 LINK-3 LINK-7
#[test]
fn another_network_or_link_key_closes() {
    let mut rng = Rng::from_seed([1; 32]);
    for (network, key) in [(NetworkId([8; 32]), secret().public()), (NET, AgreeSecret::from_bytes([4; 32]).public())] {
        let mut i = Link::initiator(network, &key, Cipher::Aes256Gcm, &mut rng);
        let mut r = Link::responder(NET, secret(), Cipher::Aes256Gcm, &mut rng);
        let first = send(&mut i, &[]);
        assert_eq!(take(&mut r, &first), Err(LinkError::BadHandshake));
        assert_eq!(send(&mut r, &[]), [0_u8; 0]);
        assert_eq!(take(&mut r, &first), Err(LinkError::BadHandshake), "closed is closed");
    }
}

// spec: LINK-6
#[test]
fn another_cipher_than_the_descriptors_closes() {
    let mut rng = Rng::from_seed([1; 32]);
    let mut i = Link::initiator(NET, &secret().public(), Cipher::Aes256Gcm, &mut rng);
    let mut r = Link::responder(NET, secret(), Cipher::ChaCha20Poly1305, &mut rng);
    let first = send(&mut i, &[]);
    take(&mut r, &first).unwrap();
    let second = send(&mut r, &[]);
    assert_eq!(take(&mut i, &second), Err(LinkError::WrongCipher));
}

// spec: LINK-4
#[test]
fn low_order_points_and_bad_kem_keys_close() {
    let mut rng = Rng::from_seed([1; 32]);
    let mut i = Link::initiator(NET, &[0; 32], Cipher::Aes256Gcm, &mut rng);
    assert_eq!(send(&mut i, &[]), [0_u8; 0], "nothing is sent to a relay whose link key is a low-order point");
    assert!(!i.wants_handshake_write());
    assert_eq!(take(&mut i, &[0]), Err(LinkError::BadPublicKey));

    let mut r = Link::responder(NET, secret(), Cipher::Aes256Gcm, &mut rng);
    assert_eq!(take(&mut r, &[0; MESSAGE_1_SIZE]), Err(LinkError::BadPublicKey));
    let (mut i, _) = pair(Cipher::Aes256Gcm);
    send(&mut i, &[]);
    assert_eq!(take(&mut i, &[0; MESSAGE_2_SIZE]), Err(LinkError::BadPublicKey));
}

// spec: LINK-5
#[test]
fn an_unknown_version_closes_without_an_answer() {
    let mut first = Vec::new();
    let ephemeral = AgreeSecret::from_bytes([5; 32]);
    let kem = KemSecret::generate([6; 64]);
    Initiator::start(&NET, &secret().public(), ephemeral, Some(kem), &[2, 0, 0, 0, 0, 0, 0, 0], &mut first).unwrap();
    let (_, mut r) = pair(Cipher::Aes256Gcm);
    assert_eq!(take(&mut r, &first), Err(LinkError::Malformed(Malformed::UnknownVersion)));
    assert!(!r.wants_handshake_write());
}

// spec: LINK-13
#[test]
fn any_changed_byte_of_a_record_closes() {
    for cipher in CIPHERS {
        let record = send(&mut open_pair(cipher).0, &cells(2, 7));
        let (_, mut honest) = open_pair(cipher);
        assert_eq!(take(&mut honest, &record), Ok(cells(2, 7)));
        for at in (0..COUNT_SIZE).chain((COUNT_SIZE..record.len()).step_by(311)).chain([record.len() - 1]) {
            let mut bad = record.clone();
            bad[at] ^= 1;
            let (_, mut r) = open_pair(cipher);
            assert_eq!(take(&mut r, &bad), Err(LinkError::BadRecord), "byte {at}");
            assert_eq!(take(&mut r, &record), Err(LinkError::BadRecord), "closed is closed");
            assert!(!r.is_open());
        }
    }
}

// spec: LINK-13
#[test]
fn records_repeated_left_out_swapped_or_reflected_close() {
    let (mut i, _) = open_pair(Cipher::Aes256Gcm);
    let records: Vec<_> = (0..3).map(|t| send(&mut i, &cells(1, t))).collect();
    for order in [[0, 0], [1, 0], [0, 2], [2, 1]] {
        let (_, mut r) = open_pair(Cipher::Aes256Gcm);
        let bytes = order.map(|n| records[n].clone()).concat();
        assert_eq!(take(&mut r, &bytes), Err(LinkError::BadRecord), "{order:?}");
    }
    let (mut i, _) = open_pair(Cipher::Aes256Gcm);
    assert_eq!(take(&mut i, &records[0]), Err(LinkError::BadRecord), "a sender does not take its own record");

    let (_, mut r) = open_pair(Cipher::Aes256Gcm);
    let cut = [&records[0][..records[0].len() - 1], &records[1][..]].concat();
    assert_eq!(take(&mut r, &cut), Err(LinkError::BadRecord), "cut short");
    let (_, mut r) = open_pair(Cipher::Aes256Gcm);
    assert_eq!(take(&mut r, &records[0][..records[0].len() - 1]), Ok(Vec::new()), "no cell before its tag");
}

// spec: LINK-11
#[test]
fn a_count_of_zero_or_above_sixteen_closes() {
    let record = |count: u8| {
        let mut out = vec![count];
        let mut key = CounterKey::new(Cipher::Aes256Gcm, &Secret::new([5; 32]));
        let tag = key.seal(&[], &mut out);
        out.extend(tag);
        let mut body = vec![count; usize::from(count) * CELL_SIZE];
        let tag = key.seal(&[], &mut body);
        [out, body, tag.to_vec()].concat()
    };
    let open = |count| {
        let mut opener = Opener::new(Cipher::Aes256Gcm, Secret::new([5; 32]), [0; 32]);
        let mut bytes = record(count);
        let mut feed = Feed::new(&mut bytes);
        let mut cells = 0;
        while opener.advance(&mut feed)? {
            cells += core::iter::from_fn(|| feed.has_cell().then(|| feed.cell().is_some())).count();
        }
        Ok(cells)
    };
    assert_eq!((open(1), open(16)), (Ok(1), Ok(16)));
    assert_eq!(
        (open(0), open(17), open(255)),
        (Err(LinkError::BadCount), Err(LinkError::BadCount), Err(LinkError::BadCount))
    );
}

// spec: LINK-15
#[test]
fn a_refused_cell_closes_and_no_later_cell_is_given() {
    let (mut i, mut r) = open_pair(Cipher::Aes256Gcm);
    let mut record = send(&mut i, &cells(4, 0));
    let mut given = 0;
    let result = r.receive(NOW, &mut record, &mut |_| {
        given += 1;
        given < 2
    });
    assert_eq!((result, given, r.is_open()), (Err(LinkError::Stopped), 2, false));
}

// spec: LINK-14
#[test]
fn keys_change_after_4096_records_in_each_direction_for_itself() {
    for cipher in CIPHERS {
        let (mut i, mut r) = open_pair(cipher);
        let one = cells(1, 1);
        for n in 0..RECORDS_PER_KEY + 3 {
            let record = send(&mut i, &one);
            assert_eq!(take(&mut r, &record).as_deref(), Ok(&one[..]), "record {n}");
        }
        let back = send(&mut r, &one);
        assert_eq!(take(&mut i, &back), Ok(one), "the other direction is still at its first key");
    }
}

// spec: LINK-14
#[test]
fn the_next_key_is_a_function_of_the_last_and_the_handshake() {
    let (key, hash) = (Secret::new([5; 32]), [6; 32]);
    let mut sealer = Sealer::new(Cipher::Aes256Gcm, key.clone(), hash);
    let seal = |sealer: &mut Sealer| {
        let (mut out, mut given) = (Vec::new(), false);
        sealer.seal(&mut out, &mut |_| !core::mem::replace(&mut given, true));
        out
    };
    for _ in 0..RECORDS_PER_KEY {
        seal(&mut sealer);
    }
    let temp = crate::crypto::kdf::hmac_sha256(&hash, &[key.expose()]);
    let next = crate::crypto::kdf::hmac_sha256(&temp, &[b"umbel link 1 rekey", &[1]]);
    let mut fresh = Sealer::new(Cipher::Aes256Gcm, Secret::new(next), hash);
    assert_eq!(seal(&mut sealer), seal(&mut fresh));
}

#[test]
fn what_a_receiver_gathers_is_bounded_by_a_record() {
    let (mut i, mut r) = open_pair(Cipher::Aes256Gcm);
    for _ in 0..3 {
        let record = send(&mut i, &cells(RECORD_CELLS_MAX, 0));
        take_in_parts(&mut r, &record, 1000).unwrap();
    }
    let LinkState::Open(records) = &r.state else { panic!("open") };
    assert!(records.opener.held.capacity() <= 2 * RECORD_SIZE_MAX);
}
