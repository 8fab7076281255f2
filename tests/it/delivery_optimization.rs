//! The failure rules of Delivery Optimization clients, and that weir never makes such a client leave for trouble that passes.
//!
//! The rules are those of microsoft/do-client (`mcc_manager.cpp`, `download.cpp`) and of its agent as it was watched; Windows' own client is
//! documented to treat failures alike. The clients here are imitations: they send what the agent sends.
//!
//! | what the client does | after | shown by |
//! | --- | --- | --- |
//! | leaves the cache for 15 minutes, all origins | a refused or unresolved connection; no connection within 3 s | `bad_clients`: `at_the_connection_limit_the_answer_is_503_and_room_comes_back`; `lifecycle`: `a_restart_under_load_on_a_handed_socket_refuses_nobody` |
//! | the same | less than 4,000 B/s over 20 s | `what_the_origin_keeps_silent_about_is_504_before_the_client_counts_it_as_ours`; a stall amid the content: `what_stalls_amid_its_content_is_cut_before_the_client_counts_it_as_ours`; `what_comes_is_handed_on_as_it_comes` |
//! | leaves it for 15 minutes, one origin | any 4xx, 429 included | `trouble_that_passes_is_never_a_client_error`, `a_client_error_of_the_origin_is_told_only_when_it_is_about_the_request` |
//! | turns to the origin, comes back | 5xx, a reset, a redirect | `trouble_that_passes_is_never_a_client_error`, `redirects_are_followed_inside` |
//! | ruins the file | a 200 or a shifted 206 to a range, a total that is missing, a coding nobody asked for, lower-case field names | `ranges`: `of_several_range_lines_the_last_counts`, `field_names_leave_in_title_case_or_as_the_origin_spelled_them`; `bad_origins` |
//! | goes elsewhere, as it should | 403 for an origin that is not ours | `doors`: `an_origin_that_no_rule_allows_is_refused_with_a_reason` |
//!
//! An origin that stalls amid a content: the client takes less than 4,000 B/s over 20 s for a fault of the cache, and a connection that ends for trouble
//! of the moment. So its answer is cut after 15 s without a byte, where any other client waits for `reader_timeout`. The fill finds out for
//! itself (`upstream_stall`) and resumes at the missing byte; what the client asks for next is the rest.

use tokio::task::JoinSet;

use crate::support::{Answer, Ask, Client, Content, End, Framing, Gate, KIB, MIB, Origin, Proxy, Reply, Resource, Step, proxy};

const HOST: &str = "tlu.dl.delivery.mp.microsoft.com";
const AGENT: (&str, &str) = ("User-Agent", "Microsoft-Delivery-Optimization-Lite/10.0.0.1");

async fn scene(config: &str) -> (Origin, Proxy) {
    let origin = Origin::start().await;
    let weir = proxy().config(config).upstream("*.dl.delivery.mp.microsoft.com", &origin).start().await;
    (origin, weir)
}

/// The two ways in which such a client names its origin.
fn ways(path: &str) -> [(String, &'static str); 2] {
    [(format!("{path}?P1=1999999999&P2=402&P3=2&P4=c2ln&cacheHostOrigin={HOST}"), "weir.branch"), (path.to_owned(), HOST)]
}

async fn ask(weir: &Proxy, target: &str, host: &str) -> Option<Reply> {
    let mut client = Client::connect(weir.doors()).await;
    client.ask("GET", target, &[("Host", host), AGENT, ("Accept", "*/*"), ("Content-Length", "0")]).await;
    client.try_reply("GET").await
}

type Trouble = (&'static str, fn(&Ask) -> Answer);

const PASSING: &[Trouble] = &[
    ("resets at once", |_| Answer::raw("").only([Step::Reset])),
    ("closes without a word", |_| Answer::raw("").only([Step::Close])),
    ("speaks something else", |_| Answer::raw("SSH-2.0-OpenSSH_9.2\r\n")),
    ("is silent", |_| Answer::raw("").only([Step::Stall])),
    ("resets in its head", |_| Answer::raw("").only([Step::Text(b"HTTP/1.1 200 OK\r\nConte".to_vec()), Step::Reset])),
    ("has no time for this request", |_| Answer::text("408 Request Timeout", "later")),
    ("fears a replay", |_| Answer::text("425 Too Early", "later")),
    ("is asked too much", |_| Answer::text("429 Too Many Requests", "later").with("Retry-After", "60")),
    ("fails", |_| Answer::text("500 Internal Server Error", "sorry")),
    ("has a bad upstream", |_| Answer::text("502 Bad Gateway", "sorry")),
    ("is overloaded", |_| Answer::text("503 Service Unavailable", "sorry").with("Retry-After", "60")),
    ("has a slow upstream", |_| Answer::text("504 Gateway Timeout", "sorry")),
    ("redirects in circles", |ask| Answer::text("302 Found", "").with("Location", ask.path())),
    ("redirects to where nobody may go", |_| Answer::text("302 Found", "").with("Location", "http://169.254.169.254/secret")),
    ("answers a range that nobody asked for", |_| {
        Answer::text("206 Partial Content", "wrong").with("Content-Range", "bytes 7-11/4000000")
    }),
    ("sends what nobody can frame", |_| Answer::text("200 OK", "x").also("Content-Length", "2")),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_that_passes_is_never_a_client_error() {
    let (origin, weir) = scene("[timeouts]\nupstream_first_byte = \"3s\"\nupstream_stall = \"3s\"\n").await;
    let weir = std::sync::Arc::new(weir);
    let mut clients = JoinSet::new();
    for (index, (name, trouble)) in PASSING.iter().enumerate() {
        let path = format!("/filestreamingservice/files/{index:08}-0d2e-4c7b-9f7e-2f6b1d5c9a10");
        origin.answer(&path, trouble);
        for (target, host) in ways(&path) {
            let weir = weir.clone();
            clients.spawn(async move {
                // None: the connection ended without an answer, which the client takes for a reset.
                let seen = ask(&weir, &target, host).await.map(|reply| reply.status);
                (!matches!(seen, None | Some(500..=504))).then(|| format!("{name}: {seen:?} for {target}"))
            });
        }
    }
    let wrong: Vec<String> = clients.join_all().await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn what_the_origin_keeps_silent_about_is_504_before_the_client_counts_it_as_ours() {
    // The default waits a minute for an origin; this client would be gone after 20 s, for 15 minutes.
    let (origin, weir) = scene("").await;
    let path = "/filestreamingservice/files/5b1d4a0e-70e1-4f3a-8a4c-1d3f52b0a222";
    origin.answer(path, |_| Answer::raw("").only([Step::Stall]));
    let [(target, host), _] = ways(path);
    let got = ask(&weir, &target, host).await.unwrap();
    assert_eq!(got.status, 504);
    let said = got.field("cache-status").unwrap();
    assert!(said.contains("stalled"), "weir's own patience ended it, not the origin's minute: {said}");
}

#[tokio::test]
async fn what_stalls_amid_its_content_is_cut_before_the_client_counts_it_as_ours() {
    let (content, gate) = (Content::new("stalling", 2 * MIB), Gate::closed());
    // All but the client's own patience is longer than any test waits.
    let (origin, weir) = scene("[timeouts]\nupstream_stall = \"10 min\"\n[fill]\nreader_timeout = \"10 min\"\n").await;
    let path = "/filestreamingservice/files/5b1d4a0e-70e1-4f3a-8a4c-1d3f52b0a333";
    origin.serve(path, Resource::new(&content).held_from(MIB, &gate));
    let both = ways(path).map(|(target, host)| {
        let (weir, content) = (&weir, &content);
        async move { weir.download(host, &target, &[AGENT], content).await }
    });
    for got in futures_util::future::join_all(both).await {
        assert!(got.end == End::Cut && got.difference.is_none() && got.len == MIB, "{got:?}");
    }
    gate.open();
    for (target, host) in ways(path) {
        let rest = weir.download(host, &target, &[AGENT, ("Range", "bytes=1048576-")], &content).await;
        assert!(rest.status == 206 && rest.is_right(MIB), "{rest:?}");
    }
    assert_eq!(origin.sent(path), content.len(), "the fill went on");
}

#[tokio::test]
async fn what_comes_is_handed_on_as_it_comes() {
    let (content, gate) = (Content::new("slow", 3 * MIB), Gate::closed());
    let (origin, weir) = scene("").await;
    let path = "/filestreamingservice/files/5b1d4a0e-70e1-4f3a-8a4c-1d3f52b0a444";
    origin.serve(path, Resource::new(&content).held_from(KIB, &gate));
    let [(target, host), _] = ways(path);
    let mut client = Client::connect(weir.doors()).await;
    client.ask("GET", &target, &[("Host", host), AGENT]).await;
    let head = client.head().await.unwrap();
    let mut framing = head.framing(Framing::Close);
    let mut seen = 0;
    while seen < KIB {
        seen += client.some(&mut framing).await.expect("no piece and no portion has to be whole first").len() as u64;
    }
    assert_eq!(seen, KIB);
    gate.open();
    while let Some(bytes) = client.some(&mut framing).await {
        assert_eq!(content.difference(seen, &bytes), None);
        seen += bytes.len() as u64;
    }
    assert_eq!(seen, content.len());
}

#[tokio::test]
async fn a_client_error_of_the_origin_is_told_only_when_it_is_about_the_request() {
    let (origin, weir) = scene("").await;
    for (path, status, told) in [
        ("/filestreamingservice/files/gone", "404 Not Found", 404),
        ("/filestreamingservice/files/withdrawn", "410 Gone", 410),
        ("/filestreamingservice/files/unsigned", "403 Forbidden", 403),
        ("/filestreamingservice/files/busy", "429 Too Many Requests", 503),
    ] {
        origin.answer(path, move |_| Answer::text(status, "no"));
        for (target, host) in ways(path) {
            assert_eq!(ask(&weir, &target, host).await.unwrap().status, told, "{target}");
        }
    }
}

#[tokio::test]
async fn a_proxy_client_sees_the_origins_429_as_it_is() {
    let origin = Origin::start().await;
    origin.answer("/api", |_| Answer::text("429 Too Many Requests", "later").with("Retry-After", "60"));
    let weir = proxy().reverse(&origin).start().await;
    let got = weir.get("weir.branch", "/api").await;
    assert_eq!((got.status, got.field("retry-after")), (429, Some("60")));
}

#[tokio::test]
async fn redirects_are_followed_inside() {
    let content = Content::new("moved", MIB + 7);
    let (origin, weir) = scene("").await;
    let (from, to) = ("/filestreamingservice/files/from", "/filestreamingservice/files/to");
    origin.serve(to, Resource::new(&content));
    origin.answer(from, move |_| Answer::text("302 Found", "").with("Location", to));
    for (target, host) in ways(from) {
        let got = weir.download(host, &target, &[AGENT], &content).await;
        assert!(got.is_all_of(&content), "{target}: {got:?}");
    }
    assert_eq!(origin.sent(to), content.len());
}
