//! Preconditions (RFC 9110 §13) against one representation, in the order of §13.2.2.

use std::time::SystemTime;

use http::{
    HeaderMap, HeaderName, Method,
    header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE},
};

use crate::semantics::{
    facts::{Facts, single},
    fields, list,
    validator::{ETag, Validator, is_long_before},
};

/// What the preconditions of a request make of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Go on as if there were none. `range`: whether a `Range` field still counts after `If-Range`.
    Passed { range: bool },
    /// 304; for methods other than GET and HEAD it is `Failed`.
    NotModified,
    /// 412
    Failed,
}

/// Evaluates a request against a stored response with a 2xx status, as RFC 9110 §13.2.2 numbers the steps.
///
/// RFC 9110 §13.1.1 lets a cache ignore `If-Match` and `If-Unmodified-Since`; we evaluate them because resuming clients rely on 412.
pub fn evaluate(method: &Method, request: &HeaderMap, stored: &Facts) -> Precondition {
    // RFC 9111 §4.3.2: a cache without Last-Modified compares with the Date of the stored response.
    judge(method, request, stored, Some(stored.last_modified.unwrap_or(stored.date)))
}

/// The same against a response that is relayed, not stored: without `Last-Modified` it was made for this request, and `If-Modified-Since`
/// says nothing (RFC 9110 §13.1.3).
pub fn evaluate_relayed(method: &Method, request: &HeaderMap, relayed: &Facts) -> Precondition {
    judge(method, request, relayed, relayed.last_modified)
}

/// `modified`: what `If-Modified-Since` is compared with.
fn judge(method: &Method, request: &HeaderMap, stored: &Facts, modified: Option<SystemTime>) -> Precondition {
    // 1 and 2.
    if request.contains_key(IF_MATCH) {
        if !if_match(request, stored.etag.as_ref()) {
            return Precondition::Failed;
        }
    } else if is_modified_since(request, &IF_UNMODIFIED_SINCE, stored.last_modified) == Some(true) {
        return Precondition::Failed;
    }
    // 3 and 4.
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    if request.contains_key(IF_NONE_MATCH) {
        if !if_none_match(request, stored.etag.as_ref()) {
            return if is_read { Precondition::NotModified } else { Precondition::Failed };
        }
    } else if is_read && is_modified_since(request, &IF_MODIFIED_SINCE, modified) == Some(false) {
        return Precondition::NotModified;
    }
    // 5.
    Precondition::Passed { range: !request.contains_key(IF_RANGE) || if_range(request, stored) }
}

/// Whether a request carries any precondition at all.
pub fn is_conditional(request: &HeaderMap) -> bool {
    [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, IF_RANGE].iter().any(|name| request.contains_key(name))
}

/// RFC 9110 §13.1.1: `*` is true because there is a representation; else the strong comparison.
fn if_match(request: &HeaderMap, etag: Option<&ETag>) -> bool {
    list::tags(request, &IF_MATCH).any(|tag| tag == b"*" || etag.is_some_and(|etag| etag.strong_eq_bytes(tag)))
}

/// RFC 9110 §13.1.2: `*` is false because there is a representation; else the weak comparison.
fn if_none_match(request: &HeaderMap, etag: Option<&ETag>) -> bool {
    !list::tags(request, &IF_NONE_MATCH).any(|tag| tag == b"*" || etag.is_some_and(|etag| etag.weak_eq_bytes(tag)))
}

/// Whether `modified` is later than the date of the field; `None` when there is nothing to compare: the field is absent, no date,
/// or repeated, or the representation has no modification date (RFC 9110 §13.1.3, §13.1.4).
fn is_modified_since(request: &HeaderMap, name: &HeaderName, modified: Option<SystemTime>) -> Option<bool> {
    let since = fields::parse_date(single(request, name)?)?;
    Some(modified? > since)
}

/// RFC 9110 §13.1.5: a tag by the strong comparison, a date only exactly and only where it is strong here.
fn if_range(request: &HeaderMap, stored: &Facts) -> bool {
    let Some(value) = single(request, &IF_RANGE) else { return false };
    if let Some(date) = fields::parse_date(value) {
        let is_strong = |modified| is_long_before(modified, stored.date) && !matches!(stored.validator, Validator::WeakTag(_));
        return stored.last_modified.is_some_and(|modified| modified == date && is_strong(modified));
    }
    stored.etag.as_ref().is_some_and(|etag| etag.strong_eq_bytes(value.as_bytes()))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::semantics::{policy::Policy, testing};

    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AFTER: &str = "Sunday, 06-Nov-94 08:49:38 GMT";
    const DATE: &str = "Mon, 07 Nov 1994 08:49:37 GMT";
    const PASSED: Precondition = Precondition::Passed { range: true };
    const NO_RANGE: Precondition = Precondition::Passed { range: false };

    fn stored(pairs: &[(&str, &str)]) -> Facts {
        Facts::of(StatusCode::OK, &testing::fields(pairs), SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH, &Policy::HTTP)
    }

    fn tagged(tag: &str) -> Facts {
        stored(&[("etag", tag), ("last-modified", MODIFIED), ("date", DATE)])
    }

    fn ask(stored: &Facts, request: &[(&str, &str)]) -> Precondition {
        evaluate(&Method::GET, &testing::fields(request), stored)
    }

    #[test]
    fn each_field_alone() {
        for (name, value, expected) in [
            ("if-match", "*", PASSED),
            ("if-match", "\"a\"", PASSED),
            ("if-match", "\"x\", \"a\"", PASSED),
            ("if-match", "W/\"a\"", Precondition::Failed),
            ("if-match", "\"x\"", Precondition::Failed),
            ("if-match", "", Precondition::Failed),
            ("if-unmodified-since", BEFORE, Precondition::Failed),
            ("if-unmodified-since", MODIFIED, PASSED),
            ("if-unmodified-since", AFTER, PASSED),
            ("if-unmodified-since", "yesterday", PASSED),
            ("if-none-match", "*", Precondition::NotModified),
            ("if-none-match", "\"a\"", Precondition::NotModified),
            ("if-none-match", "W/\"a\"", Precondition::NotModified),
            ("if-none-match", "\"1\", \"a\", \"2\"", Precondition::NotModified),
            ("if-none-match", "\"x\"", PASSED),
            ("if-none-match", "a", PASSED),
            ("if-none-match", "\"x, \"a\"\"", PASSED),
            ("if-modified-since", BEFORE, PASSED),
            ("if-modified-since", MODIFIED, Precondition::NotModified),
            ("if-modified-since", AFTER, Precondition::NotModified),
            ("if-modified-since", "-3000", PASSED),
            ("if-range", "\"a\"", PASSED),
            ("if-range", "W/\"a\"", NO_RANGE),
            ("if-range", "\"x\"", NO_RANGE),
            ("if-range", MODIFIED, PASSED),
            ("if-range", AFTER, NO_RANGE),
            ("if-range", BEFORE, NO_RANGE),
            ("if-range", "nonsense", NO_RANGE),
        ] {
            assert_eq!(ask(&tagged("\"a\""), &[(name, value)]), expected, "{name}: {value}");
        }
    }

    #[test]
    fn the_order_of_the_rfc_decides_between_several() {
        let ask = |request: &[(&str, &str)]| ask(&tagged("\"a\""), request);
        assert_eq!(ask(&[("if-match", "\"a\""), ("if-unmodified-since", BEFORE)]), PASSED, "step 1 replaces step 2");
        assert_eq!(ask(&[("if-match", "\"x\""), ("if-none-match", "\"a\"")]), Precondition::Failed);
        assert_eq!(ask(&[("if-none-match", "\"a\""), ("if-modified-since", BEFORE)]), Precondition::NotModified);
        assert_eq!(ask(&[("if-none-match", "\"x\""), ("if-modified-since", AFTER)]), PASSED, "step 3 replaces step 4");
        assert_eq!(ask(&[("if-none-match", "\"x\""), ("if-range", "\"x\"")]), NO_RANGE);
        let post = |name, value| evaluate(&Method::POST, &testing::fields(&[(name, value)]), &tagged("\"a\""));
        assert_eq!(post("if-none-match", "\"a\""), Precondition::Failed);
        assert_eq!(post("if-modified-since", AFTER), PASSED);
    }

    #[test]
    fn weak_and_missing_validators() {
        assert_eq!(ask(&tagged("W/\"a\""), &[("if-none-match", "W/\"a\"")]), Precondition::NotModified);
        assert_eq!(ask(&tagged("W/\"a\""), &[("if-match", "W/\"a\"")]), Precondition::Failed);
        assert_eq!(ask(&tagged("W/\"a\""), &[("if-range", MODIFIED)]), NO_RANGE);
        assert_eq!(ask(&stored(&[]), &[("if-match", "*")]), PASSED);
        assert_eq!(ask(&stored(&[]), &[("if-match", "\"a\"")]), Precondition::Failed);
        assert_eq!(ask(&stored(&[]), &[("if-unmodified-since", BEFORE)]), PASSED);
        let fresh_date = stored(&[("last-modified", MODIFIED), ("date", "Sun, 06 Nov 1994 08:50:36 GMT")]);
        assert_eq!(ask(&fresh_date, &[("if-range", MODIFIED)]), NO_RANGE, "modified within the minute before: not strong");
    }

    #[test]
    fn without_last_modified_the_date_of_the_response_is_compared() {
        let dated = stored(&[("date", MODIFIED)]);
        assert_eq!(ask(&dated, &[("if-modified-since", BEFORE)]), PASSED);
        assert_eq!(ask(&dated, &[("if-modified-since", AFTER)]), Precondition::NotModified);
    }

    #[test]
    fn repeated_dates_are_ignored_and_repeated_tags_are_one_list() {
        assert_eq!(ask(&tagged("\"a\""), &[("if-modified-since", AFTER), ("if-modified-since", AFTER)]), PASSED);
        assert_eq!(ask(&tagged("\"a\""), &[("if-none-match", "\"x\""), ("if-none-match", "\"a\"")]), Precondition::NotModified);
        assert_eq!(ask(&tagged("\"a\""), &[("if-range", "\"a\""), ("if-range", "\"a\"")]), NO_RANGE);
        assert_eq!(ask(&tagged("\"a\\\""), &[("if-none-match", "\"a\\\", \"b\"")]), Precondition::NotModified);
    }
}
