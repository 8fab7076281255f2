//! The way of one request through the cache: look up, judge what is there, ask or join who asks, and look again.

use std::{fmt::Write, sync::Arc, time::SystemTime};

use http::{HeaderMap, Method, StatusCode};
use tokio::time::{Instant, timeout};

use super::{
    Answer, CacheStatus, Error, Found, How, Hub, Known, Wanted,
    flight::{self, Boarding, Landed},
    send::{self, Errand, Outcome, Relayed, Stored},
    verify,
};
use crate::{
    key::KeyHash,
    object::{Object, Trust},
    semantics::{
        Freshness, Policy,
        cache_control::RequestDirectives,
        freshness::{Demand, freshness},
        storable::{Sharing, sharing},
        vary,
    },
};

/// See [`super::Cache::get`].
pub(super) async fn get(hub: &Arc<Hub>, want: &Arc<Wanted>, now: SystemTime) -> Result<Answer, Error> {
    let request = RequestDirectives::of(&want.fields);
    if let Some(found) = hit_now(hub, want, &request, now) {
        return Ok(Answer::Found(found));
    }
    // Boxed: the future of a request is copied to its place, and it would be as large as the rarest of these steps needs.
    let asking = Box::pin(ask_or_join(hub, want, &request, now));
    match want.patience {
        // What is being fetched belongs to the cache, and goes on.
        Some(patience) => timeout(patience, asking).await.unwrap_or(Err(Error::Stalled)),
        None => asking.await,
    }
}

/// What answers without waiting for anything, be it a disk: nearly every request ends here.
fn hit_now(hub: &Arc<Hub>, want: &Arc<Wanted>, request: &RequestDirectives, now: SystemTime) -> Option<Found> {
    if request.only_if_cached {
        // Whether all that is asked for is here must be looked at first.
        return None;
    }
    let objects = hub.store.lookup_now(want.key.hash())?;
    let Chosen::Known(known) = choose(hub, want, &objects) else { return None };
    let verdict = freshness(&known.facts, request, policy(want, &known), now);
    if !matches!(verdict, Freshness::Fresh { .. }) || verify::is_doubtful(hub, &known.object.meta) {
        return None;
    }
    Found::open_now(hub, &known, want, &hit(&verdict)).filter(|found| found.has_begun(want))
}

async fn ask_or_join(hub: &Arc<Hub>, want: &Arc<Wanted>, request: &RequestDirectives, now: SystemTime) -> Result<Answer, Error> {
    let sharing = if want.method == Method::HEAD { Sharing::Alone } else { sharing(&want.method, &want.fields) };
    let mut alone = sharing == Sharing::Alone;
    let mut flown = want.key.hash();
    for _ in 0..TURNS_MAX {
        let (stored, how) = match look_up(hub, want, request, now).await {
            Looked::Absent(how) => (None, how),
            Looked::OtherVariants(variant) => {
                flown = variant;
                (None, How::VaryMiss)
            }
            Looked::Stored(found, freshness) => match at_once(&freshness) {
                // RFC 9111 §5.2.1.7: neither the rest of it nor its validation may be fetched for this request.
                AtOnce::Yes | AtOnce::WithRefresh if request.only_if_cached => return cached(hub, found, want),
                at_once @ (AtOnce::Yes | AtOnce::WithRefresh) => {
                    let Some(found) = begun(hub, found, want).await? else { continue };
                    if matches!(at_once, AtOnce::WithRefresh) {
                        refresh(hub, want, &found);
                    }
                    return Ok(Answer::Found(found));
                }
                AtOnce::No => {
                    let how = if is_demanded(&freshness) { How::Request } else { How::Replaced };
                    // Without its first byte it cannot help, nor unverified: the origin would have to be asked for that.
                    let is_here = found.has_begun(want) && !verify::is_doubtful(hub, &found.known().object.meta);
                    let may_answer = on_error(&freshness) && is_here;
                    (Some(Stale { may_answer, found }), how)
                }
            },
        };
        if request.only_if_cached {
            return Err(Error::OnlyIfCached);
        }
        let leader = match alone {
            true => None,
            false => match hub.flights.board(flown, sharing == Sharing::Join, Instant::now()) {
                Boarding::Lead(leader) => Some(leader),
                Boarding::Alone => None,
                Boarding::Join(flight) => {
                    hub.metrics.collapsed.inc();
                    match flight::landing(flight).await {
                        Landed::Found(found) if found.fits(want) => {
                            if let Some(found) = begun(hub, found.joined(want, how), want).await? {
                                return Ok(Answer::Found(found));
                            }
                        }
                        // Another variant, as it turned out: those who want ours fly together.
                        Landed::Found(found) if flown == want.key.hash() => flown = variant(want, found.fields()),
                        Landed::Refused(code) => match stored {
                            Some(stale) if stale.may_answer => return Ok(stale.after(code)),
                            _ => alone = true,
                        },
                        Landed::Found(_) | Landed::NotShared { .. } => alone = true,
                        Landed::Failed(error) => return stale_or(stored, error),
                    }
                    continue;
                }
            },
        };
        let leader = match leader {
            Some(leader) if stored.is_none() => match look_up(hub, want, request, now).await {
                // It landed between our look-up and our boarding.
                Looked::Stored(found, freshness) if matches!(at_once(&freshness), AtOnce::Yes) => {
                    leader.land(Landed::Found(found.clone()));
                    let Some(found) = begun(hub, found, want).await? else { continue };
                    return Ok(Answer::Found(found));
                }
                _ => Some(leader),
            },
            leader => leader,
        };
        let errand = Errand { want: want.clone(), stored: stored.as_ref().map(Stale::stored), how, leader };
        return match send::send(hub, errand).await {
            Ok(Outcome::Found(found) | Outcome::Own(found)) => match begun(hub, found, want).await? {
                Some(found) => Ok(Answer::Found(found)),
                None => continue,
            },
            Ok(Outcome::Relayed(relayed)) => Ok(relayed_or_stale(stored, relayed, how)),
            Err(error) => stale_or(stored, error),
        };
    }
    // Every turn found something that did not fit, each of another origin's answer.
    Err(Error::Stalled)
}

/// `found` once its head may be sent. `None`: the origin has something else now, or gave what its digest does not say, and what was found is not
/// stored any more.
async fn begun(hub: &Arc<Hub>, mut found: Found, want: &Wanted) -> Result<Option<Found>, Error> {
    let admitted = match found.begin(want).await {
        Ok(()) if want.method == Method::HEAD => Ok(Some(found)),
        Ok(()) => verify::admit(hub, found).await,
        Err(error) => Err(error),
    };
    match admitted {
        Err(Error::Changed) => Ok(None),
        admitted => admitted,
    }
}

/// What a look-up found.
enum Looked {
    Absent(How),
    /// Responses under the key, but for other selecting fields: the flight that would bring the one wanted.
    OtherVariants(KeyHash),
    Stored(Found, Freshness),
}

async fn look_up(hub: &Arc<Hub>, want: &Arc<Wanted>, request: &RequestDirectives, now: SystemTime) -> Looked {
    let key = want.key.hash();
    let objects = match hub.store.lookup_now(key) {
        Some(objects) => objects,
        None => match hub.store.lookup(key).await {
            Ok(objects) => objects,
            Err(error) => {
                tracing::warn!(key = %want.key, %error, "lookup");
                return Looked::Absent(How::Miss);
            }
        },
    };
    let known = match choose(hub, want, &objects) {
        Chosen::Nothing => return Looked::Absent(How::UriMiss),
        Chosen::OtherVariants(variant) => return Looked::OtherVariants(variant),
        Chosen::Known(known) => known,
    };
    let verdict = freshness(&known.facts, request, policy(want, &known), now);
    match Found::open(hub, known, want, hit(&verdict)).await {
        Some(mut found) => {
            if !matches!(verdict, Freshness::Fresh { .. }) {
                found.status.how = How::Stale;
            }
            Looked::Stored(found, verdict)
        }
        None => Looked::Absent(How::Miss),
    }
}

fn hit(verdict: &Freshness) -> CacheStatus {
    CacheStatus { ttl: Some(verdict.ttl_secs()), ..CacheStatus::new(How::Hit) }
}

/// Which of the responses under a key answers a request, fresh or not.
pub(super) enum Chosen {
    Nothing,
    /// None for its selecting fields: the flight that would bring one.
    OtherVariants(KeyHash),
    Known(Arc<Known>),
}

pub(super) fn choose(hub: &Hub, want: &Wanted, objects: &[Arc<Object>]) -> Chosen {
    // A hash is not the key: what it found must also be called so.
    let mut known = objects.iter().filter(|object| object.meta.key == want.key).map(|object| hub.known.of(object, &want.policy));
    let Some(first) = known.next() else { return Chosen::Nothing };
    let others: Vec<Arc<Known>> = known.collect();
    let candidates = [&first].into_iter().chain(&others).map(|known| (known, known.variant()));
    match vary::choose(candidates, want.presented()) {
        Some(known) => Chosen::Known(known.clone()),
        None => Chosen::OtherVariants(variant(want, &first.object.meta.fields)),
    }
}

/// What the flights of one variant are found by, given what `Vary` says in another variant's response.
fn variant(want: &Wanted, response: &HeaderMap) -> KeyHash {
    let mut text = want.key.text().to_owned();
    for (name, value) in vary::selecting(response, want.presented()) {
        _ = write!(text, "\n{name}: {value:?}");
    }
    KeyHash::of(&text)
}

/// The policy for a stored response: another one once its content matched the digest that was declared for it.
pub(super) fn policy<'a>(want: &'a Wanted, known: &Known) -> &'a Policy {
    match known.object.meta.trust {
        // Metadata may declare another kind of digest than the name does, or one for a name that has none.
        Trust::Verified(digest) if want.declared.is_none_or(|declared| !declared.contradicts(&digest)) => &want.verified_policy,
        _ => &want.policy,
    }
}

/// Whether a stored response answers without asking anybody first.
enum AtOnce {
    Yes,
    /// And it is validated in the background (RFC 5861 §3).
    WithRefresh,
    No,
}

fn at_once(freshness: &Freshness) -> AtOnce {
    match freshness {
        Freshness::Fresh { .. } => AtOnce::Yes,
        Freshness::Stale { reuse, .. } if reuse.accepted => AtOnce::Yes,
        Freshness::Stale { reuse, .. } if reuse.while_revalidate => AtOnce::WithRefresh,
        Freshness::Stale { .. } | Freshness::MustValidate { .. } => AtOnce::No,
    }
}

/// Whether it is fresh, and only the request's own directives forbid its use (`fwd=request`, RFC 9211 §2.2).
fn is_demanded(freshness: &Freshness) -> bool {
    matches!(freshness, Freshness::MustValidate { why, ttl_secs, .. }
        if *ttl_secs > 0 && matches!(why, Demand::RequestNoCache | Demand::RequestMaxAge | Demand::RequestMinFresh))
}

fn on_error(freshness: &Freshness) -> bool {
    match freshness {
        Freshness::Fresh { .. } => true,
        Freshness::Stale { reuse, .. } => reuse.on_error,
        Freshness::MustValidate { on_error, .. } => *on_error,
    }
}

/// A stored response that must be validated first.
struct Stale {
    found: Found,
    /// It may answer if that turns out to be impossible.
    may_answer: bool,
}

impl Stale {
    /// The answer after the origin answered with an error.
    fn after(self, code: StatusCode) -> Answer {
        let mut found = self.found;
        found.status.how = How::StaleOnError;
        found.status.fwd_status = Some(code);
        Answer::Found(found)
    }

    fn stored(&self) -> Stored {
        Stored { known: self.found.known().clone(), len: self.found.len(), may_answer: self.may_answer }
    }
}

/// The stored response for a request that says `only-if-cached`, if all it asks for is here.
fn cached(hub: &Hub, found: Found, want: &Wanted) -> Result<Answer, Error> {
    let is_here = !found.lacks(want) && !verify::is_doubtful(hub, &found.known().object.meta);
    if is_here { Ok(Answer::Found(found)) } else { Err(Error::OnlyIfCached) }
}

/// RFC 9111 §4.2.4: a stale response where the origin cannot be asked, if nothing forbids it.
fn stale_or(stored: Option<Stale>, error: Error) -> Result<Answer, Error> {
    match stored {
        Some(Stale { mut found, may_answer: true }) => {
            found.status.how = How::StaleOnError;
            found.status.detail = Some(error.reason());
            Ok(Answer::Found(found))
        }
        _ => Err(error),
    }
}

/// RFC 5861 §4, RFC 9111 §4.3.3: a 5xx counts as an origin that cannot be asked.
fn relayed_or_stale(stored: Option<Stale>, relayed: Relayed, how: How) -> Answer {
    let code = relayed.response.status();
    match stored {
        Some(stale) if stale.may_answer && code.is_server_error() => stale.after(code),
        _ => {
            let status = CacheStatus { fwd_status: Some(code), detail: Some(relayed.why.as_str()), ..CacheStatus::new(how) };
            Answer::Relayed { response: relayed.response, status }
        }
    }
}

/// Validates in the background what is being served stale; one at a time for each variant (RFC 5861 §3).
fn refresh(hub: &Arc<Hub>, want: &Arc<Wanted>, found: &Found) {
    if let Some(leader) = hub.flights.lead(variant(want, found.fields())) {
        let stored = Stored { known: found.known().clone(), len: found.len(), may_answer: true };
        let errand = Errand { want: want.clone(), stored: Some(stored), how: How::Replaced, leader: Some(leader) };
        // Nobody waits for the outcome.
        drop(send::launch(hub, errand));
    }
}

/// One for what is stored in part and turns out to be outdated, one for the key, one for the variant, then alone.
const TURNS_MAX: usize = 5;
