//! The only builder of responses.

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version,
    header::{ACCEPT_RANGES, AGE, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE},
};
use http_body::Body as _;
use hyper::ext::ReasonPhrase;
use tokio::sync::oneshot;

use super::{
    log::{AccessLog, Record},
    observe::Tap,
    recognised::{Behind, Learning},
    recorded::{Event, Recorded},
};
use crate::{
    cache::{Body, CacheStatus, Found, How, Standing},
    metrics::{Held, Verdict},
    piece::{ByteRange, PIECE_LEN},
    semantics::{Facts, Selection, fields, freshness::current_age, multipart::Multipart, range::ContentRange},
    upstream,
};

/// A response, and what log and metrics say of it.
pub(super) struct Answered {
    pub response: Response<Body>,
    pub status: CacheStatus,
    /// For refusals and errors: one word, and what it is about.
    pub reason: Option<&'static str>,
    pub detail: Option<Box<str>>,
    /// The version of the message that was received from upstream, for `Via`. A stored response that came in another than HTTP/1.1 has
    /// it there already.
    pub received: Version,
    /// It is the last on its connection.
    pub closes: bool,
    /// Sees the bytes of the body as they pass.
    pub tap: Option<Tap>,
    /// Who writes the record when the connection has become a tunnel.
    pub tunnel: Option<oneshot::Sender<Event>>,
    /// What it rests on, if it is to be prepared for requests with the same head.
    pub standing: Option<Box<(Standing, Behind)>>,
}

impl Answered {
    fn new(response: Response<Body>, status: CacheStatus) -> Self {
        Self {
            response,
            status,
            reason: None,
            detail: None,
            received: Version::HTTP_11,
            closes: false,
            tap: None,
            tunnel: None,
            standing: None,
        }
    }
}

/// A stored response, or what a request selects of it.
pub(super) fn stored(mut found: Found, selection: Selection, method: &Method, now: SystemTime) -> Answered {
    // Looking at the bytes can change how it came about, not for whom it was asked.
    let is_first_use = found.status.is_first_use();
    match &selection {
        // No content is sent, so none has to be fetched.
        _ if method == Method::HEAD => {}
        Selection::Part(range) => found.look_at(&[*range]),
        Selection::Parts(ranges) => found.look_at(ranges),
        Selection::Whole => found.look_at(&[]),
        Selection::NotModified | Selection::PreconditionFailed | Selection::Unsatisfiable => {}
    }
    let status = found.status.clone();
    let mut response = Response::new(Body::empty());
    *response.status_mut() = found.code();
    *response.headers_mut() = stored_fields(&found, is_first_use, now);
    let len = found.len();
    match selection {
        Selection::Whole => whole(&mut response, found),
        Selection::Part(range) => part(&mut response, found, range, len),
        Selection::Parts(ranges) => parts(&mut response, found, ranges, len.unwrap_or_default()),
        Selection::NotModified => not_modified(&mut response),
        Selection::PreconditionFailed => *response.status_mut() = StatusCode::PRECONDITION_FAILED,
        Selection::Unsatisfiable => unsatisfiable(&mut response, len.unwrap_or_default()),
    }
    if matches!(response.status(), StatusCode::PRECONDITION_FAILED | StatusCode::RANGE_NOT_SATISFIABLE) {
        without_content(response.headers_mut());
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(0));
    }
    Answered::new(response, status)
}

fn stored_fields(found: &Found, is_first_use: bool, now: SystemTime) -> HeaderMap {
    let facts = found.facts();
    let mut fields = found.fields().clone();
    if !is_first_use {
        fields::remove_unvalidated(&mut fields, &facts.directives);
    }
    date(&mut fields, facts, now);
    if found.len().is_some() && found.code() == StatusCode::OK {
        fields.entry(ACCEPT_RANGES).or_insert_with(|| HeaderValue::from_static("bytes"));
    }
    fields
}

/// Says how old a stored response is, and when it was made.
fn date(fields: &mut HeaderMap, facts: &Facts, now: SystemTime) {
    if let Some(age) = current_age(facts, now) {
        fields.insert(AGE, fields::age_value(age));
    }
    // RFC 9110 §6.6.1: when it was received; the library would say when it is sent.
    fields.entry(DATE).or_insert_with(|| fields::date_value(facts.date));
}

fn whole(response: &mut Response<Body>, found: Found) {
    if let Some(len) = found.len() {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(len));
    }
    *response.body_mut() = found.whole();
}

fn part(response: &mut Response<Body>, found: Found, range: ByteRange, len: Option<u64>) {
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let fields = response.headers_mut();
    fields.insert(CONTENT_RANGE, ContentRange::Satisfied { range, len }.to_value());
    fields.insert(CONTENT_LENGTH, HeaderValue::from(range.len()));
    *response.body_mut() = found.part(range);
}

/// RFC 9110 §15.3.7.2: parts in the order asked for, not merged.
fn parts(response: &mut Response<Body>, found: Found, ranges: Vec<ByteRange>, len: u64) {
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let fields = response.headers_mut();
    let multipart = Multipart::new(rand::random(), fields.get(CONTENT_TYPE), len, ranges);
    fields.insert(CONTENT_TYPE, multipart.content_type());
    fields.insert(CONTENT_LENGTH, HeaderValue::from(multipart.content_length()));
    let parts = multipart.parts().map(|(head, range)| (Bytes::from(head), range)).collect();
    *response.body_mut() = found.parts(parts, multipart.tail().into(), multipart.content_length());
}

/// RFC 9110 §15.4.5: the fields that a 200 would have had, without those that describe the content.
fn not_modified(response: &mut Response<Body>) {
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    without_content(response.headers_mut());
}

fn unsatisfiable(response: &mut Response<Body>, len: u64) {
    *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
    response.headers_mut().insert(CONTENT_RANGE, ContentRange::Unsatisfied { len }.to_value());
}

fn without_content(fields: &mut HeaderMap) {
    for name in [CONTENT_LENGTH, CONTENT_TYPE, http::header::CONTENT_ENCODING, http::header::CONTENT_LANGUAGE] {
        fields.remove(name);
    }
}

/// A response that goes to one client only, as it came.
pub(super) fn relayed<B>(response: Response<B>, status: CacheStatus) -> Answered
where
    B: http_body::Body<Data = Bytes, Error = upstream::Error> + Send + Unpin + 'static,
{
    let received = response.version();
    let mut response = response.map(Body::relayed);
    fields::remove_hop_by_hop(response.headers_mut());
    // It is built anew for the client's connection: of the extensions only the origin's spelling of the field names may stay.
    Answered { received, ..Answered::new(response, status) }
}

/// A relayed response that the client's own preconditions turn into one without content.
pub(super) fn relayed_bare(response: Response<upstream::Body>, code: StatusCode, status: CacheStatus) -> Answered {
    let mut answered = relayed(response, status);
    *answered.response.body_mut() = Body::empty();
    *answered.response.status_mut() = code;
    without_content(answered.response.headers_mut());
    answered
}

/// The answer of a final recipient to `OPTIONS`: that weir is here (RFC 9110 §9.3.7).
pub(super) fn options() -> Answered {
    let mut response = Response::new(Body::empty());
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(0));
    Answered::new(response, CacheStatus::new(How::Own))
}

/// The answer to `CONNECT`: from now on the connection is a tunnel.
pub(super) fn connected(tunnel: oneshot::Sender<Event>) -> Answered {
    Answered { tunnel: Some(tunnel), ..Answered::new(Response::new(Body::empty()), CacheStatus::new(How::Bypass)) }
}

/// weir's own word: a refusal or an error, as one sentence of text.
pub(super) fn own(status: StatusCode, reason: &'static str, sentence: String) -> Answered {
    let text = format!("weir: {sentence}\n");
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
    *response.body_mut() = Body::own(text);
    let cache_status = CacheStatus { detail: Some(reason), ..CacheStatus::new(How::Own) };
    Answered { reason: Some(reason), detail: Some(sentence.into()), ..Answered::new(response, cache_status) }
}

/// Adds what every response carries, and hands record and body over to [`Recorded`], which writes the one event at its end.
pub(super) fn finish(
    answered: Answered,
    method: &Method,
    node: &Arc<str>,
    mut record: Record,
    log: &AccessLog,
    running: Held,
    learning: &Learning,
) -> Response<Recorded> {
    let Answered { mut response, status, reason, detail, received, closes, tap, tunnel, standing } = answered;
    // RFC 9110 §9.3.6: a successful CONNECT has no fields about content.
    let field = tunnel.is_none().then(|| cache_status(&status)).flatten();
    // Who was refused a tunnel may have begun to speak into it.
    let closes = closes || (method == Method::CONNECT && tunnel.is_none());
    if closes && record.version < Version::HTTP_2 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(field) = &field {
        response.headers_mut().append(CACHE_STATUS, field.clone());
        if !fields::is_last_in_via(response.headers(), node) {
            fields::append_via(response.headers_mut(), received, node);
        }
    }
    if method == Method::HEAD {
        *response.body_mut() = Body::empty();
    }
    // What the message says is the origin's, the version is ours (RFC 9110 §2.5).
    *response.version_mut() = Version::HTTP_11;
    if response.status().canonical_reason().is_none() && response.extensions().get::<ReasonPhrase>().is_none() {
        // Rather none than one that the library makes up.
        response.extensions_mut().insert(ReasonPhrase::from_static(b""));
    }
    record.status = response.status();
    record.verdict = match reason {
        Some(_) if response.status().is_client_error() || response.status() == StatusCode::LOOP_DETECTED => Verdict::Refused,
        _ => status.verdict(),
    };
    // The key is the URL as the client knows it, which the log has already, without its secrets.
    record.cache_status = if status.key.is_some() { cache_status(&CacheStatus { key: None, ..status }) } else { field };
    record.reason = reason;
    record.detail = detail;
    if let Some(standing) = standing {
        learning.prepare(*standing, &response, &record);
    }
    let is_long = response.body().size_hint().exact().is_none_or(|len| len > PIECE_LEN);
    let record = if is_long { record.detached().unwrap_or(record) } else { record };
    let event = Event::new(record, log.clone(), running);
    let event = match tunnel {
        // If the tunnel is gone already, dropping the event writes it.
        Some(tunnel) => {
            drop(tunnel.send(event));
            None
        }
        None => Some(event),
    };
    response.map(|body| Recorded::new(body, event, tap))
}

fn cache_status(status: &CacheStatus) -> Option<HeaderValue> {
    HeaderValue::from_str(&status.to_string()).ok()
}

/// RFC 9211
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::semantics::Policy;

    #[test]
    fn a_response_without_a_date_has_the_one_of_its_reception_ever_after() {
        let received = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let facts = Facts::of(StatusCode::OK, &HeaderMap::new(), received, received, &Policy::HTTP);
        for age in [0, 1, 3600] {
            let mut fields = HeaderMap::new();
            date(&mut fields, &facts, received + Duration::from_secs(age));
            assert_eq!(fields[DATE], "Sun, 09 Sep 2001 01:46:40 GMT", "after {age} s");
            assert_eq!(fields[AGE], age.to_string().as_str());
        }
    }
}
