//! From an endpoint to a connected stream: resolve, check, connect in a staggered race, TLS; all within the connect timeout.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use http::Version;
use rustls::pki_types::ServerName;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::{
    key::Scheme,
    upstream::{
        config::{Config, Own},
        dial::{
            Connected, Dial, Grant, Quiet, Stream,
            address::{check, looks_like_address},
            tls::{self, Configs, HTTP2, Versions},
        },
        error::{ConfigError, Error},
    },
};

/// One place to connect to. Equal endpoints may share connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::upstream) struct Endpoint {
    pub(in crate::upstream) scheme: Scheme,
    pub(in crate::upstream) host: Box<str>,
    pub(in crate::upstream) port: u16,
    /// Dialled instead of what `host` resolves to.
    pub(in crate::upstream) address: Option<SocketAddr>,
    /// The name in the certificate when it is not `host`.
    pub(in crate::upstream) server_name: Option<Box<str>>,
    /// The `[[upstream]]` that names this endpoint; it brings the permission to be private, and roots of its own.
    pub(in crate::upstream) upstream: Option<Arc<str>>,
}

impl Endpoint {
    fn grant(&self) -> Grant {
        if self.upstream.is_some() { Grant::Configured } else { Grant::Public }
    }
}

/// Dials endpoints under one configuration.
pub(in crate::upstream) struct Dialer {
    dial: Arc<dyn Dial>,
    own: Own,
    connect_timeout: Duration,
    tls: Configs,
    /// For upstreams that trust more than the others.
    tls_of: HashMap<Arc<str>, Configs>,
}

/// A connection over which requests can be sent.
pub(in crate::upstream) struct Dialed {
    pub(in crate::upstream) stream: Box<dyn Stream>,
    pub(in crate::upstream) quiet: Quiet,
    /// HTTP/1.1, or HTTP/2 where it was agreed on.
    pub(in crate::upstream) version: Version,
}

impl Dialer {
    pub(in crate::upstream) fn new(config: &Config, dial: Arc<dyn Dial>) -> Result<Self, ConfigError> {
        let roots = tls::roots(config.system_roots, &config.ca_files)?;
        let mut tls_of = HashMap::new();
        for definition in &config.upstreams {
            if let Some(file) = &definition.tls.ca_file {
                tls_of.insert(definition.name.clone(), Configs::new(tls::with_file(&roots, file)?)?);
            }
        }
        Ok(Self { dial, own: config.own.clone(), connect_timeout: config.timeouts.connect, tls: Configs::new(roots)?, tls_of })
    }

    /// A connection to `to`, with TLS when its scheme wants it. `upstream` is the name for errors.
    pub(in crate::upstream) async fn dial(&self, to: &Endpoint, upstream: &str, versions: Versions) -> Result<Dialed, Error> {
        let dialed = async {
            let plain = self.connect(to, upstream).await?;
            match to.scheme {
                Scheme::Http => Ok(Dialed { stream: plain.stream, quiet: plain.quiet, version: Version::HTTP_11 }),
                Scheme::Https => self.secure(plain, to, upstream, versions).await,
            }
        };
        self.in_time(dialed, upstream).await
    }

    /// As [`Dialer::dial`], without TLS whatever the scheme: what passes through is not ours to read.
    pub(in crate::upstream) async fn tunnel(&self, to: &Endpoint, upstream: &str) -> Result<Connected, Error> {
        self.in_time(self.connect(to, upstream), upstream).await
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, Error>>, upstream: &str) -> Result<T, Error> {
        let late = |_| Error::ConnectTimeout { upstream: upstream.into(), after: self.connect_timeout };
        timeout(self.connect_timeout, work).await.map_err(late)?
    }

    async fn connect(&self, to: &Endpoint, upstream: &str) -> Result<Connected, Error> {
        let addresses = self.addresses(to).await?;
        self.race(addresses).await.map_err(|error| {
            let (upstream, reason) = (upstream.into(), error.to_string().into());
            if is_ours(&error) { Error::Exhausted { upstream, reason } } else { Error::Connect { upstream, reason } }
        })
    }

    /// The addresses that may be dialled, each checked; what is dialled is what was checked.
    async fn addresses(&self, to: &Endpoint) -> Result<Vec<SocketAddr>, Error> {
        let candidates = self.candidates(to).await?;
        let mut refused = None;
        let mut allowed = Vec::with_capacity(candidates.len());
        for address in candidates {
            match check(address, to.grant(), &self.own) {
                Ok(()) => allowed.push(address),
                Err(why) => refused = refused.or(Some((address.ip(), why))),
            }
        }
        match refused {
            Some((address, why)) if allowed.is_empty() => Err(Error::Address { host: to.host.clone(), address, why }),
            _ => Ok(interleaved(allowed)),
        }
    }

    async fn candidates(&self, to: &Endpoint) -> Result<Vec<SocketAddr>, Error> {
        if let Some(address) = to.address {
            return Ok(vec![address]);
        }
        let unresolved = |reason: &str| Error::Resolve { host: to.host.clone(), reason: reason.into() };
        if let Ok(address) = to.host.parse::<IpAddr>() {
            return match to.grant() {
                Grant::Configured => Ok(vec![SocketAddr::new(address, to.port)]),
                Grant::Public => Err(Error::Address { host: to.host.clone(), address, why: "a literal nobody configured" }),
            };
        }
        if looks_like_address(&to.host) {
            return Err(unresolved("an address in disguise"));
        }
        let found = self.dial.resolve(&to.host).await.map_err(|error| unresolved(&error.to_string()))?;
        if found.is_empty() {
            return Err(unresolved("no addresses"));
        }
        Ok(found.into_iter().map(|ip| SocketAddr::new(ip, to.port)).collect())
    }

    /// The first connection that succeeds, attempts starting [`STAGGER`] apart or as soon as all before have failed (RFC 8305 §5).
    async fn race(&self, addresses: Vec<SocketAddr>) -> io::Result<Connected> {
        let mut waiting = addresses.into_iter();
        let mut attempts = FuturesUnordered::new();
        let mut last_error = None;
        loop {
            let more = match waiting.next() {
                Some(address) => {
                    attempts.push(self.dial.connect(address));
                    waiting.len() > 0
                }
                None => false,
            };
            loop {
                let ended = tokio::select! {
                    ended = attempts.next() => ended,
                    () = sleep(STAGGER), if more => break,
                };
                match ended {
                    Some(Ok(connected)) => return Ok(connected),
                    Some(Err(error)) => last_error = Some(error),
                    None => break,
                }
            }
            if attempts.is_empty() && waiting.len() == 0 {
                return Err(last_error.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()));
            }
        }
    }

    async fn secure(&self, plain: Connected, to: &Endpoint, upstream: &str, versions: Versions) -> Result<Dialed, Error> {
        let bad = |reason: String| Error::Tls { upstream: upstream.into(), reason: reason.into() };
        let name = to.server_name.as_deref().unwrap_or(&to.host);
        let name = ServerName::try_from(name.to_owned()).map_err(|_| bad(format!("{name} is not a name for a certificate")))?;
        let configs = to.upstream.as_ref().and_then(|name| self.tls_of.get(name)).unwrap_or(&self.tls);
        let connector = TlsConnector::from(configs.of(versions));
        let stream = connector.connect(name, plain.stream).await.map_err(|e| bad(e.to_string()))?;
        let agreed = stream.get_ref().1.alpn_protocol();
        let version = if agreed == Some(HTTP2) { Version::HTTP_2 } else { Version::HTTP_11 };
        Ok(Dialed { stream: Box::new(stream), quiet: plain.quiet, version })
    }
}

/// Whether a connection failed for want of something on this machine: no upstream is to blame for that.
fn is_ours(error: &io::Error) -> bool {
    use rustix::io::Errno;
    // Not EADDRNOTAVAIL: that is also what a machine without IPv6 says about an IPv6 address.
    let ours = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    error.raw_os_error().is_some_and(|code| ours.iter().any(|errno| errno.raw_os_error() == code))
}

/// IPv6 and IPv4 in turn, the resolver's first family first, and no more than [`ADDRESSES_MAX`] (RFC 8305 §4).
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut mixed = Vec::new();
    while mixed.len() < ADDRESSES_MAX {
        let (a, b) = (first.next(), second.next());
        if a.is_none() && b.is_none() {
            break;
        }
        mixed.extend(a.into_iter().chain(b));
    }
    mixed.truncate(ADDRESSES_MAX);
    mixed
}

/// RFC 8305 §8 recommends 250 ms between attempts.
const STAGGER: Duration = Duration::from_millis(250);

/// A name may have dozens of addresses; the connect timeout allows no more tries than this anyway.
const ADDRESSES_MAX: usize = 8;
