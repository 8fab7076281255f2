//! Content that was here before anybody said what it must hash to: what is stored is held against it when that becomes known.

use std::sync::Arc;

use http::StatusCode;

use super::{Hub, judge::Why, verify};
use crate::{
    catalog::Expected,
    key::CacheKey,
    object::{Object, Trust},
};

/// Holds what is stored under `key` against what is known of it by now, and waits for the verdicts.
pub(super) async fn learnt(hub: &Arc<Hub>, key: &CacheKey) {
    let expected = hub.catalog.expected(key.text(), None);
    let Ok(objects) = hub.store.lookup(key.hash()).await else { return };
    for object in objects.iter().filter(|object| object.meta.key == *key && object.meta.status == StatusCode::OK) {
        hold(hub, object, expected).await;
    }
}

async fn hold(hub: &Arc<Hub>, object: &Arc<Object>, expected: Expected) {
    let meta = &object.meta;
    let Some(digest) = expected.digest.filter(|digest| meta.declared != Some(*digest)) else { return };
    if meta.trust == Trust::Verified(digest) {
        return;
    }
    if meta.len.zip(expected.size).is_some_and(|(len, size)| len != size) {
        tracing::warn!(key = %meta.key, "stored content is not as long as metadata says: removed");
        hub.metrics.contradicted.inc(Why::Length.as_str());
        hub.store.remove(object);
        return;
    }
    let declare = hub.amend(object, |meta| (meta.declared, meta.trust) = (Some(digest), Trust::Transport));
    let Some(object) = declare.await else { return };
    // What is still arriving is verified when it is whole.
    let Ok(blob) = hub.store.open(object.meta.blob).await else { return };
    if blob.is_complete() {
        verify::settle(hub, &blob, &object).await;
    }
}
