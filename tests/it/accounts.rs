//! What ends outside of ordinary requests is told, too: refused heads and bodies, tunnels, connections beyond the limit.

use serde_json::Value;

use crate::support::{Client, Content, KIB, Origin, Proxy, Reply, Resource, eventually, proxy};

async fn scene(config: &str) -> (Origin, Proxy, Content) {
    let content = Content::new("a", 100 * KIB);
    let origin = Origin::start().await;
    origin.serve("/a", Resource::new(&content));
    let address = origin.address();
    let tls =
        format!("[[upstream]]\nname = \"tls\"\nurl = \"https://tls.test\"\nhosts = [\"tls.test\"]\naddress = \"{address}\"\n");
    let weir = proxy().upstream("cdn.test", &origin).config(&tls).config(config).start().await;
    (origin, weir, content)
}

/// Sends these bytes, and reads the one answer and the end of the connection behind it.
async fn refused(weir: &Proxy, bytes: &str) -> Reply {
    let mut client = weir.client().await;
    client.send(bytes).await;
    let reply = client.reply(bytes.split(' ').next().unwrap()).await;
    assert_eq!(reply.field("connection"), Some("close"), "{:?}", reply.head);
    assert!(client.try_reply("GET").await.is_none(), "the connection is closed");
    reply
}

/// The one line of the access log with this reason.
async fn line(weir: &Proxy, reason: &str) -> Value {
    eventually("a line in the access log", || async { weir.log().into_iter().find(|line| line["reason"] == reason) }).await
}

#[tokio::test]
async fn a_refused_head_is_answered_logged_and_counted_like_any_refusal() {
    let (origin, weir, _) = scene("").await;
    let host = "Host: cdn.test\r\nUser-Agent: tester";
    let long = "x".repeat(70_000);
    for (bytes, status, reason) in [
        (format!("GET /a HTTP/1.1\n{host}\r\n\r\n"), 400, "bare-lf"),
        (format!("GET /a HTTP/1.1\r\n{host}\r\nX: a\r\n b\r\n\r\n"), 400, "folded-line"),
        (format!("HEAD /a HTTP/1.1\r\n{host}\r\nX : a\r\n\r\n"), 400, "field-name"),
        (format!("POST /a HTTP/1.1\r\n{host}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"), 400, "both-framings"),
        (format!("POST /a HTTP/1.1\r\n{host}\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"), 501, "unknown-coding"),
        (format!("GET /a HTTP/1.1\r\n{host}\r\nX: {long}\r\n\r\n"), 431, "head-length"),
        (format!("GET /{long} HTTP/1.1\r\n{host}\r\n\r\n"), 414, "target-length"),
        (format!("GET /a HTTP/1.2\r\n{host}\r\n\r\n"), 505, "version"),
    ] {
        let reply = refused(&weir, &bytes).await;
        assert_eq!(reply.status, status, "{reason}");
        assert_eq!(reply.field("cache-status"), Some(&*format!("weir; detail={reason}")));
        let line = line(&weir, reason).await;
        assert_eq!((&line["status"], &line["class"]), (&status.into(), &"refuse".into()), "{line}");
        assert_eq!(weir.metric("weir_refusals_total", &[("reason", reason)]).await, 1.0);
    }
    let fold = line(&weir, "folded-line").await;
    assert_eq!((&fold["method"], &fold["url"], &fold["host"]), (&"GET".into(), &"/a".into(), &"cdn.test".into()), "{fold}");
    assert_eq!(fold["agent"], "tester");
    assert_eq!(origin.requests_in_all(), 0);
}

#[tokio::test]
async fn a_malformed_body_is_the_clients_fault_and_nothing_behind_it_is_served() {
    let (origin, weir, _) = scene("").await;
    let head = "POST /post HTTP/1.1\r\nHost: cdn.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: cdn.test\r\n\r\n";
    for (body, reason) in
        [("5\r\nhello0\r\n\r\n", "chunk-end"), ("5\nhello\r\n0\r\n\r\n", "chunk-size"), ("0\r\nX : y\r\n\r\n", "trailers")]
    {
        let reply = refused(&weir, &format!("{head}{body}{smuggled}")).await;
        assert_eq!((reply.status, reply.field("cache-status")), (400, Some(&*format!("weir; detail={reason}"))));
        line(&weir, reason).await;
    }
    assert_eq!(origin.requests("/smuggled"), 0);
}

#[tokio::test]
async fn a_tunnel_is_logged_at_its_end_with_what_went_through() {
    let (_origin, weir, content) = scene("").await;
    let mut client = weir.client().await;
    client.ask("CONNECT", "tls.test:443", &[("Host", "tls.test:443")]).await;
    assert!(client.head().await.unwrap().start.starts_with("HTTP/1.1 200"));
    let inside = client.download("/a", &[("Host", "tls.test")], &content).await;
    assert!(inside.is_all_of(&content), "{inside:?}");
    assert!(weir.log().iter().all(|line| line["class"] != "tunnel"), "not before its end");
    assert_eq!(weir.metric("weir_requests_running", &[]).await, 1.0);
    drop(client);
    let line = eventually("the tunnel's line", || async { weir.log().into_iter().find(|line| line["class"] == "tunnel") }).await;
    assert_eq!(
        (&line["method"], &line["host"], &line["status"]),
        (&"CONNECT".into(), &"tls.test:443".into(), &200.into()),
        "{line}"
    );
    let (sent, received) = (line["sent_bytes"].as_f64().unwrap(), line["received_bytes"].as_f64().unwrap());
    assert!(sent > content.len() as f64 && received > 20.0, "{line}");
    assert_eq!(weir.metric("weir_sent_bytes_total", &[("class", "tunnel"), ("source", "relayed")]).await, sent);
    assert_eq!(weir.metric("weir_received_bytes_total", &[("class", "tunnel")]).await, received);
    eventually("nothing runs any more", || async { (weir.metric("weir_requests_running", &[]).await == 0.0).then_some(()) })
        .await;
}

#[tokio::test]
async fn who_is_refused_a_tunnel_is_refused_the_connection() {
    let (_origin, weir, _) = scene("").await;
    let smuggled = "GET /a HTTP/1.1\r\nHost: cdn.test\r\n\r\n";
    let reply = refused(&weir, &format!("CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n{smuggled}")).await;
    assert_eq!(reply.status, 403);
}

#[tokio::test]
async fn tunnels_are_bounded_like_passed_requests() {
    let (origin, weir, _) = scene("[limits]\nupstream_pass_connections = 1\n").await;
    let connect = async || {
        let mut client = weir.client().await;
        client.ask("CONNECT", "tls.test:443", &[("Host", "tls.test:443")]).await;
        let head = client.head().await.unwrap();
        (client, head.start)
    };
    let (first, answer) = connect().await;
    assert!(answer.contains(" 200 "), "{answer}");
    let (_refused, answer) = connect().await;
    assert!(answer.contains(" 503 "), "{answer}");
    drop((first, origin));
    eventually("there is room again", || async { (!connect().await.1.contains(" 503 ")).then_some(()) }).await;
}

#[tokio::test]
async fn a_connection_beyond_the_limit_is_answered_and_logged_with_its_request() {
    let (_origin, weir, _) = scene("[limits]\nconnections = 1\nconnections_per_client = 1\n").await;
    let mut inside = weir.client().await;
    assert_eq!(inside.get("/a", &[("Host", "cdn.test"), ("Range", "bytes=0-0")]).await.status, 206);
    let mut beyond = Client::connect(weir.doors()).await;
    let reply = beyond.get("/b?x", &[("Host", "cdn.test")]).await;
    assert_eq!((reply.status, reply.field("retry-after")), (503, Some("5")));
    assert_eq!(reply.field("cache-status"), Some("weir; detail=connection-limit"));
    assert!(beyond.try_reply("GET").await.is_none(), "the connection is closed");
    let line = line(&weir, "connection-limit").await;
    assert_eq!((&line["method"], &line["url"], &line["status"]), (&"GET".into(), &"/b?x".into(), &503.into()), "{line}");
    assert_eq!(weir.metric("weir_connections_shed_total", &[]).await, 1.0);
    assert_eq!(weir.metric("weir_connections_closed_unanswered_total", &[]).await, 0.0);
}
