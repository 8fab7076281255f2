//! Content against its declared digest: verified once it is complete, and what becomes of content that does not match.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::Instant;

use super::Hub;
use crate::{
    digest::Digest,
    key::KeyHash,
    object::{BlobId, Object, Trust},
    store::Blob,
};

/// Keys whose content did not match its digest lately. One more fill is allowed; after a second mismatch the
/// content is relayed unstored for an hour, so that a lying upstream cannot keep disk and line busy.
#[derive(Default)]
pub(super) struct Mismatches {
    by_key: Mutex<HashMap<KeyHash, (u32, Instant)>>,
    /// Blobs that are being verified now.
    running: Mutex<HashSet<BlobId>>,
}

impl Mismatches {
    fn count(&self, key: KeyHash) {
        let mut table = self.by_key.lock().expect("no panic while the mismatches are held");
        let now = Instant::now();
        if table.len() >= KEYS_MAX {
            table.retain(|_, (_, since)| now.saturating_duration_since(*since) < HELD_FOR);
        }
        if table.len() < KEYS_MAX {
            table.entry(key).and_modify(|(count, since)| (*count, *since) = (*count + 1, now)).or_insert((1, now));
        }
    }

    /// Whether content under `key` failed twice within the hour.
    pub(super) fn bars(&self, key: KeyHash) -> bool {
        let table = self.by_key.lock().expect("no panic while the mismatches are held");
        table.get(&key).is_some_and(|(count, since)| *count >= 2 && since.elapsed() < HELD_FOR)
    }
}

/// Verifies `object`, whose content is complete, in a task of its own; once at a time.
pub(super) fn start(hub: &Arc<Hub>, blob: Arc<Blob>, object: Arc<Object>) {
    let Some(declared) = object.meta.declared.filter(|_| object.meta.trust == Trust::Transport) else { return };
    let Some(turn) = Turn::take(hub, blob.id()) else { return };
    tokio::spawn(async move {
        let hub = &turn.hub;
        tokio::select! {
            () = verify(hub, &blob, &object, declared) => {}
            () = hub.stopping() => {}
        }
    });
}

async fn verify(hub: &Arc<Hub>, blob: &Arc<Blob>, object: &Arc<Object>, declared: Digest) {
    let key = &object.meta.key;
    match hub.store.verify(blob, &declared).await {
        Ok(true) => {
            hub.metrics.digests_verified.inc();
            hub.amend(object, |meta| meta.trust = Trust::Verified(declared)).await;
        }
        Ok(false) => {
            hub.mismatches.count(key.hash());
            tracing::warn!(%key, digest = %declared, "content does not match its digest: quarantined");
            if let Err(error) = hub.store.quarantine(blob.id(), "digest mismatch").await {
                tracing::warn!(%key, %error, "content that does not match its digest could not be quarantined: removed");
                hub.store.remove(object);
            }
            // Whoever sees it counted finds it gone.
            hub.metrics.digests_mismatched.inc();
        }
        Err(error) => tracing::warn!(%key, %error, "content could not be verified"),
    }
}

/// The right to verify a blob; given back when dropped.
struct Turn {
    hub: Arc<Hub>,
    blob: BlobId,
}

impl Turn {
    fn take(hub: &Arc<Hub>, blob: BlobId) -> Option<Self> {
        let mut running = hub.mismatches.running.lock().expect("no panic while the running verifications are held");
        running.insert(blob).then(|| Self { hub: hub.clone(), blob })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut running = self.hub.mismatches.running.lock().expect("no panic while the running verifications are held");
        running.remove(&self.blob);
    }
}

const KEYS_MAX: usize = 4096;
const HELD_FOR: Duration = Duration::from_secs(3600);
