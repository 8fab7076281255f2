//! What follows when metadata tells where a file is: what is stored under that name already is held against what is said of it.
//!
//! The observer's thread tells, and waits for nothing; the work is that of one task, which takes one place after the other.

use tokio::sync::mpsc::{Receiver, Sender, channel, error::TrySendError};

use crate::{cache::Cache, key::CacheKey};

/// The way to the task, which ends when this has gone.
pub(super) struct Places {
    is_stored: Box<dyn Fn(&CacheKey) -> bool + Send>,
    told: Sender<CacheKey>,
}

/// Takes what it is told, for as long as somebody can tell.
pub(super) struct Follower {
    told: Receiver<CacheKey>,
}

impl Places {
    /// `is_stored`: whether something may be stored under a key. It must not wait.
    pub(super) fn new(is_stored: impl Fn(&CacheKey) -> bool + Send + 'static) -> (Self, Follower) {
        let (places, told) = channel(PLACES_MAX);
        (Self { is_stored: Box::new(is_stored), told: places }, Follower { told })
    }

    /// Something is said of the content under `key`. What does not fit is verified when it is next fetched, or spoken of.
    pub(super) fn told_of(&self, key: CacheKey) {
        if !(self.is_stored)(&key) {
            return;
        }
        if let Err(TrySendError::Full(key)) = self.told.try_send(key) {
            tracing::debug!(%key, "verified another time");
        }
    }
}

impl Follower {
    pub(super) async fn run(mut self, cache: Cache) {
        while let Some(key) = self.told.recv().await {
            cache.learnt(&key).await;
        }
    }
}

/// Names of stored content that are told of while one content is verified.
const PLACES_MAX: usize = 1024;
