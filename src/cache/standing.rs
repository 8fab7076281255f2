//! A hit that may be given again without being looked up: what it rested on, and whether it still does.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    Cache, Found, Known, Wanted,
    get::{self, Chosen},
};
use crate::{
    semantics::{Freshness, Policy, cache_control::RequestDirectives, freshness::freshness},
    store::Stamp,
};

/// A fresh stored response that answered a request. It answers the same request again for as long as [`Standing::at`] says.
pub struct Standing {
    cache: Cache,
    known: Arc<Known>,
    /// Of what is stored under the key, taken before it was looked up.
    stamp: Stamp,
    directives: RequestDirectives,
    policy: Policy,
    /// The second in which the store last heard of a use.
    noted: AtomicU64,
}

/// A standing hit at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Current {
    /// For the `Age` field.
    pub age: Duration,
    /// For `ttl` of Cache-Status.
    pub ttl_secs: i64,
}

impl Cache {
    /// What `found`, which answers `want`, rests on. `None` if it could not be given again as it is: it was no hit, it is not complete, or
    /// it was replaced meanwhile.
    pub fn standing(&self, want: &Arc<Wanted>, found: &Found) -> Option<Standing> {
        if !found.is_plain_hit() {
            return None;
        }
        let key = want.key.hash();
        // The stamp first: it vouches for what is looked up behind it, not for what was found before.
        let stamp = self.0.store.stamp(key);
        let objects = self.0.store.lookup_now(key)?;
        let Chosen::Known(known) = get::choose(&self.0, want, &objects) else { return None };
        if !Arc::ptr_eq(&known.object, &found.known().object) {
            return None;
        }
        let (directives, policy) = (RequestDirectives::of(&want.fields), *get::policy(want, &known));
        Some(Standing { cache: self.clone(), known, stamp, directives, policy, noted: AtomicU64::new(0) })
    }
}

impl Standing {
    /// How it is at `now`; `None`: it is not what a lookup would find any more, or not fresh enough for the request.
    pub fn at(&self, now: SystemTime) -> Option<Current> {
        if self.cache.0.store.stamp(self.known.object.meta.key.hash()) != self.stamp {
            return None;
        }
        let verdict = freshness(&self.known.facts, &self.directives, &self.policy, now);
        matches!(verdict, Freshness::Fresh { .. }).then(|| Current { age: verdict.age(), ttl_secs: verdict.ttl_secs() })
    }

    /// It was given at `now`, with content from memory or without any.
    pub fn used(&self, now: SystemTime, has_content: bool) {
        let store = &self.cache.0.store;
        if has_content {
            store.count_memory_hit();
        }
        let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        // Eviction forgets uses slowly: hearing of one a second it keeps what is hot.
        if self.noted.load(Relaxed) != second {
            self.noted.store(second, Relaxed);
            store.used(&self.known.object);
        }
    }
}
