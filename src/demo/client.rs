//! One HTTP/1.1 connection of a simulated computer, and what it checks about every answer.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::{
    HeaderMap, Request, StatusCode, Uri,
    header::{ACCEPT, CONTENT_LENGTH, CONTENT_RANGE, HOST, RANGE, USER_AGENT},
};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use crate::{demo::content::sha256, digest::Digest, piece::ByteRange};

/// A kept-alive connection to weir. Dropped, it closes.
pub(super) struct Connection {
    sender: SendRequest<Empty<Bytes>>,
}

/// What to ask, the same through every door but for its spelling.
#[derive(Clone, Debug)]
pub(super) struct Ask<'a> {
    /// Origin-form, or absolute-form through the forward door.
    pub(super) uri: &'a str,
    pub(super) host: &'a str,
    pub(super) range: Option<ByteRange>,
}

/// What came, once all of it came.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) fields: HeaderMap,
    /// Content bytes received.
    pub(super) len: u64,
    pub(super) sha256: Digest,
}

impl Connection {
    pub(super) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await.context("connect took too long")??;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends when the sender is dropped or weir closes; what went wrong is seen by the request.
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    /// Asks and takes the whole answer; `seen` is told of every run of bytes as it arrives. An answer that stalls, is cut, or is not for what was asked
    /// is an error.
    pub(super) async fn ask(&mut self, ask: &Ask<'_>, mut seen: impl FnMut(u64)) -> Result<Answer> {
        self.sender.ready().await?;
        let response = timeout(STALL_TIMEOUT, self.sender.send_request(request(ask)?)).await.context("no answer")??;
        let (head, mut body) = response.into_parts();
        let (mut len, mut hasher) = (0, sha256());
        while let Some(frame) = timeout(STALL_TIMEOUT, body.frame()).await.context("stalled")? {
            let Ok(bytes) = frame.context("cut")?.into_data() else { continue };
            len += bytes.len() as u64;
            hasher.update(&bytes);
            seen(bytes.len() as u64);
        }
        let answer = Answer { status: head.status, fields: head.headers, len, sha256: hasher.finish() };
        answer.expect_for(ask.range)?;
        Ok(answer)
    }
}

impl Answer {
    /// Whether weir says it answered from its store (RFC 9211 `hit`).
    pub(super) fn is_hit(&self) -> bool {
        self.cache_status().split(';').any(|parameter| parameter.trim() == "hit")
    }

    pub(super) fn cache_status(&self) -> &str {
        self.fields.get("cache-status").and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// What Delivery Optimization checks: the status, and that `Content-Range` says what was asked.
    fn expect_for(&self, range: Option<ByteRange>) -> Result<()> {
        let Some(range) = range else {
            ensure!(self.status == StatusCode::OK, "{} instead of 200", self.status);
            return Ok(());
        };
        ensure!(self.status == StatusCode::PARTIAL_CONTENT, "{} instead of 206", self.status);
        let said = self.fields.get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or("");
        if !said.starts_with(&format!("bytes {}-{}/", range.start, range.end - 1)) || self.len != range.len() {
            bail!("{range:?} was asked, {said:?} came with {} bytes", self.len);
        }
        Ok(())
    }
}

/// As Delivery Optimization writes it: `Content-Length: 0` on GET included.
fn request(ask: &Ask<'_>) -> Result<Request<Empty<Bytes>>> {
    let mut request = Request::get(ask.uri.parse::<Uri>()?)
        .header(HOST, ask.host)
        .header(ACCEPT, "*/*")
        .header(USER_AGENT, "Microsoft-Delivery-Optimization/10.1")
        .header(CONTENT_LENGTH, 0);
    if let Some(range) = ask.range {
        request = request.header(RANGE, format!("bytes={}-{}", range.start, range.end - 1));
    }
    Ok(request.body(Empty::new())?)
}

/// 3 s: as long as Delivery Optimization waits for a cache host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// 20 s: a Delivery Optimization client that sees nearly nothing for that long leaves.
const STALL_TIMEOUT: Duration = Duration::from_secs(20);
