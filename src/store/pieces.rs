//! The piece map: which extents of a blob have which checksum. Pure; what is readable but not yet summed is not its business.

use std::collections::BTreeMap;

use crate::{
    piece::{ByteRange, PIECE_LEN},
    store::identity::Sum,
};

/// Summed bytes within one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) range: ByteRange,
    pub(super) sum: Sum,
    /// The bytes were synced to the file.
    pub(super) durable: bool,
    /// The bytes were written since the start, or compared with the sum since.
    pub(super) checked: bool,
}

/// The runs of a blob, by their first byte. Disjoint; none crosses a piece boundary.
#[derive(Debug, Default)]
pub(super) struct PieceMap {
    runs: BTreeMap<u64, Run>,
    bytes: u64,
    /// Runs that are not a whole 1 MiB piece: their number is what an unfriendly client could drive up.
    parts: usize,
    unchecked: usize,
}

impl Run {
    pub(super) fn piece(&self) -> u64 {
        self.range.start / PIECE_LEN
    }

    fn is_part(&self) -> bool {
        self.range.len() < PIECE_LEN
    }
}

impl PieceMap {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn parts(&self) -> usize {
        self.parts
    }

    pub(super) fn is_all_checked(&self) -> bool {
        self.unchecked == 0
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Run> {
        self.runs.values()
    }

    /// The runs of one piece, in order.
    pub(super) fn of_piece(&self, piece: u64) -> impl Iterator<Item = &Run> {
        let start = piece.saturating_mul(PIECE_LEN);
        self.runs.range(start..start.saturating_add(PIECE_LEN)).map(|(_, run)| run)
    }

    /// The runs of one row of pieces, in order.
    pub(super) fn of_row(&self, row: u64) -> impl Iterator<Item = &Run> {
        let len = PIECE_LEN * PIECES_PER_ROW;
        let start = row.saturating_mul(len);
        self.runs.range(start..start.saturating_add(len)).map(|(_, run)| run)
    }

    pub(super) fn covering(&self, offset: u64) -> Option<&Run> {
        self.runs.range(..=offset).next_back().map(|(_, run)| run).filter(|run| run.range.contains(offset))
    }

    /// The ranges of all runs that touch `range`.
    pub(super) fn overlapping(&self, range: ByteRange) -> Vec<ByteRange> {
        let first = self.covering(range.start).map_or(range.start, |run| run.range.start);
        self.runs.range(first..range.end).map(|(_, run)| run.range).collect()
    }

    /// Where the first run after `offset` starts.
    pub(super) fn next_start(&self, offset: u64) -> Option<u64> {
        self.runs.range(offset.saturating_add(1)..).next().map(|(&start, _)| start)
    }

    /// Adds a run. One that overlaps what is there, or crosses a piece boundary, is refused: sums cannot be cut.
    pub(super) fn insert(&mut self, run: Run) -> bool {
        let range = run.range;
        let before = self.runs.range(..range.end).next_back();
        let overlaps = before.is_some_and(|(_, before)| before.range.end > range.start);
        if overlaps || range.pieces().count() != 1 {
            return false;
        }
        self.bytes += range.len();
        self.parts += usize::from(run.is_part());
        self.unchecked += usize::from(!run.checked);
        self.runs.insert(range.start, run);
        true
    }

    /// Takes out the run that starts at `start`.
    pub(super) fn remove(&mut self, start: u64) -> Option<Run> {
        let run = self.runs.remove(&start)?;
        self.bytes -= run.range.len();
        self.parts -= usize::from(run.is_part());
        self.unchecked -= usize::from(!run.checked);
        Some(run)
    }

    /// Notes that the bytes of `run` were compared with its sum, if it is still there.
    pub(super) fn mark_checked(&mut self, run: &Run) {
        if let Some(there) = self.runs.get_mut(&run.range.start).filter(|there| there.same_bytes(run) && !there.checked) {
            there.checked = true;
            self.unchecked -= 1;
        }
    }

    /// Notes that the bytes of `run` are synced, if it is still there.
    pub(super) fn mark_durable(&mut self, run: &Run) {
        if let Some(there) = self.runs.get_mut(&run.range.start).filter(|there| there.same_bytes(run)) {
            there.durable = true;
        }
    }

    /// The shortest `count` part runs.
    pub(super) fn shortest(&self, count: usize) -> Vec<Run> {
        let mut parts: Vec<&Run> = self.iter().filter(|run| run.is_part()).collect();
        parts.sort_by_key(|run| run.range.len());
        parts.into_iter().take(count).cloned().collect()
    }

    /// The sums of the pieces of a content of `len` bytes, if each is exactly one run.
    pub(super) fn whole_sums(&self, len: u64) -> Option<Vec<Sum>> {
        let mut at = 0;
        let mut sums = Vec::with_capacity(self.runs.len());
        for run in self.iter() {
            if run.range.start != at || run.range.end != (at + PIECE_LEN).min(len) {
                return None;
            }
            at = run.range.end;
            sums.push(run.sum);
        }
        (at == len).then_some(sums)
    }
}

impl Run {
    fn same_bytes(&self, other: &Self) -> bool {
        self.range == other.range && self.sum == other.sum
    }
}

/// Pieces in one row of the index: 64 sums are about 2.6 kB, so that a fill rewrites little and a start reads few rows.
pub(super) const PIECES_PER_ROW: u64 = 64;

/// The row of the index that holds the piece of `offset`.
pub(super) fn row_of(offset: u64) -> u64 {
    offset / (PIECE_LEN * PIECES_PER_ROW)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(start: u64, end: u64) -> Run {
        Run { range: ByteRange::new(start, end).unwrap(), sum: [1; 32], durable: false, checked: true }
    }

    #[test]
    fn a_run_that_overlaps_or_crosses_a_piece_is_refused() {
        let mut map = PieceMap::default();
        assert!(map.insert(run(10, 20)));
        for (start, end) in [(0, 11), (19, 30), (12, 13), (5, 25), (PIECE_LEN - 1, PIECE_LEN + 1)] {
            assert!(!map.insert(run(start, end)), "{start}..{end}");
        }
        assert!(map.insert(run(20, 30)) && map.insert(run(0, 10)));
        assert_eq!((map.bytes(), map.parts()), (30, 3));
    }

    #[test]
    fn whole_sums_need_each_piece_as_one_run() {
        let mut map = PieceMap::default();
        map.insert(run(0, PIECE_LEN));
        map.insert(run(PIECE_LEN, PIECE_LEN + 5));
        assert_eq!(map.whole_sums(PIECE_LEN + 5).map(|sums| sums.len()), Some(2));
        assert_eq!(map.whole_sums(PIECE_LEN + 6), None);
        map.remove(0);
        map.insert(run(0, 5));
        map.insert(run(5, PIECE_LEN));
        assert_eq!((map.bytes(), map.whole_sums(PIECE_LEN + 5)), (PIECE_LEN + 5, None));
    }

    #[test]
    fn the_shortest_parts_are_found_and_whole_pieces_never() {
        let mut map = PieceMap::default();
        map.insert(run(0, PIECE_LEN));
        map.insert(run(PIECE_LEN, PIECE_LEN + 50));
        map.insert(run(PIECE_LEN + 60, PIECE_LEN + 61));
        assert_eq!(map.shortest(1), [run(PIECE_LEN + 60, PIECE_LEN + 61)]);
        assert_eq!(map.shortest(9).len(), 2);
    }
}
