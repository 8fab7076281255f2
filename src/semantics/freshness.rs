//! Age and freshness (RFC 9111 §4.2), stale answers (§4.2.4, RFC 5861), and what a request demands of both (§5.2.1).

use std::time::{Duration, SystemTime};

use crate::semantics::{cache_control::RequestDirectives, facts::Facts, policy::Policy};

/// Whether a stored response may answer a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It may answer without asking anybody. `ttl`: how much longer it stays fresh.
    Fresh { age: Duration, ttl: Duration },
    /// Past its freshness lifetime by `by`.
    Stale { age: Duration, by: Duration, reuse: StaleUse },
    /// However fresh, it may answer only after successful validation.
    MustValidate {
        age: Duration,
        /// How much longer it is fresh, or by how much no longer: for `ttl` of Cache-Status.
        ttl_secs: i64,
        why: Demand,
        /// It may answer if validation is impossible (no answer, or a 5xx) (RFC 9111 §4.3.3, §4.2.4).
        on_error: bool,
    },
}

/// The circumstances in which a stale response may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaleUse {
    /// At once, without validation: the client said `max-stale` (RFC 9111 §5.2.1.2).
    pub accepted: bool,
    /// At once, with validation in the background (RFC 5861 §3).
    pub while_revalidate: bool,
    /// When validation is impossible: no answer, or a 5xx (RFC 9111 §4.2.4, §4.3.3; RFC 5861 §4). Where this is false, a failed validation is 504 or the origin's error.
    pub on_error: bool,
}

/// Who demands validation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// `no-cache` in the response (RFC 9111 §5.2.2.4).
    ResponseNoCache,
    /// `no-cache` or `Pragma` in the request (RFC 9111 §5.2.1.4).
    RequestNoCache,
    /// Older than the request's `max-age` (RFC 9111 §5.2.1.1).
    RequestMaxAge,
    /// Not fresh for as long as the request's `min-fresh` (RFC 9111 §5.2.1.3).
    RequestMinFresh,
    /// An unsafe request changed the resource (RFC 9111 §4.4).
    Invalidated,
    /// The name is known to change, so policy validates it always.
    Policy,
    /// Stored in the future: the clock jumped, so its age is unknown.
    Clock,
}

/// What a freshness lifetime rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifetimeSource {
    Policy,
    SMaxage,
    MaxAge,
    Expires,
    Heuristic,
    /// The response says nothing and guessing is off or impossible: stale at once.
    None,
}

/// How long a response is fresh after its generation (RFC 9111 §4.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    pub duration: Duration,
    pub source: LifetimeSource,
}

impl Freshness {
    pub fn age(&self) -> Duration {
        match *self {
            Self::Fresh { age, .. } | Self::Stale { age, .. } | Self::MustValidate { age, .. } => age,
        }
    }

    /// Seconds of freshness left, negative when stale: `ttl` of RFC 9211 §2.4.
    pub fn ttl_secs(&self) -> i64 {
        unimplemented!()
    }
}

/// Judges a stored response for one request.
pub fn freshness(stored: &Facts, request: &RequestDirectives, policy: &Policy, now: SystemTime) -> Freshness {
    let _ = (stored, request, policy, now);
    unimplemented!()
}

/// RFC 9111 §4.2.3: the corrected age now. Never negative; `None` when it was stored in the future.
pub fn current_age(stored: &Facts, now: SystemTime) -> Option<Duration> {
    let _ = (stored, now);
    unimplemented!()
}

/// RFC 9111 §4.2.1: the first that applies.
pub fn lifetime(stored: &Facts, policy: &Policy) -> Lifetime {
    let _ = (stored, policy);
    unimplemented!()
}
