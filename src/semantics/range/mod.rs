//! Byte ranges (RFC 9110 §14): what a request asks for, what that means for content of a known length, and `Content-Range`.

use std::{fmt, num::NonZeroUsize};

use http::{
    HeaderMap, HeaderValue,
    header::{CONTENT_RANGE, RANGE},
};
use http_range_header::{RangeRejected, RangeUnsatisfiableError, SyntacticallyCorrectRange, parse_range_header_with_max_ranges};

use crate::{piece::ByteRange, semantics::list};

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
        let mut all = request.get_all(RANGE).into_iter();
        let first = all.next()?;
        let value = match (all.next_back(), lines) {
            (None, _) => first,
            (Some(last), RepeatedLines::Last) => last,
            (Some(_), RepeatedLines::Ignore) => return None,
        };
        Self::parse(value.as_bytes())
    }

    /// Parses one field value; `None` when a server ignores it.
    pub fn parse(value: &[u8]) -> Option<Self> {
        if let Some(spec) = closed(value) {
            return Some(Self::One(spec));
        }
        match parse_range_header_with_max_ranges(std::str::from_utf8(value).ok()?, PARSED_MAX) {
            Ok(parsed) => {
                let specs: Vec<RangeSpec> = parsed.into_ranges().into_iter().map(RangeSpec::from).collect();
                Some(if let [spec] = specs[..] { Self::One(spec) } else { Self::Many(specs) })
            }
            Err(RangeUnsatisfiableError::Rejected(RangeRejected::TooMany)) => Some(Self::Excessive),
            Err(_) => None,
        }
    }

    /// What the set selects of content `len` bytes long (RFC 9110 §14.1.2, §15.5.17).
    pub fn resolve(&self, len: u64, limits: &RangeLimits) -> Resolved {
        let specs = match self {
            Self::One(spec) => std::slice::from_ref(spec),
            Self::Many(specs) => specs,
            Self::Excessive => return limits.excess.resolved(),
        };
        // A suffix of nothing is satisfiable and empty, which no 206 can say (RFC 9110 §14.1.2, §14.4): all of nothing is sent.
        if len == 0 && specs.iter().any(|spec| matches!(spec, RangeSpec::Suffix(suffix) if *suffix > 0)) {
            return Resolved::Whole;
        }
        if let [spec] = specs {
            return spec.resolve(len).map_or(Resolved::Unsatisfiable, Resolved::Part);
        }
        let ranges: Vec<ByteRange> = specs.iter().filter_map(|spec| spec.resolve(len)).collect();
        match ranges[..] {
            [] => Resolved::Unsatisfiable,
            // RFC 9110 §15.3.7.2: one satisfiable range needs no multipart.
            [range] => Resolved::Part(range),
            _ if specs.len() > limits.ranges_max || overlaps(&ranges) > limits.overlaps_max => limits.excess.resolved(),
            _ => Resolved::Parts(ranges),
        }
    }

    /// The one range that may be sent on as it came while the length is unknown.
    pub fn single(&self) -> Option<RangeSpec> {
        match self {
            Self::One(spec) => Some(*spec),
            Self::Many(_) | Self::Excessive => None,
        }
    }
}

impl Excess {
    fn resolved(self) -> Resolved {
        match self {
            Self::Whole => Resolved::Whole,
            Self::Refuse => Resolved::Unsatisfiable,
        }
    }
}

impl RangeSpec {
    /// The bytes meant of content `len` bytes long; `None` when unsatisfiable or empty (RFC 9110 §14.1.2).
    pub fn resolve(&self, len: u64) -> Option<ByteRange> {
        match *self {
            Self::From(first) => ByteRange::new(first, len),
            Self::Closed(first, last) => ByteRange::new(first, last.saturating_add(1).min(len)),
            Self::Suffix(suffix) => ByteRange::new(len.saturating_sub(suffix), len),
        }
    }

    /// The first byte asked for, whatever the length turns out to be; `None` for a suffix.
    pub fn start(&self) -> Option<u64> {
        match *self {
            Self::From(first) | Self::Closed(first, _) => Some(first),
            Self::Suffix(_) => None,
        }
    }

    /// The bytes asked for, if both ends are named; the end may lie past that of the content.
    pub fn bounds(&self) -> Option<ByteRange> {
        match *self {
            Self::Closed(first, last) => ByteRange::new(first, last.saturating_add(1)),
            Self::From(_) | Self::Suffix(_) => None,
        }
    }

    /// The `Range` field that asks for this.
    pub fn to_value(&self) -> HeaderValue {
        value(self)
    }
}

impl From<SyntacticallyCorrectRange> for RangeSpec {
    fn from(range: SyntacticallyCorrectRange) -> Self {
        match range {
            SyntacticallyCorrectRange::FromStart(first) => Self::From(first),
            SyntacticallyCorrectRange::FromLast(suffix) => Self::Suffix(suffix),
            SyntacticallyCorrectRange::Indexed(first, last) => Self::Closed(first, last),
        }
    }
}

impl fmt::Display for RangeSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::From(first) => write!(f, "bytes={first}-"),
            Self::Closed(first, last) => write!(f, "bytes={first}-{last}"),
            Self::Suffix(suffix) => write!(f, "bytes=-{suffix}"),
        }
    }
}

/// `bytes=a-b`, the `Range` field that asks for exactly these bytes.
pub fn range_value(range: ByteRange) -> HeaderValue {
    value(&RangeSpec::Closed(range.start, range.end - 1))
}

impl ContentRange {
    /// The field of a response; `Ok(None)` when there is none.
    pub fn of(response: &HeaderMap) -> Result<Option<Self>, ContentRangeError> {
        let mut lines = response.get_all(CONTENT_RANGE).into_iter();
        match (lines.next(), lines.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => Self::parse(value.as_bytes()).map(Some),
            (Some(_), Some(_)) => Err(ContentRangeError::Repeated),
        }
    }

    /// Parses one field value strictly (RFC 9110 §14.4): a response that says it otherwise is not combined with anything.
    pub fn parse(value: &[u8]) -> Result<Self, ContentRangeError> {
        let (unit, rest) = halves(value, b' ').ok_or(ContentRangeError::Malformed)?;
        if !unit.eq_ignore_ascii_case(b"bytes") {
            return Err(ContentRangeError::Unit);
        }
        let (range, len) = halves(rest, b'/').ok_or(ContentRangeError::Malformed)?;
        let number = |text| list::digits(text).filter(|&number| number < u64::MAX).ok_or(ContentRangeError::Malformed);
        let len = if len == b"*" { None } else { Some(number(len)?) };
        match (range, len) {
            (b"*", Some(len)) => return Ok(Self::Unsatisfied { len }),
            (b"*", None) => return Err(ContentRangeError::Malformed),
            _ => {}
        }
        let (first, last) = halves(range, b'-').ok_or(ContentRangeError::Malformed)?;
        let end = number(last)? + 1;
        let range = ByteRange::new(number(first)?, end).ok_or(ContentRangeError::Contradiction)?;
        if len.is_some_and(|len| end > len) {
            return Err(ContentRangeError::Contradiction);
        }
        Ok(Self::Satisfied { range, len })
    }

    /// Whether a `Content-Length` of this many bytes fits what the range says.
    pub fn fits_length(&self, content_length: u64) -> bool {
        match self {
            Self::Satisfied { range, .. } => range.len() == content_length,
            Self::Unsatisfied { .. } => true,
        }
    }

    pub fn to_value(&self) -> HeaderValue {
        value(self)
    }
}

impl fmt::Display for ContentRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Satisfied { range, len: Some(len) } => write!(f, "bytes {}-{}/{len}", range.start, range.end - 1),
            Self::Satisfied { range, len: None } => write!(f, "bytes {}-{}/*", range.start, range.end - 1),
            Self::Unsatisfied { len } => write!(f, "bytes */{len}"),
        }
    }
}

/// `bytes=a-b` and nothing else: what update clients send, read without allocating.
fn closed(value: &[u8]) -> Option<RangeSpec> {
    let (first, last) = halves(value.strip_prefix(b"bytes=")?, b'-')?;
    let (first, last) = (list::digits(first)?, list::digits(last)?);
    (first <= last).then_some(RangeSpec::Closed(first, last))
}

/// What stands before and after the first `separator`.
fn halves(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|&byte| byte == separator)?;
    Some((&text[..at], &text[at + 1..]))
}

/// How many of the ranges begin inside one that begins no later.
fn overlaps(ranges: &[ByteRange]) -> usize {
    let mut sorted = ranges.to_vec();
    sorted.sort();
    let mut end = 0;
    let mut overlaps = 0;
    for range in sorted {
        overlaps += usize::from(range.start < end);
        end = end.max(range.end);
    }
    overlaps
}

fn value(text: &impl fmt::Display) -> HeaderValue {
    HeaderValue::try_from(text.to_string()).expect("invariant: letters, digits and punctuation of ASCII")
}

/// How many ranges are read before the request is called excessive, whatever the limits say.
const PARSED_MAX: NonZeroUsize = NonZeroUsize::new(256).expect("256 is not zero");

#[cfg(test)]
mod tests;
