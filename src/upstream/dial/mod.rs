//! The seam to the network: names to addresses, addresses to byte streams.
//!
//! [`Dial`] is narrow on purpose: address rules, staggered attempts, timeouts and TLS stand above it, so that a simulated network tests them too.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
};

use tokio::io::{AsyncRead, AsyncWrite};

/// A bidirectional byte stream to an upstream.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A boxed future, so that [`Dial`] can be a trait object.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The network. Real: `Network`; with scripted faults: `Faults`.
pub trait Dial: Send + Sync {
    /// The addresses of a name, in order of preference.
    fn resolve<'a>(&'a self, host: &'a str) -> Boxed<'a, io::Result<Vec<IpAddr>>>;

    /// A connection to exactly this address.
    fn connect(&self, address: SocketAddr) -> Boxed<'_, io::Result<Box<dyn Stream>>>;
}
