//! Invalidation by unsafe methods (RFC 9111 §4.4).

use http::{
    HeaderMap, HeaderName, Method, StatusCode, Uri,
    header::{AUTHORIZATION, CONTENT_LOCATION, COOKIE, LOCATION},
    uri::Scheme,
};

use crate::semantics::facts::single;

/// The URIs whose stored responses a successful unsafe request makes unusable: its target, and what `Location` and
/// `Content-Location` name on the same origin. Empty for safe methods and error responses. `target` is in absolute form; at most 3.
///
/// RFC 9111 §4.4 forbids to follow these fields to another origin: it could empty a cache that is not its own.
pub fn invalidated(method: &Method, target: &Uri, status: StatusCode, response: &HeaderMap) -> Vec<Uri> {
    if is_safe(method) || !(status.is_success() || status.is_redirection()) {
        return Vec::new();
    }
    let mut uris = vec![target.clone()];
    for name in [LOCATION, CONTENT_LOCATION] {
        let named = named(response, &name, target).filter(|uri| is_same_origin(uri, target));
        uris.extend(named.filter(|uri| !uris.contains(uri)));
    }
    uris
}

/// Whether a response that is not stored itself shows that what is stored for the same GET is outdated: the resource is something else now,
/// or gone. RFC 9111 §4.3.3 lets a full response replace what is stored; where it may not be kept, the stored one must at least
/// not outlive it as a stale answer. Errors prove nothing, and what somebody gets by credentials or cookies proves nothing to others.
pub fn is_superseded(request: &HeaderMap, status: StatusCode) -> bool {
    let is_personal = request.contains_key(AUTHORIZATION) || request.contains_key(COOKIE);
    !is_personal && matches!(status.as_u16(), 200 | 203 | 204 | 404 | 410)
}

/// RFC 9110 §9.2.1 and the registry of methods. A method we do not know may be unsafe.
fn is_safe(method: &Method) -> bool {
    matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PROPFIND" | "REPORT" | "SEARCH" | "QUERY" | "CONNECT")
}

/// Whether `Content-Location` says that the content is what a GET of `target` (in absolute form) gets (RFC 9110 §8.7).
pub fn is_content_of(response: &HeaderMap, target: &Uri) -> bool {
    named(response, &CONTENT_LOCATION, target).is_some_and(|named| named == *target)
}

fn named(response: &HeaderMap, name: &HeaderName, target: &Uri) -> Option<Uri> {
    resolve(target, single(response, name)?.to_str().ok()?)
}

/// RFC 3986 §5.2 for a base in absolute form: what `reference` means where `base` was answered, without its fragment.
fn resolve(base: &Uri, reference: &str) -> Option<Uri> {
    let reference = reference.split('#').next().unwrap_or_default().trim();
    let (scheme, authority) = (base.scheme_str()?, base.authority()?);
    if has_scheme(reference) {
        return normal(&reference.parse().ok()?);
    }
    if reference.starts_with("//") {
        return normal(&format!("{scheme}:{reference}").parse().ok()?);
    }
    let path = if reference.starts_with('/') {
        reference.to_owned()
    } else if reference.is_empty() {
        base.path_and_query()?.as_str().to_owned()
    } else if reference.starts_with('?') {
        format!("{}{reference}", base.path())
    } else {
        let folder = base.path().rfind('/').map_or("/", |at| &base.path()[..=at]);
        format!("{folder}{reference}")
    };
    normal(&format!("{scheme}://{authority}{path}").parse().ok()?)
}

/// `ALPHA *( ALPHA / DIGIT / "+" / "-" / "." ) ":"` (RFC 3986 §3.1).
fn has_scheme(reference: &str) -> bool {
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    reference.split_once(':').is_some_and(|(scheme, _)| is_scheme(scheme))
}

/// The URI without dot segments (RFC 3986 §5.2.4); `None` when it names no server.
fn normal(uri: &Uri) -> Option<Uri> {
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    let mut segments: Vec<&str> = Vec::new();
    let mut is_folder = false;
    for segment in uri.path().split('/').skip(1) {
        is_folder = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => _ = segments.pop(),
            _ => segments.push(segment),
        }
    }
    if is_folder {
        segments.push("");
    }
    let query = uri.query().map_or(String::new(), |query| format!("?{query}"));
    format!("{scheme}://{authority}/{}{query}", segments.join("/")).parse().ok()
}

/// RFC 9110 §4.3.1.
fn is_same_origin(a: &Uri, b: &Uri) -> bool {
    let port = |uri: &Uri| uri.port_u16().unwrap_or(if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 });
    let host = |uri: &Uri| uri.host().map(str::to_ascii_lowercase);
    a.scheme() == b.scheme() && host(a) == host(b) && port(a) == port(b)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::semantics::testing::fields;

    fn after(method: &str, status: u16, response: &[(&str, &str)]) -> Vec<String> {
        let target = "http://a.example/dir/file?q".parse().unwrap();
        let status = StatusCode::from_u16(status).unwrap();
        let uris = invalidated(&method.parse().unwrap(), &target, status, &fields(response));
        uris.iter().map(ToString::to_string).collect()
    }

    const TARGET: &str = "http://a.example/dir/file?q";

    #[test]
    fn successful_unsafe_methods_invalidate_their_target() {
        for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "X-UNKNOWN"] {
            assert_eq!(after(method, 200, &[]), [TARGET], "{method}");
            assert_eq!(after(method, 303, &[]), [TARGET], "{method}");
            assert!(after(method, 404, &[]).is_empty() && after(method, 500, &[]).is_empty(), "{method}");
        }
        for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND"] {
            assert!(after(method, 200, &[]).is_empty(), "{method}");
        }
    }

    #[test]
    fn a_full_answer_or_its_absence_supersedes_what_is_stored_and_an_error_does_not() {
        let superseded =
            |status: u16, request: &[(&str, &str)]| is_superseded(&fields(request), StatusCode::from_u16(status).unwrap());
        for (status, expected) in [(200, true), (203, true), (404, true), (410, true), (206, false), (302, false), (401, false)] {
            assert_eq!(superseded(status, &[]), expected, "{status}");
        }
        assert!(!superseded(403, &[]) && !superseded(429, &[]) && !superseded(500, &[]) && !superseded(503, &[]));
        assert!(!superseded(200, &[("cookie", "a=b")]) && !superseded(404, &[("authorization", "x")]), "one client's own answer");
    }

    #[test]
    fn locations_count_on_the_same_origin_only() {
        for (location, expected) in [
            ("http://a.example/x", Some("http://a.example/x")),
            ("http://A.example:80/x#y", Some("http://A.example:80/x")),
            ("/x", Some("http://a.example/x")),
            ("x", Some("http://a.example/dir/x")),
            ("./x?y", Some("http://a.example/dir/x?y")),
            ("../../x/./y/..", Some("http://a.example/x/")),
            ("?y", Some("http://a.example/dir/file?y")),
            ("//a.example/x", Some("http://a.example/x")),
            ("x:y", None),
            ("https://a.example/x", None),
            ("http://b.example/x", None),
            ("http://a.example:81/x", None),
            ("http://a.example@b.example/x", None),
            ("//b.example/x", None),
            ("", None),
        ] {
            let mut uris = vec![TARGET];
            uris.extend(expected);
            assert_eq!(after("POST", 201, &[("location", location)]), uris, "{location}");
            assert_eq!(after("POST", 201, &[("content-location", location)]), uris, "{location}");
        }
        assert_eq!(after("PUT", 200, &[("location", "/x"), ("content-location", "/y")]).len(), 3);
        assert_eq!(after("PUT", 200, &[("location", "/x"), ("content-location", "/x")]).len(), 2);
        assert_eq!(after("PUT", 200, &[("location", "/x"), ("location", "/y")]).len(), 1);
    }

    proptest! {
        #[test]
        fn resolving_never_panics_nor_leaves_the_origin(reference in "[a-z/.:?#@ %\\[\\]]{0,30}") {
            for uri in after("POST", 200, &[("location", &reference)]) {
                prop_assert!(uri.starts_with("http://") , "{}", uri);
                let uri: Uri = uri.parse().unwrap();
                prop_assert_eq!(uri.host().unwrap(), "a.example");
            }
        }
    }
}
