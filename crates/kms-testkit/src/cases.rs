//! Random cases for tests that compare implementations: few in every run, many when asked.

use std::thread;

/// How many cases [`run`] tries without `PQ_CASES`.
pub const DEFAULT_CASES: u64 = 200;

/// Tries `case` with fresh pseudo-random numbers, `PQ_CASES` times (default [`DEFAULT_CASES`]). `name` and the
/// number of the case are the seed, so a failure repeats; a failing case prints both.
///
/// # Panics
/// If a case does, or `PQ_CASES` is not a number.
pub fn run(name: &str, mut case: impl FnMut(&mut Random)) {
    for number in 0..asked() {
        let report = Report { name, number };
        case(&mut Random::new(name, number));
        drop(report);
    }
}

/// How many cases `PQ_CASES` asks for.
///
/// # Panics
/// If it is not a number.
pub fn asked() -> u64 {
    std::env::var("PQ_CASES")
        .map_or(DEFAULT_CASES, |count| count.parse().expect("PQ_CASES is a number"))
}

/// Names the case when it unwinds.
struct Report<'a> {
    name: &'a str,
    number: u64,
}

impl Drop for Report<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("case {} of {}", self.number, self.name);
        }
    }
}

/// SplitMix64: good enough to choose test cases, and the same everywhere.
pub struct Random(u64);

impl Random {
    /// The numbers of one case.
    pub fn new(name: &str, number: u64) -> Random {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for byte in name.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Random(hash)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is small.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.number() % bound as u64) as usize
    }

    /// That many bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.number() as u8).collect()
    }

    /// Up to that many bytes, the count included in the choice.
    pub fn up_to(&mut self, max: usize) -> Vec<u8> {
        let len = self.below(max + 1);
        self.bytes(len)
    }
}
