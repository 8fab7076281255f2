//! Who may do what on the administration interface. Pure: a decision from the two ends of a connection and a request head.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::{HeaderMap, Method, StatusCode, Uri, header, request};
use ipnet::IpNet;

use crate::admin::{Config, Error};

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// Somebody whom the file mode let in.
    Unix {
        uid: Option<u32>,
    },
    Tcp {
        client: SocketAddr,
        local: SocketAddr,
    },
}

/// What decides, made from [`Config`].
#[derive(Debug)]
pub(super) struct Rules {
    names: Vec<Box<str>>,
    scrape: Vec<IpNet>,
    token: Option<Box<str>>,
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denied {
    #[error("the Host field names no name of this weir; [admin] names adds one")]
    Host,
    #[error("from this address only /metrics, /healthz and /readyz can be had, and only if [admin] scrape or a token allows it")]
    Network,
    #[error("a valid bearer token is needed")]
    Token,
    #[error("requests that change something must not come from another site")]
    CrossSite,
}

impl Denied {
    pub(super) fn status(self) -> StatusCode {
        match self {
            // RFC 9110 §15.5.20: this server is not willing to answer for that authority.
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::Network | Self::CrossSite => StatusCode::FORBIDDEN,
            Self::Token => StatusCode::UNAUTHORIZED,
        }
    }
}

/// What a scraper and a load balancer need, and what may leave the machine before there are accounts.
const OPEN_PATHS: [&str; 3] = ["/metrics", "/healthz", "/readyz"];

impl Rules {
    pub(super) fn new(config: &Config) -> Result<Self, Error> {
        Ok(Self {
            names: config.names.iter().map(|name| name.trim_end_matches('.').to_ascii_lowercase().into()).collect(),
            scrape: config.scrape.clone(),
            token: config.token_file.as_deref().map(read_token).transpose()?,
        })
    }

    pub(super) fn judge(&self, peer: &Peer, head: &request::Parts) -> Result<(), Denied> {
        let Peer::Tcp { client, local } = peer else {
            return Ok(());
        };
        let (client, local) = (client.ip().to_canonical(), local.ip().to_canonical());
        let authority = authority(&head.uri, &head.headers).ok_or(Denied::Host)?;
        if !self.is_own(authority, local) {
            return Err(Denied::Host);
        }
        if !client.is_loopback() {
            return self.judge_remote(client, head);
        }
        if changes_something(&head.method) && is_cross_site(&head.headers, authority) {
            return Err(Denied::CrossSite);
        }
        Ok(())
    }

    fn judge_remote(&self, client: IpAddr, head: &request::Parts) -> Result<(), Denied> {
        if !OPEN_PATHS.contains(&head.uri.path()) || changes_something(&head.method) {
            return Err(Denied::Network);
        }
        if self.scrape.iter().any(|network| network.contains(&client)) {
            return Ok(());
        }
        let token = self.token.as_deref().ok_or(Denied::Network)?;
        let given = bearer(&head.headers).ok_or(Denied::Token)?;
        verify_slices_are_equal(given, token.as_bytes()).map_err(|_| Denied::Token)
    }

    /// A configured name, `localhost`, or the very address that was connected to. An attacker's page can only bring a name of its own here, so an
    /// address is safe. Ports do not matter: a port may be forwarded.
    fn is_own(&self, authority: &str, local: IpAddr) -> bool {
        let Some(host) = host_of(authority) else { return false };
        if let Ok(address) = host.parse::<IpAddr>() {
            return address.to_canonical() == local;
        }
        let host = host.trim_end_matches('.');
        host.eq_ignore_ascii_case("localhost") || self.names.iter().any(|name| host.eq_ignore_ascii_case(name))
    }
}

/// RFC 9112 §3.2: of an absolute-form target its authority; else the one `Host` field.
fn authority<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    if let Some(authority) = uri.authority() {
        return Some(authority.as_str());
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next()?.to_str().ok()?;
    hosts.next().is_none().then_some(host)
}

/// `host`, `host:port`, `[v6]`, `[v6]:port` → the host without brackets; none for anything else.
fn host_of(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port_is_fine = match port.strip_prefix(':') {
        Some(digits) => !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()),
        None => port.is_empty(),
    };
    (port_is_fine && !host.is_empty() && !host.contains('@')).then_some(host)
}

fn changes_something(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD)
}

/// Browsers say where a request comes from (Fetch Metadata, and `Origin` in all but the oldest); programs say nothing.
fn is_cross_site(headers: &HeaderMap, authority: &str) -> bool {
    let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
    if site.is_some_and(|site| site != b"same-origin" && site != b"none") {
        return true;
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://")) != Some(authority)
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}

/// Too short could be guessed, too long is some other file.
const TOKEN_LEN: std::ops::RangeInclusive<usize> = 16..=512;

fn read_token(path: &Path) -> Result<Box<str>, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::Token { path: path.into(), source })?;
    let token = text.trim();
    if !TOKEN_LEN.contains(&token.len()) || token.contains(char::is_whitespace) {
        return Err(Error::TokenLength { path: path.into(), len: token.len() });
    }
    Ok(token.into())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const LOCAL: &str = "127.0.0.1:5000";
    const REMOTE: &str = "10.0.0.9:5000";

    fn rules() -> Rules {
        Rules {
            names: vec!["weir.branch".into()],
            scrape: vec!["10.2.0.0/16".parse().unwrap()],
            token: Some("0123456789abcdef".into()),
        }
    }

    fn judge(client: &str, request: http::request::Builder) -> Result<(), Denied> {
        let local = if client == LOCAL { "127.0.0.1:8081" } else { "10.1.1.1:8081" };
        let peer = Peer::Tcp { client: client.parse().unwrap(), local: local.parse().unwrap() };
        rules().judge(&peer, &request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn only_own_names_and_the_address_connected_to_are_answered() {
        let table = [
            ("localhost", true),
            ("LOCALHOST:8081", true),
            ("localhost.", true),
            ("127.0.0.1:8081", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("weir.branch:80", true),
            ("Weir.Branch.", true),
            ("attacker.example", false),
            ("attacker.example:8081", false),
            ("localhost.attacker.example", false),
            ("notlocalhost", false),
            ("weir.branch@attacker.example", false),
            ("attacker.example@localhost", false),
            ("localhost:80:80", false),
            ("localhost:x", false),
            ("127.0.0.2", false),
            ("[::1]", false),
            ("[localhost", false),
            ("", false),
        ];
        for (host, allowed) in table {
            let result = judge(LOCAL, Request::get("/").header("host", host));
            assert_eq!(result, if allowed { Ok(()) } else { Err(Denied::Host) }, "{host:?}");
        }
    }

    #[test]
    fn a_request_without_exactly_one_host_is_refused() {
        assert_eq!(judge(LOCAL, Request::get("/")), Err(Denied::Host));
        let two = Request::get("/").header("host", "localhost").header("host", "attacker.example");
        assert_eq!(judge(LOCAL, two), Err(Denied::Host));
        let absolute = Request::get("http://attacker.example/").header("host", "localhost");
        assert_eq!(judge(LOCAL, absolute), Err(Denied::Host), "the target counts, not the field");
    }

    #[test]
    fn what_changes_something_must_come_from_our_own_page_or_no_page() {
        let table: [(&[(&str, &str)], bool); 9] = [
            (&[], true),
            (&[("sec-fetch-site", "none")], true),
            (&[("sec-fetch-site", "same-origin"), ("origin", "http://localhost:8081")], true),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("origin", "http://localhost:8081")], true),
            (&[("origin", "http://localhost:9999")], false),
            (&[("origin", "https://attacker.example")], false),
            (&[("origin", "null")], false),
        ];
        for (fields, allowed) in table {
            let request = |method| {
                let request = Request::builder().method(method).uri("/api/purge").header("host", "localhost:8081");
                fields.iter().fold(request, |request, (name, value)| request.header(*name, *value))
            };
            let want = if allowed { Ok(()) } else { Err(Denied::CrossSite) };
            assert_eq!(judge(LOCAL, request("POST")), want, "{fields:?}");
            assert_eq!(judge(LOCAL, request("DELETE")), want, "{fields:?}");
            assert_eq!(judge(LOCAL, request("GET")), Ok(()), "{fields:?}");
        }
    }

    #[test]
    fn from_elsewhere_only_metrics_and_health_can_be_had() {
        let scraper = "10.2.3.4:5000";
        for path in ["/metrics", "/healthz", "/readyz"] {
            assert_eq!(judge(scraper, Request::get(path).header("host", "10.1.1.1")), Ok(()), "{path}");
            assert_eq!(judge(scraper, Request::post(path).header("host", "10.1.1.1")), Err(Denied::Network), "{path}");
        }
        for path in ["/", "/api/status", "/api/purge", "/metrics/", "/ui/status.css", "//metrics"] {
            assert_eq!(judge(scraper, Request::get(path).header("host", "10.1.1.1")), Err(Denied::Network), "{path}");
        }
        assert_eq!(judge(scraper, Request::get("/metrics").header("host", "attacker.example")), Err(Denied::Host));
    }

    #[test]
    fn a_token_opens_the_same_paths_from_any_network() {
        let get = |path: &str, token: &str| Request::get(path).header("host", "10.1.1.1").header("authorization", token);
        assert_eq!(judge(REMOTE, get("/metrics", "Bearer 0123456789abcdef")), Ok(()));
        assert_eq!(judge(REMOTE, get("/metrics", "bearer 0123456789abcdef")), Ok(()));
        for wrong in ["Bearer 0123456789abcdee", "Bearer 0123456789abcde", "Bearer ", "Bearer", "Basic 0123456789abcdef", ""] {
            assert_eq!(judge(REMOTE, get("/metrics", wrong)), Err(Denied::Token), "{wrong:?}");
        }
        assert_eq!(judge(REMOTE, get("/api/status", "Bearer 0123456789abcdef")), Err(Denied::Network));
        assert_eq!(judge(REMOTE, Request::get("/metrics").header("host", "10.1.1.1")), Err(Denied::Token));
    }

    #[test]
    fn without_a_token_file_no_token_opens_anything() {
        let rules = Rules { token: None, ..rules() };
        let peer = Peer::Tcp { client: REMOTE.parse().unwrap(), local: "10.1.1.1:8081".parse().unwrap() };
        let request = Request::get("/metrics").header("host", "10.1.1.1").header("authorization", "Bearer ");
        assert_eq!(rules.judge(&peer, &request.body(()).unwrap().into_parts().0), Err(Denied::Network));
    }

    #[test]
    fn the_unix_socket_needs_no_host() {
        let request = Request::post("/api/purge").body(()).unwrap();
        assert_eq!(rules().judge(&Peer::Unix { uid: Some(0) }, &request.into_parts().0), Ok(()));
    }

    #[test]
    fn a_loopback_client_in_ipv6_spelling_is_loopback() {
        let peer =
            Peer::Tcp { client: "[::ffff:127.0.0.1]:1".parse().unwrap(), local: "[::ffff:127.0.0.1]:8081".parse().unwrap() };
        let request = Request::get("/api/status").header("host", "127.0.0.1:8081").body(()).unwrap();
        assert_eq!(rules().judge(&peer, &request.into_parts().0), Ok(()));
    }

    #[test]
    fn a_token_file_must_hold_one_token() {
        let path = std::env::temp_dir().join(format!("weir-token-{}", std::process::id()));
        for (text, fine) in [("0123456789abcdef\n", true), ("short", false), ("two words but long enough", false), ("", false)] {
            fs::write(&path, text).unwrap();
            assert_eq!(read_token(&path).is_ok(), fine, "{text:?}");
        }
        fs::remove_file(&path).unwrap();
        assert!(matches!(read_token(&path), Err(Error::Token { .. })));
    }
}
