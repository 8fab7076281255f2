//! One configuration and what was made of it. Requests under way keep the one they began with.

use std::sync::Arc;

use crate::{
    metrics,
    upstream::{
        config::{Config, Connections},
        dial::{Dial, Dialer, Network},
        error::ConfigError,
        health::{self, Upstream},
        pool::Pools,
        select::Hierarchy,
    },
};

pub(super) struct Settings {
    pub(super) config: Config,
    pub(super) dialer: Dialer,
    pub(super) hierarchy: Hierarchy,
    pub(super) pools: Pools,
}

impl Settings {
    /// `old`: the upstreams so far, whose health and counters are kept where their definition did not change.
    pub(super) fn new(
        config: Config,
        dial: Option<Arc<dyn Dial>>,
        old: Hierarchy,
        metrics: &metrics::Upstream,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let dial = match dial {
            Some(dial) => dial,
            None => Arc::new(Network::new(&config.resolver)?),
        };
        let dialer = Dialer::new(&config, dial)?;
        let configured = health::carried_over(&config, &old.configured, metrics);
        let hierarchy = Hierarchy::new(configured, old.unconfigured);
        Ok(Self { config, dialer, hierarchy, pools: Pools::default() })
    }

    /// Whether connections made under one may serve under the other.
    pub(super) fn trusts_like(&self, other: &Self) -> bool {
        let (a, b) = (&self.config, &other.config);
        a.ca_files == b.ca_files && a.system_roots == b.system_roots && a.own == b.own && a.resolver == b.resolver
    }

    /// How many connections `upstream` may have.
    pub(super) fn connections(&self, upstream: &Upstream) -> Connections {
        let own = upstream.definition.as_ref().and_then(|definition| definition.connections);
        own.unwrap_or(self.config.connections)
    }
}
