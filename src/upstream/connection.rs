//! One connection to an upstream, or one stream of it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, Uri, Version,
    header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING},
    uri::{PathAndQuery, Scheme},
};
use http_body::Body as _;
use http_body_util::{BodyExt, Empty, combinators::UnsyncBoxBody};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{task::JoinHandle, time::Instant};

use crate::{
    metrics,
    upstream::{
        dial::{Dialed, Quiet, Stream},
        guard::{Guard, Turn},
        pool::Use,
    },
};

/// A request body on its way out: boxed once per request, so that pools need not know whose it is.
pub(super) type Outgoing = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// No body.
pub(super) fn empty() -> Outgoing {
    Outgoing::new(Empty::new().map_err(|never| match never {}))
}

/// What carries one exchange at a time. Dropping it ends that exchange at once: HTTP/1.1 by closing the connection, HTTP/2 by resetting
/// the stream.
pub(super) struct Connection {
    carrier: Carrier,
    idle_since: Instant,
}

enum Carrier {
    Http1 {
        sender: http1::SendRequest<Outgoing>,
        turn: Turn,
        quiet: Quiet,
        _line: Line,
    },
    /// A stream of a connection that others use, too.
    Http2 {
        sender: http2::SendRequest<Outgoing>,
        line: Arc<Line>,
    },
}

/// The task that moves a connection's bytes. Closes it when dropped.
struct Line {
    task: JoinHandle<()>,
    _open: metrics::Held,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connection {
    pub(super) async fn open(dialed: Dialed, use_: Use, meters: &metrics::Peer) -> hyper::Result<Self> {
        let carrier = match dialed.version {
            Version::HTTP_2 => http2(dialed.stream, meters).await?,
            _ => http1(dialed.stream, dialed.quiet, read_max(use_), meters).await?,
        };
        meters.connects.inc();
        Ok(Self { carrier, idle_since: Instant::now() })
    }

    /// Another stream of the same connection, where it has several.
    pub(super) fn another(&self) -> Option<Self> {
        match &self.carrier {
            Carrier::Http1 { .. } => None,
            Carrier::Http2 { sender, line } => {
                let carrier = Carrier::Http2 { sender: sender.clone(), line: line.clone() };
                Some(Self { carrier, idle_since: self.idle_since })
            }
        }
    }

    /// Whether it is a stream among others.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self.carrier, Carrier::Http2 { .. })
    }

    /// How many others use the connection now.
    pub(super) fn others(&self) -> usize {
        match &self.carrier {
            Carrier::Http1 { .. } => 0,
            Carrier::Http2 { line, .. } => Arc::strong_count(line) - 1,
        }
    }

    /// Sends a request; ends with the response head, or with the request itself when none of it was sent.
    pub(super) async fn send(
        &mut self,
        mut request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Outgoing>>> {
        match &mut self.carrier {
            Carrier::Http1 { sender, turn, .. } => {
                as_http1(&mut request);
                turn.begin();
                sender.try_send_request(request).await
            }
            Carrier::Http2 { sender, .. } => {
                as_http2(&mut request);
                sender.try_send_request(request).await
            }
        }
    }

    /// Waits until the exchange before has ended in both directions.
    pub(super) async fn ready(&mut self) -> hyper::Result<()> {
        match &mut self.carrier {
            Carrier::Http1 { sender, .. } => sender.ready().await,
            Carrier::Http2 { sender, .. } => sender.ready().await,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        match &self.carrier {
            Carrier::Http1 { sender, .. } => sender.is_ready(),
            Carrier::Http2 { sender, .. } => sender.is_ready(),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        match &self.carrier {
            Carrier::Http1 { sender, .. } => sender.is_closed(),
            Carrier::Http2 { sender, .. } => sender.is_closed(),
        }
    }

    /// Whether it could carry another request as far as can be known: not closed, and nothing stray to be read.
    pub(super) fn is_open(&self) -> bool {
        match &self.carrier {
            Carrier::Http1 { quiet, .. } => !self.is_closed() && quiet(),
            // Whatever comes there is said on some stream, or about the connection, and has been read.
            Carrier::Http2 { .. } => !self.is_closed(),
        }
    }

    pub(super) fn rest(&mut self) {
        self.idle_since = Instant::now();
    }

    pub(super) fn idle_since(&self) -> Instant {
        self.idle_since
    }
}

async fn http1(stream: Box<dyn Stream>, quiet: Quiet, read_max: usize, meters: &metrics::Peer) -> hyper::Result<Carrier> {
    let turn = Turn::default();
    let (sender, connection) = http1::Builder::new()
        // Field names go both ways as they were spelt: Delivery Optimization compares them by case.
        .preserve_header_case(true)
        .title_case_headers(true)
        .max_buf_size(read_max)
        .handshake(TokioIo::new(Guard::new(stream, turn.clone())))
        .await?;
    // How it ended is told to whoever waits for a response or a body.
    let task = tokio::spawn(async move { _ = connection.await });
    Ok(Carrier::Http1 { sender, turn, quiet, _line: Line { task, _open: meters.connections.hold() } })
}

async fn http2(stream: Box<dyn Stream>, meters: &metrics::Peer) -> hyper::Result<Carrier> {
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        // An idle one is about to be used again: whether it lives must be known before a request is lost on it.
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(READ_MAX as u32)
        .max_send_buf_size(READ_MAX)
        .handshake(TokioIo::new(stream))
        .await?;
    let task = tokio::spawn(async move { _ = connection.await });
    let line = Arc::new(Line { task, _open: meters.connections.hold() });
    Ok(Carrier::Http2 { sender, line })
}

/// Framing and hop-by-hop fields of this hop. What was meant for HTTP/2 first, and not sent there, becomes what it was.
fn as_http1(request: &mut Request<Outgoing>) {
    if request.version() == Version::HTTP_2 {
        let authority = request.uri().authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
        let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        *request.uri_mut() = path.into();
        request.headers_mut().extend(authority.map(|authority| (HOST, authority)));
        *request.version_mut() = Version::HTTP_11;
    }
    let is_unframed = !request.body().is_end_stream() && request.body().size_hint().exact().is_none();
    let fields = request.headers_mut();
    if is_unframed && !fields.contains_key(CONTENT_LENGTH) {
        // Said outright: hyper takes a GET without it for one without a body.
        fields.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if fields.contains_key(TE) {
        // RFC 9110 §10.1.4
        fields.insert(CONNECTION, HeaderValue::from_static("TE"));
    }
}

/// RFC 9113 §8.3.1: what `Host` says goes into `:authority`; §8.2.2: no field about the connection.
fn as_http2(request: &mut Request<Outgoing>) {
    let fields = request.headers_mut();
    fields.remove(TRANSFER_ENCODING);
    fields.remove(CONNECTION);
    let host = fields.remove(HOST);
    if request.uri().authority().is_none()
        && let Some(host) = host
    {
        let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let uri = Uri::builder().scheme(Scheme::HTTPS).authority(host.as_bytes()).path_and_query(path).build();
        // A host that is no authority was refused long before; without one the library refuses the request.
        if let Ok(uri) = uri {
            *request.uri_mut() = uri;
        }
    }
    *request.version_mut() = Version::HTTP_2;
}

/// What is read at a time from a connection that is used for `use_`.
fn read_max(use_: Use) -> usize {
    match use_ {
        Use::Content => CONTENT_READ_MAX,
        Use::Pass => READ_MAX,
    }
}

/// A client that reads slowly keeps what was read for it.
const READ_MAX: usize = 64 << 10;
/// The disk takes content as fast as it comes and nobody else holds it up: fewer reads, and fewer wake-ups of all who wait for them.
const CONTENT_READ_MAX: usize = 256 << 10;

/// What a slow client leaves unread of one HTTP/2 response.
const STREAM_WINDOW: u32 = 256 << 10;
/// As many slow clients as a pool has places by default, so that they do not hold up the others.
const CONNECTION_WINDOW: u32 = 64 * STREAM_WINDOW;

/// Shorter than what middleboxes forget connections after.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
