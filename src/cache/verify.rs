//! Content against its declared digest: verified once it is complete, before or after it is served, and what becomes of content that does not match.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::{sync::watch, time::Instant};

use super::{Error, Found, Hub, learnt, mismatches::Remains};
use crate::{
    digest::Digest,
    object::{BlobId, Object, ObjectMeta, Trust},
    store::Blob,
};

/// When content whose digest is known is held against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Once it is whole; clients get it as it comes. What never matches is passed on and not stored: they check for themselves.
    Later,
    /// Before clients get any of it, if it is short enough to be fetched first. What never matches they do not get.
    Strict,
}

impl Verify {
    /// By the word for it in the configuration.
    pub fn named(word: &str) -> Option<Self> {
        match word {
            "later" => Some(Self::Later),
            "strict" => Some(Self::Strict),
            _ => None,
        }
    }
}

/// What came of holding a content against its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Matches,
    /// It is not stored any more.
    Differs,
    /// It could not be read, or is not complete after all.
    Unknown,
}

/// Verifications under way, by the blob they read. As many at most as contents are open.
#[derive(Default)]
pub(super) struct Verifications(Mutex<HashMap<BlobId, watch::Receiver<Option<Verdict>>>>);

impl Verifications {
    fn running(&self) -> MutexGuard<'_, HashMap<BlobId, watch::Receiver<Option<Verdict>>>> {
        self.0.lock().expect("no panic while the running verifications are held")
    }
}

/// Whether nobody may have any of this yet: its digest is known, and it was not held against it.
pub(super) fn is_doubtful(hub: &Hub, meta: &ObjectMeta) -> bool {
    // What hits are made of is verified, or has no digest: for that the configuration is not looked at.
    if meta.trust != Trust::Transport || meta.declared.is_none() {
        return false;
    }
    let config = hub.config();
    config.verify == Verify::Strict && meta.len.is_none_or(|len| len <= config.verify_len_max)
}

/// `found` once it may be served; `None`: it was not what its digest says, and is gone. Dropping the future leaves a fill that is under way running, by
/// the rule for fills without readers.
///
/// # Errors
/// When it cannot be completed, or not be read.
pub(super) async fn admit(hub: &Arc<Hub>, found: Found) -> Result<Option<Found>, Error> {
    let object = &found.known().object;
    if !is_doubtful(hub, &object.meta) {
        return Ok(Some(found));
    }
    let blob = match found.content() {
        Some(content) => {
            content.complete(hub.config().verify_len_max).await?;
            if content.len().is_none_or(|len| len > hub.config().verify_len_max) {
                // Its length became known on the way: it is served as longer ones are.
                return Ok(Some(found));
            }
            content.blob.clone()
        }
        None => hub.store.open(object.meta.blob).await?,
    };
    let Some(mut verdict) = join(hub, &blob, object) else { return Ok(Some(found)) };
    // An error: the task is gone, because weir stops.
    let verdict = verdict.wait_for(Option::is_some).await.map_err(|_| Error::Stopped)?.unwrap_or(Verdict::Unknown);
    match verdict {
        Verdict::Matches => Ok(Some(found)),
        Verdict::Differs => Ok(None),
        Verdict::Unknown => Err(Error::Unverified),
    }
}

/// Verifies `object`, whose content is complete, in a task of its own; once at a time.
pub(super) fn start(hub: &Arc<Hub>, blob: &Arc<Blob>, object: &Arc<Object>) {
    drop(join(hub, blob, object));
}

/// The content of `object` is complete. What it was to hash to may have become known only while it arrived.
pub(super) fn completed(hub: &Arc<Hub>, blob: &Arc<Blob>, object: &Arc<Object>) {
    let key = &object.meta.key;
    if object.meta.declared.is_some() {
        start(hub, blob, object);
    } else if hub.catalog.expected(key.text(), None).digest.is_some() {
        let (hub, key) = (hub.clone(), key.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = learnt::learnt(&hub, &key) => {}
                () = hub.stop.signal().wait() => {}
            }
        });
    }
}

/// Waits until `object`, whose content is complete, was verified.
pub(super) async fn settle(hub: &Arc<Hub>, blob: &Arc<Blob>, object: &Arc<Object>) {
    let Some(mut verdict) = join(hub, blob, object) else { return };
    // An error: weir stops.
    _ = verdict.wait_for(Option::is_some).await;
}

/// The verdict on `object`, whose content is complete: that of the task that is at it, or of a new one. `None` when there is nothing to verify.
fn join(hub: &Arc<Hub>, blob: &Arc<Blob>, object: &Arc<Object>) -> Option<watch::Receiver<Option<Verdict>>> {
    if object.meta.declared.is_none() || object.meta.trust != Trust::Transport {
        return None;
    }
    let (told, verdict) = watch::channel(None);
    {
        let mut running = hub.verifications.running();
        if let Some(there) = running.get(&blob.id()) {
            return Some(there.clone());
        }
        running.insert(blob.id(), verdict.clone());
    }
    let turn = Turn { hub: hub.clone(), blob: blob.clone(), told };
    let object = object.clone();
    tokio::spawn(async move {
        let stopping = turn.hub.stop.signal().wait();
        tokio::select! {
            verdict = verify(&turn.hub, &turn.blob, &object) => drop(turn.told.send_replace(Some(verdict))),
            () = stopping => {}
        }
    });
    Some(verdict)
}

async fn verify(hub: &Arc<Hub>, blob: &Arc<Blob>, object: &Arc<Object>) -> Verdict {
    let key = &object.meta.key;
    // Who had the turn before may have come to a verdict since this one was asked for.
    let Ok(stored) = hub.store.lookup(key.hash()).await else { return Verdict::Unknown };
    let Some(object) = stored.iter().find(|stored| stored.id == object.id) else { return Verdict::Differs };
    let Some(declared) = object.meta.declared.filter(|_| object.meta.trust == Trust::Transport) else { return Verdict::Matches };
    match hub.store.verify(blob, &declared).await {
        Ok(true) => {
            hub.metrics.digests_verified.inc();
            hub.amend(object, |meta| meta.trust = Trust::Verified(declared)).await;
            Verdict::Matches
        }
        Ok(false) => {
            put_away(hub, object, &declared).await;
            Verdict::Differs
        }
        Err(error) => {
            tracing::warn!(%key, %error, "content could not be verified");
            Verdict::Unknown
        }
    }
}

/// Takes content that does not match out of the cache.
async fn put_away(hub: &Hub, object: &Object, declared: &Digest) {
    let ObjectMeta { key, source, .. } = &object.meta;
    let remains = hub.mismatches.count(key.hash(), source, Instant::now());
    tracing::warn!(%key, %source, digest = %declared, ?remains, "content does not match its digest");
    let kept = match remains {
        Remains::Quarantined => hub.store.quarantine(object, "digest mismatch").await,
        Remains::Removed => Ok(false),
    };
    match kept {
        Ok(true) => hub.metrics.quarantined.inc(),
        Ok(false) => hub.store.remove(object),
        Err(error) => {
            tracing::warn!(%key, %error, "content that does not match its digest could not be quarantined: removed");
            hub.store.remove(object);
        }
    }
    // Whoever sees it counted finds it gone.
    hub.metrics.digests_mismatched.inc();
}

/// The right to verify a blob; given back when dropped.
struct Turn {
    hub: Arc<Hub>,
    blob: Arc<Blob>,
    told: watch::Sender<Option<Verdict>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.hub.verifications.running().remove(&self.blob.id());
    }
}
