//! Points of eight lanes from memory: by whole loads and a transposition, in place of gathers.

use std::arch::x86_64::*;

use super::{Fe8, LIMBS, MAX_LANES, each, high_words, low_words, pick, splat, transpose8, unpack};
use crate::equation::{self, Known, Unknown};
use crate::point::{Cached, Niels, Projective};
use crate::sha512::{Input, avx512::hash8};
use crate::table::{Entry, Lanes, Row};
use crate::tier::own_functions;

impl Lanes for Fe8 {
    const SINGLES: usize = 2;
    const UNKNOWN_SINGLES: usize = 2;
    const SPREADS: bool = true;
    own_functions!(Fe8, "avx512f,avx512ifma,avx512vl,avx512dq,avx512bw,avx512vbmi2");

    /// Twelve words of eight lanes, by whole loads and a transposition, in place of fifteen gathers.
    #[inline(always)]
    fn lookup<'a>(entry: impl Fn(usize) -> &'a Entry) -> Niels<Self> {
        let p: [*const u64; 8] = each!(8, i => entry(i).0.as_ptr());
        // SAFETY: an entry is twelve words; eight are read from its start, four from its eighth.
        let (rows, rest) = unsafe {
            let rows = each!(8, i => _mm512_loadu_si512(p[i].cast()));
            let rest = each!(4, i => {
                let low = _mm512_castsi256_si512(_mm256_loadu_si256(p[i].add(8).cast()));
                _mm512_inserti64x4::<1>(low, _mm256_loadu_si256(p[i + 4].add(8).cast()))
            });
            (rows, rest)
        };
        let w = transpose8(rows);
        // Each row of `rest` holds words 8 to 11 of lanes i and i + 4.
        let (a, b) = (low_words(rest[0], rest[1]), high_words(rest[0], rest[1]));
        let (c, d) = (low_words(rest[2], rest[3]), high_words(rest[2], rest[3]));
        // SAFETY: see `instructions!`.
        let (even, odd) = unsafe {
            (
                _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13),
                _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15),
            )
        };
        Niels {
            y_plus_x: unpack([w[0], w[1], w[2], w[3]]),
            y_minus_x: unpack([w[4], w[5], w[6], w[7]]),
            xy2d: unpack([pick(a, even, c), pick(b, even, d), pick(a, odd, c), pick(b, odd, d)]),
        }
    }

    /// The limbs of a lane, one after the other.
    #[inline(always)]
    fn store(point: Cached<Self>, rows: &mut [Row; MAX_LANES]) {
        let limbs = [point.y_plus_x.0, point.y_minus_x.0, point.z.0, point.t2d.0];
        for part in 0..3 {
            let lanes = transpose8(each!(8, i => {
                let limb = 8 * part + i;
                if limb < 20 { limbs[limb / LIMBS][limb % LIMBS] } else { splat(0) }
            }));
            for (row, lane) in rows.iter_mut().zip(lanes) {
                // SAFETY: eight words of 24 are written.
                unsafe { _mm512_store_si512(row.0.as_mut_ptr().add(8 * part).cast(), lane) };
            }
        }
    }

    /// By whole loads and a transposition: a choice among 17 points would take 16 blends a limb.
    #[inline(always)]
    fn choose<'a>(row: impl Fn(usize) -> &'a Row) -> Cached<Self> {
        let p: [*const u64; 8] = each!(8, i => row(i).0.as_ptr());
        macro_rules! part {
            ($part:literal) => {
                // SAFETY: eight words of 24 are read.
                transpose8(each!(8, i => unsafe { _mm512_load_si512(p[i].add(8 * $part).cast()) }))
            };
        }
        let (a, b, c) = (part!(0), part!(1), part!(2));
        Cached {
            y_plus_x: Fe8([a[0], a[1], a[2], a[3], a[4]]),
            y_minus_x: Fe8([a[5], a[6], a[7], b[0], b[1]]),
            z: Fe8([b[2], b[3], b[4], b[5], b[6]]),
            t2d: Fe8([b[7], c[0], c[1], c[2], c[3]]),
        }
    }

    #[inline(always)]
    fn hash(inputs: &[Input<'_>], out: &mut [[u8; 64]]) {
        hash8(inputs, out);
    }
}
