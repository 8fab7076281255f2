//! A network made of scripts: names, in-memory servers and faults on the way to them. Deterministic under a paused clock.

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    net::TcpStream,
    time::Sleep,
};

use crate::upstream::dial::{Boxed, Connected, Dial, Stream};

/// What happens to one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection is made and works.
    None,
    /// The connection is refused.
    Refuse,
    /// Nothing ever answers the attempt to connect.
    Hang,
    /// An error after so many bytes were read.
    ResetAfter(u64),
    /// A clean end after so many bytes were read.
    EndAfter(u64),
    /// Silence after so many bytes were read.
    StallAfter(u64),
    /// No more than `bytes` are read per `every`.
    Slow { bytes: usize, every: Duration },
}

/// A simulated network. Clones share it.
#[derive(Clone, Default)]
pub struct Faults {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    names: HashMap<Box<str>, Vec<IpAddr>>,
    places: HashMap<SocketAddr, Place>,
}

#[derive(Default)]
struct Place {
    server: Option<Server>,
    /// For the next connections, one each.
    script: VecDeque<Fault>,
    /// For those after them.
    always: Option<Fault>,
    attempts: usize,
}

#[derive(Clone)]
enum Server {
    Memory(Arc<dyn Fn(DuplexStream) + Send + Sync>),
    Loopback(SocketAddr),
}

impl Faults {
    pub fn new() -> Self {
        Self::default()
    }

    /// `host` resolves to `addresses` from now on; to none: the name does not exist.
    pub fn name(&self, host: &str, addresses: &[IpAddr]) {
        self.state().names.insert(host.into(), addresses.to_vec());
    }

    /// Connections to `at` are handed to `server`, which must not block: it spawns what it does with them.
    pub fn serve(&self, at: SocketAddr, server: impl Fn(DuplexStream) + Send + Sync + 'static) {
        self.state().places.entry(at).or_default().server = Some(Server::Memory(Arc::new(server)));
    }

    /// Connections to `at` go to a real listener.
    pub fn route(&self, at: SocketAddr, to: SocketAddr) {
        self.state().places.entry(at).or_default().server = Some(Server::Loopback(to));
    }

    /// What happens to the next connections to `at`, in this order.
    pub fn script(&self, at: SocketAddr, faults: impl IntoIterator<Item = Fault>) {
        self.state().places.entry(at).or_default().script.extend(faults);
    }

    /// What happens to every connection to `at` that the script says nothing about.
    pub fn always(&self, at: SocketAddr, fault: Fault) {
        self.state().places.entry(at).or_default().always = Some(fault);
    }

    /// How often somebody tried to connect to `at`.
    pub fn attempts(&self, at: SocketAddr) -> usize {
        self.state().places.get(&at).map_or(0, |place| place.attempts)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an attempt and says what comes of it.
    fn attempt(&self, at: SocketAddr) -> (Fault, Option<Server>) {
        let mut state = self.state();
        let place = state.places.entry(at).or_default();
        place.attempts += 1;
        let fault = place.script.pop_front().or(place.always).unwrap_or(Fault::None);
        (fault, place.server.clone())
    }
}

impl Dial for Faults {
    fn resolve<'a>(&'a self, host: &'a str) -> Boxed<'a, io::Result<Vec<IpAddr>>> {
        let found = self.state().names.get(host).cloned().unwrap_or_default();
        Box::pin(async move { if found.is_empty() { Err(io::Error::other("no such name")) } else { Ok(found) } })
    }

    fn connect(&self, address: SocketAddr) -> Boxed<'_, io::Result<Connected>> {
        let (fault, server) = self.attempt(address);
        Box::pin(async move {
            match (fault, server) {
                (Fault::Hang, _) => std::future::pending().await,
                (Fault::Refuse, _) | (_, None) => Err(io::ErrorKind::ConnectionRefused.into()),
                (fault, Some(Server::Loopback(to))) => Ok(connected(TcpStream::connect(to).await?, fault)),
                (fault, Some(Server::Memory(serve))) => {
                    let (ours, theirs) = tokio::io::duplex(WINDOW);
                    serve(theirs);
                    Ok(connected(ours, fault))
                }
            }
        })
    }
}

fn connected(inner: impl Stream + 'static, fault: Fault) -> Connected {
    let ended = Arc::new(AtomicBool::new(false));
    let stream = Faulty { inner, fault, read_bytes: 0, allowance: 0, pause: None, ended: ended.clone() };
    Connected { stream: Box::new(stream), quiet: Box::new(move || !ended.load(Ordering::Acquire)) }
}

/// A stream with a fault. After an end or an error was seen it is not quiet any more.
struct Faulty<S> {
    inner: S,
    fault: Fault,
    read_bytes: u64,
    /// Bytes that may still be read before the next pause ([`Fault::Slow`]).
    allowance: usize,
    pause: Option<Pin<Box<Sleep>>>,
    ended: Arc<AtomicBool>,
}

impl<S: Stream> Faulty<S> {
    /// How many bytes the fault lets through now.
    fn poll_allowance(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let left = |after: u64| usize::try_from(after.saturating_sub(self.read_bytes)).unwrap_or(usize::MAX);
        match self.fault {
            Fault::None | Fault::Refuse | Fault::Hang => Poll::Ready(Ok(usize::MAX)),
            Fault::ResetAfter(after) if left(after) == 0 => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            // Nobody wakes this: the peer has fallen silent.
            Fault::StallAfter(after) if left(after) == 0 => Poll::Pending,
            Fault::ResetAfter(after) | Fault::StallAfter(after) | Fault::EndAfter(after) => Poll::Ready(Ok(left(after))),
            Fault::Slow { bytes, every } => {
                if self.allowance == 0 {
                    let pause = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(every)));
                    ready!(pause.as_mut().poll(cx));
                    self.pause = None;
                    self.allowance = bytes;
                }
                Poll::Ready(Ok(self.allowance))
            }
        }
    }
}

impl<S: Stream> AsyncRead for Faulty<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let allowed = ready!(self.poll_allowance(cx))?.min(buf.remaining());
        let mut part = vec![0; allowed.min(WINDOW)];
        let mut read = ReadBuf::new(&mut part);
        if allowed > 0 {
            ready!(Pin::new(&mut self.inner).poll_read(cx, &mut read))?;
        }
        let count = read.filled().len();
        buf.put_slice(read.filled());
        self.read_bytes += count as u64;
        self.allowance = self.allowance.saturating_sub(count);
        if count == 0 {
            self.ended.store(true, Ordering::Release);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> AsyncWrite for Faulty<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// What one direction of an in-memory connection buffers.
const WINDOW: usize = 64 * 1024;
