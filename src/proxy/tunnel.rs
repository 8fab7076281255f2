//! Tunnels: `CONNECT`, and TLS for an allowed origin's name. Bytes go through untouched and unread; a record is written at their end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use http::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{oneshot, watch},
    time::{Instant, MissedTickBehavior},
};

use super::{
    Error, Proxy,
    connection::{Connection, RequestBody},
    log::{End, Record},
    recorded::Event,
    rescue,
    respond::{self, Answered},
    target,
};
use crate::{
    classify::Tunnel,
    metrics::{Class, Source, Verdict},
    upstream::Tunneled,
};

impl Proxy {
    /// Dials first, so that a client hears at once when there is nobody at the other end.
    pub(super) async fn open_tunnel(
        &self,
        connection: &Arc<Connection>,
        request: &mut Request<RequestBody>,
        tunnel: Tunnel,
    ) -> Result<Answered, Error> {
        debug_assert_eq!(request.method(), Method::CONNECT);
        let upstream = self.upstreams.tunnel(&target(tunnel.origin, tunnel.upstream)).await?;
        let upgrade = hyper::upgrade::on(request);
        let (connection, idle) = (connection.clone(), self.config.load().tunnel_idle);
        let (begun, event) = oneshot::channel::<Event>();
        // Ends with either side, after `idle`, or when a drain cuts the connection.
        tokio::spawn(async move {
            let Ok(event) = event.await else { return }; // the client left before it had its answer
            match upgrade.await {
                Ok(client) => carry(&connection, TokioIo::new(client), upstream, idle, event).await,
                Err(error) => tracing::debug!(%error, "tunnel not begun"),
            }
        });
        Ok(respond::connected(begun))
    }

    /// TLS that the listener found to be meant for `tunnel`'s origin.
    pub(super) async fn pass_tls<T>(&self, connection: Arc<Connection>, tunnel: Tunnel, client: T)
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let running = self.metrics.running.hold();
        let mut record = self.record_of_tls(&connection, &tunnel);
        let dialled = self.upstreams.tunnel(&target(tunnel.origin, tunnel.upstream)).await;
        if let Err(error) = &dialled {
            tracing::debug!(%error, "tunnel not begun");
        }
        match dialled {
            Ok(upstream) => {
                let event = Event::new(record, self.log.clone(), running);
                carry(&connection, client, upstream, self.config.load().tunnel_idle, event).await;
            }
            Err(error) => {
                // Nobody can be told in TLS that is not ours; the log can.
                let answered = rescue::rescue(&error.into());
                record.status = answered.response.status();
                (record.verdict, record.reason, record.detail) = (Verdict::Error, answered.reason, answered.detail);
                Event::new(record, self.log.clone(), running).end(End::Cut, None);
            }
        }
    }

    /// As that of a `CONNECT` to the origin that the client's hello names.
    fn record_of_tls(&self, connection: &Connection, tunnel: &Tunnel) -> Record {
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = Method::CONNECT;
        parts.uri = Uri::try_from(format!("{}:{}", tunnel.origin.host, tunnel.origin.port)).unwrap_or_default();
        let mut record = Record::new(self.log.next_id(), SystemTime::now(), connection.peer.ip(), &parts);
        (record.class, record.door) = (Class::Tunnel, Some(tunnel.door));
        (record.status, record.verdict) = (StatusCode::OK, Verdict::Bypass);
        record.detail = Some("TLS passed by its server name".into());
        record
    }
}

/// What went through so far, in bytes.
struct Traffic {
    to_client: AtomicU64,
    to_upstream: AtomicU64,
    moved: watch::Sender<Instant>,
}

/// Which side a tunnel broke at.
enum Broken {
    Client,
    Upstream,
}

/// Copies both ways until both are done, one fails, or nothing moves for `idle`.
async fn carry<C>(connection: &Connection, client: C, upstream: Tunneled, idle: Duration, mut event: Event)
where
    C: AsyncRead + AsyncWrite,
{
    let Tunneled { stream: upstream, place: _place } = upstream;
    let traffic =
        Traffic { to_client: AtomicU64::new(0), to_upstream: AtomicU64::new(0), moved: watch::Sender::new(Instant::now()) };
    let (client_read, client_write) = tokio::io::split(client);
    let (upstream_read, upstream_write) = tokio::io::split(upstream);
    let up = copy((client_read, Broken::Client), (upstream_write, Broken::Upstream), &traffic.to_upstream, &traffic.moved);
    let down = copy((upstream_read, Broken::Upstream), (client_write, Broken::Client), &traffic.to_client, &traffic.moved);
    let mut both = std::pin::pin!(async { tokio::try_join!(up, down) });
    let mut silent = std::pin::pin!(silence(&traffic.moved, idle));
    let mut cut = std::pin::pin!(connection.cut());
    let mut count = tokio::time::interval(COUNT_INTERVAL);
    count.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (end, reason) = loop {
        tokio::select! {
            result = &mut both => break ended(result),
            () = &mut silent => break (End::Complete, Some("tunnel-idle")),
            () = &mut cut => break (End::Cut, Some("drain")),
            _ = count.tick() => traffic.count(&mut event),
        }
    };
    traffic.count(&mut event);
    event.end(end, reason);
}

fn ended(result: Result<((), ()), Broken>) -> (End, Option<&'static str>) {
    match result {
        Ok(((), ())) => (End::Complete, None),
        Err(Broken::Client) => (End::Aborted, None),
        Err(Broken::Upstream) => (End::Cut, Some("tunnel-broken")),
    }
}

impl Traffic {
    /// Enters what went through since the last time.
    fn count(&self, event: &mut Event) {
        match self.to_client.swap(0, Relaxed) {
            0 => {}
            len => event.sent(Source::Relayed, len),
        }
        match self.to_upstream.swap(0, Relaxed) {
            0 => {}
            len => event.received(len),
        }
    }
}

async fn copy(
    (mut from, from_side): (impl AsyncRead + Unpin, Broken),
    (mut to, to_side): (impl AsyncWrite + Unpin, Broken),
    count: &AtomicU64,
    moved: &watch::Sender<Instant>,
) -> Result<(), Broken> {
    let mut buffer = vec![0; BUFFER_LEN];
    loop {
        let Ok(len) = from.read(&mut buffer).await else { return Err(from_side) };
        moved.send_replace(Instant::now());
        let written = if len == 0 { to.shutdown().await } else { to.write_all(&buffer[..len]).await };
        match written {
            Err(_) => return Err(to_side),
            Ok(()) if len == 0 => return Ok(()),
            Ok(()) => _ = count.fetch_add(len as u64, Relaxed),
        }
    }
}

/// Resolves when nothing has moved for `idle`.
async fn silence(moved: &watch::Sender<Instant>, idle: Duration) {
    loop {
        let until = *moved.borrow() + idle;
        if Instant::now() >= until {
            return;
        }
        tokio::time::sleep_until(until).await;
    }
}

const BUFFER_LEN: usize = 32 << 10;
/// Often enough for a graph of a tunnel that lives for hours.
const COUNT_INTERVAL: Duration = Duration::from_secs(10);
