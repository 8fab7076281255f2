//! Fetching from the next hop: parents and origins, their pools, health, retries, addresses. Knows nothing of keys or stores.

use std::{
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body::Frame;

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
    /// Name of the upstream in metrics and on the status page.
    pub upstream: Arc<str>,
}

/// A response body from upstream. Ends with an error, never falsely clean, when the connection broke before the framing said so.
/// The stall timeout is inside: a frame that does not come in time is an error.
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

#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error("{host}: no such name, or the resolver did not answer")]
    Resolve { host: Box<str> },
    /// A special-purpose address, weir's own, or an address literal nobody configured.
    #[error("{host}: address {address} is not allowed")]
    Address { host: Box<str>, address: IpAddr },
    #[error("{upstream}: connect: {reason}")]
    Connect { upstream: Box<str>, reason: Arc<str> },
    #[error("{upstream}: connect took longer than {after:?}")]
    ConnectTimeout { upstream: Box<str>, after: Duration },
    #[error("{upstream}: TLS: {reason}")]
    Tls { upstream: Box<str>, reason: Arc<str> },
    #[error("{upstream}: no response head within {after:?}")]
    FirstByteTimeout { upstream: Box<str>, after: Duration },
    #[error("{upstream}: no byte of the body within {after:?}")]
    Stalled { upstream: Box<str>, after: Duration },
    #[error("{upstream}: connection broke: {reason}")]
    Broken { upstream: Box<str>, reason: Arc<str> },
    #[error("{upstream}: unintelligible response: {reason}")]
    Protocol { upstream: Box<str>, reason: Arc<str> },
    #[error("redirect to {to} is not allowed")]
    Redirect { to: Box<str> },
    #[error("too many redirects")]
    RedirectLoop,
    /// All connections this upstream may have are in use and none came free in time.
    #[error("{upstream}: all {limit} connections busy")]
    Busy { upstream: Box<str>, limit: usize },
    /// Every upstream that could answer is ejected.
    #[error("{target}: no healthy upstream")]
    Unhealthy { target: Box<str> },
}

/// Handle to all upstreams; clones share it.
#[derive(Clone)]
pub struct Upstreams;

/// A connection to the authoritative server that belongs to one client connection (NTLM/Negotiate authenticate connections).
#[derive(Default)]
pub struct Bound;

/// A bidirectional byte stream to an upstream, for tunnels.
pub trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}

impl Upstreams {
    /// Content: parents, then the origin, in order of preference with failover. A 5xx from a parent tries the next hop.
    pub async fn fetch(&self, ask: Ask) -> Result<Fetched, Error> {
        unimplemented!("{ask:?}")
    }

    /// Everything else: one request to the authoritative server, streamed both ways. Sent at most once unless it is safe to repeat and nothing of
    /// its body was read. `bound`: the client connection's own slot; used when it holds a connection, filled when the exchange authenticates one.
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

/// See `upstream/dial.rs`.
pub trait Dial: Send + Sync {}

pub fn new(dial: Arc<dyn Dial>, metrics: metrics::Upstream) -> Upstreams {
    let _ = (dial, metrics);
    unimplemented!()
}
