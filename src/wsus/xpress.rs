//! XPRESS, the content coding of update services: blocks of plain LZ77 (MS-XCA 2.4), each behind its two lengths (MS-WUSP 2.1.1).
//!
//! Decodes only, a block at a time: no more than one is held, and no more comes out in all than the caller allows. What weir passes on
//! stays coded as it came.

/// Turns coded bytes, in whatever pieces they come, into plain ones.
#[derive(Debug)]
pub struct Decoder {
    /// Plain bytes that may still come.
    allowed: u64,
    /// The block whose header has been read.
    block: Option<Block>,
    /// Of the header or the block that is coming.
    coded: Vec<u8>,
    plain: Vec<u8>,
}

/// What the header of a block says: little-endian, the plain length first.
#[derive(Clone, Copy, Debug)]
struct Block {
    plain: usize,
    coded: usize,
}

/// What no encoder writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("a block has lengths that no block has")]
    Lengths,
    #[error("a block ends before it has said all")]
    Short,
    #[error("a block refers to what is before its beginning")]
    Reference,
    #[error("a block is longer than it says")]
    Long,
    #[error("more comes out than is allowed")]
    TooLarge,
    #[error("the last block is not whole")]
    Truncated,
}

impl Decoder {
    /// At most `plain_max` bytes come out.
    pub fn new(plain_max: u64) -> Self {
        Self { allowed: plain_max, block: None, coded: Vec::new(), plain: Vec::new() }
    }

    /// Takes the next bytes, and gives `out` every block that has become whole. After an error nothing more can be decoded.
    pub fn decode<E: From<Malformed>>(&mut self, mut bytes: &[u8], mut out: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        while let Some(plain) = self.block(&mut bytes)? {
            out(plain)?;
        }
        Ok(())
    }

    /// Takes from the front of `bytes` what the next block needs, and gives the block when it has become whole. `None`: all were taken, and more
    /// are needed. After an error nothing more can be decoded.
    pub fn block(&mut self, bytes: &mut &[u8]) -> Result<Option<&[u8]>, Malformed> {
        while !bytes.is_empty() {
            let wanted = self.block.map_or(HEADER_LEN, |block| block.coded) - self.coded.len();
            let (now, later) = bytes.split_at(bytes.len().min(wanted));
            self.coded.extend_from_slice(now);
            *bytes = later;
            if now.len() < wanted {
                break;
            }
            let Some(block) = self.block.take() else {
                self.block = Some(self.header()?);
                self.coded.clear();
                continue;
            };
            self.plain.clear();
            expand(&self.coded, block.plain, &mut self.plain)?;
            self.coded.clear();
            return Ok(Some(&self.plain));
        }
        Ok(None)
    }

    /// Nothing more comes.
    pub fn finish(&self) -> Result<(), Malformed> {
        if self.block.is_some() || !self.coded.is_empty() { Err(Malformed::Truncated) } else { Ok(()) }
    }

    fn header(&mut self) -> Result<Block, Malformed> {
        let number = |at: usize| -> Option<usize> {
            let bytes = self.coded.get(at..at + 4)?.try_into().ok()?;
            usize::try_from(u32::from_le_bytes(bytes)).ok()
        };
        let (plain, coded) = (number(0).ok_or(Malformed::Lengths)?, number(4).ok_or(Malformed::Lengths)?);
        if plain > BLOCK_MAX || coded == 0 || coded > plain {
            return Err(Malformed::Lengths);
        }
        self.allowed = self.allowed.checked_sub(plain as u64).ok_or(Malformed::TooLarge)?;
        Ok(Block { plain, coded })
    }
}

/// One block. What would not have become shorter is there as it was (MS-WUSP 2.1.1).
fn expand(coded: &[u8], plain_len: usize, plain: &mut Vec<u8>) -> Result<(), Malformed> {
    if coded.len() == plain_len {
        plain.extend_from_slice(coded);
        return Ok(());
    }
    let mut input = Input { bytes: coded, at: 0, half: None };
    let (mut flags, mut flags_left) = (0_u32, 0_u32);
    while plain.len() < plain_len {
        if flags_left == 0 {
            (flags, flags_left) = (u32::from_le_bytes(input.take()?), 32);
        }
        flags_left -= 1;
        if flags & (1 << flags_left) == 0 {
            let [literal] = input.take()?;
            plain.push(literal);
            continue;
        }
        let (distance, len) = input.reference()?;
        if len > plain_len - plain.len() {
            return Err(Malformed::Long);
        }
        repeat(plain, distance, len)?;
    }
    Ok(())
}

/// Appends `len` bytes that begin `distance` back; they may overlap with what they become.
fn repeat(plain: &mut Vec<u8>, distance: usize, len: usize) -> Result<(), Malformed> {
    let start = plain.len().checked_sub(distance).ok_or(Malformed::Reference)?;
    if distance >= len {
        plain.extend_from_within(start..start + len);
        return Ok(());
    }
    for at in start..start + len {
        plain.push(plain[at]);
    }
    Ok(())
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The upper half of a byte of lengths, which the next long reference uses.
    half: Option<u8>,
}

impl Input<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let taken = self.bytes.get(self.at..self.at + N).and_then(|bytes| bytes.try_into().ok()).ok_or(Malformed::Short)?;
        self.at += N;
        Ok(taken)
    }

    /// Distance and length of a reference: 13 bits and 3, then ever wider lengths (MS-XCA 2.4.4).
    fn reference(&mut self) -> Result<(usize, usize), Malformed> {
        let pair = u16::from_le_bytes(self.take()?);
        let distance = usize::from(pair >> 3) + 1;
        let mut len = u64::from(pair & 7);
        if len == 7 {
            len += u64::from(self.nibble()?);
            if len == 7 + 15 {
                len = self.long_len()?;
            }
        }
        // No reference is shorter than 3. One that is longer than a block is refused as such.
        Ok((distance, usize::try_from(len + 3).map_err(|_| Malformed::Long)?))
    }

    fn nibble(&mut self) -> Result<u8, Malformed> {
        if let Some(half) = self.half.take() {
            return Ok(half);
        }
        let [byte] = self.take()?;
        self.half = Some(byte >> 4);
        Ok(byte & 0x0F)
    }

    fn long_len(&mut self) -> Result<u64, Malformed> {
        let [byte] = self.take()?;
        if byte < 255 {
            return Ok(u64::from(byte) + 22);
        }
        let len = match u16::from_le_bytes(self.take()?) {
            0 => u64::from(u32::from_le_bytes(self.take()?)),
            len => u64::from(len),
        };
        // Shorter ones have a shorter form.
        if len < 22 { Err(Malformed::Lengths) } else { Ok(len) }
    }
}

const HEADER_LEN: usize = 8;

/// MS-WUSP 2.1.1: plain bytes of a block. Windows Server 2025 writes blocks of 16,352.
const BLOCK_MAX: usize = 65_535;

#[cfg(test)]
mod tests {
    use super::*;

    /// One block behind its header.
    fn framed(plain_len: usize, coded: &[u8]) -> Vec<u8> {
        [&(plain_len as u32).to_le_bytes()[..], &(coded.len() as u32).to_le_bytes()[..], coded].concat()
    }

    fn decoded(bytes: &[u8], piece: usize) -> Result<Vec<u8>, Malformed> {
        let (mut decoder, mut plain) = (Decoder::new(1 << 20), Vec::new());
        for piece in bytes.chunks(piece) {
            decoder.decode(piece, |bytes| {
                plain.extend_from_slice(bytes);
                Ok::<_, Malformed>(())
            })?;
        }
        decoder.finish().map(|()| plain)
    }

    /// The two examples of MS-XCA 3.1.
    fn examples() -> [(Vec<u8>, &'static [u8]); 2] {
        const ALPHABET: &[u8] = b"\x3f\0\0\0abcdefghijklmnopqrstuvwxyz";
        const ABC: &[u8] = b"\xff\xff\xff\x1fabc\x17\0\x0f\xff\x26\x01";
        [((b'a'..=b'z').collect(), ALPHABET), (b"abc".repeat(100), ABC)]
    }

    #[test]
    fn the_examples_of_the_specification_are_decoded_however_they_arrive() {
        let [(_, alphabet), (plain, coded)] = examples();
        // On its own the alphabet is longer than what it stands for, so it would be sent as it is.
        let mut expanded = Vec::new();
        expand(alphabet, 26, &mut expanded).unwrap();
        assert_eq!(expanded, (b'a'..=b'z').collect::<Vec<_>>());
        let coded = [framed(300, coded), framed(3, b"raw"), framed(300, coded)].concat();
        for piece in 1..=coded.len() {
            assert_eq!(decoded(&coded, piece), Ok([&plain[..], b"raw", &plain].concat()), "in pieces of {piece}");
        }
    }

    #[test]
    fn two_long_references_share_a_byte_of_lengths() {
        // 'a', nine times the same, 'b', ten times the same: both lengths in one byte, 0x10 | 0x00 minus the 7 + 3 that stand for themselves.
        let coded = [&0x5fff_ffff_u32.to_le_bytes()[..], b"a", &[0x07, 0x00, 0x10], b"b", &[0x07, 0x00]].concat();
        let mut plain = Vec::new();
        expand(&coded, 23, &mut plain).unwrap();
        assert_eq!(plain, [&b"a".repeat(11)[..], &b"b".repeat(12)].concat());
    }

    #[test]
    fn every_truncation_is_noticed() {
        let [_, (_, coded)] = examples();
        let coded = framed(300, coded);
        assert_eq!(decoded(&[], 1), Ok(Vec::new()), "no content is no error");
        for len in 1..coded.len() {
            assert_eq!(decoded(&coded[..len], 7), Err(Malformed::Truncated), "{len} bytes");
        }
        for len in 4..coded.len() - 8 {
            assert_eq!(decoded(&framed(300, &coded[8..8 + len]), 7), Err(Malformed::Short), "{len} bytes of the block");
        }
    }

    #[test]
    fn what_no_encoder_writes_is_refused() {
        let reference = |distance: u16| [&u32::MAX.to_le_bytes()[..], &((distance - 1) << 3).to_le_bytes()].concat();
        let long = |len: u16| [&0x7fff_ffff_u32.to_le_bytes()[..], b"a\x07\x00\x0f\xff", &len.to_le_bytes()].concat();
        for (plain_len, coded, error) in [
            (0, &b""[..], Malformed::Lengths),
            (10, b"", Malformed::Lengths),
            (3, b"four", Malformed::Lengths),
            (BLOCK_MAX + 1, b"x", Malformed::Lengths),
            (300, &reference(1), Malformed::Reference),
            (300, &long(300), Malformed::Long),
            (300, &long(21), Malformed::Lengths),
            (300, &[&long(0)[..], &[0xff; 4]].concat(), Malformed::Long),
        ] {
            // A byte more, so that a block of no length is looked at.
            let bytes = [framed(plain_len, coded), vec![0]].concat();
            assert_eq!(decoded(&bytes, 1000), Err(error), "{plain_len} from {}", coded.escape_ascii());
        }
    }

    #[test]
    fn no_more_comes_out_than_is_allowed() {
        // 64 KiB of one letter, again and again, from 16 bytes each.
        let bomb = framed(BLOCK_MAX, &[&0x7fff_ffff_u32.to_le_bytes()[..], b"a\x07\x00\x0f\xff\xfb\xff"].concat());
        let (mut decoder, mut len) = (Decoder::new(1 << 20), 0);
        let error = (0..100).find_map(|_| {
            decoder
                .decode(&bomb, |plain| {
                    len += plain.len();
                    Ok::<_, Malformed>(())
                })
                .err()
        });
        assert_eq!((error, len), (Some(Malformed::TooLarge), 16 * BLOCK_MAX));
    }
}
