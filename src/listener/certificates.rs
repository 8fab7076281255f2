//! The certificates that TLS sockets answer with: read, checked, and replaced as a whole while handshakes go on.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
    thread,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ProducesTickets, ResolvesServerCert},
    sign::CertifiedKey,
};
use webpki::EndEntityCert;

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
    summary: CertificateSummary,
    key: Arc<CertifiedKey>,
}

/// A certificate in use, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateSummary {
    pub chain: PathBuf,
    /// The server names it answers for, lower case, exact or `*.` and a suffix: as configured, else the certificate's own (RFC 5280 §4.2.1.6).
    pub names: Vec<Box<str>>,
    /// Configured names that the certificate is not valid for: clients will refuse it.
    pub names_uncovered: Vec<Box<str>>,
    /// `None` when it cannot be read.
    pub not_after: Option<SystemTime>,
}

/// Why a certificate cannot be used. Each names the file that has to change.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("{path}: not readable as PEM")]
    Pem { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("{path}: holds no certificate")]
    Empty { path: PathBuf },
    #[error("{path}: the first certificate is not one a server can show: {reason}")]
    Leaf { path: PathBuf, reason: String },
    #[error("{path}: not a key we can use, or not the key of {chain}")]
    Key { chain: PathBuf, path: PathBuf, source: rustls::Error },
    #[error("TLS")]
    Tls(#[source] rustls::Error),
}

impl CertificateError {
    /// The file it is about; `None` when it is about none.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Pem { path, .. } | Self::Empty { path } | Self::Leaf { path, .. } | Self::Key { path, .. } => Some(path),
            Self::Tls(_) => None,
        }
    }
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

    /// Handshakes from now on use what `new` has, which was read and checked already.
    pub fn adopt(&self, new: &Self) {
        self.table.0.store(new.table.0.load_full());
    }

    /// What one pair of files would answer for, or everything that is wrong with it. Blocks on the disk.
    pub fn inspect(file: &Certificate) -> Result<CertificateSummary, Vec<CertificateError>> {
        read(file).map(|entry| entry.summary)
    }

    /// Whether a client that asks for `name` is meant for us. Without a name: whether there is any certificate.
    pub fn answers(&self, name: Option<&str>) -> bool {
        self.table.find(name).is_some()
    }

    /// What is in use now, in the order of the configuration.
    pub fn summaries(&self) -> Vec<CertificateSummary> {
        self.table.0.load().iter().map(|entry| entry.summary.clone()).collect()
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

impl CertificateSummary {
    /// How much longer it is valid; `None` when that is over, or not known.
    pub fn valid_for(&self, now: SystemTime) -> Option<Duration> {
        self.not_after?.duration_since(now).ok()
    }

    /// Tells the administrator what clients will complain about, before they do.
    fn warn(&self, now: SystemTime) {
        let certificate = self.chain.display();
        for name in &self.names_uncovered {
            tracing::warn!(%certificate, %name, "certificate is not valid for a name it is configured for");
        }
        if self.names.is_empty() {
            tracing::warn!(%certificate, "certificate has no DNS name: only clients that name no server get it");
        }
        match self.valid_for(now) {
            None if self.not_after.is_some() => tracing::warn!(%certificate, "certificate has expired"),
            Some(left) if left < EXPIRES_SOON => {
                tracing::warn!(%certificate, days = left.as_secs() / 86_400, "certificate expires soon");
            }
            _ => {}
        }
    }
}

impl fmt::Display for CertificateSummary {
    /// For people: file, names, and until when.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = if self.names.is_empty() { "no name".to_owned() } else { self.names.join(", ") };
        write!(f, "certificate {}: for {names}", self.chain.display())?;
        let Some(end) = self.not_after else { return Ok(()) };
        let day = httpdate::fmt_http_date(end);
        match self.valid_for(SystemTime::now()) {
            Some(left) => write!(f, "; valid until {day} ({} days)", left.as_secs() / 86_400),
            None => write!(f, "; expired {day}"),
        }
    }
}

impl Entry {
    fn is_for(&self, name: &str) -> bool {
        self.summary.names.iter().any(|pattern| matches(pattern, name))
    }
}

/// Exact, or `*.` for exactly one label (RFC 6125 §6.4.3). `pattern` is lower case.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(suffix) => name.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(suffix)),
        None => name.eq_ignore_ascii_case(pattern),
    }
}

/// Whether a certificate with these names is valid for a pattern: it has the same pattern, or one that takes in the name.
fn is_covered(pattern: &str, certified: &[Box<str>]) -> bool {
    certified.iter().any(|name| **name == *pattern || matches(name, pattern))
}

fn tls_config(table: Arc<Table>) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(table);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = Arc::new(Tickets::prepare());
    Ok(config)
}

/// Session tickets. Their keys take 50 ms to make, in which the library gathers entropy: a start goes on meanwhile, and the first handshake waits.
#[derive(Debug)]
struct Tickets(Arc<LazyLock<Option<Arc<dyn ProducesTickets>>>>);

impl Tickets {
    fn prepare() -> Self {
        let tickets = Arc::new(LazyLock::new(keys as fn() -> _));
        let prepared = Arc::clone(&tickets);
        let started = thread::Builder::new().name("weir-tickets".into()).spawn(move || _ = LazyLock::force(&prepared));
        if let Err(error) = started {
            tracing::debug!(%error, "the first handshake makes the keys of session tickets");
        }
        Self(tickets)
    }

    fn keys(&self) -> Option<&dyn ProducesTickets> {
        LazyLock::force(&self.0).as_deref()
    }
}

fn keys() -> Option<Arc<dyn ProducesTickets>> {
    aws_lc_rs::Ticketer::new().inspect_err(|error| tracing::warn!(%error, "no TLS session can be resumed")).ok()
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        self.keys().is_some_and(|tickets| tickets.enabled())
    }

    fn lifetime(&self) -> u32 {
        self.keys().map_or(0, |tickets| tickets.lifetime())
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.keys()?.encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.keys()?.decrypt(cipher)
    }
}

/// All entries, or everything that is wrong with any of the files.
fn read_all(files: &[Certificate]) -> Result<Vec<Entry>, Vec<CertificateError>> {
    let (mut entries, mut errors) = (Vec::new(), Vec::new());
    for file in files {
        match read(file) {
            Ok(entry) => entries.push(entry),
            Err(found) => errors.extend(found),
        }
    }
    let now = SystemTime::now();
    entries.iter().for_each(|entry| entry.summary.warn(now));
    if errors.is_empty() { Ok(entries) } else { Err(errors) }
}

/// One pair of files, or what is wrong with either and with both together.
fn read(file: &Certificate) -> Result<Entry, Vec<CertificateError>> {
    let (chain, key) = match (read_chain(&file.chain), read_key(&file.key)) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, key) => return Err(chain.err().into_iter().chain(key.err()).collect()),
    };
    let (certified, not_after) = leaf(&file.chain, &chain[0]).map_err(|error| vec![error])?;
    let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
        .map_err(|source| vec![CertificateError::Key { chain: file.chain.clone(), path: file.key.clone(), source }])?;
    let asked: Vec<Box<str>> = file.names.iter().map(|name| name.to_ascii_lowercase().into()).collect();
    let names_uncovered = asked.iter().filter(|name| !is_covered(name, &certified)).cloned().collect();
    let names = if asked.is_empty() { certified } else { asked };
    Ok(Entry { summary: CertificateSummary { chain: file.chain.clone(), names, names_uncovered, not_after }, key: Arc::new(key) })
}

/// At least one certificate.
fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|source| CertificateError::Pem { path: path.to_owned(), source })?;
    if chain.is_empty() { Err(CertificateError::Empty { path: path.to_owned() }) } else { Ok(chain) }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| CertificateError::Pem { path: path.to_owned(), source })
}

/// The DNS names of the server's own certificate, lower case, and the end of its validity.
fn leaf(path: &Path, der: &CertificateDer<'_>) -> Result<(Vec<Box<str>>, Option<SystemTime>), CertificateError> {
    let unusable = |error: webpki::Error| CertificateError::Leaf { path: path.to_owned(), reason: error.to_string() };
    let certificate = EndEntityCert::try_from(der).map_err(unusable)?;
    let names = certificate.valid_dns_names().map(|name| name.to_ascii_lowercase().into()).collect();
    Ok((names, not_after(der)))
}

/// Enough time to get a new one without haste.
const EXPIRES_SOON: Duration = Duration::from_secs(14 * 24 * 3600);
