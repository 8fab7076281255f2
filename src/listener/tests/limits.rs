use super::*;
use crate::listener::Limits;

fn limited(connections: usize, connections_per_client: usize) -> Config {
    Config { limits: Limits { connections, connections_per_client, ..Limits::default() }, ..Config::default() }
}

#[tokio::test]
async fn beyond_the_connection_limit_the_answer_is_503() {
    let ground = start(limited(1, 1));
    let mut first = ground.connect().await;
    first.write_all(KEEP.as_bytes()).await.unwrap();
    read_until(&mut first, "ok").await;
    let refused = ground.ask(KEEP).await;
    assert!(refused.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{refused}");
    assert_eq!(*ground.site.refused.lock().unwrap(), ["GET / connection-limit"]);
    assert_eq!((ground.metrics.shed.value(), ground.metrics.shed_silently.value()), (1, 0));

    first.write_all(CLOSE.as_bytes()).await.unwrap();
    assert!(read_all(&mut first).await.ends_with("ok"), "who is in stays in");
    while ground.running.connections() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(ground.ask(CLOSE).await.ends_with("ok"), "the place is free again");
}

#[tokio::test]
async fn beyond_the_limit_of_one_client_the_answer_is_503() {
    let ground = start(limited(100, 1));
    let mut first = ground.connect().await;
    first.write_all(KEEP.as_bytes()).await.unwrap();
    read_until(&mut first, "ok").await;
    assert!(ground.ask(KEEP).await.starts_with("HTTP/1.1 503 "));
}

#[tokio::test]
async fn beyond_the_503_answers_connections_are_closed() {
    let ground = start(limited(1, 1));
    let mut first = ground.connect().await;
    first.write_all(KEEP.as_bytes()).await.unwrap();
    read_until(&mut first, "ok").await;
    // They say nothing, so each keeps one answer busy.
    let mut silent = Vec::new();
    for _ in 0..crate::listener::shed::ANSWERS_MAX {
        silent.push(ground.connect().await);
    }
    let mut beyond = ground.connect().await;
    assert_eq!(read_all(&mut beyond).await, "");
    assert_eq!((ground.metrics.shed.value(), ground.metrics.shed_silently.value()), (65, 1));
}

fn behind_balancer(networks: &str) -> Config {
    let socket = Socket { proxy_protocol_from: vec![networks.parse().unwrap()], ..plain_socket() };
    Config { sockets: vec![socket], ..Config::default() }
}

#[tokio::test]
async fn a_balancer_says_who_the_client_is() {
    let ground = start(behind_balancer("127.0.0.0/8"));
    let who = CLOSE.replacen('/', "/who", 1);
    let v1 = ground.ask(&format!("PROXY TCP4 192.0.2.7 198.51.100.1 56324 8080\r\n{who}")).await;
    assert!(v1.ends_with("192.0.2.7:56324 198.51.100.1:8080 None"), "{v1}");

    let v2 = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\xdc\x04\x1f\x90"[..], who.as_bytes()].concat();
    let mut client = ground.connect().await;
    client.write_all(&v2).await.unwrap();
    let v2 = read_all(&mut client).await;
    assert!(v2.ends_with("192.0.2.7:56324 198.51.100.1:8080 None"), "{v2}");
}

#[tokio::test]
async fn a_balancer_that_says_nothing_or_nonsense_is_closed() {
    let ground = start(behind_balancer("127.0.0.0/8"));
    assert_eq!(ground.ask(CLOSE).await, "");
    assert_eq!(ground.metrics.proxy_protocol_errors.value("missing"), 1);
    assert_eq!(ground.ask("PROXY TCP4 me you 1 2\r\n").await, "");
    assert_eq!(ground.metrics.proxy_protocol_errors.value("malformed"), 1);
    assert!(ground.site.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn nobody_else_may_say_who_the_client_is() {
    let ground = start(behind_balancer("192.0.2.0/24"));
    assert_eq!(ground.ask(&format!("PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n{CLOSE}")).await, "");
    assert_eq!(ground.metrics.proxy_protocol_errors.value("forbidden"), 1);
    assert!(ground.ask(CLOSE).await.ends_with("ok"), "without a header it is served");
}

#[tokio::test]
async fn the_limit_of_one_client_is_not_the_balancers() {
    let ground = start(Config { limits: limited(100, 1).limits, ..behind_balancer("127.0.0.0/8") });
    let mut clients = Vec::new();
    for host in 1..4 {
        let mut client = ground.connect().await;
        client.write_all(format!("PROXY TCP4 192.0.2.{host} 198.51.100.1 1 2\r\n{KEEP}").as_bytes()).await.unwrap();
        assert!(read_until(&mut client, "ok").await.starts_with("HTTP/1.1 200 OK"));
        clients.push(client);
    }
    let again = format!("PROXY TCP4 192.0.2.1 198.51.100.1 1 2\r\n{KEEP}");
    assert!(ground.ask(&again).await.starts_with("HTTP/1.1 503 "));
}
