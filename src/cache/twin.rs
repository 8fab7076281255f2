//! Content that is here already under another name: what it must hash to is known before it is fetched, and something stored was found to hash
//! to that.
//!
//! Only SHA-256 counts, because names share content here that trust one another no further. The origin is still asked for the head of its response:
//! validators and times are its own (objects share blobs, never validators).

use std::sync::Arc;

use http::{Method, StatusCode, header::CONTENT_ENCODING};

use super::{CacheStatus, Found, Hub, Wanted, judge::Storable};
use crate::{digest::Digest, object::Trust, semantics::range::RangeSpec, store::Blob};

/// Whole, verified content that is what is wanted, if the origin's response is of the same length.
pub(super) struct Twin {
    blob: Arc<Blob>,
    digest: Digest,
}

impl Twin {
    pub(super) async fn find(hub: &Hub, want: &Wanted, declared: Option<Digest>) -> Option<Self> {
        let digest = declared.filter(|digest| matches!(digest, Digest::Sha256(_)) && want.method == Method::GET)?;
        let blob = hub.store.open(hub.store.verified(&digest)?).await;
        let blob = blob.inspect_err(|error| tracing::debug!(key = %want.key, %error, "equal content cannot be opened")).ok()?;
        blob.is_complete().then_some(Self { blob, digest })
    }

    /// What is asked for, to get the head of a response with the length of the whole.
    pub(super) const PROBE: RangeSpec = RangeSpec::Closed(0, 0);

    /// Whether the content of this response is the one that is here.
    pub(super) fn is_of(&self, storable: &Storable) -> bool {
        let meta = &storable.meta;
        let is_plain = !meta.fields.contains_key(CONTENT_ENCODING) && storable.personal.is_empty();
        meta.status == StatusCode::OK && meta.len.is_some() && meta.len == self.blob.len() && is_plain
    }

    /// Stores the response with the content that is here.
    pub(super) fn install(&self, hub: &Arc<Hub>, want: &Arc<Wanted>, storable: Storable, status: CacheStatus) -> Option<Found> {
        let mut meta = storable.meta;
        meta.blob = self.blob.id();
        (meta.declared, meta.trust) = (Some(self.digest), Trust::Verified(self.digest));
        let object = hub.store.insert(meta);
        let known = hub.known.of(&object, &want.policy);
        hub.metrics.reused.inc();
        Found::of_blob(hub, known, self.blob.clone(), want, status)
    }
}
