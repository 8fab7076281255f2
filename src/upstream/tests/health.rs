//! Ejection, probes, restoring; what the status page sees; reloading.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::upstream::{State, dial::Fault};

const PARENT: &str = "10.0.0.2:8080";

fn at() -> SocketAddr {
    PARENT.parse().unwrap()
}

/// A parent, and origins for when it fails.
fn family() -> World {
    let mut world = World::new();
    world.upstream("parent", Kind::Parent, "http://parent.corp:8080");
    world.server("parent.corp", PARENT, |_| Reply::Send(ok("parent's")));
    world.server("dl.test", "8.8.8.8:80", |_| Reply::Send(ok("origin's")));
    world
}

async fn got(upstreams: &Upstreams) -> String {
    fetched(upstreams, get("http://dl.test", "/")).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_parent_is_ejected_after_failures_in_a_row_and_restored_by_a_probe() {
    let world = family();
    let upstreams = world.start();
    world.net.always(at(), Fault::Refuse);
    for _ in 0..5 {
        assert_eq!(upstreams.health()[0].state, State::Healthy);
        assert_eq!(got(&upstreams).await, "origin's");
    }
    let ejected = &upstreams.health()[0];
    assert_eq!((ejected.state, &*ejected.name), (State::Ejected, "parent"));
    assert_eq!(ejected.last_error.as_deref(), Some("parent: connect: connection refused"));
    assert_eq!(world.metrics.upstream.named("parent").healthy.value(), 0);

    assert_eq!(got(&upstreams).await, "origin's");
    assert_eq!(world.net.attempts(at()), 5, "ejected: nobody waits for it");

    tokio::time::sleep(Duration::from_secs(30)).await;
    let probes = world.net.attempts(at()) - 5;
    assert!((3..=6).contains(&probes), "{probes} probes in 30 s: backoff grows");

    world.net.always(at(), Fault::None);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(upstreams.health()[0].state, State::Healthy);
    assert_eq!(got(&upstreams).await, "parent's");
    assert_eq!(world.metrics.upstream.named("parent").healthy.value(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_success_in_between_starts_the_count_anew() {
    let world = family();
    let upstreams = world.start();
    let refused = std::iter::repeat_n(Fault::Refuse, 4);
    world.net.script(at(), refused.clone().chain([Fault::EndAfter(10_000)]).chain(refused));
    for _ in 0..4 {
        assert_eq!(got(&upstreams).await, "origin's");
    }
    // One good exchange; dropping its successor closes the connection.
    assert_eq!(got(&upstreams).await, "parent's");
    drop(upstreams.fetch(get("http://dl.test", "/")).await.unwrap());
    tokio::time::sleep(HOUR).await;
    for _ in 0..4 {
        got(&upstreams).await;
    }
    assert_eq!(upstreams.health()[0].state, State::Healthy);
}

#[tokio::test(start_paused = true)]
async fn a_line_that_breaks_every_body_is_ejected_although_heads_arrive() {
    let mut world = World::new();
    world.upstream("parent", Kind::Parent, "http://parent.corp:8080");
    world.server("parent.corp", PARENT, |_| Reply::SendAndClose(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc".to_vec()));
    let upstreams = world.start();
    for path in ["/a", "/b", "/c", "/d", "/e"] {
        assert_eq!(upstreams.health()[0].state, State::Healthy);
        assert!(fetched(&upstreams, get("http://dl.test", path)).await.is_err());
    }
    assert_eq!(upstreams.health()[0].state, State::Ejected);
}

#[tokio::test(start_paused = true)]
async fn one_object_that_always_breaks_does_not_eject_its_upstream() {
    let mut world = World::new();
    world.upstream("parent", Kind::Parent, "http://parent.corp:8080");
    world.server("parent.corp", PARENT, |_| Reply::SendAndClose(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc".to_vec()));
    let upstreams = world.start();
    for turn in 0..20 {
        // Each time with another signature.
        assert!(fetched(&upstreams, get("http://dl.test", &format!("/bad.iso?sig={turn}"))).await.is_err());
    }
    assert_eq!(upstreams.health()[0].state, State::Healthy);
    assert_eq!(world.metrics.upstream.named("parent").errors.value("broken"), 20, "counted all the same");
}

#[tokio::test(start_paused = true)]
async fn the_bad_luck_of_one_origin_does_not_eject_the_parent() {
    let mut world = World::new();
    world.upstream("parent", Kind::Parent, "http://parent.corp:8080");
    world.server("parent.corp", PARENT, |_| Reply::Send(answer("504 Gateway Timeout", "", "")));
    world.server("dl.test", "8.8.8.8:80", |_| Reply::Send(ok("origin's")));
    let upstreams = world.start();
    for _ in 0..20 {
        assert_eq!(got(&upstreams).await, "origin's");
    }
    assert_eq!(upstreams.health()[0].state, State::Healthy);
    assert_eq!(world.metrics.upstream.named("parent").errors.value("refused"), 20);
}

#[tokio::test(start_paused = true)]
async fn when_everything_is_ejected_the_least_bad_one_is_still_asked() {
    let mut world = World::new();
    for name in ["one", "two"] {
        world.upstream(name, Kind::Parent, &format!("http://{name}.corp")).only_parents = true;
    }
    world.server("one.corp", "10.0.0.3:80", |_| Reply::Send(ok("one's")));
    world.server("two.corp", "10.0.0.4:80", |_| Reply::Send(ok("two's")));
    let (one, two) = ("10.0.0.3:80".parse().unwrap(), "10.0.0.4:80".parse().unwrap());
    world.net.always(one, Fault::Refuse);
    world.net.always(two, Fault::Refuse);
    let upstreams = world.start();
    for _ in 0..6 {
        assert!(fetched(&upstreams, get("http://dl.test", "/")).await.is_err());
    }
    assert!(upstreams.health()[..2].iter().all(|upstream| upstream.state == State::Ejected));
    world.net.always(two, Fault::None);
    assert_eq!(got(&upstreams).await, "two's");
    assert_eq!(upstreams.health()[1].state, State::Healthy, "a request restores as well as a probe");
}

#[tokio::test(start_paused = true)]
async fn a_probe_path_must_be_answered_and_not_with_an_error() {
    let mut world = World::new();
    world.upstream("parent", Kind::Parent, "http://parent.corp:8080").probe = Some("/healthz".into());
    let works = Arc::new(AtomicBool::new(false));
    let answers = works.clone();
    let log = world.server("parent.corp", PARENT, move |seen| {
        if answers.load(Ordering::Relaxed) {
            Reply::Send(ok("fine"))
        } else if seen.head.starts_with("GET /healthz ") {
            Reply::Send(answer("503 Service Unavailable", "", ""))
        } else {
            Reply::Close
        }
    });
    world.server("dl.test", "8.8.8.8:80", |_| Reply::Send(ok("origin's")));
    let upstreams = world.start();
    for _ in 0..5 {
        assert_eq!(got(&upstreams).await, "origin's");
    }
    tokio::time::sleep(HOUR).await;
    assert_eq!(upstreams.health()[0].state, State::Ejected);
    assert_eq!(log.head(5), "GET /healthz HTTP/1.1\r\nHost: parent.corp:8080\r\n\r\n");
    works.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(upstreams.health()[0].state, State::Healthy);
}

#[tokio::test(start_paused = true)]
async fn origins_nobody_configured_are_never_ejected() {
    let world = World::new();
    let upstreams = world.start();
    for _ in 0..20 {
        assert!(fetched(&upstreams, get("http://unknown.test", "/")).await.is_err());
    }
    let health = &upstreams.health()[0];
    assert_eq!((&*health.name, health.state), ("origin", State::Healthy));
    assert_eq!(world.metrics.upstream.named("origin").errors.value("resolve"), 20);
}

#[tokio::test(start_paused = true)]
async fn the_status_page_sees_connections_bytes_and_latency() {
    let world = family();
    let upstreams = world.start();
    let running = upstreams.fetch(get("http://dl.test", "/")).await.unwrap();
    assert_eq!(upstreams.health()[0].connections_in_use, 1);
    text(running.response).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let health = &upstreams.health()[0];
    assert_eq!((health.connections_in_use, health.connections_idle, health.received_bytes), (0, 1, 8));
    assert_eq!((health.kind, &*health.url), (Kind::Parent, "http://parent.corp:8080"));
    assert!(health.latency.is_some());
    assert_eq!(world.metrics.upstream.named("parent").received_bytes.value(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_what_did_not_change() {
    let mut world = family();
    let upstreams = world.start();
    got(&upstreams).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    world.upstream("another", Kind::Parent, "http://another.corp").order = 1;
    upstreams.reload(world.config.clone()).unwrap();
    let health = upstreams.health();
    assert_eq!((&*health[0].name, health[0].connections_idle, health[0].received_bytes), ("parent", 1, 8));
    assert_eq!(&*health[1].name, "another");

    world.config.upstreams[0].host = Some("changed".into());
    upstreams.reload(world.config.clone()).unwrap();
    assert_eq!(upstreams.health()[0].connections_idle, 0, "another upstream now");
    assert_eq!(got(&upstreams).await, "parent's");
}

#[tokio::test(start_paused = true)]
async fn connections_made_under_other_rules_serve_nobody_after_a_reload() {
    let mut world = family();
    let log = world.server("kept.test", "8.8.4.4:80", |_| Reply::Send(ok(&"x".repeat(100_000))));
    world.config.upstreams.clear();
    let upstreams = world.start();
    let running = upstreams.fetch(get("http://kept.test", "/")).await.unwrap();
    world.config.own.addresses = vec!["192.168.1.1".parse().unwrap()];
    upstreams.reload(world.config.clone()).unwrap();
    assert_eq!(text(running.response).await.unwrap().len(), 100_000, "what runs goes on");
    fetched(&upstreams, get("http://kept.test", "/")).await.unwrap();
    assert_eq!(log.connections(), 2);
    upstreams.reload(world.config.clone()).unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    fetched(&upstreams, get("http://kept.test", "/")).await.unwrap();
    assert_eq!(log.connections(), 2, "the same rules: kept");
}

#[tokio::test(start_paused = true)]
async fn a_reload_goes_on_probing_what_was_ejected() {
    let mut world = family();
    let upstreams = world.start();
    world.net.always(at(), Fault::Refuse);
    for _ in 0..5 {
        got(&upstreams).await;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.upstream("another", Kind::Origin, "http://another.corp");
    upstreams.reload(world.config.clone()).unwrap();
    assert_eq!(upstreams.health()[0].state, State::Ejected);
    world.net.always(at(), Fault::None);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(upstreams.health()[0].state, State::Healthy);
}

#[tokio::test(start_paused = true)]
async fn a_bad_configuration_is_refused_and_the_old_one_stays() {
    let mut world = family();
    let upstreams = world.start();
    world.upstream("parent", Kind::Origin, "http://second.corp");
    assert!(upstreams.reload(world.config.clone()).is_err(), "a name twice");
    world.config.upstreams.pop();
    for (host, probe) in [(Some("two\nlines"), None), (None, Some("relative"))] {
        let mut config = world.config.clone();
        (config.upstreams[0].host, config.upstreams[0].probe) = (host.map(Into::into), probe.map(Into::into));
        assert!(upstreams.reload(config).is_err(), "{host:?} {probe:?}");
    }
    world.config.ca_files = vec!["/no/such/file.pem".into()];
    assert!(upstreams.reload(world.config.clone()).is_err());
    assert_eq!(got(&upstreams).await, "parent's");
}

#[tokio::test(start_paused = true)]
async fn it_is_known_since_when_an_upstream_is_as_it_is() {
    let mut world = World::new();
    world.upstream("parent", Kind::Parent, "http://parent.corp:8080");
    world.server("parent.corp", PARENT, |_| Reply::Send(ok("parent's")));
    world.server("dl.test", "8.8.8.8:80", |_| Reply::Send(ok("origin's")));
    let upstreams = world.start();
    let since = || (upstreams.health()[0].state, upstreams.health()[0].since);
    tokio::time::sleep(HOUR).await;
    assert_eq!(since(), (State::Healthy, HOUR));
    world.net.script(at(), std::iter::repeat_n(Fault::Refuse, 5));
    for _ in 0..5 {
        assert_eq!(got(&upstreams).await, "origin's");
    }
    assert!(matches!(since(), (State::Ejected, since) if since < HOUR), "{:?}", since());
    tokio::time::sleep(HOUR).await;
    assert!(
        matches!(since(), (State::Healthy, since) if since > HOUR / 2 && since <= HOUR),
        "probed and restored: {:?}",
        since()
    );
}
