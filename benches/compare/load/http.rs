//! One HTTP/1.1 connection that reads bodies into one buffer and lets them go. Knows only what the rivals answer: `Content-Length`.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use crate::content::Content;

/// What is taken from the kernel at a time.
const BUFFER: usize = 256 << 10;
/// What is shown of a content that is wrong.
const SHOWN: usize = 200;
/// A server that is silent for so long has failed the case.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    to: SocketAddr,
}

/// What one exchange gave.
pub(crate) struct Answer {
    /// From the request's last byte to the first byte of content.
    pub(crate) first_byte: Duration,
    /// Length of the content in bytes.
    pub(crate) bytes: u64,
    /// Status and content are what was asked for.
    pub(crate) right: bool,
}

/// The head of a response, and where in the buffer the content begins.
struct Head {
    status: u16,
    length: u64,
    /// Bytes of the buffer that are filled, and the first of them that is content.
    filled: usize,
    body: usize,
}

impl Connection {
    pub(crate) fn open(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, buffer: vec![0; BUFFER], to })
    }

    /// Gets `path`, or `length` bytes at `offset` of it, and looks at the content as it comes.
    pub(crate) fn get(&mut self, path: &str, range: Option<(u64, u64)>, content: Content) -> io::Result<Answer> {
        let asked = Instant::now();
        self.ask(path, range)?;
        let head = self.head()?;
        let mut offset = range.map_or(0, |(offset, _)| offset);
        let mut right = head.status == if range.is_some() { 206 } else { 200 };
        right &= range.is_none_or(|(_, length)| length == head.length);
        let mut chunk = head.body..head.filled;
        let mut left = head.length;
        if chunk.is_empty() && left > 0 {
            chunk = 0..self.read()?;
        }
        let first_byte = asked.elapsed();
        loop {
            right &= content.matches(offset, &self.buffer[chunk.clone()]);
            offset += chunk.len() as u64;
            left = left.checked_sub(chunk.len() as u64).ok_or_else(|| invalid("more than Content-Length said"))?;
            if left == 0 {
                return Ok(Answer { first_byte, bytes: head.length, right });
            }
            chunk = 0..self.read()?;
        }
    }

    /// Gets `path` and compares the whole of it, which must fit the buffer, with `expected`; says on standard error what came instead.
    pub(crate) fn get_small(&mut self, path: &str, expected: &[u8]) -> io::Result<bool> {
        self.ask(path, None)?;
        let mut head = self.head()?;
        let end = head.body + usize::try_from(head.length).map_err(io::Error::other)?;
        while head.filled < end {
            let room = self.buffer.get_mut(head.filled..end).ok_or_else(|| invalid("larger than the buffer"))?;
            head.filled += some(self.stream.read(room)?)?;
        }
        let right = head.status == 200 && &self.buffer[head.body..end] == expected;
        if !right {
            let text = String::from_utf8_lossy(&self.buffer[..end.min(head.body + SHOWN)]);
            eprintln!("load: {path}: {} bytes where {} were expected:\n{text}", head.length, expected.len());
        }
        Ok(right)
    }

    /// Sends a request and reads nothing; the stream is what is left.
    pub(crate) fn only_ask(mut self, path: &str) -> io::Result<TcpStream> {
        self.ask(path, None)?;
        Ok(self.stream)
    }

    fn ask(&mut self, path: &str, range: Option<(u64, u64)>) -> io::Result<()> {
        let range = range.map_or(String::new(), |(offset, length)| format!("Range: bytes={offset}-{}\r\n", offset + length - 1));
        write!(self.stream, "GET {path} HTTP/1.1\r\nHost: {}\r\n{range}\r\n", self.to)
    }

    fn head(&mut self) -> io::Result<Head> {
        let mut filled = 0;
        loop {
            filled += some(self.stream.read(&mut self.buffer[filled..])?)?;
            if let Some(end) = self.buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n") {
                let text = String::from_utf8_lossy(&self.buffer[..end]);
                let status = text.get(9..12).and_then(|digits| digits.parse().ok());
                let length = text.lines().find_map(content_length);
                let (Some(status), Some(length)) = (status, length) else {
                    return Err(invalid("no status or no Content-Length"));
                };
                return Ok(Head { status, length, filled, body: end + 4 });
            }
        }
    }

    fn read(&mut self) -> io::Result<usize> {
        some(self.stream.read(&mut self.buffer)?)
    }
}

fn content_length(line: &str) -> Option<u64> {
    let (name, value) = line.split_once(':')?;
    name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
}

fn some(read: usize) -> io::Result<usize> {
    if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(read) }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
