//! Interim responses (1xx) on their way to an HTTP/1.1 client (RFC 9110 §15.2).
//!
//! The HTTP library sends only final ones. So they are written beside it: queued here as bytes, and put on the connection by whoever owns
//! its stream, at a moment when the library has nothing half written. The final response waits until the queue is empty. HTTP/2 clients
//! get none: nothing but the library can write a head there, and it offers no way.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, BufMut, BytesMut};
use http::{HeaderMap, StatusCode, Version, header::CONTENT_LENGTH};
use tokio::io::AsyncWrite;

use crate::{
    semantics::fields,
    upstream::{Hear, Interim},
};

/// The interim responses of one client connection. Of one exchange at a time, as HTTP/1.1 has it.
#[derive(Debug, Default)]
pub struct Interims {
    /// Our name in `Via`.
    node: OnceLock<Arc<str>>,
    /// Somebody writes what is queued. Without, nothing is queued.
    is_attached: AtomicBool,
    /// An exchange waits for its final response.
    is_open: AtomicBool,
    /// Counts the exchanges: what comes under an older number comes too late.
    exchange: AtomicU64,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: BytesMut,
    /// Of the task that writes the connection.
    writer: Option<Waker>,
    /// Of the exchange whose final response is ready.
    closing: Option<Waker>,
}

impl Interims {
    /// Whoever writes the connection's bytes promises to call [`Interims::poll_write`] whenever it is woken.
    pub fn attach(&self) {
        self.is_attached.store(true, Ordering::Release);
    }

    /// A request of this `version` begins. Its interim responses are handed on until [`Interims::close`]; HTTP/1.0 knows none.
    pub(super) fn open(self: &Arc<Self>, version: Version, node: &Arc<str>) -> Interim {
        if version != Version::HTTP_11 || !self.is_attached.load(Ordering::Acquire) {
            return Interim::default();
        }
        self.node.get_or_init(|| node.clone());
        self.is_open.store(true, Ordering::Release);
        Interim::to(self.clone(), self.exchange.load(Ordering::Acquire))
    }

    /// The final response is ready, and nothing may precede it any more. Resolves when all that was queued is written; how long that
    /// may take is for whoever is patient with the client to say.
    pub(super) async fn close(&self) {
        if !self.is_open.load(Ordering::Acquire) {
            return;
        }
        self.exchange.fetch_add(1, Ordering::AcqRel);
        poll_fn(|cx| {
            let mut queue = self.queue();
            if queue.bytes.is_empty() {
                return Poll::Ready(());
            }
            queue.closing = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
        self.is_open.store(false, Ordering::Release);
    }

    /// Writes what is queued, and says how many bytes that was. To be called when nothing else is half written on `io`.
    pub fn poll_write<W: AsyncWrite + Unpin>(&self, io: &mut W, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if !self.is_open.load(Ordering::Acquire) {
            return Poll::Ready(Ok(0));
        }
        let mut written = 0;
        let mut queue = self.queue();
        while !queue.bytes.is_empty() {
            let count = ready!(Pin::new(&mut *io).poll_write(cx, &queue.bytes))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            queue.bytes.advance(count);
            written += count;
        }
        if !queue.writer.as_ref().is_some_and(|writer| writer.will_wake(cx.waker())) {
            queue.writer = Some(cx.waker().clone());
        }
        if let Some(closing) = queue.closing.take() {
            closing.wake();
        }
        Poll::Ready(Ok(written))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hear for Interims {
    fn hear(&self, exchange: u64, status: StatusCode, fields: &HeaderMap) {
        let mut fields = fields.clone();
        fields::remove_hop_by_hop(&mut fields);
        // RFC 9110 §8.6: nothing without content says its length.
        fields.remove(CONTENT_LENGTH);
        if let Some(node) = self.node.get() {
            fields::append_via(&mut fields, Version::HTTP_11, node);
        }
        let head = head(status, &fields);
        let mut queue = self.queue();
        // Looked at under the lock: once `close` has seen an empty queue, nothing is added.
        let is_late = exchange != self.exchange.load(Ordering::Acquire);
        if is_late || queue.bytes.len() + head.len() > QUEUED_MAX {
            return;
        }
        queue.bytes.extend_from_slice(&head);
        if let Some(writer) = queue.writer.take() {
            writer.wake();
        }
    }
}

/// A head as bytes, names in title case: their spelling is not known here.
fn head(status: StatusCode, fields: &HeaderMap) -> BytesMut {
    let mut head = BytesMut::with_capacity(256);
    head.put_slice(b"HTTP/1.1 ");
    head.put_slice(status.as_str().as_bytes());
    head.put_u8(b' ');
    head.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    head.put_slice(b"\r\n");
    for (name, value) in fields {
        let mut is_first = true;
        for byte in name.as_str().bytes() {
            head.put_u8(if is_first { byte.to_ascii_uppercase() } else { byte });
            is_first = byte == b'-';
        }
        head.put_slice(b": ");
        head.put_slice(value.as_bytes());
        head.put_slice(b"\r\n");
    }
    head.put_slice(b"\r\n");
    head
}

/// Bytes that wait for a client that reads slowly. What comes beyond is left out: a client may miss hints, never the answer.
const QUEUED_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use tokio::io::{AsyncReadExt, DuplexStream};

    use super::*;

    fn link(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([
            (http::header::LINK, HeaderValue::from_static(value)),
            (http::header::CONNECTION, HeaderValue::from_static("x")),
        ])
    }

    async fn write(interims: &Interims, io: &mut DuplexStream) -> usize {
        poll_fn(|cx| interims.poll_write(io, cx)).await.unwrap()
    }

    #[tokio::test]
    async fn what_is_heard_is_written_before_the_final_response_goes() {
        let (mut ours, mut theirs) = tokio::io::duplex(1 << 10);
        let interims = Arc::new(Interims::default());
        interims.attach();
        let _interim = interims.open(Version::HTTP_11, &"weir-1".into());
        assert_eq!(write(&interims, &mut ours).await, 0);
        interims.hear(0, StatusCode::EARLY_HINTS, &link("</a>"));
        let closing = interims.close();
        let writing = async { write(&interims, &mut ours).await };
        let ((), written) = tokio::join!(closing, writing);
        let mut got = vec![0; written];
        theirs.read_exact(&mut got).await.unwrap();
        assert_eq!(String::from_utf8(got).unwrap(), "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nVia: 1.1 weir-1\r\n\r\n");
    }

    #[tokio::test]
    async fn nothing_of_an_exchange_that_is_over_reaches_the_next() {
        let (mut ours, _theirs) = tokio::io::duplex(1 << 10);
        let interims = Arc::new(Interims::default());
        interims.attach();
        let _first = interims.open(Version::HTTP_11, &"weir-1".into());
        interims.close().await;
        let _second = interims.open(Version::HTTP_11, &"weir-1".into());
        interims.hear(0, StatusCode::PROCESSING, &HeaderMap::new());
        assert_eq!(write(&interims, &mut ours).await, 0);
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_misses_hints_and_holds_no_more_than_the_bound() {
        let interims = Arc::new(Interims::default());
        interims.attach();
        let _interim = interims.open(Version::HTTP_11, &"weir-1".into());
        for _ in 0..100_000 {
            interims.hear(0, StatusCode::PROCESSING, &HeaderMap::new());
        }
        assert!(interims.queue().bytes.len() <= QUEUED_MAX);
    }
}
