//! Content from the best hop that has it: failover, retries, redirects.

use std::time::Duration;

use http::{HeaderValue, Request, StatusCode, header::HOST, uri::Uri};
use http_body_util::BodyExt;
use tokio::time::{sleep, timeout};

use crate::upstream::{
    Ask, Body, Fetched, Shared,
    config::Kind,
    connection::{Outgoing, empty},
    dial::Versions,
    error::Error,
    exchange::{Progress, send},
    health::{Object, jittered},
    interim::Continue,
    pool::{Need, Use},
    redirect,
    select::{Form, Hop},
    settings::Settings,
};

impl Shared {
    /// Follows redirects, when they are to be followed, until there is an answer.
    pub(super) async fn fetch(&self, mut ask: Ask) -> Result<Fetched, Error> {
        let settings = self.settings()?;
        for followed in 0..=settings.config.redirects.max {
            let mut fetched = self.fetch_once(&settings, &ask).await?;
            if followed > 0 {
                fetched.moved = Some((ask.target.clone(), ask.path_and_query.clone()));
            }
            if !ask.follow {
                return Ok(fetched);
            }
            match redirect::next(&ask, &fetched.response, &settings.config.redirects)? {
                redirect::Verdict::Answer => return Ok(fetched),
                redirect::Verdict::Follow(next) => ask = *next,
            }
            drain(fetched.response.into_body()).await;
        }
        Err(Error::RedirectLoop)
    }

    /// Asks one hop after the other until one answers.
    async fn fetch_once(&self, settings: &Settings, ask: &Ask) -> Result<Fetched, Error> {
        let hops = settings.hierarchy.for_content(&ask.target);
        let mut failure = None;
        for (index, hop) in hops.iter().enumerate() {
            let is_last = index + 1 == hops.len();
            // With somebody else to ask, asking is quicker than waiting for this one to recover.
            let attempts_max = if is_last { ATTEMPTS_MAX } else { 1 };
            match self.fetch_from(settings, hop, ask, attempts_max).await {
                Ok(fetched) if is_answer(hop, fetched.response.status(), is_last) => return Ok(fetched),
                Ok(fetched) => {
                    let error = Error::Refused { upstream: hop.upstream.label(), status: fetched.response.status() };
                    hop.upstream.fail(&error);
                    failure = Some(error);
                    drain(fetched.response.into_body()).await;
                }
                // Our own limits: going round a parent because of them would fetch the same bytes over the WAN once more.
                Err(error @ (Error::Busy { .. } | Error::Exhausted { .. } | Error::Closed | Error::Request { .. })) => {
                    return Err(error);
                }
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| Error::Unhealthy { target: ask.target.origin.to_string().into() }))
    }

    /// Attempts at one hop. A connection that was idle and turns out to be dead does not count as an attempt, but as a request: it
    /// may have been received.
    async fn fetch_from(&self, settings: &Settings, hop: &Hop, ask: &Ask, attempts_max: u32) -> Result<Fetched, Error> {
        let mut need = Need::Any;
        let mut backoff = BACKOFF_MIN;
        let mut attempt = 1;
        let mut unanswered = 0;
        loop {
            let (error, was_reused) = match self.attempt(settings, hop, ask, need).await {
                Ok(fetched) => return Ok(fetched),
                Err(failed) => failed,
            };
            let is_broken = matches!(error, Error::Broken { .. });
            unanswered += u32::from(is_broken);
            if was_reused && is_broken {
                need = Need::Fresh;
                continue;
            }
            hop.upstream.fail(&error);
            if attempt >= attempts_max || unanswered >= REQUESTS_MAX || !may_pass(&error) {
                return Err(error);
            }
            hop.upstream.meters.retries.inc();
            tracing::debug!(upstream = %hop.upstream.name, attempt, %error, "retry");
            sleep(jittered(backoff)).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
            attempt += 1;
        }
    }

    async fn attempt(&self, settings: &Settings, hop: &Hop, ask: &Ask, need: Need) -> Result<Fetched, (Error, bool)> {
        let mut request = request(hop, ask).map_err(|error| (error, false))?;
        let progress = Progress::new();
        ask.interim.attach(&mut request, &progress, Continue::Ours);
        // A fill fetches by several connections when that was measured to help: streams of one would share its window and its losses.
        let lease = self.lease(settings, hop, Use::Content, need, Versions::Http1).await.map_err(|error| (error, false))?;
        let timeouts = &settings.config.timeouts;
        let sent = send(lease, &hop.upstream, request, &progress, timeouts.first_byte).await;
        let (response, lease) = sent.map_err(|failed| (failed.error, failed.was_reused))?;
        let object = Object::of(&ask.target.origin, &ask.path_and_query);
        let response = Body::wrap(response, lease, hop.upstream.clone(), object, timeouts.stall, true);
        Ok(Fetched { response, source: hop.source.authority().into(), upstream: hop.upstream.name.clone(), moved: None })
    }
}

/// Whether what a hop said is the answer, or somebody else may do better.
fn is_answer(hop: &Hop, status: StatusCode, is_last: bool) -> bool {
    match (hop.upstream.kind(), status.as_u16()) {
        // 403 and 508: not its business. The last word of the last parent stands: it may well be the origin's own, passed on.
        (Kind::Parent, 403) => is_last,
        (Kind::Parent, 502..=504 | 508) => false,
        // What the authority says about itself is for the cache to judge, unless another server has the same content.
        (Kind::Origin, 502..=504) => is_last,
        _ => true,
    }
}

/// The request as `hop` wants it.
fn request(hop: &Hop, ask: &Ask) -> Result<Request<Outgoing>, Error> {
    let invalid = |reason: String| Error::Request { upstream: hop.upstream.label(), reason: reason.into() };
    let origin = &ask.target.origin;
    let authority = hop.host.as_deref().map_or_else(|| origin.authority(), str::to_owned);
    let uri: Uri = match hop.form {
        Form::Origin => ask.path_and_query.parse(),
        Form::Absolute => format!("{origin}{}", ask.path_and_query).parse(),
    }
    .map_err(|error: http::uri::InvalidUri| invalid(format!("{}: {error}", ask.path_and_query)))?;
    let host = HeaderValue::try_from(authority).map_err(|error| invalid(error.to_string()))?;
    let mut request = Request::new(empty());
    *request.method_mut() = ask.method.clone();
    *request.uri_mut() = uri;
    // Host first, as RFC 9110 §7.2 recommends.
    request.headers_mut().reserve(ask.fields.len() + 1);
    request.headers_mut().insert(HOST, host);
    for (name, value) in ask.fields.iter().filter(|(name, _)| *name != HOST) {
        request.headers_mut().append(name.clone(), value.clone());
    }
    Ok(request)
}

/// Whether the same attempt may well succeed in a moment.
fn may_pass(error: &Error) -> bool {
    matches!(error, Error::Connect { .. } | Error::Broken { .. })
}

/// Reads the few bytes under a redirect or a refusal, so that the connection serves the next request; gives up on more.
async fn drain(mut body: Body) {
    let all = async {
        let mut left = DRAIN_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, bytes::Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    _ = timeout(DRAIN_TIMEOUT, all).await;
}

/// At the last hop; earlier ones get one attempt.
const ATTEMPTS_MAX: u32 = 3;
/// Who hung up on the same request twice does not mean to answer it; connecting may be tried more often.
const REQUESTS_MAX: u32 = 2;
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
const DRAIN_MAX: usize = 16 * 1024;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
