//! The plaintext of content blocks (spec 11).
//!
//! ```text
//! root   members 32 | sealed under the verify key ( zero 32 | version u8 = 1 | zero 3 | leaves u32
//!        | children, 32 each | sealed under the read key ( meta | inline data | zeros ) tag 16 ) tag 16
//! node   sealed under the verify key ( addresses of leaves, 32 each | zeros ) tag 16
//! leaf   sealed under the read key ( content | zeros ) tag 16
//! meta   kind u8 | flags u8 | total u64 | manifest u32 | [SHA-256 32] | len8 MIME type | len8 name
//! ```
//!
//! Every number that can be computed is computed and not written: whether there are nodes, how many children the root
//! has, how long each leaf is. So an object has one form ([`Shape`]), and a second one is an error.
//!
//! *Seen by:* holders of the link; who holds the verify link sees roots and nodes without what lies under the read key;
//! a custodian sees `members` and ciphertext.

pub mod manifest;
pub mod store;

use crate::base::bytes::{Reader, Writer};
use crate::base::numbered::numbered;
use crate::crypto::aead::TAG_SIZE;
use crate::wire::error::Malformed;
use crate::wire::ids::Address;

/// Bytes of a block of the large class.
pub const LARGE: usize = 65_536;
/// Bytes of a block of the small class: roots that hold all their content themselves.
pub const SMALL: usize = 4_096;
/// Bytes of content in a leaf.
pub const LEAF_DATA: usize = LARGE - TAG_SIZE;
/// Leaves under one inner node.
pub const NODE_FAN: u32 = 2_047;
/// Children of a root.
pub const ROOT_FAN: u32 = 2_012;
/// Most bytes of content in one object (spec CONT-9).
pub const VOLUME_MAX: u64 = 1 << 30;
/// Most leaves of one object: what [`VOLUME_MAX`] needs.
pub const LEAVES_MAX: u32 = 16_389;
/// Most blocks of one object: root, inner nodes, leaves.
pub const BLOCKS_MAX: u32 = 1 + 9 + LEAVES_MAX;
/// Bytes at the front of a root's text that must be zero: they tie the root to one key (spec CONT-7).
pub const COMMIT_ZEROS: usize = 32;
/// Bytes of the clear commitment at the front of a root block.
pub const MEMBERS_SIZE: usize = 32;
/// Maximum length of a MIME type, in bytes.
pub const MIME_MAX: usize = 127;
/// Longest name of a file, in bytes of UTF-8.
pub const NAME_MAX: usize = 255;

const ROOT_VERSION: u8 = 1;
const ROOT_HEADER: usize = COMMIT_ZEROS + 8;
const FLAG_SHA256: u8 = 1;

numbered! {
    /// The two sizes of blocks.
    pub enum Class {
        /// 4,096 bytes.
        Small = 1,
        /// 65,536 bytes.
        Large = 2,
    }
}

impl Class {
    /// Bytes of a block.
    pub fn bytes(self) -> usize {
        match self {
            Self::Small => SMALL,
            Self::Large => LARGE,
        }
    }

    /// The class of a block of `len` bytes.
    pub fn of(len: usize) -> Option<Self> {
        [Self::Small, Self::Large].into_iter().find(|c| c.bytes() == len)
    }

    /// Bytes of a root's text: all but the commitment and the tag.
    pub fn root_text(self) -> usize {
        self.bytes().saturating_sub(MEMBERS_SIZE + TAG_SIZE)
    }
}

/// How an object is cut into blocks. Block 0 is the root, then come the inner nodes, then the leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The size of all blocks.
    pub class: Class,
    /// Leaves; none where the root holds the content.
    pub leaves: u32,
}

impl Shape {
    /// The one shape of content of `total` bytes whose meta has `meta` bytes. None above [`VOLUME_MAX`].
    pub fn of(total: u64, meta: usize) -> Option<Self> {
        if total > VOLUME_MAX {
            return None;
        }
        for class in [Class::Small, Class::Large] {
            let inline = Self { class, leaves: 0 };
            if total <= inline.nested_text().saturating_sub(meta) as u64 {
                return Some(inline);
            }
        }
        // At most 16,389, as VOLUME_MAX bounds it.
        Some(Self { class: Class::Large, leaves: total.div_ceil(LEAF_DATA as u64) as u32 })
    }

    /// Inner nodes: none where the root has room for all leaves.
    pub fn nodes(self) -> u32 {
        if self.leaves > ROOT_FAN { self.leaves.div_ceil(NODE_FAN) } else { 0 }
    }

    /// Children of the root.
    pub fn children(self) -> u32 {
        if self.nodes() > 0 { self.nodes() } else { self.leaves }
    }

    /// Number of blocks in all: leaves, inner nodes and the root.
    pub fn blocks(self) -> u32 {
        self.leaf_block(self.leaves)
    }

    /// The block that is leaf number `leaf`.
    pub fn leaf_block(self, leaf: u32) -> u32 {
        self.nodes().saturating_add(leaf).saturating_add(1)
    }

    /// Leaves under inner node `node`.
    pub fn leaves_under(self, node: u32) -> u32 {
        self.leaves.saturating_sub(node.saturating_mul(NODE_FAN)).min(NODE_FAN)
    }

    /// Bytes under the read key in the root: its text, without its tag.
    pub fn nested_text(self) -> usize {
        self.class.root_text().saturating_sub(ROOT_HEADER + TAG_SIZE).saturating_sub(self.children_size())
    }

    /// Bytes of the children's addresses in the root.
    fn children_size(self) -> usize {
        (self.children() as usize).saturating_mul(32)
    }
}

/// A root's text, open under the verify key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootText {
    /// How the object is cut into blocks.
    pub shape: Shape,
    /// Addresses of the inner nodes, or of the leaves where there are no nodes.
    pub children: Vec<Address>,
    /// What is sealed under the read key, with its tag.
    pub nested: Vec<u8>,
}

impl RootText {
    /// Encodes the text, padded with zeros to the length of its class.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.shape.class.root_text());
        let mut w = Writer::new(&mut out);
        w.put(&[0; COMMIT_ZEROS]).u8(ROOT_VERSION).put(&[0; 3]).u32(self.shape.leaves);
        for c in &self.children {
            w.put(&c.0);
        }
        w.put(&self.nested);
        debug_assert_eq!(out.len(), self.shape.class.root_text());
        out
    }

    /// Reads the text of a root of this class.
    pub fn decode(class: Class, text: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(text);
        // spec: CONT-7
        Reader::new(r.take(COMMIT_ZEROS)?).finish_zero()?;
        if r.u8()? != ROOT_VERSION {
            return Err(Malformed::UnknownVersion);
        }
        Reader::new(r.take(3)?).finish_zero()?;
        let shape = Shape { class, leaves: r.u32()? };
        // spec: CONT-9
        if shape.leaves > LEAVES_MAX || (class == Class::Small && shape.leaves > 0) {
            return Err(Malformed::OutOfRange);
        }
        let children = addresses(r.take(shape.children_size())?)?;
        let nested = r.rest().to_vec();
        if nested.len() != shape.nested_text().saturating_add(TAG_SIZE) {
            return Err(Malformed::Truncated);
        }
        Ok(Self { shape, children, nested })
    }
}

/// Reads concatenated addresses, 32 bytes each; a remainder is [`Malformed::TrailingBytes`].
pub fn addresses(bytes: &[u8]) -> Result<Vec<Address>, Malformed> {
    let (whole, rest) = bytes.as_chunks::<32>();
    if rest.is_empty() { Ok(whole.iter().map(|a| Address(*a)).collect()) } else { Err(Malformed::TrailingBytes) }
}

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One file.
    File,
    /// A manifest and the files it lists.
    Directory,
}

/// The metadata in the root, readable under the read key.
#[derive(Clone, PartialEq, Eq)]
pub struct Meta {
    /// File or directory.
    pub kind: Kind,
    /// Bytes of content, with the manifest of a directory.
    pub total: u64,
    /// Bytes of the manifest at the front of the content; zero in a file.
    pub manifest: u32,
    /// SHA-256 of the content, if the publisher computed it. Told to people; what protects them is the tree.
    pub sha256: Option<[u8; 32]>,
    /// The file's MIME type; may be empty.
    pub mime: String,
    /// The file's or directory's name; may be empty.
    pub name: String,
}

impl core::fmt::Debug for Meta {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Meta({:?}, {} bytes)", self.kind, self.total)
    }
}

impl Meta {
    /// Encodes the metadata as it is stored in a root or nested text.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        let mut w = Writer::new(&mut out);
        w.u8(match self.kind {
            Kind::File => 1,
            Kind::Directory => 2,
        });
        w.u8(if self.sha256.is_some() { FLAG_SHA256 } else { 0 }).u64(self.total).u32(self.manifest);
        if let Some(h) = &self.sha256 {
            w.put(h);
        }
        w.bytes8(self.mime.as_bytes()).bytes8(self.name.as_bytes());
        out
    }

    /// Decodes one and leaves `r` at the first byte after it.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let kind = match r.u8()? {
            1 => Kind::File,
            2 => Kind::Directory,
            _ => return Err(Malformed::UnknownKind),
        };
        let flags = r.u8()?;
        if flags & !FLAG_SHA256 != 0 {
            return Err(Malformed::UnknownKind);
        }
        let (total, manifest) = (r.u64()?, r.u32()?);
        let sha256 = if flags & FLAG_SHA256 != 0 { Some(r.array()?) } else { None };
        let mime = text(r.bytes8()?)?;
        let name = text(r.bytes8()?)?;
        let meta = Self { kind, total, manifest, sha256, mime: mime.to_owned(), name: name.to_owned() };
        meta.check()?;
        Ok(meta)
    }

    /// Whether the fields are in range and agree.
    pub fn check(&self) -> Result<(), Malformed> {
        check_mime(&self.mime)?;
        check_name(&self.name)?;
        let manifest = u64::from(self.manifest);
        let fits = match self.kind {
            Kind::File => manifest == 0,
            Kind::Directory => manifest > 0 && manifest <= self.total && manifest <= manifest::MANIFEST_MAX as u64,
        };
        if fits && self.total <= VOLUME_MAX { Ok(()) } else { Err(Malformed::OutOfRange) }
    }
}

fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    core::str::from_utf8(bytes).map_err(|_| Malformed::BadText)
}

/// A MIME type is printable ASCII, so it can be sent in an HTTP header as it is (spec CONT-11).
pub fn check_mime(mime: &str) -> Result<(), Malformed> {
    let printable = mime.bytes().all(|b| (0x20..0x7f).contains(&b));
    if printable && mime.len() <= MIME_MAX { Ok(()) } else { Err(Malformed::BadText) }
}

/// A name is empty, or one path component that every system can name and every program can show (spec CONT-11).
pub fn check_name(name: &str) -> Result<(), Malformed> {
    let odd = |c: char| c == '\\' || c.is_control();
    match name {
        "" => Ok(()),
        name if name.contains(odd) => Err(Malformed::BadText),
        name => manifest::check_component(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_object_has_the_most_blocks() {
        let shape = Shape::of(VOLUME_MAX, 100).unwrap();
        assert_eq!((shape.leaves, shape.nodes(), shape.blocks()), (LEAVES_MAX, 9, BLOCKS_MAX));
        assert_eq!(Shape::of(VOLUME_MAX + 1, 100), None);
        assert_eq!((0..shape.nodes()).map(|n| shape.leaves_under(n)).sum::<u32>(), shape.leaves);
    }

    #[test]
    fn each_shape_has_room_for_the_longest_meta() {
        let longest = Meta {
            kind: Kind::File,
            total: 0,
            manifest: 0,
            sha256: Some([1; 32]),
            mime: "m".repeat(MIME_MAX),
            name: "n".repeat(NAME_MAX),
        }
        .encode();
        for leaves in [0, 1, ROOT_FAN, ROOT_FAN + 1, LEAVES_MAX] {
            assert!(Shape { class: Class::Large, leaves }.nested_text() >= longest.len(), "{leaves}");
        }
    }

    #[test]
    fn small_content_lies_in_its_root() {
        let small = Shape { class: Class::Small, leaves: 0 }.nested_text() as u64;
        let large = Shape { class: Class::Large, leaves: 0 }.nested_text() as u64;
        assert_eq!(Shape::of(small - 50, 50).unwrap().class, Class::Small);
        assert_eq!(Shape::of(small - 49, 50), Some(Shape { class: Class::Large, leaves: 0 }));
        assert_eq!(Shape::of(large - 49, 50), Some(Shape { class: Class::Large, leaves: 1 }));
    }

    #[test]
    fn a_root_text_reads_back_and_a_second_form_is_an_error() {
        let shape = Shape { class: Class::Large, leaves: 3 };
        let nested = vec![9; shape.nested_text() + TAG_SIZE];
        let root = RootText { shape, children: vec![Address([1; 32]), Address([2; 32]), Address([3; 32])], nested };
        let text = root.encode();
        assert_eq!(RootText::decode(Class::Large, &text), Ok(root));
        for (at, value, error) in [
            (0, 1, Malformed::NonZeroPadding),
            (31, 1, Malformed::NonZeroPadding),
            (32, 2, Malformed::UnknownVersion),
            (33, 1, Malformed::NonZeroPadding),
            (36, 1, Malformed::OutOfRange),
        ] {
            let mut bad = text.clone();
            bad[at] = value;
            assert_eq!(RootText::decode(Class::Large, &bad), Err(error), "byte {at}");
        }
        assert_eq!(RootText::decode(Class::Small, &text), Err(Malformed::OutOfRange));
        assert_eq!(RootText::decode(Class::Large, &text[1..]), Err(Malformed::NonZeroPadding));
    }

    // spec: CONT-11
    #[test]
    fn meta_that_would_break_a_header_or_a_path_is_refused() {
        let good = Meta {
            kind: Kind::Directory,
            total: 9,
            manifest: 9,
            sha256: None,
            mime: "text/html; charset=utf-8".into(),
            name: "größe.txt".into(),
        };
        let read = |m: &Meta| Meta::decode(&mut Reader::new(&m.encode()));
        assert_eq!(read(&good), Ok(good.clone()));
        for bad in [
            Meta { mime: "text/html\r\nX: y".into(), ..good.clone() },
            Meta { name: "..".into(), ..good.clone() },
            Meta { name: "a/b".into(), ..good.clone() },
            Meta { name: "a\\b".into(), ..good.clone() },
            Meta { name: "a\u{1b}[2J".into(), ..good.clone() },
            Meta { manifest: 0, ..good.clone() },
            Meta { manifest: 10, ..good.clone() },
            Meta { kind: Kind::File, ..good.clone() },
            Meta { total: VOLUME_MAX + 1, ..good.clone() },
        ] {
            assert!(read(&bad).is_err());
        }
    }
}
