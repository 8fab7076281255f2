//! Age and freshness (RFC 9111 §4.2), stale answers (§4.2.4, RFC 5861), and what a request demands of both (§5.2.1).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::semantics::{
    cache_control::RequestDirectives,
    facts::Facts,
    policy::{LifetimeRule, Policy},
    storable,
};

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
        /// It may answer if validation is impossible: no answer, or a 5xx (RFC 9111 §4.2.4, §4.3.3).
        on_error: bool,
    },
}

/// The circumstances in which a stale response may answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StaleUse {
    /// At once, without validation: the client said `max-stale` (RFC 9111 §5.2.1.2).
    pub accepted: bool,
    /// At once, with validation in the background (RFC 5861 §3).
    pub while_revalidate: bool,
    /// When validation is impossible: no answer, or a 5xx (RFC 9111 §4.2.4, §4.3.3; RFC 5861 §4). Where this is false, a failed
    /// validation is 504 or the origin's error.
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
    /// For the `Age` field (RFC 9111 §5.1).
    pub fn age(&self) -> Duration {
        match *self {
            Self::Fresh { age, .. } | Self::Stale { age, .. } | Self::MustValidate { age, .. } => age,
        }
    }

    /// Seconds of freshness left, negative when stale: `ttl` of RFC 9211 §2.4.
    pub fn ttl_secs(&self) -> i64 {
        match *self {
            Self::Fresh { ttl, .. } => signed_secs(ttl),
            Self::Stale { by, .. } => -signed_secs(by),
            Self::MustValidate { ttl_secs, .. } => ttl_secs,
        }
    }

    /// It may answer now: fresh, or stale in a way that the client accepts or that is refreshed in the background.
    pub fn answers_at_once(&self) -> bool {
        match self {
            Self::Fresh { .. } => true,
            Self::Stale { reuse, .. } => reuse.accepted || reuse.while_revalidate,
            Self::MustValidate { .. } => false,
        }
    }

    /// It may answer when validation proved impossible.
    pub fn answers_on_error(&self) -> bool {
        match self {
            Self::Fresh { .. } => true,
            Self::Stale { reuse, .. } => reuse.on_error || reuse.accepted || reuse.while_revalidate,
            Self::MustValidate { on_error, .. } => *on_error,
        }
    }
}

/// Judges a stored response for one request (RFC 9111 §4).
pub fn freshness(stored: &Facts, request: &RequestDirectives, policy: &Policy, now: SystemTime) -> Freshness {
    let Some(age) = current_age(stored, now) else {
        return Freshness::MustValidate { age: initial_age(stored), ttl_secs: 0, why: Demand::Clock, on_error: false };
    };
    let left = left(stored, policy, age, now);
    if let Some((why, on_error)) = demand(stored, request, policy, age, left) {
        return Freshness::MustValidate { age, ttl_secs: left.signed_secs(), why, on_error };
    }
    match left {
        Left::Ttl(ttl) => Freshness::Fresh { age, ttl },
        Left::Past(by) => Freshness::Stale { age, by, reuse: stale_use(stored, request, policy, by) },
    }
}

/// RFC 9111 §4.2.3: the corrected age now, never negative. `None` when it was stored in the future, or received before it was
/// asked for: the clock jumped, and nothing is known.
pub fn current_age(stored: &Facts, now: SystemTime) -> Option<Duration> {
    let is_after = |later: SystemTime, earlier| later.duration_since(earlier).is_ok_and(|by| by > CLOCK_TOLERANCE);
    if is_after(stored.response_time, now) || is_after(stored.request_time, stored.response_time) {
        return None;
    }
    Some(initial_age(stored).saturating_add(resident(stored, now)))
}

/// RFC 9111 §4.2.1: what the response itself says, the first that applies; else a guess.
pub fn lifetime(stored: &Facts, policy: &Policy) -> Lifetime {
    let directives = &stored.directives;
    if let Some(duration) = directives.s_maxage {
        return Lifetime { duration, source: LifetimeSource::SMaxage };
    }
    if let Some(duration) = directives.max_age {
        return Lifetime { duration, source: LifetimeSource::MaxAge };
    }
    // RFC 9213 §2.2: a targeted field puts Expires out of force.
    if let Some(expires) = stored.expires.filter(|_| !directives.targeted) {
        let duration = expires.duration_since(stored.date).unwrap_or_default();
        return Lifetime { duration, source: LifetimeSource::Expires };
    }
    match heuristic(stored, policy) {
        Some(duration) => Lifetime { duration, source: LifetimeSource::Heuristic },
        None => Lifetime { duration: Duration::ZERO, source: LifetimeSource::None },
    }
}

/// RFC 9111 §4.2.2: a fraction of the time since the last modification, where the status or `public` allows guessing.
fn heuristic(stored: &Facts, policy: &Policy) -> Option<Duration> {
    let heuristic = policy.heuristic?;
    if !stored.directives.public && !storable::is_heuristically_cacheable(stored.status) {
        return None;
    }
    let unchanged = stored.date.duration_since(stored.last_modified?).ok()?;
    Some((unchanged / 100).saturating_mul(heuristic.percent).min(heuristic.max))
}

/// `age_value` corrected by the delay of the response, or the apparent age if that is more (RFC 9111 §4.2.3).
fn initial_age(stored: &Facts) -> Duration {
    let delay = stored.response_time.duration_since(stored.request_time).unwrap_or_default();
    // `Date` has no fractions of a second, so those of the arrival say nothing.
    let arrival = UNIX_EPOCH + Duration::from_secs(stored.response_time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs());
    let apparent = arrival.duration_since(stored.date).unwrap_or_default();
    apparent.max(stored.age.saturating_add(delay))
}

/// How long it has been here (RFC 9111 §4.2.3).
fn resident(stored: &Facts, now: SystemTime) -> Duration {
    now.duration_since(stored.response_time).unwrap_or_default()
}

/// The freshness left under the rule of the policy. What policy grants counts from when we got (or last validated) the response:
/// an edge cache that held it for weeks says nothing about a name that carries its version.
fn left(stored: &Facts, policy: &Policy, age: Duration, now: SystemTime) -> Left {
    let said = Left::of(lifetime(stored, policy).duration, age);
    match (policy.rule(stored.status), said) {
        (LifetimeRule::Response, _) => said,
        (LifetimeRule::Forever, _) => Left::Ttl(Duration::MAX),
        (LifetimeRule::Validate, _) => Left::Past(resident(stored, now)),
        (LifetimeRule::AtLeast(least), Left::Ttl(ttl)) => match Left::of(least, resident(stored, now)) {
            Left::Ttl(granted) => Left::Ttl(ttl.max(granted)),
            Left::Past(_) => said,
        },
        (LifetimeRule::AtLeast(least), Left::Past(_)) => Left::of(least, resident(stored, now)),
    }
}

/// Freshness left, or how long it is over. RFC 9111 §4.2: fresh while its lifetime is greater than its age.
#[derive(Clone, Copy)]
enum Left {
    Ttl(Duration),
    Past(Duration),
}

impl Left {
    fn of(lifetime: Duration, age: Duration) -> Self {
        match lifetime.checked_sub(age) {
            Some(ttl) if !ttl.is_zero() => Self::Ttl(ttl),
            _ => Self::Past(age.saturating_sub(lifetime)),
        }
    }

    fn signed_secs(self) -> i64 {
        match self {
            Self::Ttl(ttl) => signed_secs(ttl),
            Self::Past(by) => -signed_secs(by),
        }
    }
}

/// Who demands validation however fresh the response is, and whether it may still answer on error.
fn demand(stored: &Facts, request: &RequestDirectives, policy: &Policy, age: Duration, left: Left) -> Option<(Demand, bool)> {
    let by = match left {
        Left::Ttl(_) => Duration::ZERO,
        Left::Past(by) => by,
    };
    let on_error = may_on_error(stored, request, policy, by);
    if stored.invalidated {
        return Some((Demand::Invalidated, false));
    }
    let rule = policy.rule(stored.status);
    match rule {
        // The bytes are proven: validation could tell nothing new, whoever asks for it.
        LifetimeRule::Forever => return None,
        LifetimeRule::Validate => return Some((Demand::Policy, on_error && !stored.directives.no_cache.is_everything())),
        LifetimeRule::Response | LifetimeRule::AtLeast(_) => {}
    }
    let versioned = matches!(rule, LifetimeRule::AtLeast(_)) && matches!(left, Left::Ttl(_));
    if stored.directives.no_cache.is_everything() && !versioned {
        return Some((Demand::ResponseNoCache, false));
    }
    // The client wants the origin's word; a stored answer in its place would hide that there is none.
    if request.no_cache {
        return Some((Demand::RequestNoCache, false));
    }
    // RFC 8246 §2: a fresh immutable response need not be validated for a mere reload.
    let immutable = versioned || (stored.directives.immutable && matches!(left, Left::Ttl(_)));
    let accepted = request.max_stale.unwrap_or_default();
    if !immutable && request.max_age.is_some_and(|most| age > most.saturating_add(accepted)) {
        return Some((Demand::RequestMaxAge, on_error));
    }
    let too_short = |least: Duration| match left {
        Left::Ttl(ttl) => ttl < least,
        Left::Past(_) => accepted.is_zero(),
    };
    request.min_fresh.is_some_and(too_short).then_some((Demand::RequestMinFresh, on_error))
}

fn stale_use(stored: &Facts, request: &RequestDirectives, policy: &Policy, by: Duration) -> StaleUse {
    if stored.directives.forbids_stale() || by > policy.stale_max {
        return StaleUse::default();
    }
    let within = |bound: Option<Duration>| bound.is_some_and(|bound| by <= bound);
    StaleUse {
        accepted: within(request.max_stale),
        while_revalidate: within(stored.directives.stale_while_revalidate),
        on_error: may_on_error(stored, request, policy, by),
    }
}

/// Whether a response `by` past freshness may answer when the origin cannot. `stale-if-error` of the response is its own bound
/// (RFC 5861 §4); without it policy decides (RFC 9111 §4.2.4), or the request.
fn may_on_error(stored: &Facts, request: &RequestDirectives, policy: &Policy, by: Duration) -> bool {
    if stored.directives.forbids_stale() || by > policy.stale_max {
        return false;
    }
    stored.directives.stale_if_error.map_or(policy.stale_on_error, |bound| by <= bound)
        || request.stale_if_error.is_some_and(|bound| by <= bound)
}

/// Whole seconds, as far as an integer of a structured field reaches (RFC 9651 §3.3.1).
fn signed_secs(duration: Duration) -> i64 {
    const GREATEST: u64 = 999_999_999_999_999;
    duration.as_secs().min(GREATEST) as i64
}

/// A request reads the clock before it waits for a slot or a flight, so what it then finds may have been stored a little later.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
