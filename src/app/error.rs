//! Why weir does not start.

use std::{io, path::PathBuf};

use crate::{admin, listener, store, upstream};

/// What made a start impossible. Nothing is running then, and nothing but the data directory was made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Listener(#[from] listener::Error),
    #[error("certificates:{}", .0.iter().map(|error| format!("\n  {error}")).collect::<String>())]
    Certificates(Vec<listener::CertificateError>),
    #[error("administration interface")]
    Admin(#[from] admin::Error),
    #[error("data directory {path}")]
    Directory { path: PathBuf, source: io::Error },
    #[error("access log")]
    AccessLog(#[source] io::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("upstreams: {0}")]
    Upstream(#[from] upstream::ConfigError),
    #[error("node id in {path}")]
    Node { path: PathBuf, source: io::Error },
    #[error("runtime")]
    Runtime(#[source] io::Error),
    #[error("signals")]
    Signals(#[source] io::Error),
}

impl Error {
    /// Whether the configuration has to change before a start can succeed; else it is the machine (a port that is taken, a directory in use), and
    /// the same start may succeed later.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Certificates(_) | Self::Upstream(_) => true,
            Self::Admin(admin::Error::Token { .. } | admin::Error::TokenLength { .. }) => true,
            Self::Listener(_)
            | Self::Admin(_)
            | Self::Directory { .. }
            | Self::AccessLog(_)
            | Self::Store(_)
            | Self::Node { .. }
            | Self::Runtime(_)
            | Self::Signals(_) => false,
        }
    }
}
