//! The requests of an HTTP/1 connection as bytes: where each begins and ends, and whether everybody would say so.
//!
//! Follows the framing from head to body to the next head and refuses whatever two parsers could read in two ways (RFC 9112 §11.2), so that
//! no other parser behind it meets any of that. Pure: bytes in, verdicts out. It never changes, copies or keeps a byte, and does not
//! judge what a request means.

mod head;
mod line;
#[cfg(test)]
mod tests;

use self::{
    head::{Follows, Head},
    line::Lines,
};
use crate::proxy::unserved::Malformed;

/// Follows the messages of one connection.
#[derive(Clone, Debug)]
pub struct Messages {
    state: State,
    bounds: Bounds,
    /// Bytes of chunk extensions in this body so far.
    extensions: usize,
    /// Heads that passed.
    heads: u64,
}

/// How long heads may be.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub head_max: usize,
    pub fields_max: usize,
}

/// What was found in some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// So many bytes are good. What is behind them is a line or a head that is not whole yet, or what is wrong.
    pub passed: usize,
    pub malformed: Option<Malformed>,
}

/// Heads and lines pass when they are whole, content as it comes.
#[derive(Clone, Copy, Debug)]
enum State {
    Head(Head),
    Sized(u64),
    ChunkLine,
    ChunkData(u64),
    ChunkEnd,
    Trailers(Trailers),
    Tunnel,
}

#[derive(Clone, Copy, Debug, Default)]
struct Trailers {
    lines: Lines,
    fields: usize,
}

/// What one step made of the bytes before it.
enum Step {
    Took(usize),
    NeedsMore,
}

impl Messages {
    pub fn new(bounds: Bounds) -> Self {
        Self { state: State::Head(Head::default()), bounds, extensions: 0, heads: 0 }
    }

    /// Whether the next byte belongs to a head, or would begin one.
    pub fn is_in_head(&self) -> bool {
        matches!(self.state, State::Head(_))
    }

    /// How many heads have passed.
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// Checks `bytes`, which begin with what did not pass the last time. Not to be called again once something was malformed.
    pub fn check(&mut self, bytes: &[u8]) -> Checked {
        let mut passed = 0;
        while passed < bytes.len() {
            match self.step(&bytes[passed..]) {
                Ok(Step::Took(len)) => passed += len,
                Ok(Step::NeedsMore) => break,
                Err(malformed) => return Checked { passed, malformed: Some(malformed) },
            }
        }
        Checked { passed, malformed: None }
    }

    /// `bytes` are not empty.
    fn step(&mut self, bytes: &[u8]) -> Result<Step, Malformed> {
        match &mut self.state {
            State::Head(head) => {
                let Some((len, follows)) = head.advance(bytes, &self.bounds)? else { return Ok(Step::NeedsMore) };
                self.follow(follows);
                Ok(Step::Took(len))
            }
            State::Sized(left) => {
                let took = take(left, bytes);
                if *left == 0 {
                    self.next_message();
                }
                Ok(Step::Took(took))
            }
            State::ChunkLine => self.chunk_line(bytes),
            State::ChunkData(left) => {
                let took = take(left, bytes);
                if *left == 0 {
                    self.state = State::ChunkEnd;
                }
                Ok(Step::Took(took))
            }
            State::ChunkEnd => match bytes {
                [b'\r', b'\n', ..] => {
                    self.state = State::ChunkLine;
                    Ok(Step::Took(2))
                }
                b"\r" => Ok(Step::NeedsMore),
                _ => Err(Malformed::ChunkEnd),
            },
            State::Trailers(trailers) => {
                let Some(len) = trailers.advance(bytes, &self.bounds)? else { return Ok(Step::NeedsMore) };
                self.next_message();
                Ok(Step::Took(len))
            }
            State::Tunnel => Ok(Step::Took(bytes.len())),
        }
    }

    fn follow(&mut self, follows: Follows) {
        self.extensions = 0;
        self.heads += 1;
        self.state = match follows {
            Follows::Head => State::Head(Head::default()),
            Follows::Sized(length) => State::Sized(length),
            Follows::Chunks => State::ChunkLine,
            Follows::Tunnel => State::Tunnel,
        };
    }

    fn next_message(&mut self) {
        self.state = State::Head(Head::default());
    }

    /// `chunk-size [ chunk-ext ] CRLF` (RFC 9112 §7.1).
    fn chunk_line(&mut self, bytes: &[u8]) -> Result<Step, Malformed> {
        let mut lines = Lines::default();
        // Short, so it may be looked at again when more of it has come.
        let line = lines.next(&bytes[..bytes.len().min(CHUNK_LINE_MAX)]).map_err(|_| Malformed::ChunkSize)?;
        let Some(line) = line else {
            return match bytes[0].is_ascii_hexdigit() {
                false => Err(Malformed::ChunkSize),
                true if bytes.len() < CHUNK_LINE_MAX => Ok(Step::NeedsMore),
                true => Err(Malformed::ChunkExtensions),
            };
        };
        let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
        let (size, extension) = line.split_at(digits);
        let size = chunk_size(size).ok_or(Malformed::ChunkSize)?;
        // RFC 9112 §7.1.1 lets whitespace stand before the semicolon; alone behind the size it is padding that some take for digits.
        if !extension.is_empty() && !head::without_whitespace(extension).starts_with(b";") {
            return Err(Malformed::ChunkSize);
        }
        self.extensions += extension.len();
        if self.extensions > EXTENSIONS_MAX {
            return Err(Malformed::ChunkExtensions);
        }
        self.state = if size == 0 { State::Trailers(Trailers::default()) } else { State::ChunkData(size) };
        Ok(Step::Took(lines.end()))
    }
}

impl Trailers {
    /// The length of the trailer section with its empty line, once it is whole.
    fn advance(&mut self, block: &[u8], bounds: &Bounds) -> Result<Option<usize>, Malformed> {
        loop {
            let line = self.lines.next(block).map_err(|_| Malformed::Trailers)?;
            let len = if line.is_some() { self.lines.end() } else { block.len() };
            if len > TRAILERS_LEN_MAX || self.fields > bounds.fields_max {
                return Err(Malformed::Trailers);
            }
            match line {
                None => return Ok(None),
                Some([]) => return Ok(Some(len)),
                Some(line) => self.field(line)?,
            }
        }
    }

    /// RFC 9110 §6.5.1: a trailer must not be about framing or routing; who merges it into the head would read another request.
    fn field(&mut self, line: &[u8]) -> Result<(), Malformed> {
        self.fields += 1;
        let (name, _) = head::name_and_value(line).map_err(|_| Malformed::Trailers)?;
        let is_forbidden = FORBIDDEN_TRAILERS.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden));
        if is_forbidden { Err(Malformed::Trailers) } else { Ok(()) }
    }
}

/// One to sixteen hexadecimal digits, with room left for sums.
fn chunk_size(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > CHUNK_SIZE_DIGITS_MAX {
        return None;
    }
    let digits = std::str::from_utf8(digits).ok()?;
    u64::from_str_radix(digits, 16).ok().filter(|&size| size <= CHUNK_MAX)
}

fn take(left: &mut u64, bytes: &[u8]) -> usize {
    let took = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
    *left -= took as u64;
    took
}

/// A chunk's size and its extensions.
const CHUNK_LINE_MAX: usize = 512;
const CHUNK_SIZE_DIGITS_MAX: usize = 16;
/// Beyond it signed integers overflow.
const CHUNK_MAX: u64 = i64::MAX as u64;
/// Of one body: a byte of content in each chunk and a long extension beside it would make somebody parse for nothing.
const EXTENSIONS_MAX: usize = 8 << 10;
const TRAILERS_LEN_MAX: usize = 8 << 10;
const FORBIDDEN_TRAILERS: [&[u8]; 5] = [b"transfer-encoding", b"content-length", b"host", b"connection", b"trailer"];
