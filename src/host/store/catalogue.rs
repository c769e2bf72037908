//! The catalogue: a copy, among the blocks, of what the index knows of objects of several blocks. From it an index that is lost
//! or damaged is rebuilt.
//!
//! A piece has 4,096 bytes, in the place of a small block: magic 16, the root's address 32, expires `u64`, blocks `u32`, from
//! `u32`, count `u32`, addresses of 32 each, zeros, and the BLAKE3 hash of all that. Objects of one block need no piece: their
//! root says that there are no other blocks.

use super::slots::UNIT;
use crate::base::bytes::{Reader, Writer};
use crate::base::time::{Duration, UnixMs};
use crate::crypto::hash::blake3;
use crate::proto::content::block;
use crate::proto::content::store::Record;
use crate::wire::content::{BLOCKS_MAX, Class, LARGE, SMALL, addresses};
use crate::wire::ids::{Address, Locator};
use crate::wire::umbel_link::locator;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const MAGIC: [u8; 16] = *b"umbel catalogue1";
const HEAD: usize = 16 + 32 + 8 + 4 + 4 + 4;
/// Most addresses in one piece.
pub(super) const NAMES_PIECE: usize = (SMALL - HEAD - 32) / 32;
/// An object that was found in a rebuild is kept for at least this long.
pub(super) const REBUILT_LEASE: Duration = Duration::from_secs(7 * 86_400);

/// Encodes a piece: the addresses `names` of an object's blocks from number `from` on.
pub(super) fn encode(record: &Record, blocks: u32, from: u32, names: &[Address]) -> Vec<u8> {
    let mut out = Vec::with_capacity(SMALL);
    Writer::new(&mut out)
        .put(&MAGIC)
        .put(&record.root.0)
        .u64(record.expires.0)
        .u32(blocks)
        .u32(from)
        .u32(names.len() as u32);
    names.iter().for_each(|name| out.extend_from_slice(&name.0));
    out.resize(SMALL - 32, 0);
    let sum = blake3(&out);
    out.extend_from_slice(&sum);
    out
}

struct Piece {
    root: Address,
    expires: UnixMs,
    blocks: u32,
    from: u32,
    names: Vec<Address>,
}

fn decode(bytes: &[u8]) -> Option<Piece> {
    let (body, sum) = bytes.split_at_checked(SMALL - 32)?;
    if !body.starts_with(&MAGIC) || blake3(body) != *sum {
        return None;
    }
    let mut r = Reader::new(body);
    let _magic: [u8; 16] = r.array().ok()?;
    let (root, expires) = (Address(r.array().ok()?), UnixMs(r.u64().ok()?));
    let (blocks, from, count) = (r.u32().ok()?, r.u32().ok()?, r.u32().ok()? as usize);
    if count > NAMES_PIECE || !(2..=BLOCKS_MAX).contains(&blocks) {
        return None;
    }
    let names = addresses(r.rest().get(..count * 32)?).ok()?;
    Some(Piece { root, expires, blocks, from, names })
}

/// An object that was found among the blocks.
pub(super) struct Found {
    pub(super) object: Locator,
    pub(super) record: Record,
    pub(super) names: Vec<Address>,
    /// Places of its blocks, and the first 8 bytes of their hashes.
    pub(super) places: BTreeMap<u32, (u32, u64)>,
    /// Places of its pieces of the catalogue.
    pub(super) pieces: Vec<(u32, u64)>,
}

/// What the data file holds, before blocks are assigned to objects.
#[derive(Default)]
struct Scan {
    /// The first 8 bytes of each page's hash, and where the page is.
    pages: Vec<(u64, u32)>,
    /// Pieces by root, with their places and the first 8 bytes of their hashes.
    pieces: BTreeMap<Address, Vec<(Piece, u32, u64)>>,
    /// Roots of objects of one block: address, class, place.
    alone: Vec<(Address, Class, u32)>,
}

fn short(hash: &[u8]) -> u64 {
    hash.first_chunk().map_or(0, |c| u64::from_be_bytes(*c))
}

impl Scan {
    fn page(&mut self, unit: u32, page: &[u8], nobody: &[u8; 32]) {
        let mut small = false;
        let mut loose = false;
        for (at, bytes) in (unit..).zip(page.chunks_exact(SMALL)) {
            if let Some(piece) = decode(bytes) {
                small = true;
                self.pieces.entry(piece.root).or_default().push((piece, at, short(&blake3(bytes))));
            } else if bytes.starts_with(nobody) && at != unit {
                small = true;
                self.alone.push((Address(blake3(bytes)), Class::Small, at));
            } else if at != unit && bytes.iter().any(|b| *b != 0) {
                loose = true;
            }
        }
        if page.len() < LARGE {
            return;
        }
        let hash = blake3(page);
        self.pages.push((short(&hash), unit));
        if page.starts_with(nobody) {
            // One small block with nothing after it, or a large one?
            let (class, bytes) = if small || !loose { (Class::Small, SMALL) } else { (Class::Large, LARGE) };
            self.alone.push((Address(blake3(page.get(..bytes).unwrap_or(page))), class, unit));
        }
    }

    fn find(&self, address: &Address) -> Option<u32> {
        let sum = short(&address.0);
        let at = self.pages.binary_search_by_key(&sum, |(hash, _)| *hash).ok()?;
        self.pages.get(at).map(|(_, unit)| *unit)
    }
}

/// Finds the objects in a data file. Objects that were removed lately may be among them.
// spec: NODE-19
pub(super) fn find(data: &File, now: UnixMs) -> io::Result<Vec<Found>> {
    let nobody = block::members(&[]);
    let (mut scan, mut page, mut at) = (Scan::default(), vec![0; LARGE], 0u64);
    let length = data.metadata()?.len();
    while at < length {
        let n = usize::try_from(length - at).unwrap_or(LARGE).min(LARGE);
        let bytes = page.get_mut(..n).unwrap_or_default();
        match data.read_exact_at(bytes, at) {
            Ok(()) => scan.page(u32::try_from(at / UNIT).unwrap_or(u32::MAX), bytes, &nobody),
            // A page that cannot be read holds nothing.
            Err(e) => tracing::warn!(error = %e, "a page of the store cannot be read"),
        }
        at += LARGE as u64;
    }
    scan.pages.sort_unstable();
    let mut taken = BTreeSet::new();
    let mut all = Vec::new();
    for (root, pieces) in core::mem::take(&mut scan.pieces) {
        all.extend(named(&scan, data, &mut taken, now, root, pieces));
    }
    let expires = now.plus(REBUILT_LEASE);
    let mut roots = BTreeSet::new();
    let alone = core::mem::take(&mut scan.alone).into_iter();
    let alone = alone.filter(|(root, _, unit)| !taken.contains(&(unit / 16 * 16)) && roots.insert(root.0));
    all.extend(alone.map(|(root, class, unit)| {
        let record = Record { root, members: nobody, class, blocks: 1, held: 1, expires, touched: now, whole: true };
        let places = [(0, (unit, short(&root.0)))].into();
        Found { object: locator(&root), record, names: Vec::new(), places, pieces: Vec::new() }
    }));
    Ok(all)
}

/// An object of several blocks, if its root is there and agrees with its pieces of the catalogue.
fn named(
    scan: &Scan,
    data: &File,
    taken: &mut BTreeSet<u32>,
    now: UnixMs,
    root: Address,
    mut pieces: Vec<(Piece, u32, u64)>,
) -> Option<Found> {
    pieces.sort_by_key(|(piece, ..)| piece.from);
    let blocks = pieces.first()?.0.blocks;
    let mut names: Vec<Address> = Vec::new();
    for (piece, ..) in &pieces {
        // A piece may be there twice.
        if piece.from as usize == names.len() + 1 && piece.blocks == blocks {
            names.extend_from_slice(&piece.names);
        }
    }
    let unit = scan.find(&root)?;
    let mut members = [0; 32];
    data.read_exact_at(&mut members, u64::from(unit) * UNIT).ok()?;
    // spec: CONT-15
    if names.len() + 1 != blocks as usize || block::members(&names) != members {
        return None;
    }
    let mut places = BTreeMap::new();
    for (index, name) in (0..).zip(core::iter::once(&root).chain(&names)) {
        // A page is of one object only; another one with the same block fetches it again.
        if let Some(unit) = scan.find(name).filter(|unit| taken.insert(*unit)) {
            places.insert(index, (unit, short(&name.0)));
        }
    }
    let expires = pieces.iter().map(|(piece, ..)| piece.expires).max()?.max(now.plus(REBUILT_LEASE));
    let held = places.len() as u32;
    let (whole, class) = (held >= blocks.div_ceil(2), Class::Large);
    let record = Record { root, members, class, blocks, held, expires, touched: now, whole };
    let pieces = pieces.into_iter().map(|(_, unit, sum)| (unit, sum)).collect();
    Some(Found { object: locator(&root), record, names, places, pieces })
}
