//! Bytes that can be checked anywhere: what stands at an offset is a function of the content's name and the offset.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// The content of one representation. Two contents with different names differ at nearly every byte, and no 4 KiB page of a
/// content equals another, so bytes that are mixed up, shifted or repeated are always noticed.
#[derive(Clone)]
pub(crate) struct Content {
    seed: u64,
    len: u64,
    base: Arc<[u8]>,
}

/// Each page begins with its own number.
const PAGE: usize = 4096;
/// What follows the numbers repeats after this many bytes.
const BASE: usize = 16 * PAGE;

impl Content {
    pub(crate) fn new(name: &str, len: u64) -> Self {
        // FNV-1a; spread by the generator below.
        let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        let mut state = seed;
        let base = (0..BASE / 8).flat_map(|_| splitmix(&mut state).to_le_bytes()).collect();
        Self { seed, len, base }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn all(&self) -> Vec<u8> {
        self.bytes(0, self.len)
    }

    /// The bytes from `start` up to `end`, which may lie beyond the length: lying origins need such bytes too.
    pub(crate) fn bytes(&self, start: u64, end: u64) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        self.fill(start, &mut bytes);
        bytes
    }

    pub(crate) fn fill(&self, offset: u64, mut bytes: &mut [u8]) {
        let mut at = offset;
        while !bytes.is_empty() {
            let page = self.page(at / PAGE as u64);
            let skip = (at % PAGE as u64) as usize;
            let len = bytes.len().min(PAGE - skip);
            bytes[..len].copy_from_slice(&page[skip..skip + len]);
            bytes = &mut bytes[len..];
            at += len as u64;
        }
    }

    /// Where `bytes`, which claim to stand at `offset`, first differ from this content; `None` when they are right.
    pub(crate) fn difference(&self, offset: u64, bytes: &[u8]) -> Option<u64> {
        if offset + bytes.len() as u64 > self.len {
            return Some(self.len);
        }
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let page = self.page(at / PAGE as u64);
            let skip = (at % PAGE as u64) as usize;
            let len = rest.len().min(PAGE - skip);
            if rest[..len] != page[skip..skip + len] {
                let inside = rest.iter().zip(&page[skip..]).position(|(a, b)| a != b).unwrap();
                return Some(at + inside as u64);
            }
            rest = &rest[len..];
            at += len as u64;
        }
        None
    }

    /// Where a WSUS server keeps this content: the path holds its SHA-1.
    pub(crate) fn wsus_path(&self) -> String {
        let sha1 = digest(&SHA1_FOR_LEGACY_USE_ONLY, &self.all());
        let name: String = sha1.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        format!("/Content/{}/{name}.cab", &name[38..])
    }

    fn page(&self, number: u64) -> [u8; PAGE] {
        let mut page = [0; PAGE];
        let start = (number as usize * PAGE) % BASE;
        page.copy_from_slice(&self.base[start..start + PAGE]);
        let mut state = self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        page[..8].copy_from_slice(&splitmix(&mut state).to_le_bytes());
        page[8..16].copy_from_slice(&splitmix(&mut state).to_le_bytes());
        page
    }
}

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[test]
fn content_is_the_same_however_it_is_cut_and_differs_from_any_other() {
    let content = Content::new("a", 100_000);
    let all = content.all();
    assert_eq!(content.bytes(4_090, 70_001), all[4_090..70_001]);
    assert_eq!(content.difference(4_090, &all[4_090..70_001]), None);
    assert_eq!(content.difference(8_192, &all[4_096..8_192]), Some(8_192), "another page");
    assert_eq!(content.difference(65_536, &all[..4_096]), Some(65_536), "the same place of the next base");
    assert_eq!(Content::new("b", 100_000).difference(20, &all[20..30]), Some(20));
    assert_eq!(content.difference(99_999, &[all[99_999], 0]), Some(100_000), "beyond the end");
}
