//! Numbers that many threads count in at once: each thread has a cache line of its own, and reading adds them up.
//!
//! A counter that all cores write moves its cache line from core to core with every hit. How numbers are named and shown is not known here.

use std::{
    cell::Cell,
    marker::PhantomData,
    num::NonZero,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use prometheus::{
    HistogramOpts,
    core::{Atomic, Desc, Describer as _, Metric, MetricVecBuilder},
    proto,
};

/// A number, in parts that are each written by few threads. `N` is what they add up to.
#[derive(Debug)]
pub struct Sharded<N> {
    shards: Box<[Line]>,
    number: PhantomData<fn() -> N>,
}

/// Nothing else lies on its cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line(AtomicU64);

/// So many that the threads that serve have one each, up to a bound for memory: a series takes a cache line for each shard.
static COUNT: LazyLock<usize> = LazyLock::new(|| {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    cores.next_power_of_two().min(SHARDS_MAX)
});

const SHARDS_MAX: usize = 16;

/// Taken by the next thread that counts and has claimed none.
static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static OWN: Cell<usize> = const { Cell::new(NONE) };
}

const NONE: usize = usize::MAX;

/// Gives this thread a shard by its number among those that serve, so that no two of them share one by chance.
pub fn claim(number: usize) {
    OWN.set(number % *COUNT);
}

#[inline]
fn own() -> usize {
    match OWN.get() {
        NONE => first_use(),
        own => own,
    }
}

#[cold]
fn first_use() -> usize {
    claim(NEXT.fetch_add(1, Relaxed));
    OWN.get()
}

impl<N> Sharded<N> {
    fn zero() -> Self {
        Self { shards: (0..*COUNT).map(|_| Line::default()).collect(), number: PhantomData }
    }

    #[inline]
    fn add(&self, amount: u64) {
        self.shards[own()].0.fetch_add(amount, Relaxed);
    }

    /// Only for what is not counted at the same time.
    fn set(&self, value: u64) {
        let (first, others) = self.shards.split_first().expect("invariant: there is at least one core");
        others.iter().for_each(|shard| shard.0.store(0, Relaxed));
        first.0.store(value, Relaxed);
    }

    /// Parts may be negative, where one thread adds what another takes off: they wrap, and so does their sum, back.
    fn sum(&self) -> u64 {
        self.shards.iter().fold(0, |sum, shard| sum.wrapping_add(shard.0.load(Relaxed)))
    }
}

macro_rules! atomic {
    ($($number:ty),*) => {$(
        impl Atomic for Sharded<$number> {
            type T = $number;

            fn new(value: $number) -> Self {
                let new = Self::zero();
                new.set(value as u64);
                new
            }

            fn set(&self, value: $number) {
                Self::set(self, value as u64);
            }

            fn get(&self) -> $number {
                self.sum() as $number
            }

            #[inline]
            fn inc_by(&self, amount: $number) {
                self.add(amount as u64);
            }

            #[inline]
            fn dec_by(&self, amount: $number) {
                self.add((amount as u64).wrapping_neg());
            }
        }
    )*};
}

atomic!(u64, i64);

/// A histogram of durations, kept by each thread for itself.
#[derive(Clone, Debug)]
pub struct Durations(Arc<Series>);

#[derive(Debug)]
struct Series {
    labels: Vec<proto::LabelPair>,
    shards: Box<[Shard]>,
}

/// What threads of one shard observed.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard {
    /// By bucket; the last one has no upper bound.
    counts: [AtomicU64; SECONDS.len() + 1],
    nanos: AtomicU64,
}

/// Upper bounds of the buckets: dense where a hit ends, wide where a branch office line downloads.
const SECONDS: [f64; 18] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0];

impl Durations {
    #[inline]
    pub fn observe(&self, duration: Duration) {
        let (shard, seconds) = (&self.0.shards[own()], duration.as_secs_f64());
        let bucket = SECONDS.iter().position(|bound| seconds <= *bound).unwrap_or(SECONDS.len());
        shard.counts[bucket].fetch_add(1, Relaxed);
        shard.nanos.fetch_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    pub fn count(&self) -> u64 {
        (0..=SECONDS.len()).map(|bucket| self.0.observed(bucket)).sum()
    }
}

impl Series {
    fn observed(&self, bucket: usize) -> u64 {
        self.shards.iter().map(|shard| shard.counts[bucket].load(Relaxed)).sum()
    }

    fn shown(&self) -> proto::Histogram {
        let mut below = 0;
        let bucket = |(at, bound): (usize, &f64)| {
            below += self.observed(at);
            let mut bucket = proto::Bucket::default();
            bucket.set_cumulative_count(below);
            bucket.set_upper_bound(*bound);
            bucket
        };
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(SECONDS.iter().enumerate().map(bucket).collect());
        // Never less than its last bucket, though others count meanwhile.
        histogram.set_sample_count(below + self.observed(SECONDS.len()));
        let nanos = self.shards.iter().fold(0_u64, |sum, shard| sum.wrapping_add(shard.nanos.load(Relaxed)));
        histogram.set_sample_sum(Duration::from_nanos(nanos).as_secs_f64());
        histogram
    }
}

impl Metric for Durations {
    fn metric(&self) -> proto::Metric {
        let mut metric = proto::Metric::from_label(self.0.labels.clone());
        metric.set_histogram(self.0.shown());
        metric
    }
}

/// Makes the series of a family of [`Durations`].
#[derive(Clone, Copy, Debug)]
pub struct NewDurations;

impl MetricVecBuilder for NewDurations {
    type M = Durations;
    type P = HistogramOpts;

    fn build<V: AsRef<str>>(&self, opts: &HistogramOpts, values: &[V]) -> prometheus::Result<Durations> {
        let labels = labels(&opts.describe()?, values);
        let shards = (0..*COUNT).map(|_| Shard::default()).collect();
        Ok(Durations(Arc::new(Series { labels, shards })))
    }
}

/// The labels of one series, in order, as the metrics library makes them for its own.
fn labels<V: AsRef<str>>(desc: &Desc, values: &[V]) -> Vec<proto::LabelPair> {
    let own = desc.variable_labels.iter().zip(values).map(|(name, value)| {
        let mut pair = proto::LabelPair::default();
        pair.set_name(name.clone());
        pair.set_value(value.as_ref().to_owned());
        pair
    });
    let mut all: Vec<_> = own.chain(desc.const_label_pairs.iter().cloned()).collect();
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `work` on `threads` threads, each with a shard of its own as far as there are any.
    fn on_threads(threads: usize, work: impl Fn(usize) + Sync) {
        thread::scope(|scope| {
            for number in 0..threads {
                let work = &work;
                scope.spawn(move || {
                    claim(number);
                    work(number);
                });
            }
        });
    }

    #[test]
    fn what_threads_count_apart_adds_up() {
        let (counter, gauge) = (<Sharded<u64> as Atomic>::new(5), <Sharded<i64> as Atomic>::new(0));
        on_threads(SHARDS_MAX + 1, |_| (0..1000).for_each(|_| counter.inc_by(2)));
        assert_eq!(counter.get(), 5 + 2000 * (SHARDS_MAX as u64 + 1));
        // What one thread adds another takes off, and more.
        on_threads(2, |number| if number == 0 { gauge.inc_by(3) } else { gauge.dec_by(4) });
        assert_eq!(gauge.get(), -1);
        Atomic::set(&gauge, 7);
        assert_eq!(gauge.get(), 7);
    }

    #[test]
    fn a_histogram_of_all_threads_is_one_histogram() {
        let all = NewDurations.build::<&str>(&HistogramOpts::new("a", "b"), &[]).unwrap();
        let seen = [Duration::from_micros(500), Duration::from_micros(501), Duration::from_secs(1800), Duration::from_secs(1801)];
        on_threads(2, |_| seen.iter().for_each(|duration| all.observe(*duration)));
        let shown = all.0.shown();
        let counts: Vec<_> = shown.get_bucket().iter().map(|bucket| bucket.cumulative_count()).collect();
        assert_eq!((counts[0], counts[1], counts[16], counts[17]), (2, 4, 4, 6));
        assert_eq!((shown.get_sample_count(), all.count()), (8, 8));
        assert!((shown.get_sample_sum() - 2.0 * 3_601.001_001).abs() < 1e-6);
    }
}
