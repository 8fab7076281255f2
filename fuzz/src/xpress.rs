//! XPRESS blocks: how they arrive in pieces, then their bytes.

use weir::wsus::xpress::{Decoder, Malformed};

use super::number;

/// Small, so that inputs reach it.
const PLAIN_MAX: u64 = 256 * 1024;

pub fn xpress(data: &[u8]) {
    let (pieces, bytes) = number(data);
    let whole = decoded(bytes, std::iter::repeat(usize::MAX));
    assert!(whole.0.len() as u64 <= PLAIN_MAX);
    let lens = (0..64).cycle().map(|shift| (pieces.rotate_left(shift) % 24) as usize + 1);
    assert_eq!(decoded(bytes, lens), whole, "in pieces");
}

/// What came out, and how it ended.
fn decoded(mut bytes: &[u8], lens: impl Iterator<Item = usize>) -> (Vec<u8>, Result<(), Malformed>) {
    let (mut decoder, mut plain) = (Decoder::new(PLAIN_MAX), Vec::new());
    for len in lens {
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at(len.min(bytes.len()));
        bytes = rest;
        let result = decoder.decode(piece, |block| {
            assert!(block.len() < 65_536);
            plain.extend_from_slice(block);
            Ok(())
        });
        if result.is_err() {
            return (plain, result);
        }
    }
    let end = decoder.finish();
    (plain, end)
}
