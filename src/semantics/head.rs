//! Messages that could be read in two ways (RFC 9112 §3.2, §6.3, §11.2), as far as parsed fields show it.
//!
//! What only the bytes of a head show (obs-fold, bare line feeds, spaces before colons) is judged where heads are read.

use http::{
    HeaderMap, Method, StatusCode, Uri, Version,
    header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING},
    uri::Scheme,
};

use crate::semantics::{facts::single, list};

/// Why a message is refused: a request with 400 and the connection closed, a response with 502.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ambiguity {
    /// `Transfer-Encoding` beside `Content-Length` (RFC 9112 §6.3).
    BothFramings,
    /// Several different lengths, or one that is no number (RFC 9112 §6.3).
    ContentLength,
    /// A transfer coding other than a final `chunked` (RFC 9112 §6.1).
    TransferCoding,
    /// No `Host`, or more than one (RFC 9112 §3.2).
    HostCount,
    /// `Host` is not a host and port (RFC 9112 §3.2).
    HostSyntax,
    /// User information in the target (RFC 9110 §4.2.4).
    UserInfo,
    /// Absolute form and `Host` name different hosts. RFC 9112 §3.2.2 lets the target win; but who sends both means to be
    /// read in two ways.
    HostMismatch,
    /// The target's form does not fit the method (RFC 9112 §3.2).
    Target,
    /// A value with blanks around it, which only HTTP/2 can send (RFC 9113 §8.2.1).
    Blanks,
    /// Framing where there can be none: in a 1xx or 204 (RFC 9110 §8.6, RFC 9112 §6.1).
    Bodyless,
}

impl Ambiguity {
    /// One word for logs, metrics and Cache-Status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BothFramings => "both-framings",
            Self::ContentLength => "content-length",
            Self::TransferCoding => "transfer-coding",
            Self::HostCount => "host-count",
            Self::HostSyntax => "host-syntax",
            Self::UserInfo => "userinfo",
            Self::HostMismatch => "host-mismatch",
            Self::Target => "target",
            Self::Blanks => "blanks",
            Self::Bodyless => "bodyless",
        }
    }
}

/// Judges the head of a request.
pub fn request(version: Version, method: &Method, target: &Uri, fields: &HeaderMap) -> Result<(), Ambiguity> {
    framing(fields)?;
    if version >= Version::HTTP_2 {
        multiplexed(fields)?;
    }
    form(method, target)?;
    host(version, target, fields)
}

/// What of a head of HTTP/2 the reader of an HTTP/1.1 head has seen to: blanks around values (RFC 9113 §8.2.1), and equal lengths in several
/// lines, which a recipient may refuse (RFC 9110 §8.6).
fn multiplexed(fields: &HeaderMap) -> Result<(), Ambiguity> {
    if fields.contains_key(CONTENT_LENGTH) && single(fields, &CONTENT_LENGTH).is_none() {
        return Err(Ambiguity::ContentLength);
    }
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let has_blanks = |value: &[u8]| is_blank(value.first()) || is_blank(value.last());
    if fields.values().any(|value| has_blanks(value.as_bytes())) { Err(Ambiguity::Blanks) } else { Ok(()) }
}

/// Whether trailers have fields that say where a message ends or whom it is for, which no trailer may (RFC 9110 §6.5.1).
pub fn is_misplaced(trailers: &HeaderMap) -> bool {
    [CONTENT_LENGTH, TRANSFER_ENCODING, HOST].iter().any(|name| trailers.contains_key(name))
}

/// Judges the head of a response.
pub fn response(status: StatusCode, fields: &HeaderMap) -> Result<(), Ambiguity> {
    let length = match is_unregistered_coding(fields) {
        true if content_length(fields)?.is_some() => return Err(Ambiguity::BothFramings),
        true => None,
        false => framing(fields)?,
    };
    let is_bodyless = status.is_informational() || status == StatusCode::NO_CONTENT;
    // A 204 that says its length is 0 breaks a rule, but nobody can misread it.
    if is_bodyless && (fields.contains_key(TRANSFER_ENCODING) || length.is_some_and(|length| length > 0)) {
        return Err(Ambiguity::Bodyless);
    }
    Ok(())
}

/// The one length that all `Content-Length` lines agree on; `Ok(None)`: there is none (RFC 9110 §8.6).
pub fn content_length(fields: &HeaderMap) -> Result<Option<u64>, Ambiguity> {
    let mut agreed = None;
    for line in fields.get_all(CONTENT_LENGTH) {
        // Split without regard to quotes: whatever is not digits is invalid anyway.
        for member in line.as_bytes().split(|&byte| byte == b',') {
            let length = list::digits(member.trim_ascii()).filter(|&length| length < u64::MAX);
            let length = length.ok_or(Ambiguity::ContentLength)?;
            if agreed.is_some_and(|agreed| agreed != length) {
                return Err(Ambiguity::ContentLength);
            }
            agreed = Some(length);
        }
    }
    Ok(agreed)
}

/// RFC 9112 §6.3: one way to find the end of the body.
fn framing(fields: &HeaderMap) -> Result<Option<u64>, Ambiguity> {
    let length = content_length(fields)?;
    let mut codings = fields.get_all(TRANSFER_ENCODING).into_iter();
    let Some(coding) = codings.next() else { return Ok(length) };
    if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err(Ambiguity::TransferCoding);
    }
    if length.is_some() { Err(Ambiguity::BothFramings) } else { Ok(None) }
}

/// Whether the one transfer coding of a response is a word that no registry has, and nobody takes for one that it has. Such a body ends with its
/// connection for every reader (RFC 9112 §6.3, item 4), and its bytes are what they are; the word goes with the other
/// hop-by-hop fields. Known codings beside a final chunked one would change the bytes, and look-alikes are read in two ways: those stay refused.
fn is_unregistered_coding(fields: &HeaderMap) -> bool {
    let Some(coding) = single(fields, &TRANSFER_ENCODING) else { return false };
    let coding = coding.as_bytes().to_ascii_lowercase();
    let resembles = |known: &&[u8]| coding.windows(known.len()).any(|part| part == *known);
    list::is_token(&coding) && !KNOWN_CODINGS.iter().any(resembles)
}

/// RFC 9112 §3.2: authority form for `CONNECT` alone, asterisk form for `OPTIONS` alone.
fn form(method: &Method, target: &Uri) -> Result<(), Ambiguity> {
    let authority = target.authority();
    if authority.is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(Ambiguity::UserInfo);
    }
    let fits = if *method == Method::CONNECT {
        authority.is_some_and(|authority| authority.port_u16().is_some()) && target.path_and_query().is_none()
    } else if target.scheme().is_none() && authority.is_some() {
        false
    } else {
        target.path().starts_with('/') || (target.path() == "*" && *method == Method::OPTIONS)
    };
    if fits { Ok(()) } else { Err(Ambiguity::Target) }
}

/// RFC 9112 §3.2: exactly one valid `Host` (HTTP/1.0 may have none, HTTP/2 names the host in the target), not against the target.
fn host(version: Version, target: &Uri, fields: &HeaderMap) -> Result<(), Ambiguity> {
    let mut lines = fields.get_all(HOST).into_iter();
    let Some(host) = lines.next() else {
        let is_needed = version == Version::HTTP_11 || (version >= Version::HTTP_2 && target.authority().is_none());
        return if is_needed { Err(Ambiguity::HostCount) } else { Ok(()) };
    };
    if lines.next().is_some() {
        return Err(Ambiguity::HostCount);
    }
    let host = host.as_bytes();
    if host.contains(&b'@') {
        return Err(Ambiguity::UserInfo);
    }
    let (name, port) = host_and_port(host).ok_or(Ambiguity::HostSyntax)?;
    let Some(authority) = target.authority() else { return Ok(()) };
    let default = if target.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let is_same = name.eq_ignore_ascii_case(authority.host().as_bytes())
        && port.unwrap_or(default) == authority.port_u16().unwrap_or(default);
    if is_same { Ok(()) } else { Err(Ambiguity::HostMismatch) }
}

/// `uri-host [ ":" port ]` (RFC 9110 §7.2); `None` when it is nothing of the kind. A list of hosts is none.
fn host_and_port(host: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let (name, port) = match host.strip_prefix(b"[") {
        Some(rest) => host.split_at(rest.iter().position(|&byte| byte == b']')? + 2),
        None => host.split_at(host.iter().position(|&byte| byte == b':').unwrap_or(host.len())),
    };
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=%".contains(byte);
    let is_literal = |byte: &u8| byte.is_ascii_hexdigit() || b":.[]".contains(byte);
    let is_valid = if name.starts_with(b"[") { name.iter().all(is_literal) } else { name.iter().all(is_name) };
    let port = match port {
        [] | b":" => None,
        [b':', digits @ ..] => Some(list::digits(digits).and_then(|port| u16::try_from(port).ok())?),
        _ => return None,
    };
    (is_valid && !name.is_empty()).then_some((name, port))
}

/// What the names of the registered transfer codings (RFC 9112 §7, and the old `identity`) have in them.
const KNOWN_CODINGS: [&[u8]; 5] = [b"chunk", b"compress", b"deflate", b"gzip", b"identity"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::testing::fields;

    fn judge(method: &str, target: &str, pairs: &[(&str, &str)]) -> Option<Ambiguity> {
        request(Version::HTTP_11, &method.parse().unwrap(), &target.parse().unwrap(), &fields(pairs)).err()
    }

    #[test]
    fn a_request_is_read_in_one_way_or_refused() {
        use Ambiguity::*;
        let host = ("host", "a.example");
        for (method, target, pairs, expected) in [
            ("GET", "/", vec![host], None),
            ("GET", "/", vec![host, ("content-length", "0")], None),
            ("POST", "/", vec![host, ("content-length", "5"), ("content-length", "5")], None),
            ("POST", "/", vec![host, ("content-length", "5, 5")], None),
            ("POST", "/", vec![host, ("content-length", "5"), ("content-length", "6")], Some(ContentLength)),
            ("POST", "/", vec![host, ("content-length", "5, 6")], Some(ContentLength)),
            ("POST", "/", vec![host, ("content-length", "+5")], Some(ContentLength)),
            ("POST", "/", vec![host, ("content-length", "0x5")], Some(ContentLength)),
            ("POST", "/", vec![host, ("content-length", "")], Some(ContentLength)),
            ("POST", "/", vec![host, ("content-length", "99999999999999999999")], Some(ContentLength)),
            ("POST", "/", vec![host, ("transfer-encoding", "Chunked")], None),
            ("POST", "/", vec![host, ("transfer-encoding", "chunked"), ("content-length", "5")], Some(BothFramings)),
            ("POST", "/", vec![host, ("transfer-encoding", "gzip, chunked")], Some(TransferCoding)),
            ("POST", "/", vec![host, ("transfer-encoding", "chunked, identity")], Some(TransferCoding)),
            ("POST", "/", vec![host, ("transfer-encoding", "xchunked")], Some(TransferCoding)),
            ("POST", "/", vec![host, ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], Some(TransferCoding)),
            ("GET", "/", vec![], Some(HostCount)),
            ("GET", "/", vec![host, host], Some(HostCount)),
            ("GET", "/", vec![("host", "")], Some(HostSyntax)),
            ("GET", "/", vec![("host", "a.example, b.example")], Some(HostSyntax)),
            ("GET", "/", vec![("host", "a.example/x")], Some(HostSyntax)),
            ("GET", "/", vec![("host", "a.example:80:80")], Some(HostSyntax)),
            ("GET", "/", vec![("host", "a.example:99999")], Some(HostSyntax)),
            ("GET", "/", vec![("host", "[::1")], Some(HostSyntax)),
            ("GET", "/", vec![("host", "[::1]:8530")], None),
            ("GET", "/", vec![("host", "u@a.example")], Some(UserInfo)),
            ("GET", "http://u:p@a.example/", vec![host], Some(UserInfo)),
            ("GET", "http://A.example:80/", vec![host], None),
            ("GET", "https://a.example:443/", vec![host], None),
            ("GET", "http://b.example/", vec![host], Some(HostMismatch)),
            ("GET", "http://a.example:81/", vec![host], Some(HostMismatch)),
            ("CONNECT", "a.example:443", vec![("host", "a.example:443")], None),
            ("CONNECT", "a.example", vec![host], Some(Target)),
            ("CONNECT", "http://a.example:80/", vec![host], Some(Target)),
            ("GET", "a.example:443", vec![("host", "a.example:443")], Some(Target)),
            ("OPTIONS", "*", vec![host], None),
            ("GET", "*", vec![host], Some(Target)),
        ] {
            assert_eq!(judge(method, target, &pairs), expected, "{method} {target} {pairs:?}");
        }
    }

    #[test]
    fn other_versions_name_their_host_in_other_places() {
        let judge = |version, target: &str, pairs: &[(&str, &str)]| {
            request(version, &Method::GET, &target.parse().unwrap(), &fields(pairs)).err()
        };
        assert_eq!(judge(Version::HTTP_10, "/", &[]), None);
        assert_eq!(judge(Version::HTTP_2, "http://a.example/", &[]), None);
        assert_eq!(judge(Version::HTTP_2, "/", &[]), Some(Ambiguity::HostCount));
        assert_eq!(judge(Version::HTTP_2, "http://a.example/", &[("host", "b.example")]), Some(Ambiguity::HostMismatch));
        let lengths = [("content-length", "5"), ("content-length", "5")];
        assert_eq!(judge(Version::HTTP_2, "http://a.example/", &lengths), Some(Ambiguity::ContentLength));
        for (value, expected) in [(" a", true), ("a\t", true), ("a b", false), ("", false), (" ", true)] {
            let judged = judge(Version::HTTP_2, "http://a.example/", &[("x", value)]);
            assert_eq!(judged, expected.then_some(Ambiguity::Blanks), "{value:?}");
        }
    }

    #[test]
    fn a_response_is_read_in_one_way_or_refused() {
        let judge = |status, pairs: &[(&str, &str)]| response(StatusCode::from_u16(status).unwrap(), &fields(pairs)).err();
        assert_eq!(judge(200, &[]), None);
        assert_eq!(judge(200, &[("content-length", "5")]), None);
        assert_eq!(judge(204, &[("content-length", "0")]), None);
        assert_eq!(judge(304, &[("content-length", "5")]), None);
        assert_eq!(judge(204, &[("content-length", "5")]), Some(Ambiguity::Bodyless));
        assert_eq!(judge(103, &[("transfer-encoding", "chunked")]), Some(Ambiguity::Bodyless));
        assert_eq!(judge(200, &[("content-length", "5"), ("content-length", "7")]), Some(Ambiguity::ContentLength));
        assert_eq!(judge(200, &[("content-length", "5"), ("transfer-encoding", "chunked")]), Some(Ambiguity::BothFramings));
        assert_eq!(judge(200, &[("content-length", "5"), ("transfer-encoding", "sorcery")]), Some(Ambiguity::BothFramings));
        assert_eq!(judge(204, &[("transfer-encoding", "sorcery")]), Some(Ambiguity::Bodyless));
    }

    #[test]
    fn a_transfer_coding_of_a_response_is_chunked_or_a_word_that_means_nothing() {
        let judge = |codings: &[&str]| {
            let lines: Vec<_> = codings.iter().map(|coding| ("transfer-encoding", *coding)).collect();
            response(StatusCode::OK, &fields(&lines)).err()
        };
        for fine in ["chunked", "Chunked", "sorcery", "x-sorcery"] {
            assert_eq!(judge(&[fine]), None, "{fine}");
        }
        for (codings, name) in [
            (&["gzip"][..], "would change the bytes"),
            (&["gzip, chunked"], "would change the bytes"),
            (&["X-GZIP"], "an alias"),
            (&["identity"], "once registered"),
            (&["xchunked"], "looks like chunked"),
            (&["chunked;a=b"], "looks like chunked"),
            (&["chunks"], "looks like chunked"),
            (&["sorcery, witchcraft"], "several"),
            (&["sorcery", "sorcery"], "several"),
            (&["sorcery", "chunked"], "several"),
            (&["sor cery"], "no token"),
            (&[""], "empty"),
        ] {
            assert_eq!(judge(codings), Some(Ambiguity::TransferCoding), "{codings:?}: {name}");
        }
    }
}
