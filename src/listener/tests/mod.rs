//! A listener on loopback with a service that answers by the path asked for.

mod drain;
mod http;
mod limits;
mod slow;
mod tls;

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use ::http::{HeaderValue, Request, Response, request::Parts};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::{Notify, watch},
    time::{sleep, timeout},
};

use crate::{
    classify::{Door, Tunnel},
    key::{Origin, Scheme},
    listener::{
        Certificate, Certificates, Config, Listeners, Running, Socket, bind,
        connection::{Ends, Gate},
        limit::Places,
    },
    metrics::{self, Metrics},
    proxy::{
        connection::{Connection, Phase, RequestBody, Service},
        unserved::Unserved,
    },
};

/// How long a test waits for what must happen; in paused time longer than every timeout.
const SOON: Duration = Duration::from_secs(100);

/// Answers by path: `/large` 64 MiB, `/held` after `release`, `/stuck` a body that never ends, `/panic` panics, `/echo` the request's body, `/who` peer and server name,
/// `CONNECT` echoes; everything else says `ok`.
#[derive(Default)]
struct Site {
    /// Paths in the order they came.
    seen: Mutex<Vec<String>>,
    /// Methods and targets that were refused, and why, in the order they came.
    refused: Mutex<Vec<String>>,
    /// Bytes that came through a tunnel to `half.example`.
    heard: Arc<watch::Sender<usize>>,
    arrived: Notify,
    release: Notify,
}

enum Content {
    Whole(Option<Bytes>),
    Zeros(u64),
    Never,
}

impl Body for Content {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Zeros(0) => Poll::Ready(None),
            Self::Zeros(left) => {
                let len = (*left).min(64 << 10);
                *left -= len;
                Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![0; len as usize])))))
            }
            Self::Never => Poll::Pending,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Zeros(left) => SizeHint::with_exact(*left),
            Self::Never => SizeHint::new(),
        }
    }
}

impl crate::transmit::Parts for Content {}

fn whole(text: impl Into<Bytes>) -> Content {
    Content::Whole(Some(text.into()))
}

impl Service for Site {
    type Body = Content;

    async fn serve(&self, connection: &Arc<Connection>, mut request: Request<RequestBody>) -> Response<Content> {
        let path = request.uri().path().to_owned();
        self.seen.lock().unwrap().push(path.clone());
        self.arrived.notify_one();
        if request.method() == ::http::Method::CONNECT {
            let upgrade = hyper::upgrade::on(&mut request);
            if request.uri().host() == Some("half.example") {
                tokio::spawn(half_close(upgrade, Arc::clone(&self.heard)));
            } else {
                tokio::spawn(echo(Arc::clone(connection), upgrade));
            }
            return Response::new(whole(""));
        }
        let content = match &*path {
            "/large" => Content::Zeros(64 << 20),
            "/held" => {
                self.release.notified().await;
                whole("held")
            }
            "/stuck" => Content::Never,
            "/panic" => panic!("as asked"),
            "/echo" => match request.body_mut().collect().await {
                Ok(body) => whole(body.to_bytes()),
                Err(error) => whole(error.to_string()),
            },
            "/who" => {
                let name = connection.tls.as_ref().and_then(|tls| tls.server_name.clone());
                whole(format!("{} {} {name:?}", connection.peer, connection.local))
            }
            _ => whole("ok"),
        };
        let mut response = Response::new(content);
        response.headers_mut().insert("cache-status", HeaderValue::from_static("weir; hit"));
        response
    }

    fn refuse(&self, _connection: &Arc<Connection>, head: &Parts, why: Unserved) -> Response<Content> {
        self.refused.lock().unwrap().push(format!("{} {} {}", head.method, head.uri, why.as_str()));
        let mut response = Response::new(if head.method == "HEAD" { whole("") } else { whole(why.as_str()) });
        *response.status_mut() = why.status();
        response.headers_mut().insert("connection", HeaderValue::from_static("close"));
        response
    }

    fn passes_tls(&self, _connection: &Connection, server_name: &str) -> Option<Tunnel> {
        let origin = || Origin::new(Scheme::Https, server_name, 443);
        (server_name == "allowed.example").then(|| Tunnel { door: Door::Forward, origin: origin(), upstream: None })
    }

    async fn tunnel<T>(&self, connection: Arc<Connection>, to: Tunnel, mut client: T)
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.seen.lock().unwrap().push(format!("tunnel {}", to.origin));
        // Says how many bytes came first, so that a test sees that none is missing.
        let mut first = vec![0; 4096];
        let len = client.read(&mut first).await.unwrap();
        client.write_all(&first[..len]).await.unwrap();
        connection.cut().await;
    }
}

/// Sends back what comes, until the connection is cut or the client closes.
async fn echo(connection: Arc<Connection>, upgrade: hyper::upgrade::OnUpgrade) {
    let upgraded = upgrade.await.unwrap();
    let (mut read, mut write) = tokio::io::split(hyper_util::rt::TokioIo::new(upgraded));
    tokio::select! {
        _ = tokio::io::copy(&mut read, &mut write) => {}
        () = connection.cut() => {}
    }
}

/// Says goodbye and closes its half, then counts what comes until the client closes.
async fn half_close(upgrade: hyper::upgrade::OnUpgrade, heard: Arc<watch::Sender<usize>>) {
    let mut client = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
    client.read_u8().await.unwrap();
    client.write_all(b"bye").await.unwrap();
    client.shutdown().await.unwrap();
    let mut all = Vec::new();
    client.read_to_end(&mut all).await.unwrap();
    heard.send_replace(all.len());
}

/// A running listener with one socket.
struct Ground {
    site: Arc<Site>,
    address: SocketAddr,
    running: Running,
    metrics: metrics::Listener,
}

fn plain_socket() -> Socket {
    Socket {
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        doors: Arc::new([Door::Forward]),
        tls: false,
        proxy_protocol_from: Vec::new(),
    }
}

fn start(config: Config) -> Ground {
    start_with(config, Certificates::load(&[]).unwrap())
}

fn start_with(mut config: Config, certificates: Arc<Certificates>) -> Ground {
    if config.sockets.is_empty() {
        config.sockets = vec![plain_socket()];
    }
    let metrics = Metrics::new().listener;
    let listeners: Listeners = bind(config, certificates, metrics.clone()).unwrap();
    let address = listeners.addresses()[0];
    let site = Arc::new(Site::default());
    Ground { running: listeners.serve(Arc::clone(&site)), site, address, metrics }
}

impl Ground {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends `request` on a connection of its own and reads until the end.
    async fn ask(&self, request: &str) -> String {
        let mut client = self.connect().await;
        client.write_all(request.as_bytes()).await.unwrap();
        read_all(&mut client).await
    }
}

const CLOSE: &str = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
const KEEP: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

async fn read_all(client: &mut (impl AsyncRead + Unpin)) -> String {
    let mut all = Vec::new();
    // A reset after the answer is an end like any other.
    let _ = timeout(SOON, client.read_to_end(&mut all)).await.expect("the connection ends");
    String::from_utf8(all).unwrap()
}

/// Reads until `end` has come.
async fn read_until(client: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        let byte = timeout(SOON, client.read_u8()).await.expect("more comes").expect("connection is open");
        text.push(byte);
    }
    String::from_utf8(text).unwrap()
}

/// The life of a connection without a socket, for paused time.
struct Bench {
    gate: Arc<Gate<Site>>,
    site: Arc<Site>,
    socket: Socket,
    places: Arc<Places>,
    metrics: metrics::Listener,
    _phase: watch::Sender<Phase>,
}

fn bench(config: &Config) -> Bench {
    let metrics = Metrics::new().listener;
    let site = Arc::new(Site::default());
    let (phase, watched) = watch::channel(Phase::Serving);
    let certificates = Certificates::load(&[]).unwrap();
    let gate = Arc::new(Gate::new(Arc::clone(&site), config, certificates, metrics.clone(), watched));
    let places = Places::new(8, &config.limits, &metrics);
    Bench { gate, site, socket: plain_socket(), places, metrics, _phase: phase }
}

impl Bench {
    /// The client's end of a connection that holds `buffer` bytes on their way.
    fn connect(&self, buffer: usize) -> tokio::io::DuplexStream {
        let (client, server) = tokio::io::duplex(buffer);
        let (gate, socket, place) = (Arc::clone(&self.gate), self.socket.clone(), self.places.take().unwrap());
        let ends = Ends::of_socket(SocketAddr::from(([10, 0, 0, 1], 1)), SocketAddr::from(([10, 0, 0, 2], 80)));
        tokio::spawn(async move { gate.welcome(&socket, server, ends, place).await });
        client
    }
}
