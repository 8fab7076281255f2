//! Content: from what the doors make of a request to what the cache can answer, and from its answer to the client's.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, Method, Response, StatusCode, Version, header, request::Parts};

use super::{
    Error, Proxy,
    connection::Connection,
    recognised::{Behind, behind},
    respond::{self, Answered},
    target,
};
use crate::{
    cache::{self, Answer, CacheStatus, Forward, Found, How, Standing, Wanted},
    classify::{FreshnessRule, Want},
    semantics::{
        Facts, Policy,
        conditional::{self, Precondition},
        fields,
        range::{RangeLimits, RepeatedLines},
        select,
    },
    upstream,
};

impl Proxy {
    pub(super) async fn content(
        &self,
        connection: &Arc<Connection>,
        parts: Parts,
        want: Want,
        now: SystemTime,
    ) -> Result<Answered, Error> {
        let patient = !want.door.is_asked_by_delivery_optimization();
        let wanted = self.wanted(connection, parts, want);
        let mut answered = match self.cache.get(&wanted, now).await? {
            Answer::Found(found) => {
                let selection = select(&wanted.method, &wanted.fields, found.facts(), found.len(), &self.limits());
                let standing = self.standing(connection, &wanted, &found);
                Answered { standing, ..respond::stored(found, selection, &wanted.method, now) }
            }
            // A client error that speaks of the moment must not look like one of the request's.
            Answer::Relayed { response, .. } if !patient && passes(response.status()) => {
                return Err(cache::Error::Answered(response.status()).into());
            }
            Answer::Relayed { response, status } => relay(&wanted, *response, status, now),
        };
        if !matches!(answered.status.how, How::Hit | How::Stale) {
            answered.status.key = Some(wanted.key.text().into());
        }
        Ok(answered)
    }

    pub(super) fn wanted(&self, connection: &Connection, parts: Parts, want: Want) -> Arc<Wanted> {
        let interim = connection.interims.open(parts.version, &self.node);
        let client = connection.peer.ip();
        let asker = Asker { version: parts.version, method: parts.method, fields: parts.headers, client, interim };
        wanted(want, asker, &self.node)
    }

    /// What the answer rests on, if it is to be remembered and can be.
    fn standing(&self, connection: &Connection, wanted: &Arc<Wanted>, found: &Found) -> Option<Box<(Standing, Behind)>> {
        let behind =
            if connection.learning.is_wanted() { behind(wanted.forward.received, &wanted.fields)? } else { return None };
        Some(Box::new((self.cache.standing(wanted, found)?, behind)))
    }

    fn limits(&self) -> RangeLimits {
        RangeLimits { lines: RepeatedLines::Last, ranges_max: self.config.load().ranges_max, ..RangeLimits::default() }
    }
}

/// Who asks for content, and how.
pub(super) struct Asker {
    pub version: Version,
    pub method: Method,
    pub fields: HeaderMap,
    pub client: IpAddr,
    pub interim: upstream::Interim,
}

/// What `want` is to the cache.
pub(super) fn wanted(want: Want, asker: Asker, node: &Arc<str>) -> Arc<Wanted> {
    let forward = Forward { anonymous: want.anonymous, received: asker.version, node: node.clone() };
    let (policy, verified_policy) = policies(&want);
    let path_and_query = match &want.signature {
        Some(signature) if want.path_and_query.contains('?') => format!("{}&{signature}", want.path_and_query),
        Some(signature) => format!("{}?{signature}", want.path_and_query),
        None => want.path_and_query,
    };
    Arc::new(Wanted {
        key: want.key,
        target: target(want.origin, want.upstream),
        path_and_query,
        method: asker.method,
        end_to_end: fields::end_to_end(&asker.fields),
        fields: asker.fields,
        forward,
        policy,
        verified_policy,
        declared: want.declared,
        ranged: want.ranged,
        file: want.anonymous || want.declared.is_some(),
        // Content only: a resuming Delivery Optimization client adds a line per resume, and only the last is right.
        lines: RepeatedLines::Last,
        client: asker.client,
        patience: want.door.is_asked_by_delivery_optimization().then_some(PATIENCE),
        interim: asker.interim,
    })
}

/// Delivery Optimization counts 20 s of (nearly) nothing as a fault of the cache; an error before that is one of the origin.
const PATIENCE: Duration = Duration::from_secs(15);

fn passes(code: StatusCode) -> bool {
    code.is_client_error() && cache::Error::Answered(code).is_passing()
}

/// The policy for what a name stands for, and the one once its content matched its digest.
fn policies(want: &Want) -> (Policy, Policy) {
    match want.freshness {
        FreshnessRule::Immutable => (want.policy, want.policy.verified()),
        FreshnessRule::Http | FreshnessRule::Mutable => (want.policy, want.policy),
    }
}

/// A response that is not stored. The cache asked without the client's conditions, so they are held against it here: also against a part,
/// which a client that resumes would else append to other bytes (RFC 9110 §13.2.2).
fn relay(wanted: &Wanted, mut response: Response<upstream::Body>, status: CacheStatus, now: SystemTime) -> Answered {
    let code = response.status();
    // RFC 9110 §13.2.1: conditions count only where the answer without them is a success.
    if !code.is_success() || !conditional::is_conditional(&wanted.fields) {
        return respond::relayed(response, status);
    }
    let facts = Facts::of(code, response.headers(), now, now, &wanted.policy);
    let code = match conditional::evaluate_relayed(&wanted.method, &wanted.fields, &facts) {
        Precondition::Passed { .. } => return respond::relayed(response, status),
        Precondition::NotModified => StatusCode::NOT_MODIFIED,
        Precondition::Failed => StatusCode::PRECONDITION_FAILED,
    };
    response.headers_mut().remove(header::CONTENT_RANGE);
    respond::relayed_bare(response, code, status)
}
