//! Sealing and opening single blocks.
//!
//! Every key seals one block only: it derives from the object's random key, the block's kind and its number.

use crate::base::bytes::Reader;
use crate::base::secret::Secret;
use crate::crypto::aead::{TAG_SIZE, open_once, seal_once};
use crate::crypto::hash::{DeriveStream, blake3, context, derive_secret};
use crate::wire::content::{Class, LARGE, LEAF_DATA, MEMBERS_SIZE, Meta, RootText, Shape, addresses};
use crate::wire::error::Malformed;
use crate::wire::ids::Address;

/// Why a block is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// Its bytes do not hash to its address: the sender changed it.
    #[error("the block's bytes do not match its address")]
    Tampered,
    /// It is the block its address names, but the key does not open it.
    #[error("the key does not open the block")]
    WrongKey,
    /// The key opens it, but its plaintext is not well formed: its publisher made it so.
    #[error("the block was made wrongly: {0}")]
    Malformed(#[from] Malformed),
}

/// What a key is for.
#[derive(Clone, Copy)]
enum Use {
    Root = 0,
    Node = 1,
    Leaf = 2,
    Nested = 3,
}

fn key(base: &Secret<32>, purpose: Use, number: u32) -> Secret<32> {
    // spec: CONT-3
    derive_secret(context::BLOCK_KEY, &[base.expose(), &[purpose as u8], &number.to_be_bytes()])
}

/// The address of a block: BLAKE3 of its ciphertext.
pub fn address(block: &[u8]) -> Address {
    // spec: CONT-1
    Address(blake3(block))
}

/// Checks a block against its address.
pub fn check(expected: &Address, block: &[u8]) -> Result<(), BlockError> {
    if address(block) == *expected { Ok(()) } else { Err(BlockError::Tampered) }
}

/// What a root commits to: the addresses of all other blocks, by index (spec CONT-8).
pub fn members(names: &[Address]) -> [u8; MEMBERS_SIZE] {
    let mut h = DeriveStream::new(context::MEMBERS);
    names.iter().for_each(|n| h.update(&n.0));
    h.finish()
}

/// The commitment at the front of a root block.
pub fn root_members(block: &[u8]) -> Result<[u8; MEMBERS_SIZE], Malformed> {
    Reader::new(block).array()
}

fn seal(key: &Secret<32>, aad: &[u8], mut text: Vec<u8>) -> Vec<u8> {
    let tag = seal_once(key, aad, &mut text);
    text.extend_from_slice(&tag);
    text
}

/// Opens text and tag in place; the text is what is left.
fn open(key: &Secret<32>, aad: &[u8], sealed: &mut Vec<u8>) -> Result<(), BlockError> {
    let len = sealed.len().checked_sub(TAG_SIZE).ok_or(Malformed::Truncated)?;
    open_once(key, aad, sealed).map_err(|_| BlockError::WrongKey)?;
    sealed.truncate(len);
    Ok(())
}

/// Seals leaf number `leaf`; `data` is at most [`LEAF_DATA`] bytes and is padded with zeros.
pub fn seal_leaf(read: &Secret<32>, leaf: u32, data: &[u8]) -> Vec<u8> {
    debug_assert!(data.len() <= LEAF_DATA);
    let mut text = Vec::with_capacity(LARGE);
    text.extend_from_slice(data);
    text.resize(LEAF_DATA, 0);
    seal(&key(read, Use::Leaf, leaf), &[], text)
}

/// Opens leaf number `leaf`, of which `len` bytes are content. Its address was checked before.
pub fn open_leaf(read: &Secret<32>, leaf: u32, mut block: Vec<u8>, len: usize) -> Result<Vec<u8>, BlockError> {
    open(&key(read, Use::Leaf, leaf), &[], &mut block)?;
    // spec: CONT-6
    Reader::new(block.get(len..).ok_or(Malformed::Truncated)?).finish_zero()?;
    block.truncate(len);
    Ok(block)
}

/// Seals inner node number `node`.
pub fn seal_node(verify: &Secret<32>, node: u32, leaves: &[Address]) -> Vec<u8> {
    let mut text = Vec::with_capacity(LARGE);
    leaves.iter().for_each(|a| text.extend_from_slice(&a.0));
    text.resize(LEAF_DATA, 0);
    seal(&key(verify, Use::Node, node), &[], text)
}

/// Opens inner node number `node`, under which `leaves` leaves hang. Its address was checked before.
pub fn open_node(verify: &Secret<32>, node: u32, mut block: Vec<u8>, leaves: u32) -> Result<Vec<Address>, BlockError> {
    open(&key(verify, Use::Node, node), &[], &mut block)?;
    let mut r = Reader::new(&block);
    let names = addresses(r.take(leaves as usize * 32)?)?;
    // spec: CONT-6
    r.finish_zero()?;
    Ok(names)
}

/// Seals a root. `inline` is the content itself where the shape has no leaves, else empty.
pub fn seal_root(read: &Secret<32>, verify: &Secret<32>, root: &RootParts<'_>) -> Vec<u8> {
    let mut nested = root.meta.encode();
    nested.extend_from_slice(root.inline);
    debug_assert!(nested.len() <= root.shape.nested_text());
    nested.resize(root.shape.nested_text(), 0);
    let nested = seal(&key(read, Use::Nested, 0), &[], nested);
    let text = RootText { shape: root.shape, children: root.children.to_vec(), nested }.encode();
    let mut block = Vec::with_capacity(root.shape.class.bytes());
    // spec: CONT-8
    block.extend_from_slice(&root.members);
    block.extend_from_slice(&seal(&key(verify, Use::Root, 0), &root.members, text));
    block
}

/// What a root is made of.
pub struct RootParts<'a> {
    /// How the object is cut into blocks.
    pub shape: Shape,
    /// Its plaintext under the read key.
    pub meta: &'a Meta,
    /// Addresses of its children.
    pub children: &'a [Address],
    /// The content, where it has no children.
    pub inline: &'a [u8],
    /// [`members`] of all other blocks.
    pub members: [u8; MEMBERS_SIZE],
}

/// Checks a root block against its address and opens it under the verify key.
pub fn open_root(expected: &Address, verify: &Secret<32>, block: &[u8]) -> Result<RootText, BlockError> {
    // spec: CONT-20
    check(expected, block)?;
    let class = Class::of(block.len()).ok_or(Malformed::OutOfRange)?;
    let (members, sealed) = block.split_at_checked(MEMBERS_SIZE).ok_or(Malformed::Truncated)?;
    let mut text = sealed.to_vec();
    open(&key(verify, Use::Root, 0), members, &mut text)?;
    Ok(RootText::decode(class, &text)?)
}

/// Opens what is sealed under the read key in a root: the meta, and the content where it has no leaves.
pub fn open_nested(read: &Secret<32>, root: &RootText) -> Result<(Meta, Vec<u8>), BlockError> {
    let mut text = root.nested.clone();
    open(&key(read, Use::Nested, 0), &[], &mut text)?;
    let mut r = Reader::new(&text);
    let meta = Meta::decode(&mut r)?;
    // The shape follows from the content; a second one is an error.
    // spec: CONT-10
    if Shape::of(meta.total, text.len() - r.len()) != Some(root.shape) {
        return Err(Malformed::NotCanonical.into());
    }
    let inline = if root.shape.leaves == 0 { r.take(meta.total as usize)?.to_vec() } else { Vec::new() };
    r.finish_zero()?;
    Ok((meta, inline))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::content::{Kind, SMALL};
    use crate::wire::umbel_link::verify_key;

    fn small(read: &Secret<32>, total: u64, inline: &[u8]) -> (Address, Vec<u8>) {
        let meta = Meta { kind: Kind::File, total, manifest: 0, sha256: None, mime: "a/b".into(), name: "n".into() };
        let shape = Shape { class: Class::Small, leaves: 0 };
        let parts = RootParts { shape, meta: &meta, children: &[], inline, members: members(&[]) };
        let block = seal_root(read, &verify_key(read), &parts);
        (address(&block), block)
    }

    // spec: CONT-20
    #[test]
    fn a_root_tells_tampering_from_a_wrong_key() {
        let read = Secret::new([1; 32]);
        let (root, block) = small(&read, 5, b"hello");
        assert_eq!(block.len(), SMALL);
        let text = open_root(&root, &verify_key(&read), &block).unwrap();
        assert_eq!(open_nested(&read, &text).map(|(m, d)| (m.name, d)), Ok(("n".to_owned(), b"hello".to_vec())));
        for at in [0, 31, 32, 100, SMALL - 1] {
            let mut bad = block.clone();
            bad[at] ^= 1;
            assert_eq!(open_root(&root, &verify_key(&read), &bad), Err(BlockError::Tampered));
            // Even under its own address a changed root does not open: the commitment is authenticated, too.
            assert_eq!(open_root(&address(&bad), &verify_key(&read), &bad), Err(BlockError::WrongKey));
        }
        let wrong = Secret::new([2; 32]);
        assert_eq!(open_root(&root, &verify_key(&wrong), &block), Err(BlockError::WrongKey));
        assert_eq!(open_nested(&wrong, &text), Err(BlockError::WrongKey), "the verify key does not read");
        assert_eq!(open_nested(&verify_key(&read), &text), Err(BlockError::WrongKey));
    }

    // spec: CONT-6
    #[test]
    fn padding_is_checked() {
        let read = Secret::new([1; 32]);
        // The publisher says 4 bytes and hides a fifth.
        let (root, block) = small(&read, 4, b"hello");
        let text = open_root(&root, &verify_key(&read), &block).unwrap();
        assert_eq!(open_nested(&read, &text), Err(Malformed::NonZeroPadding.into()));
        let leaf = seal_leaf(&read, 7, b"hello");
        assert_eq!(leaf.len(), LARGE);
        assert_eq!(open_leaf(&read, 7, leaf.clone(), 5), Ok(b"hello".to_vec()));
        assert_eq!(open_leaf(&read, 7, leaf.clone(), 4), Err(Malformed::NonZeroPadding.into()));
        assert_eq!(open_leaf(&read, 8, leaf, 5), Err(BlockError::WrongKey), "a leaf has its place");
        let names = [Address([1; 32]), Address([2; 32])];
        let node = seal_node(&read, 0, &names);
        assert_eq!(open_node(&read, 0, node.clone(), 2), Ok(names.to_vec()));
        assert_eq!(open_node(&read, 0, node, 1), Err(Malformed::NonZeroPadding.into()));
    }
}
