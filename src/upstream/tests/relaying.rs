//! Pass: requests that are sent at most once.

use http::Request;

use super::*;
use crate::upstream::Bound;

#[tokio::test(start_paused = true)]
async fn a_post_goes_through_the_door_with_the_clients_host() {
    let mut world = World::new();
    world.upstream("wsus", Kind::Origin, "http://wsus.corp:8530");
    let log = world.server("wsus.corp", "10.0.0.9:8530", |_| Reply::Send(ok("<Envelope/>")));
    let upstreams = world.start();
    let request = Request::post("/ClientWebService/client.asmx")
        .header("host", "branch-cache:8530")
        .header("soapaction", "\"x\"")
        .header("content-length", "4")
        .body(http_body_util::Full::new(Bytes::from_static(b"soap")))
        .unwrap();
    let response = upstreams.relay(&through("wsus", "http://wsus.corp:8530"), request, &mut Bound::default()).await.unwrap();
    assert_eq!(text(response).await.unwrap(), "<Envelope/>");
    let seen = &log.seen()[0];
    assert!(seen.head.contains("Host: branch-cache:8530\r\n") && seen.head.contains("Soapaction: \"x\"\r\n"), "{}", seen.head);
    assert_eq!(seen.body, b"soap");
}
