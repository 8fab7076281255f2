//! What metadata says of the place of a file, as a request for it would be understood.

use std::net::{Ipv4Addr, SocketAddr};

use http::{HeaderMap, Method, Uri, Version};

use crate::{
    classify::{
        Asked, Class, Door, Host, Policy, Want,
        content::{Form, Wanted},
        wsus,
    },
    digest::Digest,
    key::Scheme,
};

impl Policy {
    /// What a client would want that asked for `url`, where the WSUS of the site named `site` says that the file with this SHA-1 is. A server's own
    /// content is known by its path, whatever the server calls itself. `None`: it would not be served as content.
    pub fn wanted_at(&self, site: &str, url: &Uri, sha1: &Digest) -> Option<Want> {
        if let Some(content) = wsus::file(url.path()).filter(|content| content.digest == *sha1) {
            return self.sites.content_of(site, &content, url.path());
        }
        let scheme = [Scheme::Http, Scheme::Https].into_iter().find(|known| Some(known.as_str()) == url.scheme_str())?;
        let (host, port) = Host::with_port(url.authority()?.as_str()).ok()?;
        let allowed = self.origins.allow(scheme, &host, port).ok()?;
        let asked = Asked {
            method: &Method::GET,
            uri: url,
            version: Version::HTTP_11,
            headers: &HeaderMap::new(),
            doors: &[],
            scheme,
            local: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            has_content: false,
        };
        match self.content(&asked, Wanted { door: Door::Transparent, form: Form::CacheHost, allowed }) {
            Ok(Class::Content(want)) => Some(want),
            _ => None,
        }
    }
}
