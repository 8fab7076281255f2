//! Signed URLs: a signature is needed to fetch, is no part of the name, and may run out.

use crate::support::{Answer, Content, Gate, MIB, Origin, Proxy, Resource, proxy};

const PATH: &str = "/filestreamingservice/files/5b1d4a0e-70e1-4f3a-8a4c-1d3f52b0a111";
const HOST: &str = "tlu.dl.delivery.mp.microsoft.com";

/// An origin that takes one signature at a time.
async fn scene(content: &Content) -> (Origin, Proxy) {
    let origin = Origin::start().await;
    accepts(&origin, content, "one");
    let weir = proxy().upstream("*.dl.delivery.mp.microsoft.com", &origin).start().await;
    (origin, weir)
}

fn accepts(origin: &Origin, content: &Content, signature: &'static str) {
    let good = Resource::new(content);
    origin.answer(PATH, move |ask| match ask.target.contains(&format!("P4={signature}")) {
        true => good.answer(ask),
        false => Answer::text("403 Forbidden", "signature"),
    });
}

fn signed(signature: &str) -> String {
    format!("{PATH}?P1=1999999999&P2=402&P3=2&P4={signature}&cacheHostOrigin={HOST}")
}

fn piece(number: u64) -> String {
    format!("bytes={}-{}", number * MIB, (number + 1) * MIB - 1)
}

#[tokio::test]
async fn what_one_signature_began_another_continues() {
    let content = Content::new("signed", 4 * MIB);
    let (origin, weir) = scene(&content).await;
    let first = weir.download("weir", &signed("one"), &[("Range", &piece(0))], &content).await;
    assert!(first.status == 206 && first.is_right(MIB), "{first:?}");
    accepts(&origin, &content, "two");
    let second = weir.download("weir", &signed("two"), &[("Range", &piece(2))], &content).await;
    assert!(second.status == 206 && second.is_right(MIB), "{second:?}");
    let whole = weir.download("weir", &signed("two"), &[], &content).await;
    assert!(whole.is_all_of(&content), "{whole:?}");
    assert_eq!(origin.sent(PATH), content.len());
}

#[tokio::test]
async fn a_bad_signature_spoils_nothing_for_others() {
    let content = Content::new("signed", 2 * MIB);
    let (_origin, weir) = scene(&content).await;
    let refused = weir.get("weir", &signed("stale")).await;
    assert_eq!(refused.status, 403);
    let good = weir.download("weir", &signed("one"), &[], &content).await;
    assert!(good.is_all_of(&content), "{good:?}");
}

#[tokio::test]
async fn a_bad_signature_gets_no_more_than_what_is_stored() {
    let content = Content::new("signed", 3 * MIB);
    let (_origin, weir) = scene(&content).await;
    assert_eq!(weir.get_with("weir", &signed("one"), &[("Range", &piece(0))]).await.status, 206);
    weir.settled().await;
    // It is no authority of weir's whom the origin would serve; but bytes that are missing need its consent.
    let missing = weir.download("weir", &signed("stale"), &[("Range", &piece(2))], &content).await;
    assert!(missing.status >= 400 || missing.difference.is_none(), "{missing:?}");
    let after = weir.download("weir", &signed("one"), &[], &content).await;
    assert!(after.is_all_of(&content), "{after:?}");
}

/// A client that began with a good signature, and is still being served, held at the second MiB; then others ask under these.
async fn beside_one_that_is_served(others: &[&str]) {
    let content = Content::new("signed", 40 * MIB);
    let (origin, gate) = (Origin::start().await, Gate::closed());
    let good = Resource::new(&content);
    let opening = gate.clone();
    origin.answer(PATH, move |ask| match ask.target.contains("P4=good") {
        true if ask.earlier == 0 => good.clone().held_from(MIB, &opening).answer(ask),
        true => good.answer(ask),
        false => Answer::text("403 Forbidden", "signature"),
    });
    let weir = proxy().upstream("*.dl.delivery.mp.microsoft.com", &origin).start().await;
    let url = |query: &str| format!("{PATH}?{query}&cacheHostOrigin={HOST}");
    let first = url("P1=1999999999&P4=good");
    let served = weir.download("weir", &first, &[("Range", "bytes=0-2097151")], &content);
    let (served, ()) = tokio::join!(served, async {
        gate.reached_by(1).await;
        for (number, query) in (30..).zip(others) {
            let got = weir.download("weir", &url(query), &[("Range", &piece(number))], &content).await;
            assert!(got.status == 206 && got.is_right(MIB), "{query}: {got:?}");
        }
        gate.open();
    });
    assert!(served.status == 206 && served.is_right(2 * MIB), "{served:?}");
    assert!(!weir.said().contains("P4="), "signatures are no matter for a log");
    assert!(weir.log().iter().all(|line| !line.to_string().contains("good")));
    assert!(weir.get("weir", &first).await.field("cache-status").is_none_or(|status| !status.contains("P4")));
}

#[tokio::test]
async fn what_is_missing_is_fetched_under_the_signature_that_holds_longest() {
    beside_one_that_is_served(&["P1=1500000000&P4=ended", "P1=1500000000&P4=ended"]).await;
}

#[tokio::test]
async fn a_refused_signature_gives_way_to_that_of_another_client() {
    beside_one_that_is_served(&["P1=2999999999&P4=forged", "P1=1999999999&P4=wrong"]).await;
}
