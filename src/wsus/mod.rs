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
    /// Of the value of `Content-Encoding`. `None`: one that is not read here.
    pub fn of(value: Option<&[u8]>) -> Option<Self> {
        match value {
            None => Some(Self::Identity),
            Some(value) if value.eq_ignore_ascii_case(b"identity") => Some(Self::Identity),
            Some(value) if value.eq_ignore_ascii_case(b"xpress") => Some(Self::Xpress),
            Some(_) => None,
        }
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
