//! The administration interface: status page, JSON API, metrics and readiness, on a port and a Unix socket of its own.
//!
//! It has its own thread and runtime, so that it answers while the data path is saturated. It reaches the rest of weir through the trait
//! [`Weir`] alone, and no door leads here. Until there are accounts, everything but metrics and health is for loopback and the Unix socket.

mod access;
mod api;
pub mod client;
mod guide;
mod history;
mod human;
mod page;
mod serve;
mod socket;
mod status;
mod terminal;
mod weir;

#[cfg(test)]
mod tests;

use std::{net::SocketAddr, path::PathBuf};

use ipnet::IpNet;

pub use self::{
    access::check_token_file,
    serve::{Admin, Bound, bind},
    status::{Counted, Hour, Status, StoreUsage, Traffic, UpstreamUse},
    weir::{
        Act, Answer, Event, EventKind, Failure, Fill, Listed, Listening, ObjectPage, ObjectQuery, Pin, Pinned, Purge, PurgeWhat,
        Purged, Readiness, Snapshot, Update, Upstream, Weir,
    },
};

/// Where the interface is, and who may use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// TCP addresses; none: the Unix socket only.
    pub listen: Vec<SocketAddr>,
    /// The Unix socket, mode 0660; who may open it may do everything.
    pub socket: Option<PathBuf>,
    /// Names that a `Host` field may give, beside `localhost` and the address connected to. Anything else is refused: a name that an attacker
    /// controls may resolve to us (DNS rebinding).
    pub names: Vec<Box<str>>,
    /// Networks that may get `/metrics`, `/healthz` and `/readyz`, nothing else.
    pub scrape: Vec<IpNet>,
    /// A file whose content, trimmed, opens the same paths from anywhere as `Authorization: Bearer …`.
    pub token_file: Option<PathBuf>,
}

impl Default for Config {
    /// Loopback, port 8081, and no Unix socket.
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 8081))],
            socket: None,
            names: Vec::new(),
            scrape: Vec::new(),
            token_file: None,
        }
    }
}

/// Why the interface cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("listen on {address}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("socket {path}")]
    Socket { path: PathBuf, source: std::io::Error },
    #[error("socket {path}: another process answers there")]
    SocketInUse { path: PathBuf },
    #[error("token file {path}")]
    Token { path: PathBuf, source: std::io::Error },
    #[error("token file {path}: {len} bytes; a token has between 16 and 512 and no spaces")]
    TokenLength { path: PathBuf, len: usize },
    #[error("thread for the administration interface")]
    Thread(#[source] std::io::Error),
}
