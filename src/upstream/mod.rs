//! Fetching from the next hop: parents and origins, their pools, health, retries, addresses. Knows nothing of keys or stores.

mod config;
pub mod dial;
mod error;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body::Frame;

pub use self::{
    config::{Config, Connections, Definition, Health, HostPattern, Kind, Own, Redirects, Resolver, Timeouts, Tls},
    dial::{Dial, Stream},
    error::{ConfigError, Error},
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
}

/// The head of the answer and a body that is still arriving.
pub struct Fetched {
    pub response: Response<Body>,
    /// The host that really answered after redirects, for binding validators (`host` or `host:port`).
    pub source: Box<str>,
    /// Name of the upstream in metrics and on the status page; `origin` for one nobody configured.
    pub upstream: Arc<str>,
}

/// A response body from upstream. Ends with an error, never falsely clean, when the connection broke before the framing said so.
/// The stall timeout is inside: a frame that does not come in time is an error. Read to the end, its connection is used again; dropped
/// early, the connection is closed.
pub struct Body;

/// How a response body was framed (decides whether its clean end can be trusted).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(u64),
    Chunked,
    /// Ends when the connection closes: a cut cannot be told from an end.
    Close,
    /// HTTP/2 END_STREAM.
    Stream,
}

/// One upstream as the status page shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamHealth {
    pub name: Arc<str>,
    pub kind: Kind,
    /// `http://host:port`.
    pub url: String,
    pub state: State,
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
pub struct Upstreams;

/// A connection to the authoritative server that belongs to one client connection (NTLM/Negotiate authenticate connections).
#[derive(Default)]
pub struct Bound;

/// Upstreams over the real network. Call inside a tokio runtime.
pub fn new(config: Config, metrics: metrics::Upstream) -> Result<Upstreams, ConfigError> {
    let _ = (config, metrics);
    unimplemented!()
}

/// Upstreams over any network, a simulated one in tests.
pub fn with_dial(config: Config, dial: Arc<dyn Dial>, metrics: metrics::Upstream) -> Result<Upstreams, ConfigError> {
    let _ = (config, dial, metrics);
    unimplemented!()
}

impl Upstreams {
    /// Content: parents, then the origin, in order of preference with failover. A 5xx from a parent tries the next hop.
    pub async fn fetch(&self, ask: Ask) -> Result<Fetched, Error> {
        unimplemented!("{ask:?}")
    }

    /// Everything else: one request to the authoritative server, streamed both ways. Sent at most once unless it is safe to repeat and nothing of
    /// its body was read. `bound`: the client connection's own slot; used when it holds a connection, filled when the exchange authenticates one.
    ///
    /// Of the URI only path and query count; `Host` goes as it came unless the upstream's `host` says otherwise. Set
    /// `hyper::ext::on_informational` on the request to hear of 1xx responses.
    pub async fn relay<B>(&self, target: &Target, request: Request<B>, bound: &mut Bound) -> Result<Response<Body>, Error>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let _ = (target, request, bound);
        unimplemented!()
    }

    /// A raw connection for `CONNECT` and for TLS that passes untouched.
    pub async fn tunnel(&self, target: &Target) -> Result<Box<dyn Stream>, Error> {
        unimplemented!("{target:?}")
    }

    /// Every configured upstream, and `origin` for all others together.
    pub fn health(&self) -> Vec<UpstreamHealth> {
        unimplemented!()
    }

    /// What the administrator says about ranges at the origin of `target`.
    pub fn ranges(&self, target: &Target) -> Option<bool> {
        unimplemented!("{target:?}")
    }

    /// Takes a new configuration; pools and health of upstreams that did not change are kept. On an error the old one stays.
    pub fn reload(&self, config: Config) -> Result<(), ConfigError> {
        unimplemented!("{config:?}")
    }

    /// Ends probes and idle connections; bodies under way go on, new requests are answered with [`Error::Closed`].
    pub fn close(&self) {
        unimplemented!()
    }
}

impl Body {
    pub fn framing(&self) -> Framing {
        unimplemented!()
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        unimplemented!()
    }
}
