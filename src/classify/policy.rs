//! The order in which the doors are tried.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, Method, Uri, Version, header};

use crate::{
    classify::{
        Asked, BadHost, Class, Config, Door, Host, HostPattern, Policies, Refusal, SniVerdict, Tunnel,
        content::{Form, Wanted},
        origins::{Allowed, Origins},
        path,
        site::Sites,
    },
    key::{CacheKey, Origin, Scheme},
};

/// The rules of all doors, ready for lookup. Immutable; a reload makes a new one.
#[derive(Debug)]
pub struct Policy {
    node: Box<str>,
    own_names: Vec<HostPattern>,
    own_ports: Vec<u16>,
    pub(super) target_max: usize,
    pub(super) policies: Policies,
    pub(super) origins: Origins,
    pub(super) sites: Sites,
}

/// Whom a request is addressed to.
#[derive(Clone, Debug)]
struct Addressee<'a> {
    scheme: Scheme,
    host: Host<'a>,
    port: Option<u16>,
}

impl Policy {
    /// `node`: the id by which this weir names itself in `Via` (as received-by pseudonym) and `CDN-Loop` (as cdn-id, RFC 8586 §2).
    pub fn new(config: &Config, node: &str) -> Self {
        Self {
            node: node.into(),
            own_names: config.own_names.clone(),
            own_ports: config.own_ports.clone(),
            target_max: config.target_max,
            policies: config.policies,
            origins: Origins::new(config),
            sites: Sites::new(config),
        }
    }

    /// What this request is to us.
    pub fn classify(&self, asked: &Asked<'_>) -> Class {
        self.judge(asked).unwrap_or_else(Class::Refuse)
    }

    fn judge(&self, asked: &Asked<'_>) -> Result<Class, Refusal> {
        self.refuse_early(asked)?;
        if asked.method == Method::CONNECT {
            return self.connect(asked);
        }
        let scheme = absolute_scheme(asked)?;
        let addressee = match named_host(asked)? {
            Some(text) => {
                let (host, port) = Host::with_port(text).map_err(|why| bad_host(text, why))?;
                Some(Addressee { scheme: scheme.unwrap_or(asked.scheme), host, port })
            }
            None => None,
        };
        if let Some(to) = addressee.as_ref().filter(|to| scheme.is_some() && !self.is_ours(to, asked.local)) {
            return self.forward(asked, to);
        }
        self.origin_form(asked, addressee.as_ref())
    }

    /// What is wrong whatever the door.
    fn refuse_early(&self, asked: &Asked<'_>) -> Result<(), Refusal> {
        let len = asked.uri.path_and_query().map_or(0, |target| target.as_str().len());
        if len > self.target_max {
            return Err(Refusal::TargetTooLong { len, max: self.target_max });
        }
        if is_loop(asked.headers, &self.node) {
            return Err(Refusal::Loop);
        }
        // It would show a client the fields that weir adds (RFC 9110 §9.3.8).
        if asked.method == Method::TRACE {
            return Err(Refusal::method(asked.method, asked.doors));
        }
        if asked.uri.path() == "*" {
            return Err(Refusal::Target(asked.method.as_str().into()));
        }
        Ok(())
    }

    /// `CONNECT host:port` (RFC 9110 §9.3.6).
    fn connect(&self, asked: &Asked<'_>) -> Result<Class, Refusal> {
        let target = || Refusal::Target("CONNECT".into());
        let text = asked.uri.authority().ok_or_else(target)?.as_str();
        let (host, port) = Host::with_port(text).map_err(|why| bad_host(text, why))?;
        let port = port.ok_or_else(target)?;
        open(asked, Door::Forward)?;
        let to = Addressee { scheme: Scheme::Https, host, port: Some(port) };
        if self.is_own_host(&to.host, asked.local) {
            return Err(Refusal::Itself(text.into()));
        }
        let Allowed { origin, upstream } = self.origins.allow_tunnel(&to.host, port)?;
        Ok(Class::Tunnel(Tunnel { door: Door::Forward, origin, upstream }))
    }

    /// `GET http://origin/…`, as an explicit proxy is asked (RFC 9112 §3.2.2). The same form may also address a site.
    fn forward(&self, asked: &Asked<'_>, to: &Addressee<'_>) -> Result<Class, Refusal> {
        if let Some(site) = self.sites.named(asked.doors, &to.host, to.port, asked.uri.path()) {
            return site.classify(asked, site.door(), Form::Plain);
        }
        if !asked.doors.contains(&Door::Forward) {
            // Servers take absolute-form, too: here nobody else can be meant (RFC 9112 §3.2.2).
            return self.origin_form(asked, Some(to)).map_err(|why| match why {
                Refusal::NoSite(_) => Refusal::DoorClosed(Door::Forward),
                why => why,
            });
        }
        if self.is_own_host(&to.host, asked.local) && self.is_own_port(to) {
            return Err(Refusal::Itself(to.host.to_string().into()));
        }
        let allowed = self.origins.allow(to.scheme, &to.host, to.port)?;
        self.content(asked, Wanted { door: Door::Forward, form: Form::Plain, allowed })
    }

    /// `GET /path` with the addressee in `Host`, or nowhere.
    fn origin_form(&self, asked: &Asked<'_>, to: Option<&Addressee<'_>>) -> Result<Class, Refusal> {
        let is_cache_host = asked.doors.contains(&Door::Delivery) || self.sites.rewrite(asked.doors);
        if let Some(value) = asked.uri.query().filter(|_| is_cache_host).and_then(|query| self.cache_host_origin(query)) {
            return self.delivery(asked, value);
        }
        let path = asked.uri.path();
        if let Some(site) = to.and_then(|to| self.sites.named(asked.doors, &to.host, to.port, path)) {
            return site.classify(asked, site.door(), Form::Plain);
        }
        let transparent = to.filter(|_| asked.doors.contains(&Door::Transparent)).map(|to| self.transparent(to, asked.local));
        if let Some(Ok(allowed)) = transparent {
            return self.content(asked, Wanted { door: Door::Transparent, form: Form::Plain, allowed });
        }
        if let Some(site) = self.sites.unnamed(asked.doors, path) {
            return site.classify(asked, site.door(), Form::Plain);
        }
        // HTTP/2 asks a proxy as it asks an origin (RFC 9113 §8.3.1): what no other door claims is meant for the proxy.
        let proxied = to.filter(|to| asked.version >= Version::HTTP_2 && !self.is_ours(to, asked.local));
        if let Some(to) = proxied.filter(|_| asked.doors.contains(&Door::Forward)) {
            return self.forward(asked, to);
        }
        Err(match transparent {
            Some(Err(refusal)) => refusal,
            _ => Refusal::NoSite(to.map_or_else(|| "a request without Host".into(), |to| to.host.to_string().into())),
        })
    }

    /// The origin that a cache host is asked for. A client whose cache host is weir adds weir's own name to a URL that was made to begin with it:
    /// then the origin is the one before.
    fn cache_host_origin<'a>(&self, query: &'a str) -> Option<&'a str> {
        let is_other = |value: &&str| !Host::parse(value).is_ok_and(|host| self.is_own_name(&host));
        path::cache_host_origins(query).find(is_other).or_else(|| path::cache_host_origins(query).next())
    }

    /// A Delivery Optimization cache host is asked, and `value` is the raw text of `cacheHostOrigin`.
    fn delivery(&self, asked: &Asked<'_>, value: &str) -> Result<Class, Refusal> {
        let text = percent_encoding::percent_decode_str(value).decode_utf8().map_err(|_| bad_host(value, BadHost::Character))?;
        let host = Host::parse(&text).map_err(|why| bad_host(&text, why))?;
        if !matches!(*asked.method, Method::GET | Method::HEAD) {
            return Err(Refusal::method(asked.method, &[Door::Delivery]));
        }
        if let Some(site) = self.sites.origin(asked.doors, &host, asked.uri.path()) {
            return site.classify(asked, Door::Delivery, Form::CacheHost);
        }
        // A client that knows the WSUS by our name has our name for its origin, too.
        let own = self.sites.unnamed(asked.doors, asked.uri.path()).filter(|site| site.door() == Door::Wsus);
        if let Some(site) = own.filter(|_| self.is_own_name(&host)) {
            return site.classify(asked, Door::Delivery, Form::CacheHost);
        }
        // The client kept scheme and port of the URL it had; only the host was replaced (microsoft/do-client, download.cpp).
        let allowed = self.origins.allow(asked.scheme, &host, None)?;
        if self.origins.family(&allowed.origin).is_some_and(|family| family.is_service()) {
            return Err(Refusal::NotContent((*allowed.origin.host).into()));
        }
        self.content(asked, Wanted { door: Door::Delivery, form: Form::CacheHost, allowed })
    }

    /// DNS or routing sent an origin's traffic here.
    fn transparent(&self, to: &Addressee<'_>, local: SocketAddr) -> Result<Allowed, Refusal> {
        // A client that dials our address has not named an origin, and "add it to the allow-list" would be bad advice.
        if self.is_own_host(&to.host, local) {
            return Err(Refusal::NoSite(to.host.to_string().into()));
        }
        self.origins.allow(to.scheme, &to.host, to.port)
    }

    /// What to do with a TLS connection whose ClientHello names `name`, on a socket with these doors.
    pub fn sni_verdict(&self, name: Option<&str>, doors: &[Door]) -> SniVerdict {
        let Some(text) = name else { return SniVerdict::OwnName };
        let Ok(host @ Host::Name(_)) = Host::parse(text) else { return SniVerdict::Close };
        if self.is_own_name(&host) || self.sites.named(doors, &host, None, "/").is_some() {
            return SniVerdict::OwnName;
        }
        if !doors.contains(&Door::Transparent) {
            return SniVerdict::Close;
        }
        match self.origins.allow(Scheme::Https, &host, None) {
            Ok(Allowed { origin, upstream }) => SniVerdict::Tunnel(Tunnel { door: Door::Transparent, origin, upstream }),
            Err(_) => SniVerdict::Close,
        }
    }

    /// Whether a redirect of content may be followed to this origin, when it came through no site of its own.
    pub fn allows(&self, origin: &Origin) -> bool {
        self.origins.allows(origin)
    }

    /// The key under which a URL is stored, for `purge URL`. Goes by the URL's own host, as the forward door does, or by the URL of a site;
    /// whether the origin is allowed (still) does not matter.
    pub fn key_of(&self, url: &Uri) -> Option<CacheKey> {
        let scheme = scheme_of(url.scheme_str()?)?;
        let (host, port) = Host::with_port(url.authority()?.as_str()).ok()?;
        let host = host.to_string();
        let origin = Origin::new(scheme, &host, port.unwrap_or(scheme.default_port()));
        self.sites.key_of(&origin, url).or_else(|| Some(self.key(&origin, url, Form::CacheHost)))
    }

    /// A wildcard (certificates often have one for the whole company) claims no name that a rule allows as an origin more exactly, or as exactly.
    fn is_own_name(&self, host: &Host<'_>) -> bool {
        let Host::Name(name) = host else { return false };
        let claims = |own: &HostPattern| match own {
            HostPattern::Exact(_) => true,
            HostPattern::Below(suffix) => suffix.len() > self.origins.specificity(name),
        };
        **name == *"localhost" || self.own_names.iter().any(|own| own.matches(name) && claims(own))
    }

    fn is_own_host(&self, host: &Host<'_>, local: SocketAddr) -> bool {
        match host {
            Host::Name(_) => self.is_own_name(host),
            Host::Address(address) => canonical(*address) == canonical(local.ip()),
        }
    }

    fn is_own_port(&self, to: &Addressee<'_>) -> bool {
        self.own_ports.contains(&to.port.unwrap_or(to.scheme.default_port()))
    }

    /// Whether a request in absolute-form is one to this very socket (RFC 9112 §3.2.2 has servers accept that).
    fn is_ours(&self, to: &Addressee<'_>, local: SocketAddr) -> bool {
        self.is_own_host(&to.host, local) && to.port.unwrap_or(to.scheme.default_port()) == local.port()
    }
}

/// The door has to be open on this socket.
fn open(asked: &Asked<'_>, door: Door) -> Result<(), Refusal> {
    if asked.doors.contains(&door) { Ok(()) } else { Err(Refusal::DoorClosed(door)) }
}

/// The host that a request names: in its target (absolute-form, HTTP/2 `:authority`), else in `Host` (RFC 9112 §3.2.2, RFC 9113 §8.3.1).
fn named_host<'a>(asked: &Asked<'a>) -> Result<Option<&'a str>, Refusal> {
    let mut fields = asked.headers.get_all(header::HOST).iter();
    let field = fields.next();
    if fields.next().is_some() || (field.is_none() && asked.version == Version::HTTP_11) {
        return Err(Refusal::HostField);
    }
    if let Some(authority) = asked.uri.authority() {
        return Ok(Some(authority.as_str()));
    }
    match field.map(|value| value.to_str()) {
        None => Ok(None),
        // RFC 9112 §3.2: what has no authority sends an empty Host.
        Some(Ok("")) => Ok(None),
        Some(Ok(text)) => Ok(Some(text)),
        Some(Err(_)) => Err(Refusal::HostField),
    }
}

/// The scheme of a request that addresses us as its explicit proxy.
fn absolute_scheme(asked: &Asked<'_>) -> Result<Option<Scheme>, Refusal> {
    let Some(text) = asked.uri.scheme_str() else { return Ok(None) };
    let scheme = scheme_of(text).ok_or_else(|| Refusal::Scheme(text.into()))?;
    // HTTP/2 names scheme and authority in every request (RFC 9113 §8.3.1): only a scheme that is not this connection's asks for a proxy.
    if asked.version >= Version::HTTP_2 && scheme == asked.scheme { Ok(None) } else { Ok(Some(scheme)) }
}

fn scheme_of(text: &str) -> Option<Scheme> {
    [Scheme::Http, Scheme::Https].into_iter().find(|scheme| scheme.as_str().eq_ignore_ascii_case(text))
}

fn bad_host(text: &str, why: BadHost) -> Refusal {
    // The text goes into a log line and a response: no more of it than a name can be long.
    let shown = text.chars().take(80).collect::<String>();
    Refusal::Host { text: shown.into(), why }
}

/// An IPv4 address in IPv6 clothes is that IPv4 address.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Whether `CDN-Loop` (RFC 8586 §2) or `Via` (RFC 9110 §7.6.3) says that this request was here before.
fn is_loop(fields: &HeaderMap, node: &str) -> bool {
    let members = |name| fields.get_all(name).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let is_cdn = |member: &str| member.split(';').next().is_some_and(|id| id.trim().eq_ignore_ascii_case(node));
    let is_via = |member: &str| member.split_whitespace().nth(1).is_some_and(|by| by.eq_ignore_ascii_case(node));
    members("cdn-loop").any(is_cdn) || members("via").any(is_via)
}
