//! The figures of the status page, `GET /api/status` and `weir status`: what metrics count, joined with what the snapshot names.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::{
    admin::{Event, Fill, Listening, Readiness, Snapshot, Upstream, Weir},
    census::Seen,
    metrics::{Class, Label, Metrics, Purpose, Source, Verdict, Words},
};

/// Everything the page shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub node: String,
    pub readiness: Readiness,
    /// Seconds of Unix time.
    pub now: u64,
    pub uptime_seconds: u64,
    pub traffic: Traffic,
    /// Completed and running hours, oldest first.
    pub hours: Vec<Hour>,
    pub connections: u64,
    pub fills_running: u64,
    pub fills: Vec<Fill>,
    pub upstreams: Vec<UpstreamUse>,
    /// The last ones seen, as [`crate::census`] keeps them: what is masked there is masked here.
    #[serde(default)]
    pub computers: Vec<Seen>,
    /// All that are listed.
    #[serde(default)]
    pub computers_known: u64,
    pub store: StoreUsage,
    /// By verdict, since start.
    pub verdicts: Vec<Counted>,
    pub refusals: Vec<Counted>,
    pub errors: Vec<Counted>,
    pub events: Vec<Event>,
    pub listening: Vec<Listening>,
    pub reachable: Vec<String>,
    pub warnings: Vec<String>,
}

/// Bytes since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Content sent to clients, wherever it came from.
    pub content_bytes: u64,
    /// Content that crossed the WAN: what fills brought, and what could only be relayed.
    pub wan_bytes: u64,
    /// Bodies of what is no content (service calls), relayed; not in the two above.
    pub relayed_bytes: u64,
    pub requests: u64,
}

/// What one hour brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hour {
    /// Its start, in seconds of Unix time.
    pub start: u64,
    pub content_bytes: u64,
    pub wan_bytes: u64,
}

/// An upstream and what came from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpstreamUse {
    #[serde(flatten)]
    pub upstream: Upstream,
    pub received_bytes: u64,
    pub errors: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreUsage {
    pub directory: String,
    pub used_bytes: u64,
    pub limit_bytes: u64,
    /// Of the file system.
    pub free_bytes: u64,
    pub objects: u64,
    pub evictions: u64,
    pub evicted_bytes: u64,
    pub degraded: Option<String>,
    /// Contents that failed their digest, and those of them that are or were in quarantine, since start.
    #[serde(default)]
    pub mismatched: u64,
    #[serde(default)]
    pub quarantined: u64,
}

/// A word and how often it was counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    pub word: String,
    pub count: u64,
}

impl Traffic {
    pub(super) fn of(metrics: &Metrics) -> Self {
        let filled = Purpose::ALL.iter().map(|purpose| metrics.cache.upstream_bytes[*purpose].value()).sum();
        let requests = metrics.proxy.requests.iter().map(|(_, count)| count.value()).sum();
        let mut traffic = Self { wan_bytes: filled, requests, ..Self::default() };
        for (labels, bytes) in metrics.proxy.sent_bytes.iter() {
            let [_, class, source] = labels[..] else { continue };
            let (is_content, is_relayed) = (class == Class::Content.word(), source == Source::Relayed.word());
            if is_content && source != Source::Own.word() {
                traffic.content_bytes += bytes.value();
            }
            if is_content && is_relayed {
                traffic.wan_bytes += bytes.value();
            }
            if !is_content && is_relayed {
                traffic.relayed_bytes += bytes.value();
            }
        }
        traffic
    }

    /// What clients got and the WAN did not carry. Zero while fills are ahead of their readers.
    pub fn saved_bytes(&self) -> u64 {
        self.content_bytes.saturating_sub(self.wan_bytes)
    }

    /// The share of the content that did not cross the WAN, 0 to 1; none before any content was sent.
    pub fn hit_ratio(&self) -> Option<f64> {
        ratio(self.saved_bytes(), self.content_bytes)
    }
}

impl Hour {
    /// As [`Traffic::hit_ratio`], of this hour.
    pub fn hit_ratio(&self) -> Option<f64> {
        ratio(self.content_bytes.saturating_sub(self.wan_bytes), self.content_bytes)
    }
}

pub(super) fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

impl Status {
    pub(super) fn of(weir: &dyn Weir, hours: Vec<Hour>, now: SystemTime) -> Self {
        let (metrics, snapshot) = (weir.metrics(), weir.snapshot());
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            readiness: weir.readiness(),
            now: unix(now),
            uptime_seconds: now.duration_since(snapshot.started).unwrap_or_default().as_secs(),
            traffic: Traffic::of(metrics),
            hours,
            connections: shown(metrics.listener.connections.value()),
            fills_running: shown(metrics.cache.fills_running.value()),
            store: StoreUsage::of(metrics, &snapshot),
            computers: weir.computers(COMPUTERS_MAX),
            computers_known: shown(metrics.census.computers.value()),
            verdicts: verdicts(metrics),
            refusals: counted(&metrics.proxy.refusals),
            errors: counted(&metrics.proxy.errors),
            upstreams: snapshot.upstreams.into_iter().map(|upstream| UpstreamUse::of(metrics, upstream)).collect(),
            node: snapshot.node,
            fills: snapshot.fills,
            events: snapshot.events,
            listening: snapshot.listening,
            reachable: snapshot.reachable,
            warnings: snapshot.warnings,
        }
    }
}

impl UpstreamUse {
    fn of(metrics: &Metrics, upstream: Upstream) -> Self {
        let peer = metrics.upstream.named(&upstream.name);
        let errors = peer.errors.all().iter().map(|(_, count)| count).sum();
        Self { received_bytes: peer.received_bytes.value(), errors, upstream }
    }
}

impl StoreUsage {
    fn of(metrics: &Metrics, snapshot: &Snapshot) -> Self {
        let store = &metrics.store;
        Self {
            directory: snapshot.directory.clone(),
            used_bytes: shown(store.used_bytes.value()),
            limit_bytes: shown(store.limit_bytes.value()),
            free_bytes: shown(store.free_bytes.value()),
            objects: shown(store.objects.value()),
            evictions: store.evictions.value(),
            evicted_bytes: store.evicted_bytes.value(),
            degraded: snapshot.degraded.clone(),
            mismatched: metrics.cache.digests_mismatched.value(),
            quarantined: metrics.cache.quarantined.value(),
        }
    }
}

/// Computers on the page; more are in `/api/v1/clients`.
const COMPUTERS_MAX: usize = 25;

fn verdicts(metrics: &Metrics) -> Vec<Counted> {
    let mut counts = [0; Verdict::ALL.len()];
    for (labels, count) in metrics.proxy.requests.iter() {
        let verdict = Verdict::WORDS.iter().position(|word| Some(word) == labels.last());
        counts[verdict.expect("the last label of requests is a verdict")] += count.value();
    }
    let words = Verdict::WORDS.iter().zip(counts);
    words.filter(|(_, count)| *count > 0).map(|(word, count)| Counted { word: (*word).into(), count }).collect()
}

/// Most frequent first.
fn counted(words: &Words) -> Vec<Counted> {
    let mut counted: Vec<_> = words.all().into_iter().map(|(word, count)| Counted { word, count }).collect();
    counted.sort_by_key(|counted| std::cmp::Reverse(counted.count));
    counted
}

/// A gauge that raced below zero is zero.
fn shown(gauge: i64) -> u64 {
    u64::try_from(gauge).unwrap_or(0)
}

pub(super) fn unix(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
