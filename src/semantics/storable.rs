//! Which responses may be stored (RFC 9111 §3), and which requests may share one.

use std::time::Duration;

use http::{
    HeaderMap, Method, StatusCode, Uri,
    header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, EXPIRES, LAST_MODIFIED, SET_COOKIE, TRANSFER_ENCODING},
};

use crate::semantics::{
    cache_control::{RequestDirectives, ResponseDirectives},
    facts::single,
    fields, head, invalidation, multipart,
    policy::{Errors, LifetimeRule, Policy},
    range::ContentRange,
    validator::ETag,
};

/// What may be stored of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storing {
    /// A complete response.
    Whole,
    /// A 206 with one range (RFC 9111 §3.3): these bytes of the representation.
    Part(ContentRange),
    /// A 206 `multipart/byteranges`: its parts, once parsed (RFC 9110 §15.3.7.2).
    Multipart,
}

/// Why a response may not be stored. One word each, for logs, metrics and Cache-Status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotStorable {
    /// The method's responses are not stored (RFC 9111 §3).
    Method,
    /// Not final, not understood, or an error that policy does not keep (RFC 9111 §3).
    Status,
    /// `no-store` in the request (RFC 9111 §5.2.1.5).
    RequestNoStore,
    /// `no-store` in the response (RFC 9111 §5.2.2.5).
    NoStore,
    /// `private` (RFC 9111 §5.2.2.7).
    Private,
    /// The request had `Authorization`, and nothing in the response allows sharing it (RFC 9111 §3.5).
    Authorization,
    /// Policy keeps no response that sets cookies.
    SetCookie,
    /// Neither explicit freshness nor a heuristic, nor a validator to ask with later (RFC 9111 §3).
    NoFreshness,
    /// A 206 whose fields contradict each other or say too little (RFC 9111 §3.3).
    PartialInvalid,
}

impl NotStorable {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Status => "status",
            Self::RequestNoStore => "request-no-store",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::Authorization => "authorization",
            Self::SetCookie => "set-cookie",
            Self::NoFreshness => "no-freshness",
            Self::PartialInvalid => "partial-invalid",
        }
    }
}

/// Whether (and how) a response may be stored by a shared cache (RFC 9111 §3). `request` are the client's fields.
pub fn storable(
    method: &Method,
    request: &HeaderMap,
    status: StatusCode,
    response: &HeaderMap,
    policy: &Policy,
) -> Result<Storing, NotStorable> {
    if *method != Method::GET {
        return Err(NotStorable::Method);
    }
    content(request, status, response, policy)
}

/// The same for a response to `POST`. It may answer a later GET of `target` (in absolute form) if it says that this is what it is, by a
/// `Content-Location` with the same URI, and for how long (RFC 9110 §9.3.3).
pub fn storable_post(
    target: &Uri,
    request: &HeaderMap,
    status: StatusCode,
    response: &HeaderMap,
    policy: &Policy,
) -> Result<Storing, NotStorable> {
    if status != StatusCode::OK || !invalidation::is_content_of(response, target) || !is_explicit(response, policy) {
        return Err(NotStorable::Method);
    }
    content(request, status, response, policy)
}

/// Whether the response itself says how long it is fresh (RFC 9111 §4.2.1), be it not at all.
pub fn is_explicit(response: &HeaderMap, policy: &Policy) -> bool {
    says_lifetime(response, &ResponseDirectives::of(response, policy.targeted))
}

/// Whether the fields of a 304, or of a 200 to a HEAD, may become those of the stored response. That stores them, so the rules for storing
/// hold (RFC 9111 §3, §3.5); otherwise they are for the one who asked. `updated`: the stored fields with the received ones in them.
pub fn may_update(request: &HeaderMap, received: &HeaderMap, updated: &HeaderMap, policy: &Policy) -> Result<(), NotStorable> {
    let received_directives = ResponseDirectives::of(received, policy.targeted);
    let directives = ResponseDirectives::of(updated, policy.targeted);
    // What the update says itself counts, even where a targeted field that is stored outdoes it.
    for directives in [&received_directives, &directives] {
        if directives.no_store && !directives.must_understand {
            return Err(NotStorable::NoStore);
        }
        if directives.private.is_everything() {
            return Err(NotStorable::Private);
        }
    }
    if RequestDirectives::of(request).no_store {
        return Err(NotStorable::RequestNoStore);
    }
    if request.contains_key(AUTHORIZATION) && !directives.allows_authorized() {
        return Err(NotStorable::Authorization);
    }
    if !policy.store_set_cookie && received.contains_key(SET_COOKIE) && !directives.private.fields().contains(&SET_COOKIE) {
        return Err(NotStorable::SetCookie);
    }
    Ok(())
}

/// Whether the response to a GET, or to what stands for one, may be stored.
fn content(request: &HeaderMap, status: StatusCode, response: &HeaderMap, policy: &Policy) -> Result<Storing, NotStorable> {
    let directives = ResponseDirectives::of(response, policy.targeted);
    if NEVER_STORED.contains(&status.as_u16()) || !(200..600).contains(&status.as_u16()) {
        return Err(NotStorable::Status);
    }
    // RFC 9111 §5.2.2.3: must-understand replaces no-store for those who know the status, and forbids storing to all others.
    if directives.must_understand && !is_understood(status) {
        return Err(NotStorable::Status);
    }
    if directives.no_store && !directives.must_understand {
        return Err(NotStorable::NoStore);
    }
    if RequestDirectives::of(request).no_store {
        return Err(NotStorable::RequestNoStore);
    }
    if directives.private.is_everything() {
        return Err(NotStorable::Private);
    }
    if request.contains_key(AUTHORIZATION) && !directives.allows_authorized() {
        return Err(NotStorable::Authorization);
    }
    // A field named by private="set-cookie" is not stored anyway.
    if !policy.store_set_cookie && response.contains_key(SET_COOKIE) && !directives.private.fields().contains(&SET_COOKIE) {
        return Err(NotStorable::SetCookie);
    }
    freshness_enough(status, response, &directives, policy)?;
    if status == StatusCode::PARTIAL_CONTENT { partial(response) } else { Ok(Storing::Whole) }
}

/// Whether the status alone allows a freshness lifetime to be guessed (RFC 9110 §15.1).
pub fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// RFC 9111 §3, last condition: something says how long it may be used. Beyond the RFC, what could never be used again (stale at once,
/// and nothing to validate it with) takes no room.
fn freshness_enough(
    status: StatusCode,
    response: &HeaderMap,
    directives: &ResponseDirectives,
    policy: &Policy,
) -> Result<(), NotStorable> {
    let explicit = says_lifetime(response, directives);
    let guessable = directives.public || is_heuristically_cacheable(status);
    let is_error = status.is_client_error() || status.is_server_error();
    let granted = matches!(policy.rule(status), LifetimeRule::AtLeast(_) | LifetimeRule::Forever);
    let modified = single(response, &LAST_MODIFIED).and_then(fields::parse_date).is_some();
    let is_kept = match policy.errors {
        _ if !is_error => true,
        Errors::Never => return Err(NotStorable::Status),
        Errors::Explicit => explicit,
        Errors::Heuristic => explicit || (guessable && modified),
    };
    let validator = modified || ETag::of(response).is_some();
    let useful = if directives.no_cache.is_everything() {
        (explicit || guessable) && validator
    } else {
        explicit || (guessable && validator)
    };
    if granted || (is_kept && useful) { Ok(()) } else { Err(NotStorable::NoFreshness) }
}

fn says_lifetime(response: &HeaderMap, directives: &ResponseDirectives) -> bool {
    let expires = response.contains_key(EXPIRES) && !directives.targeted;
    directives.s_maxage.is_some() || directives.max_age.is_some() || expires
}

/// RFC 9111 §3.3: a 206 is stored only with a `Content-Range` that is certain and fits the length, or as a multipart.
fn partial(response: &HeaderMap) -> Result<Storing, NotStorable> {
    let length = head::content_length(response).map_err(|_| NotStorable::PartialInvalid)?;
    match ContentRange::of(response) {
        Ok(Some(range @ ContentRange::Satisfied { .. })) if length.is_none_or(|length| range.fits_length(length)) => {
            Ok(Storing::Part(range))
        }
        Ok(None) if single(response, &CONTENT_TYPE).is_some_and(multipart::is_byteranges) => Ok(Storing::Multipart),
        _ => Err(NotStorable::PartialInvalid),
    }
}

/// Statuses whose caching rules we follow (RFC 9110 §15, RFC 9111 §5.2.2.3).
fn is_understood(status: StatusCode) -> bool {
    is_heuristically_cacheable(status) || matches!(status.as_u16(), 302 | 303 | 307 | 400 | 403 | 500 | 502 | 503 | 504)
}

/// Responses that belong to one request: to its conditions, ranges, credentials or rate. RFC 6585 §3 to §6 forbid 428, 429,
/// 431 and 511, RFC 8470 §5.2 425; a 304 or 416 is no representation; a stored 401, 407 or 412 would answer those who had the right.
const NEVER_STORED: [u16; 11] = [304, 401, 407, 412, 416, 421, 425, 428, 429, 431, 511];

/// Whether a request may be answered by a response that another request caused (collapsed forwarding, RFC 9111 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// It may join a running flight, or start one that others join.
    Join,
    /// Others may join what it starts, but it may not join what began before it came: it demands validation.
    Lead,
    /// It goes upstream by itself.
    Alone,
}

/// Judged on the request alone, before anything is known of the response.
pub fn sharing(method: &Method, request: &HeaderMap) -> Sharing {
    let directives = RequestDirectives::of(request);
    // A body gives a GET a meaning that the cache key does not hold (RFC 9110 §9.3.1).
    let has_body = request.contains_key(TRANSFER_ENCODING) || request.get(CONTENT_LENGTH).is_some_and(|length| length != "0");
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    if !is_read || has_body || directives.no_store || request.contains_key(AUTHORIZATION) {
        return Sharing::Alone;
    }
    if directives.no_cache || directives.max_age == Some(Duration::ZERO) {
        return Sharing::Lead;
    }
    Sharing::Join
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::testing::fields;

    const LM: (&str, &str) = ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");

    fn store(status: u16, response: &[(&str, &str)], policy: &Policy) -> Result<Storing, NotStorable> {
        storable(&Method::GET, &HeaderMap::new(), StatusCode::from_u16(status).unwrap(), &fields(response), policy)
    }

    #[test]
    fn what_the_directives_of_a_response_allow() {
        for (status, cache_control, expected) in [
            (200, "max-age=60", Ok(Storing::Whole)),
            (200, "max-age=0", Ok(Storing::Whole)),
            (200, "no-store, max-age=60", Err(NotStorable::NoStore)),
            (200, "private, max-age=60", Err(NotStorable::Private)),
            (200, "private=\"set-cookie\", max-age=60", Ok(Storing::Whole)),
            (200, "no-cache, max-age=60", Err(NotStorable::NoFreshness)),
            (200, "foo", Err(NotStorable::NoFreshness)),
            (200, "must-understand, no-store, max-age=60", Ok(Storing::Whole)),
            (599, "must-understand, max-age=60", Err(NotStorable::Status)),
            (599, "max-age=60", Ok(Storing::Whole)),
            (299, "max-age=60", Ok(Storing::Whole)),
            (302, "max-age=60", Ok(Storing::Whole)),
            (302, "foo", Err(NotStorable::NoFreshness)),
            (404, "max-age=60", Ok(Storing::Whole)),
            (503, "s-maxage=60", Ok(Storing::Whole)),
            (304, "max-age=60", Err(NotStorable::Status)),
            (103, "max-age=60", Err(NotStorable::Status)),
            (429, "max-age=60", Err(NotStorable::Status)),
            (206, "max-age=60", Err(NotStorable::PartialInvalid)),
        ] {
            assert_eq!(store(status, &[("cache-control", cache_control)], &Policy::HTTP), expected, "{status} {cache_control}");
        }
        assert_eq!(store(200, &[("cache-control", "no-cache"), ("etag", "\"a\"")], &Policy::HTTP), Ok(Storing::Whole));
        assert_eq!(store(200, &[("cache-control", "max-age=9"), ("vary", "*")], &Policy::HTTP), Ok(Storing::Whole));
        assert_eq!(
            store(200, &[("cache-control", "max-age=9"), ("cdn-cache-control", "no-store")], &Policy::HTTP),
            Err(NotStorable::NoStore)
        );
    }

    #[test]
    fn a_last_modified_is_enough_where_freshness_may_be_guessed() {
        for (status, expected) in [
            (200, true),
            (203, true),
            (204, true),
            (404, true),
            (405, true),
            (410, true),
            (414, true),
            (501, true),
            (201, false),
            (202, false),
            (403, false),
            (502, false),
            (503, false),
            (504, false),
            (599, false),
        ] {
            assert_eq!(store(status, &[LM], &Policy::HTTP).is_ok(), expected, "{status}");
            assert!(store(status, &[LM, ("cache-control", "public")], &Policy::HTTP).is_ok(), "{status} public");
        }
        assert_eq!(store(200, &[("etag", "\"a\"")], &Policy::HTTP), Ok(Storing::Whole), "stale at once, but it can be validated");
    }

    #[test]
    fn policy_decides_about_errors_and_cookies() {
        let explicit = Policy { errors: Errors::Explicit, ..Policy::HTTP };
        assert_eq!(store(404, &[LM], &explicit), Err(NotStorable::NoFreshness));
        assert!(store(404, &[("expires", "Sun, 06 Nov 2094 08:49:37 GMT")], &explicit).is_ok());
        assert_eq!(store(404, &[("cache-control", "max-age=60")], &Policy::CONTENT), Err(NotStorable::Status));
        let cookie = [("cache-control", "max-age=60"), ("set-cookie", "a=b")];
        assert!(store(200, &cookie, &Policy::HTTP).is_ok());
        assert_eq!(store(200, &cookie, &Policy::CONTENT), Err(NotStorable::SetCookie));
        assert!(store(200, &[], &Policy::VERSIONED).is_ok());
        assert!(store(302, &[], &Policy::VERSIONED).is_err(), "a name vouches for content, not for a redirection");
        assert_eq!(store(200, &[("cache-control", "no-store")], &Policy::VERSIONED), Err(NotStorable::NoStore));
    }

    #[test]
    fn a_request_can_forbid_storing() {
        let ask = |request: &[(&str, &str)], cache_control| {
            storable(&Method::GET, &fields(request), StatusCode::OK, &fields(&[("cache-control", cache_control)]), &Policy::HTTP)
        };
        let authorized = [("authorization", "x")];
        assert_eq!(ask(&authorized, "max-age=60"), Err(NotStorable::Authorization));
        for allowing in ["max-age=60, public", "max-age=60, must-revalidate", "s-maxage=60"] {
            assert!(ask(&authorized, allowing).is_ok(), "{allowing}");
        }
        assert_eq!(ask(&[("cache-control", "no-store")], "max-age=60"), Err(NotStorable::RequestNoStore));
        for method in [Method::HEAD, Method::POST, Method::PUT] {
            let verdict =
                storable(&method, &HeaderMap::new(), StatusCode::OK, &fields(&[("cache-control", "max-age=60")]), &Policy::HTTP);
            assert_eq!(verdict, Err(NotStorable::Method), "{method}");
        }
    }

    #[test]
    fn a_response_to_post_is_stored_only_as_what_a_get_of_its_url_would_get() {
        let target: Uri = "http://a.example/x?y".parse().unwrap();
        let post = |status: u16, location, cache_control| {
            let response = fields(&[("content-location", location), ("cache-control", cache_control), LM]);
            storable_post(&target, &HeaderMap::new(), StatusCode::from_u16(status).unwrap(), &response, &Policy::HTTP)
        };
        for location in ["http://a.example/x?y", "/x?y", "?y", "//A.example/x?y", "./x?y"] {
            assert_eq!(post(200, location, "max-age=60"), Ok(Storing::Whole), "{location}");
        }
        for location in ["/x", "/X?y", "http://b.example/x?y", "https://a.example/x?y", ""] {
            let expected = if location.is_empty() { Ok(Storing::Whole) } else { Err(NotStorable::Method) };
            assert_eq!(post(200, location, "max-age=60"), expected, "{location}");
        }
        assert_eq!(post(200, "/x?y", "public"), Err(NotStorable::Method), "nothing is guessed about a POST");
        assert_eq!(post(201, "/x?y", "max-age=60"), Err(NotStorable::Method));
        assert_eq!(post(200, "/x?y", "max-age=60, no-store"), Err(NotStorable::NoStore));
        assert_eq!(post(200, "/x?y", "max-age=60, private"), Err(NotStorable::Private));
    }

    #[test]
    fn what_may_not_be_stored_does_not_update_what_is() {
        let update = |request: &[(&str, &str)], received: &[(&str, &str)], updated, policy| {
            may_update(&fields(request), &fields(received), &fields(&[("cache-control", updated)]), policy)
        };
        for (control, expected) in [
            ("max-age=60", Ok(())),
            ("no-cache", Ok(())),
            ("private=\"a\"", Ok(())),
            ("no-store, must-understand", Ok(())),
            ("private", Err(NotStorable::Private)),
            ("no-store", Err(NotStorable::NoStore)),
        ] {
            assert_eq!(update(&[], &[], control, &Policy::HTTP), expected, "{control}");
            assert_eq!(update(&[], &[("cache-control", control)], "max-age=60", &Policy::HTTP), expected, "{control}, received");
        }
        let authorized = [("authorization", "x")];
        assert_eq!(update(&authorized, &[], "max-age=60", &Policy::HTTP), Err(NotStorable::Authorization));
        assert_eq!(update(&authorized, &[], "max-age=60, public", &Policy::HTTP), Ok(()));
        let unstored = [("cache-control", "no-store")];
        assert_eq!(update(&unstored, &[], "max-age=60", &Policy::HTTP), Err(NotStorable::RequestNoStore));
        let cookie = [("set-cookie", "a=b")];
        assert_eq!(update(&[], &cookie, "max-age=60", &Policy::CONTENT), Err(NotStorable::SetCookie));
        assert_eq!(update(&[], &cookie, "max-age=60", &Policy::HTTP), Ok(()));
    }

    #[test]
    fn a_206_is_stored_only_when_its_figures_agree() {
        let part = |pairs: &[(&str, &str)]| {
            let pairs = [&[("cache-control", "max-age=60")][..], pairs].concat();
            store(206, &pairs, &Policy::HTTP).is_ok()
        };
        assert!(part(&[("content-range", "bytes 0-4/10")]));
        assert!(part(&[("content-range", "bytes 0-4/10"), ("content-length", "5")]));
        assert!(part(&[("content-range", "bytes 0-4/*"), ("content-length", "5")]));
        assert!(part(&[("content-type", "multipart/byteranges; boundary=x")]));
        for wrong in ["bytes 4-9/5", "bytes 4-3/9", "bytes */10", "items 0-4/10", "bytes 0-4", "bytes 0-4/10, bytes 5-9/10"] {
            assert!(!part(&[("content-range", wrong)]), "{wrong}");
        }
        assert!(!part(&[("content-range", "bytes 4-9/10"), ("content-length", "5")]));
        assert!(!part(&[("content-range", "bytes 0-4/10"), ("content-range", "bytes 0-4/10")]));
        assert!(!part(&[("content-type", "text/plain")]));
    }

    #[test]
    fn what_demands_validation_leads_and_what_is_personal_goes_alone() {
        let share = |pairs: &[(&str, &str)]| sharing(&Method::GET, &fields(pairs));
        assert_eq!(share(&[]), Sharing::Join);
        assert_eq!(share(&[("range", "bytes=0-1"), ("cookie", "a"), ("content-length", "0")]), Sharing::Join);
        assert_eq!(share(&[("pragma", "no-cache")]), Sharing::Lead);
        assert_eq!(share(&[("cache-control", "max-age=0")]), Sharing::Lead);
        assert_eq!(share(&[("cache-control", "no-store")]), Sharing::Alone);
        assert_eq!(share(&[("authorization", "x")]), Sharing::Alone);
        assert_eq!(share(&[("content-length", "1")]), Sharing::Alone);
        assert_eq!(share(&[("transfer-encoding", "chunked")]), Sharing::Alone);
        assert_eq!(sharing(&Method::POST, &HeaderMap::new()), Sharing::Alone);
    }
}
