//! The disk pool: a few threads of our own that make the blocking calls, so that no connection ever waits for another's disk.
//!
//! Reads for clients come first, then writes, then everything that has time; each eighth job is taken from the back of that order, so
//! that a flood of reads slows a fill but cannot stop it. At most [`JOBS_MAX`] callers per kind have a job in the pool; more of them wait.

use std::{
    any::Any,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tokio::sync::{Semaphore, oneshot};

use crate::sys::{allocator, threads};

/// What a job is for; the order is the order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A client waits for it.
    Read,
    /// Bytes that arrived.
    Write,
    /// Checking, merging, removing.
    Background,
}

/// Callers per kind that may wait for a job.
const JOBS_MAX: usize = 1_024;

/// One in this many jobs is taken in the reverse order of preference.
const FAIRNESS: u32 = 8;

/// Hashing and copying of what comes from or goes to the disk must not take a core from hits: where both want it, the pool gets about a tenth.
const NICENESS: u8 = 10;

/// A thread that has had nothing to do for so long gives back memory.
const REST: Duration = Duration::from_secs(1);

type Job = Box<dyn FnOnce() + Send>;

/// Dropping it ends the threads once the queued jobs are done.
#[derive(Debug)]
pub(super) struct Pool {
    shared: Arc<Shared>,
    permits: [Arc<Semaphore>; 3],
}

#[derive(Debug, Default)]
struct Shared {
    queues: Mutex<Queues>,
    changed: Condvar,
    idle: Condvar,
}

#[derive(Default)]
struct Queues {
    jobs: [VecDeque<Job>; 3],
    taken: u32,
    running: usize,
    ended: bool,
}

impl Pool {
    pub(super) fn start(threads: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let pool = Self { shared: Arc::clone(&shared), permits: std::array::from_fn(|_| Arc::new(Semaphore::new(JOBS_MAX))) };
        for number in 0..threads.max(1) {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name(format!("weir-disk-{number}")).spawn(move || {
                // Without it they share the cores evenly, and clients wait a little longer.
                let _ = threads::step_back(NICENESS);
                shared.work();
            })?;
        }
        Ok(pool)
    }

    /// Runs `job` and gives its result; `None` if it panicked. Dropping the future before the job began forgets it; one that began is finished.
    pub(super) async fn run<T: Send + 'static>(&self, kind: Kind, job: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let permit = Arc::clone(&self.permits[kind as usize]).acquire_owned().await.ok()?;
        let (done, result) = oneshot::channel();
        self.spawn(kind, move || {
            if !done.is_closed() {
                // Nobody listening is fine: the caller went away while the job ran.
                let _ = done.send(job());
            }
            drop(permit);
        });
        result.await.ok()
    }

    /// Queues `job` at once. Only for jobs of which each blob or writer has at most one queued: that is their bound.
    pub(super) fn spawn(&self, kind: Kind, job: impl FnOnce() + Send + 'static) {
        self.shared.lock().jobs[kind as usize].push_back(Box::new(job));
        self.shared.changed.notify_one();
    }

    /// Waits until no job is queued or running. Blocks.
    pub(super) fn wait_idle(&self) {
        let mut queues = self.shared.lock();
        while !queues.is_idle() {
            queues = self.shared.idle.wait(queues).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut queues = self.lock();
        let mut is_tidy = true;
        loop {
            if let Some(job) = queues.next() {
                is_tidy = false;
                queues.running += 1;
                drop(queues);
                if let Err(panic) = catch_unwind(AssertUnwindSafe(job)) {
                    tracing::error!(panic = words(&*panic), "a disk job panicked");
                }
                queues = self.lock();
                queues.running -= 1;
                if queues.is_idle() {
                    self.idle.notify_all();
                }
            } else if queues.ended {
                return;
            } else if is_tidy {
                queues = self.changed.wait(queues).unwrap_or_else(PoisonError::into_inner);
            } else {
                let (waited, rest) = self.changed.wait_timeout(queues, REST).unwrap_or_else(PoisonError::into_inner);
                queues = waited;
                if rest.timed_out() {
                    drop(queues);
                    allocator::tidy();
                    is_tidy = true;
                    queues = self.lock();
                }
            }
        }
    }
}

impl Queues {
    fn is_idle(&self) -> bool {
        self.running == 0 && self.jobs.iter().all(VecDeque::is_empty)
    }

    fn next(&mut self) -> Option<Job> {
        let job = if (self.taken + 1).is_multiple_of(FAIRNESS) {
            self.jobs.iter_mut().rev().find_map(VecDeque::pop_front)
        } else {
            self.jobs.iter_mut().find_map(VecDeque::pop_front)
        }?;
        self.taken = (self.taken + 1) % FAIRNESS;
        Some(job)
    }
}

impl std::fmt::Debug for Queues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.jobs.iter().map(VecDeque::len)).finish()
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A pool of one thread that is busy until the sender is used, so that what is queued meanwhile shows its order.
    fn held() -> (Pool, mpsc::Sender<()>) {
        let pool = Pool::start(1).unwrap();
        let (go, wait) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel();
        pool.spawn(Kind::Read, move || {
            begun.send(()).unwrap();
            wait.recv().unwrap();
        });
        begins.recv().unwrap();
        (pool, go)
    }

    #[test]
    fn reads_go_before_writes_and_writes_before_the_rest_but_nothing_starves() {
        let (pool, go) = held();
        let (done, order) = mpsc::channel();
        for kind in [Kind::Background, Kind::Write].into_iter().chain([Kind::Read; 10]) {
            let done = done.clone();
            pool.spawn(kind, move || done.send(kind).unwrap());
        }
        go.send(()).unwrap();
        pool.wait_idle();
        let order: Vec<Kind> = order.try_iter().collect();
        assert_eq!(order[..6], [Kind::Read; 6]);
        assert_eq!(order[6], Kind::Background, "the eighth job is taken from the back");
        assert_eq!(order[7..], [Kind::Read, Kind::Read, Kind::Read, Kind::Read, Kind::Write]);
    }

    #[tokio::test]
    async fn a_job_that_panics_harms_nobody_else() {
        let pool = Pool::start(1).unwrap();
        assert_eq!(pool.run(Kind::Read, || -> u8 { panic!("on purpose") }).await, None);
        assert_eq!(pool.run(Kind::Read, || 7).await, Some(7));
    }

    #[tokio::test]
    async fn a_job_nobody_waits_for_any_more_is_not_begun() {
        let (pool, go) = held();
        let (ran, runs) = mpsc::channel();
        {
            let mut job = Box::pin(pool.run(Kind::Read, move || ran.send(()).unwrap()));
            let polled = futures_util::poll!(&mut job);
            assert!(polled.is_pending());
        }
        go.send(()).unwrap();
        pool.wait_idle();
        assert!(runs.recv().is_err(), "it was dropped without running");
    }
}
