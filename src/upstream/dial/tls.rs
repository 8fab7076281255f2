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

/// HTTP/1.1 only: pools and NTLM think in connections with one request at a time.
pub(super) fn client(roots: RootCertStore) -> Result<Arc<ClientConfig>, ConfigError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ConfigError::Tls(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
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
