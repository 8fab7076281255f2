//! What passes between Windows computers and their update server, read: bytes in, facts out.
//!
//! Pure: no I/O, no clock. Nothing that it learns is needed for passing a message on, and only [`Rewriter`] makes other bytes of it. Every reader
//! takes its input in arbitrary pieces and needs the same small memory for any length: single replies exceed 50 MB (MS-WUSP 2.2).

mod call;
mod fragment;
mod guid;
mod message;
mod reply;
mod request;
mod rewrite;
mod services;
pub mod xml;
pub mod xpress;

#[cfg(test)]
mod tests;

use http::{HeaderMap, HeaderValue, header::CONTENT_ENCODING};

pub use self::{
    call::{Call, Refused},
    fragment::{Classification, File, Identity, Update},
    guid::Guid,
    reply::{Fact, Location, Reply},
    request::{Build, Computer, Event, Outcome, Request, Said},
    rewrite::Rewriter,
    services::{Closed, Opened, Operation},
};

/// How a message is coded on its way (`Content-Encoding`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Identity,
    /// What update agents ask for, and what nearly every reply comes in.
    Xpress,
}

impl Coding {
    /// Of a message with these fields. `None`: one that is not read here, or several.
    pub fn of(fields: &HeaderMap) -> Option<Self> {
        let mut codings = fields.get_all(CONTENT_ENCODING).iter().map(HeaderValue::as_bytes);
        let coding = match codings.next() {
            None => Self::Identity,
            Some(value) if value.eq_ignore_ascii_case(b"identity") => Self::Identity,
            Some(value) if value.eq_ignore_ascii_case(b"xpress") => Self::Xpress,
            Some(_) => return None,
        };
        codings.next().is_none().then_some(coding)
    }
}

/// Why a message could not be read to its end. It passes all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error(transparent)]
    Xpress(#[from] xpress::Malformed),
    #[error(transparent)]
    Xml(#[from] xml::Malformed),
}

impl Unreadable {
    /// The one word that log, metric and page share.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Xpress(_) => "xpress",
            Self::Xml(_) => "xml",
        }
    }
}
