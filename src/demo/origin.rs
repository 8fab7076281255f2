//! The demonstration's origin: a small HTTP/1.1 server on loopback behind a line of a given speed. It counts what it sends; `weir serve` never runs it.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{
        ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE,
    },
};
use http_body::Frame;
use http_body_util::{Either, Empty, StreamBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, task::JoinSet, time::Instant};

use crate::{
    demo::{
        content::windows,
        shelf::{File, Shelf},
    },
    piece::ByteRange,
};

/// A running origin. Dropped, it stops listening and closes its connections.
pub(super) struct Origin {
    pub(super) address: SocketAddr,
    pub(super) shelf: Arc<Shelf>,
    _accepting: JoinSet<()>,
}

/// The line between the origin and weir, shared by all connections.
struct Line {
    /// `None`: as fast as the machine allows.
    bytes_per_second: Option<u64>,
    free_at: Mutex<Instant>,
}

/// What a request for a file comes to.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Whole,
    Part(ByteRange),
    NotModified,
    PreconditionFailed,
    Unsatisfiable,
}

impl Origin {
    /// Starts on a loopback port of the system's choice, in the current runtime.
    pub(super) async fn start(shelf: Shelf, bytes_per_second: Option<u64>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shelf = Arc::new(shelf);
        let line = Arc::new(Line { bytes_per_second, free_at: Mutex::new(Instant::now()) });
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, shelf.clone(), line));
        Ok(Self { address, shelf, _accepting: accepting })
    }
}

/// Bounded by what weir opens: nobody else knows the port.
async fn accept(listener: TcpListener, shelf: Arc<Shelf>, line: Arc<Line>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        while connections.try_join_next().is_some() {}
        let (shelf, line) = (shelf.clone(), line.clone());
        let service = service_fn(move |request| {
            let (shelf, line) = (shelf.clone(), line.clone());
            async move { Ok::<_, Infallible>(serve(&request, &shelf, line)) }
        });
        connections.spawn(async move {
            let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
            // A peer that leaves is the only error there can be, and none of the origin's business.
            let _ = connection.await;
        });
    }
}

type Content = Either<StreamBody<stream::BoxStream<'static, Result<Frame<Bytes>, Infallible>>>, Empty<Bytes>>;

fn serve(request: &Request<Incoming>, shelf: &Shelf, line: Arc<Line>) -> Response<Content> {
    let Some(file) = shelf.find(request.uri().path()) else { return bare(StatusCode::NOT_FOUND) };
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return bare(StatusCode::METHOD_NOT_ALLOWED);
    }
    let len = file.content.len();
    let (status, range) = match judge(file, request.headers()) {
        Verdict::Whole => (StatusCode::OK, ByteRange::new(0, len)),
        Verdict::Part(range) => (StatusCode::PARTIAL_CONTENT, Some(range)),
        Verdict::NotModified => (StatusCode::NOT_MODIFIED, None),
        Verdict::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, None),
        Verdict::Unsatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, None),
    };
    let mut response = bare(status);
    describe(response.headers_mut(), file, status, range);
    if let (Some(range), &Method::GET) = (range, request.method()) {
        *response.body_mut() = Either::Left(StreamBody::new(send(file.clone(), range, line)));
    }
    response
}

/// Preconditions in the order of RFC 9110 §13.2.2. Only what a cache sends is known here; more than one range is answered with the whole.
fn judge(file: &File, fields: &HeaderMap) -> Verdict {
    let lists_our_tag = |value: &HeaderValue| value == "*" || value.to_str().is_ok_and(|tags| tags.contains(&file.etag));
    if fields.get(IF_MATCH).is_some_and(|value| !lists_our_tag(value)) {
        return Verdict::PreconditionFailed;
    }
    if fields.get(IF_NONE_MATCH).is_some_and(lists_our_tag) {
        return Verdict::NotModified;
    }
    let range = fields.get(RANGE).and_then(|value| value.to_str().ok());
    let same = fields.get(IF_RANGE).is_none_or(|value| *value == file.etag || value == MODIFIED);
    let Some(parsed) = range.filter(|_| same).and_then(|text| http_range_header::parse_range_header(text).ok()) else {
        return Verdict::Whole;
    };
    match parsed.validate(file.content.len()).as_deref() {
        Ok([range]) => ByteRange::new(*range.start(), range.end() + 1).map_or(Verdict::Unsatisfiable, Verdict::Part),
        Ok(_) => Verdict::Whole,
        Err(_) => Verdict::Unsatisfiable,
    }
}

fn describe(fields: &mut HeaderMap, file: &File, status: StatusCode, range: Option<ByteRange>) {
    let text = |text: String| HeaderValue::try_from(text).expect("digits, hex and punctuation are valid in a field");
    let len = file.content.len();
    fields.insert(ETAG, text(file.etag.clone()));
    fields.insert(LAST_MODIFIED, HeaderValue::from_static(MODIFIED));
    fields.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    match range {
        Some(range) => {
            fields.insert(CONTENT_LENGTH, range.len().into());
            if status == StatusCode::PARTIAL_CONTENT {
                fields.insert(CONTENT_RANGE, text(format!("bytes {}-{}/{len}", range.start, range.end - 1)));
            }
        }
        None if status == StatusCode::RANGE_NOT_SATISFIABLE => {
            fields.insert(CONTENT_RANGE, text(format!("bytes */{len}")));
        }
        None => {}
    }
}

/// The bytes of `range`, window by window, at the speed of the line; each is counted when it leaves.
fn send(file: Arc<File>, range: ByteRange, line: Arc<Line>) -> stream::BoxStream<'static, Result<Frame<Bytes>, Infallible>> {
    Box::pin(stream::unfold((file, windows(range), line), |(file, mut windows, line)| async move {
        let window = windows.next()?;
        line.carry(window.len()).await;
        file.count_sent(window.len());
        Some((Ok(Frame::data(file.content.bytes(window))), (file, windows, line)))
    }))
}

impl Line {
    /// Returns when the line has carried `bytes` more, in the order of the calls.
    async fn carry(&self, bytes: u64) {
        let Some(bytes_per_second) = self.bytes_per_second else { return };
        let carried = Duration::from_secs_f64(bytes as f64 / bytes_per_second as f64);
        let until = {
            let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
            *free_at = (*free_at).max(Instant::now()) + carried;
            *free_at
        };
        tokio::time::sleep_until(until).await;
    }
}

fn bare(status: StatusCode) -> Response<Content> {
    let mut response = Response::new(Either::Right(Empty::new()));
    *response.status_mut() = status;
    response
}

/// A patch Tuesday long ago: by HTTP's heuristic (RFC 9111 §4.2.2) what has not changed since is fresh for a day.
const MODIFIED: &str = "Tue, 14 Jan 2025 18:00:00 GMT";

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(fields: &[(http::HeaderName, &str)]) -> Verdict {
        let shelf = Shelf::new(100);
        let own = |text: &str| HeaderValue::try_from(text.replace("OURS", &shelf.update.etag)).unwrap();
        let fields = fields.iter().map(|(name, value)| (name.clone(), own(value))).collect();
        judge(&shelf.update, &fields)
    }

    fn part(start: u64, end: u64) -> Verdict {
        Verdict::Part(ByteRange::new(start, end).unwrap())
    }

    #[test]
    fn ranges_are_answered_as_a_good_origin_does() {
        assert_eq!(judged(&[]), Verdict::Whole);
        assert_eq!(judged(&[(RANGE, "bytes=10-19")]), part(10, 20));
        assert_eq!(judged(&[(RANGE, "bytes=90-200")]), part(90, 100));
        assert_eq!(judged(&[(RANGE, "bytes=-1")]), part(99, 100));
        assert_eq!(judged(&[(RANGE, "bytes=100-")]), Verdict::Unsatisfiable);
        assert_eq!(judged(&[(RANGE, "lines=1-2")]), Verdict::Whole);
    }

    #[test]
    fn a_validator_of_other_content_gets_the_whole_or_nothing() {
        assert_eq!(judged(&[(RANGE, "bytes=0-0"), (IF_RANGE, "OURS")]), part(0, 1));
        assert_eq!(judged(&[(RANGE, "bytes=0-0"), (IF_RANGE, "\"other\"")]), Verdict::Whole);
        assert_eq!(judged(&[(IF_MATCH, "\"other\"")]), Verdict::PreconditionFailed);
        assert_eq!(judged(&[(IF_NONE_MATCH, "W/\"x\", OURS")]), Verdict::NotModified);
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_carries_no_more_than_its_speed_for_all_together() {
        let line = Line { bytes_per_second: Some(1000), free_at: Mutex::new(Instant::now()) };
        let begun = Instant::now();
        tokio::join!(line.carry(500), line.carry(500), line.carry(1000));
        assert_eq!(begun.elapsed().as_millis(), 2000);
    }
}
