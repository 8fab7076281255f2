//! Every metric of weir, declared once (`families`) and handed out as small structs of resolved handles.
//!
//! A module is given its struct (`metrics::Store`, `metrics::Cache`, …) and counts on its fields; it cannot invent a name and looks up no
//! label while it serves. Nothing here reads a clock, a socket or a disk.

mod families;
mod handles;
mod keys;
mod labels;
mod shards;

#[cfg(test)]
mod tests;

pub use families::{Cache, Catalog, Census, FAMILIES, Family, Kind, Listener, Peer, Process, Proxy, Store};
pub use handles::{By, Counter, Gauge, Held, Op, Outcome, Reason, Seconds, Word, Words};
pub use keys::{Key, Label};
pub use labels::{Class, Door, Purpose, Queue, ReloadOutcome, Source, StatusClass, Verdict};
pub use shards::claim;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus::{Encoder, Registry, TextEncoder};

/// All handles of one weir and the registry behind them. Clones share it.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    pub store: Store,
    pub upstream: Upstream,
    pub cache: Cache,
    pub census: Census,
    pub catalog: Catalog,
    pub proxy: Proxy,
    pub listener: Listener,
    pub process: Process,
}

/// Hands out the [`Peer`] handles of each upstream by its configured name.
#[derive(Clone)]
pub struct Upstream {
    registry: Registry,
    peers: Arc<Mutex<HashMap<Box<str>, Peer>>>,
}

/// Names that get series of their own; later ones share `other`. Configured names only, but a reload may bring ever new ones.
const PEERS_MAX: usize = 64;
const OTHER: &str = "other";

impl Metrics {
    /// A registry of its own, so that several weirs can live in one process (tests, `weir demo`).
    pub fn new() -> Self {
        let registry = Registry::new();
        Self {
            store: Store::register(&registry, &[]),
            upstream: Upstream { registry: registry.clone(), peers: Arc::default() },
            cache: Cache::register(&registry, &[]),
            census: Census::register(&registry, &[]),
            catalog: Catalog::register(&registry, &[]),
            proxy: Proxy::register(&registry, &[]),
            listener: Listener::register(&registry, &[]),
            process: Process::register(&registry, &[]),
            registry,
        }
    }

    /// Appends all families in the Prometheus text format 0.0.4 ([`CONTENT_TYPE`]).
    pub fn encode(&self, out: &mut Vec<u8>) {
        TextEncoder::new().encode(&self.registry.gather(), out).expect("families are well formed, and a Vec takes every byte");
    }
}

/// The media type of what [`Metrics::encode`] writes.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Upstream {
    /// The handles of the upstream called `name`: the same ones for the same name. Meant to be asked once per configured upstream and kept.
    pub fn named(&self, name: &str) -> Peer {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let name = if peers.contains_key(name) || peers.len() < PEERS_MAX { name } else { OTHER };
        if let Some(peer) = peers.get(name) {
            return peer.clone();
        }
        let peer = Peer::register(&self.registry, &[("upstream", name)]);
        peers.insert(name.into(), peer.clone());
        peer
    }
}

impl Default for Upstream {
    fn default() -> Self {
        Self { registry: Registry::new(), peers: Arc::default() }
    }
}
