//! Why weir does not start.

use std::{io, path::PathBuf};

use crate::{admin, listener, store, upstream};

/// What made a start impossible. Nothing is running then.
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
