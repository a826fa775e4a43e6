use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kms_testkit::vectors;
use serde_json::Value;

use super::*;

/// Every subtree, by hashing all its leaves: the definition in section 2.1.1, word for word.
struct Leaves(Vec<Hash>);

impl Nodes for Leaves {
    type Error = std::convert::Infallible;
    fn node(&self, level: u32, index: u64) -> Result<Hash, Self::Error> {
        let start = (index << level) as usize;
        Ok(mth(&self.0[start..start + (1 << level)]))
    }
}

fn mth(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let k = leaves.len().next_power_of_two() / 2;
            node_hash(&mth(&leaves[..k]), &mth(&leaves[k..]))
        }
    }
}

fn leaves(count: u64) -> Leaves {
    Leaves((0..count).map(|i| leaf_hash(&i.to_be_bytes())).collect())
}

fn grown(leaves: &Leaves, size: u64) -> Frontier {
    let mut frontier = Frontier::default();
    leaves.0[..size as usize].iter().for_each(|leaf| frontier.push(*leaf));
    frontier
}

fn bytes(value: &Value) -> Option<Hash> {
    STANDARD.decode(value.as_str().unwrap_or_default()).unwrap().try_into().ok()
}

fn proof(case: &Value) -> Option<Vec<Hash>> {
    case["proof"].as_array().map_or(Some(Vec::new()), |proof| proof.iter().map(bytes).collect())
}

#[test]
fn inclusion_vectors_of_others_hold() {
    let cases = vectors::json("merkle/inclusion.json.gz");
    let cases = cases.as_array().unwrap();
    assert!(cases.len() > 80, "{}", cases.len());
    for case in cases {
        // A hash of another length than 32 bytes is no hash: refused by its type.
        let good = (|| {
            let (leaf, root) = (bytes(&case["leafHash"])?, bytes(&case["root"])?);
            let (index, size) = (case["leafIdx"].as_u64()?, case["treeSize"].as_u64()?);
            Some(verify_inclusion(&leaf, index, size, &proof(case)?, &root))
        })();
        assert_eq!(good == Some(true), !case["wantErr"].as_bool().unwrap(), "{case}");
    }
}

#[test]
fn consistency_vectors_of_others_hold() {
    let cases = vectors::json("merkle/consistency.json.gz");
    let cases = cases.as_array().unwrap();
    assert!(cases.len() > 40, "{}", cases.len());
    for case in cases {
        let good = (|| {
            let (old_root, new_root) = (bytes(&case["root1"])?, bytes(&case["root2"])?);
            let (old, new) = (case["size1"].as_u64()?, case["size2"].as_u64()?);
            Some(verify_consistency(old, new, &proof(case)?, &old_root, &new_root))
        })();
        assert_eq!(good == Some(true), !case["wantErr"].as_bool().unwrap(), "{case}");
    }
}

#[test]
fn roots_of_tessera_come_out() {
    let log = vectors::json("tlog-tessera/log.json");
    let mut frontier = Frontier::default();
    for (i, leaf) in log["leaves_in_order"].as_array().unwrap().iter().enumerate() {
        frontier.push(leaf_hash(leaf.as_str().unwrap().as_bytes()));
        let note = log["checkpoints"][i + 1].as_str().unwrap();
        assert_eq!(note.lines().nth(2), Some(&*STANDARD.encode(frontier.root())));
    }
}

#[test]
fn a_grown_root_is_the_defined_root() {
    let leaves = leaves(130);
    for size in 0..=130 {
        let frontier = grown(&leaves, size);
        assert_eq!(frontier.root(), mth(&leaves.0[..size as usize]));
        assert_eq!(range_root(&leaves, 0, size), Ok(frontier.root()));
        let again = Frontier::from_peaks(size, frontier.peaks()).unwrap();
        assert_eq!(again, frontier);
        assert!(size == 0 || Frontier::from_peaks(size, &frontier.peaks()[1..]).is_none());
    }
}

#[test]
fn every_inclusion_proof_holds_for_its_leaf_only() {
    let leaves = leaves(70);
    for size in 1..=70 {
        let root = grown(&leaves, size).root();
        for index in 0..size {
            let proof = inclusion_proof(&leaves, index, size).unwrap().unwrap();
            for other in 0..=size {
                let leaf = leaves.0[index as usize];
                let holds = verify_inclusion(&leaf, other, size, &proof, &root);
                assert_eq!(holds, other == index, "{index} as {other} of {size}");
            }
        }
        assert_eq!(inclusion_proof(&leaves, size, size), Ok(None));
    }
}

#[test]
fn every_consistency_proof_holds_for_its_sizes_only() {
    let leaves = leaves(40);
    for new in 1..=40 {
        let new_root = grown(&leaves, new).root();
        for old in 1..=new {
            let old_root = grown(&leaves, old).root();
            let proof = consistency_proof(&leaves, old, new).unwrap().unwrap();
            assert!(verify_consistency(old, new, &proof, &old_root, &new_root));
            let mut longer = proof.clone();
            longer.push([0; 32]);
            assert!(!verify_consistency(old, new, &longer, &old_root, &new_root));
            if let Some((_, shorter)) = proof.split_last() {
                assert!(!verify_consistency(old, new, shorter, &old_root, &new_root));
                assert!(!verify_consistency(old, new, &proof, &new_root, &new_root));
                assert!(!verify_consistency(old, new, &proof, &old_root, &old_root));
            }
        }
        assert_eq!(consistency_proof(&leaves, new + 1, new), Ok(None));
        assert!(verify_consistency(0, new, &[], &empty_root(), &new_root));
        assert!(!verify_consistency(0, new, &[], &new_root, &new_root));
    }
}

#[test]
fn sizes_near_the_end_of_64_bits_do_not_overflow() {
    let proof = [[0; 32]; MAX_PROOF];
    for index in [0, 1, u64::MAX - 1, u64::MAX] {
        assert!(!verify_inclusion(&[0; 32], index, u64::MAX, &proof, &[1; 32]));
        assert!(!verify_consistency(index, u64::MAX, &proof, &[0; 32], &[1; 32]));
    }
}
