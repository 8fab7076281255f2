//! What HTTP/2 writes in one round, gathered into few large writes.
//!
//! h2 flushes after each DATA frame of some size. Under TLS that made two records and a system call of every 16 KiB: a frame is 9 bytes
//! longer than a record. Here the frames of one round gather, and leave when the connection has nothing more to do, or when there are many.

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The connection as h2 sees it: flushing does nothing yet.
#[derive(Debug)]
pub(super) struct Corked<T>(Arc<Mutex<Gathered<T>>>);

/// The other end, for whoever drives the connection.
#[derive(Debug)]
struct Cork<T>(Arc<Mutex<Gathered<T>>>);

/// Only ever locked by the connection's own task, and never across a wait.
#[derive(Debug)]
struct Gathered<T> {
    io: T,
    held: BytesMut,
}

/// What is gathered at most: what is read from the store at a time, with its head and frames; five TLS records.
const HELD_MAX: usize = 80 << 10;

/// Runs `connection` over `io`, whose writes gather while it is polled.
pub(super) fn gathering<T, C>(io: T, connection: impl FnOnce(Corked<T>) -> C) -> Gathering<T, C> {
    let gathered = Arc::new(Mutex::new(Gathered { io, held: BytesMut::new() }));
    let connection = connection(Corked(Arc::clone(&gathered)));
    Gathering { connection: Box::pin(connection), cork: Cork(gathered) }
}

/// A connection whose writes leave after each round of it.
#[derive(Debug)]
pub(super) struct Gathering<T, C> {
    connection: Pin<Box<C>>,
    cork: Cork<T>,
}

impl<T, C> Gathering<T, C> {
    pub(super) fn connection(&mut self) -> Pin<&mut C> {
        self.connection.as_mut()
    }
}

impl<T: AsyncWrite + Unpin, C: Future> Future for Gathering<T, C> {
    type Output = C::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let this = self.get_mut();
        let polled = this.connection.as_mut().poll(cx);
        // An error comes again with the next write; what cannot leave now wakes this task when it can.
        let flushed = lock(&this.cork.0).poll_flush(cx);
        if matches!(flushed, Poll::Ready(Ok(()))) && polled.is_pending() {
            lock(&this.cork.0).held = BytesMut::new(); // a long-lived connection does not keep the room
        }
        polled
    }
}

fn lock<T>(gathered: &Mutex<Gathered<T>>) -> MutexGuard<'_, Gathered<T>> {
    gathered.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: AsyncWrite + Unpin> Gathered<T> {
    /// Sends what is held.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, &self.held))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.held.advance(sent),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Room for more; waits for some to leave where there is none.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.held.len() >= HELD_MAX {
            ready!(self.poll_send(cx))?;
        }
        Poll::Ready(Ok(HELD_MAX - self.held.len()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Corked<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut lock(&self.0).io).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Corked<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut gathered = lock(&self.0);
        let room = ready!(gathered.poll_room(cx))?;
        let before = gathered.held.len();
        for buf in bufs {
            let left = room - (gathered.held.len() - before);
            gathered.held.extend_from_slice(&buf[..buf.len().min(left)]);
        }
        Poll::Ready(Ok(gathered.held.len() - before))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Later: [`Gathering`] flushes at the end of the round.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathered = lock(&self.0);
        ready!(gathered.poll_flush(cx))?;
        Pin::new(&mut gathered.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Counts the writes that reach it.
    #[derive(Debug, Default)]
    struct Wire {
        writes: Vec<usize>,
        takes: usize,
    }

    impl AsyncWrite for Wire {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            if self.takes == 0 {
                return Poll::Pending;
            }
            self.takes -= 1;
            self.writes.push(buf.len());
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn writes<C>(gathering: &Gathering<Wire, C>) -> Vec<usize> {
        lock(&gathering.cork.0).io.writes.clone()
    }

    #[tokio::test]
    async fn the_frames_of_a_round_leave_in_one_write() {
        let wire = Wire { takes: 9, ..Wire::default() };
        let mut gathering = gathering(wire, |mut io: Corked<Wire>| async move {
            for _ in 0..3 {
                io.write_all(&[0; 100]).await.unwrap();
                io.flush().await.unwrap();
            }
            std::future::pending::<()>().await;
        });
        assert!(futures_util::poll!(&mut gathering).is_pending());
        assert_eq!(writes(&gathering), [300]);
    }

    #[tokio::test]
    async fn many_frames_leave_as_they_fill_the_room_and_a_full_wire_holds_them_up() {
        let wire = Wire { takes: 2, ..Wire::default() };
        let mut gathering = gathering(wire, |mut io: Corked<Wire>| async move {
            for _ in 0..16 {
                io.write_all(&[0; 16 << 10]).await.unwrap();
            }
        });
        assert!(futures_util::poll!(&mut gathering).is_pending());
        assert_eq!(writes(&gathering), [HELD_MAX, HELD_MAX]);
        assert_eq!(lock(&gathering.cork.0).held.len(), HELD_MAX, "no more than that is held");
        lock(&gathering.cork.0).io.takes = 9;
        gathering.await;
    }

    #[tokio::test]
    async fn shutting_down_sends_what_is_held_before() {
        let (io, mut client) = tokio::io::duplex(64);
        let gathering = gathering(io, |mut io: Corked<_>| async move {
            io.write_all(b"goodbye").await.unwrap();
            io.shutdown().await.unwrap();
        });
        let mut heard = String::new();
        tokio::join!(gathering, async { client.read_to_string(&mut heard).await.unwrap() });
        assert_eq!(heard, "goodbye");
    }
}
