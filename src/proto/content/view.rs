//! The verifying reader's half of a tree: every block is checked against its address before it is opened.

use super::block::{self, BlockError};
use super::tree::leaf_range;
use crate::base::secret::Secret;
use crate::wire::content::{LEAF_DATA, Meta, NODE_FAN, RootText, Shape};
use crate::wire::error::Malformed;
use crate::wire::ids::Address;
use crate::wire::umbel_link::{ContentLink, verify_key};
use std::collections::BTreeMap;

/// A root that was opened with its link.
pub struct Opened {
    /// The object's metadata.
    pub meta: Meta,
    /// The content, where the root holds it.
    pub inline: Vec<u8>,
    /// The way to all other blocks.
    pub view: View,
}

impl Opened {
    /// Checks and opens a root block.
    pub fn root(link: &ContentLink, block: &[u8]) -> Result<Self, BlockError> {
        let verify = verify_key(&link.key);
        let root = block::open_root(&link.root, &verify, block)?;
        let (meta, inline) = block::open_nested(&link.key, &root)?;
        let total = meta.total;
        let names = Names::new(verify, root);
        Ok(Self { meta, inline, view: View { names, read: link.key.clone(), total } })
    }
}

/// The addresses of an object's blocks, as far as its nodes are known. This needs the verify key only.
#[derive(Clone)]
pub struct Names {
    verify: Secret<32>,
    root: RootText,
    nodes: BTreeMap<u32, Vec<Address>>,
}

impl Names {
    fn new(verify: Secret<32>, root: RootText) -> Self {
        Self { verify, root, nodes: BTreeMap::new() }
    }

    /// How the object is cut into blocks.
    pub fn shape(&self) -> Shape {
        self.root.shape
    }

    /// The inner node above a leaf, where there are nodes.
    pub fn node_above(&self, leaf: u32) -> Option<u32> {
        (self.root.shape.nodes() > 0).then_some(leaf / NODE_FAN)
    }

    /// Whether the addresses under this node are known.
    pub fn has_node(&self, node: u32) -> bool {
        self.nodes.contains_key(&node)
    }

    /// Checks and opens an inner node. There are at most nine.
    pub fn take_node(&mut self, node: u32, sealed: Vec<u8>) -> Result<(), BlockError> {
        let shape = self.shape();
        let expected = self.root.children.get(node as usize).filter(|_| shape.nodes() > 0);
        block::check(expected.ok_or(Malformed::OutOfRange)?, &sealed)?;
        let names = block::open_node(&self.verify, node, sealed, shape.leaves_under(node))?;
        self.nodes.insert(node, names);
        Ok(())
    }

    /// A leaf's address, if the node above it is known.
    pub fn leaf(&self, leaf: u32) -> Option<Address> {
        match self.node_above(leaf) {
            None => self.root.children.get(leaf as usize).copied(),
            Some(node) => self.nodes.get(&node)?.get((leaf % NODE_FAN) as usize).copied(),
        }
    }
}

/// The way to an object's leaves, with the key that reads them.
#[derive(Clone)]
pub struct View {
    names: Names,
    read: Secret<32>,
    total: u64,
}

impl View {
    /// How the object is cut into blocks.
    pub fn shape(&self) -> Shape {
        self.names.shape()
    }

    /// The inner node that must be known before this leaf can be checked.
    pub fn node_needed(&self, leaf: u32) -> Option<u32> {
        self.names.node_above(leaf).filter(|n| !self.names.has_node(*n))
    }

    /// Checks and opens an inner node.
    pub fn take_node(&mut self, node: u32, sealed: Vec<u8>) -> Result<(), BlockError> {
        self.names.take_node(node, sealed)
    }

    /// Verifies and opens a leaf; returns its content.
    pub fn open_leaf(&self, leaf: u32, sealed: Vec<u8>) -> Result<Vec<u8>, BlockError> {
        // spec: CONT-20
        block::check(&self.names.leaf(leaf).ok_or(Malformed::OutOfRange)?, &sealed)?;
        block::open_leaf(&self.read, leaf, sealed, leaf_range(self.total, leaf).1)
    }

    /// The leaf that holds a byte of content.
    pub fn leaf_at(offset: u64) -> u32 {
        u32::try_from(offset / LEAF_DATA as u64).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::{KeyChoice, Label, Tree};
    use super::*;
    use crate::wire::content::ROOT_FAN;

    // spec: CONT-3
    #[test]
    fn a_verify_link_checks_every_block_and_reads_none() {
        let mut source = vec![7u8; (ROOT_FAN as usize + 1) * LEAF_DATA];
        source[0] = 1;
        let key = KeyChoice::Random(Secret::new([3; 32]));
        let tree = Tree::build(&mut source.as_slice(), Label::file("", ""), key).unwrap();
        let link = tree.link().verify_link();
        let root = block::open_root(&link.root, &link.key, tree.upper_block(0).unwrap()).unwrap();
        let mut names = Names::new(link.key, root);
        assert_eq!(names.leaf(5), None, "its node is not known yet");
        let mut changed = tree.upper_block(1).unwrap().to_vec();
        changed[9] ^= 1;
        assert_eq!(names.take_node(0, changed), Err(BlockError::Tampered));
        names.take_node(0, tree.upper_block(1).unwrap().to_vec()).unwrap();
        assert_eq!(names.leaf(5), tree.address(1 + 1 + 5));
        assert_eq!(names.leaf(ROOT_FAN + 1), None);
        let as_read = ContentLink { root: tree.link().root, key: tree.link().verify_link().key };
        assert_eq!(Opened::root(&as_read, tree.upper_block(0).unwrap()).err(), Some(BlockError::WrongKey));
    }
}
