//! A whole weir: parts built in the order they depend on each other, started, reloaded, drained.
//!
//! `main` and `demo` start the same [`App`]. Sockets are bound before the store is opened, so that whatever makes a start impossible is
//! said at once; nobody is served before everything stands.

mod administration;
mod error;
mod node;
mod reload;
mod run;

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicU8, Ordering},
    },
    time::SystemTime,
};

use arc_swap::ArcSwap;

use self::administration::Administration;
pub use self::{error::Error, run::serve};
use crate::{
    admin::{self, Admin, Listening, Readiness},
    cache::Cache,
    catalog::{self, Catalog},
    census::Census,
    classify::Policy,
    config::{Config, Sources},
    listener::{self, Certificates, Drained, Listeners, Running},
    metrics::Metrics,
    proxy::{Learners, Means, Proxy, log::AccessLog},
    store::{self, Disk, RealDisk, Store},
    sys,
    upstream::{self, Upstreams},
};

/// A running weir.
pub struct App {
    running: Running,
    parts: Arc<Parts>,
    /// Ends its thread when dropped.
    _admin: Arc<Admin>,
    admin_addresses: Vec<SocketAddr>,
}

/// What administration and reloads reach of a running weir.
struct Parts {
    sources: Sources,
    config: ArcSwap<Config>,
    metrics: Metrics,
    log: AccessLog,
    store: Store,
    upstreams: Upstreams,
    cache: Cache,
    census: Arc<Census>,
    catalog: Arc<Catalog>,
    proxy: Arc<Proxy>,
    certificates: Arc<Certificates>,
    policy: Arc<ArcSwap<Policy>>,
    node: Arc<str>,
    started: SystemTime,
    listening: Vec<Listening>,
    /// Every address that weir listens on, administration included.
    own: upstream::Own,
    readiness: AtomicU8,
    /// Held while the configuration is reloaded.
    reloading: Mutex<()>,
    /// For reloads; the interface holds the parts, so they cannot hold it.
    admin: OnceLock<Weak<Admin>>,
}

impl App {
    /// Builds and starts everything that `config` says. `sources` is where it came from, for reloads. Call inside the runtime that is to serve.
    ///
    /// # Errors
    /// An address is taken, a certificate does not load, the data directory is in use or of another version, …: nothing was started then.
    pub async fn start(config: Config, sources: Sources) -> Result<Self, Error> {
        Self::start_on(Arc::new(RealDisk), config, sources).await
    }

    /// The same with the store on a disk of the caller's, for scenarios in which it fills up or fails.
    ///
    /// # Errors
    /// As [`App::start`].
    pub async fn start_on(disk: Arc<dyn Disk>, config: Config, sources: Sources) -> Result<Self, Error> {
        let metrics = Metrics::new();
        let certificates = Certificates::load(&config.listener.certificates).map_err(Error::Certificates)?;
        let listeners = listener::bind(config.listener.clone(), certificates.clone(), metrics.listener.clone())?;
        // Its socket may lie in the data directory, which the store makes only later.
        make(&config.store.directory)?;
        let admin = admin::bind(&config.admin)?;
        let admin_addresses = admin.addresses().to_vec();
        let log = AccessLog::open(config.log.access.clone(), metrics.proxy.clone()).map_err(Error::AccessLog)?;
        let store = store::open(config.store.clone(), disk, metrics.store.clone()).await?;
        let node = node::id(&config.store.directory)?;
        let own = own(&listeners, &admin_addresses);
        let policy = Arc::new(ArcSwap::from_pointee(reload::policy(&config, &certificates, &own, &node)));
        let upstreams = upstream::new(reload::upstreams(&config, &own, &policy), metrics.upstream.clone())?;
        let catalog = Arc::new(Catalog::open(of_updates(&config.store.directory), metrics.catalog.clone()));
        let cache = Cache::new(config.cache.clone(), store.clone(), upstreams.clone(), catalog.clone(), metrics.cache.clone());
        let census = Arc::new(Census::new(config.census.clone(), metrics.census.clone()));
        let learners = Learners { catalog: catalog.clone(), census: census.clone(), metrics: metrics.catalog.clone() };
        let means = Means {
            cache: cache.clone(),
            upstreams: upstreams.clone(),
            log: log.clone(),
            metrics: metrics.proxy.clone(),
            learners,
        };
        let proxy = Arc::new(Proxy::new(config.proxy.clone(), policy.clone(), means, node.clone()));
        let started = SystemTime::now();
        let since_epoch = started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        metrics.process.start_time_seconds.set(since_epoch.as_secs());
        let parts = Arc::new(Parts {
            sources,
            listening: listening(&config, &listeners),
            config: ArcSwap::from_pointee(config),
            metrics,
            log,
            store,
            upstreams,
            cache,
            census,
            catalog,
            proxy: proxy.clone(),
            certificates,
            policy,
            node,
            started,
            own,
            readiness: AtomicU8::new(STARTING),
            reloading: Mutex::default(),
            admin: OnceLock::new(),
        });
        let admin = Arc::new(admin.serve(Arc::new(Administration::of(&parts)))?);
        _ = parts.admin.set(Arc::downgrade(&admin));
        let running = listeners.serve(proxy);
        parts.becomes(READY);
        Ok(Self { running, parts, _admin: admin, admin_addresses })
    }

    /// The addresses that clients use, in the order of the configuration; ports are the real ones.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.parts.listening.iter().map(|listening| listening.address).collect()
    }

    /// The addresses of the administration interface.
    pub fn admin_addresses(&self) -> &[SocketAddr] {
        &self.admin_addresses
    }

    /// Stops accepting, lets what runs finish until `cut` is ready, makes everything durable.
    pub async fn shutdown(mut self, cut: impl Future<Output = ()>) -> Drained {
        self.parts.becomes(DRAINING);
        let drained = self.running.shutdown(cut).await;
        self.parts.cache.stop().await;
        self.parts.upstreams.close();
        let catalog = self.parts.catalog.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || catalog.keep()).await {
            tracing::error!(%error, "keeping what is known of updates");
        }
        if let Err(error) = self.parts.store.close().await {
            tracing::error!(%error, "closing the store");
        }
        drained
    }

    /// Says where weir listens: one line for each address.
    fn announce(&self) {
        for listening in &self.parts.listening {
            let tls = if listening.tls { ", TLS" } else { "" };
            tracing::info!("listening on {} ({}{tls})", listening.address, listening.doors.join(", "));
        }
        for address in &self.admin_addresses {
            tracing::info!("listening on {address} (administration)");
        }
        for remark in self.parts.config.load().remarks(&self.parts.certificates.summaries()) {
            tracing::info!("{remark}");
        }
    }
}

/// The bound is that of a catalogue with Windows itself in it, several times over; 100,000 entries take about 60 MB.
fn of_updates(directory: &Path) -> catalog::Config {
    catalog::Config { entries_max: 100_000, path: Some(directory.join("catalog.jsonl")) }
}

fn make(directory: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(directory).map_err(|source| Error::Directory { path: directory.to_owned(), source })
}

impl Parts {
    fn becomes(&self, readiness: u8) {
        self.readiness.store(readiness, Ordering::Relaxed);
        self.metrics.process.ready.set(u64::from(readiness == READY));
    }

    fn readiness(&self) -> Readiness {
        match self.readiness.load(Ordering::Relaxed) {
            READY => Readiness::Ready,
            DRAINING => Readiness::Draining,
            _ => Readiness::Starting,
        }
    }
}

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

/// The addresses that must never be dialled: weir's sockets and this machine's own.
fn own(listeners: &Listeners, admin: &[SocketAddr]) -> upstream::Own {
    let addresses: Vec<IpAddr> = sys::addresses::own().unwrap_or_else(|error| {
        tracing::warn!(%error, "own addresses unknown: only those listened on are guarded against loops");
        Vec::new()
    });
    upstream::Own { addresses, listening: listeners.addresses().into_iter().chain(admin.iter().copied()).collect() }
}

fn listening(config: &Config, listeners: &Listeners) -> Vec<Listening> {
    let sockets = config.listener.sockets.iter().zip(listeners.addresses());
    sockets
        .map(|(socket, address)| Listening {
            address,
            doors: socket.doors.iter().map(|door| door.as_str().to_owned()).collect(),
            tls: socket.tls,
        })
        .collect()
}
