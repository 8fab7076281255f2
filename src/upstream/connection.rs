//! One HTTP/1.1 connection to an upstream.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, combinators::UnsyncBoxBody};
use hyper::{
    body::Incoming,
    client::conn::{
        TrySendError,
        http1::{self, SendRequest},
    },
};
use hyper_util::rt::TokioIo;
use tokio::{task::JoinHandle, time::Instant};

use crate::{
    metrics,
    upstream::dial::{Connected, Quiet},
};

/// A request body on its way out: boxed once per request, so that pools need not know whose it is.
pub(super) type Outgoing = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// No body.
pub(super) fn empty() -> Outgoing {
    Outgoing::new(Empty::new().map_err(|never| match never {}))
}

/// Dropping it closes the connection at once, whatever is under way on it.
pub(super) struct Connection {
    sender: SendRequest<Outgoing>,
    quiet: Quiet,
    task: JoinHandle<()>,
    idle_since: Instant,
    _open: metrics::Held,
}

impl Connection {
    pub(super) async fn open(connected: Connected, meters: &metrics::Peer) -> hyper::Result<Self> {
        let (sender, connection) = http1::Builder::new()
            // Field names go both ways as they were spelt: Delivery Optimization compares them by case.
            .preserve_header_case(true)
            .title_case_headers(true)
            .max_buf_size(READ_MAX)
            .handshake(TokioIo::new(connected.stream))
            .await?;
        let task = tokio::spawn(async move {
            // How it ended is told to whoever waits for a response or a body.
            _ = connection.await;
        });
        meters.connects.inc();
        Ok(Self { sender, quiet: connected.quiet, task, idle_since: Instant::now(), _open: meters.connections.hold() })
    }

    /// Sends a request; ends with the response head, or with the request itself when none of it was sent.
    pub(super) async fn send(
        &mut self,
        request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Outgoing>>> {
        self.sender.try_send_request(request).await
    }

    /// Waits until the exchange before has ended in both directions.
    pub(super) async fn ready(&mut self) -> hyper::Result<()> {
        self.sender.ready().await
    }

    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Whether it could carry another request as far as can be known: not closed, and nothing stray to be read.
    pub(super) fn is_open(&self) -> bool {
        !self.is_closed() && (self.quiet)()
    }

    pub(super) fn rest(&mut self) {
        self.idle_since = Instant::now();
    }

    pub(super) fn idle_since(&self) -> Instant {
        self.idle_since
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is read at a time. Slow readers keep slices of what was read, and every slice keeps all of it; it bounds a response head, too.
const READ_MAX: usize = 64 << 10;
