//! The only mapper of errors to responses.
//!
//! The rule that clients depend on: 4xx means "this will never work" (Delivery Optimization stops using a cache for 15 minutes after one);
//! whatever may pass is 502, 503 or 504.

use http::{
    StatusCode,
    header::{ALLOW, RETRY_AFTER},
};

use super::{
    call::Unread,
    connection::RequestBodyError,
    error::Error,
    respond::{self, Answered},
};
use crate::{cache, upstream};

/// The response for `error`.
pub(super) fn rescue(error: &Error) -> Answered {
    let (status, reason) = match error {
        Error::Refused(refusal) => (refusal.status(), refusal.as_str()),
        Error::Unserved(unserved) => (unserved.status(), unserved.as_str()),
        Error::Ambiguous(ambiguity) => (StatusCode::BAD_REQUEST, ambiguity.as_str()),
        Error::Unread(unread) => (of_call(unread), unread.as_str()),
        Error::Cache(error) => (of_cache(error), error.reason()),
        Error::Upstream(error) => (of_upstream(error), error.reason()),
    };
    let mut answered = respond::own(status, reason, error.to_string());
    let fields = answered.response.headers_mut();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        fields.insert(RETRY_AFTER, http::HeaderValue::from_static(RETRY_AFTER_SECS));
    }
    if let Error::Refused(refusal) = error
        && let Some(methods) = refusal.allow()
    {
        // RFC 9110 §15.5.6
        fields.insert(ALLOW, http::HeaderValue::from_static(methods));
    }
    // What follows on this connection might be the rest of this request, read in the other way (RFC 9112 §11.2).
    answered.closes = matches!(error, Error::Ambiguous(_) | Error::Unserved(_));
    answered
}

fn of_call(unread: &Unread) -> StatusCode {
    match unread {
        Unread::Rate | Unread::Memory => StatusCode::SERVICE_UNAVAILABLE,
        Unread::Slow(_) | Unread::Broken(RequestBodyError::Stalled(_)) => StatusCode::REQUEST_TIMEOUT,
        Unread::Broken(_) => StatusCode::BAD_REQUEST,
    }
}

fn of_cache(error: &cache::Error) -> StatusCode {
    match error {
        cache::Error::Upstream(error) => of_upstream(error),
        // 408, 425, 429: the origin has no time now.
        cache::Error::Answered(code) if code.is_client_error() && error.is_passing() => StatusCode::SERVICE_UNAVAILABLE,
        cache::Error::Changed
        | cache::Error::Answered(_)
        | cache::Error::WrongRange
        | cache::Error::Unasked(_)
        | cache::Error::Ambiguous
        | cache::Error::Short
        | cache::Error::Unresumable
        | cache::Error::Contradicted(_)
        | cache::Error::Unverified => StatusCode::BAD_GATEWAY,
        cache::Error::Store(_) | cache::Error::Busy { .. } | cache::Error::Stopped => StatusCode::SERVICE_UNAVAILABLE,
        // RFC 9111 §5.2.1.7 for the latter.
        cache::Error::Stalled | cache::Error::OnlyIfCached => StatusCode::GATEWAY_TIMEOUT,
    }
}

fn of_upstream(error: &upstream::Error) -> StatusCode {
    use upstream::Error as E;
    match error {
        // Neither the name nor the rules change by asking again.
        E::Address { .. } => StatusCode::FORBIDDEN,
        E::Request { .. } => StatusCode::BAD_REQUEST,
        E::Resolve { .. }
        | E::Connect { .. }
        | E::Tls { .. }
        | E::Broken { .. }
        | E::Protocol { .. }
        | E::Redirect { .. }
        | E::RedirectLoop
        | E::Refused { .. } => StatusCode::BAD_GATEWAY,
        E::ConnectTimeout { .. } | E::FirstByteTimeout { .. } | E::Stalled { .. } => StatusCode::GATEWAY_TIMEOUT,
        E::Busy { .. } | E::Exhausted { .. } | E::Unhealthy { .. } | E::Closed => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Long enough for a burst to pass, short enough that nobody notices.
const RETRY_AFTER_SECS: &str = "5";
