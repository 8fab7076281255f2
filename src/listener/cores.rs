//! The threads that serve connections, and which of them a new connection goes to.
//!
//! One current-thread runtime for each core: what serves a connection stays on its thread, and its data in that core's caches. Nothing
//! here reads a byte of a connection; tasks are `Send`, so that the same code runs on one shared multi-thread runtime.

use std::{
    cell::OnceCell,
    io,
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

use crate::{metrics, sys::allocator};

/// Which runtimes serve connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flavour {
    /// One of its own for each core, chosen when a connection is accepted.
    PerCore,
    /// The one that runs everything else, which moves work between its threads as it goes.
    #[default]
    Shared,
}

impl Flavour {
    pub const ALL: &[Self] = &[Self::PerCore, Self::Shared];

    /// As the configuration writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PerCore => "per-core",
            Self::Shared => "shared",
        }
    }
}

/// What serves connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Runtime {
    pub flavour: Flavour,
    /// Threads of [`Flavour::PerCore`]. Zero: one for each core.
    pub threads: usize,
}

/// All runtimes that serve connections. Dropped, it ends those of its own with everything that still runs there.
pub(super) struct Cores {
    cores: Arc<[Arc<Core>]>,
    threads: Vec<Thread>,
}

/// One runtime and what it has to do. On cache lines of its own: every thread writes its own, and acceptors read all.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Core {
    runtime: Handle,
    /// Connections that were given to it and have not ended.
    open: AtomicUsize,
    /// Of them, those with a response under way.
    busy: AtomicUsize,
}

/// A connection's stay on a core, over when dropped.
#[derive(Debug)]
pub(super) struct Seat(Arc<Core>);

/// A response under way counts as so many idle connections.
const BUSY_WEIGHT: usize = 8;

/// More threads than this are no machine weir was made for.
const THREADS_MAX: usize = 256;

/// Cores that wait at a listening socket. Each new connection wakes all of them that are idle, so there are not more where there are many cores.
const ACCEPTING_MAX: usize = 4;

impl Cores {
    /// Starts what `config` asks for. The shared flavour takes the runtime this is called in.
    pub(super) fn start(config: Runtime) -> io::Result<Self> {
        let count = match (config.flavour, config.threads) {
            (Flavour::Shared, _) => {
                return Ok(Self { cores: Arc::new([Core::on(Handle::current())]), threads: Vec::new() });
            }
            (Flavour::PerCore, 0) => thread::available_parallelism().map_or(1, NonZero::get),
            (Flavour::PerCore, some) => some,
        };
        let started: io::Result<Vec<_>> = (0..count.min(THREADS_MAX)).map(Thread::start).collect();
        let (cores, threads): (Vec<_>, _) = started?.into_iter().unzip();
        Ok(Self { cores: cores.into(), threads })
    }

    /// Those that accept connections.
    pub(super) fn accepting(&self) -> impl Iterator<Item = (&Arc<Core>, Dealer)> {
        let dealer = |here| Dealer { cores: Arc::clone(&self.cores), here };
        self.cores.iter().take(ACCEPTING_MAX).enumerate().map(move |(here, core)| (core, dealer(here)))
    }
}

/// Deals connections that were accepted on one core.
#[derive(Debug)]
pub(super) struct Dealer {
    cores: Arc<[Arc<Core>]>,
    here: usize,
}

impl Dealer {
    /// A seat for a new connection: on this core, which need not wake another then, unless one has clearly less to do.
    pub(super) fn seat(&self) -> Seat {
        let here = &self.cores[self.here];
        let (here_load, least) = (here.load(), self.cores.iter().min_by_key(|core| core.load()).unwrap_or(here));
        // Few connections may be large downloads and are dealt exactly; of many, an eighth more or less evens out by itself.
        let fair = here_load - here_load / 8 <= least.load();
        Seat::on(if fair { here } else { least })
    }
}

impl Core {
    fn on(runtime: Handle) -> Arc<Self> {
        Arc::new(Self { runtime, open: AtomicUsize::new(0), busy: AtomicUsize::new(0) })
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    fn load(&self) -> usize {
        self.open.load(Relaxed) + BUSY_WEIGHT * self.busy.load(Relaxed)
    }

    /// A connection of this core begins to answer.
    #[inline]
    pub(super) fn begins(&self) {
        self.busy.fetch_add(1, Relaxed);
    }

    /// It has answered everything that was asked.
    #[inline]
    pub(super) fn rests(&self) {
        self.busy.fetch_sub(1, Relaxed);
    }
}

impl Seat {
    fn on(core: &Arc<Core>) -> Self {
        core.open.fetch_add(1, Relaxed);
        Self(Arc::clone(core))
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        &self.0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

thread_local! {
    static HERE: OnceCell<Arc<Core>> = const { OnceCell::new() };
}

/// The core whose thread this is, if it is one's own.
pub(super) fn here() -> Option<Arc<Core>> {
    HERE.with(|core| core.get().cloned())
}

/// A thread that runs one core's tasks until it is told to end.
struct Thread {
    /// Dropped, it ends the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Thread {
    fn start(number: usize) -> io::Result<(Arc<Core>, Self)> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let core = Core::on(runtime.handle().clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let own = Arc::clone(&core);
        let thread = thread::Builder::new().name(format!("weir-core-{number}")).spawn(move || {
            metrics::claim(number);
            HERE.with(|here| _ = here.set(own));
            runtime.block_on(beat_until(stopped));
            // Without waiting for blocking work, of which there is none that anybody needs then.
            runtime.shutdown_background();
        })?;
        Ok((core, Self { stop: Some(stop), thread: Some(thread) }))
    }
}

/// Ends when the sender is dropped; there is nothing to receive.
///
/// A timer that is due before all others of its runtime costs a system call, as it may have to wake a thread that sleeps for longer. With a
/// beat that is always due before them, the timers of connections are never the first. And with each beat the thread gives back memory.
async fn beat_until(mut stopped: oneshot::Receiver<()>) {
    while tokio::time::timeout(BEAT, &mut stopped).await.is_err() {
        allocator::tidy();
    }
}

/// Shorter than what a client is waited for by far, and no load.
const BEAT: Duration = Duration::from_secs(1);

impl Drop for Cores {
    fn drop(&mut self) {
        // All are told before any is waited for.
        self.threads.iter_mut().for_each(|thread| drop(thread.stop.take()));
        for handle in self.threads.iter_mut().filter_map(|thread| thread.thread.take()) {
            // What the tasks held (files, the service) is let go of when this returns. A panic was reported where it happened.
            if handle.thread().id() != thread::current().id() {
                _ = handle.join();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dealer(loads: &[(usize, usize)]) -> Dealer {
        let runtime = Builder::new_current_thread().build().unwrap();
        let core = |&(open, busy): &(usize, usize)| {
            let core = Core::on(runtime.handle().clone());
            core.open.store(open, Relaxed);
            core.busy.store(busy, Relaxed);
            core
        };
        Dealer { cores: loads.iter().map(core).collect(), here: 0 }
    }

    fn opens(dealer: &Dealer) -> Vec<usize> {
        dealer.cores.iter().map(|core| core.open.load(Relaxed)).collect()
    }

    #[test]
    fn few_connections_are_dealt_evenly_wherever_they_were_accepted() {
        let dealer = dealer(&[(0, 0), (0, 0)]);
        let _seats: Vec<_> = (0..4).map(|_| dealer.seat()).collect();
        assert_eq!(opens(&dealer), [2, 2]);
    }

    #[test]
    fn of_many_connections_one_stays_where_it_was_accepted_unless_another_core_has_clearly_less() {
        let near = dealer(&[(32, 0), (30, 0)]);
        let _here = near.seat();
        assert_eq!(opens(&near), [33, 30]);
        let far = dealer(&[(32, 0), (20, 0)]);
        let _there = far.seat();
        assert_eq!(opens(&far), [32, 21]);
    }

    #[test]
    fn a_core_with_a_long_response_gets_fewer_connections() {
        let dealer = dealer(&[(1, 1), (4, 0)]);
        let seat = dealer.seat();
        assert_eq!(opens(&dealer), [1, 5]);
        drop(seat);
        assert_eq!(opens(&dealer), [1, 4]);
    }

    #[test]
    fn each_core_is_a_thread_of_its_own_and_ends_with_its_tasks() {
        let cores = Cores::start(Runtime { flavour: Flavour::PerCore, threads: 3 }).unwrap();
        let (ran, names) = std::sync::mpsc::channel();
        let held = Arc::new(());
        for core in cores.cores.iter() {
            let (ran, held) = (ran.clone(), Arc::clone(&held));
            core.runtime.spawn(async move {
                let is_here = here().is_some();
                ran.send((thread::current().name().unwrap_or_default().to_owned(), is_here)).unwrap();
                std::future::pending::<()>().await;
                drop(held);
            });
        }
        let mut names: Vec<_> = names.iter().take(3).collect();
        names.sort();
        assert_eq!(names, ["weir-core-0", "weir-core-1", "weir-core-2"].map(|name| (name.to_owned(), true)));
        drop(cores);
        assert_eq!(Arc::strong_count(&held), 1);
        assert!(here().is_none());
    }
}
