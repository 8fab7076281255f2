//! From an allowed origin and a path to a key: what is content, what is passed, and by which rule.

use http::{Method, Uri, header};

use crate::{
    classify::{
        Asked, Class, Door, FreshnessRule, Pass, PassReason, Policy, Refusal, Want,
        origins::Allowed,
        path::{self, Strictness},
        rules::{self, Family, PathRule, Query},
    },
    key::{CacheKey, Origin},
};

/// Which parameters a request carries beside those of its URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    /// With `cacheHostOrigin`, which the origin must not see.
    CacheHost,
}

/// An allowed origin that a request names.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) door: Door,
    pub(super) form: Form,
    pub(super) allowed: Allowed,
}

impl Policy {
    /// The class of a request to an allowed origin.
    pub(super) fn content(&self, asked: &Asked<'_>, wanted: Wanted) -> Result<Class, Refusal> {
        let Wanted { door, form, allowed: Allowed { origin, upstream } } = wanted;
        let family = self.origins.family(&origin);
        let strictness = if door == Door::Delivery || family.is_some() { Strictness::Content } else { Strictness::Any };
        path::check(asked.uri.path(), strictness).map_err(Refusal::Path)?;
        let is_service = family.is_some_and(|family| family.is_service());
        if let Some(why) = is_service.then_some(PassReason::Service).or_else(|| pass_reason(asked)) {
            let query = path::sift(asked.uri.query(), Query::Keep, form == Form::CacheHost);
            let path_and_query = path::join(asked.uri.path(), query.kept.as_deref());
            return Ok(Class::Pass(Pass { door, why, origin, upstream, path_and_query, call: None, rewrites: false }));
        }
        let rule = rule(family, asked.uri.path());
        let sifted = sift(asked.uri, rule, form);
        let path_and_query = path::join(asked.uri.path(), sifted.kept.as_deref());
        // A content service of many has nothing to learn from one client, whichever door it came through.
        let anonymous = door != Door::Forward || family.is_some();
        let freshness = rule.map_or(FreshnessRule::Http, |rule| rule.freshness);
        Ok(Class::Content(Want {
            door,
            key: CacheKey::new(origin.scheme, &self.origins.group(&origin, family), &path_and_query),
            upstream,
            path_and_query,
            signature: sifted.signature,
            freshness,
            policy: self.policies.of(freshness, anonymous),
            declared: rule.and_then(|rule| rule.shape.digest(asked.uri.path())),
            ranged: family.is_some() || rules::is_large_by_name(asked.uri.path()),
            anonymous,
            origin,
        }))
    }

    /// The key of a URL at an origin.
    pub(super) fn key(&self, origin: &Origin, url: &Uri, form: Form) -> CacheKey {
        let family = self.origins.family(origin);
        let sifted = sift(url, rule(family, url.path()), form);
        CacheKey::new(origin.scheme, &self.origins.group(origin, family), &path::join(url.path(), sifted.kept.as_deref()))
    }
}

/// The rule of a service for a path.
fn rule(family: Option<&Family>, path: &str) -> Option<&'static PathRule> {
    family?.rules.iter().find(|rule| rule.shape.fits(path))
}

/// A signature is only found under a rule; `cacheHostOrigin` is also taken out where a rule knows that the host is a content service's.
fn sift<'a>(url: &'a Uri, rule: Option<&PathRule>, form: Form) -> path::Sifted<'a> {
    let query = rule.map_or(Query::Keep, |rule| rule.query);
    path::sift(url.query(), query, form == Form::CacheHost || query == Query::Signature)
}

/// Why a request cannot be answered from a cache, whatever the origin.
pub(super) fn pass_reason(asked: &Asked<'_>) -> Option<PassReason> {
    if asked.headers.contains_key("soapaction") {
        return Some(PassReason::Service);
    }
    if !matches!(*asked.method, Method::GET | Method::HEAD) {
        return Some(PassReason::Method);
    }
    has_content(asked).then_some(PassReason::Body)
}

/// Delivery Optimization sends `Content-Length: 0` on GET, which is no content.
fn has_content(asked: &Asked<'_>) -> bool {
    match asked.headers.get(header::CONTENT_LENGTH) {
        Some(length) => length.as_bytes() != b"0",
        None => asked.has_content || asked.headers.contains_key(header::TRANSFER_ENCODING),
    }
}
