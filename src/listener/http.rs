//! HTTP on one connection: hyper, its bounds, and the patience with a client.

use std::{
    convert::Infallible,
    error::Error,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use http::{Method, Request, Response};
use http_body::Body as _;
use hyper::{
    body::Incoming,
    rt::{Read, Write},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::AsyncWrite,
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    listener::{
        Config, Limits, Timeouts,
        activity::{Activity, Exchange, Framing, Slow, Watched},
        admission::{self, Admission},
        cork::{self, Gathering},
        frames::{Flood, Frames},
        shaping::{Shaped, Shaping},
        shortcut::Shortcut,
        stream::{Duplex, Guard, Stream},
    },
    proxy::{
        connection::{Connection, Phase, RequestBody, Service},
        unserved::{Malformed, Unserved},
    },
    transmit::{self, Wire},
};

/// HTTP/1.1 and HTTP/2 with the configured bounds.
pub(super) struct Http {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    limits: Limits,
    header_list_max: usize,
    timeouts: Arc<Timeouts>,
    transmit: transmit::Config,
    shaping: Shaping,
}

/// One client connection that speaks HTTP.
pub(super) struct Conversation<S> {
    pub(super) framing: Framing,
    pub(super) connection: Arc<Connection>,
    pub(super) service: Arc<S>,
    pub(super) phase: watch::Receiver<Phase>,
    /// Why none of its requests is served, if so.
    pub(super) unserved: Option<Unserved>,
}

/// How a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// Either side closed it in good order, or it became a tunnel.
    Closed,
    /// The client broke off, or spoke something that is not HTTP.
    Broken(hyper::Error),
    Slow(Slow),
    /// The client sent too much that brings nothing forward.
    Flood(Flood),
    /// The grace period of a drain was over.
    Cut,
}

/// HTTP/2 without TLS begins with this (RFC 9113 §3.4).
pub(super) const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Http {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            http1: http1(config),
            http2: http2(config),
            limits: config.limits.clone(),
            header_list_max: config.http2.header_list_max as usize,
            timeouts: Arc::new(config.timeouts.clone()),
            transmit: config.transmit.clone(),
            shaping: Shaping::new(&config.limits.groups),
        }
    }

    pub(super) fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// Serves the requests of a connection until it ends. What became a tunnel lives on elsewhere.
    pub(super) async fn serve<T: Duplex, S: Service>(&self, io: T, conversation: Conversation<S>) -> End {
        let requests = Arc::new(Requests::new(conversation, self));
        let io = self.under_hyper(io, &requests);
        let each = Arc::clone(&requests);
        let service = service_fn(move |request: Request<Incoming>| {
            let (requests, exchange) = (Arc::clone(&each), each.activity.begin());
            async move { Ok::<_, Infallible>(requests.answer(request, exchange).await) }
        });
        match requests.framing {
            Framing::Http1 => requests.drive(Box::pin(self.http1.serve_connection(io, service).with_upgrades())).await,
            Framing::Http2 => {
                let serve = |io| self.http2.serve_connection(TokioIo::new(io), service);
                requests.drive(Box::pin(cork::gathering(io.into_inner(), serve))).await
            }
        }
    }

    /// The same where bytes reach the client as they are: over HTTP/1.1 stored content need not pass through weir then.
    pub(super) async fn serve_plain<T: Duplex + Wire, S: Service>(&self, io: T, conversation: Conversation<S>) -> End {
        if conversation.framing == Framing::Http2 {
            return self.serve(io, conversation).await;
        }
        let requests = Arc::new(Requests::new(conversation, self));
        let (io, lane) = transmit::lane(io, &self.transmit);
        let io = self.under_hyper(io, &requests);
        let each = Arc::clone(&requests);
        let service = service_fn(move |request: Request<Incoming>| {
            let (requests, exchange, lane) = (Arc::clone(&each), each.activity.begin(), lane.clone());
            // In a box of its own: hyper would keep its 4 kB for as long as the connection, also while nothing is asked.
            Box::pin(async move { Ok::<_, Infallible>(requests.answer(request, exchange).await.map(|body| lane.body(body))) })
        });
        requests.drive(Box::pin(self.http1.serve_connection(io, service).with_upgrades())).await
    }

    fn under_hyper<T: Duplex, S: Service>(&self, io: T, requests: &Requests<S>) -> TokioIo<Stream<Shaped<T>>> {
        let activity = &requests.activity;
        let guard = match requests.framing {
            Framing::Http1 => Guard::Requests(Admission::new(&self.limits, Arc::clone(activity))),
            Framing::Http2 => Guard::Frames(Frames::new()),
        };
        let interims = (requests.framing == Framing::Http1).then(|| Arc::clone(&requests.connection.interims));
        let may_recognise = requests.framing == Framing::Http1 && requests.unserved.is_none();
        let recognised = may_recognise.then(|| requests.service.recognised()).flatten();
        let shortcut = recognised.map(|recognised| Shortcut::new(recognised, &requests.connection, activity));
        let io = Shaped::new(io, self.shaping.rate_of(requests.connection.peer.ip()));
        TokioIo::new(Stream::new(io, Arc::clone(activity), guard, interims).with(shortcut))
    }
}

/// What the requests of one connection have in common.
struct Requests<S> {
    framing: Framing,
    connection: Arc<Connection>,
    service: Arc<S>,
    phase: watch::Receiver<Phase>,
    unserved: Option<Unserved>,
    activity: Arc<Activity>,
    header_list_max: usize,
    body_stall: Duration,
}

impl<S: Service> Requests<S> {
    fn new(conversation: Conversation<S>, http: &Http) -> Self {
        let Conversation { framing, connection, service, phase, unserved } = conversation;
        let activity = Activity::new(framing, Arc::clone(&http.timeouts));
        let (header_list_max, body_stall) = (http.header_list_max, http.timeouts.body_stall);
        Self { framing, connection, service, phase, unserved, activity, header_list_max, body_stall }
    }

    /// Whether the field section of an HTTP/2 request, counted as RFC 9113 §10.5.1 does, is longer than is served. HTTP/1 heads were judged
    /// by their bytes.
    fn too_long(&self, request: &Request<Incoming>) -> Option<Malformed> {
        if self.framing == Framing::Http1 {
            return None;
        }
        let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_OVERHEAD);
        let target = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
        (fields.sum::<usize>() + target > self.header_list_max).then_some(Malformed::HeadLength)
    }

    async fn answer(&self, request: Request<Incoming>, exchange: Exchange) -> Response<Watched<S::Body>> {
        let is_connect = request.method() == Method::CONNECT;
        let refused = exchange.activity().refused().filter(|_| admission::is_substitute(&request));
        let unserved = self.unserved.or_else(|| self.too_long(&request).map(Unserved::from));
        let response = match (refused, unserved) {
            (Some(head), _) => self.service.refuse(&self.connection, &head.parts, head.why.into()),
            (None, Some(why)) => self.service.refuse(&self.connection, &request.into_parts().0, why),
            (None, None) => {
                let shared = exchange.activity().reading();
                let has_own = self.framing == Framing::Http2 && !request.body().is_end_stream();
                let reading = if has_own { shared.of_stream() } else { Arc::clone(shared) };
                let request = request.map(|body| RequestBody::from_client(body, self.body_stall, &reading));
                self.service.serve(&self.connection, request).await
            }
        };
        if is_connect && response.status().is_success() {
            exchange.becomes_tunnel();
        }
        response.map(|body| Watched::new(body, exchange))
    }

    /// Has hyper serve the connection. It comes in a box: each future it was handed through would have room for it, and copy that.
    async fn drive(&self, connection: Pin<Box<impl Graceful>>) -> End {
        let end = drive(connection, &self.activity, self.phase.clone()).await;
        let end = self.activity.flood().map_or(end, End::Flood);
        let (received, sent) = self.activity.bytes();
        tracing::trace!(connection = self.connection.id, received, sent, "connection ended");
        end
    }
}

fn http1(config: &Config) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // Delivery Optimization compares field names by case: they leave as the origin spelled them, else in title case.
        .preserve_header_case(true)
        .title_case_headers(true)
        // A client that closes its half has gone: noticing that ends fills nobody waits for.
        .half_close(false)
        // What is too long was refused before: hyper's own answer would be in no log.
        .max_header_size(config.limits.head_max + 1)
        // Bounds the head that is being read as well as the response bytes buffered for a slow client.
        .max_buf_size((config.limits.head_max + 1).max(BUFFER_MIN))
        // Hyper's own timeout does not tell a slow head from an idle connection; `Activity` does.
        .header_read_timeout(None)
        .timer(TokioTimer::new());
    if config.limits.fields_max != HYPER_FIELDS_MAX {
        builder.max_headers(config.limits.fields_max);
    }
    builder
}

/// What hyper refuses to go below.
const BUFFER_MIN: usize = 8 << 10;
/// Hyper's default, for which it needs no allocation.
const HYPER_FIELDS_MAX: usize = 100;

fn http2(config: &Config) -> http2::Builder<TokioExecutor> {
    let bounds = &config.http2;
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .max_concurrent_streams(bounds.streams_max)
        // Twice of what is served: between the two weir answers, and says so; beyond it hyper does, for which there is no record.
        .max_header_list_size(bounds.header_list_max.saturating_mul(2))
        .max_pending_accept_reset_streams(bounds.pending_resets_max)
        // Streams that a client makes us reset, by breaking their rules.
        .max_local_error_reset_streams(bounds.streams_max as usize)
        .max_send_buf_size(bounds.send_buffer)
        .keep_alive_interval(bounds.ping_interval)
        .keep_alive_timeout(bounds.ping_timeout)
        .timer(TokioTimer::new());
    builder
}

/// RFC 9113 §6.5.2.
const FIELD_OVERHEAD: usize = 32;

/// A connection future of hyper that can be asked to end after the requests it has.
trait Graceful: Future<Output = hyper::Result<()>> {
    fn end_gracefully(self: Pin<&mut Self>);
}

impl<I, S, B> Graceful for http1::UpgradeableConnection<I, S>
where
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    I: Read + Write + Unpin + Send + 'static,
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    fn end_gracefully(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<T, I, S, B, E> Graceful for Gathering<T, http2::Connection<I, S, E>>
where
    T: AsyncWrite + Unpin,
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    I: Read + Write + Unpin,
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    E: hyper::rt::bounds::Http2ServerConnExec<S::Future, B>,
{
    fn end_gracefully(self: Pin<&mut Self>) {
        self.get_mut().connection().graceful_shutdown();
    }
}

/// Drives a connection to its end, which a drain or a slow client may bring early.
async fn drive(mut connection: Pin<Box<impl Graceful>>, activity: &Activity, mut phase: watch::Receiver<Phase>) -> End {
    let mut exhausted = pin!(activity.exhausted());
    // A drain that began meanwhile is seen after the first round, so that a request that is here already is answered.
    phase.mark_changed();
    let mut farewell = None;
    let slow = loop {
        // The connection first: what it just did decides whether patience is exhausted.
        tokio::select! {
            biased;
            result = connection.as_mut() => return ended(result),
            changed = phase.changed() => match *phase.borrow_and_update() {
                Phase::Serving if changed.is_ok() => {}
                // Of a head that has come in part hyper knows nothing, and would take the connection for idle.
                Phase::Draining if changed.is_ok() && activity.is_in_head() => farewell = Some(Instant::now() + FAREWELL),
                Phase::Draining if changed.is_ok() => connection.as_mut().end_gracefully(),
                _ => return End::Cut,
            },
            () = sleep_until(farewell.unwrap_or_else(Instant::now)), if farewell.is_some() => {
                farewell = None;
                connection.as_mut().end_gracefully();
            }
            slow = &mut exhausted => break slow,
        }
    };
    if slow == Slow::Idle {
        // HTTP/2 clients are told, so that they do not lose a request they are just sending (RFC 9113 §6.8).
        connection.as_mut().end_gracefully();
        let _ = timeout(FAREWELL, connection).await;
    }
    End::Slow(slow)
}

/// How long an idle HTTP/2 client may take to hear that we close, and the rest of a head to arrive when a drain has begun.
const FAREWELL: Duration = Duration::from_secs(2);

fn ended(result: hyper::Result<()>) -> End {
    match result {
        Ok(()) => End::Closed,
        Err(error) => End::Broken(error),
    }
}
