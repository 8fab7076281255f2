//! What a good configuration means where that is easily mistaken: nothing of it is a problem.

use crate::{config::Config, listener::CertificateSummary, upstream::Kind};

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
        remarks
    }
}
