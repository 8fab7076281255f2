//! Sockets, thread and runtime of the interface.

use std::{net::SocketAddr, sync::Arc};

use crate::admin::{Config, Error, Weir};

/// Bound sockets that nobody accepts from yet.
#[derive(Debug)]
pub struct Bound;

/// The running interface. Dropped, it ends.
#[derive(Debug)]
pub struct Admin;

/// Binds every address and the socket, so that all errors come before anything runs.
///
/// # Errors
/// An address or the socket cannot be bound, or the token file not be used.
pub fn bind(config: &Config) -> Result<Bound, Error> {
    unimplemented!("{config:?}")
}

impl Bound {
    /// The TCP addresses bound; ports are the real ones.
    pub fn addresses(&self) -> &[SocketAddr] {
        unimplemented!()
    }

    /// Starts the thread that accepts and answers.
    ///
    /// # Errors
    /// The thread or its runtime cannot be started.
    pub fn serve(self, weir: Arc<dyn Weir>) -> Result<Admin, Error> {
        let _ = weir;
        unimplemented!()
    }
}

impl Admin {
    /// Takes over names, scrape networks and token; addresses and the socket stay until the next start.
    ///
    /// # Errors
    /// The token file cannot be used; the old settings stay.
    pub fn reload(&self, config: &Config) -> Result<(), Error> {
        unimplemented!("{config:?}")
    }
}
