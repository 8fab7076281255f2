//! A stored response: what is kept beside the bytes.

use std::{fmt, time::SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::{digest::Digest, key::CacheKey};

/// The id of a blob on disk. Never reused, so nothing that held one can ever mean other bytes by it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobId(pub u64);

/// The id of a stored response. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId(pub u64);

/// How much is known about the bytes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Nothing beyond the transport that brought them.
    Transport,
    /// The whole content matched this declared digest.
    Verified(Digest),
}

/// One stored response (RFC 9111 §3): status, fields, validators, times; its bytes are those of `blob`.
///
/// Objects share blobs, never validators: `fields` are what the origin sent for *this* URL.
#[derive(Clone, Debug)]
pub struct ObjectMeta {
    pub key: CacheKey,
    /// The request fields that `Vary` nominated, with the values the stored response was selected by
    /// (RFC 9111 §4.1); `None` means the field was absent.
    pub selecting: Vec<(HeaderName, Option<HeaderValue>)>,
    pub status: StatusCode,
    /// End-to-end response fields; of a 206 those of the whole representation (no `Content-Range`, `Content-Length` of the whole).
    pub fields: HeaderMap,
    /// When the request that brought (or last freshened) this response was sent, and when its head arrived (RFC 9111 §4.2.3).
    pub request_time: SystemTime,
    pub response_time: SystemTime,
    pub blob: BlobId,
    /// Length of the whole representation in bytes, once known.
    pub len: Option<u64>,
    /// The host that gave the response: its validators mean nothing to another (design: a validator binds to its host).
    pub source: Box<str>,
    /// A digest declared for the content before it was fetched.
    pub declared: Option<Digest>,
    pub trust: Trust,
    /// RFC 9111 §4.4: must be revalidated before any reuse.
    pub invalidated: bool,
}

/// A stored response under its id.
#[derive(Clone, Debug)]
pub struct Object {
    pub id: ObjectId,
    pub meta: ObjectMeta,
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "blob {:x}", self.0)
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object {:x}", self.0)
    }
}
