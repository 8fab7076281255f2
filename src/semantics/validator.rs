//! Validators (RFC 9110 §8.8): entity tags, modification dates, and which of them are strong enough to combine bytes by.

use std::time::{Duration, SystemTime};

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{DATE, ETAG, IF_MATCH, IF_UNMODIFIED_SINCE, LAST_MODIFIED},
};

use crate::semantics::{facts::single, fields};

/// An entity tag (RFC 9110 §8.8.3), kept as it came. It has no `==`: ask for the strong or the weak comparison.
#[derive(Clone, Debug)]
pub struct ETag {
    value: HeaderValue,
}

impl ETag {
    /// The tag in one field value; `None` when malformed.
    pub fn parse(value: &HeaderValue) -> Option<Self> {
        is_tag(value.as_bytes()).then(|| Self { value: value.clone() })
    }

    /// The tag of a response; `None` when absent, malformed or repeated.
    pub fn of(response: &HeaderMap) -> Option<Self> {
        Self::parse(single(response, &ETAG)?)
    }

    pub fn is_weak(&self) -> bool {
        self.value.as_bytes().starts_with(WEAK)
    }

    /// Both strong, and the same (RFC 9110 §8.8.3.2).
    pub fn strong_eq(&self, other: &Self) -> bool {
        self.strong_eq_bytes(other.value.as_bytes())
    }

    /// The same but for a `W/` (RFC 9110 §8.8.3.2).
    pub fn weak_eq(&self, other: &Self) -> bool {
        self.weak_eq_bytes(other.value.as_bytes())
    }

    /// The strong comparison with a member of `If-Match` or the value of `If-Range`.
    pub(super) fn strong_eq_bytes(&self, other: &[u8]) -> bool {
        !self.is_weak() && self.value.as_bytes() == other
    }

    /// The weak comparison with a member of `If-None-Match`.
    pub(super) fn weak_eq_bytes(&self, other: &[u8]) -> bool {
        opaque(self.value.as_bytes()) == opaque(other)
    }

    pub fn as_value(&self) -> &HeaderValue {
        &self.value
    }
}

/// The best validator of a response.
#[derive(Clone, Debug)]
pub enum Validator {
    StrongTag(ETag),
    /// A `Last-Modified` that is strong by RFC 9110 §8.8.2.2; the field as it came, and its time.
    StrongDate(HeaderValue, SystemTime),
    WeakTag(ETag),
    WeakDate(HeaderValue, SystemTime),
    None,
}

impl Validator {
    /// A tag comes before a date: who sends a weak tag says that bytes may differ under it, and a date cannot mend that.
    pub fn of(response: &HeaderMap) -> Self {
        if let Some(tag) = ETag::of(response) {
            return if tag.is_weak() { Self::WeakTag(tag) } else { Self::StrongTag(tag) };
        }
        let date = single(response, &LAST_MODIFIED).and_then(|value| Some((value, fields::parse_date(value)?)));
        let Some((value, modified)) = date else { return Self::None };
        if is_strong_date(modified, response) {
            Self::StrongDate(value.clone(), modified)
        } else {
            Self::WeakDate(value.clone(), modified)
        }
    }

    /// Whether bytes may be combined under it (RFC 9110 §8.8.1, RFC 9111 §3.4).
    pub fn is_strong(&self) -> bool {
        matches!(self, Self::StrongTag(_) | Self::StrongDate(..))
    }

    /// Whether both are strong and say the same.
    pub fn same_strong(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::StrongTag(a), Self::StrongTag(b)) => a.strong_eq(b),
            (Self::StrongDate(_, a), Self::StrongDate(_, b)) => a == b,
            _ => false,
        }
    }

    /// What to send as `If-Range` (RFC 9110 §13.1.5): only a strong validator, as it came.
    pub fn if_range(&self) -> Option<HeaderValue> {
        match self {
            Self::StrongTag(tag) => Some(tag.value.clone()),
            Self::StrongDate(value, _) => Some(value.clone()),
            Self::WeakTag(_) | Self::WeakDate(..) | Self::None => None,
        }
    }

    /// The field that makes another host or a later request fail instead of answering with other bytes:
    /// `If-Match` for a strong tag, `If-Unmodified-Since` for a strong date (RFC 9110 §13.1.1, §13.1.4).
    pub fn precondition(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::StrongTag(tag) => Some((IF_MATCH, tag.value.clone())),
            Self::StrongDate(value, _) => Some((IF_UNMODIFIED_SINCE, value.clone())),
            Self::WeakTag(_) | Self::WeakDate(..) | Self::None => None,
        }
    }
}

/// Whether two responses are of one representation beyond doubt: the same strong validator (RFC 9111 §3.4).
pub fn same_strong(a: &HeaderMap, b: &HeaderMap) -> bool {
    Validator::of(a).same_strong(&Validator::of(b))
}

/// RFC 9110 §8.8.2.2: a date is strong when the same response carries a `Date` late enough after it. One second is enough
/// where one clock gives both; a cache cannot know that, so there must be "enough difference to make clock
/// synchronization issues unlikely".
fn is_strong_date(modified: SystemTime, response: &HeaderMap) -> bool {
    let date = single(response, &DATE).and_then(fields::parse_date);
    date.is_some_and(|date| is_long_before(modified, date))
}

/// Whether `modified` is far enough before `date` to be strong.
pub(super) fn is_long_before(modified: SystemTime, date: SystemTime) -> bool {
    date.duration_since(modified).is_ok_and(|since| since >= STRONG_DATE_AGE)
}

/// The 60 s that RFC 7232 §2.2.2 named for two clocks; RFC 9110 leaves the figure out and keeps the rule.
const STRONG_DATE_AGE: Duration = Duration::from_secs(60);

const WEAK: &[u8] = b"W/";

/// RFC 9110 §8.8.3: an optional `W/`, then `etagc` between quotes. Neither quotes nor controls nor spaces are `etagc`.
fn is_tag(value: &[u8]) -> bool {
    let inner = opaque(value).strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    inner.is_some_and(|inner| inner.iter().all(|&byte| byte > b' ' && byte != b'"' && byte != 0x7f))
}

fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(WEAK).unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::testing::fields;

    fn tag(text: &str) -> ETag {
        ETag::parse(&HeaderValue::from_bytes(text.as_bytes()).unwrap()).unwrap()
    }

    const MODIFIED: (&str, &str) = ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");

    #[test]
    fn the_comparisons_of_the_rfc() {
        // The table of RFC 9110 §8.8.3.2: two tags, strong comparison, weak comparison.
        for (a, b, strong, weak) in [
            (r#"W/"1""#, r#"W/"1""#, false, true),
            (r#"W/"1""#, r#"W/"2""#, false, false),
            (r#"W/"1""#, r#""1""#, false, true),
            (r#""1""#, r#""1""#, true, true),
        ] {
            assert_eq!((tag(a).strong_eq(&tag(b)), tag(a).weak_eq(&tag(b))), (strong, weak), "{a} {b}");
            assert_eq!((tag(b).strong_eq(&tag(a)), tag(b).weak_eq(&tag(a))), (strong, weak), "{b} {a}");
        }
    }

    #[test]
    fn a_malformed_tag_is_no_tag() {
        for text in ["abc", "\"abc", "abc\"", "\"", "w/\"a\"", "W\"a\"", "W/ \"a\"", "\"a\"b\"", "\"a b\"", "W/", ""] {
            assert!(ETag::parse(&HeaderValue::from_bytes(text.as_bytes()).unwrap()).is_none(), "{text}");
        }
        assert!(!tag("\"abcdef\u{fc}\"").is_weak());
        assert!(!tag("\"\"").is_weak());
        assert!(ETag::of(&fields(&[("etag", "\"a\""), ("etag", "\"a\"")])).is_none());
    }

    #[test]
    fn a_date_is_strong_only_when_the_response_was_made_a_minute_later() {
        for (date, strong) in [
            ("Sun, 06 Nov 1994 08:50:37 GMT", true),
            ("Sun, 06 Nov 1994 08:50:36 GMT", false),
            ("Sun, 06 Nov 1994 08:49:36 GMT", false),
            ("nonsense", false),
        ] {
            assert_eq!(Validator::of(&fields(&[MODIFIED, ("date", date)])).is_strong(), strong, "{date}");
        }
        assert!(!Validator::of(&fields(&[MODIFIED])).is_strong());
        assert!(matches!(Validator::of(&fields(&[])), Validator::None));
    }

    #[test]
    fn a_weak_tag_is_not_mended_by_a_strong_date() {
        let both = fields(&[("etag", "W/\"1\""), MODIFIED, ("date", "Sat, 06 Nov 2004 08:50:37 GMT")]);
        assert!(matches!(Validator::of(&both), Validator::WeakTag(_)));
        assert!(Validator::of(&both).if_range().is_none());
        assert!(!same_strong(&both, &both));
    }

    #[test]
    fn only_equal_strong_validators_are_the_same() {
        let dated = |date| fields(&[MODIFIED, ("date", date)]);
        let (early, late) = (dated("Sat, 06 Nov 2004 08:50:37 GMT"), dated("Sun, 06 Nov 2005 08:50:37 GMT"));
        assert!(same_strong(&early, &late));
        let tagged = fields(&[("etag", "\"1\"")]);
        assert!(same_strong(&tagged, &tagged) && !same_strong(&tagged, &early));
        assert_eq!(Validator::of(&tagged).precondition().unwrap().0, IF_MATCH);
        assert_eq!(Validator::of(&early).precondition().unwrap().0, IF_UNMODIFIED_SINCE);
        assert_eq!(Validator::of(&early).if_range().unwrap(), MODIFIED.1);
    }
}
