//! Comb tables: the multiples of a point that its signed digits can name, prepared for addition.

use std::sync::OnceLock;

use crate::digits;
use crate::equation::{Known, Unknown, known, unknown};
use crate::field::{Fe, Field, MAX_LANES};
use crate::point::{Cached, Completed, D2, Extended, Niels, Projective};
use crate::strict;
use crate::tier::{self, Tier};

/// Multiples kept for each window: 0 to 128.
const MULTIPLES: usize = 129;

/// How large a table is: the larger, the fewer doublings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableSize {
    /// 32 windows of 8 bits: 387 KiB, no doubling.
    Full,
    /// 8 windows of 8 bits, 32 bits apart: 97 KiB, 24 doublings a verification.
    Small,
}

impl TableSize {
    /// Base-256 digits from one window to the next.
    pub(crate) const fn stride(self) -> usize {
        match self {
            TableSize::Full => 1,
            TableSize::Small => 4,
        }
    }

    /// Memory of a table of this size in bytes.
    pub const fn bytes(self) -> usize {
        32 / self.stride() * MULTIPLES * size_of::<Entry>()
    }
}

/// y + x, y - x and 2dxy of an affine point, canonical, four little-endian words each.
#[repr(C, align(32))]
#[derive(Clone, Copy)]
pub(crate) struct Entry(pub(crate) [u64; 12]);

/// For one point P, the multiples 0 to 128 of 256^(stride · j) · P for every window j.
pub(crate) struct Table {
    pub(crate) stride: usize,
    entries: Box<[Entry]>,
}

impl Table {
    /// The entry for the absolute value of a digit in a window.
    #[inline(always)]
    pub(crate) fn entry(&self, window: usize, digit: i8) -> &Entry {
        &self.entries[window * MULTIPLES + usize::from(digit.unsigned_abs())]
    }

    /// Asks for an entry that is read soon: tables of many keys are larger than caches.
    #[inline(always)]
    pub(crate) fn prefetch(&self, window: usize, digit: i8) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let entry: *const i8 = std::ptr::from_ref(self.entry(window, digit)).cast();
            // SAFETY: a prefetch faults at no address. An entry has 96 bytes, aligned to 32: these are its two lines.
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(entry);
                _mm_prefetch::<_MM_HINT_T0>(entry.add(64));
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (window, digit);
    }

    /// Builds a table, `F::LANES` windows at a time.
    #[inline(always)]
    pub(crate) fn build<F: Field>(point: Extended<Fe>, stride: usize) -> Table {
        let windows = 32 / stride;
        let mut entries = vec![Entry([0; 12]); windows * MULTIPLES].into_boxed_slice();
        let bases = bases(point, stride);
        let mut multiples = Vec::with_capacity(MULTIPLES);
        for first in (0..windows).step_by(F::LANES) {
            let lane = |lane: usize| bases[first + lane];
            let base = Extended::<F> {
                x: F::from_words(|i| lane(i)[0]),
                y: F::from_words(|i| lane(i)[1]),
                z: F::from_words(|i| lane(i)[2]),
                t: F::from_words(|i| lane(i)[3]),
            };
            let step = base.cached();
            let mut multiple = Completed::identity();
            multiples.clear();
            multiples.push(multiple.projective());
            for _ in 1..MULTIPLES {
                multiple.add_cached(&step, F::mask(|_| false));
                multiples.push(multiple.projective());
            }
            normalise(&multiples, first, &mut entries);
        }
        Table { stride, entries }
    }
}

/// 256^(stride · j) · P for each window, as canonical words of X, Y, Z and T. Not inlined: scalar.
#[inline(never)]
fn bases(point: Extended<Fe>, stride: usize) -> Vec<[[u64; 4]; 4]> {
    let mut base = point;
    (0..32 / stride)
        .map(|window| {
            if window > 0 {
                let mut next = base.completed();
                next.double_times(8 * stride);
                base = next.extended();
            }
            [base.x, base.y, base.z, base.t].map(Fe::canonical)
        })
        .collect()
}

/// Makes affine entries of the multiples of `F::LANES` windows with one inversion (Montgomery).
#[inline(always)]
fn normalise<F: Field>(multiples: &[Projective<F>], first: usize, entries: &mut [Entry]) {
    let mut products = Vec::with_capacity(MULTIPLES);
    let mut product = F::one();
    for point in multiples {
        products.push(product);
        product = product.mul(&point.z);
    }
    let mut inverse = product.invert();
    for (i, point) in multiples.iter().enumerate().rev() {
        let z_inverse = inverse.mul(&products[i]);
        inverse = inverse.mul(&point.z);
        let (x, y) = (point.x.mul(&z_inverse), point.y.mul(&z_inverse));
        let plus = y.add(x).words();
        let minus = y.sub(x).words();
        let xy2d = x.mul(&y).mul(&F::splat(D2)).words();
        for lane in 0..F::LANES {
            let entry = &mut entries[(first + lane) * MULTIPLES + i].0;
            entry[..4].copy_from_slice(&plus[lane]);
            entry[4..8].copy_from_slice(&minus[lane]);
            entry[8..].copy_from_slice(&xy2d[lane]);
        }
    }
}

/// The table of the base point.
pub(crate) fn base() -> &'static Table {
    static BASE: OnceLock<Table> = OnceLock::new();
    BASE.get_or_init(|| {
        // y = 4/5, x even (RFC 8032, section 5.1).
        let y = [
            0x6666_6666_6666_6658,
            0x6666_6666_6666_6666,
            0x6666_6666_6666_6666,
            0x6666_6666_6666_6666,
        ];
        let (point, valid) = Extended::<Fe>::decompress(|_| y);
        assert!(valid, "the base point decodes");
        tier::build(Tier::detect(), point, TableSize::Full)
    })
}

/// The table of one public key A, holding multiples of -A.
///
/// Immutable; may be shared by any number of threads.
pub struct KeyTable {
    pub(crate) table: Table,
    size: TableSize,
}

impl KeyTable {
    /// Builds a table, in about 0.13 ms (small) or 0.45 ms (full) with AVX-512. `None` for a key that is not
    /// canonical, not on the curve, or of small order: nothing verifies under it.
    pub fn build(tier: Tier, public_key: &[u8; 32], size: TableSize) -> Option<KeyTable> {
        if !strict::point_is_canonical(public_key) {
            return None;
        }
        let (point, valid) = Extended::<Fe>::decompress(|_| digits::words(public_key));
        valid.then(|| KeyTable { table: tier::build(tier, point.negate(), size), size })
    }

    /// The size it was built in.
    pub fn size(&self) -> TableSize {
        self.size
    }
}

/// A point prepared for addition, in the form of its tier.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(crate) struct Row(pub(crate) [u64; 24]);

/// Field elements that can be read from tables.
pub(crate) trait Lanes: Field {
    /// Up to so many items that do not fill a vector are verified one by one: a vector costs more.
    const SINGLES: usize;
    /// The same for keys without a table.
    const UNKNOWN_SINGLES: usize;
    /// Whether one signature is faster with its terms spread over these lanes than in scalar code.
    const SPREADS: bool;

    /// One vector of keys with tables, in a function of its own: where all is one function, registers are
    /// spilt in ways that cost up to a fifth.
    fn known(items: &[Known<'_>], out: &mut Projective<Self>);

    /// One vector of keys without.
    fn unknown(items: &[Unknown], out: &mut Projective<Self>) -> Self::Mask;

    /// Reads an entry a lane.
    fn lookup<'a>(entry: impl Fn(usize) -> &'a Entry) -> Niels<Self>;

    /// Writes a point a lane, each into a row of its own.
    #[inline(always)]
    fn store(point: Cached<Self>, rows: &mut [Row; MAX_LANES]) {
        let parts = [point.y_plus_x, point.y_minus_x, point.z, point.t2d].map(Self::words);
        for (lane, row) in rows.iter_mut().enumerate().take(Self::LANES) {
            for (part, words) in parts.iter().zip(row.0.chunks_exact_mut(4)) {
                words.copy_from_slice(&part[lane]);
            }
        }
    }

    /// Reads a point a lane from rows that `store` wrote.
    #[inline(always)]
    fn choose<'a>(row: impl Fn(usize) -> &'a Row) -> Cached<Self> {
        let part = |i: usize| {
            Self::from_words(|lane| std::array::from_fn(|word| row(lane).0[4 * i + word]))
        };
        Cached { y_plus_x: part(0), y_minus_x: part(1), z: part(2), t2d: part(3) }
    }

    /// SHA-512 of R ‖ A ‖ M, one input a lane.
    #[inline(always)]
    fn hash(inputs: &[crate::sha512::Input<'_>], out: &mut [[u8; 64]]) {
        crate::sha512::hash_each(inputs, out);
    }
}

impl Lanes for Fe {
    const SINGLES: usize = 0;
    const UNKNOWN_SINGLES: usize = usize::MAX;
    const SPREADS: bool = false;

    #[inline(never)]
    fn known(items: &[Known<'_>], out: &mut Projective<Fe>) {
        known(items, out);
    }
    #[inline(never)]
    fn unknown(items: &[Unknown], out: &mut Projective<Fe>) -> bool {
        unknown(items, out)
    }

    #[inline(always)]
    fn lookup<'a>(entry: impl Fn(usize) -> &'a Entry) -> Niels<Fe> {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = entry(0).0;
        Niels {
            y_plus_x: Fe::from_words(|_| [a, b, c, d]),
            y_minus_x: Fe::from_words(|_| [e, f, g, h]),
            xy2d: Fe::from_words(|_| [i, j, k, l]),
        }
    }
}
