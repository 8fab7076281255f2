//! What those get who wait for another's answer, and what a change at the origin makes of an answer on its way (RFC 9111 §4, §4.4).

use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::support::{Answer, Ask, Gate, Origin, Proxy, Reply, Step, eventually, proxy};

/// An origin whose second answer is held at the gate; and a weir in front of it.
async fn scene(answer: impl Fn(&Ask) -> Answer + Send + Sync + 'static) -> (Origin, Arc<Proxy>, Gate) {
    let (origin, gate) = (Origin::start().await, Gate::closed());
    let hold = gate.clone();
    origin.answer("/a", move |ask| match ask.earlier {
        1 => answer(ask).first(Step::Hold(hold.clone())),
        _ => answer(ask),
    });
    let weir = Arc::new(proxy().reverse(&origin).start().await);
    (origin, weir, gate)
}

fn asking(weir: &Arc<Proxy>) -> JoinHandle<Reply> {
    let weir = weir.clone();
    tokio::spawn(async move { weir.get("site.test", "/a").await })
}

/// Stores `/a`, and lets two ask for it while its validation is under way; the replies of the first and of the one that joined.
async fn joined(answer: impl Fn(&Ask) -> Answer + Send + Sync + 'static) -> (Reply, Reply) {
    let (_origin, weir, gate) = scene(answer).await;
    assert_eq!(weir.get("site.test", "/a").await.text(), "one");
    let first = asking(&weir);
    gate.reached_by(1).await;
    let second = asking(&weir);
    eventually("the second has joined", || async { (weir.metric("weir_collapsed_total", &[]).await >= 1.0).then_some(()) }).await;
    gate.open();
    (first.await.unwrap(), second.await.unwrap())
}

fn stale(cache_control: &str) -> Answer {
    Answer::text("200 OK", "one").with("Cache-Control", cache_control).with("ETag", "\"a\"").with("Age", 30)
}

fn confirmed(cache_control: &str, visitor: usize) -> Answer {
    Answer::new("304 Not Modified")
        .with("ETag", "\"a\"")
        .with("Cache-Control", cache_control)
        .with("Set-Cookie", format!("visitor={visitor}"))
}

#[tokio::test]
async fn a_private_304_goes_to_who_asked_and_the_one_who_joined_asks_for_one_of_its_own() {
    let (first, second) = joined(|ask| match ask.earlier {
        0 => stale("max-age=5"),
        visitor => confirmed("private", visitor),
    })
    .await;
    assert_eq!((first.text().as_str(), first.field("set-cookie")), ("one", Some("visitor=1")));
    assert_eq!((second.text().as_str(), second.field("set-cookie")), ("one", Some("visitor=2")));
}

#[tokio::test]
async fn fields_that_need_validation_do_not_go_to_who_joined() {
    const QUALIFIED: &str = "max-age=60, no-cache=\"set-cookie\"";
    let (first, second) = joined(|ask| match ask.earlier {
        0 => stale("max-age=5"),
        visitor => confirmed(QUALIFIED, visitor),
    })
    .await;
    assert_eq!(first.field("set-cookie"), Some("visitor=1"));
    assert_eq!((second.text().as_str(), second.field("set-cookie")), ("one", None));
    assert!(second.field("cache-status").unwrap().contains("fwd=stale; collapsed"), "{:?}", second.head);
}

#[tokio::test]
async fn an_answer_asked_for_before_a_change_is_not_used_after_it() {
    let (origin, weir, gate) = scene(|ask| match ask.earlier {
        0 => Answer::text("200 OK", "none").with("Cache-Control", "no-store"),
        1 => Answer::text("200 OK", "old").with("Cache-Control", "max-age=600"),
        2 => Answer::text("200 OK", "changed"),
        _ => Answer::text("200 OK", "new").with("Cache-Control", "max-age=600"),
    })
    .await;
    // What was not shared lately is not waited for: each request asks for itself, and must be reached, too.
    assert_eq!(weir.get("site.test", "/a").await.text(), "none");
    let before = asking(&weir);
    gate.reached_by(1).await;
    let mut client = weir.client().await;
    client.ask("PUT", "/a", &[("Host", "site.test"), ("Content-Length", "0")]).await;
    assert_eq!(client.try_reply("PUT").await.unwrap().status, 200);
    gate.open();
    assert_eq!(before.await.unwrap().text(), "old", "it was true when it was asked for");
    let after = weir.get("site.test", "/a").await;
    assert_eq!((after.text().as_str(), after.is_hit()), ("new", false));
    assert_eq!(origin.requests("/a"), 4);
}

#[tokio::test]
async fn who_joined_for_another_variant_is_told_so() {
    let (origin, gate) = (Origin::start().await, Gate::closed());
    let hold = gate.clone();
    origin.answer("/a", move |ask| {
        let answer = Answer::text("200 OK", ask.field("x-l").unwrap_or_default());
        let answer = answer.with("Vary", "X-L").with("Cache-Control", "max-age=60");
        if ask.earlier == 0 { answer } else { answer.first(Step::Hold(hold.clone())) }
    });
    let weir = Arc::new(proxy().reverse(&origin).start().await);
    let asking = |variant: &'static str| {
        let weir = weir.clone();
        tokio::spawn(async move { weir.get_with("site.test", "/a", &[("X-L", variant)]).await })
    };
    assert_eq!(asking("a").await.unwrap().text(), "a");
    let first = asking("b");
    gate.reached_by(1).await;
    let second = asking("b");
    eventually("the second has joined", || async { (weir.metric("weir_collapsed_total", &[]).await >= 1.0).then_some(()) }).await;
    gate.open();
    for (reply, word) in [(first.await.unwrap(), "fwd=vary-miss"), (second.await.unwrap(), "fwd=vary-miss; collapsed")] {
        assert_eq!(reply.text(), "b");
        assert!(reply.field("cache-status").unwrap().contains(word), "{:?}", reply.head);
    }
    assert_eq!(origin.requests("/a"), 2);
}
