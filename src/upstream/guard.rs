//! Response heads judged by their bytes, before the HTTP library sees them.
//!
//! A parser that forgives reads one message where somebody else reads two. What comes from an upstream is either a head that everybody
//! reads alike, or no answer at all (RFC 9112 §6.3, §11.1). Owns nothing but heads: bodies pass through unread, and a connection that
//! speaks out of turn is the HTTP library's to close.

use std::{
    io::{self, IoSlice},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use crate::semantics::{
    head::{self, Ambiguity},
    lines::{self, Malformed},
};

/// Why a response is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("malformed head: {}", .0.as_str())]
    Malformed(Malformed),
    #[error("ambiguous head: {}", .0.as_str())]
    Ambiguous(Ambiguity),
    #[error("head longer than {HEAD_MAX} bytes")]
    TooLong,
    #[error("more than {INTERIM_MAX} interim responses")]
    Interims,
    #[error("bytes that belong to no response")]
    Stray,
}

impl From<Malformed> for Unreadable {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<Ambiguity> for Unreadable {
    fn from(ambiguity: Ambiguity) -> Self {
        Self::Ambiguous(ambiguity)
    }
}

/// Tells a [`Guard`] that the next bytes written begin a request: what is read from then on begins with heads.
#[derive(Clone, Default)]
pub(super) struct Turn(Arc<AtomicBool>);

impl Turn {
    pub(super) fn begin(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::AcqRel)
    }
}

/// An HTTP/1.1 connection to an upstream, whose response heads are all well formed and unambiguous.
pub(super) struct Guard<S> {
    io: S,
    turn: Turn,
    state: State,
    /// Bytes read and not handed on yet: judged ones in front.
    held: BytesMut,
    /// How many of `held` are judged.
    judged: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Heads are awaited. `seen`: bytes of the unfinished one that hold no line end of interest.
    Head { seen: usize, interims: usize },
    /// The final head has passed: what follows is a body, or the silence between two exchanges.
    Passing,
    /// A response broke a rule. Nothing is read any more.
    Refused(Unreadable),
}

impl<S> Guard<S> {
    pub(super) fn new(io: S, turn: Turn) -> Self {
        Self { io, turn, state: State::Passing, held: BytesMut::new(), judged: 0 }
    }

    /// To be called before anything is written.
    fn turn(&mut self) {
        if !self.turn.has_begun() {
            return;
        }
        if self.held.is_empty() && self.state == State::Passing {
            self.state = State::Head { seen: 0, interims: 0 };
        } else {
            self.state = State::Refused(Unreadable::Stray);
            self.judged = 0;
        }
    }

    /// Judges as many heads as are there.
    fn judge(&mut self) {
        while let State::Head { seen, interims } = self.state {
            self.state = match next(&self.held[self.judged..], seen) {
                Err(unreadable) => State::Refused(unreadable),
                Ok(Next::Incomplete(seen)) => return self.state = State::Head { seen, interims },
                Ok(Next::Interim(_)) if interims == INTERIM_MAX => State::Refused(Unreadable::Interims),
                Ok(Next::Interim(len)) => {
                    self.judged += len;
                    State::Head { seen: 0, interims: interims + 1 }
                }
                Ok(Next::Final) => {
                    self.judged = self.held.len();
                    State::Passing
                }
            };
        }
    }

    fn hand_on(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.judged.min(buf.remaining());
        buf.put_slice(&self.held[..count]);
        self.held.advance(count);
        self.judged -= count;
        if self.held.is_empty() {
            self.held = BytesMut::new(); // an idle connection does not keep the room
        }
    }
}

/// What stands at the front of what was read.
enum Next {
    /// No whole head yet; so many bytes were looked at.
    Incomplete(usize),
    /// A 1xx of so many bytes; another head follows.
    Interim(usize),
    Final,
}

fn next(bytes: &[u8], seen: usize) -> Result<Next, Unreadable> {
    let common = bytes.len().min(PREFIX.len());
    if bytes[..common] != PREFIX[..common] {
        return Err(Malformed::StartLine.into());
    }
    match lines::end(bytes, seen)? {
        Some(end) if end > HEAD_MAX => Err(Unreadable::TooLong),
        Some(end) => match status(&bytes[..end])? {
            StatusCode::SWITCHING_PROTOCOLS => Ok(Next::Final),
            status if status.is_informational() => Ok(Next::Interim(end)),
            _ => Ok(Next::Final),
        },
        None if bytes.len() > HEAD_MAX => Err(Unreadable::TooLong),
        None => Ok(Next::Incomplete(bytes.len())),
    }
}

/// The status of a whole head, if everybody reads it alike.
fn status(head: &[u8]) -> Result<StatusCode, Unreadable> {
    let (start, fields) = lines::split(head);
    let (minor, status) = lines::status(start)?;
    let mut framing = HeaderMap::new();
    for line in fields {
        let (name, value) = lines::field(line)?;
        let known =
            [CONTENT_LENGTH, TRANSFER_ENCODING].into_iter().find(|known| name.eq_ignore_ascii_case(known.as_str().as_bytes()));
        if let Some(known) = known {
            framing.append(known, HeaderValue::from_bytes(value).map_err(|_| Malformed::Value)?);
        }
    }
    if minor == 0 && framing.contains_key(TRANSFER_ENCODING) {
        // RFC 9112 §6.1: HTTP/1.0 has none; who sends one all the same has its framing from somebody else.
        return Err(Ambiguity::TransferCoding.into());
    }
    head::response(status, &framing)?;
    Ok(status)
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.judged > 0 {
                this.hand_on(buf);
                return Poll::Ready(Ok(()));
            }
            match this.state {
                State::Refused(unreadable) => return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, unreadable))),
                State::Passing => return Pin::new(&mut this.io).poll_read(cx, buf),
                State::Head { .. } => {
                    this.held.reserve(READ);
                    let count = ready!(pin!((&mut this.io).take(READ as u64).read_buf(&mut this.held)).poll(cx))?;
                    if count == 0 {
                        return Poll::Ready(Ok(())); // the end, in the middle of a head or before one
                    }
                    this.judge();
                }
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.turn();
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.turn();
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Whether a response was refused here, given the error that came of it.
pub(super) fn has_refused(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if inner.is_some_and(|inner| inner.is::<Unreadable>()) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// What every response begins with. Found wrong at once, garbage is not waited for.
const PREFIX: &[u8] = b"HTTP/1.";

/// Bytes of one head, as many as the HTTP library takes.
const HEAD_MAX: usize = 64 << 10;

/// 1xx responses before the final one. A server that has more to say means no good.
const INTERIM_MAX: usize = 32;

/// Room for an ordinary head and a little of the body.
const READ: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// What is read, of `pieces` that arrive one after the other, in answer to one request.
    async fn read(pieces: &[&[u8]]) -> (Vec<u8>, Option<Unreadable>) {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let turn = Turn::default();
        turn.begin();
        let mut guard = Guard::new(ours, turn);
        guard.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut got = Vec::new();
        for piece in pieces {
            theirs.write_all(piece).await.unwrap();
            let mut room = [0; 4096];
            while let Ok(Ok(count)) = tokio::time::timeout(std::time::Duration::from_millis(1), guard.read(&mut room)).await {
                got.extend_from_slice(&room[..count]);
            }
        }
        drop(theirs);
        let refused = guard.read_to_end(&mut got).await.err();
        let inner = refused.and_then(|error| error.get_ref().and_then(|inner| inner.downcast_ref().copied()));
        (got, inner)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_well_formed_passes_byte_for_byte_however_it_arrives() {
        let text = b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP\n";
        assert_eq!(read(&[text]).await, (text.to_vec(), None));
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(read(&bytes).await, (text.to_vec(), None));
    }

    #[tokio::test(start_paused = true)]
    async fn an_interim_response_does_not_wait_for_the_final_one() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 10);
        let turn = Turn::default();
        turn.begin();
        let mut guard = Guard::new(ours, turn);
        guard.write_all(b"GET").await.unwrap();
        theirs.write_all(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 2").await.unwrap();
        let mut room = [0; 100];
        assert_eq!(guard.read(&mut room).await.unwrap(), 27);
    }

    #[tokio::test(start_paused = true)]
    async fn what_two_might_read_differently_is_not_read_at_all() {
        let refused = |head: &str| {
            let head = head.to_owned();
            async move {
                let (got, refused) = read(&[head.as_bytes()]).await;
                assert!(got.is_empty(), "{head:?} let {got:?} through");
                refused.unwrap_or_else(|| panic!("{head:?} passed"))
            }
        };
        assert_eq!(refused("HTTP/1.1 200 OK\nA: b\r\n\r\n").await, Malformed::LineEnd.into());
        assert_eq!(refused("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n").await, Malformed::Fold.into());
        assert_eq!(refused("HTTP/1.1 200 OK\r\nA : b\r\n\r\n").await, Malformed::Name.into());
        assert_eq!(refused("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await, Ambiguity::TransferCoding.into());
        assert_eq!(refused("HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n").await, Ambiguity::ContentLength.into());
        assert_eq!(refused("SSH-2.0-x").await, Malformed::StartLine.into());
        assert_eq!(refused(&format!("HTTP/1.1 200 OK\r\nA: {}", "b".repeat(HEAD_MAX))).await, Unreadable::TooLong);
    }

    #[tokio::test(start_paused = true)]
    async fn interim_responses_without_end_are_cut_off() {
        let (got, refused) = read(&[&b"HTTP/1.1 102 Processing\r\n\r\n".repeat(INTERIM_MAX + 1)]).await;
        assert_eq!((got.len(), refused), (27 * INTERIM_MAX, Some(Unreadable::Interims)));
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_left_of_one_answer_are_never_the_next_ones_head() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 10);
        let turn = Turn::default();
        let mut guard = Guard::new(ours, turn.clone());
        turn.begin();
        guard.write_all(b"GET").await.unwrap();
        theirs.write_all(b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let mut room = [0; 27];
        guard.read_exact(&mut room).await.unwrap();
        turn.begin();
        guard.write_all(b"GET").await.unwrap();
        let error = guard.read(&mut room).await.unwrap_err();
        assert!(has_refused(&error), "{error}");
    }
}
