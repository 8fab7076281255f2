//! Paths and queries of requests: what is refused before anything is keyed, and the parameters that rules take out.

use std::borrow::Cow;

use crate::classify::{BadPath, rules::Query};

/// How much a path is trusted to mean one thing only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Strictness {
    /// Any server: keys are byte for byte, so an encoded slash is just another name (npm's `@scope%2fname`).
    Any,
    /// Content servers whose names never need escapes for slashes: no two spellings of one path.
    Content,
    /// A Windows server that decodes paths and maps them to a file system.
    Windows,
}

/// Refuses paths that another server may read as a different path than we do.
pub(super) fn check(path: &str, strictness: Strictness) -> Result<(), BadPath> {
    if path.contains('\\') {
        return Err(BadPath::Backslash);
    }
    if path.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return Err(BadPath::Control);
    }
    // Nearly all paths end here.
    if !path.contains('%') && !path.contains("/.") && !path.contains("//") && strictness != Strictness::Windows {
        return Ok(());
    }
    let plain = decode(path, strictness)?;
    for (nth, segment) in plain.split(['/', '\\']).enumerate() {
        if segment == "." || segment == ".." {
            return Err(BadPath::DotSegment);
        }
        let is_inner = nth > 0;
        if strictness == Strictness::Windows && is_inner && is_windows_alias(segment) {
            return Err(BadPath::WindowsName);
        }
    }
    if strictness >= Strictness::Content && path.contains("//") {
        return Err(BadPath::EmptySegment);
    }
    Ok(())
}

/// The path with its escapes decoded once. Decoded control characters are refused everywhere, decoded slashes where it matters.
fn decode(path: &str, strictness: Strictness) -> Result<String, BadPath> {
    let bytes = path.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'%' {
            plain.push(bytes[at]);
            at += 1;
            continue;
        }
        let byte = match (hex_digit(bytes.get(at + 1)), hex_digit(bytes.get(at + 2))) {
            (Some(high), Some(low)) => high << 4 | low,
            _ if strictness == Strictness::Any => {
                plain.push(b'%');
                at += 1;
                continue;
            }
            _ => return Err(BadPath::Escape),
        };
        match byte {
            0..0x20 | 0x7f => return Err(BadPath::Control),
            b'/' | b'\\' if strictness >= Strictness::Content => return Err(BadPath::EncodedSlash),
            // IIS refuses double escapes too; nothing that WSUS serves has a percent sign in its name.
            b'%' if strictness == Strictness::Windows => return Err(BadPath::Escape),
            byte => plain.push(byte),
        }
        at += 3;
    }
    Ok(String::from_utf8_lossy(&plain).into_owned())
}

fn hex_digit(byte: Option<&u8>) -> Option<u8> {
    byte.and_then(|&byte| char::from(byte).to_digit(16)).map(|digit| digit as u8)
}

/// Spellings by which Windows file systems and ASP.NET reach a name without naming it: short names (`APIREM~1`), streams (`x::$DATA`), trailing
/// dots and spaces, cookieless session segments (`(S(…))`).
fn is_windows_alias(segment: &str) -> bool {
    segment.contains(['~', ':', '(', ')', '*', '"', '<', '>', '|']) || segment.ends_with(['.', ' '])
}

/// A path as a Windows server compares it: decoded once, lower case. For looking things up, not for sending.
pub(super) fn folded(path: &str) -> String {
    percent_encoding::percent_decode_str(path).decode_utf8_lossy().to_ascii_lowercase()
}

/// Whether `path` is `prefix` or below it, at a segment boundary.
pub(super) fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| prefix.ends_with('/') || rest.is_empty() || rest.starts_with('/'))
}

/// The parameter that names the origin to a cache host (microsoft/do-client, `download.cpp`).
pub(super) const CACHE_HOST_ORIGIN: &str = "cacheHostOrigin";

/// The raw values of `cacheHostOrigin`, the last one first. A client appends its own after any that the URL had, so the last one counts.
pub(super) fn cache_host_origins(query: &str) -> impl Iterator<Item = &str> {
    query.split('&').rev().filter_map(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        name.eq_ignore_ascii_case(CACHE_HOST_ORIGIN).then_some(value)
    })
}

/// A query after the rules had it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sifted<'a> {
    /// What is keyed and sent; `None` leaves not even the question mark.
    pub(super) kept: Option<Cow<'a, str>>,
    /// What is only sent.
    pub(super) signature: Option<String>,
}

/// Takes out what `rule` says, and `cacheHostOrigin` when `strip_origin`.
pub(super) fn sift(query: Option<&str>, rule: Query, strip_origin: bool) -> Sifted<'_> {
    let Some(query) = query else { return Sifted { kept: None, signature: None } };
    let is_origin = |name: &str| strip_origin && name.eq_ignore_ascii_case(CACHE_HOST_ORIGIN);
    let is_signature = |name: &str| rule == Query::Signature && matches!(name, "P1" | "P2" | "P3" | "P4");
    let name = |parameter: &str| parameter.split_once('=').map_or(parameter.len(), |(name, _)| name.len());
    if rule == Query::Drop {
        return Sifted { kept: None, signature: None };
    }
    if !query.split('&').any(|p| is_origin(&p[..name(p)]) || is_signature(&p[..name(p)])) {
        return Sifted { kept: Some(Cow::Borrowed(query)), signature: None };
    }
    let (mut kept, mut signature) = (String::new(), String::new());
    for parameter in query.split('&') {
        let name = &parameter[..name(parameter)];
        if is_origin(name) {
            continue;
        }
        let to = if is_signature(name) { &mut signature } else { &mut kept };
        if !to.is_empty() {
            to.push('&');
        }
        to.push_str(parameter);
    }
    Sifted { kept: (!kept.is_empty()).then_some(Cow::Owned(kept)), signature: (!signature.is_empty()).then_some(signature) }
}

/// A query without the parameters that `ignored` names; a `*` at the end of a name stands for any rest.
pub(super) fn without<'a>(query: &'a str, ignored: &[Box<str>]) -> Option<Cow<'a, str>> {
    let is_ignored = |parameter: &str| {
        let name = parameter.split_once('=').map_or(parameter, |(name, _)| name);
        ignored.iter().any(|ignored| match ignored.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == &**ignored,
        })
    };
    if !query.split('&').any(is_ignored) {
        return Some(Cow::Borrowed(query));
    }
    let kept: Vec<&str> = query.split('&').filter(|parameter| !is_ignored(parameter)).collect();
    (!kept.is_empty()).then(|| Cow::Owned(kept.join("&")))
}

/// Origin-form of a path and a query.
pub(super) fn join(path: &str, query: Option<&str>) -> String {
    match query {
        Some(query) => [path, "?", query].concat(),
        None => path.to_owned(),
    }
}
