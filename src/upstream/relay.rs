//! Everything that is not content: one request, one connection to the authoritative server, streamed both ways, sent at most once.

use std::{
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version,
    header::{AUTHORIZATION, CONNECTION, EXPECT, HOST, PROXY_AUTHENTICATE, TRANSFER_ENCODING, UPGRADE, WWW_AUTHENTICATE},
    uri::{PathAndQuery, Uri},
};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout};

use crate::upstream::{
    Body, Bound, Client, Shared, Target,
    connection::{Connection, Outgoing, empty},
    dial::{Endpoint, Versions},
    dialogues::Parties,
    error::Error,
    exchange::{Progress, Unanswered, send},
    health::Object,
    interim::{Expectation, Hold},
    pool::{Lease, Need, Slot, Use},
    select::{Form, Hop},
    settings::Settings,
};

impl Shared {
    pub(super) async fn relay(
        &self,
        target: &Target,
        mut request: Request<Outgoing>,
        progress: Progress,
        expectation: Option<Arc<Expectation>>,
        bound: &Bound,
    ) -> Result<Response<Body>, Error> {
        let settings = self.settings()?;
        prepare(&mut request);
        let object = Object::of(&target.origin, request.uri().path());
        let mut failure = None;
        let mut hops = settings.hierarchy.for_pass(target);
        let client = request.extensions_mut().remove::<Client>().filter(|_| hops.len() > 1);
        let parties = client.map(|client| Parties::new(client, target));
        if let Some(parties) = &parties {
            self.dialogues.arrange(parties, &mut hops, Instant::now());
        }
        for hop in &hops {
            let need = need(&request);
            // Until a connection stands nothing was sent: another server may still be asked.
            let versions = versions(&request, hop, expectation.is_some());
            let lease = match self.pass_lease(&settings, hop, need, versions, bound).await {
                Ok(lease) => lease,
                Err(error) => {
                    hop.upstream.fail(&error);
                    if matches!(error, Error::Busy { .. } | Error::Exhausted { .. } | Error::Closed) {
                        return Err(error);
                    }
                    failure = Some(error);
                    continue;
                }
            };
            address(&mut request, hop, target)?;
            let answered = self.relay_on(&settings, hop, lease, request, &progress, bound).await;
            if let Some(expectation) = &expectation {
                expectation.end();
            }
            let (response, lease) = answered.inspect_err(|error| hop.upstream.fail(error))?;
            if let Some(parties) = parties {
                let is_preferred = settings.hierarchy.prefers(target, &hop.upstream);
                self.dialogues.answered(parties, &hop.upstream.name, is_preferred, Instant::now());
            }
            let stall = settings.config.timeouts.stall;
            return Ok(Body::wrap(response, lease, hop.upstream.clone(), object, stall, false));
        }
        Err(failure.unwrap_or_else(|| Error::Unhealthy { target: target.origin.to_string().into() }))
    }

    /// The connection that belongs to this client when it leads to the right place, else one from the pool.
    async fn pass_lease(
        &self,
        settings: &Settings,
        hop: &Hop,
        need: Need,
        versions: Versions,
        bound: &Bound,
    ) -> Result<Lease, Error> {
        if let Some(lease) = bound.lease(hop).await {
            return Ok(lease);
        }
        self.lease(settings, hop, Use::Pass, need, versions).await
    }

    /// Sends on `lease`; once more on a fresh connection when the first was dead and repeating is safe.
    async fn relay_on(
        &self,
        settings: &Settings,
        hop: &Hop,
        lease: Lease,
        request: Request<Outgoing>,
        progress: &Progress,
        bound: &Bound,
    ) -> Result<(Response<Incoming>, Lease), Error> {
        let timeouts = &settings.config.timeouts;
        let authenticates = is_connection_bound(request.headers(), AUTHORIZATION);
        let versions = versions(&request, hop, request.headers().contains_key(EXPECT));
        let copy = if lease.may_fail_unasked() { repeatable(&request) } else { None };
        let sent = match send(lease, &hop.upstream, request, progress, timeouts.first_byte).await {
            Err(failed) => match second_chance(failed, copy) {
                Ok(again) => {
                    hop.upstream.meters.retries.inc();
                    let lease = self.lease(settings, hop, Use::Pass, Need::Fresh, versions).await?;
                    send(lease, &hop.upstream, again, progress, timeouts.first_byte).await
                }
                Err(error) => return Err(error),
            },
            sent => sent,
        };
        let (response, mut lease) = sent.map_err(|failed| failed.error)?;
        if authenticates || asks_to_authenticate(&response) {
            lease.bind(&bound.slot, &hop.endpoint);
        }
        Ok((response, lease))
    }
}

impl Bound {
    /// The bound connection, when it leads to `hop` and is still open.
    async fn lease(&self, hop: &Hop) -> Option<Lease> {
        let (endpoint, mut connection) = take_for(&self.slot, hop)?;
        // The response before has been read; its connection needs a moment to notice, no more.
        timeout(READY_TIMEOUT, connection.ready()).await.ok()?.ok()?;
        connection.is_open().then(|| Lease::bound(connection, &self.slot, endpoint))
    }
}

fn take_for(slot: &Arc<Slot>, hop: &Hop) -> Option<(Endpoint, Connection)> {
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    slot.take_if(|(endpoint, _)| *endpoint == hop.endpoint)
}

/// What may be sent after `failed`: the request itself when nothing of it left, or its copy when the connection was dead all along or the
/// server did not look at it.
fn second_chance(failed: Box<Unanswered>, copy: Option<Request<Outgoing>>) -> Result<Request<Outgoing>, Error> {
    let Unanswered { error, unsent, was_reused, is_unprocessed } = *failed;
    if let Some(unsent) = unsent {
        return Ok(unsent);
    }
    match (error, copy) {
        (Error::Broken { .. }, Some(copy)) if was_reused || is_unprocessed => Ok(copy),
        (error, _) => Err(error),
    }
}

/// Repeating it does no harm (RFC 9110 §9.2.2), and it has no body that would be gone.
fn is_repeatable<B: http_body::Body>(request: &Request<B>) -> bool {
    request.method().is_idempotent() && request.body().is_end_stream()
}

fn need(request: &Request<Outgoing>) -> Need {
    if is_repeatable(request) { Need::Any } else { Need::Proven }
}

/// A copy to send again.
fn repeatable(request: &Request<Outgoing>) -> Option<Request<Outgoing>> {
    is_repeatable(request).then(|| {
        let mut copy = Request::new(empty());
        *copy.method_mut() = request.method().clone();
        *copy.uri_mut() = request.uri().clone();
        *copy.headers_mut() = request.headers().clone();
        *copy.extensions_mut() = request.extensions().clone();
        copy
    })
}

/// Takes away what was between the client and us alone. Framing is added where the version is known.
fn prepare(request: &mut Request<Outgoing>) {
    *request.version_mut() = Version::HTTP_11;
    let fields = request.headers_mut();
    for name in
        [CONNECTION, TRANSFER_ENCODING, UPGRADE, HeaderName::from_static("keep-alive"), HeaderName::from_static("http2-settings")]
    {
        fields.remove(name);
    }
}

/// What the body of `request` waits for (RFC 9110 §10.1.1). A request without a body has nothing to wait with.
pub(super) fn expectation<B: http_body::Body>(request: &Request<B>) -> Option<Arc<Expectation>> {
    let expects = request.headers().get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    (expects && !request.body().is_end_stream()).then(Arc::default)
}

/// What may be spoken for `request`: HTTP/1.1 alone where the connection matters, where the target has no authority, where interim responses
/// are awaited, or where the administrator wants it.
fn versions(request: &Request<Outgoing>, hop: &Hop, expects: bool) -> Versions {
    let is_allowed = hop.upstream.definition.as_ref().is_none_or(|definition| definition.http2);
    let is_plain = hop.form == Form::Origin && request.uri().path() != "*" && !expects;
    if is_allowed && is_plain && !is_connection_bound(request.headers(), AUTHORIZATION) { Versions::Any } else { Versions::Http1 }
}

/// Writes request target and `Host` as `hop` wants them. The client's own `Host` is kept: WSUS builds URLs from it.
fn address(request: &mut Request<Outgoing>, hop: &Hop, target: &Target) -> Result<(), Error> {
    let invalid = |reason: String| Error::Request { upstream: hop.upstream.label(), reason: reason.into() };
    let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    let uri: Result<Uri, _> = match hop.form {
        Form::Origin => path.parse(),
        Form::Absolute => format!("{}{path}", target.origin).parse(),
    };
    *request.uri_mut() = uri.map_err(|error| invalid(error.to_string()))?;
    let fields = request.headers_mut();
    if hop.host.is_some() || hop.form == Form::Absolute || !fields.contains_key(HOST) {
        let authority = hop.host.as_deref().map_or_else(|| target.origin.authority(), str::to_owned);
        fields.insert(HOST, HeaderValue::try_from(authority).map_err(|error| invalid(error.to_string()))?);
    }
    Ok(())
}

/// NTLM and Negotiate authenticate the connection, not the request (RFC 4559 §6).
fn is_connection_bound(fields: &HeaderMap, name: HeaderName) -> bool {
    let mut schemes = fields.get_all(name).into_iter().filter_map(|value| value.as_bytes().split(|b| *b == b' ').next());
    schemes.any(|scheme| scheme.eq_ignore_ascii_case(b"NTLM") || scheme.eq_ignore_ascii_case(b"Negotiate"))
}

fn asks_to_authenticate(response: &Response<Incoming>) -> bool {
    match response.status() {
        StatusCode::UNAUTHORIZED => is_connection_bound(response.headers(), WWW_AUTHENTICATE),
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => is_connection_bound(response.headers(), PROXY_AUTHENTICATE),
        _ => false,
    }
}

/// A request body that tells when it moves.
pub(super) struct Upload<B> {
    body: B,
    progress: Progress,
    /// Until the upstream wants it.
    hold: Option<Hold>,
}

impl<B> Upload<B> {
    /// `expectation`: what the body waits for.
    pub(super) fn new(body: B, progress: Progress, expectation: Option<&Arc<Expectation>>) -> Self {
        Self { body, progress, hold: expectation.cloned().map(Hold::new) }
    }
}

impl<B> http_body::Body for Upload<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(hold) = &mut self.hold {
            ready!(hold.poll(cx));
            self.hold = None;
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.progress.moved();
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// How long a bound connection may take to end the exchange before.
const READY_TIMEOUT: Duration = Duration::from_secs(1);
