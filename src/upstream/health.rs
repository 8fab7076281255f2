//! The state of one upstream: passive ejection after failures in a row, probes while ejected, restoring.
//!
//! ```text
//! healthy ── failures_max failures in a row ──▶ ejected ── a probe or a request succeeds ──▶ healthy
//!                                                └─ probe after backoff, doubled each time, with jitter
//! ```
//! Connections and heads that fail count one by one, bodies that break once for each object: one bad file says nothing about a server.
//! Ejected upstreams are not refused, only asked last: when everything is ejected, the least bad one is tried.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use crate::{
    key::Origin,
    metrics::{self, StatusClass},
    rate::Rate,
    upstream::{
        config::{Config, Definition, Health, Kind},
        error::Error,
    },
};

/// An upstream as everything here knows it: its definition, counters and health. One stands for all origins nobody configured.
pub(super) struct Upstream {
    pub(super) name: Arc<str>,
    /// None for the origins nobody configured: they are never ejected, as one bad origin says nothing about another.
    pub(super) definition: Option<Definition>,
    pub(super) meters: metrics::Peer,
    pub(super) budget: Option<Rate>,
    received: AtomicU64,
    rules: Health,
    condition: Mutex<Condition>,
    ejected: Notify,
}

#[derive(Clone, Debug)]
pub(super) struct Condition {
    pub(super) ejected: bool,
    /// When it became ejected, or healthy.
    pub(super) since: Instant,
    /// Failures since the last success.
    pub(super) failures: u32,
    /// The objects whose bodies broke since then; no more of them than failures that count.
    broken: Vec<Object>,
    pub(super) last_error: Option<Error>,
    /// Moving average of the time to the response head.
    pub(super) latency: Option<Duration>,
}

/// What a body belongs to: a host and a path, as a number that is the same for the same object while the process runs. The query is left
/// out: signatures differ from request to request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Object(u64);

impl Object {
    pub(super) fn of(origin: &Origin, path_and_query: &str) -> Self {
        let path = path_and_query.split('?').next().unwrap_or_default();
        let mut hasher = DefaultHasher::new();
        (&origin.host, origin.port, path).hash(&mut hasher);
        Self(hasher.finish())
    }
}

impl Upstream {
    pub(super) fn configured(definition: &Definition, rules: Health, metrics: &metrics::Upstream) -> Self {
        Self::new(definition.name.clone(), Some(definition.clone()), rules, metrics)
    }

    pub(super) fn unconfigured(rules: Health, metrics: &metrics::Upstream) -> Self {
        Self::new(UNCONFIGURED.into(), None, rules, metrics)
    }

    fn new(name: Arc<str>, definition: Option<Definition>, rules: Health, metrics: &metrics::Upstream) -> Self {
        let meters = metrics.named(&name);
        meters.healthy.set(1);
        let budget = definition.as_ref().and_then(|d| d.bytes_per_second).map(Rate::new);
        let since = Instant::now();
        let condition = Condition { ejected: false, since, failures: 0, broken: Vec::new(), last_error: None, latency: None };
        let (received, ejected) = Default::default();
        Self { name, definition, meters, budget, received, rules, condition: Mutex::new(condition), ejected }
    }

    /// The name as errors carry it.
    pub(super) fn label(&self) -> Box<str> {
        (&*self.name).into()
    }

    pub(super) fn kind(&self) -> Kind {
        self.definition.as_ref().map_or(Kind::Origin, |definition| definition.kind)
    }

    pub(super) fn is_ejected(&self) -> bool {
        self.condition().ejected
    }

    pub(super) fn failures(&self) -> u32 {
        self.condition().failures
    }

    pub(super) fn snapshot(&self) -> Condition {
        self.condition().clone()
    }

    pub(super) fn received_bytes(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub(super) fn receive(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        self.meters.received_bytes.add(bytes as u64);
    }

    /// A response head came after `latency`.
    pub(super) fn answer(&self, status: StatusCode, latency: Duration) {
        self.meters.requests[StatusClass::of(status.as_u16())].inc();
        self.meters.first_byte.observe(latency);
        let mut condition = self.condition();
        condition.latency = Some(condition.latency.map_or(latency, |old| (old * 7 + latency) / 8));
    }

    /// A response came to its end, whatever it said: the upstream is alive. Not the head alone: a line that breaks every body is no use.
    pub(super) fn succeed(&self) {
        self.restore(&mut self.condition());
    }

    /// It answered that it cannot (502, 503 or 504). That says something of itself only where others have the same to give; there it counts as a
    /// failure, else as any answer.
    pub(super) fn refuse(&self, status: StatusCode) {
        if self.definition.as_ref().is_none_or(|definition| definition.group.is_none()) {
            return self.succeed();
        }
        let error = Error::Refused { upstream: self.label(), status };
        self.meters.errors.inc(error.reason());
        self.count(&mut self.condition(), &error);
    }

    /// An attempt failed. Counts towards ejection if the reason is the upstream's or the network's.
    pub(super) fn fail(&self, error: &Error) {
        self.meters.errors.inc(error.reason());
        if blames_upstream(error) {
            self.count(&mut self.condition(), error);
        }
    }

    /// The body of `object` broke or stalled. Counts once for each object.
    pub(super) fn fail_body(&self, error: &Error, object: Object) {
        self.meters.errors.inc(error.reason());
        let mut condition = self.condition();
        if condition.broken.contains(&object) || !blames_upstream(error) {
            return;
        }
        if condition.broken.len() < self.rules.failures_max as usize {
            condition.broken.push(object);
        }
        self.count(&mut condition, error);
    }

    fn count(&self, condition: &mut Condition, error: &Error) {
        condition.failures = condition.failures.saturating_add(1);
        condition.last_error = Some(error.clone());
        if condition.ejected || condition.failures < self.rules.failures_max || self.definition.is_none() {
            return;
        }
        condition.ejected = true;
        condition.since = Instant::now();
        self.meters.healthy.set(0);
        tracing::warn!(upstream = %self.name, failures = condition.failures, %error, "upstream ejected");
        self.ejected.notify_one();
    }

    fn restore(&self, condition: &mut Condition) {
        condition.failures = 0;
        condition.broken.clear();
        if std::mem::take(&mut condition.ejected) {
            condition.since = Instant::now();
            self.meters.healthy.set(1);
            tracing::info!(upstream = %self.name, "upstream restored");
        }
    }

    fn condition(&self) -> MutexGuard<'_, Condition> {
        self.condition.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Probes `upstream` whenever it is ejected, until it is restored. Runs until dropped.
pub(super) async fn watch<F>(upstream: Arc<Upstream>, probe: impl Fn() -> F)
where
    F: Future<Output = Result<(), Error>>,
{
    loop {
        // Asked first: after a reload this task may find its upstream ejected already.
        if !upstream.is_ejected() {
            upstream.ejected.notified().await;
        }
        let mut backoff = upstream.rules.backoff;
        while upstream.is_ejected() {
            sleep(jittered(backoff)).await;
            backoff = (backoff * 2).min(upstream.rules.backoff_max);
            match timeout(PROBE_TIMEOUT, probe()).await {
                Ok(Ok(())) => upstream.succeed(),
                Ok(Err(error)) => tracing::debug!(upstream = %upstream.name, %error, "probe failed"),
                Err(_) => tracing::debug!(upstream = %upstream.name, "probe got no answer"),
            }
        }
    }
}

/// Between half and all of `duration`, so that many weirs do not return to a restarted parent in one instant.
pub(super) fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(rand::random_range(0.5..=1.0))
}

/// Whether an error says something about the upstream's health, and not about weir, the client or the policy.
fn blames_upstream(error: &Error) -> bool {
    match error {
        Error::Resolve { .. }
        | Error::Connect { .. }
        | Error::ConnectTimeout { .. }
        | Error::Tls { .. }
        | Error::FirstByteTimeout { .. }
        | Error::Stalled { .. }
        | Error::Broken { .. }
        | Error::Protocol { .. } => true,
        // What a parent answers is about one origin as likely as about itself: a dead origin must not cost the others their parent.
        Error::Refused { .. }
        | Error::Address { .. }
        | Error::Request { .. }
        | Error::Redirect { .. }
        | Error::RedirectLoop
        | Error::Busy { .. }
        | Error::Exhausted { .. }
        | Error::Unhealthy { .. }
        | Error::Closed => false,
    }
}

/// How health settings reach the upstreams of a configuration: those that did not change keep their state.
pub(super) fn carried_over(config: &Config, old: &[Arc<Upstream>], metrics: &metrics::Upstream) -> Vec<Arc<Upstream>> {
    let same = |definition: &Definition| {
        let unchanged = |u: &&Arc<Upstream>| u.rules == config.health && u.definition.as_ref() == Some(definition);
        old.iter().find(unchanged).cloned()
    };
    let upstream = |d| same(d).unwrap_or_else(|| Arc::new(Upstream::configured(d, config.health, metrics)));
    config.upstreams.iter().map(upstream).collect()
}

/// Name of what stands for all origins nobody configured.
pub(super) const UNCONFIGURED: &str = "origin";

/// A probe that takes longer has failed.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
