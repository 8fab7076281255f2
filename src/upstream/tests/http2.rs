//! HTTP/2 to upstreams: passed requests alone, over TLS, where the server agrees.

use std::future::poll_fn;

use h2::{
    Reason,
    server::{self, SendResponse},
};
use http::{Request, StatusCode, Version};
use http_body_util::Full;
use tokio::{io::DuplexStream, time::Instant};
use tokio_rustls::server::TlsStream;

use super::{tls::Authority, *};
use crate::upstream::Bound;

const AT: &str = "8.8.8.8:443";
const URL: &str = "https://app.test";

/// What the server does with a stream.
enum Act {
    Answer(StatusCode, &'static [(&'static str, &'static str)]),
    Reset(Reason),
    /// Answers, and takes no more requests on this connection.
    AnswerAndLeave,
    /// Says nothing more, not even that it lives.
    Freeze,
}

/// A request as the server saw it: which connection, its version, method and URI, and its `Host`.
#[derive(Clone, Debug, PartialEq)]
struct Came {
    connection: usize,
    version: Version,
    line: String,
    host: Option<String>,
}

#[derive(Clone, Default)]
struct Visits(Arc<Mutex<(usize, Vec<Came>)>>);

impl Visits {
    fn came(&self) -> Vec<Came> {
        self.0.lock().unwrap().1.clone()
    }

    fn connections(&self) -> usize {
        self.0.lock().unwrap().0
    }

    fn note(&self, came: Came) -> usize {
        let mut log = self.0.lock().unwrap();
        log.1.push(came);
        log.1.len() - 1
    }
}

/// A server that speaks both versions; over HTTP/1.1 it says `one`.
fn both(script: impl Fn(usize) -> Act + Send + Sync + 'static) -> (World, Authority, Visits) {
    // The name of the file is the test's own: they run beside one another.
    let name = format!("http2-{:x}", rand::random::<u64>());
    let authority = Authority::new(&name);
    let mut world = World::new();
    world.config.ca_files = vec![authority.file.clone()];
    let at: SocketAddr = AT.parse().unwrap();
    world.net.name("app.test", &[at.ip()]);
    let (acceptor, visits, script) = (authority.acceptor("app.test"), Visits::default(), Arc::new(script));
    let log = visits.clone();
    world.net.serve(at, move |stream| {
        let (acceptor, log, script) = (acceptor.clone(), log.clone(), script.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let connection = {
                let mut log = log.0.lock().unwrap();
                log.0 += 1;
                log.0 - 1
            };
            match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => streams(stream, connection, log, script).await,
                _ => exchanges(stream, connection, log).await,
            }
        });
    });
    (world, authority, visits)
}

async fn exchanges(mut stream: TlsStream<DuplexStream>, connection: usize, log: Visits) {
    while let Some((head, _)) = read_request(&mut stream).await {
        let line = head.split("\r\n").next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
        let host = head.split("\r\n").find_map(|line| line.strip_prefix("Host: ")).map(str::to_owned);
        log.note(Came { connection, version: Version::HTTP_11, line, host });
        stream.write_all(&ok("one")).await.unwrap_or(());
    }
}

async fn streams(stream: TlsStream<DuplexStream>, connection: usize, log: Visits, script: Arc<impl Fn(usize) -> Act>) {
    let mut served = server::handshake(stream).await.unwrap();
    while let Some(Ok((request, mut respond))) = served.accept().await {
        let host = request.headers().get("host").map(|host| host.to_str().unwrap().to_owned());
        let line = format!("{} {}", request.method(), request.uri());
        match script(log.note(Came { connection, version: Version::HTTP_2, line, host })) {
            Act::Answer(status, fields) => say(&mut respond, status, fields),
            Act::Reset(reason) => respond.send_reset(reason),
            Act::AnswerAndLeave => {
                say(&mut respond, StatusCode::OK, &[]);
                served.graceful_shutdown();
            }
            Act::Freeze => return std::future::pending().await,
        }
    }
    _ = poll_fn(|cx| served.poll_closed(cx)).await;
}

fn say(respond: &mut SendResponse<Bytes>, status: StatusCode, fields: &[(&str, &str)]) {
    let mut response = Response::builder().status(status);
    for (name, value) in fields {
        response = response.header(*name, *value);
    }
    let mut body = respond.send_response(response.body(()).unwrap(), false).unwrap();
    body.send_data(Bytes::from_static(b"two"), true).unwrap();
}

fn fine() -> Act {
    Act::Answer(StatusCode::OK, &[])
}

/// What came of a request for `path`: its body, and the version it came in.
async fn pass(upstreams: &Upstreams, method: &str, path: &str, fields: &[(&str, &str)]) -> Result<(Version, String), Error> {
    let mut request = Request::builder().method(method).uri(path).header("host", "App.Test:8443");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let body = Full::new(Bytes::from_static(if method == "POST" { b"soap" } else { b"" }));
    let response = upstreams.relay(&target(URL), request.body(body).unwrap(), &mut Bound::default()).await?;
    Ok((response.version(), text(response).await?))
}

fn two() -> (Version, String) {
    (Version::HTTP_2, "two".into())
}

fn one() -> (Version, String) {
    (Version::HTTP_11, "one".into())
}

#[tokio::test]
async fn passed_requests_share_one_connection_and_name_the_clients_host() {
    let (world, _authority, visits) = both(|_| fine());
    let upstreams = world.start();
    assert_eq!(pass(&upstreams, "POST", "/a?b", &[]).await.unwrap(), two());
    let many = (0..20).map(|_| pass(&upstreams, "GET", "/c", &[]));
    assert!(futures_util::future::join_all(many).await.into_iter().all(|got| got.unwrap() == two()));
    assert_eq!(visits.connections(), 1);
    let came = Came { connection: 0, version: Version::HTTP_2, line: "POST https://App.Test:8443/a?b".into(), host: None };
    assert_eq!(visits.came()[0], came);
    let health = &upstreams.health()[0];
    assert_eq!((health.connections_in_use, health.connections_idle), (0, 1));
}

#[tokio::test]
async fn content_is_fetched_by_http1_from_the_same_server() {
    let (world, _authority, visits) = both(|_| fine());
    let upstreams = world.start();
    assert_eq!(pass(&upstreams, "GET", "/", &[]).await.unwrap(), two());
    assert_eq!(fetched(&upstreams, get(URL, "/file")).await.unwrap(), "one");
    assert_eq!(visits.came()[1].version, Version::HTTP_11);
}

#[tokio::test]
async fn an_upstream_may_be_kept_to_http1() {
    let (mut world, _authority, visits) = both(|_| fine());
    let upstream = world.upstream("app", Kind::Origin, URL);
    (upstream.http2, upstream.hosts) = (false, vec!["app.test".parse().unwrap()]);
    assert_eq!(pass(&world.start(), "GET", "/", &[]).await.unwrap(), one());
    assert_eq!(visits.came().len(), 1);
}

#[tokio::test]
async fn a_refused_stream_is_asked_again_only_where_that_is_safe() {
    let (world, _authority, visits) = both(|number| if number == 0 { Act::Reset(Reason::REFUSED_STREAM) } else { fine() });
    assert_eq!(pass(&world.start(), "GET", "/", &[]).await.unwrap(), two());
    assert_eq!(visits.came().len(), 2);

    let (world, _authority, visits) = both(|number| if number == 0 { Act::Reset(Reason::REFUSED_STREAM) } else { fine() });
    let error = pass(&world.start(), "POST", "/", &[]).await.unwrap_err();
    assert!(matches!(error, Error::Broken { .. }), "{error:?}");
    assert_eq!(visits.came().len(), 1, "its body is gone, and nobody knows what it did");
}

#[tokio::test]
async fn a_stream_that_breaks_for_other_reasons_is_not_asked_again() {
    let (world, _authority, visits) = both(|_| Act::Reset(Reason::INTERNAL_ERROR));
    assert!(pass(&world.start(), "GET", "/", &[]).await.is_err());
    assert_eq!(visits.came().len(), 1);
}

#[tokio::test]
async fn a_server_that_leaves_gets_a_new_connection() {
    let (world, _authority, visits) = both(|number| if number == 0 { Act::AnswerAndLeave } else { fine() });
    let upstreams = world.start();
    for _ in 0..3 {
        assert_eq!(pass(&upstreams, "GET", "/", &[]).await.unwrap(), two());
    }
    assert_eq!(visits.connections(), 2);
}

#[tokio::test]
async fn what_belongs_to_a_connection_is_spoken_in_http1() {
    let (world, _authority, visits) = both(|_| Act::Answer(StatusCode::UNAUTHORIZED, &[("www-authenticate", "NTLM")]));
    let upstreams = world.start();
    assert_eq!(pass(&upstreams, "GET", "/", &[("authorization", "NTLM abc")]).await.unwrap(), one());
    assert_eq!(pass(&upstreams, "GET", "/", &[]).await.unwrap(), two());
    assert_eq!(pass(&upstreams, "GET", "/", &[]).await.unwrap(), one(), "a server that authenticates connections is known");
    assert_eq!(visits.came().len(), 3);
}

#[tokio::test]
async fn a_server_that_requires_http1_gets_it() {
    let (world, _authority, visits) = both(|_| Act::Reset(Reason::HTTP_1_1_REQUIRED));
    let upstreams = world.start();
    assert_eq!(pass(&upstreams, "GET", "/", &[]).await.unwrap(), one());
    assert_eq!(pass(&upstreams, "POST", "/", &[]).await.unwrap(), one());
    let versions: Vec<_> = visits.came().iter().map(|came| came.version).collect();
    assert_eq!(versions, [Version::HTTP_2, Version::HTTP_11, Version::HTTP_11]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_gone_is_found_out_by_pings_before_patience_ends() {
    let (world, _authority, visits) = both(|_| Act::Freeze);
    let begun = Instant::now();
    let error = pass(&world.start(), "GET", "/", &[]).await.unwrap_err();
    assert!(matches!(error, Error::Broken { .. }), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert_eq!(visits.came().len(), 1);
}

#[tokio::test]
async fn a_body_that_nobody_wants_ends_its_stream_and_not_the_connection() {
    let (world, _authority, visits) = both(|_| fine());
    let upstreams = world.start();
    for _ in 0..5 {
        let request = Request::get("/").body(empty()).unwrap();
        drop(upstreams.relay(&target(URL), request, &mut Bound::default()).await.unwrap());
    }
    assert_eq!(pass(&upstreams, "GET", "/", &[]).await.unwrap(), two());
    assert_eq!(visits.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn streams_are_bounded_like_connections() {
    let (mut world, _authority, _) = both(|_| Act::Freeze);
    world.config.connections.pass = 2;
    let upstreams = world.start();
    let (first, second) = (pass(&upstreams, "GET", "/", &[]), pass(&upstreams, "GET", "/", &[]));
    let third = async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        pass(&upstreams, "GET", "/", &[]).await
    };
    let (_, _, third) = tokio::join!(first, second, third);
    assert!(matches!(third, Err(Error::Busy { limit: 2, .. })), "{third:?}");
}
