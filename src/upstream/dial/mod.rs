//! The way to an upstream: resolve its name, check the addresses, connect to one of them, TLS.
//!
//! The seam [`Dial`] is narrow on purpose: rules, staggered attempts, timeouts and TLS stand above it, in [`Dialer`], so that a simulated
//! network tests them too.

mod address;
mod dialer;
mod faults;
mod network;
mod tls;

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
};

use tokio::io::{AsyncRead, AsyncWrite};

pub(super) use self::{
    address::Grant,
    dialer::{Dialed, Dialer, Endpoint},
    tls::Versions,
};
pub use self::{
    faults::{Fault, Faults},
    network::Network,
    tls::check_ca_file,
};

/// A bidirectional byte stream to an upstream.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A stream and a look at it from outside.
pub struct Connected {
    pub stream: Box<dyn Stream>,
    pub quiet: Quiet,
}

/// Whether the peer has sent nothing that was not yet read and has not closed: asked before an idle connection is used again.
pub type Quiet = Box<dyn Fn() -> bool + Send + Sync>;

/// A boxed future, so that [`Dial`] can be a trait object.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The network. Real: [`Network`]; with scripted faults: [`Faults`].
pub trait Dial: Send + Sync {
    /// The addresses of a name, in order of preference.
    fn resolve<'a>(&'a self, host: &'a str) -> Boxed<'a, io::Result<Vec<IpAddr>>>;

    /// A connection to exactly this address.
    fn connect(&self, address: SocketAddr) -> Boxed<'_, io::Result<Connected>>;
}
