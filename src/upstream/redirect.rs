//! Redirects of content: which are followed, where they lead, and what the next request may carry.

use http::{
    HeaderMap, Response, StatusCode,
    header::{AUTHORIZATION, COOKIE, LOCATION, PROXY_AUTHORIZATION},
    uri::{PathAndQuery, Uri},
};

use crate::{
    key::{Origin, Scheme},
    upstream::{Ask, Target, config::Redirects, error::Error},
};

/// What a response is as far as redirects are concerned.
pub(super) enum Verdict {
    /// Not a redirect, or one that leads nowhere: the answer.
    Answer,
    Follow(Box<Ask>),
}

/// The next request after `response` to `ask` (RFC 9110 §15.4), or why it is not made.
pub(super) fn next<B>(ask: &Ask, response: &Response<B>, rules: &Redirects) -> Result<Verdict, Error> {
    if !is_redirect(response.status()) {
        return Ok(Verdict::Answer);
    }
    let Some(location) = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()) else {
        return Ok(Verdict::Answer);
    };
    let refused = || Error::Redirect { to: location.chars().take(SHOWN_MAX).collect::<String>().into() };
    let (origin, path_and_query) = resolve(&ask.target.origin, &ask.path_and_query, location).ok_or_else(refused)?;
    if origin == ask.target.origin {
        return Ok(Verdict::Follow(Box::new(Ask { path_and_query, ..ask.clone() })));
    }
    // Leaving TLS would let anybody on the way answer in the origin's name.
    let leaves_tls = ask.target.origin.scheme == Scheme::Https && origin.scheme == Scheme::Http;
    if leaves_tls || !(rules.allow)(&origin) {
        return Err(refused());
    }
    let mut fields = ask.fields.clone();
    if origin.host != ask.target.origin.host {
        drop_secrets(&mut fields);
    }
    let target = Target { origin, upstream: None };
    let (method, interim) = (ask.method.clone(), ask.interim.clone());
    Ok(Verdict::Follow(Box::new(Ask { target, method, path_and_query, fields, follow: true, interim })))
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// What belongs to one host and must not reach another.
fn drop_secrets(fields: &mut HeaderMap) {
    for name in [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION] {
        fields.remove(name);
    }
}

/// A reference in the context of the URL it came from (RFC 3986 §5.2): where it leads, and the origin-form there. `None` when it is not an
/// http URL, or has user information.
fn resolve(base: &Origin, base_path: &str, reference: &str) -> Option<(Origin, String)> {
    let reference = reference.split('#').next().unwrap_or(reference);
    if let Some(rest) = reference.strip_prefix("//") {
        return absolute(&format!("{}://{rest}", base.scheme.as_str()));
    }
    if has_scheme(reference) {
        return absolute(reference);
    }
    let base_path_only = base_path.split('?').next().unwrap_or(base_path);
    let path_and_query = match reference.as_bytes().first() {
        None => base_path.to_owned(),
        Some(b'/') => reference.to_owned(),
        Some(b'?') => format!("{base_path_only}{reference}"),
        Some(_) => {
            let folder = base_path_only.rfind('/').map_or("/", |slash| &base_path_only[..=slash]);
            format!("{folder}{reference}")
        }
    };
    Some((base.clone(), normal(&path_and_query)?))
}

fn absolute(url: &str) -> Option<(Origin, String)> {
    let uri: Uri = url.parse().ok()?;
    let scheme = match uri.scheme_str()? {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return None,
    };
    let authority = uri.authority()?;
    if authority.as_str().contains('@') || authority.host().is_empty() {
        return None;
    }
    let port = match authority.as_str()[authority.host().len()..].trim_start_matches(':') {
        "" => scheme.default_port(),
        port => port.parse().ok()?,
    };
    let origin = Origin::new(scheme, authority.host(), port);
    Some((origin, normal(uri.path_and_query().map_or("/", PathAndQuery::as_str))?))
}

/// Removes dot segments (RFC 3986 §5.2.4) and proves that what remains can be sent.
fn normal(path_and_query: &str) -> Option<String> {
    let (path, query) = match path_and_query.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path_and_query, None),
    };
    let mut segments: Vec<&str> = Vec::new();
    let mut rest = path.split('/').skip(1).peekable();
    while let Some(segment) = rest.next() {
        let is_last = rest.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    segments.pop();
                }
                if is_last {
                    segments.push("");
                }
            }
            _ => segments.push(segment),
        }
    }
    let mut text = format!("/{}", segments.join("/"));
    if let Some(query) = query {
        text.push('?');
        text.push_str(query);
    }
    text.parse::<PathAndQuery>().ok().map(|_| text)
}

/// RFC 3986 §3.1: a scheme before the first of `/?#`.
fn has_scheme(reference: &str) -> bool {
    reference.split(['/', '?']).next().is_some_and(|first| {
        first.split_once(':').is_some_and(|(scheme, _)| {
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
        })
    })
}

/// How much of a refused location an error repeats.
const SHOWN_MAX: usize = 200;
