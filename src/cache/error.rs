//! Why the cache has no answer, or a body ends before its time.

use std::sync::Arc;

use http::StatusCode;

use crate::{store, upstream};

/// What went wrong, and who is to blame.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The network, or an upstream.
    #[error(transparent)]
    Upstream(#[from] upstream::Error),
    /// Our disk.
    #[error(transparent)]
    Store(Arc<store::Error>),
    /// The origin replaced the representation while it was being served: its rest cannot be had any more.
    #[error("the origin has another representation now")]
    Changed,
    /// The origin, asked for further bytes, gave none.
    #[error("asked for more bytes, the origin answered {0}")]
    Answered(StatusCode),
    /// The origin sent other bytes than asked for.
    #[error("the origin answered with another range than asked for")]
    WrongRange,
    /// The origin answered a range or a condition that its request did not have.
    #[error("the origin answered {0}, which nothing in the request asked for")]
    Unasked(StatusCode),
    /// The origin's answer could be read in two ways (RFC 9112 §6.3).
    #[error("the origin's answer has a framing that can be read in two ways")]
    Ambiguous,
    /// The body ended before its length.
    #[error("the body ended early")]
    Short,
    /// It broke, and the origin gave nothing to resume by (no strong validator, or no length).
    #[error("the fill ended early and cannot be resumed")]
    Unresumable,
    /// What the origin gives contradicts what is known of the content, and nobody gets it; the word says how.
    #[error("the origin's answer contradicts what is known of the content ({0})")]
    Contradicted(&'static str),
    /// Content that nobody gets unverified could not be verified: it could not be stored, or not be read.
    #[error("the content could not be held against its digest")]
    Unverified,
    /// Ours: a bound on fills.
    #[error("too many fills at once ({bound})")]
    Busy { bound: &'static str },
    /// Nobody brought a byte for too long.
    #[error("no byte came in time")]
    Stalled,
    /// The client said `only-if-cached` (RFC 9111 §5.2.1.7).
    #[error("not stored, and the request wants only what is")]
    OnlyIfCached,
    /// Ours: weir is shutting down.
    #[error("weir is shutting down")]
    Stopped,
}

impl Error {
    /// One word for the metric label, the log field and `Cache-Status`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Upstream(error) => error.reason(),
            Self::Store(_) => "store",
            Self::Changed => "changed",
            Self::Answered(_) => "answered",
            Self::WrongRange => "wrong-range",
            Self::Unasked(_) => "unasked",
            Self::Ambiguous => "ambiguous",
            Self::Short => "short",
            Self::Unresumable => "unresumable",
            Self::Contradicted(how) => how,
            Self::Unverified => "unverified",
            Self::Busy { .. } => "busy",
            Self::Stalled => "stalled",
            Self::OnlyIfCached => "only-if-cached",
            Self::Stopped => "stopped",
        }
    }

    /// Whether asking again for the same bytes may help.
    pub fn is_passing(&self) -> bool {
        use upstream::Error as Up;
        match self {
            Self::Upstream(error) => match error {
                Up::Resolve { .. }
                | Up::Connect { .. }
                | Up::ConnectTimeout { .. }
                | Up::Tls { .. }
                | Up::FirstByteTimeout { .. }
                | Up::Stalled { .. }
                | Up::Broken { .. }
                | Up::Protocol { .. }
                | Up::Refused { .. }
                | Up::Busy { .. }
                | Up::Exhausted { .. }
                | Up::Unhealthy { .. } => true,
                Up::Address { .. } | Up::Request { .. } | Up::Redirect { .. } | Up::RedirectLoop | Up::Closed => false,
            },
            Self::Answered(status) => is_passing(*status),
            Self::Short | Self::WrongRange | Self::Busy { .. } | Self::Stalled => true,
            Self::Store(_)
            | Self::Changed
            | Self::Ambiguous
            | Self::Unasked(_)
            | Self::Unresumable
            | Self::Contradicted(_)
            | Self::Unverified
            | Self::OnlyIfCached
            | Self::Stopped => false,
        }
    }
}

/// Whether a status speaks of the moment, not of the request: 5xx, and those of 4xx that say so (RFC 9110 §15.5.9, RFC 8470 §5.2, RFC 6585 §4).
fn is_passing(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS)
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Store(Arc::new(error))
    }
}
