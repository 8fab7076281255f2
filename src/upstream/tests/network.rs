//! The real network, on loopback.

use tokio::net::TcpListener;

use super::*;
use crate::upstream;

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
    let mut stream = upstreams.tunnel(&target("https://dl.test")).await.unwrap();
    stream.write_all(b"GET /raw HTTP/1.1\r\n\r\n").await.unwrap();
    let answer = ok("tunnelled");
    let mut read = vec![0; answer.len()];
    stream.read_exact(&mut read).await.unwrap();
    assert_eq!(read, answer);
    assert_eq!(log.head(0), "GET /raw HTTP/1.1\r\n\r\n");
}
