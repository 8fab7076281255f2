//! The command line's side of the interface: `weir status`, `weir clients`, `weir purge`, `weir pin`, over the Unix socket or loopback.

use std::{fmt, io, io::Write, net::SocketAddr, path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time,
};

use crate::admin::{ObjectQuery, Pin, Purge, PurgeWhat, Status, guide, terminal};

/// Where the running weir listens for administration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Socket(PathBuf),
    Tcp(SocketAddr),
}

/// What to ask of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `json`: as the API gave it, for programs.
    Status {
        json: bool,
    },
    /// How to point clients at it.
    Guide,
    /// One page of stored responses, as JSON.
    Objects(ObjectQuery),
    Purge(Purge),
    Pin(Pin),
    Reload,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no weir answers at {place}")]
    Unreachable { place: Place, source: io::Error },
    #[error("{place} broke off the answer")]
    Broken { place: Place, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{place} gave no answer within {} s", after.as_secs())]
    Slow { place: Place, after: Duration },
    /// What the interface said.
    #[error("{0}")]
    Refused(String),
    #[error("output")]
    Output(#[from] io::Error),
}

/// A little longer than the interface takes to give up on a request.
const PATIENCE: Duration = Duration::from_secs(35);

/// The longest answer is a page of 1,000 objects with long URLs.
const ANSWER_LEN_MAX: usize = 16 * 1024 * 1024;

/// Asks the weir at `place` and writes the answer for a terminal, or as JSON where the command says so. Call inside a tokio runtime.
///
/// # Errors
/// Nobody answers there, the answer is a refusal, or `out` takes no more.
pub async fn run(place: &Place, command: &Command, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    let slow = |_| Error::Slow { place: place.clone(), after: PATIENCE };
    let answer = time::timeout(PATIENCE, exchange(place, command.request())).await.map_err(slow)??;
    match command {
        Command::Status { json: true } | Command::Objects(_) => {
            out.write_all(&answer)?;
            writeln!(out)?;
        }
        Command::Status { json: false } => terminal::status(&parse::<Status>(place, &answer)?, out)?,
        Command::Guide => guide::write(&parse::<Status>(place, &answer)?, out)?,
        Command::Purge(_) => terminal::purged(&parse(place, &answer)?, out)?,
        Command::Pin(pin) => terminal::pinned(pin, &parse(place, &answer)?, out)?,
        Command::Reload => writeln!(out, "configuration reloaded")?,
    }
    Ok(())
}

impl Command {
    fn request(&self) -> Request<Full<Bytes>> {
        let (method, path, body) = match self {
            Self::Status { .. } | Self::Guide => (Method::GET, "/api/status".into(), None),
            Self::Objects(query) => (Method::GET, objects_path(query), None),
            Self::Purge(purge) => (Method::POST, "/api/purge".into(), Some(purge_body(purge))),
            Self::Pin(pin) => (Method::POST, "/api/pin".into(), Some(serde_json::json!(pin))),
            Self::Reload => (Method::POST, "/api/reload".into(), None),
        };
        let request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
        let request = request.header(header::CONTENT_TYPE, "application/json");
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        request.body(Full::new(body)).expect("method, path and fields are constants or percent-encoded")
    }
}

fn objects_path(query: &ObjectQuery) -> String {
    let encode = |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    let mut path = format!("/api/objects?limit={}", query.limit.unwrap_or(100));
    if let Some(host) = &query.host {
        path.push_str(&format!("&host={}", encode(host)));
    }
    if let Some(after) = &query.after {
        path.push_str(&format!("&after={}", encode(after)));
    }
    path
}

fn purge_body(purge: &Purge) -> serde_json::Value {
    let dry_run = purge.dry_run;
    match &purge.what {
        PurgeWhat::Url(url) => serde_json::json!({ "url": url, "dry_run": dry_run }),
        PurgeWhat::Host(host) => serde_json::json!({ "host": host, "dry_run": dry_run }),
        PurgeWhat::All => serde_json::json!({ "all": true, "dry_run": dry_run }),
    }
}

async fn exchange(place: &Place, request: Request<Full<Bytes>>) -> Result<Bytes, Error> {
    let unreachable = |source| Error::Unreachable { place: place.clone(), source };
    match place {
        Place::Socket(path) => converse(place, UnixStream::connect(path).await.map_err(unreachable)?, request).await,
        Place::Tcp(address) => converse(place, TcpStream::connect(address).await.map_err(unreachable)?, request).await,
    }
}

async fn converse<S>(place: &Place, stream: S, request: Request<Full<Bytes>>) -> Result<Bytes, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |source: Box<dyn std::error::Error + Send + Sync>| Error::Broken { place: place.clone(), source };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(error.into()))?;
    let answer = async {
        let response: Response<Incoming> = sender.send_request(request).await.map_err(|error| broken(error.into()))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_LEN_MAX).collect().await.map_err(broken)?.to_bytes();
        if status.is_success() { Ok(body) } else { Err(Error::Refused(said(&body).unwrap_or_else(|| status.to_string()))) }
    };
    // The connection makes no progress unless it is polled beside the answer; the answer ends first, whatever the connection says.
    tokio::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        _ = connection => answer.await,
    }
}

/// The sentence in `{"error": …}`.
fn said(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(body.get("error")?.as_str()?.to_owned())
}

fn parse<T: DeserializeOwned>(place: &Place, answer: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(answer).map_err(|error| Error::Broken { place: place.clone(), source: error.into() })
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => path.display().fmt(f),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}
