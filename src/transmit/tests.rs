//! Whatever the strategy, clients get the same bytes; whatever goes wrong above the sender, they get no others.

use std::{
    convert::Infallible,
    fs,
    io::{self, Write as _},
    net::SocketAddr,
    ops::Range,
    os::unix::fs::FileExt,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};

use crate::{
    sys::{map::Map, send::Sendable},
    transmit::{Config, Delivery, Lane, Part, Parts, SEGMENT_MAX, Segment, Strategy, lane},
};

const LEN: usize = 5 * SEGMENT_MAX + 12_345;

/// Responses of the test that runs always; `WEIR_SOAK` asks for more, as `WEIR_SOAK=1000000 cargo test --release transmit`.
const RESPONSES: u64 = 400;
const TOLD_EACH: u64 = 10_000;
/// Clients at a time, of which most wait for their sockets.
const CLIENTS: u64 = 32;

#[derive(Debug)]
struct Stored {
    file: fs::File,
    map: OnceLock<Option<Map>>,
}

impl Sendable for Stored {
    fn file(&self) -> &fs::File {
        &self.file
    }

    fn map(&self) -> Option<&Map> {
        self.map.get_or_init(|| Map::of(&self.file, LEN as u64).ok()).as_ref()
    }
}

/// Bytes that say where they are: a swapped or shifted piece is noticed.
fn content() -> Vec<u8> {
    let words = (0..LEN as u64 / 8 + 1).flat_map(|word| word.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    words.take(LEN).collect()
}

fn stored(name: &str) -> Arc<Stored> {
    let path = std::env::temp_dir().join(format!("weir-transmit-{name}-{}", std::process::id()));
    let file = fs::File::options().create(true).truncate(true).read(true).write(true).open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    (&file).write_all(&content()).unwrap();
    Arc::new(Stored { file, map: OnceLock::new() })
}

/// A range of the file in pieces of random lengths, as segments and as bytes by turns.
struct Cut {
    stored: Arc<Stored>,
    rest: Range<usize>,
    /// Told beforehand; otherwise the body is chunked.
    has_length: bool,
    random: StdRng,
    segments: Arc<AtomicU64>,
}

impl Cut {
    fn piece(&mut self, delivery: Delivery) -> Part {
        let longest = if self.random.random_bool(0.3) { SEGMENT_MAX } else { 40_000 };
        let len = self.random.random_range(1..=longest).min(self.rest.len());
        let offset = self.rest.start as u64;
        self.rest.start += len;
        if delivery != Delivery::Bytes && self.random.random_bool(0.8) {
            self.segments.fetch_add(1, Relaxed);
            return Part::Segment(Segment { file: self.stored.clone(), offset, len, of: len as u64 });
        }
        let mut bytes = vec![0; len];
        self.stored.file.read_exact_at(&mut bytes, offset).unwrap();
        Part::Frame(Frame::data(bytes.into()))
    }
}

impl Parts for Cut {
    fn poll_part(self: Pin<&mut Self>, cx: &mut Context<'_>, delivery: Delivery) -> Poll<Option<Result<Part, io::Error>>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            return Poll::Ready(None);
        }
        if this.random.random_bool(0.2) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok(this.piece(delivery))))
    }
}

impl Body for Cut {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.poll_part(cx, Delivery::Bytes).map_ok(Part::into_frame)
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if self.has_length { SizeHint::with_exact(self.rest.len() as u64) } else { SizeHint::new() }
    }
}

/// A server that answers `/seed/start/end/{length|chunked}`.
async fn serve(stored: Arc<Stored>, strategy: Strategy, segments: Arc<AtomicU64>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut random = StdRng::seed_from_u64(rand::random());
        while let Ok((client, _)) = listener.accept().await {
            // A small one is full again and again in the middle of a segment.
            let send_buffer = [16 << 10, 128 << 10, 1 << 20].choose(&mut random).copied().unwrap();
            SockRef::from(&client).set_send_buffer_size(send_buffer).unwrap();
            let sendfile_max = [1, 20_000, 256 << 10].choose(&mut random).copied().unwrap();
            let (io, lane) = lane(client, &Config { strategy, sendfile_max, ..Config::default() });
            let buffered_max = [8 << 10, (64 << 10) + 1, 408 << 10].choose(&mut random).copied().unwrap();
            let (stored, segments) = (stored.clone(), segments.clone());
            let service = service_fn(move |request: Request<Incoming>| {
                let body = cut(&stored, &segments, request.uri().path());
                let response = Response::new(lane.body(body));
                async move { Ok::<_, Infallible>(response) }
            });
            // Clients that go away in the middle are meant to.
            tokio::spawn(async move {
                _ = http1::Builder::new().max_buf_size(buffered_max).serve_connection(TokioIo::new(io), service).await;
            });
        }
    });
    address
}

fn cut(stored: &Arc<Stored>, segments: &Arc<AtomicU64>, path: &str) -> Cut {
    let words: Vec<&str> = path.split('/').skip(1).collect();
    let number = |word: &str| word.parse::<usize>().unwrap();
    Cut {
        stored: stored.clone(),
        rest: number(words[1])..number(words[2]),
        has_length: words[3] == "length",
        random: StdRng::seed_from_u64(number(words[0]) as u64),
        segments: segments.clone(),
    }
}

/// One client: some pipelined requests on one connection, read fast, slowly, or not to the end. How many responses it read whole.
async fn client(address: SocketAddr, seed: u64, expected: &[u8]) -> u64 {
    let mut random = StdRng::seed_from_u64(seed);
    let socket = TcpSocket::new_v4().unwrap();
    if random.random_bool(0.3) {
        socket.set_recv_buffer_size(random.random_range(16 << 10..=512 << 10)).unwrap();
    }
    let mut connection = BufReader::new(socket.connect(address).await.unwrap());
    let wanted: Vec<(Range<usize>, bool)> = (0..random.random_range(1..=6)).map(|_| wanted(&mut random)).collect();
    let mut asked = String::new();
    for (range, has_length) in &wanted {
        let framing = if *has_length { "length" } else { "chunked" };
        asked += &format!(
            "GET /{}/{}/{}/{framing} HTTP/1.1\r\nHost: a\r\n\r\n",
            random.random_range(0..1_u64 << 40),
            range.start,
            range.end
        );
    }
    connection.write_all(asked.as_bytes()).await.unwrap();
    let aborts_after = random.random_bool(0.1).then(|| random.random_range(0..wanted.len()));
    let is_slow = random.random_bool(0.2);
    for (index, (range, has_length)) in wanted.iter().enumerate() {
        if aborts_after == Some(index) {
            _ = connection.read(&mut [0; 5000]).await;
            return index as u64;
        }
        if is_slow {
            // Long enough for the socket to be full.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        read(&mut connection, &expected[range.clone()], *has_length).await;
    }
    wanted.len() as u64
}

fn wanted(random: &mut StdRng) -> (Range<usize>, bool) {
    let start = random.random_range(0..LEN);
    let longest = if random.random_bool(0.1) { LEN - start } else { (LEN - start).min(100_000) };
    (start..start + random.random_range(0..=longest), random.random_bool(0.7))
}

/// Reads one response and compares it.
async fn read(connection: &mut BufReader<TcpStream>, expected: &[u8], has_length: bool) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let mut body = Vec::new();
    if has_length || expected.is_empty() {
        assert!(head.contains(&format!("content-length: {}\r\n", expected.len())), "{head}");
        body.resize(expected.len(), 0);
        connection.read_exact(&mut body).await.unwrap();
    } else {
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        while chunk(connection, &mut body).await {}
    }
    assert!(
        body == expected,
        "wrong bytes of {}, the first at {:?}",
        expected.len(),
        body.iter().zip(expected).position(|(a, b)| a != b)
    );
}

/// Whether there was a chunk.
async fn chunk(connection: &mut BufReader<TcpStream>, body: &mut Vec<u8>) -> bool {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(connection.read_u8().await.unwrap());
    }
    let len = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
    let start = body.len();
    body.resize(start + len + 2, 0);
    connection.read_exact(&mut body[start..]).await.unwrap();
    assert!(body.ends_with(b"\r\n"));
    body.truncate(start + len);
    len > 0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_strategy_sends_the_same_bytes_to_fast_slow_pipelining_and_vanishing_clients() {
    let responses = std::env::var("WEIR_SOAK").map_or(RESPONSES, |soak| soak.parse().expect("WEIR_SOAK is a number"));
    let expected = content();
    for strategy in Strategy::ALL {
        let segments = Arc::new(AtomicU64::new(0));
        let address = serve(stored(strategy.as_str()), strategy, segments.clone()).await;
        let (mut read, mut seed) = (0, rand::random::<u64>() >> 1);
        println!("{strategy:?}: seed {seed}");
        while read < responses {
            let clients = (0..CLIENTS).map(|each| client(address, seed + each, &expected));
            let patience = Duration::from_secs(60);
            let all = timeout(patience, futures_util::future::join_all(clients)).await.expect("no client waits forever");
            let before = read;
            read += all.iter().sum::<u64>();
            seed += CLIENTS;
            if before / TOLD_EACH < read / TOLD_EACH {
                println!("{strategy:?}: {read} responses");
            }
        }
        assert_eq!(segments.load(Relaxed) > 0, strategy != Strategy::Copy);
    }
}

async fn connected() -> Lane {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    lane(client, &Config { strategy: Strategy::Auto, ..Config::default() }).1
}

fn segment(stored: &Arc<Stored>, len: usize) -> Segment {
    Segment { file: stored.clone(), offset: 700, len, of: len as u64 }
}

#[tokio::test]
async fn a_slice_that_is_lost_repeated_reordered_or_of_another_connection_is_an_error() {
    let (stored, lane, other) = (stored("order"), connected().await, connected().await);
    let mut first = lane.place(lane.slot().unwrap(), segment(&stored, 1000));
    let second = lane.place(lane.slot().unwrap(), segment(&stored, 500));
    assert!(lane.standing(b"ordinary").unwrap().is_none());
    assert!(lane.standing(second.chunk()).is_err(), "reordered");
    assert!(other.standing(first.chunk()).is_err(), "of another connection");
    let standing = lane.standing(first.chunk()).unwrap().unwrap();
    assert_eq!((standing.segment.offset, standing.segment.len), (700, 1000));
    lane.sent(&standing, 400);
    assert!(lane.standing(first.chunk()).is_err(), "repeated");
    first.advance(401);
    assert!(lane.standing(first.chunk()).is_err(), "lost a byte");
    drop(first);
    assert!(lane.standing(second.chunk()).is_err(), "follows what was not sent whole");
}

#[tokio::test]
async fn a_segment_goes_on_where_the_socket_stopped_and_lets_its_file_go_at_its_end() {
    let (stored, lane) = (stored("progress"), connected().await);
    let mut placed = lane.place(lane.slot().unwrap(), segment(&stored, 1000));
    let standing = lane.standing(placed.chunk()).unwrap().unwrap();
    lane.sent(&standing, 300);
    placed.advance(300);
    drop(standing);
    let standing = lane.standing(placed.chunk()).unwrap().unwrap();
    assert_eq!((standing.segment.offset, standing.segment.len), (1000, 700));
    lane.sent(&standing, 700);
    placed.advance(700);
    drop((placed, standing));
    assert_eq!(Arc::strong_count(&stored), 1);
    let next = lane.place(lane.slot().unwrap(), segment(&stored, 10));
    assert!(lane.standing(next.chunk()).unwrap().is_some(), "nothing was lost before it");
}
