//! The Merkle tree of RFC 9162, section 2.1, over SHA-256. Pure: hashes in, hashes out.

use sha2::{Digest, Sha256};

/// A SHA-256 hash: of a leaf, of a node or of a whole tree.
pub type Hash = [u8; 32];

/// The most hashes an inclusion proof can have: one a level of a tree of 2^64 leaves.
pub const MAX_PROOF: usize = 64;

/// The hash of a leaf: SHA-256(0x00 ‖ data) (section 2.1.1).
pub fn leaf_hash(data: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(data).finalize().into()
}

/// The hash of a node: SHA-256(0x01 ‖ left ‖ right) (section 2.1.1).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [1; 65];
    bytes[1..33].copy_from_slice(left);
    bytes[33..].copy_from_slice(right);
    Sha256::digest(bytes).into()
}

/// The root of the tree without leaves: SHA-256 of nothing (section 2.1.1).
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// A tree that is appended to, held as the roots of its complete subtrees: at most 64 hashes whatever
/// its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// Roots of the complete subtrees, the leftmost and largest first: one for each bit set in `size`.
    peaks: Vec<Hash>,
}

impl Default for Frontier {
    fn default() -> Self {
        Frontier { size: 0, peaks: Vec::with_capacity(MAX_PROOF) }
    }
}

impl Frontier {
    /// The frontier of a tree of `size` leaves whose complete subtrees have these roots, the largest first.
    /// `None` where their number does not fit the size.
    pub fn from_peaks(size: u64, peaks: &[Hash]) -> Option<Frontier> {
        let fits = peaks.len() == size.count_ones() as usize;
        fits.then(|| {
            let mut frontier = Frontier { size, ..Frontier::default() };
            frontier.peaks.extend_from_slice(peaks);
            frontier
        })
    }

    /// Appends a leaf by its hash. On average one node is hashed a leaf, at the most 64.
    pub fn push(&mut self, leaf: Hash) {
        let mut node = leaf;
        // Every trailing one of the old size is a complete subtree that the new leaf completes further.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                node = node_hash(&left, &node);
            }
        }
        self.peaks.push(node);
        self.size += 1;
    }

    /// The number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the complete subtrees, the largest first.
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// The root (section 2.1.1).
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        match peaks.next() {
            None => empty_root(),
            Some(last) => peaks.fold(*last, |right, left| node_hash(left, &right)),
        }
    }
}

/// Gives the root of the complete subtree `index` at `level`: of leaves `index << level` to
/// `(index + 1) << level`. Level 0 is leaves.
pub trait Nodes {
    /// What reading can fail with.
    type Error;
    /// The root of that subtree.
    ///
    /// # Errors
    /// What the store of hashes has to say.
    fn node(&self, level: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// The root of leaves `start..end`, where `start` is a multiple of the next power of two at or above `end - start`.
///
/// # Errors
/// Those of `nodes`.
pub fn range_root<N: Nodes>(nodes: &N, start: u64, end: u64) -> Result<Hash, N::Error> {
    let len = end - start;
    if len == 0 {
        return Ok(empty_root());
    }
    if len.is_power_of_two() {
        let level = len.trailing_zeros();
        return nodes.node(level, start >> level);
    }
    let middle = start + split(len);
    Ok(node_hash(&range_root(nodes, start, middle)?, &range_root(nodes, middle, end)?))
}

/// The largest power of two below `len`, which is at least 2.
fn split(len: u64) -> u64 {
    1 << (len - 1).ilog2()
}

/// The audit path of leaf `index` in the tree of the first `size` leaves (section 2.1.3.1); `None` where
/// there is no such leaf.
///
/// # Errors
/// Those of `nodes`.
pub fn inclusion_proof<N: Nodes>(
    nodes: &N,
    index: u64,
    size: u64,
) -> Result<Option<Vec<Hash>>, N::Error> {
    if index >= size {
        return Ok(None);
    }
    let (mut start, mut end) = (0, size);
    let mut proof = Vec::new();
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            proof.push(range_root(nodes, middle, end)?);
            end = middle;
        } else {
            proof.push(range_root(nodes, start, middle)?);
            start = middle;
        }
    }
    proof.reverse();
    Ok(Some(proof))
}

/// The proof that the tree of the first `old` leaves is a prefix of that of the first `new` (section 2.1.4.1);
/// `None` unless 0 < `old` ≤ `new`. Empty where they are the same.
///
/// # Errors
/// Those of `nodes`.
pub fn consistency_proof<N: Nodes>(
    nodes: &N,
    old: u64,
    new: u64,
) -> Result<Option<Vec<Hash>>, N::Error> {
    if old == 0 || old > new {
        return Ok(None);
    }
    let (mut start, mut end) = (0, new);
    let mut proof = Vec::new();
    // SUBPROOF of the RFC, top down; `old` always lies in (start, end].
    while old != end {
        let middle = start + split(end - start);
        if old <= middle {
            proof.push(range_root(nodes, middle, end)?);
            end = middle;
        } else {
            proof.push(range_root(nodes, start, middle)?);
            start = middle;
        }
    }
    if start != 0 {
        proof.push(range_root(nodes, start, end)?);
    }
    proof.reverse();
    Ok(Some(proof))
}

/// Whether the leaf with this hash is number `index` of the tree of `size` leaves with this root
/// (section 2.1.3.2).
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut fn_, mut sn) = (index, size - 1);
    let mut hash = *leaf;
    for node in proof {
        if sn == 0 {
            return false;
        }
        if fn_ & 1 == 1 || fn_ == sn {
            hash = node_hash(node, &hash);
            while fn_ & 1 == 0 && fn_ != 0 {
                fn_ >>= 1;
                sn >>= 1;
            }
        } else {
            hash = node_hash(&hash, node);
        }
        fn_ >>= 1;
        sn >>= 1;
    }
    sn == 0 && hash == *root
}

/// Whether the tree of `old` leaves with root `old_root` is a prefix of that of `new` leaves with root `new_root`
/// (section 2.1.4.2). The tree without leaves is a prefix of every other; its proof is empty.
pub fn verify_consistency(
    old: u64,
    new: u64,
    proof: &[Hash],
    old_root: &Hash,
    new_root: &Hash,
) -> bool {
    if old > new {
        return false;
    }
    if old == new {
        return proof.is_empty() && old_root == new_root;
    }
    if old == 0 {
        return proof.is_empty() && *old_root == empty_root();
    }
    let mut path = proof.iter();
    let (mut fn_, mut sn) = (old - 1, new - 1);
    while fn_ & 1 == 1 {
        fn_ >>= 1;
        sn >>= 1;
    }
    // Where `old` is a power of two its root starts the path, and is left out of the proof.
    let first = if old.is_power_of_two() { Some(old_root) } else { path.next() };
    let Some(first) = first else { return false };
    let (mut old_hash, mut new_hash) = (*first, *first);
    for node in path {
        if sn == 0 {
            return false;
        }
        if fn_ & 1 == 1 || fn_ == sn {
            old_hash = node_hash(node, &old_hash);
            new_hash = node_hash(node, &new_hash);
            while fn_ & 1 == 0 && fn_ != 0 {
                fn_ >>= 1;
                sn >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, node);
        }
        fn_ >>= 1;
        sn >>= 1;
    }
    sn == 0 && old_hash == *old_root && new_hash == *new_root
}

#[cfg(test)]
#[path = "tests/merkle.rs"]
mod tests;
