//! The engine's own threads, so that bulk work holds neither the event loop nor libuv's four.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use kms_core::{ErrorCode, KmsError, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::counters::Latency;

/// As many threads as the process may run at once, started when the first bulk call needs them and
/// ended when the pool is dropped.
#[derive(Default)]
pub struct Pool {
    /// 0 for as many as there are processors.
    size: usize,
    threads: OnceLock<Option<ThreadPool>>,
    jobs: Arc<Mutex<Jobs>>,
    /// How long jobs waited for their turn.
    waits: Arc<Latency>,
}

type Job = Box<dyn FnOnce() + Send>;

/// Jobs that wait for their turn, and how many have it.
#[derive(Default)]
struct Jobs {
    waiting: VecDeque<(Instant, Job)>,
    running: usize,
}

impl Pool {
    /// A pool of that many threads.
    pub(crate) fn of(size: usize) -> Pool {
        Pool { size, ..Pool::default() }
    }

    /// The threads.
    ///
    /// # Errors
    /// `StoreUnavailable` when the operating system refuses to start them.
    pub fn threads(&self) -> Result<&ThreadPool> {
        let build = || {
            let named = ThreadPoolBuilder::new().thread_name(|i| format!("ron-kms-{i}"));
            named.num_threads(self.size).build().ok()
        };
        self.threads.get_or_init(build).as_ref().ok_or_else(|| {
            KmsError::new(ErrorCode::StoreUnavailable, "worker threads could not be started")
        })
    }

    /// How many items of a batch of `len` a thread takes at a time, with at most `threads` of them taking part
    /// (0: all). Whole vectors of eight; enough work to pay for the hand-over; and, where no limit is given, not
    /// so many that one thread ends long after the others.
    ///
    /// # Errors
    /// As [`Pool::threads`].
    pub fn share(&self, len: usize, threads: usize) -> Result<usize> {
        let present = self.threads()?.current_num_threads();
        let (threads, most) = match threads {
            0 => (present, 256),
            limit => (limit.min(present), usize::MAX),
        };
        Ok(len.div_ceil(threads).next_multiple_of(8).clamp(16, most))
    }

    /// Runs a job on the threads, after those that came before it.
    ///
    /// No more jobs are under way than there are threads. A thread that waits for the parts of its job
    /// takes up other work on the same stack: were any number of jobs there to take, a full queue would
    /// make the first of them end last and the stack overflow.
    ///
    /// # Errors
    /// As [`Pool::threads`].
    pub fn spawn(&self, job: impl FnOnce() + Send + 'static) -> Result<()> {
        let threads = self.threads()?;
        let mut jobs = lock(&self.jobs);
        jobs.waiting.push_back((Instant::now(), Box::new(job)));
        if jobs.running < threads.current_num_threads() {
            jobs.running += 1;
            drop(jobs);
            let (jobs, waits) = (Arc::clone(&self.jobs), Arc::clone(&self.waits));
            threads.spawn(move || run_next(jobs, waits));
        }
        Ok(())
    }

    /// How many jobs wait, and how long those before them did.
    pub(crate) fn queue(&self) -> (usize, &Latency) {
        (lock(&self.jobs).waiting.len(), &self.waits)
    }
}

/// Runs one job. The next one is handed to the threads and not run here: this may be the stack of
/// another job that waits.
fn run_next(jobs: Arc<Mutex<Jobs>>, waits: Arc<Latency>) {
    let job = {
        let mut jobs = lock(&jobs);
        let job = jobs.waiting.pop_front();
        if job.is_none() {
            jobs.running -= 1;
        }
        job
    };
    if let Some((since, job)) = job {
        waits.took(since.elapsed());
        job();
        rayon::spawn(move || run_next(jobs, waits));
    }
}

fn lock(jobs: &Mutex<Jobs>) -> MutexGuard<'_, Jobs> {
    // Each critical section is a queue operation and a count.
    jobs.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use rayon::prelude::*;

    use super::*;

    #[test]
    fn jobs_in_a_full_queue_do_not_pile_up_on_one_stack() {
        thread_local!(static DEPTH: Cell<usize> = const { Cell::new(0) });
        const JOBS: usize = 2_000;
        let pool = Arc::new(Pool::default());
        let deepest = Arc::new(AtomicUsize::new(0));
        let (ended, order) = mpsc::channel();
        for i in 0..JOBS {
            let (pool_of_job, deepest, ended) = (pool.clone(), deepest.clone(), ended.clone());
            let job = move || {
                let depth = DEPTH.get() + 1;
                DEPTH.set(depth);
                deepest.fetch_max(depth, Ordering::Relaxed);
                pool_of_job.threads().unwrap().install(|| {
                    (0..64).into_par_iter().for_each(|part| {
                        std::hint::black_box((0..200 * part).sum::<u64>());
                    });
                });
                DEPTH.set(depth - 1);
                ended.send(i).unwrap();
            };
            pool.spawn(job).unwrap();
        }
        let order: Vec<usize> = order.iter().take(JOBS).collect();
        let threads = pool.threads().unwrap().current_num_threads();
        assert!(deepest.load(Ordering::Relaxed) <= threads, "one job a thread at most");
        let late = order.iter().enumerate().map(|(end, start)| end.saturating_sub(*start)).max();
        assert!(late < Some(JOBS / 4), "a job ended {late:?} places late");
    }

    #[test]
    fn jobs_that_come_after_a_pause_are_run() {
        let pool = Pool::default();
        let (ended, order) = mpsc::channel();
        for i in 0..3 {
            let ended = ended.clone();
            pool.spawn(move || ended.send(i).unwrap()).unwrap();
            assert_eq!(order.recv(), Ok(i));
        }
    }
}
