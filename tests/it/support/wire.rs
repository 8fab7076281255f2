//! HTTP/1.1 as bytes: heads and bodies read strictly, spelling kept. Both the origin and the client stand on it.

use std::io::{self, ErrorKind};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

/// A field line with its name as spelled on the wire.
pub(crate) type Field = (String, String);

/// A start line and its fields.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub(crate) start: String,
    pub(crate) fields: Vec<Field>,
}

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// As its framing said.
    Whole,
    /// The connection ended first.
    Cut,
}

/// What is left of a body.
#[derive(Debug)]
pub(crate) enum Framing {
    Length(u64),
    /// Bytes left of the current chunk.
    Chunked(u64),
    Close,
    Ended,
}

/// One connection.
pub(crate) struct Wire<S = TcpStream> {
    pub(crate) stream: S,
    buffer: BytesMut,
}

/// A head longer than this is a bug of the scenario.
const HEAD_MAX: usize = 1 << 20;
const READ: usize = 256 * 1024;

impl Head {
    pub(crate) fn parse(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let fields = lines.filter_map(|line| line.split_once(':')).map(|(n, v)| (n.to_owned(), v.trim().to_owned())).collect();
        Self { start, fields }
    }

    /// The first field of that name, in any spelling.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// How the body that follows is framed; `without` is what it means when no field says so.
    pub(crate) fn framing(&self, without: Framing) -> Framing {
        if self.field("transfer-encoding").is_some_and(|coding| coding.to_ascii_lowercase().ends_with("chunked")) {
            return Framing::Chunked(0);
        }
        match self.field("content-length").map(|len| len.parse().expect("a length")) {
            Some(0) => Framing::Ended,
            Some(len) => Framing::Length(len),
            None => without,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await
    }

    /// The next head; `None` when the peer closed before a byte of it.
    pub(crate) async fn read_head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                let head = self.buffer.split_to(end + 4);
                return Ok(Some(Head::parse(&head[..end])));
            }
            assert!(self.buffer.len() < HEAD_MAX, "a head of {} bytes", self.buffer.len());
            if self.read_more().await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// The next bytes of a body, `None` at its clean end, an error when it is cut. Trailer fields are added to `trailers`.
    pub(crate) async fn read_body(&mut self, framing: &mut Framing, trailers: &mut Vec<Field>) -> io::Result<Option<Bytes>> {
        if let Framing::Chunked(left @ 0) = framing {
            *left = self.read_chunk_size().await?;
            if *left == 0 {
                *framing = Framing::Ended;
                self.read_trailers(trailers).await?;
            }
        }
        if matches!(framing, Framing::Ended) {
            return Ok(None);
        }
        if self.buffer.is_empty() && self.read_more().await? == 0 {
            return match framing {
                Framing::Close => Ok(None),
                _ => Err(ErrorKind::UnexpectedEof.into()),
            };
        }
        let limit = match framing {
            Framing::Length(left) | Framing::Chunked(left) => usize::try_from(*left).unwrap_or(usize::MAX),
            _ => usize::MAX,
        };
        let bytes = self.buffer.split_to(limit.min(self.buffer.len())).freeze();
        match framing {
            Framing::Length(left) => {
                *left -= bytes.len() as u64;
                if *left == 0 {
                    *framing = Framing::Ended;
                }
            }
            Framing::Chunked(left) => {
                *left -= bytes.len() as u64;
                if *left == 0 && !self.read_line().await?.is_empty() {
                    return Err(io::Error::new(ErrorKind::InvalidData, "no line end after a chunk"));
                }
            }
            _ => {}
        }
        Ok(Some(bytes))
    }

    /// Reads what is there; 0 at the end of the stream.
    pub(crate) async fn read_more(&mut self) -> io::Result<usize> {
        self.buffer.reserve(READ);
        self.stream.read_buf(&mut self.buffer).await
    }

    /// Everything up to the end of the stream, framing or not. A reset counts as an end.
    pub(crate) async fn read_rest(&mut self) -> Bytes {
        while let Ok(1..) = self.read_more().await {}
        self.buffer.split().freeze()
    }

    async fn read_chunk_size(&mut self) -> io::Result<u64> {
        let line = self.read_line().await?;
        let size = line.split(';').next().unwrap_or_default().trim();
        u64::from_str_radix(size, 16).map_err(|_| io::Error::new(ErrorKind::InvalidData, format!("chunk size {line:?}")))
    }

    async fn read_trailers(&mut self, trailers: &mut Vec<Field>) -> io::Result<()> {
        loop {
            let line = self.read_line().await?;
            match line.split_once(':') {
                Some((name, value)) => trailers.push((name.to_owned(), value.trim().to_owned())),
                None => return Ok(()),
            }
        }
    }

    async fn read_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.advance(end + 2);
                return Ok(line);
            }
            if self.read_more().await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
