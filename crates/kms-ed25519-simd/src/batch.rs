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

    fn k(&self, hash: &[u8; 64]) -> Scalar {
        Scalar::from_bytes_mod_order_wide(hash)
    }
}

/// What the equation takes of an item, and how its verdicts are reached.
trait Prepared<'a>: Sized {
    /// Of up to so many items that do not fill a vector, each is faster alone.
    fn singles<F: Lanes>() -> usize;
    /// `None` only if the item is of the other kind.
    fn new(item: &Item<'a>, hash: &[u8; 64]) -> Option<Self>;
    /// Verdicts on a multiple of `F::LANES`, at most `GROUP` times that.
    fn verdicts<F: Lanes>(prepared: &[Self], out: &mut [bool]);
}

impl<'a> Prepared<'a> for Known<'a> {
    #[inline(always)]
    fn singles<F: Lanes>() -> usize {
        F::SINGLES
    }

    #[inline(always)]
    fn new(item: &Item<'a>, hash: &[u8; 64]) -> Option<Self> {
        Some(Known {
            table: &item.table?.table,
            s: digits::bytes(item.s()),
            k: digits::bytes(item.k(hash).as_bytes()),
            r: digits::words(item.r()),
        })
    }

    #[inline(always)]
    fn verdicts<F: Lanes>(prepared: &[Self], out: &mut [bool]) {
        verify_known::<F>(prepared, out);
    }
}

impl<'a> Prepared<'a> for Unknown {
    #[inline(always)]
    fn singles<F: Lanes>() -> usize {
        F::UNKNOWN_SINGLES
    }

    #[inline(always)]
    fn new(item: &Item<'a>, hash: &[u8; 64]) -> Option<Self> {
        Some(Unknown {
            a: digits::words(item.public_key),
            s: digits::bytes(item.s()),
            k: digits::fives(item.k(hash).as_bytes()),
            r: digits::words(item.r()),
        })
    }

    #[inline(always)]
    fn verdicts<F: Lanes>(prepared: &[Self], out: &mut [bool]) {
        verify_unknown::<F>(prepared, out);
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
    // A loop, so that all of this is compiled once.
    for known in [full, small] {
        in_vectors::<F, Known<'_>>(items, &known, out);
    }
    in_vectors::<F, Unknown>(items, &unknown, out);
}

/// Verifies the items of the given indices, all of one kind and under tables of one size. What does not
/// fill a vector is verified one by one, or in a vector that repeats its last item.
#[inline(always)]
fn in_vectors<'a, F: Lanes, P: Prepared<'a>>(
    items: &[Item<'a>],
    indices: &[usize],
    out: &mut [u8],
) {
    // Where no vector is worth it, all of them are left over.
    let left = if P::singles::<F>() < F::LANES { indices.len() % F::LANES } else { indices.len() };
    let singles = if left <= P::singles::<F>() { left } else { 0 };
    let (vectors, singles) = indices.split_at(indices.len() - singles);
    let mut prepared = Vec::with_capacity(GROUP * F::LANES);
    for group in vectors.chunks(GROUP * F::LANES) {
        prepared.clear();
        for vector in group.chunks(F::LANES) {
            let hashes = hashes::<F>(items, vector);
            for lane in 0..F::LANES {
                let item = &items[vector[lane.min(vector.len() - 1)]];
                prepared.extend(P::new(item, &hashes[lane]));
            }
        }
        let mut verdicts = [false; GROUP * MAX_LANES];
        P::verdicts::<F>(&prepared, &mut verdicts[..prepared.len()]);
        for (i, verdict) in group.iter().zip(verdicts) {
            out[*i] = u8::from(verdict);
        }
    }
    for i in singles {
        out[*i] = u8::from(verify::<F>(&items[*i]));
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
    let hash = hash_one(item);
    match Known::new(item, &hash) {
        Some(known) if F::SPREADS => verify_one::<F>(&known),
        Some(known) => verify_scalar(&known),
        None => verify_with_dalek(item, &hash),
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
fn verify_with_dalek(item: &Item<'_>, hash: &[u8; 64]) -> bool {
    let Some(a) = CompressedEdwardsY(*item.public_key).decompress() else { return false };
    let Some(s) = Option::<Scalar>::from(Scalar::from_canonical_bytes(*item.s())) else {
        return false;
    };
    let r = EdwardsPoint::vartime_double_scalar_mul_basepoint(&item.k(hash), &-a, &s);
    r.compress().to_bytes() == *item.r()
}
