//! Requests that end before anybody asks what they mean: the words between the listener, which finds them, and the proxy, which answers.

use http::StatusCode;

/// Why a request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unserved {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// There is no place for the connection it came on.
    #[error("too many connections; try again soon")]
    ConnectionLimit,
}

/// What is wrong with the bytes of a request, so that two parsers could read it in two ways (RFC 9112 §2.2, §5, §6, §7.1, §11.2).
///
/// Nothing that follows on its connection can be trusted to begin a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    #[error("the head has a line that ends in a bare line feed")]
    BareLf,
    #[error("the head has a carriage return that ends no line")]
    BareCr,
    #[error("the head has a control character")]
    Control,
    #[error("the request line is not a method, a target and a version with one space between them")]
    RequestLine,
    #[error("the method is longer than any that is known")]
    MethodLength,
    #[error("the request target has characters that must be escaped, or is no target at all")]
    Target,
    #[error("the request target is too long")]
    TargetLength,
    #[error("this version of HTTP is not spoken here")]
    Version,
    #[error("a field line is folded")]
    Fold,
    #[error("a field line does not begin with a name and a colon")]
    FieldName,
    #[error("the head has too many field lines")]
    FieldCount,
    #[error("the head is too long")]
    HeadLength,
    #[error("exactly one Host field is needed")]
    HostCount,
    #[error("Content-Length is not one number")]
    ContentLength,
    #[error("the request has both Content-Length and Transfer-Encoding")]
    BothFramings,
    #[error("chunked is not the one and last transfer coding of an HTTP/1.1 request")]
    TransferCoding,
    #[error("a transfer coding other than chunked is not known here")]
    UnknownCoding,
    #[error("CONNECT has no content")]
    TunnelContent,
    #[error("a chunk does not begin with its size")]
    ChunkSize,
    #[error("chunk extensions are too long")]
    ChunkExtensions,
    #[error("a chunk is not as long as it says")]
    ChunkEnd,
    #[error("the trailer section is no list of fields, or too long")]
    Trailers,
}

impl Unserved {
    pub fn status(self) -> StatusCode {
        match self {
            Self::Malformed(malformed) => malformed.status(),
            Self::ConnectionLimit => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The one word that log, metric and page share.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed(malformed) => malformed.as_str(),
            Self::ConnectionLimit => "connection-limit",
        }
    }
}

impl Malformed {
    /// 400 where nothing says more: 501 for what a server need not know (RFC 9112 §3, §6.1), 505 for versions (RFC 9110 §15.6.6), 414 and
    /// 431 for lengths (RFC 9112 §3, RFC 6585 §5).
    pub fn status(self) -> StatusCode {
        match self {
            Self::MethodLength | Self::UnknownCoding => StatusCode::NOT_IMPLEMENTED,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::TargetLength => StatusCode::URI_TOO_LONG,
            Self::FieldCount | Self::HeadLength => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BareLf
            | Self::BareCr
            | Self::Control
            | Self::RequestLine
            | Self::Target
            | Self::Fold
            | Self::FieldName
            | Self::HostCount
            | Self::ContentLength
            | Self::BothFramings
            | Self::TransferCoding
            | Self::TunnelContent
            | Self::ChunkSize
            | Self::ChunkExtensions
            | Self::ChunkEnd
            | Self::Trailers => StatusCode::BAD_REQUEST,
        }
    }

    /// The one word that log, metric and page share.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BareLf => "bare-lf",
            Self::BareCr => "bare-cr",
            Self::Control => "control-character",
            Self::RequestLine => "request-line",
            Self::MethodLength => "method-length",
            Self::Target => "target",
            Self::TargetLength => "target-length",
            Self::Version => "version",
            Self::Fold => "folded-line",
            Self::FieldName => "field-name",
            Self::FieldCount => "field-count",
            Self::HeadLength => "head-length",
            Self::HostCount => "host-count",
            Self::ContentLength => "content-length",
            Self::BothFramings => "both-framings",
            Self::TransferCoding => "transfer-coding",
            Self::UnknownCoding => "unknown-coding",
            Self::TunnelContent => "tunnel-content",
            Self::ChunkSize => "chunk-size",
            Self::ChunkExtensions => "chunk-extensions",
            Self::ChunkEnd => "chunk-end",
            Self::Trailers => "trailers",
        }
    }
}
