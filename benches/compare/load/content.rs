//! Generated content: every eight bytes follow from a seed and their offset, so that bytes of another file or another place are noticed.
//!
//! Looks at one word in 4 KiB while measuring, which costs next to nothing; whole bodies are compared by the driver before it measures.

/// One word of eight bytes is looked at in so many.
const STRIDE: u64 = 4096;

/// What a file with this seed contains.
#[derive(Clone, Copy)]
pub(crate) struct Content {
    seed: u64,
}

impl Content {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Fills `block` with what stands at `offset`, a multiple of eight.
    pub(crate) fn write(self, offset: u64, block: &mut [u8]) {
        for (index, word) in block.chunks_mut(8).enumerate() {
            let bytes = self.word(offset / 8 + index as u64).to_le_bytes();
            word.copy_from_slice(&bytes[..word.len()]);
        }
    }

    /// Whether `chunk` may stand at `offset`.
    pub(crate) fn matches(self, offset: u64, chunk: &[u8]) -> bool {
        let mut at = offset.next_multiple_of(STRIDE);
        while let Some(word) = chunk.get((at - offset) as usize..).and_then(|rest| rest.first_chunk::<8>()) {
            if u64::from_le_bytes(*word) != self.word(at / 8) {
                return false;
            }
            at += STRIDE;
        }
        true
    }

    /// SplitMix64 of the place.
    fn word(self, index: u64) -> u64 {
        let mut z = self.seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// A small generator of its own: the runs shall be the same each time.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Evenly from 0 to `bound`, which is left out.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        Content::new(0x5eed).word(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)) % bound.max(1)
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}
