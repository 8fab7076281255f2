//! Fields that an intermediary removes, adds, hands on and updates (RFC 9110 §7.6, RFC 9111 §3.1, §3.2, RFC 8586).

mod hops;
mod stored;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        ACCEPT, ACCEPT_ENCODING, CONTENT_LENGTH, ETAG, EXPECT, HOST, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
        IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE,
    },
};

pub use self::{
    hops::{
        MaxForwards, append_cdn_loop, append_via, end_to_end, has_passed, is_last_in_via, join_cookies, max_forwards,
        remove_hop_by_hop, takes_trailers,
    },
    stored::{HeadUpdate, head_update, prepare_stored, remove_unvalidated, update_stored},
};
use crate::semantics::{cache_control::DELTA_MAX, facts::single, validator::ETag};

/// The fields to ask for content with on behalf of anybody: a fixed set, nothing of the client (delivery and transparent doors).
/// `identity`: a coding nobody asked for would be stored as the file.
pub fn anonymous_request() -> HeaderMap {
    let mut request = HeaderMap::with_capacity(8);
    request.insert(ACCEPT, HeaderValue::from_static("*/*"));
    request.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    request
}

/// The client's end-to-end fields that a cache sends on when it fills: without conditions and ranges, which it sets itself, and
/// without framing, since a fill has no body.
pub fn fill_request(client: &HeaderMap) -> HeaderMap {
    let mut request = client.clone();
    remove_hop_by_hop(&mut request);
    for name in OWN_REQUEST_FIELDS {
        request.remove(name);
    }
    request
}

/// Adds the conditions of a validation request (RFC 9111 §4.3.1): `If-None-Match` and, beside it or alone, `If-Modified-Since`,
/// as the stored response spelt them. False when it has no validator: the request stays unconditional.
pub fn add_validation(request: &mut HeaderMap, stored: &HeaderMap) -> bool {
    let etag = ETag::of(stored).is_some().then(|| stored.get(ETAG)).flatten();
    let modified = single(stored, &LAST_MODIFIED).filter(|value| parse_date(value).is_some());
    request.extend(etag.map(|value| (IF_NONE_MATCH, value.clone())));
    request.extend(modified.map(|value| (IF_MODIFIED_SINCE, value.clone())));
    etag.is_some() || modified.is_some()
}

/// The same fields in memory of their own: those of a message are slices of the buffer that it was read into, and keep all of that.
pub fn detached(fields: &HeaderMap) -> HeaderMap {
    let own_name = |name: &HeaderName| HeaderName::from_bytes(name.as_str().as_bytes()).unwrap_or_else(|_| name.clone());
    fields.iter().map(|(name, value)| (own_name(name), detached_value(value))).collect()
}

/// The same value in memory of its own.
pub fn detached_value(value: &HeaderValue) -> HeaderValue {
    let mut own = HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone());
    own.set_sensitive(value.is_sensitive());
    own
}

/// Whole seconds, at most 2^31 (RFC 9111 §1.2.2, §5.1).
pub fn age_secs(age: Duration) -> u64 {
    age.as_secs().min(DELTA_MAX)
}

/// The value of `Age`.
pub fn age_value(age: Duration) -> HeaderValue {
    HeaderValue::from(age_secs(age))
}

/// An IMF-fixdate (RFC 9110 §5.6.7). Times it cannot say become the nearest it can.
pub fn date_value(time: SystemTime) -> HeaderValue {
    let secs = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().min(DATE_MAX);
    HeaderValue::try_from(httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(secs)))
        .expect("invariant: a date is letters, digits and punctuation of ASCII")
}

/// The time of one date in any of the three formats; `None` when invalid (RFC 9110 §5.6.7).
pub fn parse_date(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

/// Fields of a client's request that a fill sets itself or does without.
const OWN_REQUEST_FIELDS: [HeaderName; 9] =
    [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, IF_RANGE, RANGE, CONTENT_LENGTH, EXPECT, HOST];

/// Fri, 31 Dec 9999 23:59:59 GMT: a year has four digits.
const DATE_MAX: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::semantics::testing::fields;

    #[test]
    fn a_fill_asks_with_the_clients_fields_but_not_its_conditions() {
        let client = fields(&[
            ("host", "a"),
            ("accept-language", "de"),
            ("cookie", "a=b"),
            ("cache-control", "max-age=0"),
            ("if-none-match", "\"a\""),
            ("if-range", "\"a\""),
            ("range", "bytes=0-1"),
            ("content-length", "0"),
            ("expect", "100-continue"),
            ("connection", "x, close"),
            ("x", "1"),
            ("te", "trailers"),
        ]);
        assert_eq!(
            fill_request(&client),
            fields(&[("accept-language", "de"), ("cookie", "a=b"), ("cache-control", "max-age=0")])
        );
        assert!(!anonymous_request().contains_key("cookie"));
    }

    #[test]
    fn validation_asks_with_every_validator_as_it_came() {
        let ask = |stored: &[(&str, &str)]| {
            let mut request = HeaderMap::new();
            let conditional = add_validation(&mut request, &fields(stored));
            let value = |name| request.get(name).map(|value: &HeaderValue| value.to_str().unwrap().to_owned());
            (conditional, value(IF_NONE_MATCH), value(IF_MODIFIED_SINCE))
        };
        let date = "Sunday, 06-Nov-94 08:49:37 GMT";
        assert_eq!(ask(&[("etag", "W/\"a\""), ("last-modified", date)]), (true, Some("W/\"a\"".into()), Some(date.into())));
        assert_eq!(ask(&[("last-modified", date)]), (true, None, Some(date.into())));
        assert_eq!(ask(&[("etag", "unquoted"), ("last-modified", "yesterday")]), (false, None, None));
    }

    #[test]
    fn ages_and_dates_are_written_within_their_bounds() {
        assert_eq!(age_value(Duration::from_millis(1999)), "1");
        assert_eq!(age_value(Duration::MAX), "2147483648");
        assert_eq!(date_value(UNIX_EPOCH - Duration::from_secs(5)), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(date_value(UNIX_EPOCH + Duration::from_secs(1 << 60)), "Fri, 31 Dec 9999 23:59:59 GMT");
        let date = UNIX_EPOCH + Duration::from_secs(784_111_777);
        for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(parse_date(&HeaderValue::from_static(text)), Some(date), "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_dates_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..40), near in "[A-Za-z]{3,9},? [0-9A-Za-z :-]{0,30}") {
            for value in [HeaderValue::from_bytes(&bytes), HeaderValue::from_str(&near)].into_iter().flatten() {
                let _ = parse_date(&value);
            }
        }

        #[test]
        fn dates_are_read_as_they_were_written(secs in 0..=DATE_MAX) {
            let time = UNIX_EPOCH + Duration::from_secs(secs);
            prop_assert_eq!(parse_date(&date_value(time)), Some(time));
        }
    }
}
