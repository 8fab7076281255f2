//! Content from one server, and everything that server may do wrong.

use tokio::time::Instant;

use super::*;
use crate::upstream::{Framing, dial::Fault};

const AT: &str = "8.8.8.8:80";

fn at() -> SocketAddr {
    AT.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn content_comes_with_its_framing_and_source() {
    let world = World::new();
    let log = world.server("dl.test", "8.8.8.8:8080", |_| Reply::Send(ok("content")));
    let upstreams = world.start();
    let fetched = upstreams.fetch(get("http://dl.test:8080", "/a?b=c")).await.unwrap();
    assert_eq!((&*fetched.source, &*fetched.upstream), ("dl.test:8080", "origin"));
    assert_eq!(fetched.response.body().framing(), Framing::Length(7));
    assert_eq!(text(fetched.response).await.unwrap(), "content");
    assert_eq!(log.head(0), "GET /a?b=c HTTP/1.1\r\nHost: dl.test:8080\r\n\r\n");
}

#[tokio::test(start_paused = true)]
async fn fields_keep_their_order_and_host_cannot_be_forged_by_them() {
    let world = World::new();
    let log = world.server("dl.test", AT, |_| Reply::Send(ok("")));
    let mut ask = get("http://dl.test", "/");
    ask.fields.append("range", "bytes=0-1".parse().unwrap());
    ask.fields.append("accept", "a".parse().unwrap());
    ask.fields.append("accept", "b".parse().unwrap());
    ask.fields.insert("host", "evil.test".parse().unwrap());
    fetched(&world.start(), ask).await.unwrap();
    assert_eq!(log.head(0), "GET / HTTP/1.1\r\nHost: dl.test\r\nRange: bytes=0-1\r\nAccept: a\r\nAccept: b\r\n\r\n");
}

#[tokio::test(start_paused = true)]
async fn chunked_and_close_delimited_bodies_say_so() {
    let world = World::new();
    world.server("dl.test", AT, |seen| match seen.number {
        0 => Reply::Send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_vec()),
        _ => Reply::SendAndClose(b"HTTP/1.0 200 OK\r\n\r\nabc".to_vec()),
    });
    let upstreams = world.start();
    for framing in [Framing::Chunked, Framing::Close] {
        let fetched = upstreams.fetch(get("http://dl.test", "/")).await.unwrap();
        assert_eq!(fetched.response.body().framing(), framing);
        assert_eq!(text(fetched.response).await.unwrap(), "abc");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_cut_short_is_an_error_whatever_its_framing() {
    for cut in [
        "Content-Length: 9\r\n\r\nabc",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "Transfer-Encoding: chunked\r\n\r\n9\r\nabc",
    ] {
        let world = World::new();
        let bytes = format!("HTTP/1.1 200 OK\r\n{cut}").into_bytes();
        world.server("dl.test", AT, move |_| Reply::SendAndClose(bytes.clone()));
        let error = fetched(&world.start(), get("http://dl.test", "/")).await.unwrap_err();
        assert!(matches!(error, Error::Broken { .. }), "{cut:?}: {error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reset_inside_the_body_is_told_once_and_then_the_body_ends() {
    let world = World::new();
    world.server("dl.test", AT, |_| Reply::Send(ok(&"x".repeat(5000))));
    world.net.script(at(), [Fault::ResetAfter(1000)]);
    let mut body = world.start().fetch(get("http://dl.test", "/")).await.unwrap().response.into_body();
    let mut received = 0;
    let error = loop {
        match body.frame().await.unwrap() {
            Ok(frame) => received += frame.data_ref().unwrap().len(),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Broken { .. }) && received < 1000, "{received} bytes, then {error:?}");
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_stalled_body_is_an_error_after_the_stall_timeout() {
    let world = World::new();
    world.server("dl.test", AT, |_| Reply::SendThen(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc".to_vec(), HOUR, vec![]));
    let started = Instant::now();
    let error = fetched(&world.start(), get("http://dl.test", "/")).await.unwrap_err();
    assert!(matches!(error, Error::Stalled { .. }), "{error:?}");
    assert_eq!(started.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_no_stall() {
    let world = World::new();
    world.server("dl.test", AT, |_| Reply::Send(ok("abc")));
    let fetched = world.start().fetch(get("http://dl.test", "/")).await.unwrap();
    tokio::time::sleep(HOUR).await;
    assert_eq!(text(fetched.response).await.unwrap(), "abc");
}

#[tokio::test(start_paused = true)]
async fn a_trickle_that_never_stalls_is_read_to_its_end() {
    let world = World::new();
    world.server("dl.test", AT, |_| Reply::Send(ok("0123456789")));
    world.net.always(at(), Fault::Slow { bytes: 1, every: Duration::from_secs(8) });
    let mut config = world.config.clone();
    config.timeouts.first_byte = HOUR;
    let upstreams = with_dial(config, Arc::new(world.net.clone()), world.metrics.upstream.clone()).unwrap();
    assert_eq!(fetched(&upstreams, get("http://dl.test", "/")).await.unwrap(), "0123456789");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_given_up_after_the_first_byte_timeout_and_not_asked_again() {
    let world = World::new();
    let log = world.server("dl.test", AT, |_| Reply::Silence);
    let started = Instant::now();
    let error = fetched(&world.start(), get("http://dl.test", "/")).await.unwrap_err();
    assert!(matches!(error, Error::FirstByteTimeout { .. }), "{error:?}");
    assert_eq!((started.elapsed().as_secs(), log.requests()), (60, 1));
}

#[tokio::test(start_paused = true)]
async fn passing_trouble_is_retried_with_backoff() {
    let world = World::new();
    world.server("dl.test", AT, |_| Reply::Send(ok("third time")));
    world.net.script(at(), [Fault::Refuse, Fault::Refuse]);
    let (upstreams, started) = (world.start(), Instant::now());
    assert_eq!(fetched(&upstreams, get("http://dl.test", "/")).await.unwrap(), "third time");
    assert!(started.elapsed() >= Duration::from_millis(150), "{:?}", started.elapsed());

    let world = World::new();
    world.server("dl.test", AT, |_| Reply::Send(ok("never")));
    world.net.always(at(), Fault::Refuse);
    let error = fetched(&world.start(), get("http://dl.test", "/")).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error:?}");
    assert_eq!(world.net.attempts(at()), 3);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_up_gets_a_request_twice_at_most() {
    for first_is_answered in [false, true] {
        let world = World::new();
        let log = world.server("dl.test", AT, move |seen| match seen.number {
            0 if first_is_answered => Reply::Send(ok("kept open")),
            _ => Reply::Close,
        });
        let upstreams = world.start();
        if first_is_answered {
            fetched(&upstreams, get("http://dl.test", "/")).await.unwrap();
        }
        let before = log.requests();
        let error = fetched(&upstreams, get("http://dl.test", "/")).await.unwrap_err();
        assert!(matches!(error, Error::Broken { .. }), "{error:?}");
        assert_eq!(log.requests() - before, 2, "on a kept connection first: {first_is_answered}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_hangs_costs_the_connect_timeout_once() {
    let world = World::new();
    world.server("dl.test", AT, |_| Reply::Close);
    world.net.always(at(), Fault::Hang);
    let started = Instant::now();
    let error = fetched(&world.start(), get("http://dl.test", "/")).await.unwrap_err();
    assert!(matches!(error, Error::ConnectTimeout { .. }), "{error:?}");
    assert_eq!((started.elapsed().as_secs(), world.net.attempts(at())), (10, 1));
}

#[tokio::test(start_paused = true)]
async fn nonsense_and_unasked_upgrades_are_protocol_errors() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n";
    let twice = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab";
    for bytes in ["SSH-2.0-OpenSSH\r\n\r\n", "HTTP/1.1 2x0 OK\r\n\r\n", twice, switching, &long] {
        let world = World::new();
        let answer = bytes.as_bytes().to_vec();
        let log = world.server("dl.test", AT, move |_| Reply::Send(answer.clone()));
        let error = fetched(&world.start(), get("http://dl.test", "/")).await.unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{:?}: {error:?}", &bytes[..20]);
        assert_eq!(log.requests(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn names_are_resolved_and_their_addresses_checked_before_anything_is_dialled() {
    let world = World::new();
    world.server("inside.test", "10.0.0.1:80", |_| Reply::Send(ok("secret")));
    world.server("meta.test", "169.254.169.254:80", |_| Reply::Send(ok("secret")));
    let upstreams = world.start();
    for host in ["inside.test", "meta.test", "8.8.8.8", "10.0.0.1", "[::1]:80"] {
        let error = fetched(&upstreams, get(&format!("http://{host}"), "/")).await.unwrap_err();
        assert!(matches!(error, Error::Address { .. }), "{host}: {error:?}");
    }
    for host in ["unknown.test", "2130706433", "0x7f.1", "127.1"] {
        let error = fetched(&upstreams, get(&format!("http://{host}"), "/")).await.unwrap_err();
        assert!(matches!(error, Error::Resolve { .. }), "{host}: {error:?}");
    }
    assert_eq!(world.net.attempts("10.0.0.1:80".parse().unwrap()), 0);
}

#[tokio::test(start_paused = true)]
async fn a_name_with_good_and_bad_addresses_is_reached_by_the_good_ones_alone() {
    let world = World::new();
    world.server("dl.test", AT, |_| Reply::Send(ok("public")));
    world.net.name("dl.test", &["10.0.0.1".parse().unwrap(), at().ip()]);
    assert_eq!(fetched(&world.start(), get("http://dl.test", "/")).await.unwrap(), "public");
    assert_eq!(world.net.attempts("10.0.0.1:80".parse().unwrap()), 0);
}

#[tokio::test(start_paused = true)]
async fn a_dead_address_delays_by_no_more_than_the_stagger() {
    for (fault, milliseconds) in [(Fault::Refuse, 0), (Fault::Hang, 250)] {
        let world = World::new();
        world.server("dl.test", AT, |_| Reply::Send(ok("second")));
        let dead: SocketAddr = "[2606:4700::1]:80".parse().unwrap();
        world.net.always(dead, fault);
        world.net.name("dl.test", &[dead.ip(), at().ip()]);
        let (upstreams, started) = (world.start(), Instant::now());
        assert_eq!(fetched(&upstreams, get("http://dl.test", "/")).await.unwrap(), "second");
        let took = started.elapsed().as_millis();
        assert!(took.abs_diff(milliseconds) < 5, "{fault:?} took {took} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn responses_without_a_body_leave_their_connection_in_order() {
    let world = World::new();
    let log = world.server("dl.test", AT, |seen| {
        Reply::Send(match seen.number {
            0 => b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n".to_vec(),
            1 => b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n".to_vec(),
            2 => b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            _ => ok("end"),
        })
    });
    let upstreams = world.start();
    let head = Ask { method: Method::HEAD, ..get("http://dl.test", "/") };
    assert_eq!(fetched(&upstreams, head).await.unwrap(), "");
    for body in ["", "", "end"] {
        assert_eq!(fetched(&upstreams, get("http://dl.test", "/")).await.unwrap(), body);
    }
    assert_eq!(log.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_wan_budget_slows_content_down() {
    let mut world = World::new();
    let origin = world.upstream("slow", Kind::Origin, "http://dl.test");
    (origin.bytes_per_second, origin.hosts) = (Some(10_000), vec!["dl.test".parse().unwrap()]);
    world.server("dl.test", AT, |_| Reply::Send(ok(&"x".repeat(50_000))));
    let (upstreams, started) = (world.start(), Instant::now());
    assert_eq!(fetched(&upstreams, get("http://dl.test", "/")).await.unwrap().len(), 50_000);
    let took = started.elapsed();
    // What has arrived is handed on at once; the wait is for what comes after it.
    let again = fetched(&upstreams, get("http://dl.test", "/")).await.unwrap().len();
    assert_eq!(again, 50_000);
    let both = started.elapsed();
    assert!(both > Duration::from_secs(4), "{took:?}, {both:?}");
}
