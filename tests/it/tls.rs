//! TLS: to clients with certificates of our own, to origins with authorities of theirs, and untouched where it is not ours.

use std::{fs, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::process::Signal;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

use crate::support::{Client, Content, MIB, Origin, Proxy, Resource, Scratch, eventually, proxy, within};

/// A name, its self-signed certificate and key.
struct Identity {
    certificate: CertificateDer<'static>,
    chain_pem: String,
    key_pem: String,
}

impl Identity {
    fn new(name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        Self { certificate: made.cert.der().clone(), chain_pem: made.cert.pem(), key_pem: made.signing_key.serialize_pem() }
    }

    fn write(&self, scratch: &Scratch, name: &str) {
        fs::write(scratch.join(&format!("{name}.pem")), &self.chain_pem).unwrap();
        fs::write(scratch.join(&format!("{name}.key")), &self.key_pem).unwrap();
    }

    /// A client that trusts nobody else.
    fn connector(&self, protocols: &[&str]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let builder =
            ClientConfig::builder_with_provider(default_provider().into()).with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }
}

/// Speaks TLS in front of a plain origin; ends when dropped.
struct TlsFront {
    address: SocketAddr,
    accept: JoinHandle<()>,
}

impl TlsFront {
    async fn start(identity: &Identity, behind: SocketAddr) -> Self {
        let key = <PrivateKeyDer as rustls::pki_types::pem::PemObject>::from_pem_slice(identity.key_pem.as_bytes()).unwrap();
        let builder =
            ServerConfig::builder_with_provider(default_provider().into()).with_safe_default_protocol_versions().unwrap();
        let config = builder.with_no_client_auth().with_single_cert(vec![identity.certificate.clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accept = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut tls = acceptor.accept(stream).await.ok()?;
                    let mut plain = TcpStream::connect(behind).await.ok()?;
                    tokio::io::copy_bidirectional(&mut tls, &mut plain).await.ok()
                });
            }
        });
        Self { address, accept }
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

async fn handshake(connector: &TlsConnector, to: SocketAddr, name: &'static str) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(to).await?;
    within("a TLS handshake", connector.connect(ServerName::try_from(name).unwrap(), stream)).await
}

struct Scene {
    content: Content,
    origin: Origin,
    weir: Proxy,
    ours: Identity,
    scratch: Scratch,
}

impl Scene {
    /// A weir with a TLS port under the name `weir.branch`; more configuration may be added.
    async fn new(config: &str) -> Self {
        let (content, scratch, ours) = (Content::new("a", 3 * MIB), Scratch::new(), Identity::new("weir.branch"));
        ours.write(&scratch, "weir");
        let origin = Origin::start().await;
        origin.serve("/a", Resource::new(&content));
        let weir = proxy()
            .tls(&scratch.join("weir.pem"), &scratch.join("weir.key"))
            .upstream("cdn.test", &origin)
            .config(config)
            .start()
            .await;
        Self { content, origin, weir, ours, scratch }
    }
}

#[tokio::test]
async fn content_is_served_over_tls_under_our_own_name() {
    let scene = Scene::new("").await;
    let tls = handshake(&scene.ours.connector(&["http/1.1"]), scene.weir.tls(), "weir.branch").await.unwrap();
    let mut client = Client::over(tls);
    for hit in [false, true] {
        let got = client.download("/a", &[("Host", "cdn.test")], &scene.content).await;
        assert!(got.is_all_of(&scene.content) && got.is_hit() == hit, "{got:?}");
        scene.weir.settled().await;
    }
    let part = client.download("/a", &[("Host", "cdn.test"), ("Range", "bytes=1048570-1048585")], &scene.content).await;
    assert!(part.status == 206 && part.is_right(16), "{part:?}");
}

#[tokio::test]
async fn recognised_requests_are_answered_over_tls_like_any_other() {
    let scene = Scene::new("").await;
    let content = Content::new("small", 40_000);
    scene.origin.serve("/small", Resource::new(&content));
    let tls = handshake(&scene.ours.connector(&["http/1.1"]), scene.weir.tls(), "weir.branch").await.unwrap();
    let mut client = Client::over(tls);
    for _ in 0..10 {
        let got = client.download("/small", &[("Host", "cdn.test")], &content).await;
        assert!(got.is_all_of(&content), "{got:?}");
        scene.weir.settled().await;
    }
    assert!(scene.weir.metric("weir_requests_recognised_total", &[]).await >= 6.0);
}

#[tokio::test]
async fn http2_serves_many_ranges_at_once_on_one_connection() {
    let scene = Scene::new("").await;
    let tls = handshake(&scene.ours.connector(&["h2"]), scene.weir.tls(), "weir.branch").await.unwrap();
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut streams = tokio::task::JoinSet::new();
    for piece in 0..24_u64 {
        let (mut sender, content) = (sender.clone(), scene.content.clone());
        streams.spawn(async move {
            let (start, end) = (piece * 131_072, (piece + 1) * 131_072);
            let request = Request::get("http://cdn.test/a").header("range", format!("bytes={start}-{}", end - 1));
            let response = within("a response", sender.send_request(request.body(Empty::<Bytes>::new()).unwrap())).await.unwrap();
            assert_eq!(response.status(), 206);
            let bytes = within("a body", response.into_body().collect()).await.unwrap().to_bytes();
            assert_eq!(bytes, content.bytes(start, end), "piece {piece}");
        });
    }
    streams.join_all().await;
    assert!(scene.origin.sent("/a") <= scene.content.len());
    connection.abort();
}

#[tokio::test]
async fn a_client_hello_for_an_allowed_origin_goes_there_untouched() {
    let theirs = Identity::new("tls.test");
    let behind = Origin::start().await;
    let content = Content::new("theirs", MIB);
    behind.serve("/b", Resource::new(&content));
    let front = TlsFront::start(&theirs, behind.address()).await;
    let upstream = format!(
        "[[upstream]]\nname = \"tls\"\nurl = \"https://tls.test\"\nhosts = [\"tls.test\"]\naddress = \"{}\"\n",
        front.address
    );
    let scene = Scene::new(&upstream).await;
    // The handshake succeeds only with the origin's own key.
    let tls = handshake(&theirs.connector(&[]), scene.weir.tls(), "tls.test").await.unwrap();
    let got = Client::over(tls).download("/b", &[("Host", "tls.test")], &content).await;
    assert!(got.is_all_of(&content) && got.head.field("via").is_none(), "{got:?}");
    assert!(handshake(&theirs.connector(&[]), scene.weir.tls(), "evil.example").await.is_err(), "nobody's name is closed");

    let of_tunnel = || async { scene.weir.log().into_iter().find(|line| line["class"] == "tunnel") };
    let line = eventually("a line in the access log", of_tunnel).await;
    assert_eq!((&line["host"], &line["status"]), (&"tls.test:443".into(), &200.into()), "{line}");
    assert!(line["sent_bytes"].as_u64() > Some(MIB) && line["received_bytes"].as_u64() > Some(100), "{line}");
}

#[tokio::test]
async fn tls_for_an_origin_that_cannot_be_reached_is_logged() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let upstream =
        format!("[[upstream]]\nname = \"tls\"\nurl = \"https://tls.test\"\nhosts = [\"tls.test\"]\naddress = \"{nobody}\"\n");
    let scene = Scene::new(&upstream).await;
    assert!(handshake(&scene.ours.connector(&[]), scene.weir.tls(), "tls.test").await.is_err());
    let of_tunnel = || async { scene.weir.log().into_iter().find(|line| line["class"] == "tunnel") };
    let line = eventually("a line in the access log", of_tunnel).await;
    assert_eq!((&line["status"], &line["reason"]), (&502.into(), &"connect".into()), "{line}");
}

#[tokio::test]
async fn at_the_connection_limit_tls_clients_read_503_too() {
    let scene = Scene::new("[limits]\nconnections = 1\nconnections_per_client = 1\n").await;
    let mut inside = scene.weir.client().await;
    assert_eq!(inside.get("/a", &[("Host", "cdn.test"), ("Range", "bytes=0-0")]).await.status, 206);
    let tls = handshake(&scene.ours.connector(&["http/1.1"]), scene.weir.tls(), "weir.branch").await.unwrap();
    assert_eq!(Client::over(tls).get("/a", &[("Host", "cdn.test")]).await.status, 503);

    let tls = handshake(&scene.ours.connector(&["h2"]), scene.weir.tls(), "weir.branch").await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("http://cdn.test/a").body(Empty::<Bytes>::new()).unwrap();
    assert_eq!(within("a response", sender.send_request(request)).await.unwrap().status(), 503);
    connection.abort();

    // TLS that is not ours cannot be answered.
    assert!(handshake(&scene.ours.connector(&[]), scene.weir.tls(), "evil.example").await.is_err());
    assert_eq!(scene.weir.metric("weir_connections_shed_total", &[]).await, 3.0);
    eventually("the close is counted", || async {
        (scene.weir.metric("weir_connections_closed_unanswered_total", &[]).await == 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_origin_behind_tls_is_asked_under_its_own_authority_only() {
    let theirs = Identity::new("tls.test");
    let behind = Origin::start().await;
    let content = Content::new("theirs", 2 * MIB);
    behind.serve("/b", Resource::new(&content));
    let front = TlsFront::start(&theirs, behind.address()).await;
    let scratch = Scratch::new();
    theirs.write(&scratch, "theirs");
    let upstream = format!(
        "[[upstream]]\nname = \"tls\"\nurl = \"https://tls.test\"\nhosts = [\"tls.test\"]\naddress = \"{}\"\n",
        front.address
    );
    let trusted = format!("{upstream}ca_file = \"{}\"\n", scratch.join("theirs.pem").display());

    let weir = proxy().config(&trusted).start().await;
    let got = weir.download("tls.test", "https://tls.test/b", &[], &content).await;
    assert!(got.is_all_of(&content), "{got:?}");

    let distrusting = proxy().config(&upstream).start().await;
    let refused = distrusting.get("tls.test", "https://tls.test/b").await;
    assert!(matches!(refused.status, 502..=504), "{refused:?}");
}

#[tokio::test]
async fn a_new_certificate_is_taken_up_without_a_restart_and_a_bad_one_is_not() {
    let scene = Scene::new("").await;
    let renewed = Identity::new("weir.branch");
    renewed.write(&scene.scratch, "weir");
    scene.weir.signal(Signal::HUP);
    let connector = renewed.connector(&["http/1.1"]);
    eventually("the new certificate is shown", || async { handshake(&connector, scene.weir.tls(), "weir.branch").await.ok() })
        .await;

    fs::write(scene.scratch.join("weir.pem"), "no certificate").unwrap();
    scene.weir.signal(Signal::HUP);
    eventually("the refusal is counted", || async {
        (scene.weir.metric("weir_config_reloads_total", &[("outcome", "refused")]).await >= 1.0).then_some(())
    })
    .await;
    handshake(&connector, scene.weir.tls(), "weir.branch").await.expect("the last good one stays");
}

#[tokio::test]
async fn names_in_the_certificate_are_our_own_also_after_it_changed() {
    let scene = Scene::new("").await;
    let refused = async |name: &str| {
        let (mut client, authority) = (scene.weir.client().await, format!("{name}:443"));
        client.ask("CONNECT", &authority, &[("Host", &authority)]).await;
        let reply = client.reply("CONNECT").await;
        assert_eq!(reply.status, 403, "{name} is allowed by no rule, too");
        reply.text().contains("this proxy itself")
    };
    assert!(refused("weir.branch").await, "a tunnel to ourselves");
    assert!(!refused("renewed.branch").await, "not ours yet");
    Identity::new("renewed.branch").write(&scene.scratch, "weir");
    scene.weir.signal(Signal::HUP);
    eventually("the new name is ours", || async { refused("renewed.branch").await.then_some(()) }).await;
    assert!(!refused("weir.branch").await, "not ours any more");
}

#[tokio::test]
async fn plain_http_on_a_tls_port_is_closed_and_harms_nobody() {
    let scene = Scene::new("").await;
    let mut client = Client::connect(scene.weir.tls()).await;
    client.ask("GET", "/a", &[("Host", "cdn.test")]).await;
    let answer = client.try_reply("GET").await;
    assert!(answer.is_none_or(|reply| reply.status == 400));
    let tls = handshake(&scene.ours.connector(&["http/1.1"]), scene.weir.tls(), "weir.branch").await.unwrap();
    assert!(Client::over(tls).download("/a", &[("Host", "cdn.test")], &scene.content).await.is_all_of(&scene.content));
}
