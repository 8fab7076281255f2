//! The certificates that TLS sockets answer with.

use std::{path::PathBuf, sync::Arc};

use crate::listener::Certificate;

/// Certificates in use; replaced as a whole.
#[derive(Debug)]
pub struct Certificates;

#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("{path}: {reason}")]
    Unusable { path: PathBuf, reason: String },
}

impl Certificates {
    /// Reads and checks all files. Blocks on the disk.
    pub fn load(files: &[Certificate]) -> Result<Arc<Self>, Vec<CertificateError>> {
        unimplemented!("{files:?}")
    }

    /// Reads `files` (again); handshakes from now on use them. If any is bad the old ones all stay. Blocks on the disk.
    pub fn reload(&self, files: &[Certificate]) -> Result<(), Vec<CertificateError>> {
        unimplemented!("{files:?}")
    }
}
