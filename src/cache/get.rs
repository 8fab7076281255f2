//! The way of one request through the cache: look up, judge what is there, ask or join who asks, and look again.

use std::{fmt::Write, sync::Arc, time::SystemTime};

use http::{HeaderMap, Method, Response};
use tokio::{sync::oneshot, time::Instant};

use super::{
    Answer, CacheStatus, Error, Found, How, Hub, Known, Wanted, ask,
    bounds::Place,
    content::Content,
    fill::{self, Started},
    flight::{self, Boarding, Landed, Leader},
    judge::{self, Arrived, AskedRange, Judgement, Storable, Why},
};
use crate::{
    key::KeyHash,
    metrics::StatusClass,
    object::{Object, Trust},
    semantics::{
        Freshness, Policy,
        cache_control::RequestDirectives,
        fields,
        freshness::freshness,
        storable::{Sharing, sharing},
        vary,
    },
    upstream::{self, Fetched},
};

/// See [`super::Cache::get`].
pub(super) async fn get(hub: &Arc<Hub>, want: &Arc<Wanted>, now: SystemTime) -> Result<Answer, Error> {
    let request = RequestDirectives::of(&want.fields);
    if let Some(found) = hit_now(hub, want, &request, now) {
        return Ok(Answer::Found(found));
    }
    // Boxed: the future of a request is copied to its place, and it would be as large as the rarest of these steps needs.
    Box::pin(ask_or_join(hub, want, &request, now)).await
}

/// What answers without waiting for anything, be it a disk: nearly every request ends here.
fn hit_now(hub: &Arc<Hub>, want: &Arc<Wanted>, request: &RequestDirectives, now: SystemTime) -> Option<Found> {
    let objects = hub.store.lookup_now(want.key.hash())?;
    let Chosen::Known(known) = choose(hub, want, &objects) else { return None };
    let verdict = freshness(&known.facts, request, policy(want, &known), now);
    matches!(verdict, Freshness::Fresh { .. }).then(|| Found::open_now(hub, &known, want, &hit(&verdict))).flatten()
}

async fn ask_or_join(hub: &Arc<Hub>, want: &Arc<Wanted>, request: &RequestDirectives, now: SystemTime) -> Result<Answer, Error> {
    let sharing = if want.method == Method::HEAD { Sharing::Alone } else { sharing(&want.method, &want.fields) };
    let mut alone = sharing == Sharing::Alone;
    let mut flown = want.key.hash();
    for _ in 0..TURNS_MAX {
        let looked = look_up(hub, want, request, now).await;
        let (stored, how) = match looked {
            Looked::Absent(how) => (None, how),
            Looked::OtherVariants(variant) => {
                flown = variant;
                (None, How::VaryMiss)
            }
            Looked::Stored(found, freshness) => match at_once(&freshness) {
                AtOnce::Yes => return Ok(Answer::Found(found)),
                AtOnce::WithRefresh => {
                    refresh(hub, want, &found);
                    return Ok(Answer::Found(found));
                }
                AtOnce::No => (Some((found, on_error(&freshness))), How::Replaced),
            },
        };
        if request.only_if_cached {
            return Err(Error::OnlyIfCached);
        }
        let how = if sharing == Sharing::Alone { How::Request } else { how };
        let leader = match alone {
            true => None,
            false => match hub.flights.board(flown, sharing == Sharing::Join, Instant::now()) {
                Boarding::Lead(leader) => Some(leader),
                Boarding::Alone => None,
                Boarding::Join(flight) => {
                    hub.metrics.collapsed.inc();
                    match flight::landing(flight).await {
                        Landed::Found(found) if found.fits(want) => return Ok(Answer::Found(found.joined(want))),
                        // Another variant, as it turned out: those who want ours fly together.
                        Landed::Found(found) if flown == want.key.hash() => flown = variant(want, found.fields()),
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
                    return Ok(Answer::Found(found));
                }
                _ => Some(leader),
            },
            leader => leader,
        };
        let known = stored.as_ref().map(|(found, _)| found.known().clone());
        return match send(hub, want, known, how, leader).await {
            Ok(Outcome::Found(found)) => Ok(Answer::Found(found)),
            Ok(Outcome::Relayed(relayed)) => relayed_or_stale(stored, relayed, how),
            Err(error) => stale_or(stored, error),
        };
    }
    // Every turn found something that did not fit, each of another origin's answer.
    Err(Error::Stalled)
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
enum Chosen {
    Nothing,
    /// None for its selecting fields: the flight that would bring one.
    OtherVariants(KeyHash),
    Known(Arc<Known>),
}

fn choose(hub: &Hub, want: &Wanted, objects: &[Arc<Object>]) -> Chosen {
    // A hash is not the key: what it found must also be called so.
    let mut known = objects.iter().filter(|object| object.meta.key == want.key).map(|object| hub.known.of(object, &want.policy));
    let Some(first) = known.next() else { return Chosen::Nothing };
    let others: Vec<Arc<Known>> = known.collect();
    let candidates = [&first].into_iter().chain(&others).map(|known| (known, known.variant()));
    match vary::choose(candidates, &want.fields) {
        Some(known) => Chosen::Known(known.clone()),
        None => Chosen::OtherVariants(variant(want, &first.object.meta.fields)),
    }
}

/// What the flights of one variant are found by, given what `Vary` says in another variant's response.
fn variant(want: &Wanted, response: &HeaderMap) -> KeyHash {
    let mut text = want.key.text().to_owned();
    for (name, value) in vary::selecting(response, &want.fields) {
        _ = write!(text, "\n{name}: {value:?}");
    }
    KeyHash::of(&text)
}

fn policy<'a>(want: &'a Wanted, known: &Known) -> &'a Policy {
    match known.object.meta.trust {
        Trust::Verified(digest) if want.declared == Some(digest) => &want.verified_policy,
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

fn on_error(freshness: &Freshness) -> bool {
    match freshness {
        Freshness::Fresh { .. } => true,
        Freshness::Stale { reuse, .. } => reuse.on_error,
        Freshness::MustValidate { on_error, .. } => *on_error,
    }
}

/// RFC 9111 §4.2.4: a stale response where the origin cannot be asked, if nothing forbids it.
fn stale_or(stored: Option<(Found, bool)>, error: Error) -> Result<Answer, Error> {
    match stored {
        Some((mut found, true)) => {
            found.status.detail = Some(error.reason());
            Ok(Answer::Found(found))
        }
        _ => Err(error),
    }
}

/// RFC 5861 §4: a 5xx counts as an origin that cannot be asked.
fn relayed_or_stale(stored: Option<(Found, bool)>, relayed: Relayed, how: How) -> Result<Answer, Error> {
    let code = relayed.response.status();
    if code.is_server_error()
        && let Some((mut found, true)) = stored
    {
        found.status.fwd_status = Some(code);
        return Ok(Answer::Found(found));
    }
    let status = CacheStatus { fwd_status: Some(code), detail: Some(relayed.why.as_str()), ..CacheStatus::new(how) };
    Ok(Answer::Relayed { response: relayed.response, status })
}

/// Validates in the background what is being served stale; one at a time.
fn refresh(hub: &Arc<Hub>, want: &Arc<Wanted>, found: &Found) {
    if let Boarding::Lead(leader) = hub.flights.board(want.key.hash(), true, Instant::now()) {
        let (hub, want, known) = (hub.clone(), want.clone(), found.known().clone());
        tokio::spawn(async move { ask_and_land(&hub, &want, Some(known), How::Replaced, Some(leader)).await });
    }
}

/// A response for the client that caused it alone.
struct Relayed {
    response: Box<Response<upstream::Body>>,
    why: Why,
}

enum Outcome {
    Found(Found),
    Relayed(Relayed),
}

/// Asks upstream in a task of its own, so that a client that leaves takes nothing away from those who joined.
async fn send(
    hub: &Arc<Hub>,
    want: &Arc<Wanted>,
    stored: Option<Arc<Known>>,
    how: How,
    leader: Option<Leader>,
) -> Result<Outcome, Error> {
    let (told, outcome) = oneshot::channel();
    let (hub, want) = (hub.clone(), want.clone());
    tokio::spawn(async move {
        let stopping = hub.stopping();
        tokio::select! {
            // The client may be gone; then a relayed response has nobody to go to and is dropped.
            outcome = ask_and_land(&hub, &want, stored, how, leader) => drop(told.send(outcome)),
            () = stopping => {}
        }
    });
    outcome.await.unwrap_or(Err(Error::Stopped))
}

async fn ask_and_land(
    hub: &Arc<Hub>,
    want: &Arc<Wanted>,
    stored: Option<Arc<Known>>,
    how: How,
    leader: Option<Leader>,
) -> Result<Outcome, Error> {
    let outcome = ask_upstream(hub, want, stored, how).await;
    if let Some(leader) = leader {
        leader.land(match &outcome {
            Ok(Outcome::Found(found)) => Landed::Found(found.clone()),
            Ok(Outcome::Relayed(relayed)) => {
                let code = relayed.response.status();
                Landed::NotShared { lone: !code.is_client_error() && !code.is_server_error() }
            }
            Err(error) => Landed::Failed(error.clone()),
        });
    }
    outcome
}

/// The first request of a fill, and what is made of its answer.
async fn ask_upstream(hub: &Arc<Hub>, want: &Arc<Wanted>, stored: Option<Arc<Known>>, how: How) -> Result<Outcome, Error> {
    let place = Arc::new(hub.bounds.enter(Some(want.client)).await.inspect_err(|error| {
        if let Error::Busy { bound } = error {
            hub.metrics.fills_refused.inc(bound);
        }
    })?);
    let config = hub.config();
    let mut range = ask::range(want, config.segment_len);
    let is_barred = hub.mismatches.bars(want.key.hash());
    loop {
        let first = ask::first(want, stored.as_deref(), range);
        let request_time = SystemTime::now();
        let Fetched { response, source, upstream, moved } = hub.upstreams.fetch(first.ask).await?;
        let response_time = SystemTime::now();
        let code = response.status();
        if first.conditional {
            hub.metrics.revalidations[StatusClass::of(code.as_u16())].inc();
        }
        let judgement = {
            let framing = response.body().framing();
            let fields = response.headers();
            let arrived = Arrived { status: code, fields, framing, source: &source, request_time, response_time };
            judge::judge(want, first.range, first.conditional, &arrived, config.object_max)
        };
        let relay = |response, why| Ok(Outcome::Relayed(Relayed { response: Box::new(response), why }));
        return match judgement {
            Judgement::Confirmed => confirmed(hub, want, stored, &response, (request_time, response_time)).await,
            Judgement::AskWhole if range != AskedRange::No => {
                range = AskedRange::No;
                continue;
            }
            Judgement::AskWhole => relay(response, Why::OtherRange),
            Judgement::Relay(why) => relay(response, why),
            Judgement::Misfit(error) => Err(error),
            // A part of our choosing cannot be relayed.
            Judgement::Store(_) if is_barred && matches!(range, AskedRange::Own(_)) => {
                range = AskedRange::No;
                continue;
            }
            Judgement::Store(_) if is_barred => relay(response, Why::Mismatch),
            Judgement::Store(storable) => {
                let fetched = Fetched { response, source, upstream, moved };
                match admit(hub, want, storable, fetched, place.clone()).await {
                    Ok(mut found) => {
                        found.status = CacheStatus { fwd_status: Some(code), stored: true, ..CacheStatus::new(how) };
                        Ok(Outcome::Found(found))
                    }
                    Err((fetched, why)) if range == AskedRange::No || matches!(range, AskedRange::Client(_)) => {
                        relay(fetched.response, why)
                    }
                    // A part of our choosing cannot be relayed, and the store does not take it.
                    Err(_) => {
                        range = AskedRange::No;
                        continue;
                    }
                }
            }
        };
    }
}

/// RFC 9111 §4.3.4: the stored response is confirmed; its fields and times are updated.
async fn confirmed(
    hub: &Arc<Hub>,
    want: &Arc<Wanted>,
    stored: Option<Arc<Known>>,
    response: &Response<upstream::Body>,
    (request_time, response_time): (SystemTime, SystemTime),
) -> Result<Outcome, Error> {
    let known = stored.ok_or(Error::Unresumable)?;
    let freshened = hub
        .amend(&known.object, |meta| {
            fields::update_stored(&mut meta.fields, response.headers());
            meta.request_time = request_time;
            meta.response_time = response_time;
            meta.invalidated = false;
        })
        .await;
    let known = freshened.map_or(known, |object| hub.known.of(&object, &want.policy));
    let status = CacheStatus { fwd_status: Some(response.status()), ..CacheStatus::new(How::Revalidated) };
    // It was open a moment ago; evicted since, it is fetched by the next request.
    let found = Found::open(hub, known, want, status).await.ok_or(Error::Unresumable)?;
    Ok(Outcome::Found(found))
}

/// Stores a response and starts the run that brings its bytes. Gives the response back when the store does not take it.
async fn admit(
    hub: &Arc<Hub>,
    want: &Arc<Wanted>,
    storable: Box<Storable>,
    fetched: Fetched,
    place: Arc<Place>,
) -> Result<Found, (Fetched, Why)> {
    let Storable { mut meta, start, end } = *storable;
    let blob = match hub.store.create(meta.len).await {
        Ok(blob) => blob,
        Err(error) => {
            tracing::debug!(key = %want.key, %error, "passing on without storing");
            return Err((fetched, Why::Store("store")));
        }
    };
    meta.blob = blob.id();
    let object = hub.store.insert(meta);
    let known = hub.known.of(&object, &want.policy);
    let content = hub.meet(Content::new(hub.clone(), blob, &object, want));
    content.moved(fetched.moved.clone());
    if end == Some(start) {
        content.ended_at(start);
    } else {
        let run = content.adopt(start, end);
        fill::spawn(content.clone(), run, start, Some(Started { fetched, place, end }));
    }
    Ok(Found::new(known, content, want.client, CacheStatus::new(How::UriMiss)))
}

/// One for the key, one for the variant, then alone.
const TURNS_MAX: usize = 4;
