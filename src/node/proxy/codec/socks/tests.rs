use super::*;

type Driven<'a> = Result<(Vec<[u8; 2]>, SocksRequest, &'a [u8]), Refused>;

fn drive(mut input: &[u8]) -> Driven<'_> {
    let (mut handshake, mut answers) = (Handshake::new(), Vec::new());
    loop {
        match handshake.advance(input)? {
            Step::More => panic!("cut off"),
            Step::Answer { used, answer } => {
                answers.push(answer);
                input = &input[used..];
            }
            Step::Request { used, request } => return Ok((answers, request, &input[used..])),
        }
    }
}

#[test]
fn a_name_is_asked_for_without_a_user() {
    let (answers, request, rest) = drive(b"\x05\x01\x00\x05\x01\x00\x03\x07example\x00\x50GET").unwrap();
    assert_eq!(answers, [[5, 0]]);
    assert_eq!((request.version, request.command), (Version::V5, Command::Connect));
    assert_eq!(request.target, Target::Host("example".into(), 80));
    assert_eq!(request.credentials, Credentials::default());
    assert_eq!(rest, b"GET");
}

// spec: PROXY-5
#[test]
fn a_client_that_can_log_in_does() {
    let bytes = b"\x05\x02\x00\x02\x01\x03bob\x02pw\x05\x01\x00\x01\x01\x02\x03\x04\x01\xbb";
    let (answers, request, _) = drive(bytes).unwrap();
    assert_eq!(answers, [[5, 2], [1, 0]]);
    assert_eq!(request.credentials, Credentials { user: b"bob".to_vec(), password: b"pw".to_vec() });
    assert_eq!(request.target, Target::Addr("1.2.3.4:443".parse().unwrap()));
}

// spec: PROXY-5
#[test]
fn a_client_with_other_methods_only_is_told_so() {
    assert_eq!(Handshake::new().advance(&[5, 1, 1]).unwrap_err().answer, [5, 0xff]);
}

#[test]
fn socks_4_and_4a_are_told_apart_by_the_address() {
    let (_, four, _) = drive(b"\x04\x01\x00\x50\x01\x02\x03\x04me\x00").unwrap();
    assert_eq!(four.target, Target::Addr("1.2.3.4:80".parse().unwrap()));
    assert_eq!(four.credentials.user, b"me");
    let (_, four_a, rest) = drive(b"\x04\x01\x00\x50\x00\x00\x00\x01\x00host\x00more").unwrap();
    assert_eq!(four_a.target, Target::Host("host".into(), 80));
    assert_eq!(rest, b"more");
}

// spec: PROXY-7
#[test]
fn bind_udp_and_reverse_look_up_are_not_supported() {
    for command in [2, 3, 0xf1, 0, 0xff] {
        let refused = drive(&[5, 1, 0, 5, command, 0, 1, 1, 2, 3, 4, 0, 80]).unwrap_err();
        assert_eq!(refused.answer, encode_reply(Version::V5, Reply::CommandNotSupported, None));
        let refused = drive(&[4, command, 0, 80, 1, 2, 3, 4, 0]).unwrap_err();
        assert_eq!(refused.answer, [0, 91, 0, 0, 0, 0, 0, 0]);
    }
}

#[test]
fn an_unknown_address_kind_or_an_unreadable_name_is_refused() {
    let unreadable = "\u{ff11}27.1".as_bytes();
    let wide = [&[5, 1, 0, 5, 1, 0, 3, unreadable.len() as u8], unreadable, &[0, 80]].concat();
    for (bytes, reply) in [
        (&[5, 1, 0, 5, 1, 0, 2, 0, 0][..], Reply::AddressNotSupported),
        (&[5, 1, 0, 5, 1, 0, 3, 1, b' ', 0, 80], Reply::NotAllowed),
        (&[5, 1, 0, 5, 1, 0, 3, 0, 0, 80], Reply::NotAllowed),
        (&wide, Reply::NotAllowed),
    ] {
        let refused = drive(bytes).unwrap_err();
        assert_eq!(refused.answer[1], reply as u8);
    }
}

// spec: PROXY-6
#[test]
fn no_client_makes_the_proxy_keep_more_than_one_message() {
    let endless = [&[4, 1, 0, 80, 1, 2, 3, 4][..], &[b'a'; 300]].concat();
    assert!(Handshake::new().advance(&endless).is_err());
    for version in [4, 5] {
        // Whatever follows the version, a full buffer is never answered with `More`.
        for fill in [1, 0x41, 0xff] {
            let mut input = vec![fill; MESSAGE_MAX];
            input[0] = version;
            assert_ne!(Handshake::new().advance(&input), Ok(Step::More));
        }
    }
}

#[test]
fn every_cut_waits_and_every_request_is_written_back() {
    let whole: [&[u8]; 4] = [
        b"\x05\x01\x00\x03\x07example\x00\x50",
        b"\x05\xf0\x00\x03\x07example\x00\x00",
        b"\x05\x01\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x50",
        b"\x05\x01\x00\x01\x01\x02\x03\x04\x00\x50",
    ];
    for bytes in whole {
        let mut at_request = Handshake::new();
        at_request.advance(&[5, 1, 0]).unwrap();
        for cut in 0..bytes.len() {
            assert_eq!(at_request.clone().advance(&bytes[..cut]), Ok(Step::More));
        }
        let Ok(Step::Request { used, request }) = at_request.advance(bytes) else { panic!("not a request") };
        assert_eq!((used, request.encode()), (bytes.len(), bytes.to_vec()));
    }
    for bytes in [&b"\x04\x01\x00\x50\x01\x02\x03\x04me\x00"[..], b"\x04\xf0\x00\x50\x00\x00\x00\x01\x00host\x00"] {
        assert_eq!(drive(bytes).unwrap().1.encode(), bytes);
    }
}

// spec: PROXY-9
#[test]
fn each_end_has_its_reply() {
    let replies = [
        (EndReason::Policy, Reply::NotAllowed),
        (EndReason::Unreachable, Reply::HostUnreachable),
        (EndReason::Refused, Reply::Refused),
        (EndReason::Reset, Reply::Refused),
        (EndReason::TimedOut, Reply::TimedOut),
        (EndReason::Resource, Reply::Failure),
        (EndReason::Done, Reply::Failure),
    ];
    for (end, reply) in replies {
        assert_eq!(Reply::from_end(end), reply);
    }
    let found = encode_reply(Version::V5, Reply::Succeeded, Some("1.2.3.4".parse().unwrap()));
    assert_eq!(found, [5, 0, 0, 1, 1, 2, 3, 4, 0, 0]);
    let found = encode_reply(Version::V4, Reply::Succeeded, Some("1.2.3.4".parse().unwrap()));
    assert_eq!(found, [0, 90, 0, 0, 1, 2, 3, 4]);
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(input in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600)) {
        let mut handshake = Handshake::new();
        let mut rest = &input[..];
        while let Ok(Step::Answer { used, .. }) = handshake.advance(rest) {
            rest = &rest[used..];
        }
    }
}
