//! A stored (or arriving) response that answers a request: its head to select from, and its bytes.

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use super::{
    Body, Error, Hub, Wanted,
    body::{self, Stretch},
    content::Content,
    known::Known,
    status::{CacheStatus, How},
    verify,
};
use crate::{
    piece::{ByteRange, PIECE_LEN},
    semantics::{
        Facts, Selection,
        range::{RangeLimits, RangeSet},
        select, vary,
    },
    store::Blob,
};

/// What was found for a request. Clones read the same bytes.
#[derive(Clone)]
pub struct Found {
    known: Arc<Known>,
    /// What the request that caused it gets instead: fields that are nobody else's.
    own: Option<Arc<Known>>,
    bytes: Place,
    reading: Reading,
    pub status: CacheStatus,
}

/// Who reads, and how.
#[derive(Clone, Copy)]
pub(super) struct Reading {
    pub client: IpAddr,
    /// The longest that this client waits for one byte.
    pub patience: Option<Duration>,
}

impl Reading {
    pub(super) fn of(want: &Wanted) -> Self {
        Self { client: want.client, patience: want.patience }
    }
}

/// Where the bytes are.
#[derive(Clone)]
enum Place {
    /// All of them, in memory.
    Memory(Bytes),
    Content(Arc<Content>),
}

impl Found {
    pub(super) fn new(known: Arc<Known>, content: Arc<Content>, reading: Reading, status: CacheStatus) -> Self {
        Self { known, own: None, bytes: Place::Content(content), reading, status }
    }

    /// The stored response `known` for `want`; `None` when it is incomplete and nothing can complete it.
    pub(super) async fn open(hub: &Arc<Hub>, known: Arc<Known>, want: &Arc<Wanted>, status: CacheStatus) -> Option<Self> {
        if let Some(found) = Self::open_now(hub, &known, want, &status) {
            return Some(found);
        }
        let blob = hub.store.open(known.object.meta.blob).await;
        let blob = blob.inspect_err(|error| tracing::debug!(%error, "stored content cannot be opened")).ok()?;
        Self::of_blob(hub, known, blob, want, status)
    }

    /// The same without waiting for a disk; `None` also when that is needed.
    pub(super) fn open_now(hub: &Arc<Hub>, known: &Arc<Known>, want: &Arc<Wanted>, status: &CacheStatus) -> Option<Self> {
        let (known, reading, status) = (known.clone(), Reading::of(want), status.clone());
        if let Some(bytes) = hub.store.small(&known.object) {
            return Some(Self { known, own: None, bytes: Place::Memory(bytes), reading, status });
        }
        let id = known.object.meta.blob;
        if let Some(content) = hub.arriving(id) {
            content.renew(want);
            return Some(Self::new(known, content, reading, status));
        }
        let blob = hub.store.open_now(id)?;
        Self::of_blob(hub, known, blob, want, status)
    }

    pub(super) fn of_blob(
        hub: &Arc<Hub>,
        known: Arc<Known>,
        blob: Arc<Blob>,
        want: &Arc<Wanted>,
        status: CacheStatus,
    ) -> Option<Self> {
        let complete = blob.is_complete();
        // Each reader of complete content has its own, and a slow one has it for long.
        let want = if complete && blob.len() > Some(PIECE_LEN) { &Arc::new(want.detached()) } else { want };
        let content = Content::new(hub.clone(), blob, &known.object, want);
        if complete {
            verify::start(hub, &content.blob, &known.object);
        } else {
            content.binding.as_ref()?;
        }
        let content = if complete { content } else { hub.meet(content) };
        Some(Self::new(known, content, Reading::of(want), status))
    }

    /// Whether this response answers another request, too: same key, same selecting fields (RFC 9111 §4.1).
    pub(super) fn fits(&self, want: &Wanted) -> bool {
        self.known.object.meta.key == want.key && vary::matches(&self.known.variant(), want.presented())
    }

    /// The same with the fields that only the request that caused it gets.
    pub(super) fn owned(self, own: Option<Arc<Known>>) -> Self {
        Self { own, ..self }
    }

    /// The same as everybody else gets it.
    pub(super) fn shared(self) -> Self {
        Self { own: None, ..self }
    }

    /// The same for a request that joined the one that asked; `how` it would have gone upstream itself.
    pub(super) fn joined(self, want: &Wanted, how: How) -> Self {
        let collapsed = match how {
            How::Replaced => How::CollapsedStale,
            How::VaryMiss => How::CollapsedVariant,
            _ => How::Collapsed,
        };
        let status = CacheStatus { ttl: self.status.ttl, ..CacheStatus::new(collapsed) };
        Self { reading: Reading::of(want), status, ..self.shared() }
    }

    pub fn known(&self) -> &Arc<Known> {
        &self.known
    }

    pub fn facts(&self) -> &Facts {
        &self.own.as_ref().unwrap_or(&self.known).facts
    }

    pub fn code(&self) -> StatusCode {
        self.known.object.meta.status
    }

    /// The end-to-end fields: those stored, or those for the request that caused it.
    pub fn fields(&self) -> &HeaderMap {
        &self.own.as_ref().unwrap_or(&self.known).object.meta.fields
    }

    /// Length of the whole content in bytes, once known.
    pub fn len(&self) -> Option<u64> {
        match &self.bytes {
            Place::Memory(bytes) => Some(bytes.len() as u64),
            Place::Content(content) => content.len(),
        }
    }

    /// Where its bytes are or arrive, unless they are in memory.
    pub(super) fn content(&self) -> Option<&Arc<Content>> {
        match &self.bytes {
            Place::Memory(_) => None,
            Place::Content(content) => Some(content),
        }
    }

    /// Whether it is a fresh response as stored, for whose content nobody has to be asked.
    pub(super) fn is_plain_hit(&self) -> bool {
        let is_complete = match &self.bytes {
            Place::Memory(_) => true,
            Place::Content(content) => content.is_complete(),
        };
        self.status.how == How::Hit && self.own.is_none() && is_complete
    }

    /// Known to be without content.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// Says in the status whether `ranges` of the content (all of it when empty) can be read without asking upstream for more.
    pub fn look_at(&mut self, ranges: &[ByteRange]) {
        let Place::Content(content) = &self.bytes else { return };
        if !matches!(self.status.how, How::Hit | How::Stale | How::StaleOnError | How::Revalidated | How::RevalidatedOnDemand)
            || content.is_complete()
        {
            return;
        }
        let whole = content.len().and_then(|len| ByteRange::new(0, len));
        let ranges = if ranges.is_empty() { whole.as_slice() } else { ranges };
        let present = ranges.iter().all(|range| content.has(*range));
        if !present || ranges.is_empty() {
            let coming = ranges.iter().all(|range| content.covers(*range));
            self.status.how = if coming { How::Collapsed } else { How::Partial };
        }
    }

    /// Whether bytes that `want` asks for are not here and would have to be fetched.
    pub(super) fn lacks(&self, want: &Wanted) -> bool {
        let Place::Content(content) = &self.bytes else { return false };
        if want.method == Method::HEAD || content.is_complete() {
            return false;
        }
        let Some(len) = content.len() else { return true };
        let asked = match RangeSet::of(&want.fields, want.lines) {
            Some(RangeSet::One(spec)) => spec.resolve(len),
            // Of several ranges it must be all of the content, too: who asks so asks rarely.
            Some(RangeSet::Many(_) | RangeSet::Excessive) | None => ByteRange::new(0, len),
        };
        asked.is_some_and(|asked| !content.covers(asked))
    }

    /// Whether the first byte that `want` gets is here, or on its way in an answer that was judged: the head may go out. Before that
    /// nobody knows whether the origin still has this representation, or anything.
    pub(super) fn has_begun(&self, want: &Wanted) -> bool {
        self.unbegun(want).is_none()
    }

    /// Waits until [`Self::has_begun`], asking for what is missing.
    ///
    /// # Errors
    /// [`Error::Changed`] when the origin has another representation now: this one is gone from the store. Otherwise why no byte came.
    pub(super) async fn begin(&mut self, want: &Wanted) -> Result<(), Error> {
        let Some((content, ranges)) = self.unbegun(want) else { return Ok(()) };
        // Now, since all of it may be here when the first byte is.
        self.look_at(&ranges);
        content.reader(ranges.first().copied(), Some(self.reading)).begin().await
    }

    /// The content and the ranges of it that `want` gets (all of it when empty), if the first byte is not certain.
    fn unbegun(&self, want: &Wanted) -> Option<(Arc<Content>, Vec<ByteRange>)> {
        let Place::Content(content) = &self.bytes else { return None };
        if want.method == Method::HEAD || content.is_complete() {
            return None;
        }
        let limits = RangeLimits { lines: want.lines, ..RangeLimits::default() };
        let ranges = match select(&want.method, &want.fields, self.facts(), content.len(), &limits) {
            Selection::Whole => Vec::new(),
            Selection::Part(range) => vec![range],
            Selection::Parts(ranges) => ranges,
            Selection::NotModified | Selection::PreconditionFailed | Selection::Unsatisfiable => return None,
        };
        let first = ranges.first().map_or(0, |range| range.start);
        (!content.is_certain(first)).then(|| (content.clone(), ranges))
    }

    /// All of the content.
    pub fn whole(self) -> Body {
        match self.bytes {
            Place::Memory(bytes) => Body::stored(bytes),
            Place::Content(content) => Body::of_content(content.reader(None, Some(self.reading)), content.len()),
        }
    }

    /// One range of it. It must lie within the content.
    pub fn part(self, range: ByteRange) -> Body {
        match self.bytes {
            Place::Memory(bytes) => Body::stored(slice(&bytes, range)),
            Place::Content(content) => Body::of_content(content.reader(Some(range), Some(self.reading)), Some(range.len())),
        }
    }

    /// Ranges of it, each with the bytes that go before it, then `tail`; `len` bytes in all.
    pub fn parts(self, parts: Vec<(Bytes, ByteRange)>, tail: Bytes, len: u64) -> Body {
        let stretches = match self.bytes {
            Place::Memory(bytes) => {
                let pairs = parts.into_iter().flat_map(|(head, range)| [head, slice(&bytes, range)]);
                pairs.chain([tail]).map(Stretch::Bytes).collect()
            }
            Place::Content(content) => body::parts(&content, self.reading, parts, tail),
        };
        Body::stretches(stretches, Some(len))
    }
}

fn slice(bytes: &Bytes, range: ByteRange) -> Bytes {
    let len = bytes.len();
    let bound = |offset: u64| usize::try_from(offset).unwrap_or(len).min(len);
    bytes.slice(bound(range.start)..bound(range.end))
}
