//! An origin that speaks HTTP/2: what is passed goes there by it, what is content does not.

use std::{
    fs,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response, Version};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::default_provider,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsAcceptor;

use crate::support::{Client, Proxy, Scratch, proxy};

/// The name that its certificate is for.
const NAME: &str = "app.test";

/// A TLS origin that offers both versions; ends when dropped. Over HTTP/2 it sends every body back, with a trailer.
struct Http2Origin {
    address: SocketAddr,
    accept: JoinHandle<()>,
    came: Arc<Mutex<Vec<Request<()>>>>,
    connections: Arc<Mutex<Vec<Version>>>,
}

impl Http2Origin {
    /// Writes its certificate to `ca.pem` in `scratch`.
    async fn start(scratch: &Scratch) -> Self {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
        fs::write(scratch.join("ca.pem"), made.cert.pem()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let builder =
            ServerConfig::builder_with_provider(default_provider().into()).with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let came: Arc<Mutex<Vec<Request<()>>>> = Arc::default();
        let connections: Arc<Mutex<Vec<Version>>> = Arc::default();
        let (seen, counted) = (Arc::clone(&came), Arc::clone(&connections));
        let accept = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, seen, counted) = (acceptor.clone(), Arc::clone(&seen), Arc::clone(&counted));
                tokio::spawn(async move {
                    let Ok(tls) = acceptor.accept(stream).await else { return };
                    if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
                        counted.lock().unwrap().push(Version::HTTP_2);
                        echo(tls, seen).await;
                    } else {
                        counted.lock().unwrap().push(Version::HTTP_11);
                        file(tls).await;
                    }
                });
            }
        });
        Self { address, accept, came, connections }
    }

    fn versions(&self) -> Vec<Version> {
        self.connections.lock().unwrap().clone()
    }
}

impl Drop for Http2Origin {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

async fn echo<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(stream: S, seen: Arc<Mutex<Vec<Request<()>>>>) {
    let mut served = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((request, mut respond))) = served.accept().await {
        let (parts, mut body) = request.into_parts();
        seen.lock().unwrap().push(Request::from_parts(parts, ()));
        // Answers while the connection goes on being served.
        tokio::spawn(async move {
            let mut all = BytesMut::new();
            while let Some(Ok(bytes)) = body.data().await {
                _ = body.flow_control().release_capacity(bytes.len());
                all.extend_from_slice(&bytes);
            }
            let head = Response::builder().status(299).header("trailer", "sum").header("x-odd", "yes").body(()).unwrap();
            let mut answer = respond.send_response(head, false).unwrap();
            answer.send_data(all.freeze(), false).unwrap();
            answer.send_trailers(HeaderMap::from_iter([("sum".parse().unwrap(), "7".parse().unwrap())])).unwrap();
        });
    }
}

/// One HTTP/1.1 answer to whatever is asked.
async fn file<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(stream: S) {
    let mut client = Client::over(stream);
    while client.head().await.is_some() {
        client.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nCache-Control: max-age=60\r\n\r\nfile").await;
    }
}

/// An origin, and a weir whose reverse door leads to it.
async fn scene() -> (Scratch, Http2Origin, Proxy) {
    let scratch = Scratch::new();
    let origin = Http2Origin::start(&scratch).await;
    let upstream = format!(
        "[[upstream]]\nname = \"app\"\nurl = \"https://{NAME}\"\naddress = \"{}\"\ndoor = \"reverse\"\nca_file = \"{}\"\n",
        origin.address,
        scratch.join("ca.pem").display()
    );
    let weir = proxy().config(&upstream).start().await;
    (scratch, origin, weir)
}

#[tokio::test]
async fn what_is_passed_goes_by_http2_and_what_is_content_by_http1() {
    let (_scratch, origin, weir) = scene().await;

    let mut client = weir.client().await;
    let head = "POST /service?x HTTP/1.1\r\nHost: Branch:8530\r\nTE: trailers\r\nConnection: TE, X-Hop\r\nX-Hop: 1\r\nContent-Length: 4\r\n\r\n";
    for turn in 0..3 {
        client.send(format!("{head}so{turn}p")).await;
        let reply = client.reply("POST").await;
        assert_eq!((reply.head.start.as_str(), reply.text()), ("HTTP/1.1 299 ", format!("so{turn}p")), "{reply:?}");
        assert_eq!((reply.field("x-odd"), reply.trailers.len()), (Some("yes"), 1), "{reply:?}");
        assert!(reply.field("via").is_some_and(|via| via.starts_with("2 ")), "{reply:?}");
    }
    client
        .send("PUT /service HTTP/1.1\r\nHost: Branch:8530\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
        .await;
    assert_eq!(client.reply("PUT").await.text(), "onetwo");

    let came = origin.came.lock().unwrap()[0].clone();
    assert_eq!(came.uri().to_string(), "https://Branch:8530/service?x");
    assert_eq!(came.headers().get("te").map(|te| te.as_bytes()), Some(&b"trailers"[..]));
    assert!(!came.headers().contains_key("x-hop") && !came.headers().contains_key("host"), "{came:?}");
    assert!(came.headers().get("via").is_some_and(|via| via.as_bytes().starts_with(b"1.1 ")), "{came:?}");
    assert_eq!(origin.versions(), [Version::HTTP_2], "one connection for all");

    assert_eq!(weir.get("branch", "/file.cab").await.text(), "file");
    assert_eq!(origin.versions(), [Version::HTTP_2, Version::HTTP_11]);
}

#[tokio::test]
async fn many_passed_requests_at_once_are_streams_of_one_connection() {
    let (_scratch, origin, weir) = scene().await;
    let ask = |number: usize| {
        let doors = weir.doors();
        async move {
            let mut client = Client::connect(doors).await;
            let body = Bytes::from(number.to_string().repeat(20_000));
            client.send(format!("POST /{number} HTTP/1.1\r\nHost: branch\r\nContent-Length: {}\r\n\r\n", body.len())).await;
            client.send(&body).await;
            assert_eq!(client.reply("POST").await.body, body, "{number}");
        }
    };
    ask(0).await; // until then nobody knows that it speaks HTTP/2
    let mut all = tokio::task::JoinSet::new();
    (1..=40).for_each(|number| _ = all.spawn(ask(number)));
    all.join_all().await;
    assert_eq!(origin.versions(), [Version::HTTP_2]);
}
