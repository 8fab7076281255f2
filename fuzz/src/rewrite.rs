//! Answers with other URLs: how they arrive in pieces, then their bytes.

use weir::wsus::{Coding, Rewriter, xpress::Malformed};

use super::number;

const OLD: &str = "http://old/";
const NEW: &str = "http://new/";

pub fn rewrite(data: &[u8]) {
    let (pieces, bytes) = number(data);
    let lens = || (0..64).cycle().map(|shift| (pieces.rotate_left(shift) % 24) as usize + 1);
    let whole = || std::iter::repeat(usize::MAX);
    for coding in [Coding::Identity, Coding::Xpress] {
        assert_eq!(moved(coding, bytes, lens(), OLD, NEW), moved(coding, bytes, whole(), OLD, NEW), "in pieces");
    }
    let there = moved(Coding::Identity, bytes, whole(), OLD, NEW).expect("nothing is decoded");
    assert_eq!(there.len(), bytes.len(), "the new place is as long as the old");
    let changed = there.iter().zip(bytes).filter(|(new, old)| new != old).map(|(new, old)| (*new, *old));
    assert!(
        changed.clone().all(|change| b"new".iter().copied().zip(*b"old").any(|letter| letter == change)),
        "only these letters"
    );
    assert!(changed.count() % 3 == 0, "and all of them");
    if !bytes.windows(NEW.len()).any(|window| window == NEW.as_bytes()) {
        let back = moved(Coding::Identity, &there, whole(), NEW, OLD).expect("nothing is decoded");
        assert_eq!(back, bytes, "there and back");
    }
}

fn moved(
    coding: Coding,
    mut bytes: &[u8],
    lens: impl Iterator<Item = usize>,
    from: &str,
    to: &str,
) -> Result<Vec<u8>, Malformed> {
    let (mut rewriter, mut out) = (Rewriter::new(coding), Vec::new());
    for len in lens {
        if bytes.is_empty() {
            break;
        }
        let (mut piece, rest) = bytes.split_at(len.min(bytes.len()));
        bytes = rest;
        while !piece.is_empty() {
            let place = |url: &str| url.strip_prefix(from).map(|rest| format!("{to}{rest}"));
            let used = rewriter.push(piece, place, &mut out)?;
            assert!(used > 0, "something is taken");
            piece = &piece[used..];
        }
    }
    rewriter.finish(&mut out).map(|()| out)
}
