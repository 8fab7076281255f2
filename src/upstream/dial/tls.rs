//! TLS towards upstreams: whom to trust, and the client configuration for it.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::upstream::error::ConfigError;

/// The authorities everybody trusts; those of single upstreams come on top.
pub(super) fn roots(system: bool, ca_files: &[impl AsRef<Path>]) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    if system {
        // Single certificates that cannot be read are the system's affair; none at all shows when TLS is used.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    ca_files.iter().try_for_each(|file| add(&mut roots, file.as_ref()))?;
    Ok(roots)
}

/// `roots` and one more PEM file of authorities.
pub(super) fn with_file(roots: &RootCertStore, file: &Path) -> Result<RootCertStore, ConfigError> {
    let mut roots = roots.clone();
    add(&mut roots, file)?;
    Ok(roots)
}

/// Whether a PEM file holds certificate authorities, and nothing that is none. Blocks on the disk.
///
/// # Errors
/// The file is not readable, or something in it is no certificate of an authority.
pub fn check_ca_file(file: &Path) -> Result<(), ConfigError> {
    add(&mut RootCertStore::empty(), file)
}

/// What may be spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum Versions {
    /// Content, whose fills want a flow control of their own; and whatever belongs to a connection, as NTLM does.
    Http1,
    /// HTTP/2 where the server agrees to it in the TLS handshake (RFC 9113 §3.2).
    Any,
}

/// One set of roots, for either choice of versions.
pub(super) struct Configs {
    http1: Arc<ClientConfig>,
    any: Arc<ClientConfig>,
}

impl Configs {
    pub(super) fn new(roots: RootCertStore) -> Result<Self, ConfigError> {
        let http1 = client(roots)?;
        let mut any = http1.clone();
        any.alpn_protocols.insert(0, HTTP2.to_vec());
        Ok(Self { http1: Arc::new(http1), any: Arc::new(any) })
    }

    pub(super) fn of(&self, versions: Versions) -> Arc<ClientConfig> {
        match versions {
            Versions::Http1 => self.http1.clone(),
            Versions::Any => self.any.clone(),
        }
    }
}

/// The name of HTTP/2 in the TLS handshake.
pub(super) const HTTP2: &[u8] = b"h2";

fn client(roots: RootCertStore) -> Result<ClientConfig, ConfigError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ConfigError::Tls(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn add(roots: &mut RootCertStore, file: &Path) -> Result<(), ConfigError> {
    let bad = |reason: String| ConfigError::CaFile { path: file.to_owned(), reason };
    let mut found = 0;
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| bad(error.to_string()))? {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
        found += 1;
    }
    if found == 0 { Err(bad("holds no certificate".into())) } else { Ok(()) }
}
