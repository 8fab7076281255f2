use super::*;

#[tokio::test]
async fn a_connection_carries_request_after_request() {
    let ground = start(Config::default());
    let mut client = ground.connect().await;
    for _ in 0..3 {
        client.write_all(KEEP.as_bytes()).await.unwrap();
        assert!(read_until(&mut client, "ok").await.starts_with("HTTP/1.1 200 OK\r\n"));
    }
    assert_eq!(ground.metrics.accepted.value(), 1);
    assert_eq!(ground.site.seen.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let ground = start(Config::default());
    let pipelined = ["/a", "/echo", "/b"].map(|path| KEEP.replacen('/', path, 1)).concat() + CLOSE;
    let answers = ground.ask(&pipelined).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 4);
    assert_eq!(*ground.site.seen.lock().unwrap(), ["/a", "/echo", "/b", "/"]);
}

#[tokio::test]
async fn field_names_leave_in_title_case() {
    let answer = start(Config::default()).ask(CLOSE).await;
    for name in ["\r\nContent-Length: 2\r\n", "\r\nCache-Status: weir; hit\r\n", "\r\nDate: "] {
        assert!(answer.contains(name), "{answer}");
    }
}

#[tokio::test]
async fn http_1_0_is_answered_and_closed() {
    let answer = start(Config::default()).ask("GET / HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("ok"), "{answer}");
}

#[tokio::test]
async fn a_request_may_arrive_byte_by_byte() {
    let ground = start(Config::default());
    let mut client = ground.connect().await;
    client.set_nodelay(true).unwrap();
    for byte in CLOSE.bytes() {
        client.write_all(&[byte]).await.unwrap();
    }
    assert!(read_all(&mut client).await.ends_with("ok"));
}

#[tokio::test]
async fn http_2_is_spoken_with_prior_knowledge() {
    let ground = start(Config::default());
    let io = hyper_util::rt::TokioIo::new(ground.connect().await);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut client, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("http://h/echo").body(http_body_util::Full::new(Bytes::from("body"))).unwrap();
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.version(), ::http::Version::HTTP_2);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "body");
}

#[tokio::test]
async fn an_http_2_head_beyond_the_bounds_is_refused_like_any_other() {
    let ground = start(Config::default());
    let io = hyper_util::rt::TokioIo::new(ground.connect().await);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut client, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    for (len, status) in [(60 << 10, 200), (70 << 10, 431)] {
        let request =
            Request::get("http://h/x").header("x", "y".repeat(len)).body(http_body_util::Empty::<Bytes>::new()).unwrap();
        assert_eq!(client.send_request(request).await.unwrap().status(), status);
    }
    assert_eq!(*ground.site.refused.lock().unwrap(), ["GET http://h/x head-length"]);
}

#[tokio::test]
async fn heads_beyond_the_bounds_get_431() {
    let ground = start(Config::default());
    let long = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(70 << 10));
    assert!(ground.ask(&long).await.starts_with("HTTP/1.1 431 "));
    let many = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: x\r\n".repeat(101));
    assert!(ground.ask(&many).await.starts_with("HTTP/1.1 431 "));
    assert!(ground.ask(CLOSE).await.ends_with("ok"), "and the listener goes on");
}

#[tokio::test]
async fn a_head_at_the_bounds_is_served() {
    let ground = start(Config::default());
    let many = format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{}\r\n", "X: x\r\n".repeat(98));
    assert!(ground.ask(&many).await.ends_with("ok"));
    let long = format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX: {}\r\n\r\n", "x".repeat(60 << 10));
    assert!(ground.ask(&long).await.ends_with("ok"));
}

#[tokio::test]
async fn what_is_not_http_gets_400_and_a_close() {
    for nonsense in ["\x16\x03\x01\0\0\0\0\0", "HELO mail.example\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n X: folded\r\n\r\n"] {
        let answer = start(Config::default()).ask(nonsense).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{nonsense}: {answer}");
    }
}

#[tokio::test]
async fn a_malformed_head_is_refused_in_its_turn_and_nothing_behind_it_is_read() {
    let ground = start(Config::default());
    let answers = ground.ask(&format!("{KEEP}HEAD /x HTTP/1.1\r\nHost: h\r\nX: folded\r\n y\r\n\r\n{CLOSE}")).await;
    let statuses: Vec<_> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["200", "400"], "{answers}");
    assert_eq!(*ground.site.seen.lock().unwrap(), ["/"]);
    assert_eq!(*ground.site.refused.lock().unwrap(), ["HEAD /x folded-line"]);
    assert!(answers.ends_with("\r\n\r\n"), "HEAD has no content: {answers}");
}

#[tokio::test]
async fn a_malformed_body_breaks_its_request_off_and_ends_the_connection() {
    let ground = start(Config::default());
    let head = "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = ground.ask(&format!("{head}2\r\nhi\n0\r\n\r\n{KEEP}")).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("client broke off its request body"), "{answer}");
    assert_eq!(*ground.site.seen.lock().unwrap(), ["/echo"]);
}

#[tokio::test]
async fn bodies_of_every_framing_are_followed_by_the_next_request() {
    let ground = start(Config::default());
    let post = |fields: &str, body: &str| format!("POST /echo HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n{body}");
    let chunks = post("Transfer-Encoding: chunked", "3;x=y\r\nabc\r\n00a\r\n0123456789\r\n0\r\nSum: 1\r\n\r\n");
    let all = post("Content-Length: 5", "hello") + &chunks + &post("Content-Length: 0", "") + "\r\n" + KEEP + CLOSE;
    // Whole, and in pieces that split everything somewhere.
    for piece in [all.len(), 1, 7] {
        let mut client = ground.connect().await;
        client.set_nodelay(true).unwrap();
        for piece in all.as_bytes().chunks(piece) {
            client.write_all(piece).await.unwrap();
        }
        let answers = read_all(&mut client).await;
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 5, "{answers}");
        assert!(answers.contains("hello") && answers.contains("abc0123456789"), "{answers}");
    }
    assert!(ground.site.refused.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_connect_tunnel_counts_as_a_connection_until_it_closes() {
    let mut ground = start(Config::default());
    let mut client = ground.connect().await;
    client.write_all(b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n").await.unwrap();
    assert!(read_until(&mut client, "\r\n\r\n").await.starts_with("HTTP/1.1 200 OK\r\n"));
    client.write_all(b"through").await.unwrap();
    assert_eq!(read_until(&mut client, "through").await, "through");
    assert_eq!(ground.running.connections(), 1);
    client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut client).await, "");
    let drained = ground.running.shutdown(sleep(SOON)).await;
    assert_eq!(drained.cut, 0);
    assert_eq!(ground.metrics.connections.value(), 0);
}

#[tokio::test]
async fn a_tunnel_closed_at_one_end_still_carries_the_other_way() {
    let ground = start(Config::default());
    let mut client = ground.connect().await;
    client.write_all(b"CONNECT half.example:443 HTTP/1.1\r\nHost: half.example:443\r\n\r\n").await.unwrap();
    read_until(&mut client, "\r\n\r\n").await;
    client.write_all(b"x").await.unwrap();
    assert_eq!(read_all(&mut client).await, "bye");
    client.write_all(&vec![0; 100_000]).await.unwrap();
    client.shutdown().await.unwrap();
    let mut heard = ground.site.heard.subscribe();
    assert_eq!(*timeout(SOON, heard.wait_for(|heard| *heard > 0)).await.unwrap().unwrap(), 100_000);
}

#[tokio::test]
async fn a_client_of_a_dual_stack_socket_has_its_ipv4_address() {
    let socket = Socket { address: "[::]:0".parse().unwrap(), ..plain_socket() };
    let ground = start(Config { sockets: vec![socket], ..Config::default() });
    let mut client = TcpStream::connect(("127.0.0.1", ground.address.port())).await.unwrap();
    client.write_all(CLOSE.replacen('/', "/who", 1).as_bytes()).await.unwrap();
    let answer = read_all(&mut client).await;
    let who = format!("{} 127.0.0.1:{} None", client.local_addr().unwrap(), ground.address.port());
    assert!(answer.ends_with(&who), "{answer}");
}

#[tokio::test]
async fn a_client_that_still_sends_its_body_reads_the_answer_first() {
    let ground = start(Config::default());
    let mut client = ground.connect().await;
    client.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n").await.unwrap();
    ground.site.arrived.notified().await;
    client.write_all(&vec![0; 3_000_000]).await.expect("the connection is not reset");
    client.shutdown().await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("the connection is not reset");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn a_panic_ends_its_own_connection_only() {
    let ground = start(Config::default());
    assert_eq!(ground.ask(&CLOSE.replacen('/', "/panic", 1)).await, "");
    assert!(ground.ask(CLOSE).await.ends_with("ok"));
    assert_eq!(ground.metrics.connections.value(), 0);
}
