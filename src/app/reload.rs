//! What changes while weir runs: rules, upstreams, certificates, bounds. Everything new is checked before anything old is replaced.

use std::sync::{Arc, PoisonError, Weak};

use arc_swap::ArcSwap;

use super::Parts;
use crate::{
    classify::Policy,
    config::Config,
    listener::{CertificateError, Certificates},
    metrics::ReloadOutcome,
    upstream::{self, Own},
};

/// The doors' rules with what is known only at run time: the names in the certificates, the ports as bound.
pub(super) fn policy(config: &Config, certificates: &Certificates, own: &Own, node: &str) -> Policy {
    let mut rules = config.policy.clone();
    rules.own_ports = own.listening.iter().map(|address| address.port()).collect();
    let certified = certificates.summaries().into_iter().flat_map(|certificate| certificate.names);
    // Names that no request could carry are left to the handshake.
    rules.own_names.extend(certified.filter_map(|name| name.parse().ok()));
    Policy::new(&rules, node)
}

/// The upstreams' settings with what is known only at run time. Redirects ask the policy in force at that moment.
pub(super) fn upstreams(config: &Config, own: &Own, policy: &Arc<ArcSwap<Policy>>) -> upstream::Config {
    let policy = policy.clone();
    let allow = Arc::new(move |origin: &crate::key::Origin| policy.load().allows(origin));
    let redirects = upstream::Redirects { allow, ..config.upstream.redirects.clone() };
    upstream::Config { own: own.clone(), redirects, ..config.upstream.clone() }
}

impl Parts {
    /// Reads the configuration again. On an error, which names every problem on a line of its own, the old one stays in force.
    pub(super) fn reload(&self) -> Result<(), String> {
        let outcome = self.try_reload();
        match &outcome {
            Ok(()) => tracing::info!("configuration reloaded"),
            Err(problems) => tracing::error!("configuration not reloaded, the old one stays: {problems}"),
        }
        let label = if outcome.is_ok() { ReloadOutcome::Applied } else { ReloadOutcome::Refused };
        self.metrics.process.reloads[label].inc();
        outcome
    }

    fn try_reload(&self) -> Result<(), String> {
        // One at a time: a signal and an administrator may ask at once.
        let _turn = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.config.load_full();
        let new = Config::load(&self.sources).map_err(|problems| problems.to_string())?;
        // Tried out first, so that nothing has to be taken back because of them.
        let certificates = Certificates::load(&new.listener.certificates).map_err(lines)?;
        let admin = self.admin.get().and_then(Weak::upgrade);
        if let Some(admin) = &admin {
            admin.reload(&new.admin).map_err(|error| error.to_string())?;
        }
        if let Err(error) = self.upstreams.reload(upstreams(&new, &self.own, &self.policy)) {
            if let Some(Err(error)) = admin.map(|admin| admin.reload(&old.admin)) {
                tracing::error!(%error, "administration keeps the new settings");
            }
            return Err(error.to_string());
        }
        self.certificates.adopt(&certificates);
        for setting in old.needs_restart(&new) {
            tracing::warn!("{setting} changes at the next start only");
        }
        self.cache.reload(new.cache.clone());
        self.proxy.reload(new.proxy.clone(), policy(&new, &self.certificates, &self.own, &self.node));
        self.config.store(Arc::new(new));
        Ok(())
    }
}

fn lines(errors: Vec<CertificateError>) -> String {
    errors.iter().map(|error| format!("{error}\n")).collect()
}
