//! How fast clients are served: a rate for each connection, and rates that groups of clients share. Off unless configured.
//!
//! A connection's own rate is the kernel's work: TCP spaces its packets (`SO_MAX_PACING_RATE`, set at the listening socket), and nothing is copied
//! or timed here. What a group shares is taken from its [`Rate`] as connections write, in front of what sends stored bytes, so that a
//! segment is cut to what may go now. Stands over TLS: what counts is what clients are given. Never slows down what clients send.

use std::{
    future::Future,
    io::{self, IoSlice},
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use ipnet::IpNet;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use crate::rate::Rate;

/// Clients that share a rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub networks: Vec<IpNet>,
    pub bytes_per_second: u64,
}

/// The rates of all groups.
#[derive(Debug, Default)]
pub(super) struct Shaping(Vec<(Vec<IpNet>, Arc<Rate>)>);

impl Shaping {
    pub(super) fn new(groups: &[Group]) -> Self {
        Self(groups.iter().map(|group| (group.networks.clone(), Arc::new(Rate::new(group.bytes_per_second)))).collect())
    }

    /// What `client` has its part of: the rate of the first group that it is in.
    pub(super) fn rate_of(&self, client: IpAddr) -> Option<Arc<Rate>> {
        let mut groups = self.0.iter();
        groups.find(|(networks, _)| networks.iter().any(|network| network.contains(&client))).map(|(_, rate)| rate.clone())
    }
}

/// A connection that writes no faster than the rate it has a part of. What it reads passes as it comes.
#[derive(Debug)]
pub(super) struct Shaped<T> {
    io: T,
    rate: Option<Arc<Rate>>,
    /// Set while the rate is in debt.
    pause: Option<Pin<Box<Sleep>>>,
}

impl<T> Shaped<T> {
    pub(super) fn new(io: T, rate: Option<Arc<Rate>>) -> Self {
        Self { io, rate, pause: None }
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        Poll::Ready(())
    }
}

impl<T: AsyncWrite + Unpin> Shaped<T> {
    fn poll_portion(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>], rate: &Rate) -> Poll<io::Result<usize>> {
        ready!(self.poll_turn(cx));
        let mut portion = [IoSlice::new(&[]); PARTS_MAX];
        let parts = cut(bufs, rate.portion(), &mut portion);
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, &portion[..parts]))?;
        self.pause = rate.take(written).map(|pause| Box::pin(sleep(pause)));
        Poll::Ready(Ok(written))
    }
}

/// Puts the first `len` bytes of `bufs` into `portion`, as far as it has places; says how many it took.
fn cut<'a>(bufs: &'a [IoSlice<'_>], mut len: usize, portion: &mut [IoSlice<'a>]) -> usize {
    let mut parts = 0;
    for (place, buf) in portion.iter_mut().zip(bufs) {
        if len == 0 {
            break;
        }
        // No byte is looked at: it may be a placeholder.
        *place = IoSlice::new(&buf[..buf.len().min(len)]);
        len -= place.len();
        parts += 1;
    }
    parts
}

impl<T: AsyncRead + Unpin> AsyncRead for Shaped<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Shaped<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match this.rate.clone() {
            None => Pin::new(&mut this.io).poll_write(cx, buf),
            Some(rate) => this.poll_portion(cx, &[IoSlice::new(buf)], &rate),
        }
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match this.rate.clone() {
            None => Pin::new(&mut this.io).poll_write_vectored(cx, bufs),
            Some(rate) => this.poll_portion(cx, bufs, &rate),
        }
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

/// Parts written at a time; more wait for the next.
const PARTS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        time::Instant,
    };

    use super::*;

    /// A client that has taken whatever was written until `until`: how many bytes that is.
    async fn taken(mut client: DuplexStream, until: Instant) -> u64 {
        let (mut bytes, mut room) = (0, vec![0; 64 << 10]);
        while let Ok(Ok(read)) = tokio::time::timeout_at(until, client.read(&mut room)).await {
            bytes += read as u64;
        }
        bytes
    }

    fn writes_for_ever(rate: Option<Arc<Rate>>) -> DuplexStream {
        let (ours, theirs) = duplex(1 << 20);
        let mut shaped = Shaped::new(ours, rate);
        tokio::spawn(async move { while shaped.write_all(&[7; 50_000]).await.is_ok() {} });
        theirs
    }

    #[tokio::test(start_paused = true)]
    async fn the_clients_of_a_group_together_get_no_more_than_its_rate() {
        let group = Group { networks: vec!["10.1.0.0/16".parse().unwrap()], bytes_per_second: 1_000_000 };
        let shaping = Shaping::new(&[group]);
        let until = Instant::now() + Duration::from_secs(10);
        let client = |last| {
            let rate = shaping.rate_of(IpAddr::from([10, 1, 0, last]));
            assert!(rate.is_some());
            tokio::spawn(taken(writes_for_ever(rate), until))
        };
        let (first, second) = (client(1), client(2));
        let (first, second) = (first.await.unwrap(), second.await.unwrap());
        // The rate, what was saved before, and what each borrowed last.
        assert!((10_000_000..=10_130_000).contains(&(first + second)), "{first} and {second} bytes in 10 s");
        assert!(first.abs_diff(second) < 500_000, "each has its part: {first} and {second}");
    }

    #[test]
    fn who_is_in_no_group_has_no_rate_and_the_first_group_counts() {
        let group = |network: &str, bytes_per_second| Group { networks: vec![network.parse().unwrap()], bytes_per_second };
        let shaping = Shaping::new(&[group("10.1.0.0/16", 1_000), group("10.0.0.0/8", 1_000_000_000)]);
        let portion = |address: [u8; 4]| shaping.rate_of(IpAddr::from(address)).map(|rate| rate.portion());
        assert_eq!(portion([10, 1, 2, 3]), Some(3_000));
        assert!(portion([10, 2, 2, 3]) > Some(3_000));
        assert_eq!(portion([192, 168, 2, 3]), None);
    }

    #[test]
    fn a_portion_is_cut_between_and_within_parts_in_order() {
        let bufs = [IoSlice::new(b"head"), IoSlice::new(b""), IoSlice::new(b"content")];
        let text = |len, places| {
            let mut portion = [IoSlice::new(&[]); 3];
            let parts = cut(&bufs, len, &mut portion[..places]);
            portion[..parts].iter().flat_map(|part| part.to_vec()).collect::<Vec<u8>>()
        };
        assert_eq!(text(3, 3), b"hea");
        assert_eq!(text(4, 3), b"head");
        assert_eq!(text(6, 3), b"headco");
        assert_eq!(text(100, 3), b"headcontent");
        assert_eq!(text(100, 1), b"head", "as many parts as there are places");
    }
}
