//! Redirects of content are followed inside, and only to where policy and address rules allow.

use super::*;

const A: &str = "8.8.8.8:80";
const B: &str = "9.9.9.9:80";

/// `a.test` redirects to `location`; what comes of it.
async fn redirected_to(location: &'static str) -> (Result<String, Error>, Log) {
    let world = World::new();
    world.server("a.test", A, move |seen| match seen.head.starts_with("GET /dir/start?q ") {
        true => Reply::Send(to(location)),
        false => Reply::Send(ok(seen.head.split(' ').nth(1).unwrap())),
    });
    let b = world.server("b.test", B, |seen| Reply::Send(ok(&format!("b{}", seen.head.split(' ').nth(1).unwrap()))));
    world.server("forbidden.test", "9.9.9.10:80", |_| Reply::Send(ok("forbidden")));
    world.server("inside.test", "10.0.0.1:80", |_| Reply::Send(ok("secret")));
    let mut ask = get("http://a.test", "/dir/start?q");
    for name in ["authorization", "cookie", "range"] {
        ask.fields.insert(name, "x".parse().unwrap());
    }
    (fetched(&world.start(), ask).await, b)
}

#[tokio::test(start_paused = true)]
async fn locations_are_resolved_like_any_reference() {
    for (location, answer) in [
        ("/other?p=1", "/other?p=1"),
        ("next", "/dir/next"),
        ("../up#part", "/up"),
        ("./a/../b/.", "/dir/b/"),
        ("?only=query", "/dir/start?only=query"),
        ("http://a.test/abs", "/abs"),
        ("http://A.TEST:80", "/"),
        ("//b.test/x", "b/x"),
        ("http://b.test?x", "b/?x"),
        ("HTTP://b.test/%2e%2E/x", "b/%2e%2E/x"),
    ] {
        assert_eq!(redirected_to(location).await.0.unwrap(), answer, "{location}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_place_no_rule_allows_is_never_contacted() {
    for location in
        ["http://forbidden.test/", "ftp://b.test/", "http://user@b.test/", "javascript:x", "http:///x", "http://b.test:99999/"]
    {
        let error = redirected_to(location).await.0.unwrap_err();
        assert!(matches!(error, Error::Redirect { .. }), "{location}: {error:?}");
    }
    for location in ["http://inside.test/", "http://10.0.0.1/", "http://[::1]:8080/", "http://169.254.169.254/latest"] {
        let error = redirected_to(location).await.0.unwrap_err();
        assert!(matches!(error, Error::Address { .. }), "{location}: {error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn secrets_of_one_host_do_not_reach_another() {
    let (answer, b) = redirected_to("http://b.test/").await;
    assert_eq!(answer.unwrap(), "b/");
    assert_eq!(b.head(0), "GET / HTTP/1.1\r\nHost: b.test\r\nRange: x\r\n\r\n");
}

#[tokio::test(start_paused = true)]
async fn the_source_is_the_host_that_answered_and_a_redirecting_connection_is_reused() {
    let world = World::new();
    let a = world.server("a.test", A, |_| Reply::Send(to("http://b.test:80/x")));
    world.server("b.test", B, |_| Reply::Send(ok("there")));
    let upstreams = world.start();
    for _ in 0..3 {
        let fetched = upstreams.fetch(get("http://a.test", "/")).await.unwrap();
        assert_eq!(&*fetched.source, "b.test");
        assert_eq!(text(fetched.response).await.unwrap(), "there");
    }
    assert_eq!((a.requests(), a.connections()), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn where_redirects_led_is_told_and_a_web_sites_own_are_not_followed() {
    let world = World::new();
    world.server("a.test", A, |_| Reply::Send(to("http://b.test/x?y")));
    world.server("b.test", B, |_| Reply::Send(ok("there")));
    let upstreams = world.start();
    let followed = upstreams.fetch(get("http://a.test", "/")).await.unwrap();
    assert_eq!(followed.moved, Some((target("http://b.test"), "/x?y".to_owned())));
    let left = upstreams.fetch(Ask { follow: false, ..get("http://a.test", "/") }).await.unwrap();
    assert_eq!((left.response.status().as_u16(), left.moved), (302, None));
}

#[tokio::test(start_paused = true)]
async fn redirects_without_end_are_given_up() {
    let world = World::new();
    let log = world.server("a.test", A, |_| Reply::Send(to("/again")));
    let error = fetched(&world.start(), get("http://a.test", "/")).await.unwrap_err();
    assert!(matches!(error, Error::RedirectLoop), "{error:?}");
    assert_eq!(log.requests(), 4, "three redirects are allowed here");
}

#[tokio::test(start_paused = true)]
async fn a_redirect_without_a_location_is_an_answer_and_so_is_300() {
    let world = World::new();
    world.server("a.test", A, |seen| {
        Reply::Send(match seen.number {
            0 => answer("302 Found", "", "nowhere"),
            _ => answer("300 Multiple Choices", "Location: http://b.test/\r\n", "choose"),
        })
    });
    let upstreams = world.start();
    assert_eq!(fetched(&upstreams, get("http://a.test", "/")).await.unwrap(), "nowhere");
    assert_eq!(fetched(&upstreams, get("http://a.test", "/")).await.unwrap(), "choose");
}

#[tokio::test(start_paused = true)]
async fn the_private_upstream_of_a_door_is_not_reachable_by_a_redirect_from_outside() {
    let mut world = World::new();
    world.upstream("wsus", Kind::Origin, "http://wsus.corp:8530");
    let wsus = world.server("wsus.corp", "10.0.0.9:8530", |_| Reply::Send(ok("inside")));
    world.server("a.test", A, |_| Reply::Send(to("http://wsus.corp:8530/Content/x")));
    let error = fetched(&world.start(), get("http://a.test", "/")).await.unwrap_err();
    assert!(matches!(error, Error::Address { .. }), "{error:?}");
    assert_eq!(wsus.requests(), 0);
}
