//! Who is asked: parents, doors, pinned hosts, mirrors.

use http::Request;

use super::*;
use crate::upstream::{Bound, dial::Fault};

const PARENT: &str = "10.0.0.2:8080";
const ORIGIN: &str = "8.8.8.8:80";

/// A parent for everything and the origin `dl.test`, answering what they are told to.
fn family(parent_says: Vec<u8>) -> (World, Log, Log) {
    let mut world = World::new();
    world.upstream("main office", Kind::Parent, "http://parent.corp:8080");
    let parent = world.server("parent.corp", PARENT, move |_| Reply::Send(parent_says.clone()));
    let origin = world.server("dl.test", ORIGIN, |_| Reply::Send(ok("origin's")));
    (world, parent, origin)
}

#[tokio::test(start_paused = true)]
async fn a_parent_is_asked_in_absolute_form_and_answers_for_the_origin() {
    let (world, parent, origin) = family(ok("parent's"));
    let upstreams = world.start();
    let fetched = upstreams.fetch(get("http://dl.test", "/a?b")).await.unwrap();
    assert_eq!((&*fetched.source, &*fetched.upstream), ("dl.test", "main office"));
    assert_eq!(text(fetched.response).await.unwrap(), "parent's");
    assert!(parent.head(0).starts_with("GET http://dl.test/a?b HTTP/1.1\r\nHost: dl.test\r\n"), "{}", parent.head(0));
    upstreams.fetch(get("https://secure.test:8443", "/")).await.unwrap();
    assert!(parent.head(1).starts_with("GET https://secure.test:8443/ HTTP/1.1\r\nHost: secure.test:8443\r\n"));
    assert_eq!(origin.requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_parent_that_cannot_or_will_not_is_passed_over() {
    for status in ["403 Forbidden", "502 Bad Gateway", "503 Service Unavailable", "504 Gateway Timeout", "508 Loop Detected"] {
        let (world, parent, _) = family(answer(status, "", ""));
        assert_eq!(fetched(&world.start(), get("http://dl.test", "/")).await.unwrap(), "origin's", "{status}");
        assert_eq!((parent.requests(), parent.connections()), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_do_not_cost_the_connection_to_the_parent() {
    let (world, parent, _) = family(answer("403 Forbidden", "", "not mine"));
    let upstreams = world.start();
    for _ in 0..3 {
        assert_eq!(fetched(&upstreams, get("http://dl.test", "/")).await.unwrap(), "origin's");
    }
    assert_eq!((parent.requests(), parent.connections()), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn what_a_parent_says_about_the_content_is_final() {
    for status in ["404 Not Found", "410 Gone", "416 Range Not Satisfiable", "500 Internal Server Error"] {
        let (world, _, origin) = family(answer(status, "", "final"));
        assert_eq!(fetched(&world.start(), get("http://dl.test", "/")).await.unwrap(), "final", "{status}");
        assert_eq!(origin.requests(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_parent_costs_one_attempt_before_the_origin_is_asked() {
    for fault in [Fault::Refuse, Fault::Hang, Fault::ResetAfter(0), Fault::EndAfter(5), Fault::StallAfter(5)] {
        let (world, ..) = family(ok("parent's"));
        world.net.always(PARENT.parse().unwrap(), fault);
        assert_eq!(fetched(&world.start(), get("http://dl.test", "/")).await.unwrap(), "origin's", "{fault:?}");
        assert_eq!(world.net.attempts(PARENT.parse().unwrap()), 1, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_parents_means_that_the_origin_is_never_asked() {
    let (mut world, _, origin) = family(answer("503 Service Unavailable", "", ""));
    world.config.upstreams[0].only_parents = true;
    let error = fetched(&world.start(), get("http://dl.test", "/")).await.unwrap_err();
    assert!(matches!(&error, Error::Refused { status, .. } if status.as_u16() == 503), "{error:?}");

    let (mut world, _, other) = family(answer("403 Forbidden", "", "the origin's own words"));
    world.config.upstreams[0].only_parents = true;
    assert_eq!(fetched(&world.start(), get("http://dl.test", "/")).await.unwrap(), "the origin's own words");
    assert_eq!((origin.requests(), other.requests()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn parents_are_asked_in_order_and_only_for_their_hosts() {
    let mut world = World::new();
    for (name, order, hosts) in [("second", 2, vec![]), ("first", 1, vec!["*.test".parse().unwrap()])] {
        let parent = world.upstream(name, Kind::Parent, &format!("http://{name}.corp"));
        (parent.order, parent.hosts) = (order, hosts);
    }
    let first = world.server("first.corp", "10.0.0.3:80", |_| Reply::Send(answer("503 Service Unavailable", "", "")));
    let second = world.server("second.corp", "10.0.0.4:80", |_| Reply::Send(ok("second's")));
    let upstreams = world.start();
    assert_eq!(fetched(&upstreams, get("http://dl.test", "/")).await.unwrap(), "second's");
    assert_eq!(fetched(&upstreams, get("http://dl.example", "/")).await.unwrap(), "second's");
    assert_eq!((first.requests(), second.requests()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_pinned_host_keeps_its_name_and_goes_to_its_address() {
    let mut world = World::new();
    let pinned = world.upstream("mirror", Kind::Origin, "http://dl.test");
    (pinned.address, pinned.hosts) = (Some("127.0.0.1:4711".parse().unwrap()), vec!["*.dl.test".parse().unwrap()]);
    let log = world.server("unused", "127.0.0.1:4711", |_| Reply::Send(ok("pinned")));
    let upstreams = world.start();
    let fetched = upstreams.fetch(get("http://a.dl.test", "/")).await.unwrap();
    assert_eq!(&*fetched.upstream, "mirror");
    assert!(log.head(0).contains("Host: a.dl.test\r\n"));
    let error = upstreams.fetch(get("http://dl.test", "/")).await.err().unwrap();
    assert!(matches!(error, Error::Resolve { .. }), "the apex is not covered: {error:?}");
}

#[tokio::test(start_paused = true)]
async fn of_two_mirrors_the_second_helps_when_the_first_fails() {
    let mut world = World::new();
    for name in ["one", "two"] {
        let mirror = world.upstream(name, Kind::Origin, &format!("http://{name}.corp"));
        (mirror.hosts, mirror.host) = (vec!["dl.test".parse().unwrap()], Some("mirror.corp".into()));
    }
    let one = world.server("one.corp", "10.0.0.3:80", |_| Reply::Send(answer("502 Bad Gateway", "", "")));
    let two = world.server("two.corp", "10.0.0.4:80", |_| Reply::Send(ok("two's")));
    let fetched = world.start().fetch(get("http://dl.test", "/")).await.unwrap();
    assert_eq!(&*fetched.source, "two.corp", "validators are the mirror's");
    assert!(one.head(0).contains("Host: mirror.corp\r\n") && two.head(0).contains("Host: mirror.corp\r\n"));
}

#[tokio::test(start_paused = true)]
async fn a_private_server_is_reached_through_its_door_alone() {
    let mut world = World::new();
    world.upstream("wsus", Kind::Origin, "http://wsus.corp:8530");
    world.server("wsus.corp", "10.0.0.9:8530", |_| Reply::Send(ok("inside")));
    world.server("other.corp", "10.0.0.9:22", |_| Reply::Send(ok("ssh")));
    let upstreams = world.start();
    let url = "http://wsus.corp:8530";
    assert_eq!(fetched(&upstreams, ask(through("wsus", url), "/")).await.unwrap(), "inside");
    for error in [
        fetched(&upstreams, get(url, "/")).await.unwrap_err(),
        fetched(&upstreams, ask(through("no such door", url), "/")).await.unwrap_err(),
        upstreams.tunnel(&target(url)).await.err().unwrap(),
        upstreams.tunnel(&target("http://other.corp:22")).await.err().unwrap(),
    ] {
        assert!(matches!(error, Error::Address { .. }), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn weir_itself_is_dialled_by_nobody() {
    let mut world = World::new();
    world.config.own.listening = vec!["[::]:8080".parse().unwrap()];
    world.upstream("loop", Kind::Origin, "http://127.0.0.1:8080");
    let log = world.server("me.test", "127.0.0.1:8080", |_| Reply::Send(ok("me")));
    let error = fetched(&world.start(), ask(through("loop", "http://127.0.0.1:8080"), "/")).await.unwrap_err();
    assert!(matches!(error, Error::Address { why: "weir itself", .. }), "{error:?}");
    assert_eq!(log.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn pass_goes_to_the_authority_and_through_a_parent_only_when_that_is_the_door() {
    let (world, parent, origin) = family(ok("parent's"));
    let upstreams = world.start();
    let relay = async |target: &Target| {
        let request = Request::get("/x").header("host", "client.says").body(empty()).unwrap();
        text(upstreams.relay(target, request, &mut Bound::default()).await.unwrap()).await.unwrap()
    };
    assert_eq!(relay(&target("http://dl.test")).await, "origin's");
    assert_eq!(relay(&through("main office", "http://dl.test")).await, "parent's");
    assert!(origin.head(0).starts_with("GET /x HTTP/1.1\r\nHost: client.says\r\n"), "{}", origin.head(0));
    assert!(parent.head(0).starts_with("GET http://dl.test/x HTTP/1.1\r\nHost: dl.test\r\n"), "{}", parent.head(0));
}

#[tokio::test(start_paused = true)]
async fn a_parent_hears_of_a_server_behind_a_door_only_when_its_list_says_so() {
    for (hosts, answers) in [(None, "wsus"), (Some("other.corp"), "wsus"), (Some("wsus.corp"), "parent's")] {
        let (mut world, parent, _) = family(ok("parent's"));
        world.config.upstreams[0].hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
        world.config.upstreams[0].only_parents = true;
        world.upstream("wsus", Kind::Origin, "http://wsus.corp");
        world.server("wsus.corp", "10.0.0.9:80", |_| Reply::Send(ok("wsus")));
        let got = fetched(&world.start(), ask(through("wsus", "http://wsus.corp"), "/Content/a")).await.unwrap();
        assert_eq!((got.as_str(), parent.requests()), (answers, usize::from(answers == "parent's")), "{hosts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_known_about_ranges_is_found_by_door_and_by_host() {
    let mut world = World::new();
    world.upstream("wsus", Kind::Origin, "http://wsus.corp").ranges = Some(true);
    let listed = world.upstream("stand-in", Kind::Origin, "http://dl.test");
    (listed.ranges, listed.hosts) = (Some(false), vec!["dl.test:80".parse().unwrap()]);
    let upstreams = world.start();
    assert_eq!(upstreams.ranges(&through("wsus", "http://wsus.corp")), Some(true));
    assert_eq!(upstreams.ranges(&target("http://dl.test")), Some(false));
    assert_eq!(upstreams.ranges(&target("http://dl.test:81")), None);
}

#[test]
fn host_patterns_match_whole_labels() {
    let matches = |pattern: &str, url: &str| pattern.parse::<crate::upstream::HostPattern>().unwrap().matches(&origin(url));
    assert!(matches("dl.test", "http://dl.test:81") && matches("DL.Test.", "http://dl.test"));
    assert!(matches("*.dl.test", "http://a.b.dl.test") && !matches("*.dl.test", "http://dl.test"));
    assert!(!matches("*.dl.test", "http://evil-dl.test") && !matches("dl.test", "http://a.dl.test"));
    assert!(matches("dl.test:81", "http://dl.test:81") && !matches("dl.test:81", "http://dl.test"));
    assert!(matches("[::1]:81", "http://[::1]:81") && matches("::1", "http://[::1]:80"));
    for bad in ["", "*", "*.", "a.*.b", "http://x", "x:y", "a b", "u@h", "*foo.test", "."] {
        assert!(bad.parse::<crate::upstream::HostPattern>().is_err(), "{bad:?}");
    }
    assert_eq!("*.A.test:8".parse::<crate::upstream::HostPattern>().unwrap().to_string(), "*.a.test:8");
}
