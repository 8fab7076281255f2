//! Validators (RFC 9110 §8.8): entity tags, modification dates, and which of them are strong enough to combine bytes by.

use std::time::SystemTime;

use http::{HeaderMap, HeaderValue};

/// An entity tag (RFC 9110 §8.8.3), kept as it came. It has no `==`: ask for the strong or the weak comparison.
#[derive(Clone, Debug)]
pub struct ETag {
    value: HeaderValue,
}

impl ETag {
    /// The tag in one field value; `None` when malformed.
    pub fn parse(value: &HeaderValue) -> Option<Self> {
        let _ = value;
        unimplemented!()
    }

    /// The tag of a response; `None` when absent, malformed or repeated.
    pub fn of(response: &HeaderMap) -> Option<Self> {
        let _ = response;
        unimplemented!()
    }

    pub fn is_weak(&self) -> bool {
        unimplemented!()
    }

    /// Both strong, and the same (RFC 9110 §8.8.3.2).
    pub fn strong_eq(&self, other: &Self) -> bool {
        let _ = other;
        unimplemented!()
    }

    /// The same but for a `W/` (RFC 9110 §8.8.3.2).
    pub fn weak_eq(&self, other: &Self) -> bool {
        let _ = other;
        unimplemented!()
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
    pub fn of(response: &HeaderMap) -> Self {
        let _ = response;
        unimplemented!()
    }

    /// Whether bytes may be combined under it (RFC 9110 §8.8.1, RFC 9111 §3.4).
    pub fn is_strong(&self) -> bool {
        matches!(self, Self::StrongTag(_) | Self::StrongDate(..))
    }

    /// Whether both are strong and say the same.
    pub fn same_strong(&self, other: &Self) -> bool {
        let _ = other;
        unimplemented!()
    }

    /// What to send as `If-Range` (RFC 9110 §13.1.5): only a strong validator, as it came.
    pub fn if_range(&self) -> Option<HeaderValue> {
        unimplemented!()
    }

    /// The field that makes another host or a later request fail instead of answering with other bytes:
    /// `If-Match` for a strong tag, `If-Unmodified-Since` for a strong date.
    pub fn precondition(&self) -> Option<(http::HeaderName, HeaderValue)> {
        unimplemented!()
    }
}

/// Whether two responses are of one representation beyond doubt: the same strong validator (RFC 9111 §3.4).
pub fn same_strong(a: &HeaderMap, b: &HeaderMap) -> bool {
    Validator::of(a).same_strong(&Validator::of(b))
}
