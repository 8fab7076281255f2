//! What range and preconditions make of an answer: the one verdict that `respond` turns into a status, fields and bytes.

use http::{HeaderMap, Method, StatusCode};

use crate::{
    piece::ByteRange,
    semantics::{
        conditional::{self, Precondition},
        facts::Facts,
        range::{RangeLimits, RangeSet, Resolved},
    },
};

/// What of a stored response answers a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// The stored status with all of its content.
    Whole,
    /// 206 with `Content-Range`.
    Part(ByteRange),
    /// 206 `multipart/byteranges`: two or more, in request order.
    Parts(Vec<ByteRange>),
    /// 304
    NotModified,
    /// 412
    PreconditionFailed,
    /// 416 with `Content-Range: bytes */len`.
    Unsatisfiable,
}

/// What of the stored response a request selects. `len` is the length of the whole representation: while it is unknown, ranges
/// select `Whole` (RFC 9110 §14.2 lets a server ignore them). The status counts as stored: a 206 stands for a representation of which
/// parts are known, and is treated like the 200 it is part of.
pub fn select(method: &Method, request: &HeaderMap, stored: &Facts, len: Option<u64>, limits: &RangeLimits) -> Selection {
    // RFC 9110 §13.2.1: preconditions count only where the answer would otherwise be 2xx.
    if !stored.status.is_success() {
        return Selection::Whole;
    }
    match conditional::evaluate(method, request, stored) {
        Precondition::Failed => Selection::PreconditionFailed,
        Precondition::NotModified => Selection::NotModified,
        Precondition::Passed { range: true } => ranges(method, request, stored.status, len, limits),
        Precondition::Passed { range: false } => Selection::Whole,
    }
}

/// RFC 9110 §14.2: ranges are defined for GET alone, and count only where the answer would otherwise be 200.
fn ranges(method: &Method, request: &HeaderMap, status: StatusCode, len: Option<u64>, limits: &RangeLimits) -> Selection {
    let is_divisible = *method == Method::GET && matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT);
    let (true, Some(len)) = (is_divisible, len) else { return Selection::Whole };
    let Some(ranges) = RangeSet::of(request, limits.lines) else { return Selection::Whole };
    match ranges.resolve(len, limits) {
        Resolved::Whole => Selection::Whole,
        Resolved::Part(range) => Selection::Part(range),
        Resolved::Parts(ranges) => Selection::Parts(ranges),
        Resolved::Unsatisfiable => Selection::Unsatisfiable,
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use proptest::prelude::*;

    use super::*;
    use crate::semantics::{policy::Policy, testing::fields};

    fn stored(status: u16) -> Facts {
        let response = fields(&[("etag", "\"a\"")]);
        let status = StatusCode::from_u16(status).unwrap();
        Facts::of(status, &response, SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH, &Policy::HTTP)
    }

    fn get(status: u16, len: Option<u64>, request: &[(&str, &str)]) -> Selection {
        select(&Method::GET, &fields(request), &stored(status), len, &RangeLimits::default())
    }

    fn part(start: u64, end: u64) -> Selection {
        Selection::Part(ByteRange::new(start, end).unwrap())
    }

    #[test]
    fn preconditions_come_before_ranges() {
        let range = ("range", "bytes=0-4");
        assert_eq!(get(200, Some(10), &[range]), part(0, 5));
        assert_eq!(get(200, Some(10), &[range, ("if-range", "\"a\"")]), part(0, 5));
        assert_eq!(get(200, Some(10), &[range, ("if-range", "\"b\"")]), Selection::Whole);
        assert_eq!(get(200, Some(10), &[range, ("if-none-match", "\"a\"")]), Selection::NotModified);
        assert_eq!(get(200, Some(10), &[range, ("if-match", "\"b\"")]), Selection::PreconditionFailed);
        assert_eq!(get(200, Some(10), &[("range", "bytes=10-"), ("if-range", "\"a\"")]), Selection::Unsatisfiable);
        assert_eq!(get(200, Some(10), &[("range", "bytes=10-"), ("if-range", "\"b\"")]), Selection::Whole);
    }

    #[test]
    fn only_a_get_of_a_200_of_known_length_is_divided() {
        let range = ("range", "bytes=0-4");
        assert_eq!(get(206, Some(10), &[range]), part(0, 5));
        assert_eq!(get(200, None, &[range]), Selection::Whole);
        assert_eq!(get(203, Some(10), &[range]), Selection::Whole);
        assert_eq!(get(404, Some(10), &[range]), Selection::Whole);
        assert_eq!(get(404, Some(10), &[("if-none-match", "\"a\"")]), Selection::Whole);
        let head =
            |request: &[(&str, &str)]| select(&Method::HEAD, &fields(request), &stored(200), Some(10), &RangeLimits::default());
        assert_eq!(head(&[range]), Selection::Whole);
        assert_eq!(head(&[("if-none-match", "\"a\"")]), Selection::NotModified);
    }

    proptest! {
        /// Whatever is asked, every selected range lies inside the content, and parts are at least two.
        #[test]
        fn selections_lie_inside_the_content(value in "bytes=([0-9]{0,2}-[0-9]{0,2},? ?){1,5}", len in 0u64..60) {
            match get(200, Some(len), &[("range", value.as_str())]) {
                Selection::Part(range) => prop_assert!(range.start < range.end && range.end <= len),
                Selection::Parts(ranges) => {
                    prop_assert!(ranges.len() >= 2);
                    prop_assert!(ranges.iter().all(|range| range.start < range.end && range.end <= len));
                }
                Selection::Whole | Selection::Unsatisfiable => {}
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
