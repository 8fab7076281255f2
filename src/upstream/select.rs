//! Who is asked for what, and in which order: the hierarchy as data.
//!
//! Content: parents that cover the origin, then whoever is authoritative. Everything else: only whoever is authoritative. The authority is
//! the upstream through whose door the request came; else the configured origins that list the host; else the host itself.

use std::sync::Arc;

use crate::{
    key::{Origin, Scheme},
    upstream::{
        Target,
        config::{Definition, Kind},
        dial::Endpoint,
        health::Upstream,
    },
};

/// One place to send a request to, and how.
pub(super) struct Hop {
    pub(super) upstream: Arc<Upstream>,
    pub(super) endpoint: Endpoint,
    pub(super) form: Form,
    /// Overrides the `Host` field.
    pub(super) host: Option<Box<str>>,
    /// Whose validators its answers carry.
    pub(super) source: Origin,
}

/// The form of the request target (RFC 9112 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Origin,
    /// To parents, who could not know the origin otherwise.
    Absolute,
}

/// The upstreams of one configuration.
#[derive(Clone)]
pub(super) struct Hierarchy {
    /// In order of preference.
    pub(super) configured: Vec<Arc<Upstream>>,
    /// Stands for all origins nobody configured.
    pub(super) unconfigured: Arc<Upstream>,
}

impl Hierarchy {
    pub(super) fn new(mut configured: Vec<Arc<Upstream>>, unconfigured: Arc<Upstream>) -> Self {
        configured.sort_by_key(|upstream| upstream.definition.as_ref().map(|definition| definition.order));
        Self { configured, unconfigured }
    }

    /// Parents, then the authority; whoever is ejected comes last. What stands behind a door of ours is private to this site: a parent hears of
    /// it only when its list says so.
    pub(super) fn for_content(&self, target: &Target) -> Vec<Hop> {
        let is_private = self.definition(target).is_some_and(Definition::is_behind_a_door);
        let is_asked = |d: &Definition| d.kind == Kind::Parent && d.covers(&target.origin) && !(is_private && d.hosts.is_empty());
        let parents: Vec<_> = self.definitions().filter(|(_, definition)| is_asked(definition)).collect();
        let only_parents = parents.iter().any(|(_, definition)| definition.only_parents);
        let mut hops: Vec<_> =
            parents.into_iter().map(|(upstream, definition)| parent(upstream, definition, &target.origin)).collect();
        if !only_parents {
            let is_new = |hop: &Hop, hops: &[Hop]| hops.iter().all(|other| other.endpoint != hop.endpoint);
            let authority = self.authority(target).into_iter().filter(|hop| is_new(hop, &hops)).collect::<Vec<_>>();
            hops.extend(authority);
        }
        last_the_ejected(hops)
    }

    /// The authority alone.
    pub(super) fn for_pass(&self, target: &Target) -> Vec<Hop> {
        last_the_ejected(self.authority(target))
    }

    /// Whether `upstream` is asked first as long as it is in order.
    pub(super) fn prefers(&self, target: &Target, upstream: &Arc<Upstream>) -> bool {
        self.authority(target).first().is_some_and(|hop| Arc::ptr_eq(&hop.upstream, upstream))
    }

    /// Where a tunnel leads: to the authority, but never to a parent, who would have to read what passes.
    pub(super) fn for_tunnel(&self, target: &Target) -> Hop {
        let origin = self.authority(target).into_iter().find(|hop| hop.form == Form::Origin);
        origin.unwrap_or_else(|| self.unnamed(&target.origin))
    }

    /// The definition responsible for `target`, when there is one.
    pub(super) fn definition(&self, target: &Target) -> Option<&Definition> {
        let door = target.upstream.as_ref().and_then(|name| self.definitions().find(|(_, d)| d.name == *name));
        let listed = || self.definitions().find(|(_, d)| d.kind == Kind::Origin && d.covers(&target.origin));
        door.or_else(listed).map(|(_, definition)| definition)
    }

    pub(super) fn find(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.configured.iter().find(|upstream| *upstream.name == *name)
    }

    /// Whether this very upstream is among the configured, not only its name.
    pub(super) fn has(&self, upstream: &Arc<Upstream>) -> bool {
        self.configured.iter().any(|other| Arc::ptr_eq(other, upstream))
    }

    fn authority(&self, target: &Target) -> Vec<Hop> {
        if let Some(name) = &target.upstream
            && let Some((upstream, definition)) = self.definitions().find(|(_, d)| d.name == *name)
        {
            let own = match definition.kind {
                Kind::Origin => door(upstream, definition),
                Kind::Parent => parent(upstream, definition, &target.origin),
            };
            let others = self.definitions().filter(|(_, d)| d.group.as_ref() == Some(name) && d.name != *name);
            return [own].into_iter().chain(others.map(|(upstream, definition)| door(upstream, definition))).collect();
        }
        let listed = self.definitions().filter(|(_, d)| d.kind == Kind::Origin && d.covers(&target.origin));
        let hops: Vec<_> = listed.map(|(upstream, definition)| stand_in(upstream, definition, &target.origin)).collect();
        if hops.is_empty() { vec![self.unnamed(&target.origin)] } else { hops }
    }

    /// The origin itself, by its public address.
    fn unnamed(&self, origin: &Origin) -> Hop {
        Hop {
            upstream: self.unconfigured.clone(),
            endpoint: endpoint(origin, None, None),
            form: Form::Origin,
            host: None,
            source: origin.clone(),
        }
    }

    fn definitions(&self) -> impl Iterator<Item = (&Arc<Upstream>, &Definition)> {
        self.configured.iter().filter_map(|upstream| Some((upstream, upstream.definition.as_ref()?)))
    }
}

/// The upstream through whose door the request came: its URL is the authority.
pub(super) fn door(upstream: &Arc<Upstream>, definition: &Definition) -> Hop {
    Hop {
        upstream: upstream.clone(),
        endpoint: endpoint(&definition.url, Some(definition), definition.tls.server_name.clone()),
        form: Form::Origin,
        host: definition.host.clone(),
        source: definition.url.clone(),
    }
}

/// A configured origin that serves `origin`'s content: it is spoken to in `origin`'s name. TLS when either URL says so.
fn stand_in(upstream: &Arc<Upstream>, definition: &Definition, origin: &Origin) -> Hop {
    let mut place = definition.url.clone();
    place.scheme = place.scheme.max(origin.scheme);
    // A pinned address is the origin's own, so it has the origin's certificate; another host has one of its own.
    let pinned = (definition.address.is_some() && place.scheme == Scheme::Https).then(|| Box::from(&*origin.host));
    let server_name = definition.tls.server_name.clone().or(pinned);
    Hop {
        upstream: upstream.clone(),
        endpoint: endpoint(&place, Some(definition), server_name),
        form: Form::Origin,
        host: definition.host.clone(),
        source: definition.url.clone(),
    }
}

/// A parent, asked on behalf of `origin`. What it answers is the origin's.
fn parent(upstream: &Arc<Upstream>, definition: &Definition, origin: &Origin) -> Hop {
    Hop {
        upstream: upstream.clone(),
        endpoint: endpoint(&definition.url, Some(definition), definition.tls.server_name.clone()),
        form: Form::Absolute,
        host: None,
        source: origin.clone(),
    }
}

fn endpoint(place: &Origin, definition: Option<&Definition>, server_name: Option<Box<str>>) -> Endpoint {
    Endpoint {
        scheme: place.scheme,
        host: (*place.host).into(),
        port: place.port,
        address: definition.and_then(|definition| definition.address),
        server_name,
        upstream: definition.map(|definition| definition.name.clone()),
    }
}

/// Keeps the order, but asks ejected upstreams last, the least bad of them first: better than failing blindly.
fn last_the_ejected(mut hops: Vec<Hop>) -> Vec<Hop> {
    hops.sort_by_cached_key(|hop| match hop.upstream.is_ejected() {
        true => hop.upstream.failures(),
        false => 0,
    });
    hops
}
