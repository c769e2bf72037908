//! The good inputs that the fuzzer starts from. Written to `fuzz/corpus/` by
//! `cargo test --test spec write_seeds -- --ignored`.

use super::machines::{circuit_messages, link_messages};
use crate::base::secret::Secret;
use crate::base::time::UnixMs;
use crate::crypto::identity::IdentityKey;
use crate::wire::cell::{CELL_SIZE, Cell};
use crate::wire::content::manifest::Manifest;
use crate::wire::content::{Class, Kind, Meta, RootText, Shape};
use crate::wire::examples::{self, Example, relay};
use crate::wire::ids::Address;
use crate::wire::invite::Invite;
use crate::wire::membership::{Charter, MemberKey};
use crate::wire::message::{Message, StreamId, TextWriter};
use crate::wire::umbel_link::ContentLink;

/// One seed: its target, its name, its bytes.
pub type Seed = (&'static str, &'static str, Vec<u8>);

/// The seeds of all targets; no two of one target share a name.
pub fn all() -> Vec<Seed> {
    [cells(), messages(), links(), circuits(), descriptors(), directories(), contents(), stores(), texts()].concat()
}

fn tagged(which: u8, bytes: &[u8]) -> Vec<u8> {
    [&[which], bytes].concat()
}

fn cells() -> Vec<Seed> {
    let descriptor = relay(1).bytes().to_vec();
    let seed = |(name, cell): Example<Cell<'_>>| {
        let mut out = [0; CELL_SIZE];
        cell.encode(&mut out);
        ("cell", name, out.to_vec())
    };
    examples::cells(&descriptor).into_iter().map(seed).collect()
}

fn messages() -> Vec<Seed> {
    let examples = examples::messages();
    let stream_messages = examples.iter().map(|(_, m)| m).filter(|m| !m.is_for_circuit()).collect::<Vec<_>>();
    let one_each = examples.iter().map(|(name, message)| ("relay_message", *name, text(&[message])));
    one_each.chain([("relay_message", "several", text(&stream_messages))]).collect()
}

/// A text of these messages, those about a stream on stream 7, and a few of the zeros after them.
fn text(messages: &[&Message<'_>]) -> Vec<u8> {
    let mut out = vec![0; 1376];
    let mut w = TextWriter::new(&mut out);
    for message in messages {
        let stream = if message.is_for_circuit() { StreamId::CIRCUIT } else { StreamId(7) };
        assert!(w.push(stream, message), "a seed fits its text");
    }
    w.finish();
    let used = out.iter().rposition(|b| *b != 0).map_or(0, |n| n + 6);
    out.truncate(used);
    out
}

fn links() -> Vec<Seed> {
    let (first, second) = link_messages();
    let record = |name, script: &[u8]| ("link_record", name, script.to_vec());
    vec![
        ("link_handshake", "message_1", tagged(0, &first)),
        ("link_handshake", "message_2", tagged(1, &second)),
        ("link_handshake", "payload_1", vec![0, 1, 0, 0, 0, 0x6b, 0x49, 0xd2, 0]),
        ("link_handshake", "payload_2", vec![1, 1, 2, 0, 0, 0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 0]),
        record("one_cell", &[0, 0, 1]),
        record("split_in_parts", &[1, 0, 16, 2, 3, 2, 200, 0, 1, 2, 255]),
        record("changed_byte", &[0, 0, 2, 0, 3, 1, 77]),
        record("lost_bytes", &[1, 0, 2, 3, 9, 0, 1]),
    ]
}

fn circuits() -> Vec<Seed> {
    let (client, reply) = circuit_messages();
    let mut low_order = *client.request();
    low_order[34..66].fill(0);
    vec![
        ("circuit_handshake", "request", tagged(0, client.request())),
        ("circuit_handshake", "request_low_order", tagged(0, &low_order)),
        ("circuit_handshake", "reply", tagged(1, &*reply)),
    ]
}

fn descriptors() -> Vec<Seed> {
    let unsigned = |n| {
        let bytes = relay(n).bytes().to_vec();
        bytes[..bytes.len() - 64].to_vec()
    };
    vec![
        ("descriptor", "one_address", relay(1).bytes().to_vec()),
        ("descriptor", "exit_two_addresses", relay(2).bytes().to_vec()),
        ("descriptor", "to_be_signed", unsigned(1)),
        ("descriptor", "to_be_signed_family", unsigned(3)),
    ]
}

fn directories() -> Vec<Seed> {
    let requests = examples::directory_requests().into_iter().map(|(name, r)| ("directory", name, r.encode()));
    let reports = examples::reports().into_iter().map(|(name, r)| ("report", name, r.encode()));
    requests
        .chain(reports)
        .chain(examples::directory_answers().into_iter().map(|(name, a)| ("directory", name, a.encode())))
        .collect()
}

fn contents() -> Vec<Seed> {
    let meta = |kind, manifest, sha256| Meta {
        kind,
        total: 100,
        manifest,
        sha256,
        mime: "text/plain".into(),
        name: "a.txt".into(),
    };
    let root = |class, leaves| {
        let shape = Shape { class, leaves };
        let children = vec![Address([4; 32]); shape.children() as usize];
        let text = RootText { shape, children, nested: vec![0; shape.nested_text() + 16] }.encode();
        let end = text.iter().rposition(|b| *b != 0).map_or(0, |n| n + 1);
        text[..end].to_vec()
    };
    let manifest = |files: &[(&str, u64)]| {
        let files = files.iter().map(|(path, len)| ((*path).to_owned(), "text/html".to_owned(), *len));
        let m = Manifest::new(files).expect("good paths");
        [&m.total().to_be_bytes()[..], &m.encode()].concat()
    };
    vec![
        ("content_block", "small_root", tagged(0, &root(Class::Small, 0))),
        ("content_block", "large_root", tagged(1, &root(Class::Large, 3))),
        ("content_block", "meta_file", tagged(0, &meta(Kind::File, 0, Some([1; 32])).encode())),
        ("content_block", "meta_directory", tagged(0, &meta(Kind::Directory, 10, None).encode())),
        ("manifest", "two_files", manifest(&[("a/b.txt", 3), ("index.html", 0)])),
        ("manifest", "empty", manifest(&[])),
    ]
}

fn stores() -> Vec<Seed> {
    let requests = examples::store_requests().into_iter().map(|(name, r)| ("store", name, r.encode()));
    requests.chain(examples::store_answers().into_iter().map(|(name, a)| ("store", name, a.encode()))).collect()
}

/// An invite with every field.
fn private_invite() -> Invite {
    let founder = IdentityKey::from_bytes([1; 32]);
    let charter = Charter::private([3; 32], vec![founder.public(), [9; 32]]).expect("two founders");
    let network = charter.network("testing");
    let member = MemberKey::issue(&charter, network, &founder, Secret::new([4; 32]));
    let checkpoint = Some((UnixMs(60_000), [5; 32]));
    Invite { member, checkpoint, ..Invite::new("testing", charter, &[relay(1)]) }
}

fn texts() -> Vec<Seed> {
    let link = ContentLink { root: Address([1; 32]), key: Secret::new([2; 32]) };
    let invite = Invite::new("testing", Charter::open([3; 32]), &[relay(1), relay(2)]).format();
    let text = |target, name, text: &str| (target, name, text.as_bytes().to_vec());
    vec![
        text("umbel_link", "link", &link.to_string()),
        text("umbel_link", "verify_link", &link.verify_link().to_string()),
        text("umbel_link", "url", &format!("{}a/b.html?x", link.url())),
        text("invite", "two_relays", &invite),
        text("invite", "private", &private_invite().format()),
        text("invite", "cr_lf", &invite.replace('\n', "\r\n")),
        ("socks", "v5_host", b"\x05\x01\x00\x05\x01\x00\x03\x0bexample.org\x01\xbb".to_vec()),
        (
            "socks",
            "v5_login_ipv6",
            b"\x05\x02\x00\x02\x01\x01u\x01p\x05\x01\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x50".to_vec(),
        ),
        ("socks", "v5_resolve", b"\x05\x01\x00\x05\xf0\x00\x03\x0bexample.org\0\0".to_vec()),
        ("socks", "v4", b"\x04\x01\x00\x50\x01\x02\x03\x04user\0".to_vec()),
        ("socks", "v4a", b"\x04\x01\x00\x50\0\0\0\x01\0example.org\0".to_vec()),
        text("host", "name", "Example.ORG."),
        text("host", "encoded", "%6cocalhost"),
        text("host", "ipv4_short", "127.1"),
        text("host", "ipv4_hex", "0x7f.0.0.01"),
        text("host", "ipv6", "[::ffff:1.2.3.4]"),
        text("host", "ipv6_bare", "2001:db8::1"),
        text(
            "http_answer",
            "length",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5, 5\r\nETag: x\r\n\r\nhello",
        ),
        text(
            "http_answer",
            "chunked",
            "HTTP/1.1 200 OK\r\nConnection: x\r\nX: 1\r\nTransfer-Encoding: Chunked\r\n\r\n",
        ),
        text("http_answer", "old_and_folded", "HTTP/1.0 404\r\nX : a\n b\nno field\r\n\n"),
        text("http_answer", "interim", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
        text(
            "http_answer",
            "switched",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        ),
        text("http", "connect", "CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\nhello"),
        text(
            "http",
            "absolute",
            "GET http://example.org/a?b HTTP/1.1\r\nHost: example.org\r\nConnection: close, x\r\nX: 1\r\n\r\n",
        ),
        text(
            "http",
            "chunked",
            "POST http://[::1]:8080/ HTTP/1.1\r\nHost: [::1]:8080\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nT: 1\r\n\r\nGET",
        ),
        text(
            "http",
            "origin_length",
            "PUT /x HTTP/1.1\r\nHost: a.umbel\r\nContent-Length: 3\r\nProxy-Authorization: Basic YTpi\r\n\r\nabc",
        ),
        text("http", "http_1_0", "GET / HTTP/1.0\r\n\r\n"),
    ]
}
