//! From items to vectors: filters, hashes, sorting by what is known of the key, and what is left over.

use curve25519_dalek::Scalar;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};

use crate::digits;
use crate::equation::{GROUP, Known, Unknown, verify_known, verify_one, verify_unknown};
use crate::field::{Fe, MAX_LANES};
use crate::sha512::{Input, hash_each};
use crate::strict;
use crate::table::{KeyTable, Lanes, TableSize};

/// One signature to verify.
#[derive(Clone, Copy)]
pub struct Item<'a> {
    /// The encoded public key A.
    pub public_key: &'a [u8; 32],
    /// The table of that very key, if there is one.
    pub table: Option<&'a KeyTable>,
    /// M.
    pub message: &'a [u8],
    /// R ‖ S.
    pub signature: &'a [u8; 64],
}

impl<'a> Item<'a> {
    /// The byte filters. A key with a table passed them when it was built.
    fn passes_filters(&self) -> bool {
        strict::signature_is_canonical(self.signature)
            && (self.table.is_some() || strict::point_is_canonical(self.public_key))
    }

    fn r(&self) -> &'a [u8; 32] {
        self.signature[..32].try_into().expect("32 of 64 bytes")
    }

    fn s(&self) -> &'a [u8; 32] {
        self.signature[32..].try_into().expect("32 of 64 bytes")
    }

    fn input(&self) -> Input<'a> {
        Input::new(self.r(), self.public_key, self.message)
    }

    fn known(&self, table: &'a KeyTable, hash: &[u8; 64]) -> Known<'a> {
        let k = Scalar::from_bytes_mod_order_wide(hash);
        Known {
            table: &table.table,
            s: digits::bytes(self.s()),
            k: digits::bytes(k.as_bytes()),
            r: digits::words(self.r()),
        }
    }

    fn unknown(&self, hash: &[u8; 64]) -> Unknown {
        let k = Scalar::from_bytes_mod_order_wide(hash);
        Unknown {
            a: digits::words(self.public_key),
            s: digits::bytes(self.s()),
            k: digits::nibbles(k.as_bytes()),
            r: digits::words(self.r()),
        }
    }
}

/// Verdicts on items in any mixture.
#[inline(always)]
pub(crate) fn verify_batch<F: Lanes>(items: &[Item<'_>], out: &mut [u8]) {
    out.fill(0);
    let mut full = Vec::with_capacity(items.len());
    let mut small = Vec::new();
    let mut unknown = Vec::new();
    for (i, item) in items.iter().enumerate() {
        if item.passes_filters() {
            match item.table.map(KeyTable::size) {
                Some(TableSize::Full) => full.push(i),
                Some(TableSize::Small) => small.push(i),
                None => unknown.push(i),
            }
        }
    }
    known_in_vectors::<F>(items, &full, out);
    known_in_vectors::<F>(items, &small, out);
    if unknown.len() >= F::UNKNOWN_FROM {
        unknown_in_vectors::<F>(items, &unknown, out);
    } else {
        for i in unknown {
            out[i] = u8::from(verify_with_dalek(&items[i]));
        }
    }
}

/// Verifies the items of the given indices, all under tables of one size.
#[inline(always)]
fn known_in_vectors<F: Lanes>(items: &[Item<'_>], indices: &[usize], out: &mut [u8]) {
    let left = indices.len() % F::LANES;
    let singles = if left <= F::SINGLES { left } else { 0 };
    let (vectors, singles) = indices.split_at(indices.len() - singles);
    let mut prepared = Vec::with_capacity(GROUP * F::LANES);
    for group in vectors.chunks(GROUP * F::LANES) {
        prepared.clear();
        for vector in group.chunks(F::LANES) {
            let hashes = hashes::<F>(items, vector);
            for lane in 0..F::LANES {
                // A vector that is not full repeats its last item.
                let item = &items[vector[lane.min(vector.len() - 1)]];
                if let Some(table) = item.table {
                    prepared.push(item.known(table, &hashes[lane]));
                }
            }
        }
        let mut verdicts = [false; GROUP * MAX_LANES];
        verify_known::<F>(&prepared, &mut verdicts[..prepared.len()]);
        for (i, verdict) in group.iter().zip(verdicts) {
            out[*i] = u8::from(verdict);
        }
    }
    for i in singles {
        out[*i] = u8::from(verify::<F>(&items[*i]));
    }
}

#[inline(always)]
fn unknown_in_vectors<F: Lanes>(items: &[Item<'_>], indices: &[usize], out: &mut [u8]) {
    let left = indices.len() % F::LANES;
    let singles = if left < F::UNKNOWN_FROM { left } else { 0 };
    let (vectors, singles) = indices.split_at(indices.len() - singles);
    let mut prepared = Vec::with_capacity(GROUP * F::LANES);
    for group in vectors.chunks(GROUP * F::LANES) {
        prepared.clear();
        for vector in group.chunks(F::LANES) {
            let hashes = hashes::<F>(items, vector);
            for lane in 0..F::LANES {
                let item = &items[vector[lane.min(vector.len() - 1)]];
                prepared.push(item.unknown(&hashes[lane]));
            }
        }
        let mut verdicts = [false; GROUP * MAX_LANES];
        verify_unknown::<F>(&prepared, &mut verdicts[..prepared.len()]);
        for (i, verdict) in group.iter().zip(verdicts) {
            out[*i] = u8::from(verdict);
        }
    }
    for i in singles {
        out[*i] = u8::from(verify_with_dalek(&items[*i]));
    }
}

/// The hashes of up to `F::LANES` items; a vector that is not full repeats its last.
#[inline(always)]
fn hashes<F: Lanes>(items: &[Item<'_>], vector: &[usize]) -> [[u8; 64]; MAX_LANES] {
    let inputs: [Input<'_>; MAX_LANES] =
        std::array::from_fn(|lane| items[vector[lane.min(vector.len() - 1)]].input());
    let mut hashes = [[0; 64]; MAX_LANES];
    F::hash(&inputs[..F::LANES], &mut hashes[..F::LANES]);
    hashes
}

/// The verdict on one item.
#[inline(always)]
pub(crate) fn verify<F: Lanes>(item: &Item<'_>) -> bool {
    if !item.passes_filters() {
        return false;
    }
    match item.table {
        Some(table) => {
            let known = item.known(table, &hash_one(item));
            if F::SPREADS { verify_one::<F>(&known) } else { verify_scalar(&known) }
        }
        None => verify_with_dalek(item),
    }
}

#[inline(never)]
fn verify_scalar(known: &Known<'_>) -> bool {
    verify_one::<Fe>(known)
}

#[inline(never)]
fn hash_one(item: &Item<'_>) -> [u8; 64] {
    let mut hash = [[0; 64]];
    hash_each(&[item.input()], &mut hash);
    hash[0]
}

/// The equation with curve25519-dalek, for a key without a table. The byte filters are passed.
#[inline(never)]
fn verify_with_dalek(item: &Item<'_>) -> bool {
    let Some(a) = CompressedEdwardsY(*item.public_key).decompress() else { return false };
    let Some(s) = Option::<Scalar>::from(Scalar::from_canonical_bytes(*item.s())) else {
        return false;
    };
    let k = Scalar::from_bytes_mod_order_wide(&hash_one(item));
    let r = EdwardsPoint::vartime_double_scalar_mul_basepoint(&k, &-a, &s);
    r.compress().to_bytes() == *item.r()
}
