//! What a client connection is to the request service, and what the service is to whoever accepts connections.
//!
//! The listener builds a [`Connection`] for each client and calls a [`Service`]; neither side names the other.

use std::{
    error::Error,
    fmt,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    time::{Instant, Sleep},
};

use crate::{
    classify::{Door, Tunnel},
    proxy::{
        interim::Interims,
        recognised::{Learning, Recognised, Scope},
        unserved::{Malformed, Unserved},
    },
    semantics::head,
    transmit,
    upstream::Bound,
};

/// One client connection. It counts as open, and a drain waits for it, while any clone of its `Arc` lives: a tunnel keeps one.
pub struct Connection {
    /// Unique while the process runs.
    pub id: u64,
    /// The client. Behind a trusted load balancer: as its PROXY protocol header says. IPv4 is never written as IPv6.
    pub peer: SocketAddr,
    /// Where the client connected to; behind a load balancer as the header says.
    pub local: SocketAddr,
    /// The load balancer that speaks for the client, if one does.
    pub balancer: Option<SocketAddr>,
    /// The doors that this way in opens.
    pub doors: Arc<[Door]>,
    pub tls: Option<Tls>,
    pub interims: Arc<Interims>,
    pub learning: Learning,
    bound: Mutex<Option<Bound>>,
    phase: watch::Receiver<Phase>,
    /// Dropped with the connection, which tells its owner.
    _place: Box<dyn Send + Sync>,
}

/// How far the end of the process has come for connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    #[default]
    Serving,
    /// What runs may finish, nothing new begins.
    Draining,
    /// The grace period is over.
    Cut,
}

/// What TLS told us about a client connection.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The name the client asked for (SNI), lower case.
    pub server_name: Option<Box<str>>,
    /// As in `TLSv1_3`.
    pub version: &'static str,
}

/// Answers the requests of all connections.
pub trait Service: Send + Sync + 'static {
    /// The body of every response. `Unpin`, so that watching it costs no allocation.
    type Body: transmit::Parts<Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static;

    /// Answers one request. The future is dropped when the client goes away.
    fn serve(
        &self,
        connection: &Arc<Connection>,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;

    /// Where answers are prepared that the listener may give by itself. `None`: every request is to be served.
    fn recognised(&self) -> Option<Arc<Recognised>> {
        None
    }

    /// Answers a request that is not to be served, as far as it is known: recorded like any other.
    fn refuse(&self, connection: &Arc<Connection>, head: &Parts, why: Unserved) -> Response<Self::Body>;

    /// Where TLS passes untouched when a client asks for `server_name`, which is none of our own. `None` closes the connection.
    fn passes_tls(&self, connection: &Connection, server_name: &str) -> Option<Tunnel>;

    /// Copies bytes between a client and the origin it asked for by TLS server name, until either end is done, both are silent for too long, or
    /// [`Connection::cut`] resolves. `client` yields everything the client sent, from its first byte.
    fn tunnel<T>(&self, connection: Arc<Connection>, to: Tunnel, client: T) -> impl Future<Output = ()> + Send
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static;
}

impl Connection {
    /// `place` is dropped together with the connection.
    pub fn new(
        id: u64,
        (peer, local): (SocketAddr, SocketAddr),
        balancer: Option<SocketAddr>,
        doors: Arc<[Door]>,
        tls: Option<Tls>,
        phase: watch::Receiver<Phase>,
        place: Box<dyn Send + Sync>,
    ) -> Self {
        let (interims, learning, bound) = Default::default();
        Self { id, peer, local, balancer, doors, tls, interims, learning, bound, phase, _place: place }
    }

    /// A plain connection on loopback through `doors`, for tests of a service.
    pub fn local(doors: &[Door]) -> Arc<Self> {
        let (_, phase) = watch::channel(Phase::Serving);
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        Arc::new(Self::new(0, (address, address), None, doors.into(), None, phase, Box::new(())))
    }

    /// What decisions about its requests depend on.
    pub fn scope(&self) -> Scope {
        Scope { doors: Arc::clone(&self.doors), is_tls: self.tls.is_some(), local: self.local }
    }

    /// Takes the upstream connection that belongs to this client connection, if one is kept and nobody else has it now.
    pub fn take_bound(&self) -> Bound {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
    }

    /// Keeps `bound` for the next request of this connection, in place of any that is kept already.
    pub fn keep_bound(&self, bound: Bound) {
        *self.bound.lock().unwrap_or_else(PoisonError::into_inner) = Some(bound);
    }

    /// Resolves when the grace period of a drain is over: whatever outlives its request (a tunnel) ends then.
    pub async fn cut(&self) {
        let mut phase = self.phase.clone();
        if phase.wait_for(|phase| *phase == Phase::Cut).await.is_err() {
            std::future::pending::<()>().await; // nobody is left who could cut
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("id", &self.id)
            .field("peer", &self.peer)
            .field("doors", &self.doors)
            .finish_non_exhaustive()
    }
}

/// The body of a client's request. Fails when the client sends nothing for `stall` while somebody waits for it.
pub struct RequestBody {
    source: Source,
    stall: Duration,
    /// Armed while somebody waits.
    waiting: Option<Pin<Box<Sleep>>>,
    /// Told when the body is dropped before its end.
    reading: Option<Arc<Reading>>,
}

/// How reading the requests of one connection went, shared by those who read them and those who use them.
#[derive(Debug, Default)]
pub struct Reading {
    is_unread: Arc<AtomicBool>,
    malformed: OnceLock<Malformed>,
}

impl Reading {
    /// For one of several requests that a connection has at a time: what breaks one is not what breaks the others.
    pub fn of_stream(&self) -> Arc<Self> {
        Arc::new(Self { is_unread: Arc::clone(&self.is_unread), malformed: OnceLock::new() })
    }

    /// Something the client sent, or still sends, is not read to its end.
    pub fn leave_unread(&self) {
        self.is_unread.store(true, Ordering::Relaxed);
    }

    pub fn is_unread(&self) -> bool {
        self.is_unread.load(Ordering::Relaxed)
    }

    /// The body that is being read goes no further, and neither does its connection.
    pub fn malformed(&self, why: Malformed) {
        _ = self.malformed.set(why); // the first reason counts
    }

    /// Why a body broke off, if it was malformed.
    pub fn why_malformed(&self) -> Option<Malformed> {
        self.malformed.get().copied()
    }
}

enum Source {
    Client(Incoming),
    Whole(Option<Bytes>),
}

/// Why a request body broke off.
#[derive(Debug, thiserror::Error)]
pub enum RequestBodyError {
    #[error("client sent nothing of its request body for {0:?}")]
    Stalled(Duration),
    #[error("client broke off its request body")]
    Broken(#[from] hyper::Error),
    #[error("client sent trailers that are none")]
    Trailers,
}

impl RequestBody {
    /// `reading` is told if the body is dropped before its end.
    pub fn from_client(body: Incoming, stall: Duration, reading: &Arc<Reading>) -> Self {
        let reading = (!body.is_end_stream()).then(|| Arc::clone(reading));
        Self { source: Source::Client(body), stall, waiting: None, reading }
    }

    /// Where to learn why the body broke off; `None` when it is empty.
    pub fn reading(&self) -> Option<Arc<Reading>> {
        self.reading.clone()
    }

    /// A body that is there already: for tests and for requests that weir makes itself.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { source: Source::Whole((!bytes.is_empty()).then_some(bytes)), stall: Duration::ZERO, waiting: None, reading: None }
    }

    pub fn empty() -> Self {
        Self::whole(Bytes::new())
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let this = self.get_mut();
        let body = match &mut this.source {
            Source::Client(body) => body,
            Source::Whole(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
        };
        if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) {
            this.waiting = None;
            if is_misplaced(frame.as_ref()) {
                if let Some(reading) = &this.reading {
                    reading.malformed(Malformed::Trailers);
                }
                return Poll::Ready(Some(Err(RequestBodyError::Trailers)));
            }
            if frame.is_none() || body.is_end_stream() {
                this.reading = None;
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(RequestBodyError::Broken)));
        }
        let stall = this.stall;
        let waiting = this.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + stall)));
        ready!(waiting.as_mut().poll(cx));
        Poll::Ready(Some(Err(RequestBodyError::Stalled(stall))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Client(body) => body.is_end_stream(),
            Source::Whole(bytes) => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Client(body) => body.size_hint(),
            Source::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
        }
    }
}

/// Whether what came are trailers with fields that no trailer may have.
fn is_misplaced(frame: Option<&Result<Frame<Bytes>, hyper::Error>>) -> bool {
    let trailers = frame.and_then(|frame| frame.as_ref().ok()?.trailers_ref());
    trailers.is_some_and(head::is_misplaced)
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(reading) = &self.reading {
            reading.leave_unread();
        }
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").field("size", &self.size_hint()).finish()
    }
}
