//! HTTP/2 as frames (RFC 9113 §4, RFC 7541), written by hand so that they can be wrong.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, tcp::OwnedWriteHalf},
};

use crate::support::{Proxy, within};

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const WITH_PRIORITY: u8 = 0x20;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// One entry of SETTINGS.
pub(super) fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

/// Fields as literals without indexing (RFC 7541 §6.2.2), never checked.
pub(super) fn literals(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        string(&mut block, name.as_bytes());
        string(&mut block, value.as_bytes());
    }
    block
}

/// RFC 7541 §5.1, §5.2, without Huffman coding.
pub(super) fn string(block: &mut Vec<u8>, text: &[u8]) {
    let mut left = text.len();
    if left < 127 {
        block.push(left as u8);
    } else {
        block.push(127);
        left -= 127;
        while left >= 128 {
            block.push((left % 128 + 128) as u8);
            left /= 128;
        }
        block.push(left as u8);
    }
    block.extend(text);
}

/// A GET of `path` at cdn.test, as a header block.
pub(super) fn get(path: &str) -> Vec<u8> {
    literals(&[(":method", "GET"), (":scheme", "http"), (":authority", "cdn.test"), (":path", path)])
}

/// How the server took something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Took {
    /// A response head; its status if it is one of the common ones, else 0.
    Answer(u16),
    /// RST_STREAM with this code.
    Reset(u32),
    /// The end of the connection; the code of its GOAWAY, if it had one.
    Gone(Option<u32>),
}

impl Took {
    /// Refused in any way.
    pub(super) fn is_refused(self) -> bool {
        !matches!(self, Self::Answer(0..400))
    }
}

/// A connection that was opened with the preface and an empty SETTINGS.
pub(super) struct Raw {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Raw {
    pub(super) async fn connect(weir: &Proxy) -> Self {
        let mut raw = Self::silent(weir).await;
        raw.send([PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await;
        raw
    }

    /// A connection on which nothing was said.
    pub(super) async fn silent(weir: &Proxy) -> Self {
        let stream = within("connecting", TcpStream::connect(weir.doors())).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: BytesMut::new() }
    }

    /// Sends as much as the peer takes before it closes.
    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        _ = within("sending", self.stream.write_all(bytes.as_ref())).await;
    }

    /// Sends on one side while reading on the other, so that neither waits for the other; what came of `stream` or of the connection.
    pub(super) async fn flood(self, bytes: Vec<u8>, stream: u32) -> Took {
        let (read, write) = self.stream.into_split();
        let sending = tokio::spawn(pour(write, bytes));
        let mut reader = Reader { read, buffer: self.buffer };
        let took = within("an answer to a flood", reader.took(stream)).await;
        sending.abort();
        took
    }

    /// What becomes of `stream`, or of the connection before that.
    pub(super) async fn took(&mut self, stream: u32) -> Took {
        let mut reader = Reader { read: &mut self.stream, buffer: std::mem::take(&mut self.buffer) };
        let took = within("an answer", reader.took(stream)).await;
        self.buffer = reader.buffer;
        took
    }

    /// The code of the GOAWAY that ends the connection, if there is one.
    pub(super) async fn gone(&mut self) -> Option<u32> {
        match self.took(u32::MAX).await {
            Took::Gone(code) => code,
            other => panic!("{other:?} for no stream"),
        }
    }

    /// Whether the server still answers on this connection, to a PING.
    pub(super) async fn lives(&mut self) -> bool {
        self.send(frame(PING, 0, 0, b"stillon?")).await;
        let mut reader = Reader { read: &mut self.stream, buffer: std::mem::take(&mut self.buffer) };
        let alive = async {
            while let Ok(Some((kind, flags, _, payload))) = reader.frame().await {
                if kind == PING && flags == 1 && payload == b"stillon?" {
                    return true;
                }
            }
            false
        };
        let alive = within("an answer to a PING", alive).await;
        self.buffer = reader.buffer;
        alive
    }
}

async fn pour(mut write: OwnedWriteHalf, bytes: Vec<u8>) -> OwnedWriteHalf {
    _ = write.write_all(&bytes).await;
    write
}

struct Reader<R> {
    read: R,
    buffer: BytesMut,
}

impl<R: AsyncReadExt + Unpin> Reader<R> {
    async fn took(&mut self, wanted: u32) -> Took {
        loop {
            let Ok(Some((kind, _, stream, payload))) = self.frame().await else { return Took::Gone(None) };
            match kind {
                HEADERS if stream == wanted => return Took::Answer(status(&payload)),
                RST_STREAM if stream == wanted => return Took::Reset(code(&payload)),
                // NO_ERROR is a farewell: what runs may still be answered.
                GOAWAY if code(&payload[4..]) != 0 => return Took::Gone(Some(code(&payload[4..]))),
                _ => {}
            }
        }
    }

    /// Kind, flags, stream and payload of the next frame; none at the end.
    async fn frame(&mut self) -> io::Result<Option<(u8, u8, u32, Vec<u8>)>> {
        loop {
            if let Some(head) = self.buffer.first_chunk::<9>().copied() {
                let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                if self.buffer.len() >= 9 + len {
                    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
                    self.buffer.advance(9);
                    return Ok(Some((head[3], head[4], stream, self.buffer.split_to(len).to_vec())));
                }
            }
            if self.read.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }
}

fn code(payload: &[u8]) -> u32 {
    payload.first_chunk().map_or(u32::MAX, |code| u32::from_be_bytes(*code))
}

/// The status at the front of a header block, after updates of the table's size; 0 when it is none of the static table's.
fn status(block: &[u8]) -> u16 {
    let first = block.iter().find(|byte| **byte & 0xe0 != 0x20);
    match first.map_or(0, |byte| byte & 0x7f) {
        index @ 8..=14 if first.is_some_and(|byte| byte & 0x80 != 0) => {
            [200, 204, 206, 304, 400, 404, 500][usize::from(index) - 8]
        }
        _ => 0,
    }
}
