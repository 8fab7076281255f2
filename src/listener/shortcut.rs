//! Requests that are answered in front of hyper: those whose heads are recognised by their bytes.
//!
//! While hyper is idle, between two requests with everything written, what the client sends next is looked up before anybody parses it. What is
//! recognised is answered here, and hyper never hears of it; whatever is not goes on to the byte gate and to hyper, together with all that
//! is behind it. This module moves bytes: what is recognised and what it is answered with, `proxy::recognised` knows.

use std::{
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::SystemTime,
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    listener::{activity::Activity, admission::Admission},
    proxy::{
        connection::Connection,
        recognised::{Again, Behind, Recognised, Recognition, Scope},
    },
};

/// The way past hyper on one connection.
pub(super) struct Shortcut {
    recognised: Arc<Recognised>,
    scope: Scope,
    connection: Arc<Connection>,
    activity: Arc<Activity>,
    /// The head that was recognised last, with its answer: most often it is the next one, too.
    last: Option<(Box<[u8]>, Again)>,
    /// The head that hyper has just been given alone, if its answer is to be remembered.
    asked: Option<Box<[u8]>>,
    outgoing: Outgoing,
    /// What was read behind a request whose answer does not leave yet.
    behind: BytesMut,
    /// The answer that is leaving is the last: its client asked for that.
    is_last: bool,
}

/// Answers on their way to the client.
#[derive(Default)]
struct Outgoing {
    /// Heads, and contents that are so short that copying them costs less than handing them on.
    bytes: Vec<u8>,
    sent: usize,
    /// Content behind `bytes`.
    content: Bytes,
    is_flushed: bool,
}

/// Contents up to this length are copied.
const COPIED_MAX: usize = 4 << 10;
/// Answers to pipelined requests that are gathered until they are written, in bytes.
const GATHERED_MAX: usize = 32 << 10;
/// Room that an idle connection keeps for heads.
const KEPT_MAX: usize = 8 << 10;
const HEAD_END: &[u8] = b"\r\n\r\n";

impl Shortcut {
    pub(super) fn new(recognised: Arc<Recognised>, connection: &Arc<Connection>, activity: &Arc<Activity>) -> Self {
        Self {
            recognised,
            scope: connection.scope(),
            connection: Arc::clone(connection),
            activity: Arc::clone(activity),
            last: None,
            asked: None,
            outgoing: Outgoing { is_flushed: true, ..Outgoing::default() },
            behind: BytesMut::new(),
            is_last: false,
        }
    }

    /// Reads into `buf` what hyper is to see. Answers that are due before it are written first.
    pub(super) fn poll_read<T: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        io: &mut T,
        admission: &mut Admission,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_finish(io, cx))?;
            if self.is_last {
                return Poll::Ready(Ok(())); // the end, for hyper to close the connection
            }
            if !self.is_open(admission) {
                let mut rest = Rest { behind: &mut self.behind, io };
                return admission.poll_read(Pin::new(&mut rest), cx, buf);
            }
            let before = buf.filled().len();
            ready!(Pin::new(&mut Rest { behind: &mut self.behind, io }).poll_read(cx, buf))?;
            let new = &buf.filled()[before..];
            if new.is_empty() {
                return Poll::Ready(Ok(())); // the end, for hyper to see
            }
            let (answered, is_repeated) = self.answer(new);
            if answered > 0 {
                // What is behind waits its turn: it must not be answered before what is in front of it is written.
                self.behind.extend_from_slice(&new[answered..]);
                buf.set_filled(before);
                continue;
            }
            let alone: Option<Box<[u8]>> = (is_repeated && head_len(new) == Some(new.len())).then(|| new.into());
            // What was to be learnt before and was not is none of the next request's.
            self.unlearn();
            if admission.take(before, buf) {
                self.learn(alone.filter(|head| buf.filled()[before..] == **head));
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Has the answer to `head`, which is all that hyper is given now, remembered.
    fn learn(&mut self, head: Option<Box<[u8]>>) {
        if head.is_some() {
            self.recognised.want(&self.connection.learning);
        }
        self.asked = head;
    }

    fn unlearn(&mut self) {
        if self.asked.take().is_some() {
            drop(self.connection.learning.take());
        }
    }

    /// Writes all answers that are on their way.
    pub(super) fn poll_finish<T: AsyncWrite + Unpin>(&mut self, io: &mut T, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.outgoing.remaining() > 0 {
            match self.outgoing.poll_write(io, cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(written) => self.activity.note_written(written?),
                Poll::Pending => return self.blocked(),
            }
        }
        if self.outgoing.is_flushed {
            return Poll::Ready(Ok(()));
        }
        if Pin::new(io).poll_flush(cx)?.is_pending() {
            return self.blocked();
        }
        self.outgoing.clear();
        self.activity.note_flushed();
        Poll::Ready(Ok(()))
    }

    fn blocked(&self) -> Poll<io::Result<()>> {
        self.activity.note_blocked();
        Poll::Pending
    }

    /// hyper is about to write `bufs`. If that begins with the head that was prepared for the request it was given alone, the answer is
    /// remembered.
    pub(super) fn note_writing(&mut self, bufs: &[IoSlice<'_>]) {
        let Some(asked) = self.asked.take() else { return };
        let Some(lesson) = self.connection.learning.take() else { return };
        // Nothing was half written when hyper got the request: the first buffer is the head, and no placeholder.
        if bufs.first().is_some_and(|first| first.starts_with(&lesson.head)) {
            self.recognised.remember(&self.scope, asked, lesson.prepared);
        }
    }

    /// Whether hyper has nothing to do, and nothing half read or half written.
    fn is_open(&self, admission: &Admission) -> bool {
        admission.heads_passed().is_some_and(|heads| self.activity.is_quiet(heads))
    }

    /// Answers the recognised heads that `bytes` begin with. Says how long they are together, and whether the next one is worth being
    /// remembered.
    fn answer(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut answered = 0;
        while self.outgoing.takes_more() && !self.is_last {
            match self.answer_first(&bytes[answered..]) {
                First::Answered(len) => {
                    self.activity.note_answered(len);
                    answered += len;
                }
                First::Repeated => return (answered, true),
                First::Unknown => return (answered, false),
            }
        }
        (answered, false)
    }

    fn answer_first(&mut self, bytes: &[u8]) -> First {
        if !self.last.as_ref().is_some_and(|(head, _)| bytes.starts_with(head)) {
            let Some(len) = head_len(bytes) else { return First::Unknown };
            let head = &bytes[..len];
            match self.recognised.find(&self.scope, head) {
                Recognition::Known(prepared) => {
                    self.last = Some((head.into(), Again::new(prepared, self.connection.peer.ip())));
                }
                Recognition::Repeated => return First::Repeated,
                Recognition::New => return First::Unknown,
            }
        }
        let Some((head, again)) = &mut self.last else { return First::Unknown };
        match self.recognised.give(again, SystemTime::now(), &mut self.outgoing.bytes) {
            Some(content) => {
                self.outgoing.add(content);
                self.is_last = again.behind() == Behind::End;
                First::Answered(head.len())
            }
            // What it rested on has changed: the whole way, and remembered anew.
            None => {
                self.last = None;
                First::Repeated
            }
        }
    }
}

/// What became of the first of some bytes.
enum First {
    Answered(usize),
    /// A head that came lately, and whose answer is not known.
    Repeated,
    /// New, or no whole head.
    Unknown,
}

/// The length of the head that `bytes` begin with, if it is whole and ordinary: no other head is looked up. Empty lines in front of a request are
/// none of its head (RFC 9112 §2.2), and two of them look like the end of one.
fn head_len(bytes: &[u8]) -> Option<usize> {
    bytes.first().filter(|first| first.is_ascii_graphic())?;
    let mut at = 0;
    loop {
        at += bytes[at..].iter().position(|&byte| byte == b'\n')? + 1;
        if bytes[..at].ends_with(HEAD_END) {
            return Some(at);
        }
    }
}

impl Outgoing {
    fn remaining(&self) -> usize {
        self.bytes.len() - self.sent + self.content.len()
    }

    /// Whether another answer may be put behind those that are there.
    fn takes_more(&self) -> bool {
        self.content.is_empty() && self.bytes.len() < GATHERED_MAX
    }

    /// Adds the content of the answer whose head is the last of `bytes`.
    fn add(&mut self, content: Bytes) {
        self.is_flushed = false;
        if content.len() <= COPIED_MAX {
            self.bytes.extend_from_slice(&content);
        } else {
            self.content = content;
        }
    }

    fn poll_write<T: AsyncWrite + Unpin>(&mut self, io: &mut T, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let heads = &self.bytes[self.sent..];
        let written = match (heads, &*self.content) {
            (heads, []) => Pin::new(io).poll_write(cx, heads),
            ([], content) => Pin::new(io).poll_write(cx, content),
            (heads, content) => Pin::new(io).poll_write_vectored(cx, &[IoSlice::new(heads), IoSlice::new(content)]),
        };
        let count = ready!(written)?;
        let of_heads = count.min(heads.len());
        self.sent += of_heads;
        self.content.advance(count - of_heads);
        Poll::Ready(Ok(count))
    }

    /// All of it has left.
    fn clear(&mut self) {
        (self.sent, self.content, self.is_flushed) = (0, Bytes::new(), true);
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_MAX);
    }
}

/// What was read before and waits, then what is still to come.
struct Rest<'a, T> {
    behind: &'a mut BytesMut,
    io: &'a mut T,
}

impl<T: AsyncRead + Unpin> AsyncRead for Rest<'_, T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.behind.is_empty() {
            return Pin::new(&mut *this.io).poll_read(cx, buf);
        }
        let count = this.behind.len().min(buf.remaining());
        buf.put_slice(&this.behind[..count]);
        this.behind.advance(count);
        if this.behind.is_empty() {
            *this.behind = BytesMut::new(); // a long-lived connection does not keep the room
        }
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for Shortcut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shortcut").field("connection", &self.connection).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_whole_and_begins_with_its_request_line() {
        assert_eq!(head_len(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET"), Some(27));
        for none in [
            &b""[..],
            b"GET / HTTP/1.1\r\nHost: a\r\n",
            b"\r\n\r\n",
            b"\n\r\n\r\n",
            b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b" \r\n\r\n",
        ] {
            assert_eq!(head_len(none), None, "{}", none.escape_ascii());
        }
    }
}
