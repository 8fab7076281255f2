//! Behind a load balancer: a PROXY protocol header says for whom a connection is, from those who may say it and from nobody else.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::net::TcpSocket;

use crate::support::{Client, Content, KIB, Origin, Proxy, Resource, eventually, proxy};

const REQUEST: &[u8] = b"GET /a HTTP/1.1\r\nHost: cdn.test\r\nConnection: close\r\n\r\n";
const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 80\r\n";
const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A weir whose second port is for balancers at 127.0.0.1 only, and that port.
async fn scene() -> (Origin, Proxy, SocketAddr) {
    let origin = Origin::start().await;
    origin.serve("/a", Resource::new(&Content::new("a", KIB)));
    let listen = "[[listen]]\naddress = \"127.0.0.1:0\"\nproxy_protocol_from = [\"127.0.0.1/32\"]\n";
    let weir = proxy().upstream("cdn.test", &origin).config(listen).start().await;
    let port = weir.said().lines().filter(|line| line.contains("transparent")).nth(1).and_then(address).expect("a second port");
    assert_ne!(port, weir.doors());
    (origin, weir, port)
}

/// The address in `listening on 127.0.0.1:41234 (…)`.
fn address(line: &str) -> Option<SocketAddr> {
    line.split_once("listening on ")?.1.split(' ').next()?.parse().ok()
}

/// A version 2 header: PROXY over TCP and IPv6, with an extension.
fn v2() -> Vec<u8> {
    let source = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
    let block = [&source[..], &source, &[0xdc, 4, 0, 80], b"\x04\x00\x01x"].concat();
    [V2_START, &[0x21, 0x21, 0, block.len() as u8], &block].concat()
}

/// The status of the answer to `bytes`; `None` when the connection is closed without one.
async fn status(port: SocketAddr, bytes: &[u8]) -> Option<u16> {
    let mut client = Client::connect(port).await;
    client.send(bytes).await;
    client.try_reply("GET").await.map(|reply| reply.status)
}

async fn client_in_log(weir: &Proxy, number: usize) -> Value {
    let line = eventually("a line in the access log", || async { weir.log().get(number).cloned() }).await;
    line["client"].clone()
}

#[tokio::test]
async fn the_client_that_a_header_names_is_in_the_access_log() {
    let (_origin, weir, port) = scene().await;
    let local = [V2_START, &[0x20, 0, 0, 0]].concat();
    let unknown = b"PROXY UNKNOWN\r\n".to_vec();
    let headers = [(V1.to_vec(), "192.0.2.7"), (v2(), "2001:db8::9"), (local, "127.0.0.1"), (unknown, "127.0.0.1")];
    for (number, (header, client)) in headers.into_iter().enumerate() {
        assert_eq!(status(port, &[&header[..], REQUEST].concat()).await, Some(200), "{client}");
        assert_eq!(client_in_log(&weir, number).await, client);
    }
}

#[tokio::test]
async fn a_header_that_comes_byte_by_byte_is_a_header() {
    let (_origin, weir, port) = scene().await;
    for (number, header) in [V1.to_vec(), v2()].into_iter().enumerate() {
        let mut client = Client::connect(port).await;
        for byte in &header {
            client.send([*byte]).await;
            tokio::task::yield_now().await;
        }
        client.send(REQUEST).await;
        assert_eq!(client.reply("GET").await.status, 200);
        assert_ne!(client_in_log(&weir, number).await, "127.0.0.1");
    }
}

#[tokio::test]
async fn a_header_from_somebody_who_may_not_send_one_closes_the_connection() {
    let (origin, weir, port) = scene().await;
    for header in [V1.to_vec(), v2()] {
        assert_eq!(status(weir.doors(), &[&header[..], REQUEST].concat()).await, None, "on a port without balancers");
    }
    let stranger = || async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        Client::over(socket.connect(port).await.unwrap())
    };
    let mut lying = stranger().await;
    lying.send([V1, REQUEST].concat()).await;
    assert!(lying.try_reply("GET").await.is_none(), "from another address than the balancer's");
    assert_eq!(weir.metric("weir_proxy_protocol_errors_total", &[("reason", "forbidden")]).await, 3.0);
    assert_eq!(origin.requests("/a"), 0);

    let mut honest = stranger().await;
    honest.send(REQUEST).await;
    assert_eq!(honest.reply("GET").await.status, 200, "without a header it is a client like any other");
    assert_eq!(client_in_log(&weir, 0).await, "127.0.0.2");
}

#[tokio::test]
async fn a_balancer_that_says_nothing_or_nonsense_is_closed_and_counted() {
    let (origin, weir, port) = scene().await;
    assert_eq!(status(port, REQUEST).await, None, "no header");
    let short_block = [V2_START, &[0x21, 0x11, 0, 4, 1, 2, 3, 4]].concat();
    let too_long = [V2_START, &[0x21, 0x11, 0xff, 0xff]].concat();
    let nonsense = [
        b"PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n".to_vec(),
        b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n".to_vec(),
        [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat(),
        short_block,
        too_long,
    ];
    for header in &nonsense {
        assert_eq!(status(port, &[header, REQUEST].concat()).await, None, "{}", header.escape_ascii());
    }
    assert_eq!(weir.metric("weir_proxy_protocol_errors_total", &[("reason", "missing")]).await, 1.0);
    assert_eq!(weir.metric("weir_proxy_protocol_errors_total", &[("reason", "malformed")]).await, nonsense.len() as f64);
    assert_eq!(origin.requests("/a"), 0);
    assert_eq!(status(port, &[V1, REQUEST].concat()).await, Some(200), "afterwards as before");
}
