//! What the interface needs from the rest of weir: one trait, and plain data.

use std::{future::Future, net::SocketAddr, pin::Pin as Pinning, time::SystemTime};

use serde::{Deserialize, Serialize};

use crate::{
    census::{Reported, Seen},
    metrics::Metrics,
};

/// The answer to a question that may touch the disk. Dropped, a question that changes something may still be carried out.
pub type Answer<'a, T> = Pinning<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

/// A running weir, as administration sees it. Its methods are the same public ones that everybody calls; no back doors.
pub trait Weir: Send + Sync + 'static {
    /// Cheap: asked by every probe.
    fn readiness(&self) -> Readiness;

    fn metrics(&self) -> &Metrics;

    /// What the metrics do not say. Answers from memory; lists are bounded by the giver, sorted with what matters most first.
    fn snapshot(&self) -> Snapshot;

    fn objects(&self, query: ObjectQuery) -> Answer<'_, ObjectPage>;

    /// The computers that were seen, the last one first.
    fn computers(&self, limit: usize) -> Vec<Seen>;

    /// What they reported, newest first.
    fn reported(&self, limit: usize) -> Vec<Reported>;

    /// The updates whose metadata was seen, the last one first.
    fn updates(&self, limit: usize) -> Vec<Update>;

    fn purge(&self, purge: Purge) -> Answer<'_, Purged>;

    fn pin(&self, pin: Pin) -> Answer<'_, Pinned>;

    /// Reads the configuration anew; an error holds every problem, one a line, and nothing has changed.
    fn reload(&self) -> Answer<'_, ()>;

    /// Records what an administrator did, or tried to.
    fn record(&self, act: &Act<'_>);
}

/// Whether clients should be sent here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Readiness {
    Ready,
    /// The store is being opened, or the listeners are not bound yet.
    Starting,
    /// What runs is finished, nothing new is accepted.
    Draining,
}

/// Why a request to the interface was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The question makes no sense: 400.
    #[error("{0}")]
    Invalid(String),
    /// There is no such thing: 404.
    #[error("{0}")]
    Absent(String),
    /// Not now (starting, draining, store degraded): 503.
    #[error("{0}")]
    Unavailable(String),
    /// It went wrong: 500.
    #[error("{0}")]
    Failed(String),
}

/// The state of weir at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The name in `Via` and `Cache-Status`.
    pub node: String,
    pub started: SystemTime,
    pub listening: Vec<Listening>,
    /// Names and addresses under which clients reach this weir, best first; empty: the page shows a placeholder.
    pub reachable: Vec<String>,
    pub fills: Vec<Fill>,
    pub upstreams: Vec<Upstream>,
    /// Where the store is.
    pub directory: String,
    /// Why nothing can be stored now, if so.
    pub degraded: Option<String>,
    /// What the administrator should change in the configuration.
    pub warnings: Vec<String>,
    /// Refusals and failures, newest first.
    pub events: Vec<Event>,
}

/// An update, as the metadata of an update server describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    pub id: Option<String>,
    pub revision: Option<u32>,
    pub title: Option<Box<str>>,
    /// The number of its knowledge base article.
    pub article: Option<Box<str>>,
    pub classification: Option<String>,
    /// Digests of its files, `sha1:…`.
    pub files: Vec<String>,
}

/// One socket that clients use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    pub address: SocketAddr,
    /// `delivery`, `wsus`, …
    pub doors: Vec<String>,
    pub tls: bool,
}

/// A fill in progress.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fill {
    /// Host and path, without secrets.
    pub name: String,
    /// The upstream it comes from, once known.
    pub upstream: Option<String>,
    /// Length of the whole content, once known.
    pub len: Option<u64>,
    /// Bytes of it that are stored.
    pub present_bytes: u64,
    /// Bytes per second that arrive, lately.
    pub bytes_per_second: u64,
    pub readers: usize,
    pub running_seconds: u64,
}

/// A configured upstream, or `origin` for all unconfigured ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Upstream {
    pub name: String,
    /// `parent`, `reverse`, `wsus`, `origin`.
    pub kind: String,
    pub url: String,
    pub healthy: bool,
    /// How long it has been healthy, or ejected.
    pub since_seconds: Option<u64>,
    pub last_error: Option<String>,
    /// Moving average of the time to the response head.
    pub latency_ms: Option<f64>,
    pub connections: usize,
}

/// A refusal or failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Milliseconds of Unix time.
    pub at_ms: u64,
    pub kind: EventKind,
    pub client: String,
    pub status: u16,
    pub reason: String,
    /// Host and path, without secrets.
    pub what: String,
    pub detail: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    Refusal,
    Error,
}

/// `GET /api/objects`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectQuery {
    /// Only those of this host or host group.
    pub host: Option<String>,
    /// `next` of the page before.
    pub after: Option<String>,
    /// At most this many; 100 if not said, never above 1,000.
    pub limit: Option<usize>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ObjectPage {
    pub objects: Vec<Listed>,
    /// Where the next page starts; none: this was the last. A page of one host in a very large store may be short, even empty, and not be the last.
    pub next: Option<String>,
}

/// A stored response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// The text of its cache key.
    pub key: String,
    pub status: u16,
    /// Length of its content, once known.
    pub len: Option<u64>,
    pub present_bytes: u64,
    pub complete: bool,
    pub pinned: bool,
    /// Its content matched a declared digest.
    pub verified: bool,
    /// The host that gave it.
    pub source: String,
    /// When it came or was last confirmed, in seconds of Unix time.
    pub stored_at: u64,
}

/// `POST /api/purge`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purge {
    pub what: PurgeWhat,
    /// Only say what would go.
    pub dry_run: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PurgeWhat {
    Url(String),
    /// A host or host group.
    Host(String),
    All,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purged {
    pub objects: u64,
    /// Contents that nothing else refers to, and their bytes.
    pub blobs: u64,
    pub bytes: u64,
    pub dry_run: bool,
}

/// `POST /api/pin`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    pub url: String,
    /// False: may be evicted again.
    pub pinned: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// Contents that changed or already were as asked.
    pub blobs: u64,
    pub bytes: u64,
}

/// Something an administrator did, or tried to.
#[derive(Clone, Debug)]
pub struct Act<'a> {
    pub at: SystemTime,
    /// An address, or `unix` with the user id.
    pub who: &'a str,
    /// `purge`, `pin`, `reload`.
    pub action: &'static str,
    pub target: &'a str,
    pub outcome: &'a str,
}
