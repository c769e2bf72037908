use super::*;
use crate::base::secret::Secret;
use crate::wire::membership::{Charter, MemberKey};

const WORK: WorkParams = WorkParams { bits: 6, effort: 1 };
const RULES: DescriptorRules = DescriptorRules {
    network: NetworkId([9; 32]),
    work: WORK,
    private_addrs: true,
    lifetime_max_s: 60,
    members_of: None,
};

fn plain(key: &IdentityKey) -> Descriptor {
    Descriptor {
        network: RULES.network,
        identity: key.public(),
        work: find_work(RULES.network, &key.public(), UnixMs(1_000_000), WORK),
        published: UnixMs(1_000_000),
        lifetime_s: 60,
        link_key: [1; 32],
        onion_key: [2; 32],
        cipher: Cipher::Aes256Gcm,
        exit: true,
        store: false,
        family: Some([3; 32]),
        membership: None,
        addrs: vec!["127.0.0.1:9000".parse().unwrap(), "[::1]:9000".parse().unwrap()],
    }
}

fn signed(change: impl FnOnce(&mut Descriptor)) -> Vec<u8> {
    let key = IdentityKey::from_bytes([7; 32]);
    let mut d = plain(&key);
    change(&mut d);
    SignedDescriptor::sign(d, &key).bytes().to_vec()
}

// spec: DIR-1
// spec: DIR-8
#[test]
fn a_descriptor_comes_back_as_it_was_signed_and_any_changed_byte_is_refused() {
    let key = IdentityKey::from_bytes([7; 32]);
    let ours = SignedDescriptor::sign(plain(&key), &key);
    let theirs = SignedDescriptor::decode(ours.bytes(), &RULES).unwrap();
    assert_eq!(ours, theirs);
    assert_eq!(*theirs, plain(&key));
    assert!(ours.bytes().len() <= DESCRIPTOR_MAX);
    for i in 0..ours.bytes().len() {
        let mut bytes = ours.bytes().to_vec();
        bytes[i] ^= 1;
        assert!(SignedDescriptor::decode(&bytes, &RULES).is_err(), "byte {i}");
        assert!(SignedDescriptor::decode(&bytes[..i], &RULES).is_err(), "cut at {i}");
    }
    let longer = [ours.bytes(), &[0]].concat();
    assert_eq!(SignedDescriptor::decode(&longer, &RULES), Err(Malformed::TrailingBytes.into()));
}

// spec: DIR-2
#[test]
fn an_unknown_flag_is_an_error() {
    let mut bytes = signed(|_| ());
    bytes[1] |= 16;
    assert_eq!(SignedDescriptor::decode(&bytes, &RULES), Err(Malformed::UnknownKind.into()));
}

// spec: DIR-3
#[test]
fn addresses_are_few_distinct_and_usable() {
    let bad = |addrs: &[&str]| {
        let bytes = signed(|d| d.addrs = addrs.iter().map(|a| a.parse().unwrap()).collect());
        SignedDescriptor::decode(&bytes, &RULES).unwrap_err()
    };
    assert_eq!(bad(&["1.2.3.4:1", "1.2.3.4:1"]), Malformed::NotCanonical.into());
    assert_eq!(bad(&["[::ffff:1.2.3.4]:1"]), Malformed::NotCanonical.into());
    assert_eq!(bad(&["1.2.3.4:0"]), Malformed::OutOfRange.into());
    assert_eq!(bad(&["0.0.0.0:5"]), Malformed::OutOfRange.into());
    assert_eq!(bad(&["224.0.0.1:5"]), Malformed::OutOfRange.into());
}

// spec: DIR-4
// spec: DIR-5
// spec: DIR-6
// spec: DIR-7 KEY-3
#[test]
fn the_network_s_rules_hold() {
    let judge = |bytes: &[u8], rules| SignedDescriptor::decode(bytes, &rules).map(|_| ());
    let bytes = signed(|_| ());
    assert_eq!(
        judge(&bytes, DescriptorRules { network: NetworkId([8; 32]), ..RULES }),
        Err(DescriptorError::OtherNetwork)
    );
    assert_eq!(judge(&bytes, DescriptorRules { private_addrs: false, ..RULES }), Err(DescriptorError::PrivateAddress));
    let harder = WorkParams { effort: 1 << 30, ..WORK };
    assert_eq!(judge(&bytes, DescriptorRules { work: harder, ..RULES }), Err(DescriptorError::Work));
    assert_eq!(judge(&signed(|d| d.lifetime_s = 61), RULES), Err(DescriptorError::Lifetime));
    assert_eq!(judge(&signed(|d| d.lifetime_s = 0), RULES), Err(DescriptorError::Lifetime));
}

// spec: INVITE-6
#[test]
fn a_private_network_takes_members_alone_and_others_take_none() {
    let (me, founder) = (IdentityKey::from_bytes([7; 32]), IdentityKey::from_bytes([8; 32]));
    let charter = Charter::private([9; 32], vec![founder.public()]).unwrap();
    let network = charter.network("private");
    let key = MemberKey::issue(&charter, network, &founder, Secret::new([5; 32])).unwrap();
    let membership = |identity: &[u8; 32]| Some(Box::new(key.admit(&charter, network, identity)));
    let work = find_work(network, &me.public(), plain(&me).published, WORK);
    let of = |membership| {
        let descriptor = Descriptor { network, membership, work, ..plain(&me) };
        SignedDescriptor::sign(descriptor, &me).bytes().to_vec()
    };
    let private = DescriptorRules { network, members_of: Some("private"), ..RULES };
    let (good, own) = (of(membership(&me.public())), membership(&me.public()));
    let read = SignedDescriptor::decode(&good, &private).unwrap();
    assert_eq!((read.bytes(), &read.membership), (&good[..], &own));
    let refused =
        |bytes: &[u8], rules| assert_eq!(SignedDescriptor::decode(bytes, &rules), Err(DescriptorError::Membership));
    refused(&of(None), private);
    refused(&of(membership(&founder.public())), private);
    refused(&good, DescriptorRules { members_of: None, ..private });
}

// spec: KEY-3
#[test]
fn work_serves_one_window_and_the_id_stays_the_same() {
    let key = IdentityKey::from_bytes([7; 32]);
    let id = relay_id(&key.public());
    let window = work_window(&id, plain(&key).published);
    let end = work_window_end(&id, window);
    assert_eq!(work_window(&id, end.minus(Duration::from_millis(1))), window);
    assert_eq!(work_window(&id, end), window + 1);
    assert_eq!(work_window_end(&id, window + 1).distance(end), WORK_WINDOW);
    let at = |published: UnixMs, work: Work| {
        let bytes = signed(|d| (d.published, d.work) = (published, work));
        SignedDescriptor::decode(&bytes, &RULES).map(|d| d.id())
    };
    let (old, new) = (plain(&key).work, find_work(RULES.network, &key.public(), end, WORK));
    assert_eq!(at(end.minus(Duration::from_millis(1)), old), Ok(id));
    assert_eq!(at(end, old), Err(DescriptorError::Work), "that of the window before");
    assert_eq!(at(end, new), Ok(id), "renewed: the same relay");
    assert_eq!(at(end.minus(Duration::from_millis(1)), new), Err(DescriptorError::Work));
    let elsewhere = find_work(NetworkId([8; 32]), &key.public(), end, WORK);
    assert_eq!(at(end, elsewhere), Err(DescriptorError::Work), "made for another network");
}

proptest::proptest! {
    #[test]
    fn any_bytes_give_a_value_or_an_error(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
        let _ = SignedDescriptor::decode(&bytes, &RULES);
        let mut r = Reader::new(&bytes);
        if let Ok(d) = Descriptor::decode(&mut r) {
            let used = bytes.len() - r.len();
            proptest::prop_assert_eq!(&d.encode(), &bytes[..used]);
        }
    }
}
