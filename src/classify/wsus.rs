//! Paths of a Windows Server Update Services server: what clients of a branch need, and what stays closed.
//!
//! IIS compares paths without regard to case and decodes escapes, so paths are compared decoded and in lower case.

use http::Method;

use crate::{
    classify::{
        Asked, Door, Refusal, content,
        path::{self, Strictness},
    },
    digest::Digest,
    wsus::{Call, Closed, Opened, Refused},
};

#[derive(Debug)]
pub(super) enum Verdict {
    /// An update's file.
    Content(Content),
    /// Files of the self-update tree, which change under their names.
    SelfUpdate,
    /// A call of a service.
    Call(Call),
    /// Everything else that is open.
    Pass,
}

/// A file whose name is its digest.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// In the spelling that WSUS itself uses, whatever the client's.
    pub(super) path: String,
    pub(super) digest: Digest,
}

/// What is behind the first segment of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Area {
    Content,
    SelfUpdate,
    /// Needed by clients.
    Client,
    /// No client needs it.
    Closed(Closed),
}

/// First segments in lower case. Source: MS-WUSP 2.1, MS-WSUSSS 2.1 and the WSUS deployment guide.
const AREAS: &[(&str, Area)] = &[
    ("content", Area::Content),
    ("selfupdate", Area::SelfUpdate),
    ("clientwebservice", Area::Client),
    ("simpleauthwebservice", Area::Client),
    ("reportingwebservice", Area::Client),
    ("apiremoting30", Area::Closed(Closed::Administration)),
    ("serversyncwebservice", Area::Closed(Closed::ServerSync)),
    ("dssauthwebservice", Area::Closed(Closed::DssAuth)),
    ("inventory", Area::Closed(Closed::Inventory)),
];

/// Fields by which frameworks and IIS modules let a client replace target or method. No agent sends one.
const OVERRIDES: &[&str] = &["x-original-url", "x-rewrite-url", "x-http-method-override", "x-http-method", "x-method-override"];

fn area(folded: &str) -> Option<Area> {
    // A downstream server doubles the first slash: `//DssAuthWebService/…`.
    let first = folded.trim_start_matches('/').split('/').next()?;
    AREAS.iter().find(|(name, _)| *name == first).map(|(_, area)| *area)
}

/// Whether the path is one that a WSUS has.
pub(super) fn is_wsus_path(path: &str) -> bool {
    area(&path::folded(path)).is_some()
}

/// What a request to a WSUS is. Refuses what branch clients have no business with, unless the site has opened it.
pub(super) fn judge(asked: &Asked<'_>, query: Option<&str>, opened: Opened) -> Result<Verdict, Refusal> {
    if let Some(name) = OVERRIDES.iter().find(|name| asked.headers.contains_key(**name)) {
        return Err(Refusal::Override(name));
    }
    let path = asked.uri.path();
    let folded = path::folded(path);
    let area = area(&folded);
    let service = || Refusal::Service(path.into());
    match area {
        Some(Area::Closed(what)) if !opened.has(what) => return Err(service()),
        // The doubled slash is how its downstream servers write it.
        Some(Area::Closed(_)) if path.starts_with("//") => path::check(&path[1..], Strictness::Windows).map_err(Refusal::Path)?,
        _ => path::check(path, Strictness::Windows).map_err(Refusal::Path)?,
    }
    if matches!(*asked.method, Method::GET | Method::HEAD) {
        // What stands beside the head of one would reach the server without having been judged.
        if area.is_some() && content::pass_reason(asked).is_some() {
            return Err(Refused::Get.into());
        }
        // Service descriptions and help pages: nothing asks for them but people and scanners.
        let is_description = folded.contains(".asmx") || describes(query);
        let is_page = area == Some(Area::Client) && !folded.ends_with(".xml");
        if (is_description || is_page) && !opened.has(Closed::Descriptions) {
            return Err(service());
        }
    }
    match area {
        Some(Area::Content | Area::SelfUpdate) if !matches!(*asked.method, Method::GET | Method::HEAD) => {
            Err(Refusal::method(asked.method, &[Door::Delivery]))
        }
        Some(Area::Content) => Ok(file(path).map_or(Verdict::Pass, Verdict::Content)),
        Some(Area::SelfUpdate) => Ok(Verdict::SelfUpdate),
        Some(Area::Client | Area::Closed(Closed::ServerSync | Closed::DssAuth)) => match *asked.method {
            Method::POST => Ok(Verdict::Call(Call::announced(&folded, query, asked.headers, opened)?)),
            Method::GET | Method::HEAD => Ok(Verdict::Pass),
            _ => Err(service()),
        },
        Some(Area::Closed(_)) => Ok(Verdict::Pass),
        None if opened.has(Closed::Other) => Ok(Verdict::Pass),
        None => Err(service()),
    }
}

fn describes(query: Option<&str>) -> bool {
    let query = query.map(path::folded).unwrap_or_default();
    ["wsdl", "singlewsdl", "disco"].iter().any(|word| query == *word || query.starts_with(&format!("{word}=")))
}

/// `/Content/<XX>/<40 hex digits>.<extension>`, where XX is the last byte of the SHA-1 (MS-WSUSSS 2.1); a leading zero of XX may be missing.
pub(super) fn file(path: &str) -> Option<Content> {
    let mut segments = path.strip_prefix('/')?.split('/');
    let (first, folder, file) = (segments.next()?, segments.next()?, segments.next()?);
    let (hex, extension) = file.split_once('.')?;
    let is_content = first.eq_ignore_ascii_case("content") && segments.next().is_none();
    let is_extension = !extension.is_empty() && extension.bytes().all(|b| b.is_ascii_alphanumeric());
    if !is_content || !is_extension || hex.len() != 40 || !matches!(folder.len(), 1 | 2) {
        return None;
    }
    let digest = Digest::from_hex(hex)?;
    let last = digest.bytes().last().copied()?;
    if !folder.bytes().all(|b| b.is_ascii_hexdigit()) || u8::from_str_radix(folder, 16) != Ok(last) {
        return None;
    }
    let path = format!("/Content/{last:02X}/{}.{}", hex.to_ascii_uppercase(), extension.to_ascii_lowercase());
    Some(Content { path, digest })
}
