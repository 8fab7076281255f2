//! Client connections: sockets, limits, PROXY protocol, TLS, HTTP framing, slow clients, drain.
//!
//! Hands every request to a [`Service`]; knows nothing of caching and builds no response but the 503 at its own limit.

mod certificates;
mod config;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

pub use self::{
    certificates::{CertificateError, Certificates},
    config::{Certificate, Config, Http2, Limits, Socket, Timeouts},
};
use crate::{metrics, proxy::connection::Service};

/// Bound sockets that nobody accepts from yet.
pub struct Listeners;

/// Accept loops and connections. Dropped, it cuts them all.
pub struct Running;

/// How a drain ended, in connections that were open when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// Binds all sockets, taking those that systemd handed over instead of binding anew. Call inside a tokio runtime.
pub fn bind(config: Config, certificates: Arc<Certificates>, metrics: metrics::Listener) -> Result<Listeners, Error> {
    unimplemented!("{config:?} {certificates:?} {metrics:?}")
}

impl Listeners {
    /// The addresses bound, in the order of the configuration; ports are the real ones.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        unimplemented!()
    }

    /// Accepts and serves until [`Running::shutdown`].
    pub fn serve<S: Service>(self, service: Arc<S>) -> Running {
        let _ = service;
        unimplemented!()
    }
}

impl Running {
    /// Connections open now.
    pub fn connections(&self) -> usize {
        unimplemented!()
    }

    /// Stops accepting, lets running requests finish for `grace`, then cuts what is left.
    pub async fn shutdown(self, grace: Duration) -> Drained {
        unimplemented!("{grace:?}")
    }
}
