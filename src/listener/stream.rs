//! The bytes of a client connection on their way in and out.

use std::{
    future::Future,
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Sleep,
};

use crate::{
    listener::{activity::Activity, admission::Admission, frames::Frames, shortcut::Shortcut},
    proxy::interim::Interims,
    transmit::Wire,
};

/// What a client connection is made of.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Duplex for T {}

/// A connection whose first bytes are looked at before anybody knows what it speaks. They stay in front of the rest.
#[derive(Debug)]
pub(super) struct Prefixed<T> {
    prefix: BytesMut,
    io: T,
}

impl<T: Duplex> Prefixed<T> {
    pub(super) fn new(io: T) -> Self {
        Self { prefix: BytesMut::new(), io }
    }

    /// What was read so far and not taken.
    pub(super) fn peeked(&self) -> &[u8] {
        &self.prefix
    }

    /// Drops `count` peeked bytes: they are dealt with.
    pub(super) fn consume(&mut self, count: usize) {
        self.prefix.advance(count);
    }

    /// Reads some more bytes to peek at. The connection's end, and more than `max` bytes, are errors.
    pub(super) async fn peek_more(&mut self, max: usize) -> io::Result<()> {
        if self.prefix.len() >= max {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "too many bytes before the connection says what it is"));
        }
        self.prefix.reserve(PEEK);
        match self.io.read_buf(&mut self.prefix).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// Room for an ordinary request head or ClientHello.
const PEEK: usize = 2048;

impl<T: Wire> Wire for Prefixed<T> {
    fn socket(&self) -> Option<&TcpStream> {
        self.io.socket()
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Prefixed<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.prefix.is_empty() {
            return Pin::new(&mut this.io).poll_read(cx, buf);
        }
        let count = this.prefix.len().min(buf.remaining());
        buf.put_slice(&this.prefix[..count]);
        this.prefix.advance(count);
        if this.prefix.is_empty() {
            this.prefix = BytesMut::new(); // a long-lived connection does not keep the room
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Prefixed<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

/// A connection under hyper: notes what moves in the connection's [`Activity`]. Stands above TLS, where bytes are the client's own.
#[derive(Debug)]
pub(super) struct Stream<T> {
    io: T,
    activity: Arc<Activity>,
    guard: Guard,
    /// Answers some requests before the HTTP library hears of them.
    shortcut: Option<Box<Shortcut>>,
    /// Written between what the HTTP library writes; none where it must not be interrupted.
    interims: Option<Arc<Interims>>,
    lingering: Option<Lingering>,
}

/// What looks at the client's bytes before hyper does.
#[derive(Debug)]
pub(super) enum Guard {
    /// HTTP/1.
    Requests(Admission),
    /// HTTP/2.
    Frames(Frames),
}

/// Closing with bytes unread resets a connection, and the client may lose the answer it has not read yet. So what still comes is read
/// and thrown away for a while after our end is closed (RFC 9112 §9.6).
#[derive(Debug)]
struct Lingering {
    over: Pin<Box<Sleep>>,
    bytes_left: usize,
}

const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 4 << 20;

impl Lingering {
    fn new() -> Self {
        Self { over: Box::pin(tokio::time::sleep(LINGER)), bytes_left: LINGER_BYTES }
    }

    /// Resolves when the client has closed, or enough of it was read.
    fn poll_discard(&mut self, io: &mut (impl AsyncRead + Unpin), cx: &mut Context<'_>) -> Poll<()> {
        let mut waste = [MaybeUninit::uninit(); 4096];
        while self.bytes_left > 0 {
            let mut waste = ReadBuf::uninit(&mut waste);
            let read = match Pin::new(&mut *io).poll_read(cx, &mut waste) {
                Poll::Ready(Ok(())) => waste.filled().len(),
                Poll::Ready(Err(_)) => 0,
                Poll::Pending => return self.over.as_mut().poll(cx),
            };
            self.bytes_left = if read == 0 { 0 } else { self.bytes_left.saturating_sub(read) };
        }
        Poll::Ready(())
    }
}

impl<T> Stream<T> {
    pub(super) fn new(io: T, activity: Arc<Activity>, guard: Guard, interims: Option<Arc<Interims>>) -> Self {
        interims.iter().for_each(|interims| interims.attach());
        Self { io, activity, guard, shortcut: None, interims, lingering: None }
    }

    /// The same with a shortcut in front of the HTTP library, which speaks HTTP/1.
    pub(super) fn with(self, shortcut: Option<Shortcut>) -> Self {
        Self { shortcut: shortcut.map(Box::new), ..self }
    }

    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(Ok(bytes)) => self.activity.note_written(*bytes),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.activity.note_blocked(),
        }
        written
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream<T> {
    /// What the shortcut is still writing comes before anything else.
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shortcut.as_mut().map_or(Poll::Ready(Ok(())), |shortcut| shortcut.poll_finish(&mut self.io, cx))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let frames = match (&mut this.guard, &mut this.shortcut) {
            (Guard::Requests(admission), Some(shortcut)) => return shortcut.poll_read(&mut this.io, admission, cx, buf),
            (Guard::Requests(admission), None) => return admission.poll_read(Pin::new(&mut this.io), cx, buf),
            (Guard::Frames(frames), _) => frames,
        };
        if let Some(flood) = this.activity.flood() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, flood)));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        let new = &buf.filled()[before..];
        this.activity.note_read(new.len());
        // What is here already goes through: hyper may find the better end for it, and the next read is the last.
        if let Err(flood) = frames.check(new, this.activity.now(), this.activity.bytes().1) {
            this.activity.end_flood(flood);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_finish(cx))?;
        let written = Pin::new(&mut this.io).poll_write(cx, buf);
        this.note(written)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_finish(cx))?;
        if let Some(shortcut) = &mut this.shortcut {
            shortcut.note_writing(bufs);
        }
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_finish(cx))?;
        // HTTP/1.1 is flushed when all that the library has written so far is out: between two messages or two frames of one body.
        if let Some(interims) = &this.interims {
            let written = interims.poll_write(&mut this.io, cx);
            if !matches!(written, Poll::Ready(Ok(0))) {
                ready!(this.note(written))?;
            }
        }
        let flushed = Pin::new(&mut this.io).poll_flush(cx);
        match &flushed {
            Poll::Ready(_) => this.activity.note_flushed(),
            Poll::Pending => this.activity.note_blocked(),
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingering.is_none() {
            ready!(this.poll_finish(cx))?;
            let closed = Pin::new(&mut this.io).poll_shutdown(cx);
            if closed.is_pending() {
                this.activity.note_blocked();
            }
            ready!(closed)?;
            if !this.activity.leaves_unread() {
                return Poll::Ready(Ok(()));
            }
        }
        let lingering = this.lingering.get_or_insert_with(Lingering::new);
        lingering.poll_discard(&mut this.io, cx).map(Ok)
    }
}
