//! Asking upstream on behalf of a request, and what is made of the answer: stored, confirmed, or handed back to be relayed.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Method, Response, StatusCode, header};
use http_body_util::BodyExt;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use super::{
    CacheStatus, Error, Found, How, Hub, Known, Verify, Wanted, ask,
    asking::Asked,
    bounds::Place,
    content::Content,
    fill::{self, Started},
    flight::{Landed, Leader},
    found::Reading,
    get::policy,
    judge::{self, Arrived, AskedRange, Judgement, Storable, Why},
    twin::Twin,
    update::{self, Times},
};
use crate::{
    catalog::Expected,
    metrics::StatusClass,
    semantics::{cache_control::RequestDirectives, freshness::freshness, invalidation},
    store::Blob,
    upstream::{self, Fetched},
};

/// What is stored and must be validated.
#[derive(Clone)]
pub(super) struct Stored {
    pub known: Arc<Known>,
    /// Length of its whole content, once known.
    pub len: Option<u64>,
    /// It may answer if the origin cannot.
    pub may_answer: bool,
}

/// A response for the client that caused it alone.
pub(super) struct Relayed {
    pub response: Box<Response<upstream::Body>>,
    pub why: Why,
}

pub(super) enum Outcome {
    Found(Found),
    /// A stored response with fields for the client that caused it alone.
    Own(Found),
    Relayed(Relayed),
}

/// Why upstream is asked, and for whom.
pub(super) struct Errand {
    pub want: Arc<Wanted>,
    pub stored: Option<Stored>,
    pub how: How,
    /// Those who wait for the outcome, too.
    pub leader: Option<Leader>,
}

/// Asks upstream and waits for what comes of it.
pub(super) async fn send(hub: &Arc<Hub>, errand: Errand) -> Result<Outcome, Error> {
    launch(hub, errand).await.unwrap_or(Err(Error::Stopped))
}

/// Asks upstream in a task of its own, so that a client that leaves takes nothing away from those who joined. The task ends with weir.
pub(super) fn launch(hub: &Arc<Hub>, errand: Errand) -> oneshot::Receiver<Result<Outcome, Error>> {
    let (told, outcome) = oneshot::channel();
    let hub = hub.clone();
    tokio::spawn(async move {
        let stopping = hub.stop.signal().wait();
        tokio::select! {
            // The client may be gone; then a relayed response has nobody to go to and is dropped.
            outcome = ask_and_land(&hub, errand) => drop(told.send(outcome)),
            () = stopping => {}
        }
    });
    outcome
}

async fn ask_and_land(hub: &Arc<Hub>, errand: Errand) -> Result<Outcome, Error> {
    let Errand { want, stored, how, leader } = errand;
    let asked = hub.asking.begin(want.key.hash());
    let outcome = ask_upstream(hub, &want, stored.as_ref(), how, &asked).await;
    if let (Ok(Outcome::Relayed(relayed)), Some(stored)) = (&outcome, &stored)
        && want.method == Method::GET
        && invalidation::is_superseded(want.presented(), relayed.response.status())
    {
        hub.amend(&stored.known.object, |meta| meta.invalidated = true).await;
    }
    let is_outdated = asked.is_outdated();
    if is_outdated {
        outdate(hub, &outcome, stored.as_ref()).await;
    }
    if let Some(leader) = leader {
        leader.land(match &outcome {
            // Some of those aboard may have come after the change.
            Ok(_) if is_outdated => Landed::NotShared { lone: false },
            Ok(Outcome::Found(found)) => Landed::Found(found.clone().shared()),
            Ok(Outcome::Own(_)) => Landed::NotShared { lone: true },
            Ok(Outcome::Relayed(relayed)) => match relayed.response.status() {
                code if code.is_server_error() => Landed::Refused(code),
                code => Landed::NotShared { lone: !code.is_client_error() },
            },
            Err(error) => Landed::Failed(error.clone()),
        });
    }
    outcome
}

/// What was stored or confirmed by an answer older than a change at the origin must be validated before it is used (RFC 9111 §4.4).
async fn outdate(hub: &Hub, outcome: &Result<Outcome, Error>, stored: Option<&Stored>) {
    if let Ok(Outcome::Found(found)) = outcome {
        hub.amend(&found.known().object, |meta| meta.invalidated = true).await;
    }
    if let Some(stored) = stored {
        hub.amend(&stored.known.object, |meta| meta.invalidated = true).await;
    }
}

/// The first request of a fill, and what is made of its answer.
async fn ask_upstream(
    hub: &Arc<Hub>,
    want: &Arc<Wanted>,
    stored: Option<&Stored>,
    how: How,
    asked: &Asked,
) -> Result<Outcome, Error> {
    let place = Arc::new(hub.bounds.enter(Some(want.client)).await.inspect_err(|error| {
        if let Error::Busy { bound } = error {
            hub.metrics.fills_refused.inc(bound);
        }
    })?);
    let config = hub.config();
    let is_barred = want.method == Method::GET && hub.mismatches.bars(want.key.hash(), Instant::now());
    let expected = hub.catalog.expected(want.key.text(), want.declared);
    if is_barred && stored.is_none() && config.verify == Verify::Strict {
        contradicted(hub, want, expected, Why::Mismatch)?;
    }
    let twin = if stored.is_none() && !is_barred { Twin::find(hub, want, expected.digest).await } else { None };
    let mut range = match twin {
        Some(_) => AskedRange::Own(Twin::PROBE),
        None => ask::range(want, config.segment_len, hub.store.takes_content()),
    };
    loop {
        let first = ask::first(want, stored.map(|stored| &*stored.known), range);
        let request_time = SystemTime::now();
        let Fetched { response, source, upstream, moved } = hub.upstreams.fetch(first.ask).await?;
        let times = Times { request: request_time, response: SystemTime::now() };
        let code = response.status();
        if first.conditional {
            hub.metrics.revalidations[StatusClass::of(code.as_u16())].inc();
        }
        let relay = |response, why| Ok(Outcome::Relayed(Relayed { response: Box::new(response), why }));
        if code.is_server_error() && stored.is_some_and(|stored| stored.may_answer) {
            // Whatever the error says of its own freshness, what it is about to replace is the better answer (RFC 5861 §4).
            return relay(response, Why::Refused);
        }
        let judgement = {
            let framing = response.body().framing();
            let fields = response.headers();
            let Times { request: request_time, response: response_time } = times;
            let version = response.version();
            let arrived = Arrived { version, status: code, fields, framing, source: &source, request_time, response_time };
            judge::judge(want, first.range, first.conditional, &arrived, config.object_max)
        };
        let judgement = match judgement {
            Judgement::Store(storable) => match doubt(&storable, is_barred, expected) {
                // A part of our choosing cannot be relayed.
                Some(_) if matches!(range, AskedRange::Own(_)) => Judgement::AskWhole,
                Some(why) => Judgement::Relay(why),
                None => Judgement::Store(storable),
            },
            judgement => judgement,
        };
        return match judgement {
            Judgement::Confirmed => {
                let stored = stored.ok_or(Error::Unresumable)?;
                let how = if how == How::Request { How::RevalidatedOnDemand } else { How::Revalidated };
                update::confirmed(hub, want, &stored.known, &response, times, how, asked).await
            }
            Judgement::AskWhole if range != AskedRange::No => {
                range = AskedRange::No;
                continue;
            }
            Judgement::AskWhole => relay(response, Why::OtherRange),
            Judgement::Relay(why) => {
                contradicted(hub, want, expected, why)?;
                if want.method == Method::HEAD
                    && code == StatusCode::OK
                    && let Some(stored) = stored
                {
                    update::headed(hub, want, stored, response.headers(), times).await;
                }
                relay(response, why)
            }
            Judgement::Misfit(error) => Err(error),
            Judgement::Store(mut storable) if twin.as_ref().is_some_and(|twin| twin.is_of(&storable)) => {
                storable.meta.invalidated = asked.is_outdated();
                let status = CacheStatus { fwd_status: Some(code), stored: true, ..CacheStatus::new(how) };
                let found = twin.as_ref().and_then(|twin| twin.install(hub, want, *storable, status));
                found.map(Outcome::Found).ok_or(Error::Unresumable)
            }
            Judgement::Store(mut storable) => match room(hub, want, &storable).await {
                Some(blob) => {
                    let mut response = response;
                    // What is stored is replaced only by something that has begun well: until then it may still be needed.
                    let begun = if stored.is_some() { begin(response.body_mut()).await? } else { VecDeque::new() };
                    let fetched = Fetched { response, source, upstream, moved };
                    storable.meta.invalidated = asked.is_outdated();
                    storable.meta.declared = expected.digest;
                    let mut found = install(hub, want, *storable, blob, fetched, begun, place);
                    let ttl = Some(ttl_secs(want, found.known(), times.response));
                    found.status = CacheStatus { fwd_status: Some(code), stored: true, ttl, ..CacheStatus::new(how) };
                    Ok(Outcome::Found(found))
                }
                None if !matches!(range, AskedRange::Own(_)) => relay(response, Why::Store("store")),
                // A part of our choosing cannot be relayed, and the store does not take it.
                None => {
                    range = AskedRange::No;
                    continue;
                }
            },
        };
    }
}

/// Why a response is not stored although it could be: what is known of its content speaks against it.
fn doubt(storable: &Storable, is_barred: bool, expected: Expected) -> Option<Why> {
    let is_wrong_length = storable.meta.len.zip(expected.size).is_some_and(|(len, size)| len != size);
    match (is_barred, is_wrong_length) {
        (true, _) => Some(Why::Mismatch),
        (false, true) => Some(Why::Length),
        (false, false) => None,
    }
}

/// Counts an answer that is relayed because it contradicts what is known of the content.
///
/// # Errors
/// Where nobody is to get such an answer.
fn contradicted(hub: &Hub, want: &Wanted, expected: Expected, why: Why) -> Result<(), Error> {
    let is_contradicted = match why {
        Why::Mismatch | Why::Length => true,
        // A page may be what is wanted, where only the way it came says that this is a file.
        Why::Portal => want.ranged || expected.digest.is_some(),
        _ => false,
    };
    if !is_contradicted {
        return Ok(());
    }
    hub.metrics.contradicted.inc(why.as_str());
    match hub.config().verify {
        Verify::Later => Ok(()),
        Verify::Strict => Err(Error::Contradicted(why.as_str())),
    }
}

/// A blob for a response; `None` when the store does not take it.
pub(super) async fn room(hub: &Hub, want: &Wanted, storable: &Storable) -> Option<Arc<Blob>> {
    let blob = hub.store.create(storable.meta.len).await;
    blob.inspect_err(|error| tracing::debug!(key = %want.key, %error, "passing on without storing")).ok()
}

/// The first bytes of a body: as many as tell a server that answers from one that hangs up.
async fn begin(body: &mut upstream::Body) -> Result<VecDeque<Bytes>, Error> {
    let (mut begun, mut len) = (VecDeque::new(), 0);
    let read = async {
        while len < BEGUN_LEN
            && let Some(frame) = body.frame().await
        {
            let Ok(bytes) = frame?.into_data() else { continue };
            len += bytes.len();
            begun.push_back(bytes);
        }
        Ok::<(), upstream::Error>(())
    };
    // A server that is merely slow has begun, too.
    timeout(BEGUN_WITHIN, read).await.unwrap_or(Ok(()))?;
    Ok(begun)
}

/// Stores a response and starts the run that brings its bytes, of which `begun` are here already.
pub(super) fn install(
    hub: &Arc<Hub>,
    want: &Arc<Wanted>,
    storable: Storable,
    blob: Arc<Blob>,
    fetched: Fetched,
    begun: VecDeque<Bytes>,
    place: Arc<Place>,
) -> Found {
    let Storable { mut meta, personal, start, end } = storable;
    meta.blob = blob.id();
    let object = hub.store.draft(meta);
    let known = hub.known.of(&object, &want.policy);
    let own = (!personal.is_empty()).then(|| known.with(update::with_fields(object.meta.clone(), personal), &want.policy));
    let content = hub.meet(Content::new(hub.clone(), blob, &object, want));
    content.moved(fetched.moved.clone());
    let run = if end == Some(start) {
        content.ended_at(start);
        None
    } else {
        Some(content.adopt(start, first_end(&content, start, end)))
    };
    // Whoever finds it from here on finds its run, too, or would ask for the same bytes.
    hub.store.publish(&object);
    if let Some(run) = run {
        fill::spawn(content.clone(), run, start, Some(Started { fetched, begun, place, end }));
    }
    Found::new(known, content, Reading::of(want), CacheStatus::new(How::UriMiss)).owned(own)
}

/// Where the run that an answer begins ends: with its body, unless that is long and its server gives parts. Then it ends as a portion would that
/// had been asked for, and more requests bring the rest, over several connections where that helps: what the name did not tell, the answer does.
fn first_end(content: &Content, start: u64, end: Option<u64>) -> Option<u64> {
    let gives_parts =
        || content.fields().get(header::ACCEPT_RANGES).is_some_and(|units| units.as_bytes().eq_ignore_ascii_case(b"bytes"));
    let segment_len = content.hub.config().segment_len;
    let is_long = end.is_some_and(|end| end - start >= segment_len.saturating_mul(CUT_SEGMENTS_MIN));
    if is_long && content.binding.is_some() && content.gain.level() > 1 && gives_parts() {
        return Some(start + segment_len);
    }
    end
}

/// For `ttl` of Cache-Status: how long a response is fresh for requests that demand nothing.
pub(super) fn ttl_secs(want: &Wanted, known: &Known, now: SystemTime) -> i64 {
    freshness(&known.facts, &RequestDirectives::default(), policy(want, known), now).ttl_secs()
}

/// Bodies of so many segments are cut for several requests, 256 MiB: what was on its way when the connection ended, a few MiB at most, is a hundredth.
const CUT_SEGMENTS_MIN: u64 = 32;

/// Most responses that change under a name are as short as this; longer ones have shown that the server sends.
const BEGUN_LEN: usize = 32 << 10;
const BEGUN_WITHIN: Duration = Duration::from_secs(2);
