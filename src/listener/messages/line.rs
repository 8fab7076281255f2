//! Lines of a head, found as they arrive; every byte is looked at once.

use crate::proxy::unserved::Malformed;

/// Where in a block of lines the reading stands. The block grows at its end and never moves.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lines {
    /// The first byte of the line that is not whole yet.
    start: usize,
    /// No byte between `start` and here ends the line.
    scanned: usize,
}

impl Lines {
    /// The next whole line without its CRLF; `None` until it has come. A line has no control characters but TAB.
    #[inline]
    pub(super) fn next<'a>(&mut self, block: &'a [u8]) -> Result<Option<&'a [u8]>, Malformed> {
        let Some(at) = control(block, self.scanned) else {
            self.scanned = block.len();
            return Ok(None);
        };
        match (block[at], block.get(at + 1)) {
            (b'\r', Some(b'\n')) => {
                let line = &block[self.start..at];
                (self.start, self.scanned) = (at + 2, at + 2);
                Ok(Some(line))
            }
            (b'\r', None) => {
                self.scanned = at;
                Ok(None)
            }
            (b'\r', Some(_)) => Err(Malformed::BareCr),
            (b'\n', _) => Err(Malformed::BareLf),
            _ => Err(Malformed::Control),
        }
    }

    /// Bytes of the block that are whole lines.
    #[inline]
    pub(super) fn end(&self) -> usize {
        self.start
    }
}

/// The first control character other than TAB at or behind `from`.
#[inline]
fn control(block: &[u8], mut from: usize) -> Option<usize> {
    while let Some(word) = block.get(from..from + 8) {
        let found = controls(u64::from_le_bytes(word.try_into().expect("eight bytes, as sliced")));
        if found == 0 {
            from += 8;
            continue;
        }
        from += found.trailing_zeros() as usize / 8;
        if block[from] != b'\t' {
            return Some(from);
        }
        from += 1;
    }
    block[from..].iter().position(|&byte| byte != b'\t' && byte.is_ascii_control()).map(|at| from + at)
}

/// The high bit of the lowest byte of `word` that is a control character; higher ones may be marked wrongly, as the borrow runs upwards.
#[inline]
fn controls(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let below_space = word.wrapping_sub(ONES * 0x20) & !word;
    let delete = word ^ (ONES * 0x7f);
    (below_space | (delete.wrapping_sub(ONES) & !delete)) & HIGH
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_is_found_wherever_its_bytes_are_split() {
        let block = b"GET / HTTP/1.1\r\nX:\ty\r\n\r\n";
        for first in 0..block.len() {
            let (mut lines, mut found) = (Lines::default(), Vec::new());
            for end in [first, block.len()] {
                while let Some(line) = lines.next(&block[..end]).unwrap() {
                    found.push(line);
                }
            }
            assert_eq!(found, [&b"GET / HTTP/1.1"[..], b"X:\ty", b""], "split at {first}");
            assert_eq!(lines.end(), block.len());
        }
    }

    proptest! {
        #[test]
        fn control_characters_are_found_as_by_looking_at_each_byte(
            block in prop::collection::vec(prop_oneof![8 => 0x20u8..0x7f, 1 => any::<u8>(), 1 => Just(b'\t')], 0..100),
            from in 0usize..100,
        ) {
            let from = from.min(block.len());
            let plain = (from..block.len()).find(|&at| block[at] != b'\t' && block[at].is_ascii_control());
            prop_assert_eq!(control(&block, from), plain);
        }
    }
}
