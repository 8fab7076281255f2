//! What decisions need to know of a stored response, read from its fields once and kept beside it, so that a hit parses nothing.

use std::time::{Duration, SystemTime};

use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{AGE, DATE, EXPIRES, LAST_MODIFIED},
};

use crate::semantics::{
    cache_control::{DELTA_MAX, ResponseDirectives},
    fields, list,
    policy::Policy,
    validator::{ETag, Validator},
};

/// A stored response, as far as reuse and selection care. Built from fields and the two times of RFC 9111 §4.2.3.
#[derive(Clone, Debug)]
pub struct Facts {
    pub status: StatusCode,
    pub directives: ResponseDirectives,
    pub validator: Validator,
    pub etag: Option<ETag>,
    pub last_modified: Option<SystemTime>,
    /// `Date`, or when the response arrived if it had none (RFC 9110 §6.6.1).
    pub date: SystemTime,
    /// `None`: no `Expires`. An invalid or repeated one is the epoch: long past (RFC 9111 §5.3).
    pub expires: Option<SystemTime>,
    /// The `Age` it came with (RFC 9111 §5.1).
    pub age: Duration,
    pub request_time: SystemTime,
    pub response_time: SystemTime,
    /// RFC 9111 §4.4: must be validated before any reuse.
    pub invalidated: bool,
}

impl Facts {
    /// Reads what counts from the fields of a stored response. `policy` decides only whether targeted fields are looked at.
    pub fn of(
        status: StatusCode,
        response: &HeaderMap,
        request_time: SystemTime,
        response_time: SystemTime,
        policy: &Policy,
    ) -> Self {
        Self {
            status,
            directives: ResponseDirectives::of(response, policy.targeted),
            validator: Validator::of(response),
            etag: ETag::of(response),
            last_modified: single(response, &LAST_MODIFIED).and_then(fields::parse_date),
            date: single(response, &DATE).and_then(fields::parse_date).unwrap_or(response_time),
            expires: expires(response),
            age: age(response),
            request_time,
            response_time,
            invalidated: false,
        }
    }

    /// The same, marked as in need of validation (RFC 9111 §4.4).
    pub fn invalidated(self, invalidated: bool) -> Self {
        Self { invalidated, ..self }
    }
}

/// The value of a field that has exactly one line.
pub(super) fn single<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut lines = fields.get_all(name).into_iter();
    lines.next().filter(|_| lines.next().is_none())
}

/// RFC 9111 §5.3: an invalid date, especially `0`, is in the past. So are several lines (§4.2.1).
fn expires(response: &HeaderMap) -> Option<SystemTime> {
    response.get(EXPIRES)?;
    Some(single(response, &EXPIRES).and_then(fields::parse_date).unwrap_or(SystemTime::UNIX_EPOCH))
}

/// RFC 9111 §5.1 says that of a list the first member counts, and that an invalid field should be ignored. We take the first member
/// of a list on one line, but otherwise judge more strictly: an age that cannot be read, or that came in several lines (also when a
/// hop joined them with the comma and space of RFC 9110 §5.3), is the greatest, so that the response is stale. Ignoring it
/// would make a response of unknown age fresh.
fn age(response: &HeaderMap) -> Duration {
    if !response.contains_key(AGE) {
        return Duration::ZERO;
    }
    let secs = single(response, &AGE)
        .map(HeaderValue::as_bytes)
        .filter(|line| !line.contains(&b' '))
        .and_then(|line| list::digits(list::members(line).next()?));
    Duration::from_secs(secs.unwrap_or(DELTA_MAX).min(DELTA_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::testing;

    fn facts(pairs: &[(&str, &str)]) -> Facts {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        Facts::of(StatusCode::OK, &testing::fields(pairs), now, now, &Policy::HTTP)
    }

    #[test]
    fn an_age_that_cannot_be_read_is_the_greatest() {
        let greatest = 1 << 31;
        for (lines, expected) in [
            (&["7200"][..], 7200),
            (&["abc"], greatest),
            (&["-7200"], greatest),
            (&["7200.0"], greatest),
            (&["7200,0"], 7200),
            (&["0,7200"], 0),
            (&["7200", "0"], greatest),
            (&["0", "7200"], greatest),
            (&["0, 0"], greatest),
            (&["0", "0"], greatest),
            (&["7200;foo=bar"], greatest),
            (&["99999999999999999999999"], greatest),
            (&[""], greatest),
            (&[], 0),
        ] {
            let pairs: Vec<_> = lines.iter().map(|line| ("age", *line)).collect();
            assert_eq!(facts(&pairs).age.as_secs(), expected, "{lines:?}");
        }
    }

    #[test]
    fn dates_that_cannot_be_read_have_a_safe_meaning() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(facts(&[]).expires, None);
        assert_eq!(facts(&[("expires", "0")]).expires, Some(SystemTime::UNIX_EPOCH));
        assert_eq!(facts(&[("expires", date), ("expires", date)]).expires, Some(SystemTime::UNIX_EPOCH));
        assert_eq!(facts(&[("date", "foo")]).date, facts(&[]).response_time);
        assert_eq!(
            facts(&[("last-modified", "Sunday, 06-Nov-94 08:49:37 GMT")]).last_modified,
            fields::parse_date(&date.parse().unwrap())
        );
        assert_eq!(facts(&[("last-modified", date), ("last-modified", date)]).last_modified, None);
    }
}
