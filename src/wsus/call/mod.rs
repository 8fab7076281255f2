//! Calls of update services, judged before anything of them reaches a server: whether they are what an update agent sends.
//!
//! A server that deserialises what strangers send it is only as safe as what it is sent. What passes here is one call of a known operation, in
//! the plainest form that agents use; everything else is refused with a reason.

mod body;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use http::{HeaderMap, header::CONTENT_TYPE};

use crate::wsus::{
    Coding, Opened,
    services::{self, Operation, Service},
    xml::{self, Namespace},
};

/// A call whose head is acceptable; what it may say depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    service: &'static Service,
    pub operation: &'static Operation,
    pub coding: Coding,
}

/// Why a call does not reach the server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("nothing that clients of a branch need is called there")]
    Path,
    #[error("a GET has neither an action nor content")]
    Get,
    #[error("calls have no query")]
    Query,
    #[error("exactly one SOAPAction is needed")]
    ActionCount,
    #[error("that is none of this service's actions")]
    Action,
    #[error("{0} is not for clients of a branch and is closed here; open = [\"{1}\"] of the [[upstream]] opens it")]
    Closed(&'static str, &'static str),
    #[error("calls are text/xml in UTF-8")]
    ContentType,
    #[error("this content coding is not known here")]
    Coding,
    #[error("a call of {0} has at most {1} bytes")]
    TooLarge(&'static str, usize),
    #[error("it is no XML that SOAP allows: {0}")]
    Xml(#[from] xml::Malformed),
    #[error("it is not coded as it says")]
    Xpress,
    #[error("it has a character that XML does not have")]
    Character,
    #[error("it is not one envelope with one body with the call that its action names")]
    Envelope,
    #[error("{0} stands there twice")]
    Doubled(Box<str>),
    #[error("it has elements that are not the service's own")]
    Namespace,
    #[error("it has text beside elements")]
    Mixed,
    #[error("it has attributes that no agent sends")]
    Attribute,
    #[error("it is nested too deeply")]
    Depth,
    #[error("it has no authorization cookie of the plug-in SimpleTargeting")]
    PlugIn,
    #[error("its {0} is none that a server gives")]
    Cookie(&'static str),
    #[error("a text in it is meant for deserialisation")]
    Gadget,
}

impl Refused {
    /// The one word that log, metric and page share.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Path | Self::Closed(..) => "service",
            Self::Query => "call-query",
            Self::ActionCount | Self::Action => "call-action",
            Self::ContentType | Self::Coding => "call-type",
            Self::TooLarge(..) => "call-length",
            Self::Xml(xml::Malformed::Doctype | xml::Malformed::Entity | xml::Malformed::Instruction) => "call-dtd",
            Self::Xml(_) | Self::Xpress | Self::Character => "call-malformed",
            Self::Get | Self::Envelope | Self::Namespace | Self::Mixed | Self::Attribute | Self::Depth => "call-shape",
            Self::Doubled(_) => "call-doubled",
            Self::PlugIn | Self::Cookie(_) => "call-cookie",
            Self::Gadget => "call-gadget",
        }
    }

    /// It is too long, whatever it says.
    pub fn is_length(&self) -> bool {
        matches!(self, Self::TooLarge(..))
    }
}

impl Call {
    /// What the head of a POST to `path` (decoded, lower case) announces.
    pub fn announced(path: &str, query: Option<&str>, fields: &HeaderMap, opened: Opened) -> Result<Self, Refused> {
        let service = services::at(path).ok_or(Refused::Path)?;
        if query.is_some() {
            return Err(Refused::Query);
        }
        let operation = operation(service, fields)?;
        if let Some(closed) = operation.closed.filter(|closed| !opened.has(*closed)) {
            return Err(Refused::Closed(operation.name, closed.as_str()));
        }
        if !is_utf8_xml(fields) {
            return Err(Refused::ContentType);
        }
        let coding = Coding::of(fields).ok_or(Refused::Coding)?;
        Ok(Self { service, operation, coding })
    }

    /// What is answered says something of updates and files.
    pub fn is_answered_with_metadata(&self) -> bool {
        let names = ["SyncUpdates", "GetExtendedUpdateInfo", "GetExtendedUpdateInfo2", "GetFileLocations"];
        self.service.namespace == Namespace::Client && names.contains(&self.operation.name)
    }

    /// What is answered says where content lies.
    pub fn is_answered_with_places(&self) -> bool {
        self.is_answered_with_metadata() && self.operation.name != "SyncUpdates"
    }

    /// It says something of a computer.
    pub fn tells_of_clients(&self) -> bool {
        match self.service.namespace {
            Namespace::Client => self.operation.name == "RegisterComputer",
            Namespace::SimpleAuth => true,
            _ => self.operation.name == "ReportEventBatch",
        }
    }

    /// That it is longer than it may be.
    pub fn too_large(&self) -> Refused {
        Refused::TooLarge(self.operation.name, self.operation.len_max)
    }

    /// The whole content of the call without its coding, if it is acceptable. To be passed on so: another decoder might read the coded bytes in
    /// another way.
    ///
    /// # Errors
    /// The first thing that is not acceptable.
    pub fn check<'a>(&self, content: &'a [u8]) -> Result<Cow<'a, [u8]>, Refused> {
        if content.len() > self.operation.len_max {
            return Err(self.too_large());
        }
        body::check(self, content)
    }
}

fn operation(service: &'static Service, fields: &HeaderMap) -> Result<&'static Operation, Refused> {
    let mut actions = fields.get_all("soapaction").iter();
    let action = actions.next().filter(|_| actions.next().is_none()).ok_or(Refused::ActionCount)?;
    let action = action.to_str().map_err(|_| Refused::Action)?.trim();
    let action = action.strip_prefix('"').and_then(|action| action.strip_suffix('"')).unwrap_or(action);
    let name = action.strip_prefix(service.action).ok_or(Refused::Action)?;
    service.operations.iter().find(|operation| operation.name == name).ok_or(Refused::Action)
}

/// What else it were, a server might read it in another way than it was read here.
fn is_utf8_xml(fields: &HeaderMap) -> bool {
    let mut types = fields.get_all(CONTENT_TYPE).iter();
    let Some(Ok(text)) = types.next().filter(|_| types.next().is_none()).map(|value| value.to_str()) else { return false };
    let mut parts = text.split(';').map(str::trim);
    let is_xml = parts.next().is_some_and(|media| media.eq_ignore_ascii_case("text/xml"));
    let is_utf8 = |part: &str| {
        part.split_once('=').is_some_and(|(name, value)| {
            name.trim().eq_ignore_ascii_case("charset") && value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        })
    };
    is_xml && parts.next().is_none_or(is_utf8) && parts.next().is_none()
}
