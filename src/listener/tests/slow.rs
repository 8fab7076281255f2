//! Slow clients, in paused time.

use tokio::time::Instant;

use super::*;

/// How long it takes until the connection ends, to the second.
async fn ends_after(client: &mut (impl AsyncRead + Unpin)) -> u64 {
    let began = Instant::now();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    began.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_ends_after_the_head_timeout() {
    let bench = bench(&Config::default());
    assert_eq!(ends_after(&mut bench.connect(1024)).await, 30);
    assert_eq!(bench.metrics.timeouts.value("head"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_trickles_in_ends_after_the_head_timeout() {
    let bench = bench(&Config::default());
    let mut client = bench.connect(1024);
    let began = Instant::now();
    let trickle = async {
        loop {
            client.write_all(b"x").await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let result: std::io::Result<()> = trickle.await;
    assert!(result.is_err());
    assert!((30..=31).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert_eq!(bench.metrics.timeouts.value("head"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_outlives_the_head_timeout() {
    let bench = bench(&Config::default());
    let mut client = bench.connect(1024);
    client.write_all(KEEP.as_bytes()).await.unwrap();
    read_until(&mut client, "ok").await;
    tokio::time::sleep(Duration::from_secs(64)).await;
    client.write_all(KEEP.as_bytes()).await.unwrap();
    read_until(&mut client, "ok").await;
    assert_eq!(ends_after(&mut client).await, 65);
    assert_eq!(bench.metrics.timeouts.value("idle"), 1);
}

#[tokio::test(start_paused = true)]
async fn the_head_of_a_later_request_has_the_head_timeout() {
    let bench = bench(&Config::default());
    let mut client = bench.connect(1024);
    client.write_all(KEEP.as_bytes()).await.unwrap();
    read_until(&mut client, "ok").await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    client.write_all(b"GET /").await.unwrap();
    assert_eq!(ends_after(&mut client).await, 30);
    assert_eq!(bench.metrics.timeouts.value("head"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_ends_after_the_write_stall() {
    let bench = bench(&Config::default());
    let mut client = bench.connect(1024);
    client.write_all(KEEP.replacen('/', "/large", 1).as_bytes()).await.unwrap();
    read_until(&mut client, "\r\n\r\n").await;
    let began = Instant::now();
    while bench.metrics.timeouts.value("write") == 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!((60..=61).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_a_little_now_and_then_is_served_on() {
    let bench = bench(&Config::default());
    let mut client = bench.connect(1024);
    client.write_all(KEEP.replacen('/', "/large", 1).as_bytes()).await.unwrap();
    let mut some = [0; 512];
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(50)).await;
        client.read_exact(&mut some).await.unwrap();
    }
    assert_eq!(bench.metrics.timeouts.value("write"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_is_no_fault_of_the_client() {
    let bench = bench(&Config::default());
    let mut client = bench.connect(1024);
    client.write_all(KEEP.replacen('/', "/held", 1).as_bytes()).await.unwrap();
    bench.site.arrived.notified().await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    bench.site.release.notify_one();
    assert!(read_until(&mut client, "held").await.starts_with("HTTP/1.1 200 OK\r\n"));
    client.write_all(KEEP.replacen('/', "/stuck", 1).as_bytes()).await.unwrap();
    read_until(&mut client, "\r\n\r\n").await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(bench.metrics.connections.value(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_body_that_stops_fails_after_the_body_stall() {
    let bench = bench(&Config::default());
    let mut client = bench.connect(1024);
    client.write_all(b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n12345").await.unwrap();
    let began = Instant::now();
    let answer = read_until(&mut client, "for 30s").await;
    assert!(answer.contains("client sent nothing of its request body"), "{answer}");
    assert_eq!(began.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_request_body_that_goes_on_is_waited_for() {
    let bench = bench(&Config::default());
    let mut client = bench.connect(1024);
    client.write_all(b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n").await.unwrap();
    for byte in b"12345" {
        tokio::time::sleep(Duration::from_secs(29)).await;
        client.write_all(&[*byte]).await.unwrap();
    }
    read_until(&mut client, "\r\n\r\n12345").await;
}

async fn http2_client(
    io: tokio::io::DuplexStream,
) -> (hyper::client::conn::http2::SendRequest<http_body_util::Empty<Bytes>>, tokio::task::JoinHandle<hyper::Result<()>>) {
    let io = hyper_util::rt::TokioIo::new(io);
    let (client, connection) = hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io).await.unwrap();
    (client, tokio::spawn(connection))
}

fn get(url: &str) -> Request<http_body_util::Empty<Bytes>> {
    Request::get(url).body(http_body_util::Empty::new()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_idle_http_2_connection_is_told_goodbye() {
    let bench = bench(&Config::default());
    let (mut client, connection) = http2_client(bench.connect(64 << 10)).await;
    client.send_request(get("http://h/")).await.unwrap().into_body().collect().await.unwrap();
    let began = Instant::now();
    connection.await.unwrap().expect("closed in good order");
    assert!((65..=66).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert_eq!(bench.metrics.timeouts.value("idle"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_http_2_client_that_opens_no_window_ends_after_the_write_stall() {
    let bench = bench(&Config::default());
    let (mut client, _connection) = http2_client(bench.connect(64 << 10)).await;
    let response = client.send_request(get("http://h/large")).await.unwrap();
    let began = Instant::now();
    // The body is held and not read: PINGs are answered, the window stays shut.
    while bench.metrics.timeouts.value("write") == 0 {
        assert!(began.elapsed() < Duration::from_secs(200), "still open");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(began.elapsed() >= Duration::from_secs(59), "{:?}", began.elapsed());
    drop(response);
}

#[tokio::test(start_paused = true)]
async fn what_a_refused_client_goes_on_sending_is_read_for_a_while_only() {
    let bench = bench(&Config::default());
    let mut client = bench.connect(1024);
    client.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n").await.unwrap();
    read_until(&mut client, "ok").await;
    let began = Instant::now();
    while bench.metrics.connections.value() > 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let _ = client.write(b"x").await;
    }
    assert!((1..=3).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}
