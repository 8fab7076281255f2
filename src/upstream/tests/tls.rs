//! TLS to upstreams: who is trusted, for which name.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::upstream::dial::Fault;

/// A certificate authority, its certificate as a PEM file.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub(super) file: std::path::PathBuf,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let file = std::env::temp_dir().join(format!("weir-{name}-{}.pem", std::process::id()));
        std::fs::write(&file, issuer.pem()).unwrap();
        Self { issuer, file }
    }

    /// What a server with a certificate for `host` accepts connections with.
    pub(super) fn acceptor(&self, host: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![host.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.file);
    }
}

/// A TLS server at `at`, where `host` resolves to.
fn secure(world: &World, host: &str, at: &str, acceptor: TlsAcceptor) -> Log {
    let at: SocketAddr = at.parse().unwrap();
    world.net.name(host, &[at.ip()]);
    let log = Log::default();
    let served = log.clone();
    world.net.serve(at, move |stream| {
        let (acceptor, log) = (acceptor.clone(), served.clone());
        tokio::spawn(async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                converse(stream, log, Arc::new(|_: &Seen| Reply::Send(ok("secure")))).await;
            }
        });
    });
    log
}

#[tokio::test]
async fn a_trusted_certificate_for_the_host_is_accepted_and_its_connection_reused() {
    let authority = Authority::new("trusted");
    let mut world = World::new();
    world.config.ca_files = vec![authority.file.clone()];
    let log = secure(&world, "dl.test", "8.8.8.8:443", authority.acceptor("dl.test"));
    let upstreams = world.start();
    for _ in 0..2 {
        let fetched = upstreams.fetch(get("https://dl.test", "/")).await.unwrap();
        assert_eq!(&*fetched.source, "dl.test");
        assert_eq!(text(fetched.response).await.unwrap(), "secure");
    }
    assert_eq!(log.connections(), 1);
    assert!(log.head(0).contains("Host: dl.test\r\n"));
}

#[tokio::test]
async fn another_name_or_another_authority_is_refused_at_once() {
    let (trusted, stranger) = (Authority::new("known"), Authority::new("stranger"));
    let mut world = World::new();
    world.config.ca_files = vec![trusted.file.clone()];
    secure(&world, "dl.test", "8.8.8.8:443", trusted.acceptor("other.test"));
    secure(&world, "forged.test", "9.9.9.9:443", stranger.acceptor("forged.test"));
    world.server("plain.test", "9.9.9.10:443", |_| Reply::Send(ok("not TLS")));
    world.net.always("9.9.9.10:443".parse().unwrap(), Fault::EndAfter(0));
    let upstreams = world.start();
    for url in ["https://dl.test", "https://forged.test", "https://plain.test"] {
        let error = fetched(&upstreams, get(url, "/")).await.unwrap_err();
        assert!(matches!(error, Error::Tls { .. }), "{url}: {error:?}");
    }
}

#[tokio::test]
async fn an_upstream_may_have_roots_and_a_name_of_its_own_that_others_do_not_get() {
    let authority = Authority::new("private");
    let mut world = World::new();
    let wsus = world.upstream("wsus", Kind::Origin, "https://wsus.corp:8531");
    wsus.tls.ca_file = Some(authority.file.clone());
    wsus.tls.server_name = Some("wsus.internal".into());
    secure(&world, "wsus.corp", "10.0.0.9:8531", authority.acceptor("wsus.internal"));
    secure(&world, "dl.test", "8.8.8.8:443", authority.acceptor("dl.test"));
    let upstreams = world.start();
    assert_eq!(fetched(&upstreams, ask(through("wsus", "https://wsus.corp:8531"), "/")).await.unwrap(), "secure");
    let error = fetched(&upstreams, get("https://dl.test", "/")).await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error:?}");
}

#[tokio::test]
async fn a_pinned_https_origin_must_have_the_origins_certificate() {
    let authority = Authority::new("pinned");
    let mut world = World::new();
    world.config.ca_files = vec![authority.file.clone()];
    let pinned = world.upstream("pinned", Kind::Origin, "https://any.test");
    (pinned.address, pinned.hosts) = (Some("127.0.0.1:8443".parse().unwrap()), vec!["*.test".parse().unwrap()]);
    secure(&world, "unused", "127.0.0.1:8443", authority.acceptor("dl.test"));
    let upstreams = world.start();
    assert_eq!(fetched(&upstreams, get("https://dl.test", "/")).await.unwrap(), "secure");
    let error = fetched(&upstreams, get("https://other.test", "/")).await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error:?}");
}

#[tokio::test]
async fn https_never_falls_back_to_http() {
    let world = World::new();
    let a = world.server("a.test", "8.8.8.8:80", |_| Reply::Send(to("https://b.test/")));
    let b = world.server("b.test", "9.9.9.9:80", |_| Reply::Send(ok("plain")));
    let error = fetched(&world.start(), get("http://a.test", "/")).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error:?}");
    assert_eq!((a.requests(), b.requests()), (1, 0));

    let authority = Authority::new("downgrade");
    let mut world = World::new();
    world.config.ca_files = vec![authority.file.clone()];
    let (acceptor, at) = (authority.acceptor("a.test"), "8.8.8.8:443".parse::<SocketAddr>().unwrap());
    world.net.name("a.test", &[at.ip()]);
    world.net.serve(at, move |stream| {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let stream = acceptor.accept(stream).await.unwrap();
            converse(stream, Log::default(), Arc::new(|_: &Seen| Reply::Send(to("http://b.test/")))).await;
        });
    });
    let error = fetched(&world.start(), get("https://a.test", "/")).await.unwrap_err();
    assert!(matches!(error, Error::Redirect { .. }), "{error:?}");
}
