//! What the engine counts: relaxed atomics on the hot path, read when metrics are scraped.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use kms_core::{Algorithm, ErrorCode};
use serde::Serialize;

use crate::op::Op;
use crate::suite::Label;

/// Upper bounds of the latency buckets, in seconds.
const LATENCY_BOUNDS: [f64; 16] =
    [5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.5, 2.0];
/// Upper bounds of the batch length buckets.
const BATCH_BOUNDS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

const ALGS: usize = Label::COUNT;
const OPS: usize = Op::ALL.len();
const CODES: usize = ErrorCode::ALL.len();

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Done; for a verification: valid.
    Ok,
    /// A verification that was carried out and failed.
    Invalid,
    /// Refused or failed.
    Err(ErrorCode),
}

impl Outcome {
    const NAMES: [&'static str; 3] = ["ok", "invalid", "err"];

    const fn index(self) -> usize {
        match self {
            Outcome::Ok => 0,
            Outcome::Invalid => 1,
            Outcome::Err(_) => 2,
        }
    }
}

pub(crate) struct Histogram<const N: usize> {
    /// One a bound; what is above the last is the rest of `count`.
    buckets: [AtomicU64; N],
    count: AtomicU64,
    /// In units of the caller, whole.
    sum: AtomicU64,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Histogram {
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            count: AtomicU64::new(0),
            sum: AtomicU64::new(0),
        }
    }
}

impl<const N: usize> Histogram<N> {
    fn observe(&self, bounds: &[f64; N], value: f64, units: u64) {
        if let Some(bucket) = bounds.iter().position(|bound| value <= *bound) {
            self.buckets[bucket].fetch_add(1, Relaxed);
        }
        self.count.fetch_add(1, Relaxed);
        self.sum.fetch_add(units, Relaxed);
    }
}

pub(crate) type Latency = Histogram<{ LATENCY_BOUNDS.len() }>;

impl Latency {
    pub(crate) fn took(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.observe(&LATENCY_BOUNDS, time.as_secs_f64(), nanos);
    }
}

#[derive(Default)]
struct PerOp {
    ended: [[AtomicU64; 3]; ALGS],
    latency: [Latency; ALGS],
    failures: [AtomicU64; CODES],
    batch: Histogram<{ BATCH_BOUNDS.len() }>,
}

/// Every counter of one engine.
#[derive(Default)]
pub(crate) struct Counters {
    ops: [PerOp; OPS],
    /// How long the decapsulation in each unwrapping took.
    decapsulation: [Latency; ALGS],
    /// Refusals by post-quantum policy.
    pq_refused: AtomicU64,
    /// Verifications that held by a classical half alone, by tenant.
    classical_only: RwLock<HashMap<Box<str>, Arc<AtomicU64>>>,
}

/// Tenants that are counted by name.
const MOST_TENANTS: usize = 1000;
/// The name of all others, which no tenant can have.
const OTHERS: &str = "(others)";

impl Counters {
    /// So many operations ended.
    pub(crate) fn ended(&self, op: Op, alg: Label, outcome: Outcome, times: u64) {
        let cell = &self.ops[op as usize];
        cell.ended[alg.index()][outcome.index()].fetch_add(times, Relaxed);
        if let Outcome::Err(code) = outcome {
            cell.failures[code as usize].fetch_add(times, Relaxed);
        }
    }

    /// It took this long.
    pub(crate) fn took(&self, op: Op, alg: Label, time: Duration) {
        self.ops[op as usize].latency[alg.index()].took(time);
    }

    /// The decapsulation in an unwrapping took this long.
    pub(crate) fn decapsulated(&self, alg: Label, time: Duration) {
        self.decapsulation[alg.index()].took(time);
    }

    /// A batch of this many items.
    pub(crate) fn batch(&self, op: Op, len: usize) {
        #[expect(clippy::cast_precision_loss, reason = "batches are far below 2^52 items")]
        self.ops[op as usize].batch.observe(&BATCH_BOUNDS, len as f64, len as u64);
    }

    /// A policy refused what was well-formed and, as far as it was looked at, sound.
    pub(crate) fn pq_refused(&self) {
        self.pq_refused.fetch_add(1, Relaxed);
    }

    /// The counter of a tenant's verifications that held by a classical half alone.
    pub(crate) fn classical_only(&self, tenant: &str) -> Arc<AtomicU64> {
        let mut tenants = self.classical_only.write().unwrap_or_else(PoisonError::into_inner);
        let room = tenants.len() < MOST_TENANTS || tenants.contains_key(tenant);
        let name = if room { tenant } else { OTHERS };
        Arc::clone(tenants.entry(name.into()).or_default())
    }

    /// The counters that are not zero.
    pub(crate) fn snapshot(
        &self,
        keys: &[u64; Algorithm::ALL.len()],
        (depth, waits): (usize, &Latency),
    ) -> Snapshot {
        let mut snapshot = Snapshot {
            ops: vec![],
            latency: vec![],
            latency_bounds: LATENCY_BOUNDS.to_vec(),
            failures: vec![],
            batch: vec![],
            queue: Queue { depth, waits: Shape::read(waits, 1e-9) },
            batch_bounds: BATCH_BOUNDS.to_vec(),
            keys: Algorithm::ALL
                .into_iter()
                .zip(keys)
                .filter(|(_, value)| **value > 0)
                .map(|(alg, value)| KeyCount { alg: alg.name(), value: *value })
                .collect(),
            pq_refused: self.pq_refused.load(Relaxed),
            classical_only: self.tenants(),
        };
        for (op, cell) in Op::ALL.into_iter().zip(&self.ops) {
            let op = op.name();
            for (alg, results) in cell.ended.iter().enumerate() {
                for (result, count) in Outcome::NAMES.into_iter().zip(results) {
                    if let value @ 1.. = count.load(Relaxed) {
                        snapshot.ops.push(OpCount { op, alg: Label::name(alg), result, value });
                    }
                }
            }
            snapshot.latency.extend(latencies(op, &cell.latency));
            if cell.batch.count.load(Relaxed) > 0 {
                snapshot.batch.push(BatchLength { op, shape: Shape::read(&cell.batch, 1.0) });
            }
            for (code, count) in ErrorCode::ALL.into_iter().zip(&cell.failures) {
                if let value @ 1.. = count.load(Relaxed) {
                    snapshot.failures.push(FailureCount { op, kind: code.name(), value });
                }
            }
        }
        snapshot.latency.extend(latencies(DECAPSULATION, &self.decapsulation));
        snapshot
    }

    fn tenants(&self) -> Vec<TenantCount> {
        let tenants = self.classical_only.read().unwrap_or_else(PoisonError::into_inner);
        let mut counts: Vec<TenantCount> = tenants
            .iter()
            .map(|(tenant, count)| TenantCount {
                tenant: tenant.clone(),
                value: count.load(Relaxed),
            })
            .collect();
        counts.sort_by(|a, b| a.tenant.cmp(&b.tenant));
        counts
    }
}

/// Counts the items of a batch. Equal ones in a row are added at once: threads that work side by side would
/// otherwise take each counter from one another with every item.
pub(crate) struct Tally<'a> {
    counters: &'a Counters,
    op: Op,
    last: Option<(Label, Outcome)>,
    times: u64,
}

impl<'a> Tally<'a> {
    pub(crate) fn new(counters: &'a Counters, op: Op) -> Self {
        Tally { counters, op, last: None, times: 0 }
    }

    /// One item ended.
    pub(crate) fn add(&mut self, alg: Label, outcome: Outcome) {
        if self.last != Some((alg, outcome)) {
            self.flush();
            self.last = Some((alg, outcome));
        }
        self.times += 1;
    }

    fn flush(&mut self) {
        if let Some((alg, outcome)) = self.last {
            self.counters.ended(self.op, alg, outcome, std::mem::take(&mut self.times));
        }
    }
}

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        self.flush();
    }
}

/// The part of an unwrapping that is timed on its own.
const DECAPSULATION: &str = "unwrap.decapsulate";

fn latencies(op: &'static str, of: &[Latency; ALGS]) -> impl Iterator<Item = OpLatency> {
    let some = of.iter().enumerate().filter(|(_, latency)| latency.count.load(Relaxed) > 0);
    some.map(move |(alg, latency)| OpLatency {
        op,
        alg: Label::name(alg),
        shape: Shape::read(latency, 1e-9),
    })
}

/// All counters at one moment.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    ops: Vec<OpCount>,
    latency: Vec<OpLatency>,
    latency_bounds: Vec<f64>,
    failures: Vec<FailureCount>,
    batch: Vec<BatchLength>,
    queue: Queue,
    batch_bounds: Vec<f64>,
    keys: Vec<KeyCount>,
    pq_refused: u64,
    classical_only: Vec<TenantCount>,
}

/// Jobs that wait for a thread of the engine, and how long those before them waited.
#[derive(Debug, Serialize)]
struct Queue {
    depth: usize,
    #[serde(flatten)]
    waits: Shape,
}

#[derive(Debug, Serialize)]
struct TenantCount {
    tenant: Box<str>,
    value: u64,
}

#[derive(Debug, Serialize)]
struct OpCount {
    op: &'static str,
    alg: &'static str,
    result: &'static str,
    value: u64,
}

#[derive(Debug, Serialize)]
struct FailureCount {
    op: &'static str,
    kind: &'static str,
    value: u64,
}

#[derive(Debug, Serialize)]
struct KeyCount {
    alg: &'static str,
    value: u64,
}

#[derive(Debug, Serialize)]
struct OpLatency {
    op: &'static str,
    alg: &'static str,
    #[serde(flatten)]
    shape: Shape,
}

#[derive(Debug, Serialize)]
struct BatchLength {
    op: &'static str,
    #[serde(flatten)]
    shape: Shape,
}

/// Counts a bucket, not cumulative; the last is what lies above every bound.
#[derive(Debug, Serialize)]
struct Shape {
    buckets: Vec<u64>,
    sum: f64,
    count: u64,
}

impl Shape {
    #[expect(clippy::cast_precision_loss, reason = "2^53 nanoseconds are a hundred days of work")]
    fn read<const N: usize>(histogram: &Histogram<N>, unit: f64) -> Shape {
        let mut buckets: Vec<u64> = histogram.buckets.iter().map(|b| b.load(Relaxed)).collect();
        let below: u64 = buckets.iter().sum();
        // Writers do not stop for a scrape: never report fewer observations than buckets hold.
        let count = histogram.count.load(Relaxed).max(below);
        buckets.push(count - below);
        Shape { buckets, sum: histogram.sum.load(Relaxed) as f64 * unit, count }
    }
}
