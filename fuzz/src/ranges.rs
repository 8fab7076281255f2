//! `Range` and `Content-Range`: a length, then a field value.

use weir::semantics::range::{ContentRange, Excess, RangeLimits, RangeSet, RangeSpec, RepeatedLines, Resolved};

use super::number;

pub fn ranges(data: &[u8]) {
    let (len, value) = number(data);
    if let Some(set) = RangeSet::parse(value) {
        let len = len % (u64::MAX >> (len % 64));
        for len in [len, 0, 1, u64::MAX] {
            for excess in [Excess::Whole, Excess::Refuse] {
                let limits = RangeLimits { lines: RepeatedLines::Last, excess, ..RangeLimits::default() };
                is_selection(&set.resolve(len, &limits), len, &limits);
            }
            follows_the_rfc(&set, value, len);
        }
        if let RangeSet::One(spec) = set {
            assert_eq!(RangeSet::parse(spec.to_value().as_bytes()), Some(RangeSet::One(spec)));
        }
    }
    if let Ok(range) = ContentRange::parse(value) {
        assert_eq!(ContentRange::parse(range.to_value().as_bytes()), Ok(range));
        if let ContentRange::Satisfied { range, len } = range {
            assert!(range.start < range.end && len.is_none_or(|len| range.end <= len));
        }
    }
}

/// What is selected lies within the content, and is no more than the limits say.
fn is_selection(resolved: &Resolved, len: u64, limits: &RangeLimits) {
    let parts = match resolved {
        Resolved::Whole | Resolved::Unsatisfiable => return,
        Resolved::Part(range) => std::slice::from_ref(range),
        Resolved::Parts(ranges) => ranges,
    };
    assert!(matches!(resolved, Resolved::Part(_)) || (2..=limits.ranges_max).contains(&parts.len()));
    assert!(parts.iter().all(|range| range.start < range.end && range.end <= len));
}

/// Whatever was read, a plain reading of RFC 9110 §14.1.2 selects the same bytes.
fn follows_the_rfc(set: &RangeSet, value: &[u8], len: u64) {
    let specs = match set {
        RangeSet::One(spec) => std::slice::from_ref(spec),
        RangeSet::Many(specs) => specs,
        RangeSet::Excessive => return,
    };
    let selected: Vec<_> = specs.iter().map(|spec| spec.resolve(len).map(|range| (range.start, range.end - 1))).collect();
    let text = std::str::from_utf8(value).expect("a range set is ASCII");
    let (_, list) = text.split_once('=').expect("a range set has a unit");
    let members: Vec<_> = list.split(',').map(str::trim).filter(|member| !member.is_empty()).collect();
    assert_eq!(selected, members.iter().map(|member| plainly(member, len)).collect::<Vec<_>>(), "{text} of {len}");
    assert!(specs.iter().all(|spec| !matches!(spec, RangeSpec::Closed(first, last) if first > last)));
}

/// First and last byte that one range selects.
fn plainly(member: &str, len: u64) -> Option<(u64, u64)> {
    let (first, last) = member.split_once('-').expect("a range has a hyphen");
    let number = |text: &str| text.parse().unwrap_or(u128::from(u64::MAX)); // longer than any content
    let len = u128::from(len);
    let (first, last) = match (first, last) {
        ("", suffix) => (len - number(suffix).min(len), len),
        (first, "") => (number(first), len),
        (first, last) => (number(first), (number(last) + 1).min(len)),
    };
    (first < last).then(|| (first as u64, last as u64 - 1))
}
