//! Client connections: sockets, limits, PROXY protocol, TLS, HTTP framing, slow clients, drain.
//!
//! Hands every request to a [`Service`], or asks it for the refusal of what is none; knows nothing of caching and builds no response.
//!
//! ```text
//! accept ─ place? ─ no ──────────────→ shed: 503, a few at a time
//!   │ yes
//!   PROXY protocol ─ TLS socket? ─ no → HTTP/1.1, or HTTP/2 by its preface
//!                      │ yes
//!                      ClientHello ─ our name → TLS, then HTTP by ALPN
//!                                  ─ an allowed origin's → tunnel, untouched
//!                                  ─ else → close
//! ```
//!
//! What speaks HTTP/1 passes [`admission`]: hyper sees only whole heads and bodies that everybody reads alike.

mod accept;
mod activity;
mod admission;
mod certificates;
mod config;
mod connection;
mod cores;
mod cork;
mod frames;
mod hello;
mod http;
mod limit;
#[doc(hidden)] // reached by fuzzing only
pub mod messages;
mod proxy_protocol;
mod shaping;
mod shed;
mod shortcut;
mod socket;
mod stream;
mod validity;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{runtime::Handle, sync::watch, task::JoinHandle, time::timeout};

use self::{
    accept::{Accepting, Door},
    connection::Gate,
    cores::Cores,
    limit::Places,
    socket::Inherited,
};
pub use self::{
    certificates::{CertificateError, CertificateSummary, Certificates},
    config::{Certificate, Config, Http2, Limits, Socket, Timeouts},
    cores::{Flavour, Runtime},
    shaping::Group,
};
use crate::{
    metrics,
    proxy::connection::{Phase, Service},
    sys::open_files,
};

/// Bound sockets that nobody accepts from yet: clients wait in the kernel's queue.
pub struct Listeners {
    sockets: Vec<Bound>,
    cores: Cores,
    places: Arc<Places>,
    config: Config,
    certificates: Arc<Certificates>,
    metrics: metrics::Listener,
}

/// One socket, and the cores that accept from it.
struct Bound {
    address: SocketAddr,
    socket: Arc<Socket>,
    doors: Vec<(Handle, Door)>,
}

/// Accept loops and connections. Dropped, it cuts them all, and ends the threads they ran on.
pub struct Running {
    phase: watch::Sender<Phase>,
    loops: Vec<JoinHandle<Drained>>,
    open: metrics::Gauge,
    _cores: Cores,
}

/// How a drain ended, in connections that were open when it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    pub finished: usize,
    pub cut: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("listen on {address}")]
    Bind { address: SocketAddr, source: io::Error },
    #[error("sockets handed over by the service manager")]
    Inherited(#[source] io::Error),
    #[error("threads that serve connections")]
    Cores(#[source] io::Error),
}

/// Binds all sockets, taking those that systemd handed over instead of binding anew, and settles the connection limit by the open files limit,
/// which it raises as far as it may. Call inside a tokio runtime.
pub fn bind(config: Config, certificates: Arc<Certificates>, metrics: metrics::Listener) -> Result<Listeners, Error> {
    let mut inherited = Inherited::take()?;
    let cores = Cores::start(config.runtime).map_err(Error::Cores)?;
    let mut sockets = Vec::new();
    for socket in &config.sockets {
        let bound = Bound::new(socket, &cores, &mut inherited, config.limits.connection_rate);
        sockets.push(bound.map_err(|source| Error::Bind { address: socket.address, source })?);
    }
    for address in inherited.left() {
        tracing::warn!(%address, "socket handed over by the service manager is not configured: closed");
    }
    let places = Places::new(connections_max(&config), &config.limits, &metrics);
    Ok(Listeners { sockets, cores, places, config, certificates, metrics })
}

impl Bound {
    fn new(socket: &Socket, cores: &Cores, inherited: &mut Inherited, connection_rate: Option<u64>) -> io::Result<Self> {
        let listener = socket::listen(socket.address, inherited, connection_rate)?;
        let address = listener.local_addr()?;
        let mut doors = Vec::new();
        for (core, dealer) in cores.accepting() {
            let _on_core = core.runtime().enter();
            doors.push((core.runtime().clone(), Door::new(listener.try_clone()?, address, dealer)?));
        }
        Ok(Self { address, socket: Arc::new(socket.clone()), doors })
    }
}

fn connections_max(config: &Config) -> usize {
    let files = open_files::raise_limit().unwrap_or_else(|error| {
        tracing::warn!(%error, "open files limit stays as it is");
        open_files::limit()
    });
    limit::connections_max(&config.limits, files).unwrap_or_else(|allowed| {
        let asked = config.limits.connections;
        tracing::warn!(asked, allowed, files, "fewer connections than configured: raise the open files limit");
        allowed
    })
}

impl Listeners {
    /// The addresses bound, in the order of the configuration; ports are the real ones.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().map(|bound| bound.address).collect()
    }

    /// Accepts and serves until [`Running::shutdown`].
    pub fn serve<S: Service>(self, service: Arc<S>) -> Running {
        let (phase, watched) = watch::channel(Phase::Serving);
        let gate = Gate::new(service, &self.config, self.certificates, self.metrics.clone(), watched.clone());
        let gate = Arc::new(gate);
        let mut loops = Vec::new();
        for Bound { socket, doors, .. } in self.sockets {
            for (runtime, door) in doors {
                let accepting = Accepting {
                    door,
                    socket: Arc::clone(&socket),
                    gate: Arc::clone(&gate),
                    places: Arc::clone(&self.places),
                    metrics: self.metrics.clone(),
                    phase: watched.clone(),
                };
                loops.push(runtime.spawn(accepting.run()));
            }
        }
        Running { phase, loops, open: self.metrics.connections.clone(), _cores: self.cores }
    }
}

impl Running {
    /// Connections open now, tunnels included.
    pub fn connections(&self) -> usize {
        usize::try_from(self.open.value()).unwrap_or(0)
    }

    /// Stops accepting, closes idle connections, lets running requests finish until `cut` is ready, then cuts what is left. The threads stay
    /// until this is dropped: what other parts of weir run on them is theirs to end.
    pub async fn shutdown(&mut self, cut: impl Future<Output = ()>) -> Drained {
        self.phase.send_replace(Phase::Draining);
        let (mut total, mut is_cut) = (Drained::default(), false);
        tokio::pin!(cut);
        for mut running in std::mem::take(&mut self.loops) {
            if !is_cut {
                tokio::select! {
                    drained = &mut running => {
                        total.add(drained.unwrap_or_default());
                        continue;
                    }
                    () = &mut cut => is_cut = true,
                }
                self.phase.send_replace(Phase::Cut);
            }
            total.add(timeout(CUT_TIME, running).await.unwrap_or(Ok(Drained::default())).unwrap_or_default());
        }
        total
    }
}

impl Drained {
    fn add(&mut self, more: Self) {
        self.finished += more.finished;
        self.cut += more.cut;
    }
}

/// Connections that were cut end with their next poll.
const CUT_TIME: Duration = Duration::from_secs(5);

impl Drop for Running {
    fn drop(&mut self) {
        self.phase.send_replace(Phase::Cut);
    }
}

#[cfg(test)]
mod tests;
