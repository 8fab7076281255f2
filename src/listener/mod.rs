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
mod frames;
mod hello;
mod http;
mod limit;
#[doc(hidden)] // reached by fuzzing only
pub mod messages;
mod proxy_protocol;
mod shed;
mod socket;
mod stream;
mod validity;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::watch, task::JoinHandle, time::timeout};

use self::{accept::Accepting, connection::Gate, limit::Places, socket::Inherited};
pub use self::{
    certificates::{CertificateError, CertificateSummary, Certificates},
    config::{Certificate, Config, Http2, Limits, Socket, Timeouts},
};
use crate::{
    metrics,
    proxy::connection::{Phase, Service},
    sys::open_files,
};

/// Bound sockets that nobody accepts from yet: clients wait in the kernel's queue.
pub struct Listeners {
    sockets: Vec<(tokio::net::TcpListener, SocketAddr, Arc<Socket>)>,
    places: Arc<Places>,
    config: Config,
    certificates: Arc<Certificates>,
    metrics: metrics::Listener,
}

/// Accept loops and connections. Dropped, it cuts them all.
pub struct Running {
    phase: watch::Sender<Phase>,
    loops: Vec<JoinHandle<Drained>>,
    open: metrics::Gauge,
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
}

/// Binds all sockets, taking those that systemd handed over instead of binding anew, and settles the connection limit by the open files limit,
/// which it raises as far as it may. Call inside a tokio runtime.
pub fn bind(config: Config, certificates: Arc<Certificates>, metrics: metrics::Listener) -> Result<Listeners, Error> {
    let mut inherited = Inherited::take()?;
    let mut sockets = Vec::new();
    for socket in &config.sockets {
        let address = socket.address;
        let bind = || {
            let listener = socket::listen(address, config.reuse_port, &mut inherited)?;
            let bound = listener.local_addr()?;
            Ok((adopt(listener)?, bound, Arc::new(socket.clone())))
        };
        sockets.push({ bind }().map_err(|source| Error::Bind { address, source })?);
    }
    for address in inherited.left() {
        tracing::warn!(%address, "socket handed over by the service manager is not configured: closed");
    }
    let places = Places::new(connections_max(&config), &config.limits, &metrics);
    Ok(Listeners { sockets, places, config, certificates, metrics })
}

fn adopt(listener: TcpListener) -> io::Result<tokio::net::TcpListener> {
    tokio::net::TcpListener::from_std(listener)
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
        self.sockets.iter().map(|(_, address, _)| *address).collect()
    }

    /// Accepts and serves until [`Running::shutdown`]. Call inside the runtime that is to serve.
    pub fn serve<S: Service>(self, service: Arc<S>) -> Running {
        let (phase, watched) = watch::channel(Phase::Serving);
        let gate = Gate::new(service, &self.config, self.certificates, self.metrics.clone(), watched.clone());
        let gate = Arc::new(gate);
        let accepting = self.sockets.into_iter().map(|(listener, _, socket)| Accepting {
            listener,
            socket,
            gate: Arc::clone(&gate),
            places: Arc::clone(&self.places),
            metrics: self.metrics.clone(),
            phase: watched.clone(),
        });
        let loops = accepting.map(|accepting| tokio::spawn(accepting.run())).collect();
        Running { phase, loops, open: self.metrics.connections.clone() }
    }
}

impl Running {
    /// Connections open now, tunnels included.
    pub fn connections(&self) -> usize {
        usize::try_from(self.open.value()).unwrap_or(0)
    }

    /// Stops accepting, closes idle connections, lets running requests finish until `cut` is ready, then cuts what is left.
    pub async fn shutdown(mut self, cut: impl Future<Output = ()>) -> Drained {
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
