//! Why a request is not served, in one word, in one status and in one sentence.

use http::{Method, StatusCode};

use crate::{
    classify::{BadHost, Door},
    wsus,
};

/// Why a request is not served. Every one is final for the client, so 4xx (or 508).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No rule allows this origin.
    #[error("no rule allows the origin {0}; an administrator can add it to [origins] allow")]
    OriginNotAllowed(Box<str>),
    /// An address where a name is needed.
    #[error("{0} is an address, and only names of origins are allowed; [origins] aliases can give it a name")]
    Address(Box<str>),
    /// An allowed host, but one of services, not of content.
    #[error("{0} offers services, not content, so it is no cacheHostOrigin")]
    NotContent(Box<str>),
    /// An allowed host on a port no rule allows.
    #[error("port {port} of {host} is not allowed; an administrator can add \"{host}:{port}\" to [origins] allow")]
    Port { host: Box<str>, port: u16 },
    /// weir itself, or what looks like it.
    #[error("{0} is this proxy itself")]
    Itself(Box<str>),
    /// The request has the form of a door that is closed on this socket.
    #[error("the {} door is closed on this port; [[listen]] doors opens it", .0.as_str())]
    DoorClosed(Door),
    /// Addressed to us, but nothing is served under this name and path.
    #[error(
        "nothing is served here for {0}; name an origin (cacheHostOrigin, Host or proxy), or configure an [[upstream]] for it"
    )]
    NoSite(Box<str>),
    /// A service that branch clients have no business with.
    #[error("{0} is not for clients of a branch and is closed here")]
    Service(Box<str>),
    /// A call of an update service that is none that agents make.
    #[error("this call of an update service is not passed on: {0}")]
    Call(#[from] wsus::Refused),
    /// A field by which some servers take a request for another one than the one that was judged.
    #[error("the field {0} asks the server to take the request for another one, and is not passed on")]
    Override(&'static str),
    /// `allow`: what is taken instead (RFC 9110 §10.2.1).
    #[error("method {method} is not allowed here")]
    Method { method: Box<str>, allow: &'static str },
    /// RFC 9112 §3.2: no `Host`, or several.
    #[error("exactly one Host field is needed")]
    HostField,
    #[error("{text:?} is no valid host: {why}")]
    Host { text: Box<str>, why: BadHost },
    /// A scheme other than http and https.
    #[error("scheme {0} is not supported; http and https are")]
    Scheme(Box<str>),
    /// RFC 9112 §3.2: a request target that its method does not allow.
    #[error("this form of request target does not fit method {0}")]
    Target(Box<str>),
    #[error("the path is not acceptable: {0}")]
    Path(BadPath),
    #[error("the request target is {len} bytes long; {max} are allowed")]
    TargetTooLong { len: usize, max: usize },
    /// The request was here before (RFC 8586).
    #[error("this request has passed through this proxy already; check which upstream points back to it")]
    Loop,
}

/// What is wrong with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    #[error("it has a . or .. segment; send it normalised")]
    DotSegment,
    #[error("it has a backslash")]
    Backslash,
    #[error("it has an encoded slash")]
    EncodedSlash,
    #[error("it has a control character")]
    Control,
    #[error("it has an empty segment")]
    EmptySegment,
    #[error("it has a broken or doubled percent escape")]
    Escape,
    #[error("it has a name that only Windows file systems understand")]
    WindowsName,
}

impl Refusal {
    /// A method that these doors do not take: where only content is to be had less is taken than where weir passes on whatever it is.
    pub(super) fn method(method: &Method, doors: &[Door]) -> Self {
        let is_content_alone = doors.iter().all(|door| *door == Door::Delivery);
        let allow = if is_content_alone { "GET, HEAD" } else { "GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE" };
        Self::Method { method: method.as_str().into(), allow }
    }

    pub fn status(&self) -> StatusCode {
        match self {
            Self::OriginNotAllowed(_)
            | Self::Address(_)
            | Self::NotContent(_)
            | Self::Port { .. }
            | Self::Itself(_)
            | Self::DoorClosed(_)
            | Self::Override(_)
            | Self::Service(_) => StatusCode::FORBIDDEN,
            Self::Call(why) if why.is_length() => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Call(_) => StatusCode::FORBIDDEN,
            Self::NoSite(_) => StatusCode::NOT_FOUND,
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::HostField | Self::Host { .. } | Self::Scheme(_) | Self::Target(_) | Self::Path(_) => StatusCode::BAD_REQUEST,
            Self::TargetTooLong { .. } => StatusCode::URI_TOO_LONG,
            Self::Loop => StatusCode::LOOP_DETECTED,
        }
    }

    /// The methods for [`Method`](Self::Method) that are taken, for `Allow`.
    pub fn allow(&self) -> Option<&'static str> {
        match self {
            Self::Method { allow, .. } => Some(allow),
            _ => None,
        }
    }

    /// The one word that log, metric and page share.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::OriginNotAllowed(_) => "origin",
            Self::Address(_) => "address",
            Self::NotContent(_) => "not-content",
            Self::Port { .. } => "port",
            Self::Itself(_) => "itself",
            Self::DoorClosed(_) => "door-closed",
            Self::NoSite(_) => "no-site",
            Self::Service(_) => "service",
            Self::Call(why) => why.as_str(),
            Self::Override(_) => "override",
            Self::Method { .. } => "method",
            Self::HostField => "host-field",
            Self::Host { .. } => "host",
            Self::Scheme(_) => "scheme",
            Self::Target(_) => "target",
            Self::Path(_) => "path",
            Self::TargetTooLong { .. } => "target-length",
            Self::Loop => "loop",
        }
    }
}
