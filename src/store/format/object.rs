//! The row of a stored response. Its head (blob and variant) comes first: a start reads no further.
//!
//! A response whose fields lie beside its content has a row of the head alone; the rest, with the sum of the content, is its *record* in the pack.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::{
    digest::Digest,
    key::CacheKey,
    object::{BlobId, ObjectMeta, Trust},
    store::{
        format::{Decoder, Encoder},
        identity::Sum,
    },
};

/// What the table in memory keeps of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct ObjectHead {
    pub(in crate::store) blob: BlobId,
    /// Hash of the selecting fields: tells variants apart without reading them.
    pub(in crate::store) variant: u32,
    /// Its fields are in its record.
    pub(in crate::store) in_pack: bool,
}

/// A row as the index has it.
#[derive(Debug)]
pub(in crate::store) enum ObjectRow {
    Whole(Box<ObjectMeta>),
    /// All but the head is in the record.
    InPack,
}

/// Far more fields than a response may have; hyper stops at 100 by default.
const FIELDS_MAX: usize = 4_096;

/// The row of a response; of its head alone if its fields are in the pack.
pub(in crate::store) fn object(key: &[u8], head: ObjectHead, meta: &ObjectMeta) -> Vec<u8> {
    let mut out = Encoder::new();
    out.head(head);
    if !head.in_pack {
        out.meta(meta);
    }
    out.seal(key)
}

/// The record of a response whose content has the checksum `sum`.
pub(in crate::store) fn record(key: &[u8], head: ObjectHead, sum: &Sum, meta: &ObjectMeta) -> Vec<u8> {
    let mut out = Encoder::new();
    out.head(head);
    out.raw(sum);
    out.meta(meta);
    out.seal(key)
}

/// The response of a record, and the checksum of its content.
pub(in crate::store) fn record_of(key: &[u8], record: &[u8]) -> Option<(ObjectMeta, Sum)> {
    let mut record = Decoder::open(key, record)?;
    let (blob, _) = record.head()?;
    let sum = record.sum()?;
    let meta = record.meta(blob)?;
    record.end((meta, sum))
}

/// Only the head of a row; the whole row was checked.
pub(in crate::store) fn object_head(key: &[u8], row: &[u8]) -> Option<ObjectHead> {
    let mut row = Decoder::open(key, row)?;
    let (blob, variant) = row.head()?;
    Some(ObjectHead { blob, variant, in_pack: row.rest.is_empty() })
}

pub(in crate::store) fn object_of(key: &[u8], row: &[u8]) -> Option<ObjectRow> {
    let mut row = Decoder::open(key, row)?;
    let (blob, _) = row.head()?;
    if row.rest.is_empty() {
        return Some(ObjectRow::InPack);
    }
    let meta = Box::new(row.meta(blob)?);
    row.end(ObjectRow::Whole(meta))
}

impl Encoder {
    fn head(&mut self, head: ObjectHead) {
        self.u64(head.blob.0);
        self.u32(head.variant);
    }

    fn meta(&mut self, meta: &ObjectMeta) {
        self.bytes(meta.key.text().as_bytes());
        self.u16(meta.status.as_u16());
        self.u8(u8::from(meta.invalidated));
        self.time(meta.request_time);
        self.time(meta.response_time);
        self.option(meta.len, Encoder::u64);
        self.bytes(meta.source.as_bytes());
        self.option(meta.declared, Encoder::digest);
        match meta.trust {
            Trust::Transport => self.u8(0),
            Trust::Verified(digest) => {
                self.u8(1);
                self.digest(digest);
            }
        }
        self.u32(meta.selecting.len() as u32);
        for (name, value) in &meta.selecting {
            self.bytes(name.as_str().as_bytes());
            self.option(value.as_ref(), |out, value| out.bytes(value.as_bytes()));
        }
        self.u32(meta.fields.len() as u32);
        for (name, value) in &meta.fields {
            self.bytes(name.as_str().as_bytes());
            self.bytes(value.as_bytes());
        }
    }

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
    fn head(&mut self) -> Option<(BlobId, u32)> {
        Some((BlobId(self.u64()?), self.u32()?))
    }

    fn meta(&mut self, blob: BlobId) -> Option<ObjectMeta> {
        let key = CacheKey::from_text(self.text()?);
        let status = StatusCode::from_u16(self.u16()?).ok()?;
        let invalidated = self.u8()? != 0;
        let (request_time, response_time) = (self.time()?, self.time()?);
        let len = self.option(Decoder::u64)?;
        let source = self.text()?.into();
        let declared = self.option(Decoder::digest)?;
        let trust = self.option(Decoder::digest)?.map_or(Trust::Transport, Trust::Verified);
        let selecting = (0..self.count(FIELDS_MAX)?).map(|_| self.selecting()).collect::<Option<_>>()?;
        let count = self.count(FIELDS_MAX)?;
        let mut fields = HeaderMap::with_capacity(count);
        for _ in 0..count {
            fields.append(self.name()?, self.value()?);
        }
        Some(ObjectMeta {
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
