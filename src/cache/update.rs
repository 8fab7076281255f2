//! What changes about stored responses without a fill: confirmed by a 304, freshened or outdated by a HEAD, replaced by a POST.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, Response};

use super::{
    CacheStatus, Error, Found, How, Hub, Known, Posted, Wanted,
    asking::Asked,
    judge::{self, Arrived, Judgement},
    send::{Outcome, Stored, install, room, ttl_secs},
};
use crate::{
    object::{Object, ObjectMeta},
    semantics::{
        NotStorable,
        fields::{self, HeadUpdate},
        storable,
        validator::Validator,
    },
    upstream::{self, Fetched},
};

/// When a request was sent, and when its response head arrived (RFC 9111 §4.2.3).
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub request: SystemTime,
    pub response: SystemTime,
}

/// RFC 9111 §4.3.4: the stored response is confirmed; its fields and times are updated, and those of every other response under
/// the key that has the same strong validator. Where the 304 may not be stored, the stored response stays as it is, and only the one
/// who asked sees the fields of the 304.
pub(super) async fn confirmed(
    hub: &Arc<Hub>,
    want: &Arc<Wanted>,
    known: &Arc<Known>,
    response: &Response<upstream::Body>,
    times: Times,
    how: How,
    asked: &Asked,
) -> Result<Outcome, Error> {
    let received = response.headers();
    let freshened = hub.amend(&known.object, |meta| freshen(meta, &known.object, want, received, times)).await;
    // What was invalidated while the 304 was on its way must not become fresh by it.
    if !asked.is_outdated() {
        for other in same_validator(hub, want, known).await {
            hub.amend(&other, |meta| freshen(meta, &other, want, received, times)).await;
        }
    }
    let Updated { meta, personal, verdict } = updated(&known.object.meta, want, received, times);
    let known = freshened.map_or_else(|| known.clone(), |object| hub.known.of(&object, &want.policy));
    let is_same_for_all = verdict.is_ok() && personal.is_empty();
    let own = (!is_same_for_all).then(|| known.with(with_fields(meta, personal), &want.policy));
    let ttl = Some(ttl_secs(want, own.as_ref().unwrap_or(&known), times.response));
    let status = CacheStatus { fwd_status: Some(response.status()), ttl, ..CacheStatus::new(how) };
    // It was open a moment ago; evicted since, it is fetched by the next request.
    let found = Found::open(hub, known, want, status).await.ok_or(Error::Unresumable)?.owned(own);
    Ok(if verdict.is_ok() { Outcome::Found(found) } else { Outcome::Own(found) })
}

/// A stored response with the fields and times of one that confirms it.
struct Updated {
    meta: ObjectMeta,
    /// Fields for the one who asked.
    personal: HeaderMap,
    /// Whether it may be stored so.
    verdict: Result<(), NotStorable>,
}

fn updated(stored: &ObjectMeta, want: &Wanted, received: &HeaderMap, times: Times) -> Updated {
    let mut meta = stored.clone();
    let personal = fields::update_stored(&mut meta.fields, received, want.policy.targeted);
    meta.request_time = times.request;
    meta.response_time = times.response;
    meta.invalidated = false;
    let verdict = storable::may_update(&want.fields, received, &meta.fields, &want.policy);
    Updated { meta, personal, verdict }
}

/// A response as the one gets it whom these fields are for.
pub(super) fn with_fields(mut meta: ObjectMeta, personal: HeaderMap) -> ObjectMeta {
    meta.fields.extend(personal);
    meta
}

/// The other responses under the key with the strong validator of `known`.
async fn same_validator(hub: &Hub, want: &Wanted, known: &Known) -> Vec<Arc<Object>> {
    let validator = Validator::of(&known.object.meta.fields);
    if !validator.is_strong() {
        return Vec::new();
    }
    let Ok(stored) = hub.store.lookup(want.key.hash()).await else { return Vec::new() };
    let is_same = |other: &&Arc<Object>| {
        let meta = &other.meta;
        meta.key == want.key
            && meta.selecting != known.object.meta.selecting
            && meta.source == known.object.meta.source
            && validator.same_strong(&Validator::of(&meta.fields))
    };
    stored.iter().filter(is_same).cloned().collect()
}

/// RFC 9111 §4.3.5: a 200 to a HEAD freshens the stored response that it is about, or shows that it is outdated.
pub(super) async fn headed(hub: &Arc<Hub>, want: &Arc<Wanted>, stored: &Stored, received: &HeaderMap, times: Times) {
    let object = &stored.known.object;
    hub.amend(object, |meta| match fields::head_update(&meta.fields, stored.len, received) {
        HeadUpdate::Freshen => freshen(meta, object, want, received, times),
        HeadUpdate::Outdated => meta.invalidated = true,
    })
    .await;
}

/// Takes the fields and times of a response that confirms `seen`, whose metadata is `meta` by now. What was invalidated since then stays so
/// (RFC 9111 §4.4). Of what may not be stored nothing is taken; what became private or `no-store` must be validated for each.
fn freshen(meta: &mut ObjectMeta, seen: &Object, want: &Wanted, received: &HeaderMap, times: Times) {
    let invalidated_since = meta.invalidated && !seen.meta.invalidated;
    let updated = updated(meta, want, received, times);
    match updated.verdict {
        Ok(()) => *meta = ObjectMeta { invalidated: invalidated_since, ..updated.meta },
        Err(NotStorable::Private | NotStorable::NoStore) => meta.invalidated = true,
        Err(_) => {}
    }
}

/// See [`super::Cache::keep`]. It takes a place among the fills only if one is free: nobody waits for the sake of a later GET.
pub(super) async fn keep(hub: &Arc<Hub>, want: &Arc<Wanted>, posted: Posted) -> Result<Found, Box<Response<upstream::Body>>> {
    let Posted { target, response, request_time, response_time } = posted;
    let (source, status) = (want.target.origin.authority(), response.status());
    let judgement = {
        let (fields, framing) = (response.headers(), response.body().framing());
        let version = response.version();
        let arrived = Arrived { version, status, fields, framing, source: &source, request_time, response_time };
        judge::judge_post(want, &target, &arrived, hub.config().object_max)
    };
    let Judgement::Store(storable) = judgement else { return Err(Box::new(response)) };
    let place = tokio::time::timeout(Duration::ZERO, hub.bounds.enter(Some(want.client))).await;
    let Ok(Ok(place)) = place else { return Err(Box::new(response)) };
    let Some(blob) = room(hub, want, &storable).await else { return Err(Box::new(response)) };
    let upstream = want.target.upstream.clone().unwrap_or_else(|| source.as_str().into());
    let fetched = Fetched { response, source: source.into(), upstream, moved: None };
    let mut found = install(hub, want, *storable, blob, fetched, VecDeque::new(), Arc::new(place));
    let ttl = Some(ttl_secs(want, found.known(), response_time));
    found.status = CacheStatus { fwd_status: Some(status), stored: true, ttl, ..CacheStatus::new(How::Method) };
    Ok(found)
}
