//! Pass: requests that are streamed both ways and sent at most once.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use tokio::{
    io::DuplexStream,
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::*;
use crate::upstream::{Bound, Framing, Hear, Interim};

const WSUS: &str = "10.0.0.9:8530";
const URL: &str = "http://wsus.corp:8530";

/// A WSUS server behind its door.
fn wsus(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> (World, Log) {
    let mut world = World::new();
    world.upstream("wsus", Kind::Origin, URL);
    let log = world.server("wsus.corp", WSUS, script);
    (world, log)
}

fn door() -> Target {
    through("wsus", URL)
}

fn full(bytes: &'static str) -> Full<Bytes> {
    Full::new(Bytes::from_static(bytes.as_bytes()))
}

/// A body whose frames come from a channel.
struct Frames(mpsc::Receiver<io::Result<Frame<Bytes>>>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(cx)
    }
}

fn data(text: &'static str) -> io::Result<Frame<Bytes>> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

#[tokio::test(start_paused = true)]
async fn a_post_goes_through_the_door_with_the_clients_host() {
    let (world, log) = wsus(|_| Reply::Send(ok("<Envelope/>")));
    let request = Request::post("/ClientWebService/client.asmx")
        .header("host", "branch-cache:8530")
        .header("soapaction", "\"x\"")
        .header("content-length", "4")
        .body(full("soap"))
        .unwrap();
    let response = world.start().relay(&door(), request, &mut Bound::default()).await.unwrap();
    assert_eq!(response.body().framing(), Framing::Length(11));
    assert_eq!(text(response).await.unwrap(), "<Envelope/>");
    let seen = &log.seen()[0];
    assert!(seen.head.contains("Host: branch-cache:8530\r\n") && seen.head.contains("Soapaction: \"x\"\r\n"), "{}", seen.head);
    assert_eq!(seen.body, b"soap");
}

#[tokio::test(start_paused = true)]
async fn the_configured_host_field_replaces_the_clients() {
    let (mut world, log) = wsus(|_| Reply::Send(ok("")));
    world.config.upstreams[0].host = Some("wsus.internal".into());
    let request = Request::get("/").header("host", "branch-cache").body(empty()).unwrap();
    world.start().relay(&door(), request, &mut Bound::default()).await.unwrap();
    assert_eq!(log.head(0), "GET / HTTP/1.1\r\nHost: wsus.internal\r\n\r\n");
}

#[tokio::test(start_paused = true)]
async fn a_body_of_unknown_length_goes_chunked_with_its_trailers_even_under_get() {
    for method in ["POST", "GET"] {
        let (world, log) = wsus(|_| Reply::Send(ok("")));
        let mut trailers = HeaderMap::new();
        trailers.insert("digest", HeaderValue::from_static("d"));
        let body = StreamBody::new(futures_util::stream::iter([data("abc"), data("de"), Ok(Frame::trailers(trailers))]));
        let request = Request::builder().method(method).uri("/").header("trailer", "digest").body(body).unwrap();
        world.start().relay(&door(), request, &mut Bound::default()).await.unwrap();
        let seen = &log.seen()[0];
        assert!(seen.head.contains("Transfer-Encoding: chunked\r\n"), "{}", seen.head);
        let body = String::from_utf8_lossy(&seen.body).to_ascii_lowercase();
        assert_eq!(body, "3\r\nabc\r\n2\r\nde\r\n0\r\ndigest: d\r\n");
    }
}

#[tokio::test(start_paused = true)]
async fn response_trailers_and_the_spelling_of_fields_come_back() {
    let answer = "HTTP/1.1 200 OK\r\nX-AspNet-Version: 4\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nSum: 7\r\n\r\n";
    let (world, _) = wsus(move |_| Reply::Send(answer.as_bytes().to_vec()));
    let response = world.start().relay(&door(), Request::get("/").body(empty()).unwrap(), &mut Bound::default()).await.unwrap();
    let case = format!("{:?}", response.extensions());
    assert!(!response.extensions().is_empty(), "the case map is kept: {case}");
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["sum"], "7");
}

#[tokio::test(start_paused = true)]
async fn what_belongs_to_the_clients_connection_stays_there() {
    let (world, log) = wsus(|_| Reply::Send(ok("")));
    let request = Request::get("/")
        .header("connection", "upgrade, keep-alive")
        .header("upgrade", "websocket")
        .header("keep-alive", "9")
        .header("transfer-encoding", "gzip")
        .version(http::Version::HTTP_2)
        .body(empty())
        .unwrap();
    world.start().relay(&door(), request, &mut Bound::default()).await.unwrap();
    assert_eq!(log.head(0), "GET / HTTP/1.1\r\nHost: wsus.corp:8530\r\n\r\n");
}

/// Hears of interim responses, under any number.
#[derive(Default)]
struct Ear(Mutex<Vec<(u64, u16)>>);

impl Hear for Ear {
    fn hear(&self, exchange: u64, status: StatusCode, _: &HeaderMap) {
        self.0.lock().unwrap().push((exchange, status.as_u16()));
    }
}

fn hearing<B>(mut request: Request<B>) -> (Request<B>, Arc<Ear>) {
    let ear = Arc::new(Ear::default());
    request.extensions_mut().insert(Interim::to(ear.clone(), 7));
    (request, ear)
}

#[tokio::test(start_paused = true)]
async fn interim_responses_are_heard_in_order_and_the_final_one_is_returned() {
    let hints = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 199 Odd\r\n\r\n";
    let (world, _) = wsus(move |_| Reply::Send([hints.as_bytes(), &ok("fine")].concat()));
    let (request, ear) = hearing(Request::get("/").body(empty()).unwrap());
    let response = world.start().relay(&door(), request, &mut Bound::default()).await.unwrap();
    assert_eq!(text(response).await.unwrap(), "fine");
    assert_eq!(*ear.0.lock().unwrap(), [(7, 100), (7, 103), (7, 199)]);
}

#[tokio::test(start_paused = true)]
async fn somebody_who_says_102_is_waited_for_longer() {
    let (world, _) =
        wsus(move |_| Reply::SendThen(b"HTTP/1.1 102 Processing\r\n\r\n".to_vec(), Duration::from_secs(50), ok("at last")));
    let mut world = world;
    world.config.timeouts.first_byte = Duration::from_secs(55);
    let (request, _) = hearing(Request::post("/").header("content-length", "4").body(full("soap")).unwrap());
    let response = world.start().relay(&door(), request, &mut Bound::default()).await.unwrap();
    assert_eq!(text(response).await.unwrap(), "at last");
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_knows_no_expectations_gets_the_body_after_a_second() {
    let (world, log) = wsus(|_| Reply::Send(ok("fine")));
    let request = Request::post("/").header("expect", "100-continue").header("content-length", "4").body(full("soap")).unwrap();
    let begun = Instant::now();
    let response = world.start().relay(&door(), request, &mut Bound::default()).await.unwrap();
    assert_eq!(text(response).await.unwrap(), "fine");
    assert!(log.head(0).contains("Expect: 100-continue\r\n") && log.seen()[0].body == b"soap");
    assert_eq!(begun.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_the_upstream_asks_for_goes_at_once() {
    let (world, server) = raw_wsus();
    let served = tokio::spawn(async move {
        let mut stream = server.await.unwrap();
        read_until(&mut stream, b"\r\n\r\n").await.unwrap();
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
        let mut body = [0; 4];
        stream.read_exact(&mut body).await.unwrap();
        stream.write_all(&ok("fine")).await.unwrap();
        (body, stream)
    });
    let request = Request::post("/").header("expect", "100-continue").header("content-length", "4").body(full("soap")).unwrap();
    let (request, ear) = hearing(request);
    let begun = Instant::now();
    let response = world.start().relay(&door(), request, &mut Bound::default()).await.unwrap();
    assert_eq!(text(response).await.unwrap(), "fine");
    assert_eq!((served.await.unwrap().0, begun.elapsed()), (*b"soap", Duration::ZERO));
    assert!(ear.0.lock().unwrap().is_empty(), "who reads the client's body tells it to go on");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_was_refused_is_never_read() {
    let (world, server) = raw_wsus();
    let served = tokio::spawn(async move {
        let mut stream = server.await.unwrap();
        read_until(&mut stream, b"\r\n\r\n").await.unwrap();
        stream.write_all(&answer("417 Expectation Failed", "", "no")).await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.map(|_| rest)
    });
    let (sender, frames) = mpsc::channel(1);
    sender.send(data("soap")).await.unwrap();
    let request = Request::post("/").header("expect", "100-continue").header("content-length", "4").body(Frames(frames)).unwrap();
    let response = world.start().relay(&door(), request, &mut Bound::default()).await.unwrap();
    assert_eq!(response.status(), 417);
    assert_eq!(text(response).await.unwrap(), "no");
    assert_eq!(served.await.unwrap().unwrap_or_default(), b"", "the connection ends without the body");
}

/// A WSUS server that is one connection and nothing more.
fn raw_wsus() -> (World, oneshot::Receiver<DuplexStream>) {
    let mut world = World::new();
    world.upstream("wsus", Kind::Origin, URL);
    let at: SocketAddr = WSUS.parse().unwrap();
    world.net.name("wsus.corp", &[at.ip()]);
    let (sender, server) = oneshot::channel();
    let sender = Mutex::new(Some(sender));
    world.net.serve(at, move |stream| _ = sender.lock().unwrap().take().map(|sender| sender.send(stream)));
    (world, server)
}

#[tokio::test(start_paused = true)]
async fn a_long_upload_that_moves_is_not_silence() {
    let (world, log) = wsus(|_| Reply::Send(ok("thanks")));
    let upstreams = world.start();
    let (sender, frames) = mpsc::channel(1);
    tokio::spawn(async move {
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(40)).await;
            sender.send(data("part")).await.unwrap();
        }
    });
    let request = Request::post("/").header("content-length", "40").body(Frames(frames)).unwrap();
    let response = upstreams.relay(&door(), request, &mut Bound::default()).await.unwrap();
    assert_eq!(text(response).await.unwrap(), "thanks");
    assert_eq!(log.seen()[0].body.len(), 40);
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_stops_is_given_up() {
    let (world, _) = wsus(|_| Reply::Send(ok("")));
    let (_sender, frames) = mpsc::channel(1);
    let request = Request::post("/").header("content-length", "40").body(Frames(frames)).unwrap();
    let started = Instant::now();
    let error = world.start().relay(&door(), request, &mut Bound::default()).await.err().unwrap();
    assert!(matches!(error, Error::FirstByteTimeout { .. }), "{error:?}");
    assert_eq!(started.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_breaks_is_the_clients_fault() {
    let (world, log) = wsus(|_| Reply::Send(ok("")));
    let upstreams = world.start();
    let body = StreamBody::new(futures_util::stream::iter([data("half"), Err(io::ErrorKind::ConnectionReset.into())]));
    let request = Request::post("/").header("content-length", "40").body(body).unwrap();
    let error = upstreams.relay(&door(), request, &mut Bound::default()).await.err().unwrap();
    assert!(matches!(error, Error::Request { .. }), "{error:?}");
    assert_eq!((log.requests(), upstreams.health()[0].last_error.as_ref()), (0, None));
}

#[tokio::test(start_paused = true)]
async fn a_post_reaches_the_second_server_when_the_first_cannot_be_connected() {
    let mut world = World::new();
    for name in ["one", "two"] {
        world.upstream(name, Kind::Origin, &format!("http://{name}.corp")).hosts = vec!["api.test".parse().unwrap()];
    }
    let two = world.server("two.corp", "10.0.0.4:80", |_| Reply::Send(ok("two's")));
    let request = Request::post("/").header("content-length", "4").body(full("soap")).unwrap();
    let response = world.start().relay(&target("http://api.test"), request, &mut Bound::default()).await.unwrap();
    assert_eq!(text(response).await.unwrap(), "two's");
    assert_eq!(two.seen()[0].body, b"soap");
}

/// Says which connection a request came on; authenticates connections as NTLM does.
fn ntlm(seen: &Seen) -> Reply {
    let connection = seen.connection.to_string();
    Reply::Send(match seen.head.contains("Authorization: NTLM ") || seen.head.starts_with("GET /in ") {
        true => ok(&connection),
        false => answer("401 Unauthorized", "WWW-Authenticate: Negotiate\r\nWWW-Authenticate: NTLM\r\n", &connection),
    })
}

async fn relayed(upstreams: &Upstreams, path: &str, authorization: Option<&str>, bound: &mut Bound) -> String {
    let mut request = Request::get(path).body(empty()).unwrap();
    if let Some(value) = authorization {
        request.headers_mut().insert("authorization", value.parse().unwrap());
    }
    text(upstreams.relay(&door(), request, bound).await.unwrap()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_authenticated_connection_serves_its_client_and_nobody_else() {
    let (world, log) = wsus(ntlm);
    let upstreams = world.start();
    let (mut alice, mut bob) = (Bound::default(), Bound::default());
    assert_eq!(relayed(&upstreams, "/", None, &mut alice).await, "0");
    assert_eq!(relayed(&upstreams, "/", Some("NTLM TlRMTVNTUAAB"), &mut alice).await, "0");
    assert_eq!(relayed(&upstreams, "/in", None, &mut bob).await, "1");
    assert_eq!(relayed(&upstreams, "/in", None, &mut alice).await, "0", "without the field, too");
    assert_eq!(relayed(&upstreams, "/in", None, &mut bob).await, "1");
    drop(alice);
    assert_eq!(relayed(&upstreams, "/in", None, &mut Bound::default()).await, "1", "hers was closed, his was never bound");
    assert_eq!(log.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_bound_connection_that_was_closed_is_replaced() {
    let (world, log) = wsus(|seen| match ntlm(seen) {
        Reply::Send(bytes) => Reply::SendAndClose(bytes),
        other => other,
    });
    let (upstreams, mut bound) = (world.start(), Bound::default());
    for connection in ["0", "1", "2"] {
        assert_eq!(relayed(&upstreams, "/", Some("Negotiate YII="), &mut bound).await, connection);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(log.connections(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_bound_connection_is_not_used_for_another_server() {
    let (mut world, _) = wsus(ntlm);
    world.upstream("other", Kind::Origin, "http://other.corp");
    let other = world.server("other.corp", "10.0.0.10:80", |_| Reply::Send(ok("other")));
    let (upstreams, mut bound) = (world.start(), Bound::default());
    relayed(&upstreams, "/", Some("NTLM x"), &mut bound).await;
    let request = Request::get("/").body(empty()).unwrap();
    let response = upstreams.relay(&through("other", "http://other.corp"), request, &mut bound).await.unwrap();
    assert_eq!(text(response).await.unwrap(), "other");
    assert_eq!(other.requests(), 1);
    assert_eq!(relayed(&upstreams, "/in", None, &mut bound).await, "0", "still bound");
}
