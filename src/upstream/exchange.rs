//! One exchange with one hop: a connection, a request, a response head in time.

use std::{
    error::Error as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use h2::Reason;
use http::{Request, Response, StatusCode, header::HOST};
use hyper::{body::Incoming, client::conn::TrySendError};
use tokio::{
    pin,
    time::{Instant, timeout_at},
};

use crate::upstream::{
    Shared,
    body::chain,
    connection::{Connection, Outgoing, empty},
    dial::Versions,
    error::Error,
    guard,
    health::Upstream,
    pool::{Lease, Need, Use},
    select::{self, Hop},
    settings::Settings,
};

/// Why there is no response head.
pub(super) struct Unanswered {
    pub(super) error: Error,
    /// The request, when nothing of it was sent.
    pub(super) unsent: Option<Request<Outgoing>>,
    /// The connection had been idle before: it may have been dead all along.
    pub(super) was_reused: bool,
    /// The server says that it has done nothing about the request (RFC 9113 §8.7).
    pub(super) is_unprocessed: bool,
}

/// When something last moved: shared with the request body, so that a long upload is not taken for silence.
#[derive(Clone)]
pub(super) struct Progress(Arc<Mutex<Instant>>);

impl Progress {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    pub(super) fn moved(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// A connection to `hop`: an idle one that fits `need`, or a new one; waits for a place among those in use.
    /// `versions`: what may be spoken on it.
    pub(super) async fn lease(
        &self,
        settings: &Settings,
        hop: &Hop,
        use_: Use,
        need: Need,
        versions: Versions,
    ) -> Result<Lease, Error> {
        let timeouts = &settings.config.timeouts;
        let pool = settings.pools.of(&hop.endpoint, use_, settings.connections(&hop.upstream));
        let busy = || Error::Busy { upstream: hop.upstream.label(), limit: pool.limit() };
        let place = pool.place(timeouts.busy).await.ok_or_else(busy)?;
        if self.is_closed() {
            return Err(Error::Closed);
        }
        let versions = if pool.is_http1_only() { Versions::Http1 } else { versions };
        let joined = (versions == Versions::Any && need != Need::Fresh).then(|| pool.join()).flatten();
        if let Some(connection) = joined.or_else(|| pool.take(need, timeouts.idle)) {
            return Ok(Lease::new(connection, pool, place, true));
        }
        let dialed = settings.dialer.dial(&hop.endpoint, &hop.upstream.name, versions).await?;
        let broken = |error: hyper::Error| Error::Broken { upstream: hop.upstream.label(), reason: chain(&error).into() };
        let connection = Connection::open(dialed, use_, &hop.upstream.meters).await.map_err(broken)?;
        pool.offer(&connection);
        Ok(Lease::new(connection, pool, place, false))
    }

    /// Whether `upstream` is there: a connection, and an answer below 500 to its probe path if it has one.
    pub(super) async fn probe(&self, upstream: &Arc<Upstream>) -> Result<(), Error> {
        let settings = self.settings()?;
        let Some(definition) = &upstream.definition else { return Ok(()) };
        let hop = select::door(upstream, definition);
        let dialed = settings.dialer.dial(&hop.endpoint, &upstream.name, Versions::Http1).await?;
        let Some(path) = &definition.probe else { return Ok(()) };
        let broken = |error: hyper::Error| Error::Broken { upstream: upstream.label(), reason: chain(&error).into() };
        let mut connection = Connection::open(dialed, Use::Pass, &upstream.meters).await.map_err(broken)?;
        let host = definition.host.as_deref().map_or_else(|| definition.url.authority(), str::to_owned);
        let request = Request::get(&**path).header(HOST, host).body(empty());
        let request = request.map_err(|error| Error::Request { upstream: upstream.label(), reason: error.to_string().into() })?;
        let response = connection.send(request).await.map_err(|error| broken(error.into_error()))?;
        match response.status() {
            status if status.is_server_error() => Err(Error::Refused { upstream: upstream.label(), status }),
            _ => Ok(()),
        }
    }
}

/// Sends `request` on `lease` and waits for the response head, at most `patience` after `progress` last moved.
pub(super) async fn send(
    mut lease: Lease,
    upstream: &Upstream,
    request: Request<Outgoing>,
    progress: &Progress,
    patience: Duration,
) -> Result<(Response<Incoming>, Lease), Box<Unanswered>> {
    let was_reused = lease.is_reused;
    let unanswered = |error, unsent| Box::new(Unanswered { error, unsent, was_reused, is_unprocessed: false });
    progress.moved();
    match in_time(lease.connection().send(request), progress, patience).await {
        None => {
            let error = Error::FirstByteTimeout { upstream: upstream.label(), after: patience };
            Err(unanswered(error, None))
        }
        Some(Err(mut error)) => {
            let unsent = error.take_message();
            let reason = reason(error.error());
            if reason == Some(Reason::HTTP_1_1_REQUIRED) {
                lease.require_http1();
            }
            let is_unprocessed = matches!(reason, Some(Reason::REFUSED_STREAM | Reason::HTTP_1_1_REQUIRED));
            let error = typed(upstream, error.error());
            Err(Box::new(Unanswered { error, unsent, was_reused, is_unprocessed }))
        }
        Some(Ok(response)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            let reason = "switches protocols although nobody asked".into();
            Err(unanswered(Error::Protocol { upstream: upstream.label(), reason }, None))
        }
        Some(Ok(response)) => {
            upstream.answer(response.status(), progress.last().elapsed());
            Ok((response, lease))
        }
    }
}

async fn in_time<T>(
    sending: impl Future<Output = Result<Response<Incoming>, TrySendError<T>>>,
    progress: &Progress,
    patience: Duration,
) -> Option<Result<Response<Incoming>, TrySendError<T>>> {
    pin!(sending);
    let mut deadline = progress.last() + patience;
    loop {
        if let Ok(ended) = timeout_at(deadline, &mut sending).await {
            return Some(ended);
        }
        let later = progress.last() + patience;
        if later <= deadline {
            return None;
        }
        deadline = later;
    }
}

/// What an HTTP/2 server says it broke off for.
fn reason(error: &hyper::Error) -> Option<Reason> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.reason();
        }
        cause = error.source();
    }
    None
}

fn typed(upstream: &Upstream, error: &hyper::Error) -> Error {
    let (upstream, reason) = (upstream.label(), chain(error).into());
    if error.is_parse() || guard::has_refused(error) {
        Error::Protocol { upstream, reason }
    } else if error.is_user() {
        Error::Request { upstream, reason }
    } else {
        Error::Broken { upstream, reason }
    }
}
