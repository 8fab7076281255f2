//! Content that is made up from its offset: any range of any length can be produced, checked and named by digest without keeping a byte.

use bytes::{Bytes, BytesMut};

use crate::{
    digest::{Digest, Hasher},
    piece::{ByteRange, piece_count, piece_range},
};

/// Deterministic bytes: the same seed and length are the same content everywhere and always.
#[derive(Clone, Copy, Debug)]
pub(super) struct Content {
    seed: u64,
    len: u64,
}

impl Content {
    pub(super) fn new(seed: u64, len: u64) -> Self {
        Self { seed, len }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The bytes of `range`, which lies inside the content and is short enough to be held.
    pub(super) fn bytes(&self, range: ByteRange) -> Bytes {
        let (first, last) = (range.start / WORD_LEN, (range.end - 1) / WORD_LEN);
        let mut words = BytesMut::with_capacity(((last - first + 1) * WORD_LEN) as usize);
        for index in first..=last {
            words.extend_from_slice(&self.word(index).to_le_bytes());
        }
        let skip = (range.start % WORD_LEN) as usize;
        words.freeze().slice(skip..skip + range.len() as usize)
    }

    pub(super) fn sha1(&self) -> Digest {
        self.digest(Digest::Sha1([0; 20]).hasher(), ByteRange::new(0, self.len))
    }

    pub(super) fn sha256(&self) -> Digest {
        self.digest(sha256(), ByteRange::new(0, self.len))
    }

    /// The SHA-256 of every piece, in order: what a piece-hash file of Delivery Optimization holds.
    pub(super) fn piece_digests(&self) -> Vec<Digest> {
        (0..piece_count(self.len)).map(|number| self.digest(sha256(), piece_range(number, self.len))).collect()
    }

    fn digest(&self, mut hasher: Hasher, range: Option<ByteRange>) -> Digest {
        let Some(range) = range else { return hasher.finish() };
        for window in windows(range) {
            hasher.update(&self.bytes(window));
        }
        hasher.finish()
    }

    /// SplitMix64: one word for one index, without the words before it.
    fn word(&self, index: u64) -> u64 {
        let mut word = self.seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }
}

/// A hasher for SHA-256.
pub(super) fn sha256() -> Hasher {
    Digest::Sha256([0; 32]).hasher()
}

/// `range` in steps that are short enough to be held.
pub(super) fn windows(range: ByteRange) -> impl Iterator<Item = ByteRange> {
    (range.start..range.end)
        .step_by(WINDOW_LEN as usize)
        .filter_map(move |start| ByteRange::new(start, range.end.min(start + WINDOW_LEN)))
}

const WORD_LEN: u64 = 8;

/// 64 KiB: small enough for a smooth line, large enough that making it up costs more than handing it over.
const WINDOW_LEN: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::piece::PIECE_LEN;

    fn range(start: u64, end: u64) -> ByteRange {
        ByteRange::new(start, end).unwrap()
    }

    #[test]
    fn any_range_is_a_part_of_the_whole() {
        let content = Content::new(7, 1000);
        let whole = content.bytes(range(0, 1000));
        for part in [range(0, 1), range(7, 9), range(8, 16), range(999, 1000), range(3, 997)] {
            assert_eq!(content.bytes(part), whole[part.start as usize..part.end as usize], "{part:?}");
        }
    }

    #[test]
    fn other_seeds_are_other_content() {
        assert_ne!(Content::new(1, 64).sha256(), Content::new(2, 64).sha256());
    }

    #[test]
    fn the_digest_over_windows_is_the_digest_of_the_bytes() {
        let content = Content::new(3, 2 * WINDOW_LEN + 5);
        let mut hasher = sha256();
        hasher.update(&content.bytes(range(0, content.len())));
        assert_eq!(content.sha256(), hasher.finish());
    }

    #[test]
    fn every_piece_has_its_digest_the_short_last_one_too() {
        let content = Content::new(3, PIECE_LEN + 5);
        let mut last = sha256();
        last.update(&content.bytes(range(PIECE_LEN, PIECE_LEN + 5)));
        assert_eq!(content.piece_digests().last(), Some(&last.finish()));
        assert_eq!(content.piece_digests().len(), 2);
        assert_eq!(Content::new(3, 0).piece_digests(), []);
    }
}
