//! What can go wrong on the way to an upstream. Each variant says who is to blame; `reason` is the word for logs and metrics.

use std::{net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use http::StatusCode;

/// Why a request got no answer from any upstream, or why an answer's body ended early.
///
/// Which status a client sees for it is decided elsewhere; nothing here is a client's fault but [`Error::Address`] and
/// [`Error::Redirect`], and [`Error::Request`] in part.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The resolver or the name: nobody can say where the host is.
    #[error("{host}: no such name, or the resolver did not answer: {reason}")]
    Resolve { host: Box<str>, reason: Arc<str> },
    /// The name's owner, or whoever named the address: special-purpose, weir's own, or a literal nobody configured.
    #[error("{host}: address {address} is not allowed: {why}")]
    Address { host: Box<str>, address: IpAddr, why: &'static str },
    /// The upstream or the network refused or lost the connection attempt.
    #[error("{upstream}: connect: {reason}")]
    Connect { upstream: Box<str>, reason: Arc<str> },
    /// The upstream or the network is silent.
    #[error("{upstream}: connect took longer than {after:?}")]
    ConnectTimeout { upstream: Box<str>, after: Duration },
    /// The upstream's certificate or protocol version, or the configured roots.
    #[error("{upstream}: TLS: {reason}")]
    Tls { upstream: Box<str>, reason: Arc<str> },
    /// The upstream took the request and says nothing.
    #[error("{upstream}: no response head within {after:?}")]
    FirstByteTimeout { upstream: Box<str>, after: Duration },
    /// The upstream stopped in the middle of a body.
    #[error("{upstream}: no byte of the body within {after:?}")]
    Stalled { upstream: Box<str>, after: Duration },
    /// The upstream or the network ended the connection too early.
    #[error("{upstream}: connection broke: {reason}")]
    Broken { upstream: Box<str>, reason: Arc<str> },
    /// The upstream does not speak HTTP/1.1.
    #[error("{upstream}: unintelligible response: {reason}")]
    Protocol { upstream: Box<str>, reason: Arc<str> },
    /// The request could not be sent on: its own body failed (the client's doing), or it has no valid form.
    #[error("{upstream}: request not sent: {reason}")]
    Request { upstream: Box<str>, reason: Arc<str> },
    /// The origin sends elsewhere, and no rule allows that place (or it would leave TLS).
    #[error("redirect to {to} is not allowed")]
    Redirect { to: Box<str> },
    /// The origin's redirects do not end.
    #[error("too many redirects")]
    RedirectLoop,
    /// A parent answered that this is not its business (403, 508) or that it cannot (502, 503, 504), and no hop is left.
    #[error("{upstream}: answered {status}, and no other upstream is left")]
    Refused { upstream: Box<str>, status: StatusCode },
    /// Ours: all connections this upstream may have are in use and none came free in time.
    #[error("{upstream}: all {limit} connections busy")]
    Busy { upstream: Box<str>, limit: usize },
    /// Ours: the system gives no file descriptor, port or memory for another connection.
    #[error("{upstream}: no connection can be opened: {reason}")]
    Exhausted { upstream: Box<str>, reason: Arc<str> },
    /// Nobody is left to ask: the configuration allows only parents, and there is none for this origin.
    #[error("{target}: no healthy upstream")]
    Unhealthy { target: Box<str> },
    /// Ours: weir is shutting down.
    #[error("upstreams are closed")]
    Closed,
}

impl Error {
    /// One word for the metric label and the log field.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Resolve { .. } => "resolve",
            Self::Address { .. } => "address",
            Self::Connect { .. } => "connect",
            Self::ConnectTimeout { .. } => "connect-timeout",
            Self::Tls { .. } => "tls",
            Self::FirstByteTimeout { .. } => "first-byte-timeout",
            Self::Stalled { .. } => "stalled",
            Self::Broken { .. } => "broken",
            Self::Protocol { .. } => "protocol",
            Self::Request { .. } => "request",
            Self::Redirect { .. } => "redirect",
            Self::RedirectLoop => "redirect-loop",
            Self::Refused { .. } => "refused",
            Self::Busy { .. } => "busy",
            Self::Exhausted { .. } => "exhausted",
            Self::Unhealthy { .. } => "unhealthy",
            Self::Closed => "closed",
        }
    }
}

/// Why a [`Config`](crate::upstream::Config) cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("CA file {path}: {reason}")]
    CaFile { path: PathBuf, reason: String },
    #[error("no CA certificates: neither the system nor the configuration has any")]
    NoRoots,
    #[error("TLS: {0}")]
    Tls(String),
    #[error("resolver: {0}")]
    Resolver(String),
    #[error("two upstreams are named {0}")]
    DuplicateName(Arc<str>),
    #[error("upstream {upstream}: {key}: {value} cannot be sent")]
    Unsendable { upstream: Arc<str>, key: &'static str, value: Box<str> },
}
