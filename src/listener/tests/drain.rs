use super::*;
use crate::listener::Drained;

#[tokio::test]
async fn a_running_response_is_finished_and_no_connection_accepted() {
    let ground = start(Config::default());
    let mut client = ground.connect().await;
    client.write_all(KEEP.replacen('/', "/held", 1).as_bytes()).await.unwrap();
    ground.site.arrived.notified().await;
    let mut idle = ground.connect().await;
    idle.write_all(KEEP.as_bytes()).await.unwrap();
    read_until(&mut idle, "ok").await;

    let mut running = ground.running;
    let drain = tokio::spawn(async move { running.shutdown(sleep(SOON)).await });
    assert_eq!(read_all(&mut idle).await, "", "an idle connection is closed at once");
    assert!(TcpStream::connect(ground.address).await.is_err(), "nobody listens any more");
    ground.site.release.notify_one();
    let answer = read_all(&mut client).await;
    assert!(answer.ends_with("held"), "{answer}");
    assert_eq!(drain.await.unwrap(), Drained { finished: 2, cut: 0 });
}

#[tokio::test]
async fn what_outlasts_the_grace_period_is_cut() {
    let mut ground = start(Config::default());
    let mut stuck = ground.connect().await;
    stuck.write_all(KEEP.replacen('/', "/stuck", 1).as_bytes()).await.unwrap();
    ground.site.arrived.notified().await;
    let mut tunnel = ground.connect().await;
    tunnel.write_all(b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n").await.unwrap();
    read_until(&mut tunnel, "\r\n\r\n").await;

    let drained = ground.running.shutdown(sleep(Duration::from_millis(50))).await;
    assert_eq!(drained, Drained { finished: 0, cut: 2 });
    assert!(!read_all(&mut stuck).await.ends_with("0\r\n\r\n"), "a cut response does not look whole");
    assert_eq!(read_all(&mut tunnel).await, "");
}

#[tokio::test]
async fn a_listener_that_is_dropped_cuts_its_connections() {
    let ground = start(Config::default());
    let mut client = ground.connect().await;
    client.write_all(KEEP.as_bytes()).await.unwrap();
    read_until(&mut client, "ok").await;
    drop(ground.running);
    assert_eq!(read_all(&mut client).await, "");
}

#[tokio::test]
async fn a_head_that_was_coming_when_the_drain_began_is_answered() {
    let ground = start(Config::default());
    let mut client = ground.connect().await;
    client.write_all(KEEP.as_bytes()).await.unwrap();
    read_until(&mut client, "ok").await;
    let (first, second) = KEEP.split_at(20);
    client.write_all(first.as_bytes()).await.unwrap();
    // Another connection's answer shows that the first half was read: there is one thread.
    ground.ask(CLOSE).await;
    let mut running = ground.running;
    let drain = tokio::spawn(async move { running.shutdown(sleep(SOON)).await });
    tokio::task::yield_now().await;
    client.write_all(second.as_bytes()).await.unwrap();
    let answer = read_all(&mut client).await;
    assert!(answer.ends_with("ok"), "{answer}");
    assert_eq!(drain.await.unwrap().cut, 0);
}
