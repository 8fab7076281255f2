//! Which upstream requests a reader needs next: gaps in, ranges out. Pure.

use crate::piece::ByteRange;

/// What planning depends on besides the gaps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// How many requests may run at once for this content ([`super::gain`] finds the number that helps).
    pub level: usize,
    /// The longest range one request asks for. Long enough that a round trip between two requests does not show,
    /// short enough that parallel requests stay near the readers.
    pub segment_len: u64,
}

/// A request that is running: it still brings `at..end`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Running {
    /// Where its window begins: what arrived since is there for readers, though perhaps not in the blob yet.
    pub floor: u64,
    pub at: u64,
    /// `None`: until the body ends.
    pub end: Option<u64>,
}

impl Running {
    /// What it still brings.
    fn rest(&self) -> Option<ByteRange> {
        ByteRange::new(self.at, self.end.unwrap_or(u64::MAX))
    }

    /// What need not be asked for because of it.
    fn covered(&self) -> Option<ByteRange> {
        ByteRange::new(self.floor, self.end.unwrap_or(u64::MAX))
    }
}

/// Ranges to ask for now, so that a reader that wants `wanted` from its first byte on neither waits nor starves the line.
///
/// `missing` is what of `wanted` is not readable. The first missing byte is always asked for or already on its way; further
/// requests start while fewer than `pace.level` are running, and one more when those are about to end (or each segment would
/// end with the line idle for a round trip).
pub(super) fn next_requests(wanted: ByteRange, missing: &[ByteRange], running: &[Running], pace: Pace) -> Vec<ByteRange> {
    let horizon = wanted.start.saturating_add(pace.segment_len.saturating_mul(pace.level as u64 + 1));
    let near = ByteRange { start: wanted.start, end: wanted.end.min(horizon) };
    let mut ahead: Vec<ByteRange> = running.iter().filter_map(|run| run.rest()?.intersection(&near)).collect();
    let mut asked = Vec::new();
    for gap in missing.iter().flat_map(|gap| uncovered(*gap, running)) {
        if gap.start >= near.end {
            break;
        }
        let urgent = gap.start == wanted.start;
        let ending = ahead.iter().map(ByteRange::len).sum::<u64>() < LOW_WATER && ahead.len() <= pace.level;
        if !urgent && ahead.len() >= pace.level && !ending {
            break;
        }
        let mut start = gap.start;
        while start < gap.end.min(near.end) && (asked.is_empty() || ahead.len() < pace.level) {
            let request = ByteRange { start, end: gap.end.min(start + pace.segment_len) };
            start = request.end;
            ahead.push(request);
            asked.push(request);
        }
    }
    asked
}

/// Parts of `gap` that no running request brings.
fn uncovered(gap: ByteRange, running: &[Running]) -> Vec<ByteRange> {
    let covered: crate::piece::ExtentSet = running.iter().filter_map(Running::covered).collect();
    covered.gaps(gap)
}

/// 2 MiB: what a 1 Gbit/s line brings in a round trip of 16 ms.
const LOW_WATER: u64 = 2 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u64 = 8 << 20;
    const PACE: Pace = Pace { level: 2, segment_len: SEGMENT };

    fn range(start: u64, end: u64) -> ByteRange {
        ByteRange::new(start, end).unwrap()
    }

    fn running(at: u64, end: Option<u64>) -> Running {
        Running { floor: at, at, end }
    }

    #[test]
    fn bytes_that_arrived_but_are_not_stored_yet_are_not_asked_for_again() {
        let wanted = range(0, 3 * SEGMENT);
        let runs = [Running { floor: 10, at: 500, end: Some(SEGMENT) }, running(SEGMENT, Some(2 * SEGMENT))];
        assert_eq!(next_requests(wanted, &[range(10, 3 * SEGMENT)], &runs, PACE), []);
    }

    #[test]
    fn a_short_range_is_asked_for_as_it_is() {
        assert_eq!(next_requests(range(5, 9), &[range(5, 9)], &[], PACE), [range(5, 9)]);
    }

    #[test]
    fn present_bytes_are_not_asked_for_again() {
        let missing = [range(0, 10), range(20, 30)];
        assert_eq!(next_requests(range(0, 30), &missing, &[], PACE), missing);
        assert_eq!(next_requests(range(0, 30), &[], &[], PACE), []);
    }

    #[test]
    fn long_ranges_go_out_as_parallel_segments() {
        let wanted = range(0, 100 * SEGMENT);
        assert_eq!(next_requests(wanted, &[wanted], &[], PACE), [range(0, SEGMENT), range(SEGMENT, 2 * SEGMENT)]);
    }

    #[test]
    fn bytes_on_their_way_are_not_asked_for_again() {
        let wanted = range(0, 4 * SEGMENT);
        let runs = [running(0, None)];
        assert_eq!(next_requests(wanted, &[wanted], &runs, PACE), []);
        let runs = [running(10, Some(SEGMENT)), running(SEGMENT + 7, Some(2 * SEGMENT))];
        assert_eq!(next_requests(range(10, 4 * SEGMENT), &[range(10, 4 * SEGMENT)], &runs, PACE), []);
    }

    #[test]
    fn the_next_segment_starts_before_the_last_one_ends() {
        let runs = [running(SEGMENT - 100, Some(SEGMENT))];
        let wanted = range(SEGMENT - 100, 9 * SEGMENT);
        let asked = next_requests(wanted, &[wanted], &runs, Pace { level: 1, ..PACE });
        assert_eq!(asked, [range(SEGMENT, 2 * SEGMENT)]);
    }

    #[test]
    fn a_byte_that_nobody_brings_is_urgent_whatever_runs() {
        let runs = [running(50, Some(60)), running(70, Some(1 << 30))];
        let wanted = range(0, 40);
        assert_eq!(next_requests(wanted, &[wanted], &runs, PACE), [wanted]);
    }
}
