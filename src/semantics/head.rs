//! Messages that could be read in two ways (RFC 9112 §3.2, §6.3, §11.2), as far as parsed fields show it.

use http::{HeaderMap, Method, StatusCode, Uri};

/// Why a message is refused: a request with 400 and the connection closed, a response with 502.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ambiguity {
    /// `Transfer-Encoding` beside `Content-Length` (RFC 9112 §6.3).
    BothFramings,
    /// Several different lengths, or one that is no number (RFC 9112 §6.3).
    ContentLength,
    /// A transfer coding other than a final `chunked` (RFC 9112 §6.1).
    TransferCoding,
    /// No `Host`, or more than one (RFC 9112 §3.2).
    HostCount,
    /// `Host` is not a host and port (RFC 9112 §3.2).
    HostSyntax,
    /// User information in the target (RFC 9110 §4.2.4).
    UserInfo,
    /// Absolute form and `Host` name different hosts.
    HostMismatch,
    /// The target's form does not fit the method (RFC 9112 §3.2).
    Target,
    /// Framing where there can be none: `Transfer-Encoding` in a 1xx or 204 (RFC 9112 §6.1).
    Bodyless,
}

impl Ambiguity {
    /// One word for logs, metrics and Cache-Status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BothFramings => "both-framings",
            Self::ContentLength => "content-length",
            Self::TransferCoding => "transfer-coding",
            Self::HostCount => "host-count",
            Self::HostSyntax => "host-syntax",
            Self::UserInfo => "userinfo",
            Self::HostMismatch => "host-mismatch",
            Self::Target => "target",
            Self::Bodyless => "bodyless",
        }
    }
}

/// Judges the head of an HTTP/1.1 or HTTP/2 request.
pub fn request(method: &Method, target: &Uri, fields: &HeaderMap) -> Result<(), Ambiguity> {
    let _ = (method, target, fields);
    unimplemented!()
}

/// Judges the head of a response.
pub fn response(status: StatusCode, fields: &HeaderMap) -> Result<(), Ambiguity> {
    let _ = (status, fields);
    unimplemented!()
}

/// The one length that all `Content-Length` lines agree on; `Ok(None)`: there is none (RFC 9110 §8.6).
pub fn content_length(fields: &HeaderMap) -> Result<Option<u64>, Ambiguity> {
    let _ = fields;
    unimplemented!()
}
