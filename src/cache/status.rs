//! What the cache did for one request: the words of `Cache-Status` (RFC 9211), shared with log and metrics.

use std::fmt;

use http::StatusCode;

use crate::metrics::Verdict;

/// How a response came about. Formats as a member of the `Cache-Status` list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheStatus {
    /// RFC 9211 §2.1, §2.2.
    pub how: How,
    /// What the upstream answered, where it was asked for this request (§2.3).
    pub fwd_status: Option<StatusCode>,
    /// What the response is stored under (§2.7), where the origin was asked: hits need not carry it.
    pub key: Option<Box<str>>,
    /// Seconds of freshness left, negative when stale (§2.4).
    pub ttl: Option<i64>,
    /// The response was stored (§2.5).
    pub stored: bool,
    /// One word that says more (§2.8).
    pub detail: Option<&'static str>,
}

/// The heart of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// From the store, nobody was asked.
    Hit,
    /// From the store although stale: the client accepts that, or the origin is being asked in the background (RFC 5861 §3).
    Stale,
    /// From the store although stale, because the origin was asked in vain (`fwd=stale`; RFC 9111 §4.2.4, RFC 5861 §4).
    StaleOnError,
    /// The origin was asked and confirmed what is stored (`fwd=stale`, 304).
    Revalidated,
    /// The same for a response that is fresh, but not fresh enough for the request's directives (`fwd=request`, 304).
    RevalidatedOnDemand,
    /// Joined what another request had started (`collapsed`).
    Collapsed,
    /// The same where something is stored, but for other selecting fields (`fwd=vary-miss; collapsed`).
    CollapsedVariant,
    /// The same where what is stored is stale (`fwd=stale; collapsed`).
    CollapsedStale,
    /// Part of it had to be fetched (`fwd=partial`).
    Partial,
    /// Nothing is stored under the key (`fwd=uri-miss`).
    UriMiss,
    /// Something is stored, but for other selecting fields (`fwd=vary-miss`).
    VaryMiss,
    /// What is stored is of no use: incomplete and impossible to complete (`fwd=miss`).
    Miss,
    /// What is stored is stale, and the origin gave something else (`fwd=stale`).
    Replaced,
    /// The request's own directives (`fwd=request`).
    Request,
    /// The method is not cached (`fwd=method`).
    Method,
    /// Not for this cache (`fwd=bypass`).
    Bypass,
    /// No upstream was asked and nothing was stored that could answer: an error or a refusal of weir's own.
    Own,
}

impl CacheStatus {
    pub fn new(how: How) -> Self {
        Self { how, fwd_status: None, key: None, ttl: None, stored: false, detail: None }
    }

    /// Whether the response was received or confirmed for this very request (RFC 9111 §5.2.2.4).
    pub fn is_first_use(&self) -> bool {
        match self.how {
            How::Hit | How::Stale | How::StaleOnError | How::Partial | How::Own => false,
            How::Collapsed | How::CollapsedVariant | How::CollapsedStale => false,
            How::Revalidated | How::RevalidatedOnDemand | How::UriMiss | How::VaryMiss | How::Miss | How::Replaced => true,
            How::Request | How::Method | How::Bypass => true,
        }
    }

    /// The word for metrics and the access log.
    pub fn verdict(&self) -> Verdict {
        match self.how {
            How::Hit => Verdict::Hit,
            How::Stale | How::StaleOnError => Verdict::Stale,
            How::Revalidated | How::RevalidatedOnDemand => Verdict::Revalidated,
            How::Collapsed | How::CollapsedVariant | How::CollapsedStale => Verdict::Collapsed,
            How::Partial => Verdict::Partial,
            How::UriMiss | How::VaryMiss | How::Miss | How::Replaced | How::Request => Verdict::Miss,
            How::Method | How::Bypass => Verdict::Bypass,
            How::Own => Verdict::Error,
        }
    }
}

impl fmt::Display for CacheStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("weir")?;
        f.write_str(match self.how {
            How::Hit | How::Stale => "; hit",
            How::Revalidated | How::Replaced | How::StaleOnError => "; fwd=stale",
            How::Collapsed => "; fwd=uri-miss; collapsed",
            How::CollapsedVariant => "; fwd=vary-miss; collapsed",
            How::CollapsedStale => "; fwd=stale; collapsed",
            How::Partial => "; fwd=partial",
            How::UriMiss => "; fwd=uri-miss",
            How::VaryMiss => "; fwd=vary-miss",
            How::Miss => "; fwd=miss",
            How::Request | How::RevalidatedOnDemand => "; fwd=request",
            How::Method => "; fwd=method",
            How::Bypass => "; fwd=bypass",
            How::Own => "",
        })?;
        if let Some(status) = self.fwd_status {
            write!(f, "; fwd-status={}", status.as_u16())?;
        }
        if let Some(ttl) = self.ttl {
            write!(f, "; ttl={ttl}")?;
        }
        if self.stored {
            f.write_str("; stored")?;
        }
        if let Some(key) = self.key.as_deref().filter(|key| key.bytes().all(|byte| (0x20..0x7f).contains(&byte))) {
            // A string of RFC 9651 §3.3.3.
            write!(f, "; key=\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""))?;
        }
        match self.detail {
            Some(detail) => write!(f, "; detail={detail}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_says_what_happened_in_the_words_of_rfc_9211() {
        let hit = CacheStatus { ttl: Some(376), ..CacheStatus::new(How::Hit) };
        assert_eq!(hit.to_string(), "weir; hit; ttl=376");
        let stale = CacheStatus { ttl: Some(-5), ..CacheStatus::new(How::Stale) };
        assert_eq!(stale.to_string(), "weir; hit; ttl=-5");
        let disconnected = CacheStatus { ttl: Some(-5), detail: Some("connect"), ..CacheStatus::new(How::StaleOnError) };
        assert_eq!(disconnected.to_string(), "weir; fwd=stale; ttl=-5; detail=connect");
        let miss = CacheStatus { fwd_status: Some(StatusCode::OK), stored: true, ..CacheStatus::new(How::UriMiss) };
        assert_eq!(miss.to_string(), "weir; fwd=uri-miss; fwd-status=200; stored");
        let keyed = |key: &str| CacheStatus { key: Some(key.into()), ..CacheStatus::new(How::UriMiss) }.to_string();
        assert_eq!(keyed("http://a/b?c"), r#"weir; fwd=uri-miss; key="http://a/b?c""#);
        assert_eq!(keyed(r#"http://a/"\"#), r#"weir; fwd=uri-miss; key="http://a/\"\\""#);
        assert_eq!(keyed("http://a/ä"), "weir; fwd=uri-miss", "a string has no other characters");
        assert_eq!(CacheStatus::new(How::Collapsed).to_string(), "weir; fwd=uri-miss; collapsed");
    }
}
