//! Runs the vectors of the directory and of content: records, invites, settled sets, objects and links.

use crate::case::{Case, cases, unknown};
use std::sync::Arc;
use umbel::base::bytes::Reader;
use umbel::base::secret::Secret;
use umbel::base::time::{Duration, UnixMs};
use umbel::crypto::identity::IdentityKey;
use umbel::proto::content::block::{self, BlockError};
use umbel::proto::content::tree::{KeyChoice, Label, Tree};
use umbel::proto::content::view::Opened;
use umbel::proto::directory::changes;
use umbel::proto::directory::ladder::{Group, Ladder, Owner};
use umbel::proto::directory::rendezvous;
use umbel::proto::directory::rolls::{Rolls, TakenRoll};
use umbel::proto::directory::schedule::Steps;
use umbel::proto::directory::snapshot::{Member, Snapshot, Unsettled, heard_of};
use umbel::proto::profile::Profile;
use umbel::wire::changes::Changes;
use umbel::wire::content::Kind;
use umbel::wire::content::manifest::Manifest;
use umbel::wire::descriptor::{DescriptorError, DescriptorRules, SignedDescriptor};
use umbel::wire::directory::climbing::Rung;
use umbel::wire::directory::{DirectoryAnswer, MemberBytes};
use umbel::wire::error::Malformed;
use umbel::wire::ids::{Address, NetworkId, RelayId};
use umbel::wire::invite::{Invite, InviteError};
use umbel::wire::roll::Roll;
use umbel::wire::umbel_link::{ContentLink, verify_key};

fn descriptor_class(e: DescriptorError) -> String {
    match e {
        DescriptorError::Malformed(m) => format!("{m:?}"),
        other => format!("{other:?}"),
    }
}

fn one_descriptor(case: &Case) {
    let network = NetworkId(case.array("network"));
    let members_of = case.yes("members").then_some("testing");
    let rules = DescriptorRules {
        network,
        work: Profile::TESTING.work,
        private_addrs: case.yes("private"),
        lifetime_max_s: 60,
        members_of,
    };
    match SignedDescriptor::decode(&case.bytes("descriptor"), &rules) {
        Err(why) => case.expect(&descriptor_class(why)),
        Ok(d) => {
            case.expect("ok");
            assert_eq!(d.bytes(), case.bytes("descriptor"), "{}", case.name);
            assert_eq!(d.id(), RelayId(case.array("relay")), "{}", case.name);
            let numbers = [
                (d.published.0, "published"),
                (u64::from(d.lifetime_s), "lifetime"),
                (u64::from(d.cipher.to_wire()), "cipher"),
                (u64::from(d.exit), "exit"),
                (u64::from(d.store), "store"),
                (d.addrs.len() as u64, "addresses"),
            ];
            for (got, key) in numbers {
                assert_eq!(got, case.number(key), "{}: {key}", case.name);
            }
        }
    }
}

fn one_invite(case: &Case) {
    let text = String::from_utf8(case.bytes("invite")).unwrap();
    match Invite::parse(&text) {
        Err(InviteError::Line(_)) => case.expect("Line"),
        Err(why) => case.expect(&format!("{why:?}")),
        Ok(invite) => {
            case.expect("ok");
            assert_eq!(invite.profile, case.text("profile"));
            assert_eq!(invite.charter.genesis, case.array("genesis"));
            let founders: Vec<u8> = invite.charter.founders().concat();
            assert_eq!(founders, case.bytes("founders"), "{}", case.name);
            let checkpoint =
                invite.checkpoint.map_or(Vec::new(), |(cut, root)| [&cut.0.to_be_bytes()[..], &root].concat());
            assert_eq!(checkpoint, case.bytes("checkpoint"), "{}", case.name);
            let key = invite.member.as_ref().map_or(Vec::new(), |key| key.encode().to_vec());
            assert_eq!(key, case.bytes("member"), "{}", case.name);
            assert_eq!(invite.relays.len() as u64, case.number("relays"));
            assert_eq!(invite.format().as_bytes(), case.bytes("written"), "{}", case.name);
        }
    }
}

fn one_roll(case: &Case) {
    let network = NetworkId(case.array("network"));
    let roll = match Roll::decode(&case.bytes("roll")) {
        Err(why) => return case.expect(&format!("{why:?}")),
        Ok(roll) => roll,
    };
    if roll.verify(Profile::PRIVATE.name, network).is_err() {
        return case.expect("Membership");
    }
    case.expect("ok");
    assert_eq!(roll.encode(), case.bytes("roll"), "{}", case.name);
    assert_eq!((u64::from(roll.founder()), roll.written.0), (case.number("founder"), case.number("written")));
    assert_eq!(roll.revoked().concat(), case.bytes("revoked"), "{}", case.name);
}

fn revoked(case: &Case) {
    case.expect("ok");
    let cut = UnixMs(case.number("cut"));
    let rolls = case.list("rolls");
    // In whatever order they come.
    for turn in 0..rolls.len() {
        let mut held = Rolls::new(NetworkId(case.array("network")), &Profile::PRIVATE);
        held.advance(cut);
        for roll in rolls.iter().cycle().skip(turn).take(rolls.len()) {
            assert_ne!(held.take(roll, cut), TakenRoll::Refused, "{}", case.name);
        }
        let keys: Vec<u8> = held.at(cut).iter().flatten().copied().collect();
        assert_eq!(keys, case.bytes("revoked"), "{}, from {turn}", case.name);
    }
}

fn custodians(case: &Case) {
    case.expect("ok");
    let network = NetworkId(case.array("network"));
    let cut = UnixMs(case.number("cut"));
    let beacon = rendezvous::beacon(network, cut, &Profile::TESTING, &case.array("last"));
    assert_eq!(beacon, case.array("beacon"));
    let (key, number): ([u8; 32], _) = (case.array("key"), case.number("number") as usize);
    assert_eq!(rendezvous::locate(&key), case.array("locator"));
    let (_, _, relays) = records(case, "records");
    let best: Vec<u8> = rendezvous::best(&beacon, &key, &relays, number).iter().flat_map(|r| r.0).collect();
    assert_eq!(best, case.bytes("best"), "{}", case.name);
}

fn records(case: &Case, key: &str) -> (NetworkId, UnixMs, Vec<Arc<SignedDescriptor>>) {
    let network = NetworkId(case.array("network"));
    let rules = Profile::TESTING.descriptor_rules(network);
    let read = |bytes: Vec<u8>| Arc::new(SignedDescriptor::decode(&bytes, &rules).expect("a good record"));
    (network, UnixMs(case.number("cut")), case.list(key).into_iter().map(read).collect())
}

/// Members, or why one of them is malformed.
fn members(case: &Case, key: &str) -> Result<Vec<Member>, Malformed> {
    let rules = Profile::TESTING.descriptor_rules(NetworkId(case.array("network")));
    let read = |bytes: Vec<u8>| {
        let mut r = Reader::new(&bytes);
        let member = MemberBytes::decode(&mut r)?;
        r.finish()?;
        let record = SignedDescriptor::decode(&member.record, &rules).expect("a good record");
        Member::from_wire(Arc::new(record), &member)
    };
    case.list(key).into_iter().map(read).collect()
}

fn assemble(case: &Case, cut: &str, beacon: &str, key: &str) -> Result<Snapshot, Unsettled> {
    let (cut, beacon) = (UnixMs(case.number(cut)), case.array(beacon));
    Snapshot::assemble(members(case, key)?, cut, beacon, &Profile::TESTING)
}

fn one_set(case: &Case) {
    match assemble(case, "cut", "beacon", "members") {
        Err(Unsettled::Malformed(why)) => case.expect(&format!("{why:?}")),
        Err(why @ (Unsettled::Misplaced | Unsettled::NoCut)) => case.expect(&format!("{why:?}")),
        Err(why) => panic!("{}: {why}", case.name),
        Ok(set) => {
            case.expect("ok");
            assert_eq!(set.root, case.array("root"), "{}", case.name);
        }
    }
}

fn settled(case: &Case) {
    case.expect("ok");
    let (network, cut, records) = records(case, "records");
    let profile = &Profile::TESTING;
    let before = case.has("before").then(|| assemble(case, "before", "old_beacon", "old_members").unwrap());
    let set = Snapshot::follow(before.as_ref(), heard_of(&records, cut), cut, profile, network);
    assert_eq!(set.members(), members(case, "members").unwrap(), "{}", case.name);
    assert_eq!((set.root, set.beacon), (case.array("root"), case.array("beacon")), "{}", case.name);
}

/// The group of a cut, and what its first members sign.
fn group(case: &Case) {
    case.expect("ok");
    let set = assemble(case, "cut", "beacon", "members").unwrap();
    let (network, next) = (NetworkId(case.array("network")), UnixMs(case.number("next")));
    let drawn: Vec<u8> = set.drawn(next, 5).iter().flat_map(|r| r.id().0).collect();
    assert_eq!(drawn, case.bytes("drawn"), "{}", case.name);
    let steps = Steps { group: 5, rounds: 5, round: Duration::from_secs(1) };
    let rungs = case.bytes("rungs");
    let rung = |r: &[u8; 65]| Rung { place: r[0], signature: *r[1..].first_chunk().unwrap() };
    let rungs: Vec<_> = rungs.as_chunks::<65>().0.iter().map(rung).collect();
    let key = Arc::new(IdentityKey::from_bytes([1; 32]));
    for (n, round) in [(3, 2), (2, 2), (1, 0)] {
        let mut ladder = Ladder::new(Group::new(network, &set, next, steps), RelayId([0; 32]), Arc::clone(&key));
        let at = next.plus(Duration::from_secs(round));
        let counts = ladder.climb(at, case.array("item"), Owner::Strangers, (), &rungs[..n]);
        assert_eq!(counts, n as u64 > round, "{}: {n} signatures in round {}", case.name, round + 1);
    }
}

fn changed(case: &Case) {
    let found = match Changes::decode(&case.bytes("changes")) {
        Err(why) => return case.expect(&format!("{why:?}")),
        Ok(found) => found,
    };
    case.expect("ok");
    assert_eq!(found.encode(), case.bytes("changes"), "{}", case.name);
    let before = assemble(case, "before", "old_beacon", "old_members").unwrap();
    let (cut, network) = (UnixMs(case.number("cut")), NetworkId(case.array("network")));
    let set = changes::apply(&before, &found, (cut, case.array("beacon")), &Profile::TESTING, network).unwrap();
    assert_eq!(set.members(), members(case, "members").unwrap(), "{}", case.name);
    assert_eq!(set.root, case.array("root"), "{}", case.name);
    let again = changes::between(&before, &set, &Profile::TESTING, network).expect("it follows");
    assert_eq!((again.gone, again.turned, again.new), (found.gone, found.turned, found.new), "{}", case.name);
}

fn statement(case: &Case) {
    let body = [&[5], &case.bytes("statement")[..]].concat();
    let (network, identity) = (NetworkId(case.array("network")), case.array("identity"));
    let s = match DirectoryAnswer::decode(&body) {
        Err(why) => return case.expect(&format!("{why:?}")),
        Ok(DirectoryAnswer::Statement(s)) => s,
        Ok(other) => panic!("{}: {other:?}", case.name),
    };
    match s.verify(network, &identity) {
        Err(why) => case.expect(&format!("{why:?}")),
        Ok(()) => {
            case.expect("ok");
            assert_eq!((s.cut.0, u64::from(s.count)), (case.number("cut"), case.number("count")));
            assert_eq!((s.root, s.beacon, s.relay.0), (case.array("root"), case.array("beacon"), case.array("relay")));
        }
    }
}

#[test]
fn directory() {
    for case in cases("directory") {
        match case.kind.as_str() {
            "descriptor" => one_descriptor(&case),
            "invite" => one_invite(&case),
            "roll" => one_roll(&case),
            "revoked" => revoked(&case),
            "custodians" => custodians(&case),
            "set" => one_set(&case),
            "settle" => settled(&case),
            "group" => group(&case),
            "changes" => changed(&case),
            "statement" => statement(&case),
            _ => unknown(&case),
        }
    }
}

/// An object built here and one built by the reference have the same blocks.
fn one_object(case: &Case) {
    case.expect("ok");
    let content = case.bytes("content");
    let kind = if case.number("type") == 2 { Kind::Directory } else { Kind::File };
    let label = Label {
        kind,
        manifest: case.number("manifest") as u32,
        mime: case.text("mime").into(),
        name: case.text("name").into(),
    };
    let read = Secret::new(case.array("key"));
    let is_convergent = case.has("convergent") && case.yes("convergent");
    let choice = if is_convergent { KeyChoice::Convergent } else { KeyChoice::Random(read) };
    let tree = Tree::build(&mut &content[..], label, choice).unwrap();
    assert_eq!(*tree.link().key.expose(), case.array("key"), "{}", case.name);
    assert_eq!(tree.link().root.0, case.array("root"), "{}", case.name);
    let names: Vec<u8> = tree.names().iter().flat_map(|a| a.0).collect();
    assert!(names == case.bytes("leaves"), "{}: leaves", case.name);
    let root = tree.upper_block(0).unwrap();
    if case.has("root_block") {
        assert!(root == case.bytes("root_block"), "{}: root block", case.name);
    }
    let opened = Opened::root(tree.link(), root).unwrap();
    assert_eq!(opened.meta.total, content.len() as u64);
    if names.is_empty() {
        assert!(opened.inline == content, "{}", case.name);
    }
}

fn block_class(why: BlockError) -> String {
    match why {
        BlockError::Malformed(m) => format!("{m:?}"),
        other => format!("{other:?}"),
    }
}

fn one_root(case: &Case) {
    let link = ContentLink { root: Address(case.array("root")), key: Secret::new(case.array("key")) };
    case.expect(&block_class(Opened::root(&link, &case.bytes("block")).err().expect("a refusal")));
}

fn one_node(case: &Case) {
    let verify = verify_key(&Secret::new(case.array("key")));
    let leaves = case.bytes("leaves");
    let leaves: Vec<_> = leaves.as_chunks::<32>().0.iter().map(|a| Address(*a)).collect();
    let number = case.number("number") as u32;
    if case.has("block") {
        let opened = block::open_node(&verify, number, case.bytes("block"), leaves.len() as u32);
        return case.expect(&block_class(opened.expect_err("a refusal")));
    }
    case.expect("ok");
    let sealed = block::seal_node(&verify, number, &leaves);
    assert_eq!(block::address(&sealed).0, case.array("address"), "{}", case.name);
    assert_eq!(block::open_node(&verify, number, sealed, leaves.len() as u32), Ok(leaves));
}

fn one_manifest(case: &Case) {
    match Manifest::decode(&case.bytes("manifest"), case.number("total")) {
        Err(why) => case.expect(&format!("{why:?}")),
        Ok(manifest) => {
            case.expect("ok");
            let paths: Vec<_> = manifest.entries().iter().map(|e| e.path.clone().into_bytes()).collect();
            assert_eq!(paths, case.list("paths"), "{}", case.name);
            let sizes: Vec<_> = manifest.entries().iter().map(|e| e.len).collect();
            assert_eq!(sizes, case.numbers("files"), "{}", case.name);
            assert_eq!(manifest.encode(), case.bytes("manifest"), "{}", case.name);
        }
    }
}

fn one_link(case: &Case) {
    match ContentLink::from_link_or_url(case.text("text")) {
        Err(why) => case.expect(&format!("{why:?}")),
        Ok((link, _)) => {
            case.expect("ok");
            assert_eq!((link.root.0, *link.key.expose()), (case.array("link_root"), case.array("link_key")));
            assert_eq!(link.to_string(), case.text("canonical"));
            assert_eq!(link.host(), case.text("host"));
            assert_eq!(link.verify_link().to_string(), case.text("verify_link"));
            assert_eq!(link.locator().0, case.array("locator"));
        }
    }
}

#[test]
fn content() {
    for case in cases("content") {
        match case.kind.as_str() {
            "object" => one_object(&case),
            "root" => one_root(&case),
            "node" => one_node(&case),
            "manifest" => one_manifest(&case),
            "link" => one_link(&case),
            _ => unknown(&case),
        }
    }
}
