//! The certificates that TLS sockets answer with: read, checked, and replaced as a whole while handshakes go on.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    client::verify_server_name,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::{ClientHello, ParsedCertificate, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::listener::{Certificate, validity::not_after};

/// Certificates in use; replaced as a whole.
#[derive(Debug)]
pub struct Certificates {
    table: Arc<Table>,
    /// One for all handshakes, so that session tickets outlive a reload.
    tls: Arc<ServerConfig>,
}

#[derive(Debug, Default)]
struct Table(ArcSwap<Vec<Entry>>);

#[derive(Debug)]
struct Entry {
    chain: PathBuf,
    /// Lower case. Empty: the certificate says itself.
    names: Vec<Box<str>>,
    key: Arc<CertifiedKey>,
    not_after: Option<SystemTime>,
}

/// A certificate in use, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateSummary {
    pub chain: PathBuf,
    /// As configured; empty: those that the certificate itself is valid for.
    pub names: Vec<Box<str>>,
    /// `None` when it cannot be read.
    pub not_after: Option<SystemTime>,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("{path}: not readable as PEM")]
    Pem { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("{path}: holds no certificate")]
    Empty { path: PathBuf },
    #[error("{key}: not a key we can use, or not the key of {chain}")]
    Key { chain: PathBuf, key: PathBuf, source: rustls::Error },
    #[error("TLS")]
    Tls(#[source] rustls::Error),
}

impl Certificates {
    /// Reads and checks all files. Without any, TLS sockets only pass on what is for allowed origins. Blocks on the disk.
    pub fn load(files: &[Certificate]) -> Result<Arc<Self>, Vec<CertificateError>> {
        let table = Arc::new(Table(ArcSwap::from_pointee(read_all(files)?)));
        let tls = Arc::new(tls_config(Arc::clone(&table)).map_err(|source| vec![CertificateError::Tls(source)])?);
        Ok(Arc::new(Self { table, tls }))
    }

    /// Reads `files` (again); handshakes from now on use them. If any is bad the old ones all stay. Blocks on the disk.
    pub fn reload(&self, files: &[Certificate]) -> Result<(), Vec<CertificateError>> {
        self.table.0.store(Arc::new(read_all(files)?));
        Ok(())
    }

    /// Whether a client that asks for `name` is meant for us. Without a name: whether there is any certificate.
    pub fn answers(&self, name: Option<&str>) -> bool {
        self.table.find(name).is_some()
    }

    /// What is in use now, in the order of the configuration.
    pub fn summaries(&self) -> Vec<CertificateSummary> {
        self.table.0.load().iter().map(Entry::summary).collect()
    }

    pub(super) fn tls(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.tls)
    }
}

impl Table {
    /// The first certificate for `name`; without a name the first of all (RFC 6066 §3 leaves the choice to us).
    fn find(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let entries = self.0.load();
        let found = match name {
            None => entries.first(),
            Some(name) => entries.iter().find(|entry| entry.is_for(name)),
        };
        found.map(|entry| Arc::clone(&entry.key))
    }
}

impl ResolvesServerCert for Table {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name())
    }
}

impl Entry {
    fn summary(&self) -> CertificateSummary {
        CertificateSummary { chain: self.chain.clone(), names: self.names.clone(), not_after: self.not_after }
    }

    /// Tells the administrator what clients will complain about, before they do.
    fn warn(&self, now: SystemTime) {
        let certificate = self.chain.display();
        for name in &self.names {
            if !is_valid_for(&self.key, &name.replacen("*.", "any.", 1)) {
                tracing::warn!(%certificate, %name, "certificate is not valid for a name it is configured for");
            }
        }
        match self.not_after.map(|end| end.duration_since(now)) {
            Some(Err(_)) => tracing::warn!(%certificate, "certificate has expired"),
            Some(Ok(left)) if left < EXPIRES_SOON => {
                tracing::warn!(%certificate, days = left.as_secs() / 86_400, "certificate expires soon")
            }
            _ => {}
        }
    }

    fn is_for(&self, name: &str) -> bool {
        if self.names.is_empty() {
            is_valid_for(&self.key, name)
        } else {
            self.names.iter().any(|pattern| matches(pattern, name))
        }
    }
}

/// Exact, or `*.` for exactly one label (RFC 6125 §6.4.3). `pattern` is lower case.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(suffix) => name.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(suffix)),
        None => name.eq_ignore_ascii_case(pattern),
    }
}

fn is_valid_for(key: &CertifiedKey, name: &str) -> bool {
    let Ok(name) = ServerName::try_from(name) else { return false };
    let certificate = key.end_entity_cert().and_then(ParsedCertificate::try_from);
    certificate.is_ok_and(|certificate| verify_server_name(&certificate, &name).is_ok())
}

fn tls_config(table: Arc<Table>) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(table);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(config)
}

/// All entries, or everything that is wrong with any of the files.
fn read_all(files: &[Certificate]) -> Result<Vec<Entry>, Vec<CertificateError>> {
    let (mut entries, mut errors) = (Vec::new(), Vec::new());
    for file in files {
        match read(file) {
            Ok(entry) => entries.push(entry),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(entries) } else { Err(errors) }
}

fn read(file: &Certificate) -> Result<Entry, CertificateError> {
    let pem_error = |path: &PathBuf| {
        let path = path.clone();
        move |source| CertificateError::Pem { path, source }
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(&file.chain).and_then(Iterator::collect).map_err(pem_error(&file.chain))?;
    if chain.is_empty() {
        return Err(CertificateError::Empty { path: file.chain.clone() });
    }
    let key = PrivateKeyDer::from_pem_file(&file.key).map_err(pem_error(&file.key))?;
    let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|source| CertificateError::Key {
        chain: file.chain.clone(),
        key: file.key.clone(),
        source,
    })?;
    let entry = Entry {
        chain: file.chain.clone(),
        names: file.names.iter().map(|name| name.to_ascii_lowercase().into()).collect(),
        not_after: key.end_entity_cert().ok().and_then(|certificate| not_after(certificate)),
        key: Arc::new(key),
    };
    entry.warn(SystemTime::now());
    Ok(entry)
}

/// Enough time to get a new one without haste.
const EXPIRES_SOON: Duration = Duration::from_secs(14 * 24 * 3600);
