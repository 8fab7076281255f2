//! What follows when metadata tells where a file is: what is stored under that name already is held against what is said of it; what is not may be
//! fetched in advance.
//!
//! The observer's thread tells, and waits for nothing; the work is that of one task, which takes one place after the other.

use std::net::IpAddr;

use tokio::sync::mpsc::{Receiver, Sender, channel, error::TrySendError};

use super::prestage::Stager;
use crate::{cache::Cache, classify::Want, key::CacheKey};

/// The way to the task, which ends when this has gone.
pub(super) struct Places {
    cares: Box<dyn Fn(&CacheKey) -> bool + Send>,
    told: Sender<Told>,
}

/// A place of a file, and who was told of it.
pub(super) struct Told {
    pub key: CacheKey,
    /// What a request for it would want; `None`: it would not be served.
    pub want: Option<Want>,
    pub client: IpAddr,
}

/// Takes what it is told, for as long as somebody can tell.
pub(super) struct Follower {
    told: Receiver<Told>,
}

impl Places {
    /// `cares`: whether anything is to be done about a key. It must not wait.
    pub(super) fn new(cares: impl Fn(&CacheKey) -> bool + Send + 'static) -> (Self, Follower) {
        let (places, told) = channel(PLACES_MAX);
        (Self { cares: Box::new(cares), told: places }, Follower { told })
    }

    /// Something is said of a content. What does not fit is taken up when it is next spoken of.
    pub(super) fn told_of(&self, told: Told) {
        if !(self.cares)(&told.key) {
            return;
        }
        if let Err(TrySendError::Full(told)) = self.told.try_send(told) {
            tracing::debug!(key = %told.key, "another time");
        }
    }
}

impl Follower {
    pub(super) async fn run(mut self, cache: Cache, mut stager: Stager) {
        loop {
            tokio::select! {
                told = self.told.recv() => match told {
                    Some(told) if cache.may_have(&told.key) => cache.learnt(&told.key).await,
                    Some(Told { want: Some(want), client, .. }) => stager.shown(want, client),
                    Some(Told { want: None, .. }) => {}
                    None => return,
                },
                () = stager.ended() => {}
            }
        }
    }
}

/// Places that are told of while one content is verified.
const PLACES_MAX: usize = 1024;
