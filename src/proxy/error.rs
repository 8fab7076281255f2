//! Why a request gets no answer from cache or upstream.

use crate::{
    cache,
    classify::Refusal,
    proxy::{call::Unread, unserved::Unserved},
    semantics::head::Ambiguity,
    upstream,
};

/// What `rescue` turns into a response. Exhaustively: a new reason does not compile until it has an answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request breaks a rule: the client's or the administrator's business.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It never became a request that means something.
    #[error(transparent)]
    Unserved(#[from] Unserved),
    /// The request could be read in two ways (RFC 9112 §6.3, §11.2).
    #[error("the request is ambiguous: {}", .0.as_str())]
    Ambiguous(Ambiguity),
    /// A call of an update service could not be read so far that it could be judged.
    #[error(transparent)]
    Unread(#[from] Unread),
    #[error(transparent)]
    Cache(#[from] cache::Error),
    /// A request or tunnel that does not involve the cache.
    #[error(transparent)]
    Upstream(#[from] upstream::Error),
}

impl From<Ambiguity> for Error {
    fn from(ambiguity: Ambiguity) -> Self {
        Self::Ambiguous(ambiguity)
    }
}
