//! What a good configuration means where that is easily mistaken: nothing of it is a problem.

use std::net::IpAddr;

use crate::{
    classify::{Site, SiteKind},
    config::Config,
    key::Scheme,
    listener::CertificateSummary,
    upstream::{Definition, Kind},
};

impl Config {
    /// One line each, for `weir check` and for the log of a start. `certificates`: what was read of those that are named here.
    pub fn remarks(&self, certificates: &[CertificateSummary]) -> Vec<String> {
        let mut remarks: Vec<_> = certificates.iter().map(ToString::to_string).collect();
        for certificate in certificates {
            let chain = certificate.chain.display();
            remarks.extend(certificate.names_uncovered.iter().map(|name| {
                format!("certificate {chain} is not valid for {name}, which it is configured for: clients will refuse it")
            }));
        }
        let parents =
            self.upstream.upstreams.iter().filter(|upstream| upstream.kind == Kind::Parent && upstream.hosts.is_empty());
        remarks.extend(parents.map(|parent| {
            let name = &parent.name;
            format!("parent {name} has no hosts: it is asked for content of every origin that clients may name, not for servers behind a door")
        }));
        remarks.extend(self.warnings());
        remarks
    }

    /// What an administrator should change as soon as possible; the status page shows it, too.
    pub fn warnings(&self) -> Vec<String> {
        let is_wsus = |site: &&Site| matches!(site.kind, SiteKind::Wsus { .. });
        let is_of = |site: &Site, server: &Definition| server.name == site.name || server.group.as_ref() == Some(&site.name);
        let servers = |site| self.upstream.upstreams.iter().filter(move |server| is_of(site, server));
        let plain = |server: &Definition| {
            let (name, url) = (&server.name, &server.url);
            (url.scheme == Scheme::Http && !is_loopback(&url.host)).then(|| {
                format!(
                    "{name} is asked over plain http ({url}): whoever is on the way can write update metadata, digests included, that clients \
                     believe; let WSUS speak TLS, and write https and its port (8531) into the URL"
                )
            })
        };
        self.policy.sites.iter().filter(is_wsus).flat_map(servers).filter_map(plain).collect()
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}
