//! The four doors: request parts and policy in, a class out.
//!
//! Pure: no I/O, no clock, no name resolution. It decides *what is wanted and from which origin*; it never builds a response and never
//! says which address is dialled. Rules about particular services are data in `rules.rs`, with their source.

mod content;
mod door;
mod host;
mod learnt;
mod origins;
mod path;
mod place;
mod policy;
mod refusal;
mod rules;
mod site;
mod wsus;

#[cfg(test)]
mod tests;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{HeaderMap, Method, Uri, Version};

pub use self::{
    host::{BadHost, Host, HostPattern},
    policy::Policy,
    refusal::{BadPath, Refusal},
};
/// What a site of a WSUS can open.
pub use crate::wsus::Closed;
use crate::{
    digest::Digest,
    key::{CacheKey, Origin, Scheme},
    semantics,
    wsus::{Call, Opened},
};

/// A way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Door {
    Reverse,
    Wsus,
    Delivery,
    Transparent,
    Forward,
}

/// The parts of one request that decide its class.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub method: &'a Method,
    pub uri: &'a Uri,
    /// HTTP/2 puts the authority into the URI of every request; only in HTTP/1 does that mean an explicit proxy.
    pub version: Version,
    pub headers: &'a HeaderMap,
    /// What stands open on the socket that accepted the connection.
    pub doors: &'a [Door],
    /// `Https` when the client's connection is TLS that ends here.
    pub scheme: Scheme,
    /// The local end of the client's connection.
    pub local: SocketAddr,
    /// Content follows, or may: over HTTP/2 no field need say so (RFC 9113 §8.1).
    pub has_content: bool,
}

/// What a request is to us.
#[derive(Clone, Debug)]
pub enum Class {
    Content(Want),
    Pass(Pass),
    Tunnel(Tunnel),
    Refuse(Refusal),
}

/// Content somebody wants: what it is called here, and where it comes from.
#[derive(Clone, Debug)]
pub struct Want {
    pub door: Door,
    pub key: CacheKey,
    pub origin: Origin,
    /// The `[[upstream]]` that is configured for this origin, if any.
    pub upstream: Option<Arc<str>>,
    /// Origin-form as the origin wants it: path, the query parameters that count, without signature and `cacheHostOrigin`.
    pub path_and_query: String,
    /// The client's own signature parameters (`P1=…&P2=…`), when it sent some: needed by a fill, no part of the key.
    pub signature: Option<String>,
    pub freshness: FreshnessRule,
    /// How it is cached, before its content matched a declared digest.
    pub policy: semantics::Policy,
    /// A digest that the path declares under a rule.
    pub declared: Option<Digest>,
    /// Ask in bounded ranges from the first request on (large content from origins known for ranges).
    pub ranged: bool,
    /// Fields and cookies of the client never reach the origin, and policy edges of the delivery and transparent doors apply.
    pub anonymous: bool,
}

/// Which rule decides freshness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreshnessRule {
    /// RFC 9111 as the response says.
    Http,
    /// The name holds a version or digest: never asked again once whole and verified, 7 days before that.
    Immutable,
    /// Names known to change: always revalidated.
    Mutable,
}

/// A request that is relayed without caching.
#[derive(Clone, Debug)]
pub struct Pass {
    pub door: Door,
    pub why: PassReason,
    pub origin: Origin,
    pub upstream: Option<Arc<str>>,
    pub path_and_query: String,
    /// Of an update service: what the call may say before any of it is passed on.
    pub call: Option<Call>,
    /// The URLs of content in the answer are to be made what [`Policy::place`] says.
    pub rewrites: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassReason {
    /// Not GET or HEAD.
    Method,
    /// GET or HEAD with content: RFC 9110 §9.3.1 gives it no meaning that a cache key could carry.
    Body,
    /// A service call (SOAP).
    Service,
    /// The upstream's configuration wants no caching.
    Policy,
}

/// Bytes that go through untouched: `CONNECT`, or TLS meant for an allowed origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    pub door: Door,
    pub origin: Origin,
    pub upstream: Option<Arc<str>>,
}

/// What the name in a ClientHello asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SniVerdict {
    /// Ours, or none at all (clients that dial an address send none): TLS ends here.
    OwnName,
    /// An allowed origin's: the bytes go there untouched.
    Tunnel(Tunnel),
    /// Nobody's here.
    Close,
}

/// What `classify` needs to know; checked values only, made by `config`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Names by which clients address weir itself (certificates' names, configured names).
    pub own_names: Vec<HostPattern>,
    /// Ports weir listens on, administration included: no `CONNECT` goes to one of them under a name or address of ours.
    pub own_ports: Vec<u16>,
    /// Whether the built-in Microsoft origins are allowed.
    pub builtin: bool,
    /// Further origins that are allowed on the ports of their schemes, or on one port.
    pub allow: Vec<OriginPattern>,
    /// Bare addresses that stand for an origin's name (peers that clients know by address only).
    pub aliases: Vec<(std::net::IpAddr, Box<str>)>,
    /// Hosts that serve the same content under the same paths.
    pub groups: Vec<Group>,
    /// `[[upstream]]` entries, in file order.
    pub sites: Vec<Site>,
    /// Ports that `CONNECT` may name.
    pub connect_ports: Vec<u16>,
    /// The longest request target, in bytes.
    pub target_max: usize,
    pub policies: Policies,
}

/// One line of `[origins] allow`: a host pattern, with a port when it is not the scheme's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginPattern {
    pub host: HostPattern,
    /// `None`: 80 for http and 443 for https.
    pub port: Option<u16>,
}

/// Hosts that meet under one cache key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub name: Box<str>,
    pub hosts: Vec<HostPattern>,
}

/// What of an `[[upstream]]` matters to the doors.
#[derive(Clone, Debug)]
pub struct Site {
    pub name: Arc<str>,
    pub kind: SiteKind,
    /// `Host` values that select it, on any port; of an `Origin` the names it answers for.
    pub hosts: Vec<OriginPattern>,
    /// Path prefixes that select it; empty means all.
    pub paths: Vec<Box<str>>,
    /// Takes what no other site claims.
    pub catch_all: bool,
    /// Path prefixes that are relayed, never cached.
    pub pass: Vec<Box<str>>,
    /// What of a WSUS is open that branch clients do not need.
    pub opened: Opened,
    /// What clients call this weir: URLs of content in the answers of a WSUS are made to begin with it. `None`: they stay as they are.
    pub rewrite_to: Option<Origin>,
    pub caching: Caching,
}

/// How responses are cached where no site has a policy of its own, as far as that is for the administrator to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policies {
    /// Of the forward door. What others fetch for everybody keeps less of it: no errors, no cookies.
    pub http: semantics::Policy,
    /// How long past their last confirmation names known to change may answer when the origin cannot.
    pub mutable_stale_max: Duration,
}

impl Default for Policies {
    fn default() -> Self {
        Self { http: semantics::Policy::HTTP, mutable_stale_max: semantics::Policy::MUTABLE.stale_max }
    }
}

impl Policies {
    /// The policy for what a name stands for. `anonymous`: it is fetched for everybody.
    fn of(&self, freshness: FreshnessRule, anonymous: bool) -> semantics::Policy {
        match freshness {
            FreshnessRule::Http if !anonymous => self.http,
            FreshnessRule::Http => self.http.content(),
            FreshnessRule::Immutable => self.http.content().versioned(),
            FreshnessRule::Mutable => self.http.content().mutable(self.mutable_stale_max),
        }
    }
}

/// How the responses of a reverse site are cached, as far as that is for the site to choose. The default obeys the RFCs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caching {
    /// Heuristic freshness, stale answers, stored errors and cookies.
    pub policy: semantics::Policy,
    /// Names of query parameters that the origin is sent but that are no part of the key; a `*` at the end stands for any rest.
    ///
    /// RFC 9111 §2 keys by the whole URI: this is for parameters that the site knows to change nothing (`utm_*`).
    pub ignored_parameters: Vec<Box<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SiteKind {
    /// An authoritative server behind the reverse door, with the path that its URL puts before the client's.
    Reverse { origin: Origin, base: Box<str> },
    /// The same, and it is a WSUS.
    Wsus { origin: Origin, base: Box<str> },
    /// An origin of the delivery, transparent and forward doors whose address is configured.
    Origin,
}
