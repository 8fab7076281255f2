use proptest::prelude::*;

use super::*;
use crate::semantics::testing::fields;

fn resolve(value: &str, len: u64) -> Option<Resolved> {
    RangeSet::parse(value.as_bytes()).map(|set| set.resolve(len, &RangeLimits::default()))
}

fn range(start: u64, end: u64) -> ByteRange {
    ByteRange::new(start, end).unwrap()
}

fn part(start: u64, end: u64) -> Option<Resolved> {
    Some(Resolved::Part(range(start, end)))
}

#[test]
fn the_examples_of_the_rfc() {
    // RFC 9110 §14.1.2, for a representation of 10,000 bytes.
    assert_eq!(resolve("bytes=0-499", 10_000), part(0, 500));
    assert_eq!(resolve("bytes=500-999", 10_000), part(500, 1000));
    assert_eq!(resolve("bytes=-500", 10_000), part(9500, 10_000));
    assert_eq!(resolve("bytes=9500-", 10_000), part(9500, 10_000));
    assert_eq!(resolve("bytes=0-0,-1", 10_000), Some(Resolved::Parts(vec![range(0, 1), range(9999, 10_000)])));
    assert_eq!(
        resolve("bytes= 0-999, 4500-5499, -1000", 10_000),
        Some(Resolved::Parts(vec![range(0, 1000), range(4500, 5500), range(9000, 10_000)]))
    );
    assert_eq!(
        resolve("bytes=500-600,601-999", 10_000),
        Some(Resolved::Parts(vec![range(500, 601), range(601, 1000)])),
        "adjacent ranges are not merged"
    );
}

#[test]
fn the_edges_of_the_content() {
    assert_eq!(resolve("bytes=0-", 1), part(0, 1));
    assert_eq!(resolve("bytes=0-99999999999999999999999", 10), part(0, 10));
    assert_eq!(resolve("bytes=9-", 10), part(9, 10));
    assert_eq!(resolve("bytes=10-", 10), Some(Resolved::Unsatisfiable));
    assert_eq!(resolve("bytes=10-20", 10), Some(Resolved::Unsatisfiable));
    assert_eq!(resolve("bytes=-11", 10), part(0, 10));
    assert_eq!(resolve("bytes=-0", 10), Some(Resolved::Unsatisfiable));
    assert_eq!(resolve("bytes=0-0", 0), Some(Resolved::Unsatisfiable));
    assert_eq!(resolve("bytes=-1", 0), Some(Resolved::Whole));
    assert_eq!(resolve("bytes=0-1,20-30", 10), part(0, 2), "one satisfiable range of several is sent alone");
    assert_eq!(resolve("bytes=20-30,40-", 10), Some(Resolved::Unsatisfiable));
    assert_eq!(resolve("BYTES=5-6", 10), part(5, 7));
}

#[test]
fn what_is_no_valid_range_is_ignored() {
    for value in [
        "bytes=5-4",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "items=0-4",
        "bytes",
        "0-4",
        "bytes=0-4, 9-8",
        "bytes=0 -4",
        "bytes=+0-4",
        "bytes=0-4-5",
        "\u{e9}",
        "",
    ] {
        assert_eq!(resolve(value, 10), None, "{value}");
    }
}

#[test]
fn several_lines_are_invalid_or_mean_the_last() {
    let request = fields(&[("range", "bytes=0-1"), ("range", "bytes=2-3"), ("range", "bytes=4-5")]);
    assert_eq!(RangeSet::of(&request, RepeatedLines::Ignore), None);
    assert_eq!(RangeSet::of(&request, RepeatedLines::Last), Some(RangeSet::One(RangeSpec::Closed(4, 5))));
    assert_eq!(RangeSet::of(&fields(&[]), RepeatedLines::Last), None);
}

#[test]
fn an_excessive_request_gets_everything_or_nothing() {
    let many = |count: u64| (0..count).map(|at| format!("{}-{}", at * 2, at * 2)).collect::<Vec<_>>().join(",");
    let limits = |excess| RangeLimits { excess, ..RangeLimits::default() };
    let resolve =
        |ranges: &str, excess| RangeSet::parse(format!("bytes={ranges}").as_bytes()).unwrap().resolve(10_000, &limits(excess));
    assert!(matches!(resolve(&many(64), Excess::Whole), Resolved::Parts(parts) if parts.len() == 64));
    for excessive in [many(65), many(5000), "0-9,0-9,0-9,0-9".to_owned(), "0-,1-,2-,3-".to_owned()] {
        assert_eq!(resolve(&excessive, Excess::Whole), Resolved::Whole);
        assert_eq!(resolve(&excessive, Excess::Refuse), Resolved::Unsatisfiable);
    }
    assert!(matches!(resolve("0-9,5-14,10-19", Excess::Whole), Resolved::Parts(_)), "two overlaps are tolerated");
}

#[test]
fn a_range_is_sent_on_as_it_came() {
    for value in ["bytes=0-4", "bytes=7-", "bytes=-5"] {
        assert_eq!(RangeSet::parse(value.as_bytes()).unwrap().single().unwrap().to_value(), value);
    }
    assert_eq!(RangeSet::parse(b"bytes=0-1,3-4").unwrap().single(), None);
    assert_eq!(range_value(range(0, 5)), "bytes=0-4");
}

#[test]
fn content_range_is_read_strictly() {
    let satisfied = |range, len| Ok(ContentRange::Satisfied { range, len });
    for (value, expected) in [
        ("bytes 42-1233/1234", satisfied(range(42, 1234), Some(1234))),
        ("bytes 42-1233/*", satisfied(range(42, 1234), None)),
        ("bytes */1234", Ok(ContentRange::Unsatisfied { len: 1234 })),
        ("bytes 4-9/10", satisfied(range(4, 10), Some(10))),
        ("bytes */*", Err(ContentRangeError::Malformed)),
        ("bytes 4-9/9", Err(ContentRangeError::Contradiction)),
        ("bytes 9-4/10", Err(ContentRangeError::Contradiction)),
        ("bytes 0-18446744073709551615/*", Err(ContentRangeError::Malformed)),
        ("bytes  0-4/10", Err(ContentRangeError::Malformed)),
        ("bytes 0-4/10 ", Err(ContentRangeError::Malformed)),
        ("bytes 0-4", Err(ContentRangeError::Malformed)),
        ("bytes -4/10", Err(ContentRangeError::Malformed)),
        ("bytes=0-4/10", Err(ContentRangeError::Malformed)),
        ("exampleunit 1.2-4.3/25", Err(ContentRangeError::Unit)),
        ("", Err(ContentRangeError::Malformed)),
    ] {
        assert_eq!(ContentRange::parse(value.as_bytes()), expected, "{value}");
        if let Ok(parsed) = expected {
            assert_eq!(parsed.to_value(), value);
        }
    }
    let twice = fields(&[("content-range", "bytes 0-4/10"), ("content-range", "bytes 0-4/10")]);
    assert_eq!(ContentRange::of(&twice), Err(ContentRangeError::Repeated));
}

proptest! {
    #[test]
    fn parsing_never_panics(value in prop::collection::vec(any::<u8>(), 0..60), near in "bytes[= ]?[0-9,*/ -]{0,50}", len in any::<u64>()) {
        for value in [value, near.into_bytes()] {
            let _ = ContentRange::parse(&value);
            if let Some(set) = RangeSet::parse(&value) {
                let _ = set.resolve(len, &RangeLimits::default());
            }
        }
    }

    /// A specification picks the same bytes of an array as the words of RFC 9110 §14.1.2 do.
    #[test]
    fn a_range_selects_what_the_words_of_the_rfc_select(first in 0u64..30, last in 0u64..30, kind in 0..3, len in 0u64..20) {
        let content: Vec<u8> = (0..len as u8).collect();
        let (text, chosen): (String, Vec<u8>) = match kind {
            0 => (format!("bytes={first}-"), content.iter().copied().skip(first as usize).collect()),
            1 => (format!("bytes=-{first}"), content.iter().copied().skip(content.len().saturating_sub(first as usize)).collect()),
            _ => {
                let inside = |byte: &u8| u64::from(*byte) >= first && u64::from(*byte) <= last;
                (format!("bytes={first}-{last}"), content.iter().copied().filter(inside).collect())
            }
        };
        match resolve(&text, len) {
            None => prop_assert!(kind == 2 && last < first),
            Some(Resolved::Part(range)) => prop_assert_eq!(&content[range.start as usize..range.end as usize], &chosen[..]),
            Some(Resolved::Unsatisfiable) => prop_assert!(chosen.is_empty()),
            Some(Resolved::Whole) => prop_assert!(kind == 1 && len == 0),
            Some(other) => prop_assert!(false, "{:?}", other),
        }
    }

    /// Several ranges pick what each alone picks, in their order, without those that pick nothing.
    #[test]
    fn several_ranges_select_what_each_selects(
        specs in prop::collection::vec((0u64..30, 0u64..10, 0..3), 2..7), len in 1u64..25,
    ) {
        let content: Vec<u8> = (0..len as u8).collect();
        let texts: Vec<String> = specs.iter().map(|&(first, more, kind)| match kind {
            0 => format!("{first}-"),
            1 => format!("-{first}"),
            _ => format!("{first}-{}", first + more),
        }).collect();
        let chosen = |&(first, more, kind): &(u64, u64, i32)| -> Vec<u8> {
            let is_chosen = |at: u64| match kind {
                0 => at >= first,
                1 => at + first >= len,
                _ => at >= first && at <= first + more,
            };
            content.iter().copied().filter(|&byte| is_chosen(u64::from(byte))).collect()
        };
        let chosen: Vec<Vec<u8>> = specs.iter().map(chosen).filter(|bytes| !bytes.is_empty()).collect();
        let bytes = |range: &ByteRange| content[range.start as usize..range.end as usize].to_vec();
        match resolve(&format!("bytes={}", texts.join(", ")), len) {
            Some(Resolved::Unsatisfiable) => prop_assert!(chosen.is_empty()),
            Some(Resolved::Part(range)) => prop_assert_eq!(vec![bytes(&range)], chosen),
            Some(Resolved::Parts(ranges)) => prop_assert_eq!(ranges.iter().map(bytes).collect::<Vec<_>>(), chosen),
            // More than two of them begin inside another (RFC 9110 §17.15).
            Some(Resolved::Whole) => prop_assert!(chosen.iter().map(Vec::len).sum::<usize>() > chosen.concat().iter().collect::<std::collections::BTreeSet<_>>().len()),
            None => prop_assert!(false, "valid, but ignored"),
        }
    }

    /// The path without allocation and the full parser read the same.
    #[test]
    fn the_fast_path_agrees_with_the_full_parser(first in any::<u64>(), last in any::<u64>()) {
        let text = format!("bytes={first}-{last}");
        let full = parse_range_header_with_max_ranges(&text, PARSED_MAX).ok().map(|parsed| RangeSpec::from(parsed.into_ranges()[0]));
        prop_assert_eq!(RangeSet::parse(text.as_bytes()).and_then(|set| set.single()), full);
    }
}
