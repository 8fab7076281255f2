//! Fetching from the next hop: parents and origins, their pools, health, retries, addresses. Knows nothing of keys or stores.

mod body;
mod config;
mod connection;
pub mod dial;
mod dialogues;
mod error;
mod exchange;
mod fetch;
mod guard;
mod health;
mod interim;
mod pool;
mod redirect;
mod relay;
mod select;
mod settings;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use tokio::{sync::OwnedSemaphorePermit, task::JoinSet, time::sleep};

pub use self::{
    body::{Body, Framing},
    config::{Config, Connections, Definition, Health, HostPattern, Kind, Own, Redirects, Resolver, Timeouts, Tls},
    dial::{Dial, Stream, check_ca_file},
    dialogues::Client,
    error::{ConfigError, Error},
    interim::{Hear, Interim},
};
use self::{
    dialogues::Dialogues,
    exchange::Progress,
    health::Upstream,
    interim::Continue,
    pool::{Slot, Use},
    relay::Upload,
    select::Hierarchy,
    settings::Settings,
};
use crate::{key::Origin, metrics};

/// Where a request is meant to go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The server that is authoritative.
    pub origin: Origin,
    /// The configured upstream (`[[upstream]]` name) through whose door the request came. Only with it may the origin's
    /// configured private address be dialled.
    pub upstream: Option<Arc<str>>,
}

/// A request for content: idempotent, retried and failed over, redirects followed inside.
#[derive(Clone, Debug)]
pub struct Ask {
    pub target: Target,
    /// GET or HEAD.
    pub method: Method,
    /// Origin-form, with the query (signature) to use.
    pub path_and_query: String,
    /// The fields to send, ready built (no hop-by-hop fields, no Host: it is set from the origin or the upstream's `host`).
    pub fields: HeaderMap,
    /// Whether redirects are followed inside (content that clients know by one name) or are the answer (a web site's own business).
    pub follow: bool,
    /// Who hears of interim responses.
    pub interim: Interim,
}

/// The head of the answer and a body that is still arriving.
pub struct Fetched {
    pub response: Response<Body>,
    /// The host that really answered after redirects, for binding validators (`host` or `host:port`).
    pub source: Box<str>,
    /// Name of the upstream in metrics and on the status page; `origin` for one nobody configured.
    pub upstream: Arc<str>,
    /// Where redirects led, if there were any: target, path and query to ask for the rest of the same content.
    pub moved: Option<(Target, String)>,
}

/// A connection whose bytes are nobody's business here.
pub struct Tunneled {
    pub stream: Box<dyn Stream>,
    /// Its place among the connections of its upstream, to be kept as long as the stream.
    pub place: OwnedSemaphorePermit,
}

/// One upstream as the status page shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamHealth {
    pub name: Arc<str>,
    pub kind: Kind,
    /// `http://host:port`.
    pub url: String,
    pub state: State,
    /// How long it has been so.
    pub since: Duration,
    pub last_error: Option<String>,
    /// Moving average of the time to the response head; none before the first answer.
    pub latency: Option<Duration>,
    pub connections_in_use: usize,
    pub connections_idle: usize,
    /// Body bytes received since start.
    pub received_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Healthy,
    /// Taken out of selection; probed until it answers.
    Ejected,
}

/// Handle to all upstreams; clones share it.
#[derive(Clone)]
pub struct Upstreams {
    shared: Arc<Shared>,
}

/// A connection to the authoritative server that belongs to one client connection (NTLM/Negotiate authenticate connections).
///
/// One per client connection; dropping it closes the connection it holds.
#[derive(Default)]
pub struct Bound {
    slot: Arc<Slot>,
}

struct Shared {
    settings: ArcSwap<Settings>,
    metrics: metrics::Upstream,
    /// Given from outside, or made from each configuration.
    dial: Option<Arc<dyn Dial>>,
    dialogues: Dialogues,
    is_closed: AtomicBool,
    /// Probes of the upstreams, and the sweeper of the pools. Dropped with everything else.
    tasks: Mutex<JoinSet<()>>,
}

/// Upstreams over the real network. Call inside a tokio runtime, which will run the probes.
pub fn new(config: Config, metrics: metrics::Upstream) -> Result<Upstreams, ConfigError> {
    Shared::start(config, None, metrics)
}

/// Upstreams over any network, a simulated one in tests. Call inside a tokio runtime, which will run the probes.
pub fn with_dial(config: Config, dial: Arc<dyn Dial>, metrics: metrics::Upstream) -> Result<Upstreams, ConfigError> {
    Shared::start(config, Some(dial), metrics)
}

impl Upstreams {
    /// Content: parents, then the origin, in order of preference with failover. A 5xx from a parent tries the next hop.
    ///
    /// Dropping the future closes the connection the request is on.
    pub async fn fetch(&self, ask: Ask) -> Result<Fetched, Error> {
        self.shared.fetch(ask).await
    }

    /// Everything else: one request to the authoritative server, streamed both ways. Sent at most once unless it is safe to repeat and nothing of
    /// its body was read. `bound`: the client connection's own slot; used when it holds a connection, filled when the exchange authenticates one.
    ///
    /// Of the URI only path and query count; `Host` goes as it came unless the upstream's `host` says otherwise. Hop-by-hop fields are
    /// expected to be gone; upgrades are not relayed. An [`Interim`] among the request's extensions hears of 1xx responses; a [`Client`] says whose
    /// dialogue it belongs to. Under `Expect: 100-continue` the body is not read before the upstream asked for it, or a second has passed.
    pub async fn relay<B>(&self, target: &Target, mut request: Request<B>, bound: &mut Bound) -> Result<Response<Body>, Error>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let progress = Progress::new();
        let expectation = relay::expectation(&request);
        let interim = request.extensions_mut().remove::<Interim>().unwrap_or_default();
        let on_continue = expectation.clone().map_or(Continue::Forward, Continue::Meets);
        let mut request =
            request.map(|body| connection::Outgoing::new(Upload::new(body, progress.clone(), expectation.as_ref())));
        interim.attach(&mut request, &progress, on_continue);
        self.shared.relay(target, request, progress, expectation, bound).await
    }

    /// A raw connection for `CONNECT` and for TLS that passes untouched. It counts among the connections for passed requests.
    pub async fn tunnel(&self, target: &Target) -> Result<Tunneled, Error> {
        let settings = self.shared.settings()?;
        let hop = settings.hierarchy.for_tunnel(target);
        let pool = settings.pools.of(&hop.endpoint, Use::Pass, settings.connections(&hop.upstream));
        let busy = || Error::Busy { upstream: hop.upstream.label(), limit: pool.limit() };
        let place = pool.place(settings.config.timeouts.busy).await.ok_or_else(busy)?;
        let connected = settings.dialer.tunnel(&hop.endpoint, &hop.upstream.name).await;
        let stream = connected.inspect_err(|error| hop.upstream.fail(error))?.stream;
        Ok(Tunneled { stream, place })
    }

    /// Every configured upstream in order of preference, then `origin` for all others together.
    pub fn health(&self) -> Vec<UpstreamHealth> {
        let hierarchy = &self.shared.settings.load().hierarchy;
        let all = hierarchy.configured.iter().chain([&hierarchy.unconfigured]);
        all.map(|upstream| self.shared.health_of(upstream)).collect()
    }

    /// What the administrator says about ranges at the origin of `target`.
    pub fn ranges(&self, target: &Target) -> Option<bool> {
        self.shared.settings.load().hierarchy.definition(target)?.ranges
    }

    /// Takes a new configuration; pools and health of upstreams that did not change are kept. On an error the old one stays.
    /// Call inside a tokio runtime, which will run the probes.
    pub fn reload(&self, config: Config) -> Result<(), ConfigError> {
        self.shared.reload(config)
    }

    /// Ends probes and idle connections; bodies under way go on, new requests are answered with [`Error::Closed`].
    pub fn close(&self) {
        self.shared.is_closed.store(true, Ordering::Release);
        self.shared.tasks().abort_all();
        self.shared.settings.load().pools.clear();
    }
}

impl Shared {
    fn start(config: Config, dial: Option<Arc<dyn Dial>>, metrics: metrics::Upstream) -> Result<Upstreams, ConfigError> {
        let unconfigured = Arc::new(Upstream::unconfigured(config.health, &metrics));
        let settings = Settings::new(config, dial.clone(), Hierarchy::new(Vec::new(), unconfigured), &metrics)?;
        let shared = Arc::new(Self {
            settings: ArcSwap::from_pointee(settings),
            metrics,
            dial,
            dialogues: Dialogues::default(),
            is_closed: AtomicBool::new(false),
            tasks: Mutex::default(),
        });
        shared.spawn_tasks();
        Ok(Upstreams { shared })
    }

    fn reload(self: &Arc<Self>, config: Config) -> Result<(), ConfigError> {
        if self.is_closed() {
            return Ok(());
        }
        let old = self.settings.load_full();
        let mut new = Settings::new(config, self.dial.clone(), old.hierarchy.clone(), &self.metrics)?;
        // Connections made under other rules of trust or of addresses must not serve on.
        if old.trusts_like(&new) {
            let is_kept = |name: &Arc<str>| new.hierarchy.find(name).is_some_and(|u| old.hierarchy.has(u));
            new.pools = old.pools.inherited(|endpoint| endpoint.upstream.as_ref().is_none_or(is_kept));
        }
        self.settings.store(Arc::new(new));
        old.pools.clear();
        self.spawn_tasks();
        Ok(())
    }

    /// One probe task per configured upstream and one sweeper, in place of those before.
    fn spawn_tasks(self: &Arc<Self>) {
        let mut tasks = self.tasks();
        *tasks = JoinSet::new();
        tasks.spawn(sweep(Arc::downgrade(self)));
        for upstream in &self.settings.load().hierarchy.configured {
            let (shared, probed) = (Arc::downgrade(self), upstream.clone());
            tasks.spawn(health::watch(upstream.clone(), move || probe(shared.clone(), probed.clone())));
        }
    }

    fn settings(&self) -> Result<Arc<Settings>, Error> {
        if self.is_closed() { Err(Error::Closed) } else { Ok(self.settings.load_full()) }
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn health_of(&self, upstream: &Upstream) -> UpstreamHealth {
        let condition = upstream.snapshot();
        let name = upstream.definition.as_ref().map(|definition| &*definition.name);
        let (connections_in_use, connections_idle) = self.settings.load().pools.count(name);
        UpstreamHealth {
            name: upstream.name.clone(),
            kind: upstream.kind(),
            url: upstream.definition.as_ref().map(|definition| definition.url.to_string()).unwrap_or_default(),
            state: if condition.ejected { State::Ejected } else { State::Healthy },
            since: condition.since.elapsed(),
            last_error: condition.last_error.map(|error| error.to_string()),
            latency: condition.latency,
            connections_in_use,
            connections_idle,
            received_bytes: upstream.received_bytes(),
        }
    }
}

async fn sweep(shared: Weak<Shared>) {
    loop {
        sleep(SWEEP_INTERVAL).await;
        let Some(shared) = shared.upgrade() else { return };
        let settings = shared.settings.load_full();
        settings.pools.sweep(settings.config.timeouts.idle);
    }
}

async fn probe(shared: Weak<Shared>, upstream: Arc<Upstream>) -> Result<(), Error> {
    let shared = shared.upgrade().ok_or(Error::Closed)?;
    shared.probe(&upstream).await
}

const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
