//! Proofs from the files of a log, offline: one pass over the leaves, in bounded memory.
//!
//! The leaves come from the records, and where those were pruned from the hashes that were kept. A proof leaves only
//! if it holds for the root that the pass itself computed; the caller compares that with a checkpoint.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::Checkpoint;
use crate::checkpoint_reader::{CheckpointReader, Stored};
use crate::error::{AuditError, Result};
use crate::layout::hashes_name;
use crate::merkle::{
    Frontier, Hash, Nodes, consistency_proof, inclusion_proof, verify_consistency, verify_inclusion,
};
use crate::note::Note;
use crate::reader::{Entry, Next, Records, read_up_to};

/// That a record is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inclusion {
    /// The record's canonical bytes; nothing where only its hash is left.
    pub record: Option<Vec<u8>>,
    /// The leaf hash of the record.
    pub leaf: Hash,
    /// The audit path, from the leaf up.
    pub proof: Vec<Hash>,
    /// The root of the tree that it leads to.
    pub root: Hash,
}

/// That a smaller tree is a prefix of a larger one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consistency {
    /// The root of the smaller tree.
    pub old_root: Hash,
    /// The root of the larger tree.
    pub new_root: Hash,
    /// The proof of RFC 9162, section 2.1.4.
    pub proof: Vec<Hash>,
}

/// The newest checkpoint of a log, or that of exactly `size` records. Nothing is verified but that it was not torn.
///
/// # Errors
/// `NotFound` where there is none, `Io`, `Damaged`.
pub fn checkpoint(dir: &Path, size: Option<u64>) -> Result<(Checkpoint, Note)> {
    let mut checkpoints = CheckpointReader::open(dir)?;
    let mut found = None;
    while let Some(Stored { checkpoint, note, .. }) = checkpoints.next()? {
        if size.is_none_or(|size| checkpoint.size == size) {
            found = Some((checkpoint, note));
        }
    }
    found.ok_or(AuditError::NotFound("checkpoint"))
}

/// A proof of inclusion as C2SP tlog-proof v1 writes it, with the checkpoint that it leads to.
pub fn inclusion_text(index: u64, proof: &[Hash], note: &Note) -> String {
    proof_text(&format!("c2sp.org/tlog-proof@v1\nindex {index}\n"), proof, note)
}

/// A proof of consistency as C2SP tlog-witness has it in `add-checkpoint`, with the checkpoint of the larger tree.
pub fn consistency_text(old: u64, proof: &[Hash], note: &Note) -> String {
    proof_text(&format!("old {old}\n"), proof, note)
}

fn proof_text(head: &str, proof: &[Hash], note: &Note) -> String {
    let hashes: String = proof.iter().map(|hash| format!("{}\n", STANDARD.encode(hash))).collect();
    format!("{head}{hashes}\n{note}")
}

/// Proves that record `index` is in the tree of the first `size` records.
///
/// # Errors
/// `NotFound` unless `index` < `size` ≤ the records there are; `Io`, `Damaged`.
pub fn inclusion(dir: &Path, index: u64, size: u64) -> Result<Inclusion> {
    let wanted = Wanted::default();
    let Ok(Some(_)) = inclusion_proof(&wanted, index, size) else {
        return Err(AuditError::NotFound("record"));
    };
    let Ok(_) = wanted.node(0, index);
    let mut record = None;
    let (found, roots) = pass(dir, wanted, &[size], &mut |entry| {
        if entry.record.seq == index {
            record = Some(entry.bytes.to_vec());
        }
    })?;
    let (Ok(Some(proof)), Ok(leaf)) = (inclusion_proof(&found, index, size), found.node(0, index))
    else {
        return Err(AuditError::NotFound("record"));
    };
    let root = roots[0];
    match verify_inclusion(&leaf, index, size, &proof, &root) {
        true => Ok(Inclusion { record, leaf, proof, root }),
        false => Err(AuditError::NotFound("proof")),
    }
}

/// Proves that the first `old` records are a prefix of the first `new`.
///
/// # Errors
/// As [`inclusion`], for 0 < `old` ≤ `new`.
pub fn consistency(dir: &Path, old: u64, new: u64) -> Result<Consistency> {
    let wanted = Wanted::default();
    let Ok(Some(_)) = consistency_proof(&wanted, old, new) else {
        return Err(AuditError::NotFound("size"));
    };
    let (found, roots) = pass(dir, wanted, &[old, new], &mut |_| {})?;
    let Ok(Some(proof)) = consistency_proof(&found, old, new) else {
        return Err(AuditError::NotFound("size"));
    };
    let (old_root, new_root) = (roots[0], roots[1]);
    match verify_consistency(old, new, &proof, &old_root, &new_root) {
        true => Ok(Consistency { old_root, new_root, proof }),
        false => Err(AuditError::NotFound("proof")),
    }
}

/// Notes which subtrees a proof asks for: by their first leaf, since they do not overlap but for a leaf itself.
#[derive(Default)]
struct Wanted(RefCell<BTreeMap<(u32, u64), Hash>>);

impl Nodes for Wanted {
    type Error = Infallible;

    fn node(&self, level: u32, index: u64) -> Result<Hash, Infallible> {
        Ok(*self.0.borrow_mut().entry((level, index)).or_default())
    }
}

/// Computes the subtrees, and the roots at `sizes`, which ascend. `see` is shown every record on the way.
fn pass(
    dir: &Path,
    wanted: Wanted,
    sizes: &[u64],
    see: &mut dyn FnMut(&Entry<'_>),
) -> Result<(Wanted, Vec<Hash>)> {
    let mut nodes = wanted.0.into_inner();
    let mut growing: Vec<_> = nodes
        .keys()
        .map(|&(level, index)| ((level, index), index << level, Frontier::default()))
        .collect();
    let (mut tree, mut roots) = (Frontier::default(), Vec::new());
    let end = sizes.last().copied().unwrap_or_default();
    leaves(dir, end, see, &mut |leaf| {
        let seq = tree.size();
        for (key, start, subtree) in &mut growing {
            if seq >= *start && seq - *start < 1 << key.0 {
                subtree.push(leaf);
                if subtree.size() == 1 << key.0 {
                    nodes.insert(*key, subtree.root());
                }
            }
        }
        tree.push(leaf);
        // Old and new may be the same size.
        roots.extend(sizes.iter().filter(|size| **size == tree.size()).map(|_| tree.root()));
    })?;
    Ok((Wanted(RefCell::new(nodes)), roots))
}

/// The first `count` leaves, and the records that they are of.
fn leaves(
    dir: &Path,
    count: u64,
    see: &mut dyn FnMut(&Entry<'_>),
    visit: &mut dyn FnMut(Hash),
) -> Result<()> {
    let mut records = Records::first(dir)?;
    let mut seq = 0;
    let pruned = records.seq().min(count);
    if pruned > 0 {
        let fail = |error| AuditError::Io("read the hashes", error);
        let mut file = BufReader::new(File::open(dir.join(hashes_name(0))).map_err(fail)?);
        let mut leaf = [0; 32];
        while seq < pruned {
            if read_up_to(&mut file, &mut leaf).map_err(fail)? < leaf.len() {
                return Err(AuditError::NotFound("hashes"));
            }
            visit(leaf);
            seq += 1;
        }
    }
    while seq < count {
        match records.next()? {
            Next::Record(entry) => {
                see(&entry);
                visit(entry.leaf);
            }
            Next::End => return Err(AuditError::NotFound("size")),
            Next::Broken { damage, .. } => return Err(AuditError::Damaged(damage)),
        }
        seq += 1;
    }
    Ok(())
}
