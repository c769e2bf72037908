//! A proof of work that costs memory: Equihash (Biryukov and Khovratovich 2016) with k = 3 over keyed BLAKE3 (spec KEY-3).
//!
//! From a challenge and a nonce come 2^(b+1) strings of 4·b bits. A solution is eight of them whose XOR is zero, joined in
//! pairs, fours and eights that agree in b bits more each time. One attempt has two solutions on average; `effort` of them
//! are needed on average until one has a hash that is small enough.

use crate::crypto::hash::{context, derive};

/// Strings in a solution.
const LEAVES: usize = 8;
/// Bytes of an encoded proof: the nonce and eight indices of three bytes.
pub const WORK_SIZE: usize = 4 + 3 * LEAVES;

/// How much work a network asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkParams {
    /// Bits in which strings agree in each round: even, 2 to 18. Memory and the time of one attempt double with each.
    pub bits: u32,
    /// Solutions that are found, on average, until one counts. 0: no work is asked for.
    pub effort: u32,
}

impl WorkParams {
    /// How many strings an attempt joins.
    fn strings(self) -> u32 {
        2 << self.bits
    }

    /// How many attempts it takes on average.
    pub fn attempts(self) -> u32 {
        self.effort.div_ceil(2)
    }
}

/// A proof of work. Whether it is one for a challenge says [`Work::holds`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    nonce: u32,
    indices: [u32; LEAVES],
}

/// What the rounds join: a string, or the XOR of those below it.
#[derive(Clone, Copy)]
struct Node {
    /// The bits that are not joined yet.
    value: u64,
    left: u32,
    right: u32,
}

impl Work {
    /// No proof of anything.
    pub const NONE: Self = Self { nonce: 0, indices: [0; LEAVES] };

    /// As it stands in a record.
    pub fn to_bytes(self) -> [u8; WORK_SIZE] {
        let mut out = [0; WORK_SIZE];
        let (nonce, indices) = out.split_at_mut(4);
        nonce.copy_from_slice(&self.nonce.to_be_bytes());
        for (to, index) in indices.as_chunks_mut::<3>().0.iter_mut().zip(self.indices) {
            let [_, bytes @ ..] = index.to_be_bytes();
            *to = bytes;
        }
        out
    }

    /// From its bytes.
    pub fn from_bytes(bytes: &[u8; WORK_SIZE]) -> Self {
        let [a, b, c, d, indices @ ..] = bytes;
        let mut work = Self { nonce: u32::from_be_bytes([*a, *b, *c, *d]), indices: [0; LEAVES] };
        for (index, [x, y, z]) in work.indices.iter_mut().zip(indices.as_chunks::<3>().0) {
            *index = u32::from_be_bytes([0, *x, *y, *z]);
        }
        work
    }

    /// Whether it answers this challenge. Costs eight hashes and one more.
    pub fn holds(&self, challenge: &[u8; 32], params: WorkParams) -> bool {
        // spec: KEY-3
        if params.effort == 0 {
            return true;
        }
        let in_range = self.indices.iter().all(|i| *i < params.strings());
        in_range && is_canonical(&self.indices) && self.joins(challenge, params) && self.counts(challenge, params)
    }

    /// Whether the strings agree, round by round, and their XOR is zero.
    fn joins(&self, challenge: &[u8; 32], params: WorkParams) -> bool {
        let mut level = self.indices.map(|i| Strings::new(challenge, self.nonce, params).string(i)).to_vec();
        for left in [3, 2, 0] {
            level = level.as_chunks::<2>().0.iter().map(|[a, b]| a ^ b).collect();
            if level.iter().any(|v| v >> (left * params.bits) != 0) {
                return false;
            }
        }
        true
    }

    /// Whether its hash is small enough.
    fn counts(&self, challenge: &[u8; 32], params: WorkParams) -> bool {
        let value = derive(context::WORK_VALUE, &[challenge, &self.to_bytes()]);
        let first = value.first_chunk::<8>().map_or(u64::MAX, |bytes| u64::from_be_bytes(*bytes));
        first <= u64::MAX / u64::from(params.effort.max(1))
    }
}

/// Whether the indices are distinct and, in every subtree, the half with the smaller first index is the left one: so that one
/// solution has one form.
fn is_canonical(indices: &[u32; LEAVES]) -> bool {
    let halves = [1, 2, 4].into_iter().all(|half| {
        indices.chunks(2 * half).all(|tree| tree.first().zip(tree.get(half)).is_some_and(|(left, right)| left < right))
    });
    let mut sorted = *indices;
    sorted.sort_unstable();
    halves && sorted.is_sorted_by(|a, b| a < b)
}

/// The strings of one attempt: several from each hash.
struct Strings<'a> {
    challenge: &'a [u8; 32],
    nonce: u32,
    size: usize,
    cached: Option<(u32, [u8; 32])>,
}

impl<'a> Strings<'a> {
    fn new(challenge: &'a [u8; 32], nonce: u32, params: WorkParams) -> Self {
        let size = usize::try_from(params.bits / 2).unwrap_or(1).clamp(1, 16);
        Self { challenge, nonce, size, cached: None }
    }

    fn string(&mut self, index: u32) -> u128 {
        let per_hash = u32::try_from(32 / self.size).unwrap_or(1);
        let (block, at) = (index / per_hash, index % per_hash);
        let hash = match self.cached {
            Some((number, hash)) if number == block => hash,
            _ => {
                let [a, b, c, d] = self.nonce.to_be_bytes();
                let [e, f, g, h] = block.to_be_bytes();
                ::blake3::keyed_hash(self.challenge, &[a, b, c, d, e, f, g, h]).into()
            }
        };
        self.cached = Some((block, hash));
        let bytes = hash.iter().skip(usize::try_from(at).unwrap_or(0) * self.size).take(self.size);
        bytes.fold(0, |value, byte| value << 8 | u128::from(*byte))
    }
}

/// A search for a proof: one attempt a step, so that whoever runs it can stop, show how far it is, and go on later.
pub struct Search {
    challenge: [u8; 32],
    params: WorkParams,
    next: u32,
}

impl Search {
    /// Begins with this nonce: 0, or where an earlier search stopped.
    pub fn new(challenge: [u8; 32], params: WorkParams, next: u32) -> Self {
        Self { challenge, params, next }
    }

    /// The nonce of the next attempt; all before it are known to give nothing.
    pub fn next_nonce(&self) -> u32 {
        self.next
    }

    /// One attempt.
    pub fn step(&mut self) -> Option<Work> {
        let nonce = self.next;
        self.next = nonce.wrapping_add(1);
        let solutions = solutions(&self.challenge, nonce, self.params);
        solutions.into_iter().map(|indices| Work { nonce, indices }).find(|w| w.counts(&self.challenge, self.params))
    }

    /// All of it at once.
    #[cfg(any(test, feature = "unstable"))]
    pub fn run(mut self) -> Work {
        loop {
            if let Some(work) = self.step() {
                return work;
            }
        }
    }
}

/// All solutions of one attempt.
fn solutions(challenge: &[u8; 32], nonce: u32, params: WorkParams) -> Vec<[u32; LEAVES]> {
    let (bits, mut strings) = (params.bits, Strings::new(challenge, nonce, params));
    // A string has up to 72 bits: the first of them stand beside the others, the number of the string where it was.
    let leaf = |index: u32| {
        let string = strings.string(index);
        let [head, rest] = [string >> (3 * bits), string & ((1 << (3 * bits)) - 1)];
        Node { value: rest as u64, left: head as u32, right: index }
    };
    let mut leaves: Vec<Node> = (0..params.strings()).map(leaf).collect();
    let mut pairs = join(&mut leaves, |n| u64::from(n.left), 3 * bits);
    let mut fours = join(&mut pairs, |n| n.value >> (2 * bits), 2 * bits);
    let eights = join(&mut fours, |n| n.value, 0);
    let mut found = Vec::new();
    for eight in eights {
        let mut indices = Vec::with_capacity(LEAVES);
        for four in children(&fours, eight) {
            for pair in children(&pairs, four) {
                indices.extend(children(&leaves, pair).map(|leaf| leaf.right));
            }
        }
        let Ok(mut indices) = <[u32; LEAVES]>::try_from(indices) else { continue };
        order(&mut indices);
        if is_canonical(&indices) {
            found.push(indices);
        }
    }
    found
}

fn children(below: &[Node], node: Node) -> impl Iterator<Item = Node> {
    [node.left, node.right].into_iter().filter_map(|at| below.get(usize::try_from(at).ok()?).copied())
}

/// Joins all nodes whose keys are equal, in pairs; of their XOR the last `kept` bits remain. About as many come out as went
/// in; what is more than a quarter beyond that is left out.
fn join(nodes: &mut [Node], key: impl Fn(&Node) -> u64, kept: u32) -> Vec<Node> {
    nodes.sort_unstable_by_key(&key);
    let (most, mask) = (nodes.len() + nodes.len() / 4, (1_u64 << kept).wrapping_sub(1));
    let mut joined = Vec::with_capacity(if kept == 0 { LEAVES } else { most });
    let mut start = 0;
    for run in nodes.chunk_by(|a, b| key(a) == key(b)) {
        for (i, a) in run.iter().enumerate() {
            for (j, b) in run.iter().enumerate().skip(i + 1) {
                if joined.len() < most {
                    let (left, right) = ((start + i) as u32, (start + j) as u32);
                    joined.push(Node { value: (a.value ^ b.value) & mask, left, right });
                }
            }
        }
        start += run.len();
    }
    joined
}

/// Brings a solution into its one form.
fn order(indices: &mut [u32; LEAVES]) {
    for half in [1, 2, 4] {
        for tree in indices.chunks_mut(2 * half) {
            let (left, right) = tree.split_at_mut(half);
            if left.first() > right.first() {
                left.swap_with_slice(right);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: WorkParams = WorkParams { bits: 6, effort: 1 };

    fn work(challenge: u8) -> Work {
        Search::new([challenge; 32], SMALL, 0).run()
    }

    // spec: KEY-3
    #[test]
    fn a_proof_answers_one_challenge_in_one_form() {
        for n in 0..40 {
            let work = work(n);
            assert!(work.holds(&[n; 32], SMALL), "{n}");
            assert!(!work.holds(&[n + 1; 32], SMALL), "{n}: another challenge");
            assert_eq!(Work::from_bytes(&work.to_bytes()), work);
            let bytes = work.to_bytes();
            for at in 0..WORK_SIZE * 8 {
                let mut changed = bytes;
                changed[at / 8] ^= 1 << (at % 8);
                assert!(!Work::from_bytes(&changed).holds(&[n; 32], SMALL), "{n}: bit {at}");
            }
            for half in [1, 2, 4] {
                for tree in 0..LEAVES / (2 * half) {
                    let mut swapped = work;
                    let (left, right) = swapped.indices[tree * 2 * half..][..2 * half].split_at_mut(half);
                    left.swap_with_slice(right);
                    assert!(!swapped.holds(&[n; 32], SMALL), "{n}: halves of {half} swapped");
                    let mut doubled = work;
                    let (left, right) = doubled.indices[tree * 2 * half..][..2 * half].split_at_mut(half);
                    left.copy_from_slice(right);
                    assert!(!doubled.holds(&[n; 32], SMALL), "{n}: a half of {half} twice");
                }
            }
        }
    }

    // Four strings twice over have the XOR zero at no cost; only that they must differ refuses them.
    // spec: KEY-3
    #[test]
    fn the_same_strings_twice_prove_nothing() {
        let work = work(1);
        let twice = [0, 1, 2, 3, 0, 1, 2, 3].map(|i: usize| work.indices[i]);
        assert!(!Work { indices: twice, ..work }.holds(&[1; 32], SMALL));
        assert!(!Work::NONE.holds(&[1; 32], SMALL));
    }

    #[test]
    fn an_attempt_has_two_solutions_on_average_and_all_hold() {
        let params = WorkParams { bits: 10, effort: 1 };
        let mut all = 0;
        for nonce in 0..200 {
            for indices in solutions(&[3; 32], nonce, params) {
                assert!(Work { nonce, indices }.holds(&[3; 32], params));
                all += 1;
            }
        }
        assert!((300..500).contains(&all), "{all} solutions of 200 attempts");
    }

    #[test]
    fn effort_is_the_number_of_solutions_needed() {
        let hard = WorkParams { bits: 6, effort: 50 };
        let mut attempts = 0;
        for challenge in 0..20 {
            let mut search = Search::new([challenge; 32], hard, 0);
            let work = loop {
                if let Some(work) = search.step() {
                    break work;
                }
            };
            assert!(work.holds(&[challenge; 32], hard));
            let again = Search::new([challenge; 32], hard, search.next_nonce() - 1).run();
            assert_eq!(again, work, "a search goes on where it stopped");
            attempts += search.next_nonce();
        }
        // 20 times 25 attempts; the standard deviation is a quarter of that.
        assert!((200..1000).contains(&attempts), "{attempts}");
    }
}
