//! The life of one client connection: for whom it is, what it speaks, its requests.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    listener::{
        Certificates, Config, Socket,
        activity::{Framing, Slow},
        hello,
        http::{Conversation, End, HTTP2_PREFACE, Http},
        limit::Place,
        proxy_protocol::{self, Header},
        shed::Shed,
        stream::{Duplex, Prefixed},
    },
    metrics,
    proxy::{
        connection::{Connection, Phase, Service, Tls},
        unserved::Unserved,
    },
    transmit::Wire,
};

/// What all connections share.
pub(super) struct Gate<S> {
    service: Arc<S>,
    http: Http,
    certificates: Arc<Certificates>,
    shed: Shed,
    metrics: metrics::Listener,
    phase: watch::Receiver<Phase>,
}

/// Who is at both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    peer: SocketAddr,
    local: SocketAddr,
    balancer: Option<SocketAddr>,
}

/// Unique over all listeners of the process.
static IDS: AtomicU64 = AtomicU64::new(1);

impl Ends {
    /// The ends that the kernel tells. IPv4 clients of a dual-stack socket are IPv4 clients.
    pub(super) fn of_socket(peer: SocketAddr, local: SocketAddr) -> Self {
        Self { peer: plain(peer), local: plain(local), balancer: None }
    }

    fn behind_balancer(self, (peer, local): (SocketAddr, SocketAddr)) -> Self {
        Self { peer: plain(peer), local: plain(local), balancer: Some(self.peer) }
    }
}

fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl<S: Service> Gate<S> {
    pub(super) fn new(
        service: Arc<S>,
        config: &Config,
        certificates: Arc<Certificates>,
        metrics: metrics::Listener,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        Self { service, http: Http::new(config), certificates, shed: Shed::new(metrics.clone()), metrics, phase }
    }

    /// Gets rid of a connection that found no place: with 503 if there is room for that, else at once. Returns within some seconds.
    pub(super) async fn shed(&self, socket: &Socket, io: impl Duplex, ends: Ends) {
        let answer = async {
            let mut io = Prefixed::new(io);
            let ends = self.ends(socket, &mut io, ends).await.ok()?;
            Box::pin(self.answer_shed(socket, io, ends)).await
        };
        self.shed.run(socket.tls, answer).await;
    }

    /// `None`: it ended before it could be answered.
    async fn answer_shed<T: Duplex>(&self, socket: &Socket, mut io: Prefixed<T>, ends: Ends) -> Option<()> {
        let nothing = || Box::new(());
        if !socket.tls {
            let framing = framing_of(&mut io).await.ok()?;
            let connection = self.connection(socket, ends, None, nothing());
            self.http(io, framing, connection, Some(Unserved::ConnectionLimit)).await;
            return Some(());
        }
        let server_name = hello::peek(&mut io).await.ok()?;
        if !self.certificates.answers(server_name.as_deref()) {
            return None; // nothing that we say would be understood
        }
        let io = self.accept_tls(io).await.ok()?;
        let (framing, tls) = agreed(&io, server_name);
        let connection = self.connection(socket, ends, Some(tls), nothing());
        self.http(io, framing, connection, Some(Unserved::ConnectionLimit)).await;
        Some(())
    }

    /// Serves a connection until it and everything that came of it has ended.
    pub(super) async fn welcome(&self, socket: &Socket, io: impl Duplex + Wire, ends: Ends, mut place: Place) {
        let mut io = Prefixed::new(io);
        let Some(ends) = self.in_time(Slow::Head.word(), self.head_time(), self.ends(socket, &mut io, ends)).await else {
            return;
        };
        if place.belongs_to(ends.peer.ip()).is_err() {
            drop(place);
            return self.shed.run(socket.tls, Box::pin(self.answer_shed(socket, io, ends))).await;
        }
        let (held, mut gone) = oneshot::channel::<Infallible>();
        let connect = |tls| self.connection(socket, ends, tls, Box::new((place, held)));
        if socket.tls {
            // Boxed, so that no plain connection's future has room for a handshake.
            Box::pin(self.tls(io, connect)).await
        } else {
            self.plain(io, connect).await
        }
        // A tunnel that a request opened holds the connection; it counts until it is gone.
        let _ = (&mut gone).await;
    }

    fn connection(&self, socket: &Socket, ends: Ends, tls: Option<Tls>, place: Box<dyn Send + Sync>) -> Arc<Connection> {
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        let Ends { peer, local, balancer } = ends;
        Arc::new(Connection::new(id, (peer, local), balancer, Arc::clone(&socket.doors), tls, self.phase.clone(), place))
    }

    /// Both ends, as a PROXY protocol header names them where one may.
    async fn ends<T: Duplex>(&self, socket: &Socket, io: &mut Prefixed<T>, ends: Ends) -> io::Result<Ends> {
        let is_balancer = socket.proxy_protocol_from.iter().any(|network| network.contains(&ends.peer.ip()));
        let found = loop {
            match proxy_protocol::parse(io.peeked()) {
                Ok(Header::Incomplete) => io.peek_more(proxy_protocol::HEADER_MAX).await?,
                Ok(Header::Absent) if !is_balancer => return Ok(ends),
                Ok(Header::Absent) => break Err(proxy_protocol::Error::Missing),
                _ if !is_balancer => break Err(proxy_protocol::Error::Forbidden),
                Ok(Header::Present { len, addresses }) => break Ok((len, addresses)),
                Err(error) => break Err(error),
            }
        };
        let (len, addresses) = found.map_err(|error| {
            self.metrics.proxy_protocol_errors.inc(error.word());
            tracing::warn!(peer = %ends.peer, %error, "connection closed");
            io::Error::new(io::ErrorKind::InvalidData, error)
        })?;
        io.consume(len);
        Ok(addresses.map_or(ends, |named| ends.behind_balancer(named)))
    }

    /// A plain connection: HTTP/2 only with prior knowledge (RFC 9113 §3.3).
    async fn plain<T: Duplex + Wire>(&self, mut io: Prefixed<T>, connect: impl FnOnce(Option<Tls>) -> Arc<Connection>) {
        let framing = self.in_time(Slow::Head.word(), self.head_time(), framing_of(&mut io)).await;
        if let Some(framing) = framing {
            let connection = connect(None);
            let peer = connection.peer;
            let end = self.http.serve_plain(io, self.conversation(framing, connection, None)).await;
            self.note(peer, end);
        }
    }

    /// A connection to a TLS socket: ours when we have a certificate for the name, passed on untouched when it is for an allowed origin, else closed.
    async fn tls<T: Duplex>(&self, mut io: Prefixed<T>, connect: impl FnOnce(Option<Tls>) -> Arc<Connection>) {
        let hello = self.handshake("hello", hello::peek(&mut io)).await;
        let Some(server_name) = hello else { return };
        if self.certificates.answers(server_name.as_deref()) {
            let Some(io) = self.handshake("handshake", self.accept_tls(io)).await else { return };
            self.metrics.tls_handshakes.inc();
            let (framing, tls) = agreed(&io, server_name);
            return self.http(io, framing, connect(Some(tls)), None).await;
        }
        let Some(server_name) = server_name else { return self.metrics.tls_failures.inc("no-name") };
        let connection = connect(None);
        match self.service.passes_tls(&connection, &server_name) {
            Some(to) => {
                self.metrics.tls_passed.inc();
                self.service.tunnel(connection, to, io).await;
            }
            None => {
                self.metrics.tls_failures.inc("unknown-name");
                tracing::debug!(peer = %connection.peer, server_name, "TLS for a name that is neither ours nor allowed");
            }
        }
    }

    fn accept_tls<T: Duplex>(&self, io: Prefixed<T>) -> tokio_rustls::Accept<Prefixed<T>> {
        TlsAcceptor::from(self.certificates.tls()).accept_with(io, |session| session.set_buffer_limit(Some(TLS_BUFFER)))
    }

    /// `unserved`: why none of its requests is served, if so.
    async fn http(&self, io: impl Duplex, framing: Framing, connection: Arc<Connection>, unserved: Option<Unserved>) {
        let peer = connection.peer;
        let end = self.http.serve(io, self.conversation(framing, connection, unserved)).await;
        self.note(peer, end);
    }

    fn conversation(&self, framing: Framing, connection: Arc<Connection>, unserved: Option<Unserved>) -> Conversation<S> {
        Conversation { framing, connection, service: Arc::clone(&self.service), phase: self.phase.clone(), unserved }
    }

    fn note(&self, peer: SocketAddr, end: End) {
        match end {
            End::Slow(slow) => self.metrics.timeouts.inc(slow.word()),
            End::Flood(flood) => {
                self.metrics.floods.inc(flood.word());
                tracing::debug!(%peer, %flood, "connection closed");
            }
            End::Broken(error) => tracing::debug!(%peer, %error, "connection broke"),
            End::Closed | End::Cut => {}
        }
    }

    async fn handshake<T>(&self, step: &'static str, work: impl Future<Output = io::Result<T>>) -> Option<T> {
        let done = timeout(self.http.timeouts().handshake, work).await;
        let reason = match done {
            Ok(Ok(done)) => return Some(done),
            Ok(Err(error)) => {
                tracing::debug!(%error, step, "TLS failed");
                step
            }
            Err(_) => "timeout",
        };
        self.metrics.tls_failures.inc(reason);
        None
    }

    fn head_time(&self) -> Duration {
        self.http.timeouts().head
    }

    /// `None` when `work` failed or took too long, or a drain began and still nothing came; the connection is closed then.
    async fn in_time<T>(&self, what: &'static str, patience: Duration, work: impl Future<Output = io::Result<T>>) -> Option<T> {
        tokio::select! {
            biased;
            done = timeout(patience, work) => match done {
                Ok(done) => done.ok(),
                Err(_) => {
                    self.metrics.timeouts.inc(what);
                    None
                }
            },
            () = self.drain_of_silent() => None,
        }
    }

    /// Resolves a little after a drain began: what a client was just sending is here by then.
    async fn drain_of_silent(&self) {
        let mut phase = self.phase.clone();
        // An error means that nobody is left who could tell, which is the end, too.
        let _ = phase.wait_for(|phase| *phase != Phase::Serving).await;
        tokio::time::sleep(FAREWELL).await;
    }
}

/// A request that was on its way when a drain began arrives within this, on any line worth waiting for.
const FAREWELL: Duration = Duration::from_secs(1);

/// Bytes that are encrypted before they are written: what is read from the store at a time, and a head before it. rustls's own 64 KiB left
/// the length of the head over, for a record and a system call of its own.
const TLS_BUFFER: usize = 80 << 10;

async fn framing_of<T: Duplex>(io: &mut Prefixed<T>) -> io::Result<Framing> {
    loop {
        let seen = io.peeked();
        let common = seen.len().min(HTTP2_PREFACE.len());
        if seen[..common] != HTTP2_PREFACE[..common] {
            return Ok(Framing::Http1);
        }
        if common == HTTP2_PREFACE.len() {
            return Ok(Framing::Http2);
        }
        io.peek_more(HTTP2_PREFACE.len()).await?;
    }
}

/// What the handshake agreed on.
fn agreed<T>(io: &TlsStream<T>, server_name: Option<Box<str>>) -> (Framing, Tls) {
    let (_, session) = io.get_ref();
    let framing = if session.alpn_protocol() == Some(b"h2") { Framing::Http2 } else { Framing::Http1 };
    let version = session.protocol_version().and_then(|version| version.as_str()).unwrap_or("unknown");
    (framing, Tls { server_name, version })
}
