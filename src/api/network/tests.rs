use super::*;
use crate::base::secret::Secret;
use crate::crypto::identity::IdentityKey;
use crate::wire::examples::description;

const P: &Profile = &Profile::TESTING;

fn record(charter: &Charter, n: u8, published: u64) -> SignedDescriptor {
    let key = IdentityKey::from_bytes([n; 32]);
    let network = charter.network(P.name);
    let mut descriptor = description(network, &key, UnixMs(published), P.work);
    descriptor.addrs = vec![([127, 0, 0, n], 9000).into()];
    SignedDescriptor::sign(descriptor, &key)
}

fn open(genesis: u8) -> Charter {
    Charter::open([genesis; 32])
}

fn invite(charter: &Charter, relays: &[(u8, u64)], cut: u64) -> Invite {
    let relays: Vec<_> = relays.iter().map(|(n, published)| record(charter, *n, *published)).collect();
    let checkpoint = (cut > 0).then_some((UnixMs(cut), [cut as u8; 32]));
    Invite(wire::Invite { checkpoint, ..wire::Invite::new(P.name, charter.clone(), &relays) })
}

struct Folder {
    dir: NodeDir,
    _temp: tempfile::TempDir,
}

impl Folder {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let dir = NodeDir::open(temp.path()).unwrap();
        Self { dir, _temp: temp }
    }

    fn find(&self, given: &[Invite]) -> Result<Option<Network>, Error> {
        Network::find(&self.dir, given, None, &[], &mut Rng::from_seed([1; 32]))
    }
}

fn seeds(network: &Network) -> Vec<(u8, u64)> {
    let octet = |s: &SignedDescriptor| if let core::net::IpAddr::V4(ip) = s.addrs[0].ip() { ip.octets()[3] } else { 0 };
    network.seeds.iter().map(|s| (octet(s), s.published.0)).collect()
}

fn point(network: &Network) -> Option<(UnixMs, [u8; 32])> {
    network.checkpoint().map(|point| (point.cut, point.root))
}

// spec: INVITE-8
#[test]
fn a_checkpoint_of_the_future_is_left_out_and_two_that_disagree_are_refused() {
    let (folder, net) = (Folder::new(), open(1));
    let later = unix_now().plus(P.clock_tolerance).plus(crate::base::time::Duration::from_secs(60)).0;
    let given = [invite(&net, &[(1, 10)], 5), invite(&net, &[(2, 10)], later)];
    let found = folder.find(&given).unwrap().unwrap();
    assert_eq!((seeds(&found), point(&found)), (vec![(1, 10), (2, 10)], Some((UnixMs(5), [5; 32]))));
    let mut other = invite(&net, &[(3, 10)], 5);
    other.0.checkpoint = Some((UnixMs(5), [6; 32]));
    let why = Folder::new().find(&[given[0].clone(), other.clone()]).map(|_| ()).unwrap_err();
    assert_eq!((why.kind(), why.rule()), (ErrorKind::Config, Some("INVITE-8")));
    // What the folder keeps is not worth more than what is given.
    assert_eq!(point(&folder.find(&[other]).unwrap().unwrap()), Some((UnixMs(5), [6; 32])));
}

// spec: INVITE-4
#[test]
fn invites_are_merged_with_each_other_and_with_what_the_folder_keeps() {
    let (folder, net) = (Folder::new(), open(1));
    let first = folder.find(&[invite(&net, &[(1, 10), (2, 10)], 5), invite(&net, &[(2, 20), (3, 10)], 0)]);
    let first = first.unwrap().unwrap();
    assert_eq!(seeds(&first), [(1, 10), (2, 20), (3, 10)]);
    let kept = folder.find(&[]).unwrap().unwrap();
    assert_eq!((seeds(&kept), point(&kept)), (seeds(&first), Some((UnixMs(5), [5; 32]))));
    // An older invite given again takes nothing back.
    let again = folder.find(&[invite(&net, &[(2, 10), (4, 10)], 3)]).unwrap().unwrap();
    assert_eq!(seeds(&again), [(2, 20), (4, 10), (1, 10), (3, 10)]);
    assert_eq!(point(&again), Some((UnixMs(5), [5; 32])));
    assert_eq!(again.invite(None).0.relays.len(), 4, "what it hands on before it has a set");
}

// spec: NODE-29
#[test]
fn a_folder_belongs_to_one_network() {
    let folder = Folder::new();
    let (one, two) = (invite(&open(1), &[(1, 10)], 0), invite(&open(2), &[(2, 10)], 0));
    let refused = |given: &[Invite], what: &str| {
        let why = folder.find(given).map(|_| ()).unwrap_err();
        assert_eq!((why.kind(), why.rule()), (ErrorKind::Config, Some("NODE-29")), "{why}");
        assert!(why.to_string().contains(what) && why.hint().is_some(), "{why}");
    };
    refused(&[one.clone(), two.clone()], "different networks");
    assert!(folder.find(&[]).unwrap().is_none(), "what was refused left nothing there");
    folder.find(core::slice::from_ref(&one)).unwrap();
    let before = folder.dir.load(INVITE_FILE).unwrap();
    refused(core::slice::from_ref(&two), "belongs to network");
    refused(&[one.clone(), two.clone()], "different networks");
    assert_eq!(folder.dir.load(INVITE_FILE).unwrap(), before);
    // Neither a lost nor an exchanged file makes it another network's.
    folder.dir.save(INVITE_FILE, two.to_string().as_bytes()).unwrap();
    refused(&[], "belongs to network");
    std::fs::remove_file(folder.dir.file(INVITE_FILE)).unwrap();
    refused(core::slice::from_ref(&two), "belongs to network");
    refused(&[], "the invite is gone");
    assert_eq!(seeds(&folder.find(&[one]).unwrap().unwrap()), [(1, 10)]);
}

#[test]
fn a_kept_invite_that_cannot_be_read_gives_way_to_one_that_is_given() {
    let (folder, net) = (Folder::new(), open(1));
    folder.dir.save(INVITE_FILE, b"umbel-invite 1\n").unwrap();
    let why = folder.find(&[]).map(|_| ()).unwrap_err();
    assert!(why.to_string().contains("another version") && why.hint().unwrap().contains("umbel invite"), "{why}");
    assert_eq!(seeds(&folder.find(&[invite(&net, &[(1, 10)], 0)]).unwrap().unwrap()), [(1, 10)]);
    assert_eq!(seeds(&folder.find(&[]).unwrap().unwrap()), [(1, 10)]);
}

// spec: INVITE-7
#[test]
fn a_member_key_is_kept_apart_and_never_handed_on() {
    let (folder, founder) = (Folder::new(), IdentityKey::from_bytes([1; 32]));
    let charter = Charter::private([2; 32], vec![founder.public()]).unwrap();
    let network = charter.network(P.name);
    let key = MemberKey::issue(&charter, network, &founder, Secret::new([3; 32])).unwrap();
    let given = Invite(wire::Invite { member: Some(key.clone()), ..wire::Invite::new(P.name, charter, []) });
    let secret = BASE64.encode(&key.encode());
    let text = given.0.format();
    assert!(text.contains(&secret), "the founder's text has it");
    let given: Invite = text.parse().unwrap();
    for given in [vec![given], vec![]] {
        let found = folder.find(&given).unwrap().unwrap();
        assert_eq!(found.member.as_ref(), Some(&key));
        assert!(found.membership(&[7; 32]).is_some());
        for text in [found.invite(None).to_string(), format!("{:?}", found.invite(None)), format!("{given:?}")] {
            assert!(!text.contains(&secret) && !text.contains("member "), "{text}");
        }
        let kept = std::fs::read_to_string(folder.dir.file(INVITE_FILE)).unwrap();
        assert!(!kept.contains("member "), "{kept}");
    }
}

// spec: INVITE-3
#[test]
fn an_invite_names_the_set_that_the_node_knows_and_itself_first() {
    let (folder, net) = (Folder::new(), open(1));
    let mut network = folder.find(&[invite(&net, &[(1, 10)], 5)]).unwrap().unwrap();
    network.own = Some(record(&net, 30, 10));
    let cut = UnixMs(1_700_000_000_000);
    let records: Vec<_> = (20..40).map(|n| std::sync::Arc::new(record(&net, n, cut.0 - 5_000))).collect();
    let set = Snapshot::settle(&records, cut, P, network.id);
    let made = network.invite(Some(&set));
    let named = made.0.seeds(&P.descriptor_rules(network.id)).unwrap();
    assert_eq!((named.len(), named[0].id()), (INVITE_RELAYS, network.own.as_ref().unwrap().id()));
    assert!(named.iter().all(|r| set.get(&r.id()).is_some()), "not the invite's relay, which is gone");
    assert_eq!(made.0.checkpoint, Some((cut, set.root)));
    // A relay that is not in the set yet names itself too.
    network.own = Some(record(&net, 50, 10));
    let named = network.invite(Some(&set)).0.seeds(&P.descriptor_rules(network.id)).unwrap();
    assert_eq!((named.len(), named[0].id()), (INVITE_RELAYS, network.own.as_ref().unwrap().id()));
    network.own = Some(record(&net, 30, 10));
    assert_eq!(network.invite(Some(&set)), made);
}
