//! Where content that an update server points to is to be had through weir.

use crate::{
    classify::{
        Host, Policy,
        path::{self, Strictness},
        wsus,
    },
    key::Scheme,
};

impl Policy {
    /// What clients are to ask for in place of `url`, which the WSUS of the site named `site` answers with. `called`: what the client called the
    /// server, and so the server calls itself.
    ///
    /// Only what is served here is moved here: the server's own content under its own path, and content of origins that are allowed as at a cache
    /// host, with their name behind it. `None`: it stays as it is.
    pub fn place(&self, site: &str, called: Option<&str>, url: &str) -> Option<String> {
        let (site, weir) = self.sites.rewriting(site)?;
        let (scheme, rest) = url.split_once("://")?;
        let scheme = [Scheme::Http, Scheme::Https].into_iter().find(|known| known.as_str().eq_ignore_ascii_case(scheme))?;
        let (authority, path_and_query) = rest.split_at(rest.find(['/', '?', '#'])?);
        let (host, port) = Host::with_port(authority).ok()?;
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path_and_query, None),
        };
        if !path.starts_with('/') || path_and_query.contains('#') || path::check(path, Strictness::Content).is_err() {
            return None;
        }
        let is_called = || called.and_then(|called| Host::with_port(called).ok()).is_some_and(|(called, _)| called == host);
        if site.is_called(&host) || is_called() {
            return wsus::file(path).map(|_| format!("{weir}{path_and_query}"));
        }
        let Host::Name(name) = &host else { return None };
        // A cache host is asked with the scheme of the URL and at the standard port of its origin.
        let is_standard = scheme == weir.scheme && port.is_none_or(|port| port == scheme.default_port());
        let is_asked_elsewhere = query.is_some_and(|query| path::cache_host_origins(query).next().is_some());
        let origin = self.origins.allow(scheme, &host, None).ok().filter(|_| is_standard && !is_asked_elsewhere)?.origin;
        let is_service = self.origins.family(&origin).is_some_and(|family| family.is_service());
        let separator = if query.is_some() { '&' } else { '?' };
        let place = format!("{weir}{path_and_query}{separator}{}={name}", path::CACHE_HOST_ORIGIN);
        (!is_service && place.len() <= self.target_max).then_some(place)
    }
}
