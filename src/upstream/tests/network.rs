//! The real network, on loopback.

use std::net::IpAddr;

use http::Request;
use http_body_util::Full;
use tokio::net::TcpListener;

use super::*;
use crate::upstream::{
    self, Bound, Resolver,
    dial::{Dial, Network},
};

/// A listener that answers like `script`, and a configuration that pins `dl.test` to it.
async fn loopback(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> (Log, Config) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (log, script) = (Log::default(), Arc::new(script));
    let served = log.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, served.clone(), script.clone()));
        }
    });
    let mut world = World::new();
    let pinned = world.upstream("pinned", Kind::Origin, "http://dl.test");
    (pinned.address, pinned.hosts) = (Some(address), vec!["dl.test".parse().unwrap()]);
    (log, world.config)
}

#[tokio::test]
async fn a_pinned_host_is_fetched_over_real_sockets_and_its_connection_reused() {
    let (log, config) = loopback(|_| Reply::Send(ok("over tcp"))).await;
    let upstreams = upstream::new(config, Metrics::new().upstream).unwrap();
    for _ in 0..3 {
        assert_eq!(fetched(&upstreams, get("http://dl.test", "/x")).await.unwrap(), "over tcp");
    }
    assert_eq!((log.connections(), log.requests()), (1, 3));
}

#[tokio::test]
async fn a_tunnel_leads_to_the_pinned_address_and_carries_bytes_untouched() {
    let (log, config) = loopback(|_| Reply::Send(ok("tunnelled"))).await;
    let upstreams = upstream::new(config, Metrics::new().upstream).unwrap();
    let mut stream = upstreams.tunnel(&target("https://dl.test")).await.unwrap().stream;
    stream.write_all(b"GET /raw HTTP/1.1\r\n\r\n").await.unwrap();
    let answer = ok("tunnelled");
    let mut read = vec![0; answer.len()];
    stream.read_exact(&mut read).await.unwrap();
    assert_eq!(read, answer);
    assert_eq!(log.head(0), "GET /raw HTTP/1.1\r\n\r\n");
}

#[tokio::test]
async fn an_idle_connection_that_the_peer_closed_is_seen_by_looking_not_by_failing() {
    let (log, config) = loopback(|_| Reply::SendAndClose(ok("x"))).await;
    let metrics = Metrics::new();
    let upstreams = upstream::new(config, metrics.upstream.clone()).unwrap();
    for _ in 0..3 {
        assert_eq!(fetched(&upstreams, get("http://dl.test", "/")).await.unwrap(), "x");
    }
    assert_eq!((log.connections(), log.requests()), (3, 3));
}

#[tokio::test]
async fn no_post_is_lost_to_a_server_that_closes_after_each_answer() {
    let (log, config) = loopback(|_| Reply::SendAndClose(ok("x"))).await;
    let upstreams = upstream::new(config, Metrics::new().upstream).unwrap();
    for _ in 0..20 {
        let request = Request::post("/").header("content-length", "4").body(Full::from("soap")).unwrap();
        let response = upstreams.relay(&target("http://dl.test"), request, &mut Bound::default()).await.unwrap();
        assert_eq!(text(response).await.unwrap(), "x");
    }
    assert_eq!(log.requests(), 20);
}

#[tokio::test]
async fn the_name_servers_of_the_configuration_are_asked_and_their_answers_kept() {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server = socket.local_addr().unwrap();
    let queries = Arc::new(Mutex::new(0));
    let counted = queries.clone();
    tokio::spawn(async move {
        let mut query = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut query).await {
            *counted.lock().unwrap() += 1;
            socket.send_to(&dns_answer(&query[..length]), client).await.unwrap();
        }
    });
    let network = Network::new(&Resolver::Servers(vec![server])).unwrap();
    for _ in 0..3 {
        let mut addresses = network.resolve("dl.test").await.unwrap();
        addresses.sort();
        assert_eq!(addresses, ["192.0.2.7".parse::<IpAddr>().unwrap(), "2001:db8::7".parse().unwrap()]);
    }
    assert_eq!(*queries.lock().unwrap(), 2, "one for A and one for AAAA, then the cache");
    assert!(network.resolve("not a name").await.is_err());
}

#[tokio::test]
async fn without_any_name_server_weir_starts_and_names_fail_quickly() {
    let network = Network::new(&Resolver::Servers(Vec::new())).unwrap();
    let lookup = tokio::time::timeout(Duration::from_secs(5), network.resolve("dl.test")).await;
    assert!(lookup.unwrap().is_err());
}

/// 192.0.2.7 to a question for A, 2001:db8::7 to one for AAAA (RFC 1035 §4.1).
fn dns_answer(query: &[u8]) -> Vec<u8> {
    let name_end = 12 + query[12..].iter().position(|b| *b == 0).unwrap() + 1;
    let question = &query[12..name_end + 4];
    let kind = question[question.len() - 3];
    let address: IpAddr = if kind == 1 { "192.0.2.7" } else { "2001:db8::7" }.parse().unwrap();
    let octets = match address {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let mut answer = query[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    answer.extend(question);
    answer.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 1, 0, 0, octets.len() as u8]);
    answer.extend(octets);
    answer
}
