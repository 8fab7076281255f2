//! `multipart/byteranges` (RFC 9110 §14.6): writing it with a length known in advance, and reading that of an origin.

use std::ops::Range;

use http::HeaderValue;

use crate::{piece::ByteRange, semantics::range::ContentRange};

/// A multipart answer: what comes before each part, after the last one, and how long all of it is.
#[derive(Clone, Debug)]
pub struct Multipart {
    boundary: String,
    content_type: Option<HeaderValue>,
    len: u64,
    ranges: Vec<ByteRange>,
}

impl Multipart {
    /// `nonce`: random, so that no content can hold the boundary by intent. `content_type` is that of the representation.
    pub fn new(nonce: u128, content_type: Option<&HeaderValue>, len: u64, ranges: Vec<ByteRange>) -> Self {
        let _ = (nonce, content_type, len, ranges);
        unimplemented!()
    }

    /// `multipart/byteranges; boundary=…`
    pub fn content_type(&self) -> HeaderValue {
        unimplemented!()
    }

    /// The length of the whole answer in bytes.
    pub fn content_length(&self) -> u64 {
        unimplemented!()
    }

    /// For each part in order: the bytes that precede it (delimiter and part fields), and the range that follows them.
    pub fn parts(&self) -> impl Iterator<Item = (Vec<u8>, ByteRange)> + '_ {
        let _ = (&self.boundary, &self.content_type, self.len);
        self.ranges.iter().map(|range| (Vec::new(), *range))
    }

    /// The bytes after the last part.
    pub fn tail(&self) -> Vec<u8> {
        unimplemented!()
    }
}

/// One part of a received multipart body: what it is of the representation, and where its bytes are in the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub range: ByteRange,
    /// Length of the whole representation, if the part says it.
    pub len: Option<u64>,
    pub content_type: Option<HeaderValue>,
    pub body: Range<usize>,
}

/// Why a multipart body is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MultipartError {
    #[error("no usable boundary in content-type")]
    Boundary,
    #[error("malformed multipart body")]
    Malformed,
    #[error("multipart body ends early")]
    Truncated,
    #[error("more than {PARTS_MAX} parts")]
    TooMany,
    #[error("part without a valid content-range, or not as long as it says")]
    ContentRange,
    #[error("parts of different lengths in all")]
    Contradiction,
}

/// More parts than this in one response are refused.
pub const PARTS_MAX: usize = 256;

/// Reads a complete multipart body (RFC 9110 §14.6, RFC 2046 §5.1). The caller bounds its size.
pub fn parse(content_type: &HeaderValue, body: &[u8]) -> Result<Vec<Part>, MultipartError> {
    let _ = (content_type, body, ContentRange::parse);
    unimplemented!()
}

pub(super) fn is_byteranges(content_type: &HeaderValue) -> bool {
    let _ = content_type;
    unimplemented!()
}
