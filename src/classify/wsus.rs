//! Paths of a Windows Server Update Services server: what clients of a branch need, and what stays closed.
//!
//! IIS compares paths without regard to case and decodes escapes, so paths are compared decoded and in lower case.

use http::Method;

use crate::{
    classify::{
        Refusal,
        path::{self, Strictness},
    },
    digest::Digest,
};

#[derive(Debug)]
pub(super) enum Verdict {
    /// An update's file.
    Content(Content),
    /// Files of the self-update tree, which change under their names.
    SelfUpdate,
    /// Calls and everything else.
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
    /// The catalogue and approvals in bulk, or administration: no client needs it, and unauthenticated code execution came this way.
    Closed,
}

/// First segments in lower case. Source: MS-WUSP 2.1, MS-WSUSSS 2.1 and the WSUS deployment guide; closed are the services that only downstream
/// servers and administrators call (CVE-2025-59287 and CVE-2026-20856 show what an open one costs).
const AREAS: &[(&str, Area)] = &[
    ("content", Area::Content),
    ("selfupdate", Area::SelfUpdate),
    ("clientwebservice", Area::Client),
    ("simpleauthwebservice", Area::Client),
    ("reportingwebservice", Area::Client),
    ("apiremoting30", Area::Closed),
    ("serversyncwebservice", Area::Closed),
    ("dssauthwebservice", Area::Closed),
    ("inventory", Area::Closed),
];

fn area(folded: &str) -> Option<Area> {
    // A downstream server doubles the first slash: `//DssAuthWebService/…`.
    let first = folded.trim_start_matches('/').split('/').next()?;
    AREAS.iter().find(|(name, _)| *name == first).map(|(_, area)| *area)
}

/// Whether the path is one that a WSUS has.
pub(super) fn is_wsus_path(path: &str) -> bool {
    area(&path::folded(path)).is_some()
}

/// What a request to a WSUS is. Refuses what branch clients have no business with.
pub(super) fn judge(method: &Method, path: &str, query: Option<&str>) -> Result<Verdict, Refusal> {
    let folded = path::folded(path);
    let area = area(&folded);
    if area == Some(Area::Closed) {
        return Err(Refusal::Service(path.into()));
    }
    path::check(path, Strictness::Windows).map_err(Refusal::Path)?;
    // Service descriptions and help pages: nothing asks for them but people and scanners.
    if matches!(*method, Method::GET | Method::HEAD) && (folded.contains(".asmx") || describes(query)) {
        return Err(Refusal::Service(path.into()));
    }
    Ok(match area {
        Some(Area::Content) => content(path).map_or(Verdict::Pass, Verdict::Content),
        Some(Area::SelfUpdate) => Verdict::SelfUpdate,
        _ => Verdict::Pass,
    })
}

fn describes(query: Option<&str>) -> bool {
    let query = query.map(path::folded).unwrap_or_default();
    ["wsdl", "singlewsdl", "disco"].iter().any(|word| query == *word || query.starts_with(&format!("{word}=")))
}

/// `/Content/<XX>/<40 hex digits>.<extension>`, where XX is the last byte of the SHA-1 (MS-WSUSSS 2.1); a leading zero of XX may be missing.
pub(super) fn content(path: &str) -> Option<Content> {
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
