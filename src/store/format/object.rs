//! The row of a stored response. Its head (blob and variant) comes first: a start reads no further.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::{
    digest::Digest,
    key::CacheKey,
    object::{BlobId, ObjectMeta, Trust},
    store::format::{Decoder, Encoder},
};

/// What the table in memory keeps of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct ObjectHead {
    pub(in crate::store) blob: BlobId,
    /// Hash of the selecting fields: tells variants apart without reading them.
    pub(in crate::store) variant: u32,
}

/// Far more fields than a response may have; hyper stops at 100 by default.
const FIELDS_MAX: usize = 4_096;

pub(in crate::store) fn object(key: &[u8], head: ObjectHead, meta: &ObjectMeta) -> Vec<u8> {
    let mut out = Encoder::new();
    out.u64(head.blob.0);
    out.u32(head.variant);
    out.bytes(meta.key.text().as_bytes());
    out.u16(meta.status.as_u16());
    out.u8(u8::from(meta.invalidated));
    out.time(meta.request_time);
    out.time(meta.response_time);
    out.option(meta.len, Encoder::u64);
    out.bytes(meta.source.as_bytes());
    out.option(meta.declared, Encoder::digest);
    match meta.trust {
        Trust::Transport => out.u8(0),
        Trust::Verified(digest) => {
            out.u8(1);
            out.digest(digest);
        }
    }
    out.u32(meta.selecting.len() as u32);
    for (name, value) in &meta.selecting {
        out.bytes(name.as_str().as_bytes());
        out.option(value.as_ref(), |out, value| out.bytes(value.as_bytes()));
    }
    out.u32(meta.fields.len() as u32);
    for (name, value) in &meta.fields {
        out.bytes(name.as_str().as_bytes());
        out.bytes(value.as_bytes());
    }
    out.seal(key)
}

/// Only the head of a row; the whole row was checked.
pub(in crate::store) fn object_head(key: &[u8], row: &[u8]) -> Option<ObjectHead> {
    head(&mut Decoder::open(key, row)?)
}

pub(in crate::store) fn object_of(key: &[u8], row: &[u8]) -> Option<ObjectMeta> {
    let mut row = Decoder::open(key, row)?;
    let blob = head(&mut row)?.blob;
    let key = CacheKey::from_text(row.text()?);
    let status = StatusCode::from_u16(row.u16()?).ok()?;
    let invalidated = row.u8()? != 0;
    let (request_time, response_time) = (row.time()?, row.time()?);
    let len = row.option(Decoder::u64)?;
    let source = row.text()?.into();
    let declared = row.option(Decoder::digest)?;
    let trust = row.option(Decoder::digest)?.map_or(Trust::Transport, Trust::Verified);
    let selecting = (0..row.count(FIELDS_MAX)?).map(|_| row.selecting()).collect::<Option<_>>()?;
    let mut fields = HeaderMap::new();
    for _ in 0..row.count(FIELDS_MAX)? {
        fields.append(row.name()?, row.value()?);
    }
    row.end(ObjectMeta {
        key,
        selecting,
        status,
        fields,
        request_time,
        response_time,
        blob,
        len,
        source,
        declared,
        trust,
        invalidated,
    })
}

fn head(row: &mut Decoder<'_>) -> Option<ObjectHead> {
    Some(ObjectHead { blob: BlobId(row.u64()?), variant: row.u32()? })
}

impl Encoder {
    fn digest(&mut self, digest: Digest) {
        self.bytes(digest.bytes());
    }

    /// Nanoseconds since 1970; what was before counts as 1970.
    fn time(&mut self, time: SystemTime) {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.u64(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
    }
}

impl Decoder<'_> {
    fn digest(&mut self) -> Option<Digest> {
        Digest::from_bytes(self.bytes()?)
    }

    fn time(&mut self) -> Option<SystemTime> {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(self.u64()?))
    }

    fn name(&mut self) -> Option<HeaderName> {
        HeaderName::from_bytes(self.bytes()?).ok()
    }

    fn value(&mut self) -> Option<HeaderValue> {
        HeaderValue::from_bytes(self.bytes()?).ok()
    }

    fn selecting(&mut self) -> Option<(HeaderName, Option<HeaderValue>)> {
        Some((self.name()?, self.option(Self::value)?))
    }
}
