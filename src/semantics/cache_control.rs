//! `Cache-Control` of requests and responses (RFC 9111 §5.2), `Pragma` (§5.4) and `CDN-Cache-Control` (RFC 9213).

use std::time::Duration;

use http::{HeaderMap, HeaderName};

/// The directives of a request (RFC 9111 §5.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    /// Also set by `Pragma: no-cache` where there is no `Cache-Control` (RFC 9111 §5.4).
    pub no_cache: bool,
    pub no_store: bool,
    pub no_transform: bool,
    pub only_if_cached: bool,
    pub max_age: Option<Duration>,
    pub min_fresh: Option<Duration>,
    /// How far past freshness the client accepts; without a value any.
    pub max_stale: Option<Duration>,
    /// RFC 5861 §4.
    pub stale_if_error: Option<Duration>,
}

/// The directives of a response (RFC 9111 §5.2.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseDirectives {
    pub no_store: bool,
    pub no_cache: Qualified,
    pub private: Qualified,
    pub public: bool,
    pub must_revalidate: bool,
    pub proxy_revalidate: bool,
    pub must_understand: bool,
    pub no_transform: bool,
    /// RFC 8246
    pub immutable: bool,
    pub max_age: Option<Duration>,
    pub s_maxage: Option<Duration>,
    /// RFC 5861 §3.
    pub stale_while_revalidate: Option<Duration>,
    /// RFC 5861 §4.
    pub stale_if_error: Option<Duration>,
    /// These came from `CDN-Cache-Control`, so `Cache-Control` and `Expires` do not count (RFC 9213 §2.2).
    pub targeted: bool,
}

/// A directive that may name fields: `no-cache="set-cookie"`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Qualified {
    #[default]
    Absent,
    /// It concerns the whole response.
    Everything,
    /// It concerns these fields only; not empty.
    Fields(Vec<HeaderName>),
}

impl RequestDirectives {
    pub fn of(request: &HeaderMap) -> Self {
        let _ = request;
        unimplemented!()
    }
}

impl ResponseDirectives {
    /// Reads `CDN-Cache-Control` if `targeted` and it is there and valid, else `Cache-Control`.
    pub fn of(response: &HeaderMap, targeted: bool) -> Self {
        let _ = (response, targeted);
        unimplemented!()
    }
}
