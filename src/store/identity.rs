//! Checksums of extents, and the content identity that is merged from them.
//!
//! Both are BLAKE3. A run of bytes that starts at a piece boundary is summed as the subtree of the whole content that it is
//! (its chaining value), any other run as a text of its own. The sums of whole pieces therefore are the inner nodes of the
//! tree whose root is the identity of the content: no byte is read again to learn it, whatever the order they came in.

use blake3::{
    Hasher,
    hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root},
};

use crate::piece::PIECE_LEN;

/// The checksum of a run, or the identity of a content.
pub(super) type Sum = [u8; 32];

/// Sums one run of bytes in order; a run lies within one piece.
#[derive(Clone)]
pub(super) struct RunHasher {
    hasher: Hasher,
    start: u64,
}

impl RunHasher {
    /// For the run that starts at `start` of the content.
    pub(super) fn new(start: u64) -> Self {
        let mut hasher = Hasher::new();
        if start.is_multiple_of(PIECE_LEN) {
            hasher.set_input_offset(start);
        }
        Self { hasher, start }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    pub(super) fn sum(&self) -> Sum {
        if self.start.is_multiple_of(PIECE_LEN) { self.hasher.finalize_non_root() } else { *self.hasher.finalize().as_bytes() }
    }

    /// The identity of a content that is this run and nothing else; `None` if the run does not start the content.
    pub(super) fn identity(&self) -> Option<Sum> {
        (self.start == 0).then(|| *self.hasher.finalize().as_bytes())
    }
}

/// The checksum of the run of `bytes` that starts at `start` of the content.
pub(super) fn sum(start: u64, bytes: &[u8]) -> Sum {
    let mut hasher = RunHasher::new(start);
    hasher.update(bytes);
    hasher.sum()
}

/// The identity of a content of at most one piece.
pub(super) fn of_short(bytes: &[u8]) -> Sum {
    *blake3::hash(bytes).as_bytes()
}

/// The identity of a content of more than one piece, from the sums of all its pieces in order; `None` for fewer than two.
pub(super) fn of_pieces(sums: &[Sum]) -> Option<Sum> {
    let (left, right) = halves(sums)?;
    Some(*merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash).as_bytes())
}

fn subtree(sums: &[Sum]) -> Sum {
    match halves(sums) {
        Some((left, right)) => merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash),
        None => sums[0],
    }
}

/// BLAKE3's rule: the left side is the largest power of two that leaves something for the right.
fn halves(sums: &[Sum]) -> Option<(&[Sum], &[Sum])> {
    (sums.len() > 1).then(|| sums.split_at(sums.len().next_power_of_two() / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
    }

    #[test]
    fn the_identity_merged_from_pieces_is_the_hash_of_the_whole() {
        let piece = PIECE_LEN as usize;
        for len in [piece + 1, 2 * piece, 2 * piece + 1, 3 * piece - 5, 5 * piece, 8 * piece + 1024] {
            let bytes = content(len);
            let sums: Vec<Sum> =
                bytes.chunks(piece).enumerate().map(|(number, bytes)| sum(number as u64 * PIECE_LEN, bytes)).collect();
            assert_eq!(of_pieces(&sums), Some(of_short(&bytes)), "{len} bytes");
        }
    }

    #[test]
    fn content_of_one_run_has_the_plain_hash_as_identity() {
        let bytes = content(70_000);
        let mut hasher = RunHasher::new(0);
        bytes.chunks(999).for_each(|part| hasher.update(part));
        assert_eq!(hasher.identity(), Some(of_short(&bytes)));
        assert_eq!(hasher.sum(), sum(0, &bytes));
        assert_ne!(hasher.sum(), of_short(&bytes), "an inner node must not pass for a root");
        assert_eq!(RunHasher::new(5).identity(), None);
        assert_eq!(of_pieces(&[[0; 32]]), None);
    }
}
