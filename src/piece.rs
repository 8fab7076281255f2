//! Arithmetic of content: byte ranges, pieces, and the set of extents that are present.

use std::{collections::BTreeMap, fmt, ops::Range};

/// 1 MiB: the size Delivery Optimization asks for; unit of checksum, verification and planning.
pub const PIECE_LEN: u64 = 1 << 20;

/// A non-empty run of bytes `start..end`, end exclusive.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ByteRange {
    pub start: u64,
    pub end: u64,
}

impl ByteRange {
    /// `None` when it would be empty or backwards.
    pub fn new(start: u64, end: u64) -> Option<Self> {
        (start < end).then_some(Self { start, end })
    }

    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Never: a `ByteRange` holds at least one byte. Here because `len` is.
    pub fn is_empty(&self) -> bool {
        false
    }

    pub fn contains(&self, offset: u64) -> bool {
        self.start <= offset && offset < self.end
    }

    pub fn intersection(&self, other: &Self) -> Option<Self> {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }

    /// Grown to whole pieces, but not past `len`, the end of the content.
    pub fn aligned(&self, len: u64) -> Self {
        Self { start: self.start / PIECE_LEN * PIECE_LEN, end: self.end.next_multiple_of(PIECE_LEN).min(len).max(self.end) }
    }

    /// The numbers of the pieces this range touches.
    pub fn pieces(&self) -> Range<u64> {
        self.start / PIECE_LEN..(self.end - 1) / PIECE_LEN + 1
    }
}

impl fmt::Debug for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

/// The bytes of piece `number` of content that is `len` bytes long; `None` past the end.
pub fn piece_range(number: u64, len: u64) -> Option<ByteRange> {
    let start = number.checked_mul(PIECE_LEN)?;
    ByteRange::new(start, start.saturating_add(PIECE_LEN).min(len))
}

/// How many pieces content of `len` bytes has.
pub fn piece_count(len: u64) -> u64 {
    len.div_ceil(PIECE_LEN)
}

/// An ordered set of disjoint, non-adjacent extents.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ExtentSet {
    /// start → end, exclusive.
    ends: BTreeMap<u64, u64>,
}

impl ExtentSet {
    pub fn new() -> Self {
        Self::default()
    }

    /// The set that holds the whole of `len` bytes.
    pub fn whole(len: u64) -> Self {
        ByteRange::new(0, len).into_iter().collect()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many extents there are.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// How many bytes they hold together.
    pub fn bytes(&self) -> u64 {
        self.iter().map(|extent| extent.len()).sum()
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = ByteRange> + '_ {
        self.ends.iter().map(|(&start, &end)| ByteRange { start, end })
    }

    pub fn insert(&mut self, range: ByteRange) {
        let (mut start, mut end) = (range.start, range.end);
        if let Some(before) = self.at_or_before(start).filter(|before| before.end >= start) {
            start = before.start;
            end = end.max(before.end);
            self.ends.remove(&before.start);
        }
        while let Some((&next, &next_end)) = self.ends.range(start..=end).next() {
            end = end.max(next_end);
            self.ends.remove(&next);
        }
        self.ends.insert(start, end);
    }

    pub fn remove(&mut self, range: ByteRange) {
        if let Some(before) = self.at_or_before(range.start).filter(|before| before.end > range.start) {
            self.ends.remove(&before.start);
            self.put(before.start, range.start);
            self.put(range.end.max(before.start), before.end);
        }
        while let Some((&start, &end)) = self.ends.range(range.start..range.end).next() {
            self.ends.remove(&start);
            self.put(range.end, end);
        }
    }

    /// The extent that holds `offset`.
    pub fn covering(&self, offset: u64) -> Option<ByteRange> {
        self.at_or_before(offset).filter(|extent| extent.contains(offset))
    }

    pub fn contains(&self, range: ByteRange) -> bool {
        self.covering(range.start).is_some_and(|extent| extent.end >= range.end)
    }

    /// What of `range` is not in the set, in order.
    pub fn gaps(&self, range: ByteRange) -> Vec<ByteRange> {
        let mut gaps = Vec::new();
        let mut at = range.start;
        while at < range.end {
            if let Some(extent) = self.covering(at) {
                at = extent.end;
                continue;
            }
            let next = self.ends.range(at..range.end).next().map_or(range.end, |(&start, _)| start);
            gaps.push(ByteRange { start: at, end: next });
            at = next;
        }
        gaps
    }

    fn at_or_before(&self, offset: u64) -> Option<ByteRange> {
        self.ends.range(..=offset).next_back().map(|(&start, &end)| ByteRange { start, end })
    }

    fn put(&mut self, start: u64, end: u64) {
        if start < end {
            self.ends.insert(start, end);
        }
    }
}

impl FromIterator<ByteRange> for ExtentSet {
    fn from_iter<I: IntoIterator<Item = ByteRange>>(ranges: I) -> Self {
        let mut set = Self::new();
        ranges.into_iter().for_each(|range| set.insert(range));
        set
    }
}

impl fmt::Debug for ExtentSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(start: u64, end: u64) -> ByteRange {
        ByteRange::new(start, end).unwrap()
    }

    #[test]
    fn pieces_at_their_edges() {
        assert_eq!(piece_range(0, 0), None);
        assert_eq!(piece_range(0, 1), Some(range(0, 1)));
        assert_eq!(piece_range(0, PIECE_LEN), Some(range(0, PIECE_LEN)));
        assert_eq!(piece_range(1, PIECE_LEN), None);
        assert_eq!(piece_range(1, PIECE_LEN + 1), Some(range(PIECE_LEN, PIECE_LEN + 1)));
        assert_eq!((piece_count(0), piece_count(1), piece_count(PIECE_LEN), piece_count(PIECE_LEN + 1)), (0, 1, 1, 2));
        assert_eq!(range(0, 1).pieces(), 0..1);
        assert_eq!(range(PIECE_LEN - 1, PIECE_LEN + 1).pieces(), 0..2);
        assert_eq!(range(PIECE_LEN, 2 * PIECE_LEN).pieces(), 1..2);
    }

    #[test]
    fn alignment_stops_at_the_end_of_the_content() {
        assert_eq!(range(5, 6).aligned(100), range(0, 100));
        assert_eq!(range(PIECE_LEN + 5, PIECE_LEN + 6).aligned(9 * PIECE_LEN), range(PIECE_LEN, 2 * PIECE_LEN));
    }

    const SMALL: u64 = 40;

    proptest! {
        /// An extent set behaves like a row of booleans under any sequence of inserts and removals.
        #[test]
        fn extents_agree_with_a_bitmap(steps in prop::collection::vec((any::<bool>(), 0..SMALL, 1..SMALL), 0..40)) {
            let (mut set, mut bits) = (ExtentSet::new(), [false; SMALL as usize]);
            for (insert, start, len) in steps {
                let range = range(start, (start + len).min(SMALL));
                if insert { set.insert(range) } else { set.remove(range) }
                bits[range.start as usize..range.end as usize].fill(insert);
            }
            let seen: Vec<bool> = (0..SMALL).map(|offset| set.covering(offset).is_some()).collect();
            prop_assert_eq!(&seen, &bits);
            prop_assert_eq!(set.bytes(), bits.iter().filter(|bit| **bit).count() as u64);
            let missing: u64 = set.gaps(range(0, SMALL)).iter().map(|gap| gap.len()).sum();
            prop_assert_eq!(missing + set.bytes(), SMALL);
            let extents: Vec<_> = set.iter().collect();
            prop_assert!(extents.windows(2).all(|pair| pair[0].end < pair[1].start), "{:?}", extents);
        }
    }
}
