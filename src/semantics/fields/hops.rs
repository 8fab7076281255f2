//! What concerns the way a message takes: hop-by-hop fields, `Via`, `CDN-Loop`, `Max-Forwards`.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Version,
    header::{
        CONNECTION, COOKIE, HOST, MAX_FORWARDS, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE, VIA,
    },
};

use crate::semantics::{facts::single, list};

/// Removes what concerns only the connection it came on: the known hop-by-hop fields and those that `Connection` lists (RFC 9110 §7.6.1).
/// `Host` stays whoever lists it: without it the next hop would be asked for another resource than was judged here. So do `Via` and
/// `CDN-Loop`: without them a loop would not be seen (RFC 8586 §2).
pub fn remove_hop_by_hop(fields: &mut HeaderMap) {
    if fields.contains_key(CONNECTION) {
        // Collected before anything is removed: the list is borrowed from the fields.
        let listed: Vec<HeaderName> =
            list::of(fields, &CONNECTION).filter_map(|name| HeaderName::from_bytes(name).ok()).take(LISTED_MAX).collect();
        let listed = listed.iter().filter(|name| !GOES_ON.contains(*name));
        listed.for_each(|name| while fields.remove(name).is_some() {});
    }
    for name in &HOP_BY_HOP {
        fields.remove(name);
    }
}

/// The fields that go on to the next hop, if `Connection` keeps back any that is not known to stay on it anyway; `None` otherwise, which is
/// nearly always.
pub fn end_to_end(fields: &HeaderMap) -> Option<HeaderMap> {
    let is_kept_back = |name: &[u8]| {
        HeaderName::from_bytes(name)
            .is_ok_and(|name| !GOES_ON.contains(&name) && !HOP_BY_HOP.contains(&name) && fields.contains_key(name))
    };
    if !fields.contains_key(CONNECTION) || !list::of(fields, &CONNECTION).any(is_kept_back) {
        return None;
    }
    let mut fields = fields.clone();
    remove_hop_by_hop(&mut fields);
    Some(fields)
}

/// One line of the cookies that HTTP/2 lets come in several (RFC 9113 §8.2.3): whoever else reads them knows of one only.
pub fn join_cookies(request: &mut HeaderMap) {
    let mut crumbs = request.get_all(COOKIE).into_iter().map(HeaderValue::as_bytes);
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else { return };
    let joined = crumbs.fold([first, second].join(&b"; "[..]), |joined, crumb| [&joined, crumb].join(&b"; "[..]));
    if let Ok(mut joined) = HeaderValue::from_bytes(&joined) {
        joined.set_sensitive(true);
        request.insert(COOKIE, joined);
    }
}

/// Whether the sender of a request takes trailers (RFC 9110 §10.1.4). To be asked before [`remove_hop_by_hop`].
pub fn takes_trailers(request: &HeaderMap) -> bool {
    request.contains_key(TE) && list::has_token(request, &TE, "trailers")
}

/// Appends this hop to `Via` (RFC 9110 §7.6.3). `received` is the version of the message; `node` the pseudonym.
pub fn append_via(fields: &mut HeaderMap, received: Version, node: &str) {
    let version = match received {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    };
    if let Ok(value) = HeaderValue::try_from(format!("{version} {node}")) {
        fields.append(VIA, value);
    }
}

/// Whether the last entry of `Via` is that of `node`: a stored response that says how it was received.
pub fn is_last_in_via(response: &HeaderMap, node: &str) -> bool {
    response.contains_key(VIA) && list::of(response, &VIA).last().is_some_and(|hop| is_received_by(hop, node))
}

/// Whether an entry of `Via` (`received-protocol received-by [comment]`) is that of `node`.
fn is_received_by(hop: &[u8], node: &str) -> bool {
    let mut words = hop.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    words.nth(1).is_some_and(|by| by.eq_ignore_ascii_case(node.as_bytes()))
}

/// Appends this node to `CDN-Loop` (RFC 8586 §2).
pub fn append_cdn_loop(fields: &mut HeaderMap, node: &str) {
    if let Ok(value) = HeaderValue::from_str(node) {
        fields.append(CDN_LOOP, value);
    }
}

/// Whether the request has passed `node` before, by `CDN-Loop` (RFC 8586 §2) or `Via` (RFC 9110 §7.6.3).
/// To be asked before `remove_hop_by_hop`: a client may list both fields in `Connection`.
pub fn has_passed(request: &HeaderMap, node: &str) -> bool {
    let is_node = |name: &[u8]| name.trim_ascii().eq_ignore_ascii_case(node.as_bytes());
    let by_loop = request.contains_key(CDN_LOOP)
        && list::of(request, &CDN_LOOP).any(|info| is_node(info.split(|&byte| byte == b';').next().unwrap_or_default()));
    by_loop || list::of(request, &VIA).any(|hop| is_received_by(hop, node))
}

/// What `Max-Forwards` says (RFC 9110 §7.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxForwards {
    /// Absent, invalid, or a method it does not concern.
    Unlimited,
    /// Forward with this lower value.
    Forward(u64),
    /// Answer as the final recipient.
    Answer,
}

/// RFC 9110 §7.6.2: only `TRACE` and `OPTIONS` count their forwards.
pub fn max_forwards(method: &Method, request: &HeaderMap) -> MaxForwards {
    if !matches!(*method, Method::TRACE | Method::OPTIONS) {
        return MaxForwards::Unlimited;
    }
    match single(request, &MAX_FORWARDS).and_then(|value| list::digits(value.as_bytes())) {
        None => MaxForwards::Unlimited,
        Some(0) => MaxForwards::Answer,
        Some(left) => MaxForwards::Forward(left - 1),
    }
}

/// RFC 9110 §7.6.1, with `Proxy-Connection`, `Keep-Alive` and `HTTP2-Settings`, which old clients send, and the credentials that concern
/// a proxy on this hop (§11.7): weir demands none, so those it gets are not for it to spread. `Trailer` stays: trailers pass.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("http2-settings"),
];

/// What no `Connection` keeps back.
const GOES_ON: [HeaderName; 3] = [HOST, VIA, CDN_LOOP];

const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");

/// More members of `Connection` are not looked at; a head with so many is bounded by its size.
const LISTED_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::testing::fields;

    #[test]
    fn fields_of_the_connection_stay_on_it() {
        let mut message = fields(&[
            ("connection", "a, B, keep-alive, Host, Via, CDN-Loop"),
            ("host", "h"),
            ("via", "1.1 p"),
            ("cdn-loop", "n"),
            ("connection", "c;, , content-md5"),
            ("a", "1"),
            ("a", "2"),
            ("b", "1"),
            ("content-md5", "x"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("proxy-authorization", "x"),
            ("http2-settings", "x"),
            ("trailer", "checksum"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
        ]);
        remove_hop_by_hop(&mut message);
        let kept = [
            ("host", "h"),
            ("via", "1.1 p"),
            ("cdn-loop", "n"),
            ("trailer", "checksum"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
        ];
        assert_eq!(message, fields(&kept));
    }

    #[test]
    fn only_what_connection_keeps_back_makes_a_difference() {
        for connection in ["close", "keep-alive, te", "absent", "host"] {
            let request = fields(&[("connection", connection), ("host", "h"), ("te", "trailers"), ("a", "1")]);
            assert_eq!(end_to_end(&request), None, "{connection}");
        }
        let request = fields(&[("connection", "close, A"), ("a", "1"), ("b", "2")]);
        assert_eq!(end_to_end(&request), Some(fields(&[("b", "2")])));
    }

    #[test]
    fn crumbs_of_cookies_become_one_line() {
        for (crumbs, line) in
            [(&["a=1"][..], "a=1"), (&["a=1", "b=2"], "a=1; b=2"), (&["a=1", "b=2", "c=3; d"], "a=1; b=2; c=3; d")]
        {
            let pairs: Vec<_> = crumbs.iter().map(|crumb| ("cookie", *crumb)).collect();
            let mut request = fields(&pairs);
            join_cookies(&mut request);
            assert_eq!(request, fields(&[("cookie", line)]));
        }
        let mut none = HeaderMap::new();
        join_cookies(&mut none);
        assert!(none.is_empty());
    }

    #[test]
    fn every_hop_is_appended_and_recognised() {
        let mut request = fields(&[("via", "1.0 fred, 1.1 p.example.net (Apache/1.1)"), ("cdn-loop", "foo; a=b, bar")]);
        assert!(has_passed(&request, "Fred") && has_passed(&request, "p.example.net") && has_passed(&request, "foo"));
        assert!(!has_passed(&request, "weir-1") && !has_passed(&request, "1.1") && !has_passed(&request, "a=b"));
        append_via(&mut request, Version::HTTP_2, "weir-1");
        assert!(has_passed(&request, "weir-1"));
        let mut request = HeaderMap::new();
        append_cdn_loop(&mut request, "weir-1");
        assert!(has_passed(&request, "weir-1"));
        assert!(!has_passed(&HeaderMap::new(), "weir-1"));
    }

    #[test]
    fn forwards_are_counted_for_trace_and_options() {
        let ask = |method: Method, value| max_forwards(&method, &fields(&[("max-forwards", value)]));
        assert_eq!(ask(Method::OPTIONS, "0"), MaxForwards::Answer);
        assert_eq!(ask(Method::TRACE, "1"), MaxForwards::Forward(0));
        assert_eq!(ask(Method::TRACE, "x"), MaxForwards::Unlimited);
        assert_eq!(ask(Method::GET, "0"), MaxForwards::Unlimited);
        assert_eq!(max_forwards(&Method::TRACE, &HeaderMap::new()), MaxForwards::Unlimited);
    }
}
