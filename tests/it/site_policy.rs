//! What RFC 9111 leaves to a cache, chosen in the configuration: each switch, both ways.

use crate::support::{Answer, Ask, Origin, Proxy, Step, eventually, proxy};

/// Long past: a tenth of the time since then is more than any bound here.
const LAST_MODIFIED: &str = "Tue, 13 Jan 2026 10:00:00 GMT";

/// The configuration of a weir in front of one server, and what that server chooses for itself.
fn config(origin: &Origin, choices: &str) -> String {
    let address = origin.address();
    format!("[[upstream]]\nname = \"site\"\nurl = \"http://{address}\"\ndoor = \"reverse\"\n[upstream.caching]\n{choices}\n")
}

async fn site(origin: &Origin, choices: &str) -> Proxy {
    proxy().config(&config(origin, choices)).start().await
}

fn answer(status: &str, fields: &[(&str, &str)]) -> Answer {
    fields.iter().fold(Answer::text(status, "what there is"), |answer, (name, value)| answer.with(name, value))
}

/// How often the server is asked when a client asks twice, one after the other.
async fn asked_for_twice(weir: &Proxy, origin: &Origin, path: &str) -> usize {
    let before = origin.requests(path);
    let first = weir.get("site.test", path).await;
    weir.settled().await;
    let second = weir.get("site.test", path).await;
    assert_eq!((second.status, second.text()), (first.status, first.text()), "{path}");
    origin.requests(path) - before
}

#[tokio::test]
async fn freshness_is_guessed_as_far_as_the_site_wants_it() {
    let origin = Origin::start().await;
    origin.answer("/new", |_| answer("200 OK", &[("Last-Modified", LAST_MODIFIED)]));
    origin.answer("/old", |_| answer("200 OK", &[("Last-Modified", LAST_MODIFIED), ("Age", "3600")]));
    origin.answer("/said", |_| {
        answer("200 OK", &[("Last-Modified", LAST_MODIFIED), ("Cache-Control", "max-age=7200"), ("Age", "3600")])
    });
    for (choices, new, old) in
        [("", 1, 1), ("heuristic_percent = 0", 2, 2), ("heuristic_max = \"30 min\"", 1, 2), ("heuristic_max = \"2 h\"", 1, 1)]
    {
        let weir = site(&origin, choices).await;
        assert_eq!(asked_for_twice(&weir, &origin, "/new").await, new, "{choices:?}");
        assert_eq!(asked_for_twice(&weir, &origin, "/old").await, old, "{choices:?}: an hour old already");
        assert_eq!(asked_for_twice(&weir, &origin, "/said").await, 1, "{choices:?}: what a response says comes first");
    }
}

#[tokio::test]
async fn stale_answers_stand_in_for_a_failing_server_as_far_as_the_site_wants_it() {
    let origin = Origin::start().await;
    let stale = [("Age", "3600"), ("ETag", "\"1\""), ("Cache-Control", "max-age=60")];
    let allowed = [("Age", "3600"), ("ETag", "\"1\""), ("Cache-Control", "max-age=60, stale-if-error=86400")];
    let forbidden = [("Age", "3600"), ("ETag", "\"1\""), ("Cache-Control", "max-age=60, must-revalidate")];
    let failing = |fields: [(&'static str, &'static str); 3], failure: fn() -> Answer| {
        // A validation, and what is tried again because of it.
        move |ask: &Ask| if ask.field("if-none-match").is_some() { failure() } else { answer("200 OK", &fields) }
    };
    for (choices, by_default, if_allowed) in [
        ("", true, true),
        ("stale_on_error = false", false, true),
        ("stale_max = \"30 min\"", false, false),
        ("stale_max = \"0 s\"", false, false),
        ("stale_max = \"2 h\"", true, true),
    ] {
        for failure in [|| Answer::text("503 Service Unavailable", "not now"), || Answer::raw("")] {
            origin.answer("/silent", failing(stale, failure));
            origin.answer("/allowed", failing(allowed, failure));
            origin.answer("/forbidden", failing(forbidden, failure));
            let weir = site(&origin, choices).await;
            for (path, serves_stale) in [("/silent", by_default), ("/allowed", if_allowed), ("/forbidden", false)] {
                assert_eq!(weir.get("site.test", path).await.status, 200);
                weir.settled().await;
                let second = weir.get("site.test", path).await;
                assert_eq!(second.status == 200, serves_stale, "{choices:?} {path}: {:?}", second.head);
                assert!(matches!(second.status, 200 | 502..=504), "{choices:?} {path}: {:?}", second.head);
            }
        }
    }
}

#[tokio::test]
async fn lists_that_change_answer_stale_for_a_time_of_their_own() {
    const HOST: &str = "ctldl.windowsupdate.com";
    const LIST: &str = "/msdownload/update/v3/static/trustedr/en/authrootstl.cab";
    for (choices, status) in [("", 200..=200), ("stale_max = \"0 s\"", 200..=200), ("stale_max_mutable = \"0 s\"", 502..=504)] {
        let origin = Origin::start().await;
        let fields = [("ETag", "\"1\""), ("Cache-Control", "max-age=3600")];
        origin.answer(LIST, move |ask| if ask.earlier == 0 { answer("200 OK", &fields) } else { Answer::raw("") });
        let weir = proxy().upstream(HOST, &origin).config(&format!("[caching]\n{choices}\n")).start().await;
        assert_eq!(weir.get(HOST, LIST).await.status, 200);
        weir.settled().await;
        let second = weir.get(HOST, LIST).await;
        assert!(status.contains(&second.status) && origin.requests(LIST) > 1, "{choices:?}: {:?}", second.head);
    }
}

#[tokio::test]
async fn errors_are_stored_as_far_as_the_site_wants_it() {
    let origin = Origin::start().await;
    origin.answer("/silent", |_| answer("404 Not Found", &[("Last-Modified", LAST_MODIFIED)]));
    origin.answer("/said", |_| answer("404 Not Found", &[("Cache-Control", "max-age=60")]));
    for (choices, silent, said) in
        [("", 1, 1), ("errors = \"heuristic\"", 1, 1), ("errors = \"explicit\"", 2, 1), ("errors = \"never\"", 2, 2)]
    {
        let weir = site(&origin, choices).await;
        assert_eq!(asked_for_twice(&weir, &origin, "/silent").await, silent, "{choices:?}");
        assert_eq!(asked_for_twice(&weir, &origin, "/said").await, said, "{choices:?}");
    }
}

#[tokio::test]
async fn cookies_are_stored_with_their_responses_unless_the_site_objects() {
    let origin = Origin::start().await;
    origin.answer("/a", |_| answer("200 OK", &[("Cache-Control", "max-age=60"), ("Set-Cookie", "visitor=7")]));
    for (choices, asked) in [("", 1), ("set_cookie = true", 1), ("set_cookie = false", 2)] {
        let weir = site(&origin, choices).await;
        assert_eq!(asked_for_twice(&weir, &origin, "/a").await, asked, "{choices:?}");
        assert_eq!(weir.get("site.test", "/a").await.field("set-cookie"), Some("visitor=7"));
    }
}

#[tokio::test]
async fn responses_that_end_with_their_connection_are_stored_unless_the_site_objects() {
    let origin = Origin::start().await;
    origin.answer("/a", |_| {
        let head = Answer::new("200 OK").with("Cache-Control", "max-age=60").with("Connection", "close");
        head.then(Step::Text("until the end".into())).then(Step::Close)
    });
    for (choices, asked) in [("", 1), ("close_delimited = true", 1), ("close_delimited = false", 2)] {
        let weir = site(&origin, choices).await;
        assert_eq!(asked_for_twice(&weir, &origin, "/a").await, asked, "{choices:?}");
    }
}

#[tokio::test]
async fn parameters_that_the_site_ignores_are_sent_but_tell_nothing_apart() {
    let origin = Origin::start().await;
    origin.answer("/a", |_| answer("200 OK", &[("Cache-Control", "max-age=60")]));
    for (choices, asked) in [("", 5), ("ignore_parameters = [\"utm_*\", \"session\"]", 2)] {
        let before = origin.requests("/a");
        let weir = site(&origin, choices).await;
        for path in ["/a?utm_source=x&page=1", "/a?page=1", "/a?page=1&session=9", "/a?page=2", "/a?utm_campaign=y&page=2"] {
            assert_eq!(weir.get("site.test", path).await.status, 200);
            weir.settled().await;
        }
        let asks = origin.asks("/a").split_off(before);
        assert_eq!(asks.len(), asked, "{choices:?}");
        assert_eq!(asks[0].target, "/a?utm_source=x&page=1", "the server gets what the client sent");
    }
}

#[tokio::test]
async fn a_choice_for_all_doors_yields_to_that_of_a_site() {
    let origin = Origin::start().await;
    origin.answer("/a", |_| answer("200 OK", &[("Last-Modified", LAST_MODIFIED)]));
    for (site, asked) in [("", 2), ("heuristic_percent = 10", 1)] {
        let all = config(&origin, site) + "[caching]\nheuristic_percent = 0\n";
        let weir = proxy().config(&all).start().await;
        assert_eq!(asked_for_twice(&weir, &origin, "/a").await, asked, "{site:?}");
    }
}

#[tokio::test]
async fn a_reload_changes_what_holds_for_what_is_stored_already() {
    let origin = Origin::start().await;
    origin.answer("/a", |_| answer("200 OK", &[("Last-Modified", LAST_MODIFIED)]));
    let mut weir = site(&origin, "").await;
    assert_eq!(asked_for_twice(&weir, &origin, "/a").await, 1);
    weir.reload(&config(&origin, "heuristic_percent = 0"));
    eventually("the reload is applied", || async {
        (weir.metric("weir_config_reloads_total", &[("outcome", "applied")]).await == 1.0).then_some(())
    })
    .await;
    assert_eq!(asked_for_twice(&weir, &origin, "/a").await, 2, "validated each time now");
    weir.reload(&config(&origin, "heuristic_percent = 10"));
    eventually("the reload is applied", || async {
        (weir.metric("weir_config_reloads_total", &[("outcome", "applied")]).await == 2.0).then_some(())
    })
    .await;
    assert_eq!(asked_for_twice(&weir, &origin, "/a").await, 0, "fresh again");
}
