//! Which responses may be stored (RFC 9111 §3), and which requests may share one.

use http::{HeaderMap, Method, StatusCode};

use crate::semantics::{policy::Policy, range::ContentRange};

/// What may be stored of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storing {
    /// A complete response.
    Whole,
    /// A 206 with one range (RFC 9111 §3.3): these bytes of the representation.
    Part(ContentRange),
    /// A 206 `multipart/byteranges`: its parts, once parsed (RFC 9110 §15.3.7.2).
    Multipart,
}

/// Why a response may not be stored. One word each, for logs, metrics and Cache-Status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotStorable {
    /// The method's responses are not stored (RFC 9111 §3).
    Method,
    /// Not final, not understood, or an error that policy does not keep (RFC 9111 §3).
    Status,
    /// `no-store` in the request (RFC 9111 §5.2.1.5).
    RequestNoStore,
    /// `no-store` in the response (RFC 9111 §5.2.2.5).
    NoStore,
    /// `private` (RFC 9111 §5.2.2.7).
    Private,
    /// The request had `Authorization`, and nothing in the response allows sharing it (RFC 9111 §3.5).
    Authorization,
    /// Policy keeps no response that sets cookies.
    SetCookie,
    /// Neither explicit freshness nor a heuristic, nor a validator to ask with later (RFC 9111 §3).
    NoFreshness,
    /// A 206 whose fields contradict each other or say too little (RFC 9111 §3.3).
    PartialInvalid,
}

impl NotStorable {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Status => "status",
            Self::RequestNoStore => "request-no-store",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::Authorization => "authorization",
            Self::SetCookie => "set-cookie",
            Self::NoFreshness => "no-freshness",
            Self::PartialInvalid => "partial-invalid",
        }
    }
}

/// Whether (and how) a response may be stored by a shared cache (RFC 9111 §3).
pub fn storable(
    method: &Method,
    request: &HeaderMap,
    status: StatusCode,
    response: &HeaderMap,
    policy: &Policy,
) -> Result<Storing, NotStorable> {
    let _ = (method, request, status, response, policy);
    unimplemented!()
}

/// Whether a request may be answered by a response that another request caused (collapsed forwarding, RFC 9111 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// It may join a running flight, or start one that others join.
    Join,
    /// Others may join what it starts, but it may not join what began before it came: it demands validation.
    Lead,
    /// It goes upstream by itself.
    Alone,
}

/// Judged on the request alone, before anything is known of the response.
pub fn sharing(method: &Method, request: &HeaderMap) -> Sharing {
    let _ = (method, request);
    unimplemented!()
}
