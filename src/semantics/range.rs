//! Byte ranges (RFC 9110 §14): what a request asks for, what that means for content of a known length, and `Content-Range`.

use std::fmt;

use http::{HeaderMap, HeaderValue};

use crate::piece::ByteRange;

/// What to make of several `Range` lines in one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepeatedLines {
    /// Invalid, so the field is ignored (RFC 9110 §5.3 and §14.2).
    Ignore,
    /// The last line counts. A deliberate departure, for content only: a resuming Delivery Optimization client
    /// adds a line per resume, and only the last is right.
    Last,
}

/// How much a request may ask for at once (RFC 9110 §14.2, §17.15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeLimits {
    pub lines: RepeatedLines,
    /// More ranges than this are excessive.
    pub ranges_max: usize,
    /// More ranges that begin inside another than this are excessive.
    pub overlaps_max: usize,
    pub excess: Excess,
}

/// What an excessive request gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// The field is ignored: 200 with everything.
    Whole,
    /// 416.
    Refuse,
}

impl Default for RangeLimits {
    fn default() -> Self {
        Self { lines: RepeatedLines::Ignore, ranges_max: 64, overlaps_max: 2, excess: Excess::Whole }
    }
}

/// One range of a `Range` field, as asked (RFC 9110 §14.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeSpec {
    /// `first-`
    From(u64),
    /// `first-last`, both inclusive, `first <= last`.
    Closed(u64, u64),
    /// `-length`: the last bytes.
    Suffix(u64),
}

/// The ranges of a valid `Range` field, in request order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RangeSet {
    One(RangeSpec),
    /// Two or more.
    Many(Vec<RangeSpec>),
    /// More than anybody honest asks for; not even parsed to the end.
    Excessive,
}

/// What a range set selects of content whose length is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// The field is ignored.
    Whole,
    Part(ByteRange),
    /// Two or more, in request order, not merged.
    Parts(Vec<ByteRange>),
    Unsatisfiable,
}

/// A `Content-Range` field in bytes (RFC 9110 §14.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentRange {
    /// `bytes a-b/len` or `bytes a-b/*`
    Satisfied { range: ByteRange, len: Option<u64> },
    /// `bytes */len`, in a 416.
    Unsatisfied { len: u64 },
}

/// A `Content-Range` that says nothing certain: the response must not be stored as part of anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentRangeError {
    #[error("several content-range lines")]
    Repeated,
    #[error("content-range in another unit than bytes")]
    Unit,
    #[error("malformed content-range")]
    Malformed,
    #[error("content-range ends before it begins or after the content")]
    Contradiction,
}

impl RangeSet {
    /// The ranges that `request` asks for; `None` when it asks for none, or in a way that a server ignores:
    /// another unit, invalid syntax, repeated lines (RFC 9110 §14.2).
    pub fn of(request: &HeaderMap, lines: RepeatedLines) -> Option<Self> {
        let _ = (request, lines);
        unimplemented!()
    }

    /// What the set selects of content `len` bytes long (RFC 9110 §14.1.2, §15.5.17).
    pub fn resolve(&self, len: u64, limits: &RangeLimits) -> Resolved {
        let _ = (len, limits);
        unimplemented!()
    }

    /// The one range that may be sent on as it came while the length is unknown.
    pub fn single(&self) -> Option<RangeSpec> {
        unimplemented!()
    }
}

impl RangeSpec {
    /// The bytes meant of content `len` bytes long; `None` when unsatisfiable (RFC 9110 §14.1.2).
    pub fn resolve(&self, len: u64) -> Option<ByteRange> {
        let _ = len;
        unimplemented!()
    }

    /// The bytes asked for whatever the length turns out to be (the end may lie past it); `None` for a suffix.
    pub fn start(&self) -> Option<u64> {
        unimplemented!()
    }

    /// The `Range` field that asks for this.
    pub fn to_value(&self) -> HeaderValue {
        unimplemented!()
    }
}

/// `bytes=a-b` for a range of known bounds.
pub fn range_value(range: ByteRange) -> HeaderValue {
    let _ = range;
    unimplemented!()
}

impl fmt::Display for RangeSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _ = f;
        unimplemented!()
    }
}

impl ContentRange {
    /// The field of a response; `Ok(None)` when there is none.
    pub fn of(response: &HeaderMap) -> Result<Option<Self>, ContentRangeError> {
        let _ = response;
        unimplemented!()
    }

    /// Parses one field value strictly.
    pub fn parse(value: &[u8]) -> Result<Self, ContentRangeError> {
        let _ = value;
        unimplemented!()
    }

    /// Whether a `Content-Length` of this many bytes fits what the range says.
    pub fn fits_length(&self, content_length: u64) -> bool {
        let _ = content_length;
        unimplemented!()
    }

    pub fn to_value(&self) -> HeaderValue {
        unimplemented!()
    }
}

impl fmt::Display for ContentRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _ = f;
        unimplemented!()
    }
}
