//! The reverse and WSUS doors: sites, which are configured upstreams that clients know under our name.

use std::sync::Arc;

use http::Uri;

use crate::{
    classify::{
        Asked, Caching, Class, Config, Door, FreshnessRule, Host, OriginPattern, Pass, PassReason, Policies, Refusal, SiteKind,
        Want,
        content::{self, Form},
        path::{self, Strictness},
        rules::{self, Query},
        wsus,
    },
    key::{CacheKey, Origin},
    wsus::Opened,
};

/// All sites behind the reverse and WSUS doors.
#[derive(Debug)]
pub(super) struct Sites(Vec<Site>);

#[derive(Debug)]
pub(super) struct Site {
    name: Arc<str>,
    door: Door,
    origin: Origin,
    /// The origin's part of every key.
    authority: Box<str>,
    /// What the site's URL puts before every path, without a slash at its end.
    base: Box<str>,
    hosts: Vec<OriginPattern>,
    paths: Vec<Box<str>>,
    catch_all: bool,
    pass: Vec<Box<str>>,
    opened: Opened,
    rewrite_to: Option<Origin>,
    caching: Caching,
    /// For what the caching of a reverse site does not cover.
    policies: Policies,
}

impl Sites {
    pub(super) fn new(config: &Config) -> Self {
        let site = |site: &crate::classify::Site| {
            let (door, origin, base) = match &site.kind {
                SiteKind::Reverse { origin, base } => (Door::Reverse, origin, base),
                SiteKind::Wsus { origin, base } => (Door::Wsus, origin, base),
                SiteKind::Origin => return None,
            };
            Some(Site {
                name: site.name.clone(),
                door,
                origin: origin.clone(),
                authority: origin.authority().into(),
                base: base.trim_end_matches('/').into(),
                hosts: site.hosts.clone(),
                paths: site.paths.clone(),
                catch_all: site.catch_all,
                pass: site.pass.clone(),
                opened: site.opened,
                rewrite_to: site.rewrite_to.clone(),
                caching: site.caching.clone(),
                policies: config.policies,
            })
        };
        Self(config.sites.iter().filter_map(site).collect())
    }

    /// The site that claims this host by name.
    pub(super) fn named(&self, doors: &[Door], host: &Host<'_>, port: Option<u16>, path: &str) -> Option<&Site> {
        self.0.iter().find(|site| doors.contains(&site.door) && site.has_path(path) && site.has_host(host, port))
    }

    /// The site that claims this path whatever the host: by its paths first, then because it claims everything.
    pub(super) fn unnamed(&self, doors: &[Door], path: &str) -> Option<&Site> {
        let open = || self.0.iter().filter(|site| doors.contains(&site.door));
        let is_only_wsus = doors == [Door::Wsus];
        let by_path = |site: &&Site| site.hosts.is_empty() && !site.paths.is_empty() && site.has_path(path);
        let by_wsus =
            |site: &&Site| site.door == Door::Wsus && site.hosts.is_empty() && (is_only_wsus || wsus::is_wsus_path(path));
        let by_catch = |site: &&Site| site.catch_all && site.has_path(path);
        open().find(by_path).or_else(|| open().find(by_wsus)).or_else(|| open().find(by_catch))
    }

    /// The site whose origin a client means by this name in `cacheHostOrigin`: clients that know a WSUS by its own name.
    /// A WSUS is meant for clients on whatever socket they come in; another site only where its door is open.
    pub(super) fn origin(&self, doors: &[Door], host: &Host<'_>, path: &str) -> Option<&Site> {
        let is_origin = |site: &Site| matches!(host, Host::Name(name) if **name == *site.origin.host);
        let is_open = |site: &Site| site.door == Door::Wsus || doors.contains(&site.door);
        self.0.iter().find(|site| is_open(site) && site.has_path(path) && (is_origin(site) || site.has_host(host, None)))
    }

    /// The site of this name, and what clients call this weir in the answers of its server.
    pub(super) fn rewriting(&self, name: &str) -> Option<(&Site, &Origin)> {
        let site = self.0.iter().find(|site| *site.name == *name)?;
        Some((site, site.rewrite_to.as_ref()?))
    }

    /// Whether clients that came through one of these doors were told to fetch content of others here, too.
    pub(super) fn rewrite(&self, doors: &[Door]) -> bool {
        self.0.iter().any(|site| site.rewrite_to.is_some() && doors.contains(&site.door))
    }

    /// A file of the WSUS with this name, which it calls `path`.
    pub(super) fn content_of(&self, name: &str, content: &wsus::Content, path: &str) -> Option<Want> {
        let site = self.0.iter().find(|site| site.door == Door::Wsus && *site.name == *name)?;
        Some(site.file(Door::Wsus, content, path))
    }

    /// The key of a URL at a site's own origin.
    pub(super) fn key_of(&self, origin: &Origin, url: &Uri) -> Option<CacheKey> {
        let site = self.0.iter().find(|site| site.origin == *origin && url.path().starts_with(&*site.base))?;
        let path = &url.path()[site.base.len()..];
        let content = (site.door == Door::Wsus).then(|| wsus::file(path)).flatten();
        Some(match content {
            Some(content) => site.key(&content.path, None),
            None => site.key(path, url.query()),
        })
    }
}

impl Site {
    pub(super) fn door(&self) -> Door {
        self.door
    }

    /// Whether the server behind it is called by this name.
    pub(super) fn is_called(&self, host: &Host<'_>) -> bool {
        host.text() == *self.origin.host || self.has_host(host, None)
    }

    fn has_host(&self, host: &Host<'_>, port: Option<u16>) -> bool {
        let fits = |own: &OriginPattern| own.port.is_none_or(|wanted| port == Some(wanted)) && own.host.matches(&host.text());
        self.hosts.iter().any(fits)
    }

    fn has_path(&self, path: &str) -> bool {
        self.paths.is_empty() || self.paths.iter().any(|prefix| path::is_below(path, prefix))
    }

    /// The class of a request that this site has claimed. `door`: the way it came.
    pub(super) fn classify(&self, asked: &Asked<'_>, door: Door, form: Form) -> Result<Class, Refusal> {
        let query = path::sift(asked.uri.query(), Query::Keep, form == Form::CacheHost).kept;
        match self.door {
            Door::Wsus => self.wsus(asked, door, query.as_deref()),
            _ => self.reverse(asked, door, query.as_deref()),
        }
    }

    fn reverse(&self, asked: &Asked<'_>, door: Door, query: Option<&str>) -> Result<Class, Refusal> {
        let path = asked.uri.path();
        path::check(path, Strictness::Any).map_err(Refusal::Path)?;
        if self.pass.iter().any(|prefix| path::is_below(path, prefix)) {
            return Ok(self.pass(door, PassReason::Policy, path, query));
        }
        if let Some(why) = content::pass_reason(asked) {
            return Ok(self.pass(door, why, path, query));
        }
        Ok(Class::Content(Want {
            policy: self.caching.policy,
            ranged: rules::is_large_by_name(path),
            anonymous: false,
            ..self.want(door, self.key(path, query), self.full_path(path, query))
        }))
    }

    fn wsus(&self, asked: &Asked<'_>, door: Door, query: Option<&str>) -> Result<Class, Refusal> {
        let path = asked.uri.path();
        match wsus::judge(asked, query, self.opened)? {
            wsus::Verdict::Content(content) => Ok(Class::Content(self.file(door, &content, path))),
            wsus::Verdict::SelfUpdate => Ok(Class::Content(Want {
                freshness: FreshnessRule::Mutable,
                policy: self.policies.of(FreshnessRule::Mutable, true),
                ranged: false,
                ..self.want(door, self.key(&path.to_ascii_lowercase(), None), self.full_path(path, query))
            })),
            wsus::Verdict::Call(call) => {
                let rewrites = self.rewrite_to.is_some() && call.is_answered_with_places();
                Ok(Class::Pass(Pass { call: Some(call), rewrites, ..self.passed(door, PassReason::Service, path, query) }))
            }
            wsus::Verdict::Pass => Ok(self.pass(door, PassReason::Service, path, query)),
        }
    }

    /// A file of a WSUS, which clients call `path`.
    fn file(&self, door: Door, content: &wsus::Content, path: &str) -> Want {
        Want {
            freshness: FreshnessRule::Immutable,
            policy: self.policies.of(FreshnessRule::Immutable, true),
            declared: Some(content.digest),
            // Sent as the client spelled it: IIS takes any case, a copy of the directory on another server only the one it has.
            ..self.want(door, self.key(&content.path, None), self.full_path(path, None))
        }
    }

    /// What all wants at this site have in common.
    fn want(&self, door: Door, key: CacheKey, path_and_query: String) -> Want {
        Want {
            door,
            key,
            origin: self.origin.clone(),
            upstream: Some(self.name.clone()),
            path_and_query,
            signature: None,
            freshness: FreshnessRule::Http,
            policy: self.policies.of(FreshnessRule::Http, true),
            declared: None,
            ranged: true,
            anonymous: true,
        }
    }

    fn pass(&self, door: Door, why: PassReason, path: &str, query: Option<&str>) -> Class {
        Class::Pass(self.passed(door, why, path, query))
    }

    fn passed(&self, door: Door, why: PassReason, path: &str, query: Option<&str>) -> Pass {
        let (origin, upstream) = (self.origin.clone(), Some(self.name.clone()));
        Pass { door, why, origin, upstream, path_and_query: self.full_path(path, query), call: None, rewrites: false }
    }

    /// What the origin calls a path below the site.
    fn full_path(&self, path: &str, query: Option<&str>) -> String {
        match query {
            Some(query) => [&*self.base, path, "?", query].concat(),
            None => [&*self.base, path].concat(),
        }
    }

    fn key(&self, path: &str, query: Option<&str>) -> CacheKey {
        let query = query.and_then(|query| path::without(query, &self.caching.ignored_parameters));
        CacheKey::new(self.origin.scheme, &self.authority, &self.full_path(path, query.as_deref()))
    }
}
