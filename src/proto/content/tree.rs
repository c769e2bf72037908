//! From a file to an object: one pass over the content, holding one leaf at a time.
//!
//! A [`Tree`] keeps the root, the inner nodes and all addresses (about 1 MB for the largest object). Leaves are not kept:
//! their keys derive from the read key and their number, so [`Tree::seal_leaf`] makes one again when it is to be sent.

use super::block::{self, RootParts};
use crate::base::secret::Secret;
use crate::crypto::hash::{DeriveStream, Sha256Stream, context, derive_secret};
use crate::wire::content::{Kind, LEAF_DATA, Meta, NODE_FAN, Shape, VOLUME_MAX};
use crate::wire::error::Malformed;
use crate::wire::ids::Address;
use crate::wire::umbel_link::{ContentLink, verify_key};
use std::io;

/// Content that can be read at any place, more than once, and does not change in between.
pub trait Source {
    /// Bytes of content.
    fn len(&self) -> u64;

    /// Fills `out` with the bytes from `offset` on. Fewer bytes than that are an error.
    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> io::Result<()>;
}

impl Source for &[u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let bytes = self.get(from..).and_then(|b| b.get(..out.len())).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }
}

impl<S: Source + ?Sized> Source for Box<S> {
    fn len(&self) -> u64 {
        (**self).len()
    }

    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        (**self).read_at(offset, out)
    }
}

/// Where an object's read key comes from.
pub enum KeyChoice {
    /// Fresh random bytes: nobody can tell what the object is without the link.
    Random(Secret<32>),
    /// From the content: the same file gives the same link, and whoever has the file can tell that it is stored.
    Convergent,
}

/// What an object is to be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// File or directory.
    pub kind: Kind,
    /// Bytes of the manifest at the front of a directory's content.
    pub manifest: u32,
    /// MIME type of a file.
    pub mime: String,
    /// Name of the file or directory.
    pub name: String,
}

impl Label {
    /// The label of a single file; `name` and `mime` are stored in its metadata.
    pub fn file(name: &str, mime: &str) -> Self {
        Self { kind: Kind::File, manifest: 0, mime: mime.to_owned(), name: name.to_owned() }
    }
}

/// Why content cannot become an object.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// It is larger than one object can be.
    #[error("{0} bytes are more than one object holds (1 GiB); split it into several")]
    TooLarge(u64),
    /// The name or MIME type cannot be written.
    #[error("the name or type cannot be published: {0}")]
    Label(Malformed),
    /// The content cannot be read.
    #[error("the content cannot be read: {0}")]
    Read(#[from] io::Error),
    /// The content changed after the object was made.
    #[error("the content changed while it was being published")]
    Changed,
}

/// An object that is being made. Call [`Builder::step`] until it returns the tree.
pub struct Builder {
    key: Secret<32>,
    verify: Secret<32>,
    meta: Meta,
    shape: Shape,
    hash: Sha256Stream,
    /// The content once more and what its digest must be, where the key came from it.
    again: Option<(DeriveStream, [u8; 32])>,
    leaves: Vec<Address>,
    scratch: Vec<u8>,
}

impl Builder {
    /// Starts an object. With a convergent key this reads the whole content once.
    pub fn new(source: &mut impl Source, label: Label, key: KeyChoice) -> Result<Self, BuildError> {
        let total = source.len();
        // spec: CONT-9
        if total > VOLUME_MAX {
            return Err(BuildError::TooLarge(total));
        }
        // The hash is not known yet; only its length counts here.
        let Label { kind, manifest, mime, name } = label;
        let meta = Meta { kind, total, manifest, sha256: Some([0; 32]), mime, name };
        meta.check().map_err(BuildError::Label)?;
        let shape = Shape::of(total, meta.encode().len()).ok_or(BuildError::TooLarge(total))?;
        let (key, again) = match key {
            KeyChoice::Random(key) => (key, None),
            KeyChoice::Convergent => {
                let digest = content_digest(source)?;
                // The whole plaintext goes in, with name and type: the key must seal one text only.
                // spec: CONT-3
                let key = derive_secret(context::CONVERGENT, &[&digest, &meta.encode()]);
                (key, Some((DeriveStream::new(context::CONVERGENT), digest)))
            }
        };
        let verify = verify_key(&key);
        let (hash, leaves, scratch) = (Sha256Stream::default(), Vec::new(), Vec::new());
        Ok(Self { key, verify, meta, shape, hash, again, leaves, scratch })
    }

    /// Reads and seals the next leaf; gives the tree when all are done.
    pub fn step(&mut self, source: &mut impl Source) -> Result<Option<Tree>, BuildError> {
        let leaf = self.leaves.len() as u32;
        if leaf < self.shape.leaves {
            let (offset, len) = leaf_range(self.meta.total, leaf);
            self.read(source, offset, len)?;
            self.leaves.push(block::address(&block::seal_leaf(&self.key, leaf, &self.scratch)));
            return Ok(None);
        }
        if self.shape.leaves == 0 {
            self.read(source, 0, self.meta.total as usize)?;
        } else {
            self.scratch = Vec::new();
        }
        // spec: CONT-13
        if self.again.take().is_some_and(|(h, digest)| h.finish() != digest) {
            return Err(BuildError::Changed);
        }
        Ok(Some(self.finish()))
    }

    /// Bytes read so far, for a progress bar.
    pub fn done(&self) -> u64 {
        (self.leaves.len() as u64 * LEAF_DATA as u64).min(self.meta.total)
    }

    fn read(&mut self, source: &mut impl Source, offset: u64, len: usize) -> Result<(), BuildError> {
        self.scratch.resize(len, 0);
        source.read_at(offset, &mut self.scratch)?;
        self.hash.update(&self.scratch);
        if let Some((h, _)) = &mut self.again {
            h.update(&self.scratch);
        }
        Ok(())
    }

    fn finish(&mut self) -> Tree {
        self.meta.sha256 = Some(core::mem::take(&mut self.hash).finish());
        let leaves = core::mem::take(&mut self.leaves);
        let mut upper = vec![Vec::new()];
        let mut names = Vec::new();
        if self.shape.nodes() > 0 {
            for (node, under) in leaves.chunks(NODE_FAN as usize).enumerate() {
                let sealed = block::seal_node(&self.verify, node as u32, under);
                names.push(block::address(&sealed));
                upper.push(sealed);
            }
        }
        names.extend_from_slice(&leaves);
        let parts = RootParts {
            shape: self.shape,
            meta: &self.meta,
            children: names.get(..self.shape.children() as usize).unwrap_or_default(),
            inline: &self.scratch,
            members: block::members(&names),
        };
        let root = block::seal_root(&self.key, &self.verify, &parts);
        let link = ContentLink { root: block::address(&root), key: self.key.clone() };
        if let Some(first) = upper.first_mut() {
            *first = root;
        }
        Tree { link, shape: self.shape, meta: self.meta.clone(), upper, names }
    }
}

/// One pass over content for a key that comes from it.
fn content_digest(source: &mut impl Source) -> Result<[u8; 32], BuildError> {
    let mut h = DeriveStream::new(context::CONVERGENT);
    let (mut at, mut buf) = (0, vec![0; LEAF_DATA]);
    while at < source.len() {
        let n = (source.len() - at).min(LEAF_DATA as u64) as usize;
        let piece = buf.get_mut(..n).unwrap_or_default();
        source.read_at(at, piece)?;
        h.update(piece);
        at += n as u64;
    }
    Ok(h.finish())
}

/// Where leaf number `leaf` begins in content of `total` bytes, and how many bytes it holds.
pub fn leaf_range(total: u64, leaf: u32) -> (u64, usize) {
    let offset = u64::from(leaf) * LEAF_DATA as u64;
    (offset, total.saturating_sub(offset).min(LEAF_DATA as u64) as usize)
}

/// A finished object: its link, its upper blocks, and the addresses of all.
pub struct Tree {
    link: ContentLink,
    shape: Shape,
    meta: Meta,
    upper: Vec<Vec<u8>>,
    names: Vec<Address>,
}

impl Tree {
    /// Makes an object in one go.
    #[cfg(feature = "unstable")]
    pub fn build(source: &mut impl Source, label: Label, key: KeyChoice) -> Result<Self, BuildError> {
        let mut builder = Builder::new(source, label, key)?;
        loop {
            if let Some(tree) = builder.step(source)? {
                return Ok(tree);
            }
        }
    }

    /// The link that reads it.
    pub fn link(&self) -> &ContentLink {
        &self.link
    }

    /// How it is cut into blocks.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The metadata in its root.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Addresses of blocks 1, 2, ...
    pub fn names(&self) -> &[Address] {
        &self.names
    }

    /// The address of any block.
    pub fn address(&self, index: u32) -> Option<Address> {
        match index.checked_sub(1) {
            None => Some(self.link.root),
            Some(at) => self.names.get(at as usize).copied(),
        }
    }

    /// The root (index 0) or an inner node; nothing for a leaf.
    pub fn upper_block(&self, index: u32) -> Option<&[u8]> {
        self.upper.get(index as usize).map(Vec::as_slice)
    }

    /// The number of the leaf that is block `index`; none for the root and inner nodes.
    pub fn leaf_of(&self, index: u32) -> Option<u32> {
        index.checked_sub(1 + self.shape.nodes()).filter(|l| *l < self.shape.leaves)
    }

    /// Makes leaf number `leaf` again.
    pub fn seal_leaf(&self, source: &mut impl Source, leaf: u32) -> Result<Vec<u8>, BuildError> {
        let (offset, len) = leaf_range(self.meta.total, leaf);
        let mut data = vec![0; len];
        source.read_at(offset, &mut data)?;
        let sealed = block::seal_leaf(&self.link.key, leaf, &data);
        // A second text under one key would give both away: it must not leave this function.
        // spec: CONT-13
        if self.address(self.shape.leaf_block(leaf)) == Some(block::address(&sealed)) {
            Ok(sealed)
        } else {
            Err(BuildError::Changed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::{Opened, View};
    use super::*;
    use crate::wire::content::{ROOT_FAN, SMALL};

    struct Zeros(u64);
    impl Source for Zeros {
        fn len(&self) -> u64 {
            self.0
        }
        fn read_at(&mut self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            out.fill((offset / LEAF_DATA as u64) as u8);
            Ok(())
        }
    }

    fn random() -> KeyChoice {
        KeyChoice::Random(Secret::new([3; 32]))
    }

    fn read_back(tree: &Tree, source: &mut impl Source, leaf: u32) -> Vec<u8> {
        let opened = Opened::root(tree.link(), tree.upper_block(0).unwrap()).unwrap();
        let mut view: View = opened.view;
        for node in 0..view.shape().nodes() {
            view.take_node(node, tree.upper_block(1 + node).unwrap().to_vec()).unwrap();
        }
        view.open_leaf(leaf, tree.seal_leaf(source, leaf).unwrap()).unwrap()
    }

    #[test]
    fn content_of_every_size_comes_back() {
        for len in [0usize, 1, 3_900, 4_000, 65_000, 65_400, 65_520, 65_521, 200_000] {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 7 % 251) as u8).collect();
            let mut source = bytes.as_slice();
            let tree = Tree::build(&mut source, Label::file("a.bin", "x/y"), random()).unwrap();
            assert_eq!(tree.upper_block(0).unwrap().len(), tree.shape().class.bytes());
            let opened = Opened::root(tree.link(), tree.upper_block(0).unwrap()).unwrap();
            assert_eq!(opened.meta.sha256, Some(crate::crypto::hash::sha256(&[&bytes])));
            let got: Vec<u8> = if tree.shape().leaves == 0 {
                opened.inline
            } else {
                (0..tree.shape().leaves).flat_map(|l| read_back(&tree, &mut source, l)).collect()
            };
            assert!(got == bytes, "{len}");
        }
    }

    #[test]
    fn a_large_object_has_inner_nodes() {
        let mut source = Zeros(u64::from(ROOT_FAN + 1) * LEAF_DATA as u64);
        let tree = Tree::build(&mut source, Label::file("", ""), random()).unwrap();
        assert_eq!((tree.shape().nodes(), tree.shape().leaves), (1, ROOT_FAN + 1));
        assert_eq!(tree.names().len() as u32 + 1, tree.shape().blocks());
        assert_eq!(read_back(&tree, &mut source, ROOT_FAN), vec![ROOT_FAN as u8; LEAF_DATA]);
    }

    // spec: CONT-9
    #[test]
    fn more_than_a_volume_is_refused_at_once() {
        let made = Builder::new(&mut Zeros(VOLUME_MAX + 1), Label::file("", ""), KeyChoice::Convergent);
        assert!(matches!(made, Err(BuildError::TooLarge(_))));
    }

    // spec: CONT-3
    #[test]
    fn equal_content_has_equal_links_only_when_asked() {
        let build = |bytes: &[u8], name: &str| {
            let mut source = bytes;
            Tree::build(&mut source, Label::file(name, ""), KeyChoice::Convergent).unwrap().link().clone()
        };
        let a = build(&[5; 100_000], "a");
        assert!(a == build(&[5; 100_000], "a"));
        assert!(a.key != build(&[5; 100_000], "b").key, "the name is part of what the key seals");
        assert!(a.key != build(&[5; 100_001], "a").key);
    }

    // spec: CONT-13
    #[test]
    fn a_file_that_changes_meanwhile_gives_no_second_text_under_a_key() {
        let tree = Tree::build(&mut [5u8; 100_000].as_slice(), Label::file("a", ""), random()).unwrap();
        let changed = tree.seal_leaf(&mut [6u8; 100_000].as_slice(), 1);
        assert!(matches!(changed, Err(BuildError::Changed)));
        assert!(matches!(tree.seal_leaf(&mut [5u8; 9].as_slice(), 0), Err(BuildError::Read(_))));
    }

    // spec: CONT-13
    #[test]
    fn a_file_that_changes_between_two_readings_has_no_convergent_key() {
        let mut builder =
            Builder::new(&mut [5u8; 100_000].as_slice(), Label::file("a", ""), KeyChoice::Convergent).unwrap();
        let mut changed = [6u8; 100_000].as_slice();
        let end = core::iter::repeat_with(|| builder.step(&mut changed)).find(|r| !matches!(r, Ok(None)));
        assert!(matches!(end, Some(Err(BuildError::Changed))));
        let mut builder = Builder::new(&mut [5u8; 9].as_slice(), Label::file("a", ""), KeyChoice::Convergent).unwrap();
        assert!(matches!(builder.step(&mut [6u8; 9].as_slice()), Err(BuildError::Changed)));
    }

    #[test]
    fn a_small_file_is_one_small_block() {
        let tree = Tree::build(&mut b"hello".as_slice(), Label::file("a", ""), random()).unwrap();
        assert_eq!((tree.shape().blocks(), tree.upper_block(0).map(<[u8]>::len)), (1, Some(SMALL)));
    }
}
