//! What binds bytes together: further bytes join a blob only when they are beyond doubt of the same representation.

use http::{HeaderValue, Response, StatusCode};

use super::Error;
use crate::{
    object::ObjectMeta,
    semantics::{head, range::ContentRange, validator::Validator},
    upstream,
};

/// The representation that a blob holds: its strong validator, its length, and the host whose validator it is.
#[derive(Clone, Debug)]
pub(super) struct Binding {
    validator: Validator,
    len: u64,
    source: Box<str>,
}

/// What an answer to "the bytes from `at` on" brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Continuation {
    /// Bytes at the start of the body that are present already: an origin that ignores ranges sends everything.
    pub skip: u64,
    /// Where in the content the body ends.
    pub end: u64,
}

impl Binding {
    /// `None` when nothing may be combined with what is stored: no strong validator (RFC 9110 §8.8.1), or no length.
    pub(super) fn of(meta: &ObjectMeta) -> Option<Self> {
        let validator = Validator::of(&meta.fields);
        validator.is_strong().then_some(())?;
        Some(Self { validator, len: meta.len?, source: meta.source.clone() })
    }

    /// The condition under which a further range is asked for (RFC 9110 §13.1.5).
    pub(super) fn if_range(&self) -> Option<HeaderValue> {
        self.validator.if_range()
    }

    /// Judges an answer to a request for the bytes from `at` on.
    ///
    /// # Errors
    /// [`Error::Changed`] when it is of another representation, [`Error::Answered`] when it is no content at all.
    pub(super) fn admit<B>(&self, response: &Response<B>, source: &str, at: u64) -> Result<Continuation, Error> {
        let status = response.status();
        match status {
            StatusCode::PARTIAL_CONTENT | StatusCode::OK => {}
            StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::PRECONDITION_FAILED => return Err(Error::Changed),
            _ => return Err(Error::Answered(status)),
        }
        // A validator means something only at the host that gave it.
        if source != &*self.source || !self.validator.same_strong(&Validator::of(response.headers())) {
            return Err(Error::Changed);
        }
        let continuation = match status {
            StatusCode::OK => Continuation { skip: at, end: self.whole(response)? },
            _ => self.part(response, at)?,
        };
        Ok(continuation)
    }

    /// RFC 9111 §3.4: the ranges of one representation have one length.
    fn part<B>(&self, response: &Response<B>, at: u64) -> Result<Continuation, Error> {
        match ContentRange::of(response.headers()) {
            Ok(Some(ContentRange::Satisfied { range, len })) if len.is_none_or(|len| len == self.len) => {
                if range.start != at || range.end > self.len {
                    return Err(Error::WrongRange);
                }
                Ok(Continuation { skip: 0, end: range.end })
            }
            Ok(Some(_)) => Err(Error::Changed),
            Ok(None) | Err(_) => Err(Error::WrongRange),
        }
    }

    fn whole<B>(&self, response: &Response<B>) -> Result<u64, Error> {
        match head::content_length(response.headers()) {
            Ok(Some(len)) if len != self.len => Err(Error::Changed),
            Ok(_) => Ok(self.len),
            Err(ambiguity) => Err(Error::Upstream(upstream::Error::Protocol {
                upstream: self.source.clone(),
                reason: ambiguity.as_str().into(),
            })),
        }
    }
}
