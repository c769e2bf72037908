//! Entry points for the fuzzer, and for the replay of what it found: any bytes must either be refused or be what their
//! writer would have written.

#[cfg(feature = "cli")]
pub mod local;
pub mod machines;
pub mod seeds;

use crate::base::bytes::Reader;
use crate::base::host::Host;
use crate::crypto::identity::IdentityKey;
use crate::crypto::work::WorkParams;
use crate::wire::cell::{CELL_SIZE, Cell, CellBuf};
use crate::wire::content::manifest::Manifest;
use crate::wire::content::store;
use crate::wire::content::{Class, Meta, RootText};
use crate::wire::descriptor::{DescriptorRules, SignedDescriptor};
use crate::wire::directory;
use crate::wire::ids;
use crate::wire::invite::Invite;
use crate::wire::message::{Messages, TextWriter};
use crate::wire::umbel_link::{ContentLink, VerifyLink};

/// What a fuzz target is: it takes any bytes and panics where a promise is broken.
pub type Target = fn(&[u8]);

/// All targets, by the names of their files in `fuzz/`.
pub const TARGETS: &[(&str, Target)] = &[
    ("cell", cell),
    ("circuit_handshake", machines::circuit_handshake),
    ("content_block", content_block),
    ("descriptor", descriptor),
    ("directory", directory),
    ("host", host),
    #[cfg(feature = "cli")]
    ("http", local::http),
    #[cfg(feature = "cli")]
    ("http_answer", local::http_answer),
    ("invite", invite),
    ("link_handshake", machines::link_handshake),
    ("link_record", machines::link_record),
    ("manifest", manifest),
    ("relay_message", relay_message),
    #[cfg(feature = "cli")]
    ("socks", local::socks),
    ("store", store),
    ("umbel_link", umbel_link),
];

/// The network of all targets.
pub(crate) use crate::wire::examples::NETWORK;
const NO_WORK: WorkParams = WorkParams { bits: 2, effort: 0 };
/// What a descriptor must keep to here.
pub(crate) const RULES: DescriptorRules = DescriptorRules {
    network: NETWORK,
    work: NO_WORK,
    private_addrs: true,
    lifetime_max_s: u32::MAX,
    members_of: None,
};

/// Bytes of a fixed length, filled up with zeros; `None` if there are more.
pub(crate) fn padded<const N: usize>(bytes: &[u8]) -> Option<Box<[u8; N]>> {
    let mut out = Box::new([0; N]);
    out.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(out)
}

/// A cell, filled up with zeros.
pub fn cell(bytes: &[u8]) {
    let Some(buf) = padded::<CELL_SIZE>(bytes) else { return };
    if let Ok(value) = Cell::decode(&buf) {
        let mut again: CellBuf = [0xee; CELL_SIZE];
        value.encode(&mut again);
        assert_eq!(*buf, again);
    }
}

/// A host name or address as a program writes it. Whatever its spelling, its one form reads as itself and is judged alike.
pub fn host(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    let Ok(host) = Host::parse(text) else { return };
    let form = match &host {
        Host::Ip(ip) => ip.to_string(),
        Host::Name(name) => name.clone(),
    };
    assert_eq!(Host::parse(&form), Ok(host.clone()), "the one form reads as another host");
    assert_eq!(Host::parse(&form.to_ascii_uppercase()), Ok(host.clone()), "case makes a difference");
    assert!(host.may_leave(true) || !host.may_leave(false), "a test network allows no less");
}

/// The text of an opened onion, after its mark.
pub fn relay_message(bytes: &[u8]) {
    let mut walk = Messages::new(bytes);
    let mut all = Vec::new();
    loop {
        match walk.next() {
            Ok(Some(message)) => all.push(message),
            Ok(None) => break,
            Err(_) => return,
        }
    }
    let mut again = vec![0xee; bytes.len()];
    let mut writer = TextWriter::new(&mut again);
    for (stream, message) in &all {
        assert!(writer.push(*stream, message), "what was read fits where it stood");
    }
    writer.finish();
    assert_eq!(bytes, again);
}

/// A descriptor as it is; and again with network, identity and signature set right, so that the rest is reached.
pub fn descriptor(bytes: &[u8]) {
    if let Ok(d) = SignedDescriptor::decode(bytes, &RULES) {
        assert_eq!(d.bytes(), bytes);
    }
    let key = IdentityKey::from_bytes([7; 32]);
    let mut body = bytes.to_vec();
    // version, flags, cipher; network; identity.
    let Some(ids) = body.get_mut(3..67) else { return };
    ids.copy_from_slice(&[NETWORK.0, key.public()].concat());
    let signature = key.sign(crate::crypto::identity::Purpose::Descriptor, &body);
    body.extend_from_slice(&signature);
    if let Ok(d) = SignedDescriptor::decode(&body, &RULES) {
        assert_eq!(SignedDescriptor::sign((*d).clone(), &key).bytes(), body);
        assert!(body.len() <= crate::wire::descriptor::DESCRIPTOR_MAX);
    }
}

/// A directory's request or answer.
pub fn directory(bytes: &[u8]) {
    if let Ok(request) = directory::DirectoryRequest::decode(bytes) {
        assert_eq!(request.encode(), bytes);
    }
    if let Ok(answer) = directory::DirectoryAnswer::decode(bytes) {
        assert_eq!(answer.encode(), bytes);
    }
}

/// An invite as it is; and again with its checksum set right, so that the lines are reached.
pub fn invite(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    let body = text.rsplit_once("check ").map_or(text, |(body, _)| body);
    let hash = ids::to_text(&crate::crypto::hash::blake3(body.as_bytes()));
    for text in [text, &format!("{body}check {hash}\n")] {
        if let Ok(invite) = Invite::parse(text) {
            assert_eq!(Invite::parse(&invite.format()).as_ref(), Ok(&invite));
            let _ = invite.seeds(&RULES);
        }
    }
}

/// A root's text (its class by the first byte), and what it says under the read key.
pub fn content_block(bytes: &[u8]) {
    let Some((&which, text)) = bytes.split_first() else { return };
    let class = if which & 1 == 0 { Class::Small } else { Class::Large };
    let mut whole = text.to_vec();
    whole.resize(class.root_text(), 0);
    if let Ok(root) = RootText::decode(class, &whole) {
        assert_eq!(root.encode(), whole);
    }
    let mut reader = Reader::new(text);
    if let Ok(meta) = Meta::decode(&mut reader) {
        let taken = text.len() - reader.len();
        assert_eq!(meta.encode(), text[..taken]);
    }
}

/// The length of all content, then a manifest.
pub fn manifest(bytes: &[u8]) {
    let Some((total, bytes)) = bytes.split_first_chunk() else { return };
    if let Ok(manifest) = Manifest::decode(bytes, u64::from_be_bytes(*total)) {
        assert_eq!(manifest.encode(), bytes);
        assert_eq!(manifest.encoded_len(), bytes.len());
        for entry in manifest.entries() {
            assert_eq!(manifest.find(&entry.path), Some(entry));
            let end = entry.offset.checked_add(entry.len);
            assert!(end.is_some_and(|end| end <= manifest.total()) && entry.offset >= bytes.len() as u64);
        }
    }
}

/// A store's request or answer.
pub fn store(bytes: &[u8]) {
    if let Ok(request) = store::StoreRequest::decode(bytes) {
        assert_eq!(request.encode(), bytes);
    }
    if let Ok(answer) = store::StoreAnswer::decode(bytes) {
        assert_eq!(answer.encode(), bytes);
    }
}

/// A link that somebody typed.
pub fn umbel_link(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    if let Ok((link, path)) = ContentLink::from_link_or_url(text) {
        assert!(ContentLink::from_host(&link.host()).is_ok_and(|l| l == link));
        assert!(link.to_string().parse::<ContentLink>().is_ok_and(|l| l == link));
        assert!(text.ends_with(path));
    }
    if let Ok(link) = text.parse::<VerifyLink>() {
        assert!(link.to_string().parse::<VerifyLink>().is_ok_and(|l| l == link));
    }
}
