//! What a module holds to count with: resolved at start, cheap and infallible afterwards.
//!
//! The types hide the metrics library, and that numbers are kept in shards, by thread.

use std::{
    marker::PhantomData,
    ops::Index,
    sync::{Arc, OnceLock},
    time::Duration,
};

use prometheus::{
    HistogramOpts, Opts, Registry,
    core::{Collector, GenericCounter, GenericCounterVec, GenericGauge, GenericGaugeVec, MetricVec},
    proto::MetricType,
};

use crate::metrics::{
    Family, Key, Kind,
    shards::{Durations, NewDurations, Sharded},
};

type CounterVec = GenericCounterVec<Sharded<u64>>;
type GaugeVec = GenericGaugeVec<Sharded<i64>>;
type DurationsVec = MetricVec<NewDurations>;

/// Only ever rises.
#[derive(Clone, Debug)]
pub struct Counter(GenericCounter<Sharded<u64>>);

/// Rises and falls.
#[derive(Clone, Debug)]
pub struct Gauge(GenericGauge<Sharded<i64>>);

/// A histogram of durations, in seconds from 0.5 ms to half an hour.
#[derive(Clone, Debug)]
pub struct Seconds(Durations);

/// One handle for each value of `K`, a label or a tuple of labels: `requests[(door, class, verdict)].inc()`.
///
/// Few handles exist from the start, so that a rate can be taken over their first event; many are resolved at first use, so that
/// combinations that never occur are not shown.
#[derive(Debug)]
pub struct By<K: Key, H: Handle> {
    shared: Arc<Cells<H>>,
    key: PhantomData<fn(K)>,
}

#[derive(Debug)]
struct Cells<H: Handle> {
    family: H::Vec,
    handles: Box<[OnceLock<H>]>,
    values: fn(usize) -> Vec<&'static str>,
}

/// Counts by a reason word of the code. Not for hits: it looks the word up. Bounded, because only words of the source can be given.
#[derive(Debug)]
pub struct Words<W: Word = Reason> {
    family: CounterVec,
    word: PhantomData<fn(W)>,
}

/// Holds a [`Gauge`] one higher until it is dropped.
#[derive(Debug)]
pub struct Held(Gauge);

/// The label name of [`Words`].
pub trait Word: 'static {
    const NAME: &'static str;
}

/// `reason="…"`.
#[derive(Debug)]
pub enum Reason {}

/// `op="…"`: a disk operation.
#[derive(Debug)]
pub enum Op {}

/// `outcome="…"`: of an event that a computer reports.
#[derive(Debug)]
pub enum Outcome {}

impl Word for Outcome {
    const NAME: &'static str = "outcome";
}

impl Word for Reason {
    const NAME: &'static str = "reason";
}

impl Word for Op {
    const NAME: &'static str = "op";
}

impl Counter {
    #[inline]
    pub fn inc(&self) {
        self.0.inc();
    }

    #[inline]
    pub fn add(&self, amount: u64) {
        self.0.inc_by(amount);
    }

    pub fn value(&self) -> u64 {
        self.0.get()
    }
}

impl Gauge {
    #[inline]
    pub fn inc(&self) {
        self.0.inc();
    }

    #[inline]
    pub fn dec(&self) {
        self.0.dec();
    }

    #[inline]
    pub fn add(&self, amount: i64) {
        self.0.add(amount);
    }

    /// A value beyond `i64::MAX` is shown as that.
    pub fn set(&self, value: u64) {
        self.0.set(i64::try_from(value).unwrap_or(i64::MAX));
    }

    pub fn value(&self) -> i64 {
        self.0.get()
    }

    /// One more, until what is returned is dropped.
    #[must_use]
    pub fn hold(&self) -> Held {
        self.inc();
        Held(self.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Seconds {
    #[inline]
    pub fn observe(&self, duration: Duration) {
        self.0.observe(duration);
    }

    pub fn count(&self) -> u64 {
        self.0.count()
    }
}

impl<K: Key, H: Handle> Index<K> for By<K, H> {
    type Output = H;

    #[inline]
    fn index(&self, key: K) -> &H {
        self.shared.at(key.position())
    }
}

impl<K: Key, H: Handle> By<K, H> {
    /// Every handle that exists, with its label values.
    pub fn iter(&self) -> impl Iterator<Item = (Vec<&'static str>, &H)> {
        let cells = &self.shared;
        cells.handles.iter().enumerate().filter_map(|(at, cell)| Some(((cells.values)(at), cell.get()?)))
    }
}

impl<H: Handle> Cells<H> {
    #[inline]
    fn at(&self, position: usize) -> &H {
        self.handles[position].get_or_init(|| H::resolve(&self.family, &(self.values)(position)))
    }
}

impl<K: Key, H: Handle> Clone for By<K, H> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), key: PhantomData }
    }
}

impl<W: Word> Words<W> {
    pub fn inc(&self, word: &'static str) {
        self.add(word, 1);
    }

    pub fn add(&self, word: &'static str, amount: u64) {
        self.family.with_label_values(&[word]).inc_by(amount);
    }

    /// How often `word` was counted.
    pub fn value(&self, word: &'static str) -> u64 {
        self.family.with_label_values(&[word]).get()
    }

    /// Every word counted so far with its count, in the order of the words.
    pub fn all(&self) -> Vec<(String, u64)> {
        let families = self.family.collect();
        let series = families.iter().flat_map(|family| family.get_metric());
        let mut all: Vec<_> = series
            .filter_map(|metric| {
                let label = metric.get_label().iter().find(|pair| pair.name() == W::NAME)?;
                Some((label.value().to_owned(), metric.get_counter().get_value() as u64))
            })
            .collect();
        all.sort_unstable();
        all
    }
}

impl<W: Word> Clone for Words<W> {
    fn clone(&self) -> Self {
        Self { family: self.family.clone(), word: PhantomData }
    }
}

/// What a field of a handle struct can be. Called by the macro of `families` only.
pub(super) trait Field: Sized {
    const KIND: Kind;
    fn register(registry: &Registry, family: &Family, fixed: &[(&'static str, &str)]) -> Self;
}

/// A leaf of [`By`].
pub trait Handle: Sized + std::fmt::Debug + 'static {
    const KIND: Kind;
    type Vec: Collector + Clone + std::fmt::Debug + 'static;
    fn vec(opts: Opts, labels: &[&str]) -> prometheus::Result<Self::Vec>;
    fn resolve(family: &Self::Vec, values: &[&str]) -> Self;
}

impl Handle for Counter {
    const KIND: Kind = Kind::Counter;
    type Vec = CounterVec;

    fn vec(opts: Opts, labels: &[&str]) -> prometheus::Result<CounterVec> {
        CounterVec::new(opts, labels)
    }

    fn resolve(family: &CounterVec, values: &[&str]) -> Self {
        Self(family.with_label_values(values))
    }
}

impl Handle for Gauge {
    const KIND: Kind = Kind::Gauge;
    type Vec = GaugeVec;

    fn vec(opts: Opts, labels: &[&str]) -> prometheus::Result<GaugeVec> {
        GaugeVec::new(opts, labels)
    }

    fn resolve(family: &GaugeVec, values: &[&str]) -> Self {
        Self(family.with_label_values(values))
    }
}

impl Handle for Seconds {
    const KIND: Kind = Kind::Histogram;
    type Vec = DurationsVec;

    fn vec(opts: Opts, labels: &[&str]) -> prometheus::Result<DurationsVec> {
        let opts = opts.variable_labels(labels.iter().map(|&label| label.to_owned()).collect());
        DurationsVec::create(MetricType::HISTOGRAM, NewDurations, HistogramOpts { common_opts: opts, buckets: Vec::new() })
    }

    fn resolve(family: &DurationsVec, values: &[&str]) -> Self {
        Self(family.with_label_values(values))
    }
}

impl<H: Handle> Field for H {
    const KIND: Kind = <H as Handle>::KIND;

    fn register(registry: &Registry, family: &Family, fixed: &[(&'static str, &str)]) -> Self {
        H::resolve(&registered::<H>(registry, family, fixed, &[]), &[])
    }
}

impl<K: Key, H: Handle> Field for By<K, H> {
    const KIND: Kind = <H as Handle>::KIND;

    fn register(registry: &Registry, family: &Family, fixed: &[(&'static str, &str)]) -> Self {
        let family = registered::<H>(registry, family, fixed, &K::names());
        let handles = (0..K::count()).map(|_| OnceLock::new()).collect();
        let cells = Cells { family, handles, values: K::values };
        if K::count() <= EAGER_MAX {
            (0..K::count()).for_each(|position| _ = cells.at(position));
        }
        Self { shared: Arc::new(cells), key: PhantomData }
    }
}

/// Families with more label combinations than this show only those that occurred.
const EAGER_MAX: usize = 16;

impl<W: Word> Field for Words<W> {
    const KIND: Kind = Kind::Counter;

    fn register(registry: &Registry, family: &Family, fixed: &[(&'static str, &str)]) -> Self {
        Self { family: registered::<Counter>(registry, family, fixed, &[W::NAME]), word: PhantomData }
    }
}

fn registered<H: Handle>(registry: &Registry, family: &Family, fixed: &[(&'static str, &str)], labels: &[&str]) -> H::Vec {
    let fixed = fixed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let opts = Opts::new(family.name, format!("{} Worry: {}", family.help, family.worry)).const_labels(fixed);
    let vec = H::vec(opts, labels).expect("declared names and labels are valid, checked by a test");
    registry.register(Box::new(vec.clone())).expect("declared names are unique, checked by a test");
    vec
}
