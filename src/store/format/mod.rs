//! How rows of the index are spelled in bytes. Decoding never panics: a row that rotted is `None`.
//!
//! Every row:
//!
//! ```text
//! version 1 B | body … | check 8 B   (BLAKE3 over the row's key, then version and body, cut short)
//! ```
//!
//! Integers are little-endian; texts and lists carry a 4-byte count. The check covers the key, so that a row cannot pass for another.

mod object;

pub(super) use object::{ObjectHead, ObjectRow, object, object_head, object_of, record, record_of};

use crate::{
    digest::Digest,
    piece::{ByteRange, PIECE_LEN},
    store::{
        identity::Sum,
        pieces::{PIECES_PER_ROW, Run},
    },
};

/// What the index knows of a blob as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BlobRow {
    /// Where its bytes are.
    pub(super) volume: u16,
    /// Length of the whole content, once known.
    pub(super) len: Option<u64>,
    /// Bytes present.
    pub(super) present: u64,
    pub(super) complete: bool,
    pub(super) pinned: bool,
    /// BLAKE3 of the whole content. Stays when an extent rots: what is fetched anew must have it again.
    pub(super) content: Option<Sum>,
    /// Declared digests the whole content matched.
    pub(super) verified: Vec<Digest>,
}

const VERSION: u8 = 1;
const CHECK_LEN: usize = 8;

/// Keys and bodies of nearly all rows that a start reads are shorter together.
const JOINED_MAX: usize = 128;

/// How bytes are kept. Whether a blob has a file of its own or lies in a pack is in its id.
const KIND_FILE: u8 = 0;

/// More digests than anybody declares for one content.
pub(super) const VERIFIED_MAX: usize = 8;

pub(super) fn blob(key: u64, row: &BlobRow) -> Vec<u8> {
    let mut out = Encoder::new();
    out.u8(KIND_FILE);
    out.u16(row.volume);
    out.u8(u8::from(row.complete) | u8::from(row.pinned) << 1);
    out.option(row.len, Encoder::u64);
    out.u64(row.present);
    out.option(row.content, |out, sum| out.raw(&sum));
    let verified = &row.verified[..row.verified.len().min(VERIFIED_MAX)];
    out.u32(verified.len() as u32);
    verified.iter().for_each(|digest| out.bytes(digest.bytes()));
    out.seal(&key.to_le_bytes())
}

pub(super) fn blob_of(key: u64, row: &[u8]) -> Option<BlobRow> {
    let mut row = Decoder::open(&key.to_le_bytes(), row)?;
    if row.u8()? != KIND_FILE {
        return None;
    }
    let volume = row.u16()?;
    let flags = row.u8()?;
    let len = row.option(Decoder::u64)?;
    let present = row.u64()?;
    let content = row.option(Decoder::sum)?;
    let verified = (0..row.count(VERIFIED_MAX)?).map(|_| Digest::from_bytes(row.bytes()?)).collect::<Option<_>>()?;
    row.end(BlobRow { volume, len, present, complete: flags & 1 != 0, pinned: flags & 2 != 0, content, verified })
}

/// One row of 64 pieces. Every run in it is durable by the time the row is.
pub(super) fn pieces<'a>(blob: u64, row: u64, runs: impl Iterator<Item = &'a Run>) -> Vec<u8> {
    let base = row * PIECES_PER_ROW * PIECE_LEN;
    let mut out = Encoder::new();
    for run in runs {
        out.u32((run.range.start - base) as u32);
        out.u32(run.range.len() as u32);
        out.raw(&run.sum);
    }
    out.seal(&pieces_key(blob, row))
}

pub(super) fn pieces_of(blob: u64, row: u64, bytes: &[u8]) -> Option<Vec<Run>> {
    let base = row.checked_mul(PIECES_PER_ROW * PIECE_LEN)?;
    let mut bytes = Decoder::open(&pieces_key(blob, row), bytes)?;
    let mut runs = Vec::new();
    while !bytes.rest.is_empty() {
        let start = base.checked_add(u64::from(bytes.u32()?))?;
        let range = ByteRange::new(start, start.checked_add(u64::from(bytes.u32()?))?)?;
        runs.push(Run { range, sum: bytes.sum()?, durable: true, checked: false });
    }
    Some(runs)
}

fn pieces_key(blob: u64, row: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&blob.to_le_bytes());
    key[8..].copy_from_slice(&row.to_le_bytes());
    key
}

/// Writes the fields of a row.
struct Encoder(Vec<u8>);

impl Encoder {
    fn new() -> Self {
        Self(vec![VERSION])
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn u8(&mut self, value: u8) {
        self.raw(&[value]);
    }

    fn u16(&mut self, value: u16) {
        self.raw(&value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.raw(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.raw(&value.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.u32(bytes.len() as u32);
        self.raw(bytes);
    }

    fn option<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        self.u8(u8::from(value.is_some()));
        if let Some(value) = value {
            put(self, value);
        }
    }

    fn seal(mut self, key: &[u8]) -> Vec<u8> {
        let check = check(key, &self.0);
        self.raw(&check);
        self.0
    }
}

/// Reads the fields of a row; every method is `None` where the row ends too soon or says something impossible.
struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Checks the row and its version.
    fn open(key: &[u8], row: &'a [u8]) -> Option<Self> {
        let (body, sealed) = row.split_at_checked(row.len().checked_sub(CHECK_LEN)?)?;
        let intact = check(key, body) == sealed && body.first() == Some(&VERSION);
        intact.then(|| Self { rest: &body[1..] })
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn sum(&mut self) -> Option<Sum> {
        self.array()
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let count = self.u32()?;
        self.take(count as usize)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// A count of at most `most`.
    fn count(&mut self, most: usize) -> Option<usize> {
        let count = self.u32()? as usize;
        (count <= most).then_some(count)
    }

    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.u8()? {
            0 => Some(None),
            1 => read(self).map(Some),
            _ => None,
        }
    }

    /// `value`, if nothing is left over.
    fn end<T>(self, value: T) -> Option<T> {
        self.rest.is_empty().then_some(value)
    }
}

fn check(key: &[u8], body: &[u8]) -> [u8; CHECK_LEN] {
    let mut joined = [0; JOINED_MAX];
    let hash = match joined.get_mut(..key.len() + body.len()) {
        // In one piece it is hashed several times as fast, which a start does with every row.
        Some(joined) => {
            joined[..key.len()].copy_from_slice(key);
            joined[key.len()..].copy_from_slice(body);
            blake3::hash(joined)
        }
        None => blake3::Hasher::new().update(key).update(body).finalize(),
    };
    let mut check = [0; CHECK_LEN];
    check.copy_from_slice(&hash.as_bytes()[..CHECK_LEN]);
    check
}

#[cfg(test)]
mod tests;
