//! The four doors: request parts and policy in, a class out. Pure.

use std::sync::Arc;

use crate::{
    digest::Digest,
    key::{CacheKey, Origin},
};

/// A way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Door {
    Reverse,
    Wsus,
    Delivery,
    Transparent,
    Forward,
}

/// What a request is to us.
#[derive(Debug)]
pub enum Class {
    Content(Want),
    Pass(Pass),
    Tunnel(Origin),
    Refuse(Refusal),
}

/// Content somebody wants: what it is called here, and where it comes from.
#[derive(Clone, Debug)]
pub struct Want {
    pub door: Door,
    pub key: CacheKey,
    pub origin: Origin,
    /// The `[[upstream]]` whose door this came through, if any.
    pub upstream: Option<Arc<str>>,
    /// Origin-form as the origin wants it: path, the query parameters that count, without signature and `cacheHostOrigin`.
    pub path_and_query: String,
    /// The client's own signature parameters (`P1=…&P2=…`), when it sent some: needed by a fill, no part of the key.
    pub signature: Option<String>,
    pub freshness: FreshnessRule,
    /// A digest that the path declares under a rule.
    pub declared: Option<Digest>,
    /// Ask in bounded ranges from the first request on (large content from origins known for ranges).
    pub ranged: bool,
    /// Fields and cookies of the client never reach the origin, and policy edges of the delivery and transparent doors apply.
    pub anonymous: bool,
}

/// Which rule decides freshness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreshnessRule {
    /// RFC 9111 as the response says.
    Http,
    /// The name holds a version or digest: never asked again once whole and verified, 7 days before that.
    Immutable,
    /// Names known to change: always revalidated.
    Mutable,
}

/// A request that is relayed without caching.
#[derive(Clone, Debug)]
pub struct Pass {
    pub door: Door,
    pub why: PassReason,
    pub origin: Origin,
    pub upstream: Option<Arc<str>>,
    pub path_and_query: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassReason {
    /// Not GET or HEAD.
    Method,
    /// A service call (SOAP).
    Service,
    /// The client or the upstream's configuration wants no caching.
    Policy,
}

/// Why a request is not served. Every one is final for the client, so 4xx (or 508).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    OriginNotAllowed(Box<str>),
}
