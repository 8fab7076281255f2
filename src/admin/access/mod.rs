//! Who may do what on the administration interface. Pure: a decision from the two ends of a connection and a request head.

#[cfg(test)]
mod tests;

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::{HeaderMap, Method, StatusCode, Uri, Version, header, request};
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
        match authority(&head.uri, &head.headers) {
            Some(authority) if !self.is_own(authority, local) => return Err(Denied::Host),
            Some(authority) if changes_something(&head.method) && is_cross_site(&head.headers, authority) => {
                return Err(Denied::CrossSite);
            }
            None if !is_old_probe(head) => return Err(Denied::Host),
            Some(_) | None => {}
        }
        if client.is_loopback() { Ok(()) } else { self.judge_remote(client, head) }
    }

    fn judge_remote(&self, client: IpAddr, head: &request::Parts) -> Result<(), Denied> {
        if !is_open(head) {
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

fn is_open(head: &request::Parts) -> bool {
    OPEN_PATHS.contains(&head.uri.path()) && !changes_something(&head.method)
}

/// Load balancers probe with HTTP/1.0 and no `Host`. No browser does, so no rebound name can hide behind it.
fn is_old_probe(head: &request::Parts) -> bool {
    head.version == Version::HTTP_10 && !head.headers.contains_key(header::HOST) && is_open(head)
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

/// Whether the file holds a token that can be used. Blocks on the disk.
///
/// # Errors
/// It is not readable, or what it holds is no token.
pub fn check_token_file(path: &Path) -> Result<(), Error> {
    read_token(path).map(drop)
}

fn read_token(path: &Path) -> Result<Box<str>, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::Token { path: path.into(), source })?;
    let token = text.trim();
    if !TOKEN_LEN.contains(&token.len()) || token.contains(char::is_whitespace) {
        return Err(Error::TokenLength { path: path.into(), len: token.len() });
    }
    Ok(token.into())
}
