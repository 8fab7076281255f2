//! What range and preconditions make of an answer: the one verdict that `respond` turns into a status, fields and bytes.

use http::{HeaderMap, Method};

use crate::{
    piece::ByteRange,
    semantics::{facts::Facts, range::RangeLimits},
};

/// What of a stored response answers a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// The stored status with all of its content.
    Whole,
    /// 206 with `Content-Range`.
    Part(ByteRange),
    /// 206 `multipart/byteranges`: two or more, in request order.
    Parts(Vec<ByteRange>),
    /// 304
    NotModified,
    /// 412
    PreconditionFailed,
    /// 416 with `Content-Range: bytes */len`.
    Unsatisfiable,
}

/// What of the stored response a request selects. `len` is the length of the whole representation: while it is unknown, ranges
/// select `Whole` (RFC 9110 §14.2 lets a server ignore them). Only a stored 200 is conditional or divisible, and only for GET (HEAD: conditional only).
pub fn select(method: &Method, request: &HeaderMap, stored: &Facts, len: Option<u64>, limits: &RangeLimits) -> Selection {
    let _ = (method, request, stored, len, limits);
    unimplemented!()
}
