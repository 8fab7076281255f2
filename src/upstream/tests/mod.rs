//! Scenarios: scripted servers on a simulated network, and what is fetched or relayed from them.

mod fetching;
mod health;
mod hierarchy;
mod http2;
mod network;
mod pooling;
mod redirects;
mod relaying;
mod seeds;
mod stand_ins;
mod tls;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Response};
use http_body_util::BodyExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{
    key::{Origin, Scheme},
    metrics::Metrics,
    upstream::{Ask, Body, Config, Definition, Error, Kind, Redirects, Target, Upstreams, dial::Faults, with_dial},
};

/// A simulated network and the configuration under test.
struct World {
    net: Faults,
    config: Config,
    metrics: Metrics,
}

/// A request as a server saw it.
#[derive(Clone, Debug)]
struct Seen {
    /// Which connection to this server, counted from 0.
    connection: usize,
    /// Which request to this server, counted from 0.
    number: usize,
    head: String,
    body: Vec<u8>,
}

/// What a server does after a request.
enum Reply {
    /// Answers, and waits for the next request.
    Send(Vec<u8>),
    /// Answers, and closes without having said so.
    SendAndClose(Vec<u8>),
    /// Answers, waits, and sends more.
    SendThen(Vec<u8>, Duration, Vec<u8>),
    /// Closes without a byte.
    Close,
    /// Keeps silent for ever.
    Silence,
}

/// What one server saw.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<(usize, Vec<Seen>)>>);

impl World {
    fn new() -> Self {
        let allow = Redirects { max: 3, allow: Arc::new(|origin| &*origin.host != "forbidden.test") };
        let config = Config { system_roots: false, redirects: allow, ..Config::default() };
        Self { net: Faults::new(), config, metrics: Metrics::new() }
    }

    /// A server at `at` that `host` resolves to.
    fn server(&self, host: &str, at: &str, script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Log {
        let at: SocketAddr = at.parse().unwrap();
        self.net.name(host, &[at.ip()]);
        let (log, script) = (Log::default(), Arc::new(script));
        let served = log.clone();
        self.net.serve(at, move |stream| {
            tokio::spawn(converse(stream, served.clone(), script.clone()));
        });
        log
    }

    fn upstream(&mut self, name: &str, kind: Kind, url: &str) -> &mut Definition {
        self.config.upstreams.push(Definition::new(name, kind, origin(url)));
        self.config.upstreams.last_mut().unwrap()
    }

    fn start(&self) -> Upstreams {
        with_dial(self.config.clone(), Arc::new(self.net.clone()), self.metrics.upstream.clone()).unwrap()
    }
}

impl Log {
    fn seen(&self) -> Vec<Seen> {
        self.0.lock().unwrap().1.clone()
    }

    fn requests(&self) -> usize {
        self.0.lock().unwrap().1.len()
    }

    fn connections(&self) -> usize {
        self.0.lock().unwrap().0
    }

    fn head(&self, number: usize) -> String {
        self.0.lock().unwrap().1[number].head.clone()
    }

    fn connect(&self) -> usize {
        let mut log = self.0.lock().unwrap();
        log.0 += 1;
        log.0 - 1
    }

    fn note(&self, connection: usize, head: String, body: Vec<u8>) -> Seen {
        let mut log = self.0.lock().unwrap();
        let seen = Seen { connection, number: log.1.len(), head, body };
        log.1.push(seen.clone());
        seen
    }
}

async fn converse<S>(mut stream: S, log: Log, script: Arc<impl Fn(&Seen) -> Reply>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let connection = log.connect();
    while let Some((head, body)) = read_request(&mut stream).await {
        match script(&log.note(connection, head, body)) {
            Reply::Send(bytes) => stream.write_all(&bytes).await.unwrap_or(()),
            Reply::SendAndClose(bytes) => return stream.write_all(&bytes).await.unwrap_or(()),
            Reply::SendThen(first, pause, second) => {
                stream.write_all(&first).await.unwrap_or(());
                tokio::time::sleep(pause).await;
                stream.write_all(&second).await.unwrap_or(());
            }
            Reply::Close => return,
            Reply::Silence => std::future::pending().await,
        }
    }
}

/// One request with its body, whatever the framing; `None` when the connection ends before or inside it.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<(String, Vec<u8>)> {
    let head = read_until(stream, b"\r\n\r\n").await?;
    let lower = head.to_ascii_lowercase();
    let mut body = Vec::new();
    if lower.contains("transfer-encoding: chunked") {
        let text = read_until(stream, b"0\r\n").await?;
        let trailers = read_until(stream, b"\r\n").await?;
        body.extend_from_slice(text.as_bytes());
        body.extend_from_slice(trailers.as_bytes());
    } else if let Some(at) = lower.find("content-length: ") {
        let length = lower[at + 16..].split("\r\n").next()?.parse().ok()?;
        body.resize(length, 0);
        stream.read_exact(&mut body).await.ok()?;
    }
    Some((head, body))
}

async fn read_until(stream: &mut (impl AsyncRead + Unpin), end: &[u8]) -> Option<String> {
    let mut text = Vec::new();
    while !text.ends_with(end) {
        text.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(text).ok()
}

fn origin(url: &str) -> Origin {
    let (scheme, rest) = url.split_once("://").unwrap();
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    let (host, port) = rest.rsplit_once(':').map_or((rest, scheme.default_port()), |(host, port)| (host, port.parse().unwrap()));
    Origin::new(scheme, host, port)
}

fn target(url: &str) -> Target {
    Target { origin: origin(url), upstream: None }
}

fn through(name: &str, url: &str) -> Target {
    Target { origin: origin(url), upstream: Some(name.into()) }
}

fn ask(target: Target, path: &str) -> Ask {
    let (fields, interim) = Default::default();
    Ask { target, method: Method::GET, path_and_query: path.into(), fields, follow: true, interim }
}

fn get(url: &str, path: &str) -> Ask {
    ask(target(url), path)
}

/// A 200 with a length.
fn ok(body: &str) -> Vec<u8> {
    answer("200 OK", "", body)
}

/// A response with a length. `fields` end in CRLF each.
fn answer(status: &str, fields: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn to(location: &str) -> Vec<u8> {
    answer("302 Found", &format!("Location: {location}\r\n"), "moved")
}

async fn text(response: Response<Body>) -> Result<String, Error> {
    let whole = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(whole.to_vec()).unwrap())
}

async fn fetched(upstreams: &Upstreams, ask: Ask) -> Result<String, Error> {
    text(upstreams.fetch(ask).await?.response).await
}

fn empty() -> http_body_util::Empty<Bytes> {
    http_body_util::Empty::new()
}

const HOUR: Duration = Duration::from_secs(3600);
