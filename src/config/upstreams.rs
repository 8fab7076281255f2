//! `[[upstream]]`: one entry makes a definition for `upstream` and, where clients see it, a site for the doors.

use std::{net::SocketAddr, path::PathBuf};

use crate::{
    classify::{Caching, Closed, Door, OriginPattern, Policies, Site, SiteKind},
    config::{
        Config, caching,
        check::COUNT_MAX,
        problem::{At, Complaints, Place},
        read::Section,
        setting::{HostField, RequestPath, ServerName, Url, origin_pattern},
        units::Rate,
    },
    key::Scheme,
    upstream::{Connections, Definition, Kind},
};

/// One `[[upstream]]`, or what a flag makes of it.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) name: At<String>,
    pub(super) url: At<Url>,
    /// Where to connect instead of what the URL's host resolves to.
    pub(super) address: Option<At<SocketAddr>>,
    pub(super) kind: Kind,
    /// The door behind which it stands under our name; none: it answers in the doors where clients name origins.
    pub(super) door: Option<At<Door>>,
    pub(super) hosts: Vec<OriginPattern>,
    pub(super) paths: Vec<String>,
    pub(super) catch_all: bool,
    pass: Vec<String>,
    opened: Vec<Closed>,
    /// What clients call this weir in answers that say where content is.
    pub(super) rewrite_to: Option<At<Url>>,
    accept_unsigned: bool,
    /// `None`: as all doors.
    caching: Option<Caching>,
    definition: Definition,
    /// For content and for what is passed, where they are its own.
    connections: [Option<usize>; 2],
    /// Keys that only mean something behind a door.
    pub(super) door_keys: Vec<(&'static str, Place)>,
}

impl Upstream {
    /// With nothing set but what must be.
    pub(super) fn new(name: At<String>, url: At<Url>) -> Self {
        Self {
            definition: Definition::new(&name.value, Kind::Origin, url.value.origin.clone()),
            name,
            url,
            address: None,
            kind: Kind::Origin,
            door: None,
            hosts: Vec::new(),
            paths: Vec::new(),
            catch_all: false,
            pass: Vec::new(),
            opened: Vec::new(),
            rewrite_to: None,
            accept_unsigned: false,
            caching: None,
            connections: [None; 2],
            door_keys: Vec::new(),
        }
    }

    /// What `--reverse` and `--wsus` add.
    pub(super) fn behind(door: Door, url: At<Url>) -> Self {
        let place = url.place.clone();
        let name = At { value: door.as_str().to_owned(), place: place.clone() };
        let catch_all = door == Door::Reverse;
        Self { door: Some(At { value: door, place }), catch_all, ..Self::new(name, url) }
    }

    /// What `--allow HOST=ADDR:PORT` adds.
    pub(super) fn pinned(host: OriginPattern, url: At<Url>, address: SocketAddr) -> Self {
        let name = At { value: host.host.to_string(), place: url.place.clone() };
        let address = Some(At { value: address, place: url.place.clone() });
        Self { hosts: vec![host], address, ..Self::new(name, url) }
    }

    pub(super) fn read(section: Section<'_>, policies: &Policies, authorities: &mut Vec<At<PathBuf>>) -> Option<Self> {
        let (name, url) = (section.need("name"), section.need("url"));
        let is_whole = name.is_some() && url.is_some();
        // The rest is read all the same, for its problems.
        let unnamed = || At { value: String::new(), place: section.here() };
        let nowhere = || At { value: Url::nowhere(), place: section.here() };
        let mut upstream = Self::new(name.unwrap_or_else(unnamed), url.unwrap_or_else(nowhere));
        upstream.read_doors(&section);
        upstream.read_caching(section.section("caching"), policies);
        upstream.read_definition(&section, authorities);
        upstream.read_bounds(&section);
        section.finish();
        is_whole.then_some(upstream)
    }

    fn read_doors(&mut self, section: &Section<'_>) {
        self.kind = section.value("kind").unwrap_or(Kind::Origin);
        self.door = section.get("door");
        section.set("hosts", &mut self.hosts);
        if let Some(paths) = section.get("paths") {
            self.paths = checked_paths(section, paths, &mut self.door_keys, "paths");
        }
        if let Some(pass) = section.get("pass") {
            self.pass = checked_paths(section, pass, &mut self.door_keys, "pass");
        }
        if let Some(open) = section.get::<Vec<Closed>>("open") {
            if self.door() != Some(Door::Wsus) {
                section.complain(
                    &open.place,
                    "open means something only behind the wsus door",
                    "leave it out, or add door = \"wsus\"",
                );
            }
            self.opened = open.value;
        }
        self.read_rewriting(section);
        // Without any other claim a reverse site claims everything. A WSUS knows its own paths.
        self.catch_all = self.door() == Some(Door::Reverse) && self.hosts.is_empty() && self.paths.is_empty();
        if let Some(catch_all) = section.get("catch_all") {
            self.catch_all = catch_all.value;
            self.door_keys.push(("catch_all", catch_all.place));
        }
    }

    fn read_rewriting(&mut self, section: &Section<'_>) {
        section.set("accept_unsigned", &mut self.accept_unsigned);
        let Some(to) = section.get::<Url>("rewrite_to") else { return };
        if self.door() != Some(Door::Wsus) {
            let remedy = "leave it out, or add door = \"wsus\"";
            section.complain(&to.place, "rewrite_to means something only behind the wsus door", remedy);
        }
        if !to.value.base.is_empty() {
            section.complain(&to.place, "it has a path", "write scheme, name and port by which clients reach this weir");
        }
        if self.url.value.origin.scheme == Scheme::Http && !self.accept_unsigned {
            let what = "the server is asked over plain http, so nobody vouches for the places and digests that its answers name";
            section.complain(&to.place, what, "write https and the server's TLS port into url, or accept_unsigned = true");
        }
        let Url { origin, .. } = &to.value;
        let names_it = |host: &OriginPattern| host.host.matches(&origin.host) && host.port.is_none_or(|port| port == origin.port);
        if !self.hosts.is_empty() && !self.hosts.iter().any(names_it) {
            let what = format!("{} is none of the hosts of this server, so clients would not find it", origin.authority());
            section.complain(&to.place, what, "add it to hosts, or leave hosts out");
        }
        self.rewrite_to = Some(to);
    }

    fn read_caching(&mut self, section: Section<'_>, policies: &Policies) {
        if !section.is_written() {
            return;
        }
        if self.door() != Some(Door::Reverse) {
            let remedy = "add door = \"reverse\", or write it as [caching], which is for all doors";
            section.complain(&section.here(), "caching means something only behind the reverse door", remedy);
        }
        self.caching = Some(caching::read_site(section, policies.http));
    }

    fn read_definition(&mut self, section: &Section<'_>, authorities: &mut Vec<At<PathBuf>>) {
        self.address = section.get("address");
        if let Some(At { place, .. }) = self.address.as_ref().filter(|address| address.value.port() == 0) {
            section.complain(place, "nobody listens on port 0", "write the port that the upstream listens on");
        }
        let definition = &mut self.definition;
        definition.kind = self.kind;
        definition.host = section.value("host").map(|HostField(host)| host);
        definition.probe = section.value("probe").map(|RequestPath(path)| path);
        definition.ranges = section.value("ranges");
        section.set("http2", &mut definition.http2);
        definition.tls.server_name = section.value("server_name").map(|ServerName(name)| name);
        section.set("order", &mut definition.order);
        if let Some(At { value, place }) = section.get("only_parents") {
            definition.only_parents = value;
            if value && self.kind == Kind::Origin {
                section.complain(
                    &place,
                    "only_parents means something only of a parent",
                    "leave it out, or make it kind = \"parent\"",
                );
            }
        }
        if let Some(ca) = section.file("ca_file") {
            authorities.push(ca.clone());
            definition.tls.ca_file = Some(ca.value);
        }
    }

    fn read_bounds(&mut self, section: &Section<'_>) {
        if let Some(At { value: Rate(rate), place }) = section.get("rate") {
            if rate == 0 {
                section.complain(&place, "nothing could be fetched", "leave it out for no limit, or write what the line has");
            }
            self.definition.bytes_per_second = Some(rate);
        }
        let given = ["connections", "pass_connections"].map(|key| section.get::<usize>(key));
        for At { place, .. } in given.iter().flatten().filter(|at| !(1..=COUNT_MAX).contains(&at.value)) {
            section.complain(place, "no such number of connections can be kept", format!("write 1 to {COUNT_MAX}"));
        }
        self.connections = given.map(|given| given.map(|at| at.value));
    }

    pub(super) fn door(&self) -> Option<Door> {
        self.door.as_ref().map(|door| door.value)
    }

    /// A site for the doors, unless clients never see it.
    fn site(&self, policies: &Policies) -> Option<Site> {
        let Url { origin, base } = self.url.value.clone();
        let base = base.into();
        let kind = match (self.kind, self.door()) {
            (Kind::Parent, _) => return None,
            (Kind::Origin, Some(Door::Wsus)) => SiteKind::Wsus { origin, base },
            (Kind::Origin, Some(_)) => SiteKind::Reverse { origin, base },
            (Kind::Origin, None) => SiteKind::Origin,
        };
        let boxed = |texts: &[String]| texts.iter().map(|text| text.as_str().into()).collect();
        Some(Site {
            name: self.name.value.as_str().into(),
            hosts: self.answered_hosts(),
            paths: boxed(&self.paths),
            catch_all: self.catch_all && kind != SiteKind::Origin,
            pass: boxed(&self.pass),
            opened: self.opened.iter().copied().collect(),
            rewrite_to: self.rewrite_to.as_ref().map(|to| to.value.origin.clone()),
            caching: self.caching.clone().unwrap_or(Caching { policy: policies.http, ignored_parameters: Vec::new() }),
            kind,
        })
    }

    /// The names under which clients reach it; an origin without a list answers for the host of its own URL.
    fn answered_hosts(&self) -> Vec<OriginPattern> {
        let is_listed = !self.hosts.is_empty() || self.door.is_some();
        if is_listed {
            return self.hosts.clone();
        }
        origin_pattern(&self.url.value.origin.authority()).into_iter().collect()
    }
}

/// Path prefixes begin with a slash.
fn checked_paths(
    section: &Section<'_>,
    paths: At<Vec<String>>,
    door_keys: &mut Vec<(&'static str, Place)>,
    key: &'static str,
) -> Vec<String> {
    for path in paths.value.iter().filter(|path| !path.starts_with('/')) {
        section.complain(
            &paths.place,
            format!("{path:?} does not begin with a slash"),
            "write a path prefix such as \"/debian/\"",
        );
    }
    door_keys.push((key, paths.place));
    paths.value
}

/// Of each upstream the first of the group that it belongs to: WSUS servers that claim the same names and paths stand in for one another, in
/// order of preference. `None`: it stands alone.
fn groups(upstreams: &[Upstream]) -> Vec<Option<usize>> {
    let claims = |upstream: &Upstream| (upstream.hosts.clone(), upstream.paths.clone());
    let group = |upstream: &Upstream| {
        let is_in = |other: &&(usize, &Upstream)| other.1.door() == Some(Door::Wsus) && claims(other.1) == claims(upstream);
        let all: Vec<_> = upstreams.iter().enumerate().collect();
        let members: Vec<_> = all.iter().filter(is_in).collect();
        let first = members.iter().min_by_key(|(nth, member)| (member.definition.order, *nth))?.0;
        (upstream.door() == Some(Door::Wsus) && members.len() > 1).then_some(first)
    };
    upstreams.iter().map(group).collect()
}

/// What is said of a group is said of its first.
fn check_stand_in(first: &Upstream, own: &Upstream, complaints: &Complaints<'_>) {
    let name = &first.name.value;
    if own.url.value.base != first.url.value.base {
        let what = format!("it stands in for {name:?}, whose URL has another path");
        complaints.add(&own.url.place, what, "give both the same path, or each hosts or paths of its own");
    }
    if own.opened != first.opened
        || own.rewrite_to.as_ref().is_some_and(|to| Some(&to.value) != first.rewrite_to.as_ref().map(|to| &to.value))
    {
        let what = format!("it stands in for {name:?}, whose open and rewrite_to count for both");
        complaints.add(&own.name.place, what, "write the same into both, or give each hosts or paths of its own");
    }
    if first.rewrite_to.is_some() && own.url.value.origin.scheme == Scheme::Http && !own.accept_unsigned {
        let what = format!("it stands in for {name:?}, whose answers are rewritten, and is asked over plain http");
        complaints.add(&own.url.place, what, "write https and the server's TLS port into url, or accept_unsigned = true");
    }
}

/// Definitions and sites of all upstreams.
pub(super) fn assemble(upstreams: Vec<Upstream>, config: &mut Config, complaints: &Complaints<'_>) {
    let groups = groups(&upstreams);
    for (nth, upstream) in upstreams.iter().enumerate() {
        let first = groups[nth].map(|first| &upstreams[first]);
        let is_first = groups[nth].is_none_or(|first| first == nth);
        let mut definition = upstream.definition.clone();
        if let Some(first) = first {
            check_stand_in(first, upstream, complaints);
            definition.group = Some(first.name.value.as_str().into());
            // Answered by the same process as the calls: where that is down, files may still be had.
            definition.probe.get_or_insert_with(|| "/ClientWebService/client.asmx".into());
        }
        definition.address = upstream.address.as_ref().map(|at| at.value);
        let ([content, pass], all) = (upstream.connections, config.upstream.connections);
        let own = Connections { content: content.unwrap_or(all.content), pass: pass.unwrap_or(all.pass) };
        definition.connections = (own != all).then_some(own);
        // Behind a door the door selects it, not the host.
        let hosts = if upstream.door.is_some() { Vec::new() } else { upstream.answered_hosts() };
        let hosts = if upstream.kind == Kind::Parent { upstream.hosts.clone() } else { hosts };
        for OriginPattern { host, port } in hosts {
            let text = port.map_or_else(|| host.to_string(), |port| format!("{host}:{port}"));
            match text.parse() {
                Ok(pattern) => definition.hosts.push(pattern),
                Err(why) => complaints.add(&upstream.name.place, why, "write a name, or *. and a name"),
            }
        }
        config.policy.sites.extend(upstream.site(&config.policy.policies).filter(|_| is_first));
        config.upstream.upstreams.push(definition);
    }
}

/// Kept beside the code that reads `door`: which doors an upstream can stand behind.
pub(super) fn can_stand_behind(door: Door) -> bool {
    matches!(door, Door::Reverse | Door::Wsus)
}
