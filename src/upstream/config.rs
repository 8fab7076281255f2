//! What can be set about upstreams: plain data, assembled elsewhere.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use http::{HeaderValue, Uri};

use crate::{key::Origin, upstream::error::ConfigError};

/// Everything `upstream` wants to know. The default: system resolver and roots, no configured upstreams, no redirect allowed.
#[derive(Clone, Debug)]
pub struct Config {
    pub resolver: Resolver,
    pub timeouts: Timeouts,
    pub connections: Connections,
    /// Whether the certificate authorities of the system are trusted.
    pub system_roots: bool,
    /// PEM files of certificate authorities that are trusted, too.
    pub ca_files: Vec<PathBuf>,
    pub upstreams: Vec<Definition>,
    /// Where weir itself listens, and its own addresses: never dialled, whatever a name says.
    pub own: Own,
    pub redirects: Redirects,
    pub health: Health,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            resolver: Resolver::System,
            timeouts: Timeouts::default(),
            connections: Connections::default(),
            system_roots: true,
            ca_files: Vec::new(),
            upstreams: Vec::new(),
            own: Own::default(),
            redirects: Redirects::default(),
            health: Health::default(),
        }
    }
}

impl Config {
    /// What no file was needed to find out.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for (index, definition) in self.upstreams.iter().enumerate() {
            let name = &definition.name;
            if self.upstreams[..index].iter().any(|other| other.name == *name) {
                return Err(ConfigError::DuplicateName(name.clone()));
            }
            let bad = |key, value: &str| Err(ConfigError::Unsendable { upstream: name.clone(), key, value: value.into() });
            match (&definition.host, &definition.probe) {
                (Some(host), _) if HeaderValue::from_str(host).is_err() => return bad("host", host),
                (_, Some(path)) if !path.starts_with('/') || path.parse::<Uri>().is_err() => return bad("probe", path),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Who turns names into addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Resolver {
    /// `/etc/resolv.conf` and `/etc/hosts`.
    #[default]
    System,
    /// These name servers and nothing else: under DNS override the system's answer is weir itself.
    Servers(Vec<SocketAddr>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Resolving, connecting and the TLS handshake together.
    pub connect: Duration,
    /// From the request's last byte to the response head.
    pub first_byte: Duration,
    /// Between two pieces of a body, in either direction.
    pub stall: Duration,
    /// How long an idle connection is kept.
    pub idle: Duration,
    /// How long a request waits for a free connection.
    pub busy: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            // A WSUS server thinks about the first `SyncUpdates` of a computer for tens of seconds.
            first_byte: Duration::from_secs(60),
            // Delivery Optimization gives up below 4,000 B/s over 20 s: another request must have brought something by then.
            stall: Duration::from_secs(10),
            // Common servers close after 60 s or more; being first avoids sending into a closing connection.
            idle: Duration::from_secs(55),
            busy: Duration::from_secs(5),
        }
    }
}

/// How many connections one upstream (or one unconfigured origin) may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    pub content: usize,
    pub pass: usize,
}

impl Default for Connections {
    fn default() -> Self {
        Self { content: 16, pass: 64 }
    }
}

/// One `[[upstream]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// The name in metrics, in the log and on the status page.
    pub name: Arc<str>,
    pub kind: Kind,
    /// Where it is. Its host and port may be private: naming them here is the permission.
    pub url: Origin,
    /// The hosts it serves: for a parent, what it is asked for (empty: whatever is behind no door of ours); for an origin, the hosts whose
    /// content really lives here (empty: it stands behind a door).
    pub hosts: Vec<HostPattern>,
    /// Dial this address instead of resolving `url`'s host.
    pub address: Option<SocketAddr>,
    /// The `Host` field to send instead of the client's or the origin's own.
    pub host: Option<Box<str>>,
    pub tls: Tls,
    /// Lower is asked first; equal ones in the order written.
    pub order: u32,
    /// Whether it answers ranges, when the administrator knows.
    pub ranges: Option<bool>,
    /// Whether passed requests may go there by HTTP/2, where it agrees to that in the TLS handshake.
    pub http2: bool,
    /// For a parent: what its `hosts` cover never goes to the origin directly, even when no parent answers.
    pub only_parents: bool,
    /// Connections it may have, when not the default.
    pub connections: Option<Connections>,
    /// Content bytes per second over the WAN, all connections together. None: no limit.
    pub bytes_per_second: Option<u64>,
    /// The first of the servers that stand in for one another behind a door, itself included. It is asked before the others.
    pub group: Option<Arc<str>>,
    /// Path to GET when it is probed; without it a TCP connection is probe enough.
    pub probe: Option<Box<str>>,
}

impl Definition {
    /// An upstream with nothing set but what must be.
    pub fn new(name: &str, kind: Kind, url: Origin) -> Self {
        Self {
            name: name.into(),
            kind,
            url,
            hosts: Vec::new(),
            address: None,
            host: None,
            tls: Tls::default(),
            order: 0,
            ranges: None,
            http2: true,
            only_parents: false,
            connections: None,
            bytes_per_second: None,
            group: None,
            probe: None,
        }
    }

    /// Whether it is a server of ours that clients know under our name: the door selects it, never a host.
    pub fn is_behind_a_door(&self) -> bool {
        self.kind == Kind::Origin && self.hosts.is_empty()
    }

    /// Whether `origin` is among the hosts it serves. A parent without a list serves all, an origin only what is listed.
    pub fn covers(&self, origin: &Origin) -> bool {
        match (self.kind, self.hosts.is_empty()) {
            (Kind::Parent, true) => true,
            _ => self.hosts.iter().any(|host| host.matches(origin)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Authoritative for its hosts.
    Origin,
    /// A cache that resolves misses for us: asked in absolute-form.
    Parent,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Origin => "origin",
            Self::Parent => "parent",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM file of authorities trusted for this upstream, beside the others.
    pub ca_file: Option<PathBuf>,
    /// The name its certificate must have, when not the host's.
    pub server_name: Option<Box<str>>,
}

/// `host`, `host:port`, `*.suffix` or `*.suffix:port`. A star stands for at least one label: `*.example` is not `example`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPattern {
    /// Lower case; with its leading dot when it is a suffix.
    name: Box<str>,
    port: Option<u16>,
}

impl HostPattern {
    pub fn matches(&self, origin: &Origin) -> bool {
        let name_fits = if self.name.starts_with('.') { origin.host.ends_with(&*self.name) } else { *origin.host == *self.name };
        name_fits && self.port.is_none_or(|port| port == origin.port)
    }
}

impl FromStr for HostPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, port) = match text.rsplit_once(':') {
            // An IPv6 literal has no port unless it stands in brackets.
            Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
                (name, Some(port.parse().map_err(|_| format!("{text}: {port} is not a port"))?))
            }
            _ => (text, None),
        };
        let name = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let is_suffix = name.starts_with('*');
        let name = name.strip_prefix('*').unwrap_or(&name);
        let labels = if is_suffix { name.strip_prefix('.').unwrap_or("") } else { name };
        if labels.is_empty() || labels.starts_with('.') || labels.contains(['*', '/', '@', ' ']) {
            return Err(format!("{text}: not a host, nor *.suffix"));
        }
        Ok(Self { name: name.into(), port })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.name.starts_with('.') { "*" } else { "" };
        write!(f, "{star}{}", self.name)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// weir's own addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// Addresses of this machine: refused for names on any port.
    pub addresses: Vec<IpAddr>,
    /// Where weir listens, as bound (an unspecified address stands for every address of this machine). Refused even where a configured
    /// upstream names them: that is a loop.
    pub listening: Vec<SocketAddr>,
}

/// What happens to redirects of content.
#[derive(Clone)]
pub struct Redirects {
    /// How many are followed for one request.
    pub max: usize,
    /// Whether the policy allows the origin a redirect leads to.
    pub allow: Arc<dyn Fn(&Origin) -> bool + Send + Sync>,
}

impl Default for Redirects {
    fn default() -> Self {
        // DO-Lite follows ten itself.
        Self { max: 10, allow: Arc::new(|_| false) }
    }
}

impl fmt::Debug for Redirects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redirects").field("max", &self.max).finish_non_exhaustive()
    }
}

/// When a configured upstream is ejected, and how it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// Failures in a row after which it is ejected.
    pub failures_max: u32,
    /// Time to the first probe after ejection; doubled after each that fails, with jitter.
    pub backoff: Duration,
    pub backoff_max: Duration,
}

impl Default for Health {
    fn default() -> Self {
        Self { failures_max: 5, backoff: Duration::from_secs(2), backoff_max: Duration::from_secs(60) }
    }
}
