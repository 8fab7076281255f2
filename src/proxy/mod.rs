//! The story of one request.
//!
//! [`Proxy`] is the service behind every listener: it names what a request is, lets the cache or an upstream answer, and records how it
//! ended. Decisions are made elsewhere (`classify`, `semantics`, `cache`); only `respond` builds responses, only `rescue` turns errors
//! into them.

mod call;
pub mod connection;
mod content;
mod error;
pub mod interim;
pub mod log;
mod observe;
mod pass;
mod places;
mod post;
mod prestage;
pub mod recognised;
mod recorded;
mod rescue;
mod respond;
mod rewrite;
mod tunnel;
pub mod unserved;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use http::{Method, Request, Response, Version, request::Parts};
use http_body::Body as _;
use tokio::io::{AsyncRead, AsyncWrite};

use self::{
    call::Calls,
    connection::{Connection, RequestBody, Service},
    log::{AccessLog, Record},
    observe::Observer,
    places::Places,
    prestage::Stager,
    recognised::Recognised,
    respond::Answered,
    unserved::Unserved,
};
pub use self::{call::Unread, error::Error, observe::Learners, prestage::Prestage, recorded::Recorded};
use crate::{
    cache::Cache,
    classify::{Asked, Class, Policy, Refusal, SniVerdict, Tunnel},
    key::{Origin, Scheme},
    metrics,
    semantics::{fields, head},
    upstream::{Target, Upstreams},
};

/// Bounds of what a request may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Most ranges of one request that are answered as such; with more the whole content is the answer (RFC 9110 §14.2).
    pub ranges_max: usize,
    /// A tunnel that is silent for so long in both directions is closed.
    pub tunnel_idle: Duration,
    /// Whether hits are answered by the bytes of their request heads, on connections made from now on.
    pub recognise: bool,
    /// Calls of update services that one client may make in a second, on average; 0 for any number.
    pub calls_per_client: usize,
    /// Time for all of a call, however slowly its client sends.
    pub call_timeout: Duration,
    pub prestage: Prestage,
}

impl Default for Config {
    fn default() -> Self {
        // 180 to 400 calls in a row are a first synchronisation; a branch behind one address may have a hundred computers.
        Self {
            ranges_max: 64,
            tunnel_idle: Duration::from_secs(600),
            recognise: true,
            calls_per_client: 50,
            // The longest call that is allowed comes over 512 kbit/s in this time.
            call_timeout: Duration::from_secs(60),
            prestage: Prestage::default(),
        }
    }
}

/// What a proxy works with.
pub struct Means {
    pub cache: Cache,
    pub upstreams: Upstreams,
    pub log: AccessLog,
    pub metrics: metrics::Proxy,
    pub learners: Learners,
}

/// Answers requests: the service behind all listeners.
pub struct Proxy {
    config: Arc<ArcSwap<Config>>,
    policy: Arc<ArcSwap<Policy>>,
    cache: Cache,
    upstreams: Upstreams,
    log: AccessLog,
    recognised: Arc<Recognised>,
    metrics: metrics::Proxy,
    calls: Calls,
    observer: Arc<Observer>,
    /// This weir's name in `Via` (RFC 9110 §7.6.3) and `CDN-Loop` (RFC 8586).
    node: Arc<str>,
}

impl Proxy {
    /// `policy` is shared with whoever else asks the rules in force. To be called on a runtime.
    pub fn new(config: Config, policy: Arc<ArcSwap<Policy>>, means: Means, node: Arc<str>) -> Self {
        let Means { cache, upstreams, log, metrics, learners } = means;
        let config = Arc::new(ArcSwap::from_pointee(config));
        let (places, follower) = {
            let (cache, config) = (cache.clone(), config.clone());
            Places::new(move |key| config.load().prestage.enabled || cache.may_have(key))
        };
        let (catalog, counts) = (learners.catalog.clone(), learners.metrics.clone());
        let stager = Stager::new(config.clone(), cache.clone(), catalog, counts, node.clone());
        tokio::spawn(follower.run(cache.clone(), stager));
        let observer = Observer::start(learners, Arc::clone(&policy), places);
        let recognised = Arc::new(Recognised::new(log.clone(), metrics.recognised.clone()));
        Self { config, policy, cache, upstreams, log, recognised, metrics, calls: Calls::new(), observer, node }
    }

    /// Takes new rules for the requests that come from now on.
    pub fn reload(&self, config: Config, policy: Policy) {
        self.config.store(Arc::new(config));
        self.policy.store(Arc::new(policy));
        self.recognised.rules_changed();
    }

    async fn answer(
        &self,
        connection: &Arc<Connection>,
        mut request: Request<RequestBody>,
        record: &mut Record,
    ) -> Result<Answered, Error> {
        let now = record.started;
        if fields::has_passed(request.headers(), &self.node) {
            return Err(Error::Refused(Refusal::Loop));
        }
        head::request(request.version(), request.method(), request.uri(), request.headers())?;
        if request.version() >= Version::HTTP_2 {
            fields::join_cookies(request.headers_mut());
        }
        if request.method() == Method::OPTIONS && request.uri().path() == "*" {
            // RFC 9110 §9.3.7: it asks about the server itself, whatever stands behind a door.
            return Ok(respond::options());
        }
        match self.classify(connection, &request, record) {
            Class::Content(want) => {
                let (parts, _) = request.into_parts();
                self.content(connection, parts, want, now).await
            }
            // Boxed, so that the future of a hit, which is copied to its place, has no room for them.
            Class::Pass(pass) => Box::pin(self.pass(connection, request, pass)).await,
            Class::Tunnel(to) => Box::pin(self.open_tunnel(connection, &mut request, to)).await,
            Class::Refuse(why) => Err(Error::Refused(why)),
        }
    }

    fn classify(&self, connection: &Connection, request: &Request<RequestBody>, record: &mut Record) -> Class {
        let class = self.policy.load().classify(&Self::asked(connection, request, !request.body().is_end_stream()));
        (record.class, record.door) = match &class {
            Class::Content(want) => (metrics::Class::Content, Some(want.door)),
            Class::Pass(pass) => (metrics::Class::Pass, Some(pass.door)),
            Class::Tunnel(tunnel) => (metrics::Class::Tunnel, Some(tunnel.door)),
            Class::Refuse(_) => (metrics::Class::Refuse, None),
        };
        class
    }

    fn asked<'a, B>(connection: &'a Connection, request: &'a Request<B>, has_content: bool) -> Asked<'a> {
        Asked {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
            doors: &connection.doors,
            scheme: if connection.tls.is_some() { Scheme::Https } else { Scheme::Http },
            local: connection.local,
            has_content,
        }
    }

    fn record(&self, connection: &Connection, parts: &Parts) -> Record {
        let now = SystemTime::now();
        Record::new(self.log.next_id(), now, connection.peer.ip(), parts)
    }
}

impl Service for Proxy {
    type Body = Recorded;

    /// Answers one client request. It cannot fail: `rescue` turns an error into a response.
    async fn serve(&self, connection: &Arc<Connection>, request: Request<RequestBody>) -> Response<Recorded> {
        let running = self.metrics.running.hold();
        let (parts, body) = request.into_parts();
        let mut record = self.record(connection, &parts);
        let request = Request::from_parts(parts, body);
        let method = request.method().clone();
        let reading = request.body().reading();
        let answered = match self.answer(connection, request, &mut record).await {
            Ok(answered) => answered,
            // Whatever broke because the client's body did is the client's fault.
            Err(error) => match reading.and_then(|reading| reading.why_malformed()) {
                Some(why) => rescue::rescue(&Error::Unserved(why.into())),
                None => rescue::rescue(&error),
            },
        };
        connection.interims.close().await;
        respond::finish(answered, &method, &self.node, record, &self.log, running, &connection.learning)
    }

    fn recognised(&self) -> Option<Arc<Recognised>> {
        self.config.load().recognise.then(|| Arc::clone(&self.recognised))
    }

    fn refuse(&self, connection: &Arc<Connection>, head: &Parts, why: Unserved) -> Response<Recorded> {
        let running = self.metrics.running.hold();
        let record = self.record(connection, head);
        let refused = rescue::rescue(&Error::Unserved(why));
        respond::finish(refused, &head.method, &self.node, record, &self.log, running, &connection.learning)
    }

    fn passes_tls(&self, connection: &Connection, server_name: &str) -> Option<Tunnel> {
        match self.policy.load().sni_verdict(Some(server_name), &connection.doors) {
            SniVerdict::Tunnel(tunnel) => Some(tunnel),
            SniVerdict::OwnName | SniVerdict::Close => None,
        }
    }

    async fn tunnel<T>(&self, connection: Arc<Connection>, to: Tunnel, client: T)
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.pass_tls(connection, to, client).await;
    }
}

/// Where to send what goes through a door.
fn target(origin: Origin, upstream: Option<Arc<str>>) -> Target {
    Target { origin, upstream }
}
