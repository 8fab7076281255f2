//! A client that says exactly what it is told, and checks what it gets as it comes.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{
    content::Content,
    wire::{End, Field, Framing, Head, Wire},
    within,
};

/// One connection to a weir, and a reader of its answers.
pub(crate) struct Client<S = TcpStream> {
    pub(crate) wire: Wire<S>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<Field>,
    pub(crate) end: End,
}

/// A whole answer whose body was compared with a content and thrown away.
#[derive(Clone, Debug)]
pub(crate) struct Download {
    pub(crate) status: u16,
    pub(crate) head: Head,
    /// Body bytes received.
    pub(crate) len: u64,
    /// Where the body first differed from the content.
    pub(crate) difference: Option<u64>,
    pub(crate) end: End,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = within("connecting", TcpStream::connect(address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { wire: Wire::new(stream) }
    }

    /// Leaves with an RST, as an aborted download does.
    pub(crate) fn abort(self) {
        let _ = socket2::SockRef::from(&self.wire.stream).set_linger(Some(Duration::ZERO));
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn over(stream: S) -> Self {
        Self { wire: Wire::new(stream) }
    }

    /// Sends bytes as they are. The peer may have answered and closed already: that shows in the answer.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = within("sending", self.wire.send(bytes)).await;
    }

    /// A request without a body.
    pub(crate) async fn ask(&mut self, method: &str, target: &str, fields: &[(&str, &str)]) {
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        fields.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        self.send(head + "\r\n").await;
    }

    /// The next head that is not a 1xx; `None` when the connection ended without one.
    pub(crate) async fn head(&mut self) -> Option<Head> {
        loop {
            let head = within("a response head", self.wire.read_head()).await.ok().flatten()?;
            if !head.start.starts_with("HTTP/1.1 1") || head.start.contains(" 101") {
                return Some(head);
            }
        }
    }

    /// The whole answer to a `method` request; `None` when the connection ended without a head.
    pub(crate) async fn try_reply(&mut self, method: &str) -> Option<Reply> {
        let head = self.head().await?;
        let mut body = Vec::new();
        let mut trailers = Vec::new();
        let end = self.body(method, &head, &mut trailers, |bytes| body.extend_from_slice(bytes)).await;
        Some(Reply { status: status(&head), head, body, trailers, end })
    }

    pub(crate) async fn reply(&mut self, method: &str) -> Reply {
        self.try_reply(method).await.expect("an answer before the end of the connection")
    }

    /// Asks and reads the whole answer.
    pub(crate) async fn get(&mut self, target: &str, fields: &[(&str, &str)]) -> Reply {
        self.ask("GET", target, fields).await;
        self.reply("GET").await
    }

    /// Asks and compares the body with `content` as it comes.
    pub(crate) async fn download(&mut self, target: &str, fields: &[(&str, &str)], content: &Content) -> Download {
        self.ask("GET", target, fields).await;
        let head = self.head().await.expect("a response head");
        self.check(head, content).await
    }

    /// Compares the body that follows `head` with `content`.
    pub(crate) async fn check(&mut self, head: Head, content: &Content) -> Download {
        let start = head.field("content-range").map_or(0, range_start);
        let (mut len, mut difference) = (0, None);
        let compare = |bytes: &[u8]| {
            difference = difference.or_else(|| content.difference(start + len, bytes));
            len += bytes.len() as u64;
        };
        let end = self.body("GET", &head, &mut Vec::new(), compare).await;
        Download { status: status(&head), head, len, difference, end }
    }

    /// Some bytes of a body whose framing is known, as soon as there are any.
    pub(crate) async fn some(&mut self, framing: &mut Framing) -> Option<Bytes> {
        within("body bytes", self.wire.read_body(framing, &mut Vec::new())).await.ok().flatten()
    }

    async fn body(&mut self, method: &str, head: &Head, trailers: &mut Vec<Field>, mut take: impl FnMut(&[u8])) -> End {
        let status = status(head);
        if method == "HEAD" || status == 204 || status == 304 {
            return End::Whole;
        }
        let mut framing = head.framing(Framing::Close);
        loop {
            match within("body bytes", self.wire.read_body(&mut framing, trailers)).await {
                Ok(Some(bytes)) => take(&bytes),
                Ok(None) => return End::Whole,
                Err(_) => return End::Cut,
            }
        }
    }
}

impl Reply {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Answered from the store without asking anybody, by its own word (RFC 9211).
    pub(crate) fn is_hit(&self) -> bool {
        is_hit(&self.head)
    }

    /// Ended as its framing said, with exactly these bytes.
    pub(crate) fn is_whole(&self, bytes: &[u8]) -> bool {
        self.end == End::Whole && self.body == bytes
    }
}

impl Download {
    pub(crate) fn is_hit(&self) -> bool {
        is_hit(&self.head)
    }

    /// A 200 with all of `content` and nothing else.
    pub(crate) fn is_all_of(&self, content: &Content) -> bool {
        self.status == 200 && self.is_right(content.len())
    }

    /// `len` right bytes, ended as framed.
    pub(crate) fn is_right(&self, len: u64) -> bool {
        self.end == End::Whole && self.difference.is_none() && self.len == len
    }
}

/// By the word of the cache nearest to the client, which is the last (RFC 9211 §2).
fn is_hit(head: &Head) -> bool {
    let nearest = head.all("cache-status").last().and_then(|line| line.rsplit(',').next());
    nearest.is_some_and(|status| status.split(';').any(|word| word.trim() == "hit"))
}

fn status(head: &Head) -> u16 {
    head.start.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("status line {:?}", head.start))
}

/// The first position of `bytes 5-9/10`.
fn range_start(field: &str) -> u64 {
    let number = field.trim_start_matches("bytes ").split('-').next().unwrap_or_default();
    number.parse().unwrap_or_else(|_| panic!("Content-Range {field:?}"))
}
