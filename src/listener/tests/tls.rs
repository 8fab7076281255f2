use std::{fs, path::PathBuf};

use rustls::{ClientConfig, HandshakeKind, RootCertStore, crypto::aws_lc_rs, pki_types::ServerName};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;

/// Certificates in a directory of their own, gone with it.
struct Files {
    directory: PathBuf,
    roots: RootCertStore,
}

impl Files {
    fn new(test: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("weir-tls-{test}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        Self { directory, roots: RootCertStore::empty() }
    }

    /// A self-signed certificate for `names`, in files called `file`.
    fn issue(&mut self, file: &str, names: &[&str]) -> Certificate {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let issued = rcgen::generate_simple_self_signed(names).unwrap();
        self.roots.add(issued.cert.der().clone()).unwrap();
        let (chain, key) = (self.directory.join(format!("{file}.pem")), self.directory.join(format!("{file}.key")));
        fs::write(&chain, issued.cert.pem()).unwrap();
        fs::write(&key, issued.signing_key.serialize_pem()).unwrap();
        Certificate { chain, key, names: Vec::new() }
    }

    fn client(&self, alpn: &[&str]) -> TlsConnector {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(self.roots.clone()).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }

    async fn connect(&self, ground: &Ground, name: &str, alpn: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        timeout(SOON, self.client(alpn).connect(name, ground.connect().await)).await.unwrap()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn start_tls(certificates: &Arc<Certificates>) -> Ground {
    let socket = Socket { tls: true, ..plain_socket() };
    start_with(Config { sockets: vec![socket], ..Config::default() }, Arc::clone(certificates))
}

async fn ask(client: &mut TlsStream<TcpStream>, path: &str) -> String {
    client.write_all(CLOSE.replacen('/', path, 1).as_bytes()).await.unwrap();
    read_all(client).await
}

#[tokio::test]
async fn each_name_is_answered_with_its_own_certificate() {
    let mut files = Files::new("names");
    let both = [files.issue("a", &["a.example", "*.branch.example"]), files.issue("b", &["b.example"])];
    let ground = start_tls(&Certificates::load(&both).unwrap());
    for name in ["a.example", "pc.branch.example", "b.example"] {
        let mut client = files.connect(&ground, name, &[]).await.unwrap();
        let answer = ask(&mut client, "/who").await;
        assert!(answer.ends_with(&format!("Some({name:?})")), "{answer}");
    }
    assert_eq!(ground.metrics.tls_handshakes.value(), 3);
}

#[tokio::test]
async fn a_client_that_names_no_server_gets_the_first_certificate() {
    let mut files = Files::new("unnamed");
    let both = [files.issue("a", &["a.example", "127.0.0.1"]), files.issue("b", &["b.example"])];
    let ground = start_tls(&Certificates::load(&both).unwrap());
    let mut client = files.connect(&ground, "127.0.0.1", &[]).await.unwrap();
    assert!(ask(&mut client, "/who").await.ends_with("None"));
}

#[tokio::test]
async fn configured_names_count_in_place_of_the_certificates_own() {
    let mut files = Files::new("configured");
    let certificate = files.issue("a", &["a.example", "b.example"]);
    let certificates =
        Certificates::load(&[Certificate { names: vec!["B.Example".into(), "*.c.example".into()], ..certificate }]).unwrap();
    assert!(certificates.answers(Some("b.example")) && certificates.answers(Some("x.c.example")));
    for name in ["a.example", "c.example", "x.y.c.example", ".c.example"] {
        assert!(!certificates.answers(Some(name)), "{name}");
    }
}

#[tokio::test]
async fn http_2_is_agreed_by_alpn() {
    let mut files = Files::new("alpn");
    let ground = start_tls(&Certificates::load(&[files.issue("a", &["a.example"])]).unwrap());
    let io = files.connect(&ground, "a.example", &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(io.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(executor, hyper_util::rt::TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("https://a.example/").body(http_body_util::Empty::<Bytes>::new()).unwrap();
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
}

#[tokio::test]
async fn a_client_that_comes_back_resumes_its_session() {
    let mut files = Files::new("resumed");
    let ground = start_tls(&Certificates::load(&[files.issue("a", &["a.example"])]).unwrap());
    let client = files.client(&[]);
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let name = ServerName::try_from("a.example").unwrap();
        let mut io = client.connect(name, ground.connect().await).await.unwrap();
        // What is read brings the tickets, too.
        ask(&mut io, "/").await;
        kinds.push(io.get_ref().1.handshake_kind().unwrap());
    }
    assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed]);
}

#[tokio::test]
async fn an_allowed_origins_name_passes_untouched() {
    let mut files = Files::new("tunnel");
    let mut ground = start_tls(&Certificates::load(&[files.issue("a", &["a.example"])]).unwrap());
    let hello = client_hello(&files, "allowed.example");
    let mut client = ground.connect().await;
    let (first, second) = hello.split_at(7);
    client.write_all(first).await.unwrap();
    client.write_all(second).await.unwrap();
    let mut echoed = vec![0; hello.len()];
    timeout(SOON, client.read_exact(&mut echoed)).await.unwrap().unwrap();
    assert_eq!(echoed, hello, "the origin sees every byte of the client");
    assert_eq!(*ground.site.seen.lock().unwrap(), ["tunnel https://allowed.example"]);
    assert_eq!(ground.metrics.tls_passed.value(), 1);
    assert_eq!(ground.running.shutdown(std::future::ready(())).await.cut, 1, "a tunnel ends with the grace period");
}

fn client_hello(files: &Files, name: &str) -> Vec<u8> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut session = rustls::ClientConnection::new(Arc::clone(files.client(&[]).config()), name).unwrap();
    let mut hello = Vec::new();
    session.write_tls(&mut hello).unwrap();
    hello
}

#[tokio::test]
async fn other_names_and_other_protocols_are_closed() {
    let mut files = Files::new("closed");
    let ground = start_tls(&Certificates::load(&[files.issue("a", &["a.example"])]).unwrap());
    assert!(files.connect(&ground, "other.example", &[]).await.is_err());
    assert_eq!(ground.metrics.tls_failures.value("unknown-name"), 1);
    assert_eq!(ground.ask(CLOSE).await, "", "plain HTTP");
    assert_eq!(ground.metrics.tls_failures.value("hello"), 1);
    assert!(ground.site.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn without_certificates_only_tunnels_open() {
    let mut files = Files::new("none");
    files.issue("a", &["127.0.0.1"]);
    let ground = start_tls(&Certificates::load(&[]).unwrap());
    assert!(files.connect(&ground, "127.0.0.1", &[]).await.is_err());
    assert_eq!(ground.metrics.tls_failures.value("no-name"), 1);
    let mut client = ground.connect().await;
    client.write_all(&client_hello(&files, "allowed.example")).await.unwrap();
    assert_eq!(timeout(SOON, client.read_u8()).await.unwrap().unwrap(), 0x16);
}

#[tokio::test]
async fn a_hello_without_end_is_closed() {
    let files = Files::new("endless");
    let ground = start_tls(&Certificates::load(&[]).unwrap());
    let mut client = ground.connect().await;
    // A handshake record that promises more than anybody needs.
    let record = [&[0x16, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff][..], &[0; 0x4000 - 4]].concat();
    let _ = client.write_all(&record).await;
    let _ = client.write_all(&record).await;
    assert_eq!(read_all(&mut client).await, "");
    assert_eq!(ground.metrics.tls_failures.value("hello"), 1);
    drop(files);
}

#[tokio::test]
async fn a_reload_brings_the_new_certificate_to_new_handshakes() {
    let mut files = Files::new("reload");
    let old = files.issue("a", &["a.example"]);
    let certificates = Certificates::load(&[old]).unwrap();
    let ground = start_tls(&certificates);
    let mut open = files.connect(&ground, "a.example", &[]).await.unwrap();
    let new = files.issue("b", &["b.example"]);
    certificates.reload(&[new]).unwrap();
    assert!(files.connect(&ground, "a.example", &[]).await.is_err());
    assert!(ask(&mut files.connect(&ground, "b.example", &[]).await.unwrap(), "/").await.ends_with("ok"));
    assert!(ask(&mut open, "/").await.ends_with("ok"), "what is open stays open");
    let [summary] = &certificates.summaries()[..] else { panic!("one certificate") };
    assert!(summary.chain.ends_with("b.pem") && summary.not_after.is_some(), "{summary:?}");
    assert_eq!(summary.names[..], ["b.example".into()]);
}

#[test]
fn a_certificate_answers_for_the_names_in_it_unless_others_are_configured() {
    let mut files = Files::new("summary");
    let own = files.issue("a", &["A.example", "*.branch.example", "127.0.0.1"]);
    let summary = Certificates::inspect(&own).unwrap();
    assert_eq!(summary.names[..], ["a.example".into(), "*.branch.example".into()], "DNS names, wildcards too, in lower case");
    let names = ["pc.branch.example", "*.branch.example", "x.y.branch.example", "b.example"].map(str::to_owned).to_vec();
    let configured = Certificates::inspect(&Certificate { names, ..own }).unwrap();
    assert_eq!(configured.names.len(), 4);
    assert_eq!(
        configured.names_uncovered[..],
        ["x.y.branch.example".into(), "b.example".into()],
        "a wildcard stands for one label"
    );
}

#[tokio::test]
async fn a_bad_reload_keeps_the_old_certificates_and_says_everything_that_is_wrong() {
    let mut files = Files::new("bad-reload");
    let (a, b) = (files.issue("a", &["a.example"]), files.issue("b", &["b.example"]));
    let certificates = Certificates::load(&[a.clone(), b.clone()]).unwrap();
    let mismatch = Certificate { key: b.key.clone(), ..a.clone() };
    let missing = Certificate { chain: files.directory.join("missing.pem"), ..b.clone() };
    let no_certificate = Certificate { chain: b.key.clone(), ..b.clone() };
    let errors = certificates.reload(&[mismatch, missing, no_certificate, b]).unwrap_err();
    let words: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(words.len(), 3, "{words:?}");
    assert!(
        words[0].contains("not the key of") && words[1].contains("missing.pem") && words[2].contains("no certificate"),
        "{words:?}"
    );
    let ground = start_tls(&certificates);
    for name in ["a.example", "b.example"] {
        assert!(ask(&mut files.connect(&ground, name, &[]).await.unwrap(), "/").await.ends_with("ok"));
    }
}
