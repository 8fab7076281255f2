//! A stored response: what is kept beside the bytes.

use std::{fmt, num::NonZeroU32, time::SystemTime};

use bytes::{Bytes, BytesMut};
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
    /// One, and one more for each time its metadata was replaced since the start. Tells two states of one response apart.
    pub revision: NonZeroU32,
    pub meta: ObjectMeta,
}

impl ObjectMeta {
    /// The same, with the values of its fields in one allocation of their own.
    ///
    /// A value that arrived is a slice of the buffer its connection reads into (8 KiB and more); kept as it is, it keeps all of that.
    pub fn detached(mut self) -> Self {
        let selecting = self.selecting.iter().filter_map(|(_, value)| value.as_ref());
        let len = self.fields.values().chain(selecting).map(HeaderValue::len).sum();
        let mut texts = Texts(BytesMut::with_capacity(len));
        let mut fields = HeaderMap::with_capacity(self.fields.len());
        for (name, value) in &self.fields {
            fields.append(name, texts.copy(value));
        }
        self.fields = fields;
        for value in self.selecting.iter_mut().filter_map(|(_, value)| value.as_mut()) {
            *value = texts.copy(value);
        }
        self
    }

    /// The memory it takes, in bytes, about: what the caches that hold it are bounded by. True of what is [`ObjectMeta::detached`].
    pub fn memory_bytes(&self) -> usize {
        let values = |value: Option<&HeaderValue>| value.map_or(0, HeaderValue::len);
        let fields = self.fields.values().map(HeaderValue::len).sum::<usize>() + self.fields.capacity() * FIELD_BYTES;
        let selecting = self.selecting.iter().map(|(_, value)| FIELD_BYTES + values(value.as_ref())).sum::<usize>();
        size_of::<Object>() + self.key.text().len() + self.source.len() + fields + selecting
    }
}

/// One allocation that field values are copied into.
struct Texts(BytesMut);

impl Texts {
    fn copy(&mut self, value: &HeaderValue) -> HeaderValue {
        self.0.extend_from_slice(value.as_bytes());
        let copied: Bytes = self.0.split().freeze();
        // The same bytes make a value again; should they ever not, the one there is stays.
        HeaderValue::from_maybe_shared(copied).unwrap_or_else(|_| value.clone())
    }
}

/// What a field takes in a `HeaderMap` beside the bytes of its value: a bucket and its index.
const FIELD_BYTES: usize = 112;

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

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(fields: HeaderMap, selecting: Vec<(HeaderName, Option<HeaderValue>)>) -> ObjectMeta {
        ObjectMeta {
            key: CacheKey::from_text("http://host/path"),
            selecting,
            status: StatusCode::OK,
            fields,
            request_time: SystemTime::UNIX_EPOCH,
            response_time: SystemTime::UNIX_EPOCH,
            blob: BlobId(1),
            len: None,
            source: "host".into(),
            declared: None,
            trust: Trust::Transport,
            invalidated: false,
        }
    }

    #[test]
    fn a_detached_response_lets_go_of_the_buffer_its_fields_arrived_in() {
        let head = BytesMut::from(&b"tag, one, two, gzip"[..]).freeze();
        let value = |range| HeaderValue::from_maybe_shared(head.slice(range)).unwrap();
        let mut fields = HeaderMap::new();
        fields.insert("etag", value(0..3));
        fields.append("x-many", value(5..8));
        fields.append("x-many", value(10..13));
        let selecting = vec![("accept-encoding".parse().unwrap(), Some(value(15..19))), ("accept".parse().unwrap(), None)];
        let arrived = meta(fields.clone(), selecting.clone());
        assert!(!head.is_unique());

        let detached = arrived.detached();
        assert_eq!((&detached.fields, &detached.selecting), (&fields, &selecting));
        drop((fields, selecting));
        assert!(head.is_unique(), "something still refers to the buffer");
    }

    #[test]
    fn the_memory_of_a_response_grows_with_its_fields() {
        let bare = meta(HeaderMap::new(), Vec::new()).detached().memory_bytes();
        let fields: HeaderMap = [("etag".parse().unwrap(), HeaderValue::from_static("0123456789"))].into_iter().collect();
        let more = meta(fields, Vec::new()).detached().memory_bytes();
        assert!(more >= bare + 10 + FIELD_BYTES);
    }
}
