//! Stale answers: while a refresh runs, when the origin fails, and where they are forbidden (RFC 5861, RFC 9111 §4.2.4).

use super::{Row, Turn, get, hits, play, row, stores};
use crate::support::{Answer, Gate, Origin, Step, eventually, proxy};

#[tokio::test]
async fn stale_answers_are_given_where_nothing_forbids_them() {
    play(rows()).await;
}

/// `one` although it is stale, after the origin was asked in vain.
fn saved(turn: Turn) -> Turn {
    turn.status(200).gets("one").says("fwd=stale; ttl; !hit; !stored")
}

#[rustfmt::skip]
fn rows() -> Vec<Row> {
    let failing = |status| get("").origin(status, "", "sorry");
    vec![
        row("disconnected, a stale response answers by default",
            [stores("Cache-Control: max-age=5 | Age: 30"), saved(get("").hangs_up()).says("detail"), saved(get("").hangs_up())]),
        row("so it does when the connection is reset",
            [stores("Cache-Control: max-age=5 | Age: 30"), saved(get("").resets()).says("detail")]),
        row("so it does when the connection ends in the middle of what should replace it",
            [stores("Cache-Control: max-age=5 | Age: 30"), saved(get("").origin(200, "Cache-Control: max-age=60", "tw").breaks()).says("detail"),
             saved(get("").hangs_up()), get("").origin(200, "Cache-Control: max-age=60", "two").gets("two").says("stored")]),
        row("and where that is forbidden, it is 502",
            [stores("Cache-Control: max-age=5, must-revalidate | Age: 30"), get("").origin(200, "Cache-Control: max-age=60", "tw").breaks().status(502)]),
        row("what is cut in the middle is never taken for whole",
            [get("").origin(200, "Cache-Control: max-age=60", "tw").breaks().cut().gets("tw"), stores("Cache-Control: max-age=60"), hits()]),
        row("so it does when the origin answers 500", [stores("Cache-Control: max-age=5 | Age: 30"), saved(failing(500)).says("fwd-status=500")]),
        row("so it does when the origin answers 502", [stores("Cache-Control: max-age=5 | Age: 30"), saved(failing(502)).says("fwd-status=502")]),
        row("so it does when the origin answers 503", [stores("Cache-Control: max-age=5 | Age: 30"), saved(failing(503)).says("fwd-status=503")]),
        row("so it does when the origin answers 504", [stores("Cache-Control: max-age=5 | Age: 30"), saved(failing(504)).says("fwd-status=504")]),
        row("an error with a lifetime does not replace what saves from it",
            [stores("Cache-Control: max-age=5, stale-if-error=600 | Age: 30"),
             saved(get("").origin(503, "Cache-Control: max-age=60", "sorry")), saved(get("").hangs_up())]),
        row("a 404 is no failure but an answer",
            [stores("Cache-Control: max-age=5, stale-if-error=600 | Age: 30"), get("").origin(404, "", "gone").gets("gone").says("fwd=stale; fwd-status=404")]),
        row("and after it the stale response is not used any more",
            [stores("Cache-Control: max-age=5, stale-if-error=600 | Age: 30"), get("").origin(410, "", "gone").gets("gone"), get("").hangs_up().status(502)]),
        row("stale-if-error is a bound: within it",
            [stores("Cache-Control: max-age=5, stale-if-error=60 | Age: 30"), saved(failing(503)), saved(get("").hangs_up())]),
        row("stale-if-error is a bound: beyond it",
            [stores("Cache-Control: max-age=5, stale-if-error=10 | Age: 30"), failing(503).gets("sorry"), get("").hangs_up().status(502)]),
        row("a request may ask for more of it",
            [stores("Cache-Control: max-age=5, stale-if-error=10 | Age: 30"), saved(get("Cache-Control: stale-if-error=600").origin(503, "", "sorry"))]),
        row("must-revalidate forbids it",
            [stores("Cache-Control: max-age=5, must-revalidate, stale-if-error=600 | Age: 30"), get("").hangs_up().status(502), failing(503).gets("sorry")]),
        row("proxy-revalidate forbids it",
            [stores("Cache-Control: max-age=5, proxy-revalidate, stale-if-error=600 | Age: 30"), get("").hangs_up().status(502), failing(503).gets("sorry")]),
        row("s-maxage forbids it",
            [stores("Cache-Control: s-maxage=5, stale-if-error=600 | Age: 30"), get("").hangs_up().status(502), failing(503).gets("sorry")]),
        row("no-cache forbids it",
            [stores("Cache-Control: max-age=5, no-cache | ETag: \"a\" | Age: 30"), get("").hangs_up().status(502), failing(503).gets("sorry")]),
        row("a client that wants the origin's word does not get it",
            [stores("Cache-Control: max-age=5 | Age: 30"), get("Cache-Control: no-cache").hangs_up().status(502)]),
        row("a week past freshness it may still answer",
            [stores("Cache-Control: max-age=5 | Age: 604000"), saved(get("").hangs_up())]),
        row("more than a week past freshness nothing answers, whatever is allowed",
            [stores("Cache-Control: max-age=5, stale-if-error=9999999, stale-while-revalidate=9999999 | Age: 604900"), get("Cache-Control: max-stale").hangs_up().status(502)]),
        row("max-stale of a request accepts it without asking",
            [stores("Cache-Control: max-age=5 | Age: 30"), get("Cache-Control: max-stale=60").gets("one").says("hit; ttl"),
             get("Cache-Control: max-stale=10").origin(200, "Cache-Control: no-store", "two").gets("two")]),
        row("max-stale does not reach past must-revalidate",
            [stores("Cache-Control: max-age=5, must-revalidate | Age: 30"), get("Cache-Control: max-stale").origin(200, "Cache-Control: no-store", "two").gets("two")]),
        row("a range of it answers, too",
            [stores("Cache-Control: max-age=5 | Age: 30 | ETag: \"a\""), get("Range: bytes=1-1").hangs_up().status(206).gets("n").says("fwd=stale")]),
        row("stale-while-revalidate answers at once, and the refresh makes it fresh",
            [stores("Cache-Control: max-age=5, stale-while-revalidate=60 | ETag: \"a\" | Age: 30"),
             get("").origin(304, "ETag: \"a\" | Cache-Control: max-age=60", "").status(200).gets("one").says("hit").eventually(), hits().eventually()]),
        row("a refresh can bring another response",
            [stores("Cache-Control: max-age=5, stale-while-revalidate=60 | ETag: \"a\" | Age: 30"),
             get("").origin(200, "ETag: \"b\" | Cache-Control: max-age=60", "two").gets("two").says("hit").eventually(),
             get("").gets("two").says("hit")]),
        row("beyond stale-while-revalidate the client waits for the validation",
            [stores("Cache-Control: max-age=5, stale-while-revalidate=10 | ETag: \"a\" | Age: 30"),
             get("").origin(304, "ETag: \"a\" | Cache-Control: max-age=60", "").status(200).gets("one").says("fwd=stale; fwd-status=304"), hits()]),
        row("must-revalidate forbids stale-while-revalidate",
            [stores("Cache-Control: max-age=5, stale-while-revalidate=60, must-revalidate | ETag: \"a\" | Age: 30"),
             get("").origin(304, "ETag: \"a\"", "").status(200).gets("one").says("fwd=stale")]),
    ]
}

#[tokio::test]
async fn however_many_ask_for_what_is_stale_one_refresh_runs() {
    let (origin, gate) = (Origin::start().await, Gate::closed());
    let stale = || Answer::text("200 OK", "one").with("Cache-Control", "max-age=5, stale-while-revalidate=60").with("Age", 30);
    let fresh = || Answer::text("200 OK", "two").with("Cache-Control", "max-age=60");
    let hold = gate.clone();
    origin.answer("/a", move |ask| match ask.earlier {
        0 => stale(),
        _ => fresh().first(Step::Hold(hold.clone())),
    });
    let weir = proxy().reverse(&origin).start().await;
    assert_eq!(weir.get("site.test", "/a").await.text(), "one");
    for _ in 0..20 {
        let reply = weir.get("site.test", "/a").await;
        assert!(reply.is_hit() && reply.text() == "one", "{reply:?}");
    }
    gate.reached_by(1).await;
    assert_eq!(origin.requests("/a"), 2);
    gate.open();
    eventually("the refresh is over", || async { (weir.get("site.test", "/a").await.text() == "two").then_some(()) }).await;
    assert_eq!(origin.requests("/a"), 2, "no second refresh");
}

#[tokio::test]
async fn a_herd_on_a_stale_response_is_saved_by_the_one_failed_validation() {
    let (origin, gate) = (Origin::start().await, Gate::closed());
    let hold = gate.clone();
    origin.answer("/a", move |ask| match ask.earlier {
        0 => Answer::text("200 OK", "one").with("Cache-Control", "max-age=5").with("Age", 30),
        _ => Answer::text("503 Busy", "sorry").first(Step::Hold(hold.clone())),
    });
    let weir = std::sync::Arc::new(proxy().reverse(&origin).start().await);
    assert_eq!(weir.get("site.test", "/a").await.text(), "one");
    let herd: tokio::task::JoinSet<_> = (0..20)
        .map(|_| {
            let weir = weir.clone();
            async move { weir.get("site.test", "/a").await }
        })
        .collect();
    gate.reached_by(1).await;
    eventually("all have joined", || async { (weir.metric("weir_collapsed_total", &[]).await >= 19.0).then_some(()) }).await;
    gate.open();
    for reply in herd.join_all().await {
        assert!(reply.status == 200 && reply.text() == "one", "{reply:?}");
    }
    assert_eq!(origin.requests("/a"), 2, "one asked for all");
}
