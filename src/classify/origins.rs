//! Which origins are allowed, under which group they are keyed, and what is known about them.

use std::{borrow::Cow, collections::HashMap, net::IpAddr, sync::Arc};

use crate::{
    classify::{
        Config, Host, HostPattern, OriginPattern, Refusal, SiteKind,
        rules::{FAMILIES, Family, Role},
    },
    key::{Origin, Scheme},
};

/// Values by host pattern. A lookup costs one hash per label of the host.
#[derive(Debug)]
struct HostMap<T> {
    exact: HashMap<Box<str>, Vec<T>>,
    below: HashMap<Box<str>, Vec<T>>,
}

impl<T> HostMap<T> {
    fn new() -> Self {
        Self { exact: HashMap::new(), below: HashMap::new() }
    }

    fn add(&mut self, pattern: &HostPattern, value: T) {
        match pattern {
            HostPattern::Exact(name) => self.exact.entry(name.clone()).or_default().push(value),
            HostPattern::Below(name) => self.below.entry(name.clone()).or_default().push(value),
        }
    }

    /// How specific the best pattern for `host` is: the length of what it spells out, 0 without any.
    fn specificity(&self, host: &str) -> usize {
        if self.exact.contains_key(host) {
            return host.len();
        }
        let mut suffixes = host.match_indices('.').map(|(dot, _)| &host[dot + 1..]);
        suffixes.find(|suffix| self.below.contains_key(*suffix)).map_or(0, str::len)
    }

    /// Everything that matches `host`, the most specific pattern first, equal patterns in the order they were added.
    fn matching<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a T> {
        let is_empty = self.below.is_empty() && self.exact.is_empty();
        let host = if is_empty { "" } else { host };
        let suffixes = host.match_indices('.').filter_map(|(dot, _)| self.below.get(&host[dot + 1..]));
        self.exact.get(host).into_iter().chain(suffixes).flatten()
    }
}

/// One reason to allow an origin.
#[derive(Debug)]
struct Permission {
    /// `None`: the scheme's own.
    port: Option<u16>,
    /// The `[[upstream]]` that answers for it.
    upstream: Option<Arc<str>>,
}

/// All that is known about origins.
#[derive(Debug)]
pub(super) struct Origins {
    allowed: HostMap<Permission>,
    /// Those of the configuration.
    groups: HostMap<Box<str>>,
    known: HostMap<&'static Family>,
    aliases: HashMap<IpAddr, Box<str>>,
    connect_ports: Vec<u16>,
}

/// An origin that may be contacted, and the `[[upstream]]` that answers for it.
#[derive(Debug)]
pub(super) struct Allowed {
    pub(super) origin: Origin,
    pub(super) upstream: Option<Arc<str>>,
}

impl Origins {
    pub(super) fn new(config: &Config) -> Self {
        let mut origins = Self {
            allowed: HostMap::new(),
            groups: HostMap::new(),
            known: HostMap::new(),
            aliases: config.aliases.iter().cloned().collect(),
            connect_ports: config.connect_ports.clone(),
        };
        // Sites come first: among permissions for one host, the one that knows where it is counts.
        for site in config.sites.iter().filter(|site| site.kind == SiteKind::Origin) {
            for OriginPattern { host, port } in &site.hosts {
                origins.allowed.add(host, Permission { port: *port, upstream: Some(site.name.clone()) });
            }
        }
        for OriginPattern { host, port } in &config.allow {
            origins.allowed.add(host, Permission { port: *port, upstream: None });
        }
        for group in &config.groups {
            group.hosts.iter().for_each(|host| origins.groups.add(host, group.name.clone()));
        }
        origins.add_families(config.builtin);
        origins
    }

    fn add_families(&mut self, allowed: bool) {
        for family in FAMILIES {
            for host in family.hosts {
                let pattern: HostPattern = host.parse().expect("built-in hosts are valid patterns, as a test checks");
                self.known.add(&pattern, family);
                if allowed {
                    self.allowed.add(&pattern, Permission { port: None, upstream: None });
                }
            }
        }
    }

    /// The origin that a client names by `host`, if a rule allows it. An address selects the name it is an alias of, never itself, unless a rule
    /// names exactly that address.
    pub(super) fn allow(&self, scheme: Scheme, host: &Host<'_>, port: Option<u16>) -> Result<Allowed, Refusal> {
        let port = port.unwrap_or(scheme.default_port());
        match host {
            Host::Name(name) => {
                self.find(scheme, name, port, false).ok_or_else(|| self.refusal(name, port, Refusal::OriginNotAllowed))
            }
            Host::Address(address) => {
                let alias = self.aliases.get(address).and_then(|name| self.find(scheme, name, port, false));
                let text = address.to_string();
                alias.or_else(|| self.find(scheme, &text, port, false)).ok_or_else(|| self.refusal(&text, port, Refusal::Address))
            }
        }
    }

    /// The same for a tunnel, where the ports of `[origins] connect_ports` count as the scheme's own.
    pub(super) fn allow_tunnel(&self, host: &Host<'_>, port: u16) -> Result<Allowed, Refusal> {
        let name = &host.text();
        let listed = self.connect_ports.contains(&port);
        let otherwise = if matches!(host, Host::Address(_)) { Refusal::Address } else { Refusal::OriginNotAllowed };
        self.find(Scheme::Https, name, port, listed).ok_or_else(|| self.refusal(name, port, otherwise))
    }

    /// Whether exactly this origin is allowed.
    pub(super) fn allows(&self, origin: &Origin) -> bool {
        self.find(origin.scheme, &origin.host, origin.port, false).is_some()
    }

    /// How exactly a rule names `host`: the length of what its best pattern spells out, 0 when none allows it.
    pub(super) fn specificity(&self, host: &str) -> usize {
        self.allowed.specificity(host)
    }

    fn find(&self, scheme: Scheme, host: &str, port: u16, any_port: bool) -> Option<Allowed> {
        let fits = |p: &&Permission| p.port.map_or(any_port || port == scheme.default_port(), |wanted| wanted == port);
        let mut permissions = self.allowed.matching(host).filter(fits);
        let first = permissions.next()?;
        // Of several upstreams for one host none is named: `upstream` asks them in order, and the next when one fails.
        let is_only = !permissions.any(|other| other.upstream.is_some() && other.upstream != first.upstream);
        let upstream = first.upstream.clone().filter(|_| is_only);
        Some(Allowed { origin: Origin::new(scheme, host, port), upstream })
    }

    /// Says whether it is the port or the host that no rule allows.
    fn refusal(&self, host: &str, port: u16, otherwise: fn(Box<str>) -> Refusal) -> Refusal {
        match self.allowed.matching(host).next() {
            Some(_) => Refusal::Port { host: host.into(), port },
            None => otherwise(host.into()),
        }
    }

    /// What is known about the service at `origin`; only on the port of its scheme.
    pub(super) fn family(&self, origin: &Origin) -> Option<&'static Family> {
        let is_standard = origin.port == origin.scheme.default_port();
        is_standard.then(|| self.known.matching(&origin.host).next().copied()).flatten()
    }

    /// The host part of the cache key: the group's name, or `host[:port]`. Groups that an administrator made stand above the built-in ones.
    pub(super) fn group<'a>(&'a self, origin: &'a Origin, family: Option<&Family>) -> Cow<'a, str> {
        let is_standard = origin.port == origin.scheme.default_port();
        let made = self.groups.matching(&origin.host).next().filter(|_| is_standard);
        match (made, family.and_then(|family| family.group)) {
            (Some(name), _) => Cow::Borrowed(name),
            (None, Some(name)) => Cow::Borrowed(name),
            (None, None) if is_standard && !origin.host.contains(':') => Cow::Borrowed(&origin.host),
            (None, None) => Cow::Owned(origin.authority()),
        }
    }
}

impl Family {
    pub(super) fn is_service(&self) -> bool {
        self.role == Role::Service
    }
}
