//! `verify = "strict"`: nobody gets a byte of content whose digest is known before it was held against it, as long as it is short.

use futures_util::future::join_all;

use crate::support::{Answer, Content, MIB, Origin, Proxy, Resource, eventually, proxy};

struct Scene {
    content: Content,
    wrong: Content,
    path: String,
    origin: Origin,
    weir: Proxy,
}

impl Scene {
    async fn new(more: &str) -> Self {
        let content = Content::new("cab", 3 * MIB + 77);
        let origin = Origin::start().await;
        let weir = proxy().config(&format!("[fill]\nverify = \"strict\"\n{more}\n")).wsus(&origin).start().await;
        Self { path: content.wsus_path(), wrong: Content::new("wrong", content.len()), content, origin, weir }
    }

    fn serves(&self, content: &Content) {
        self.origin.serve(&self.path, Resource::new(content));
    }

    async fn ask(&self, fields: &[(&str, &str)]) -> crate::support::Download {
        self.weir.download("wsus", &self.path, fields, &self.content).await
    }
}

#[tokio::test]
async fn what_never_matches_gets_nobody_and_is_fetched_twice_at_most() {
    let scene = Scene::new("").await;
    scene.serves(&scene.wrong);
    for range in [None, Some("bytes=0-99"), None] {
        let fields: Vec<_> = range.iter().map(|range| ("Range", *range)).collect();
        let got = scene.ask(&fields).await;
        assert_eq!(got.status, 502, "{got:?}");
        assert!(got.head.field("cache-status").unwrap().contains("detail=digest-mismatch"), "{got:?}");
    }
    assert_eq!(scene.origin.sent(&scene.path), 2 * scene.content.len(), "no third time within the hour");
    assert_eq!(scene.weir.metric("weir_digests_mismatched_total", &[]).await, 2.0);
}

#[tokio::test]
async fn a_copy_that_was_corrupted_once_costs_the_client_nothing_but_time() {
    let scene = Scene::new("").await;
    let (good, bad) = (Resource::new(&scene.content), Resource::new(&scene.wrong));
    scene.origin.answer(&scene.path, move |ask| if ask.earlier == 0 { bad.answer(ask) } else { good.answer(ask) });
    let got = scene.ask(&[]).await;
    assert!(got.is_all_of(&scene.content), "{got:?}");
    assert_eq!(scene.weir.metric("weir_digests_mismatched_total", &[]).await, 1.0);
    assert!(scene.ask(&[]).await.is_hit());
}

#[tokio::test]
async fn a_part_of_a_short_file_waits_until_all_of_it_is_verified() {
    let scene = Scene::new("").await;
    scene.serves(&scene.content);
    let got = scene.ask(&[("Range", "bytes=1048576-2097151")]).await;
    assert!(got.status == 206 && got.is_right(MIB), "{got:?}");
    assert_eq!(scene.weir.metric("weir_digests_verified_total", &[]).await, 1.0, "before the first byte left");
    assert_eq!(scene.origin.sent(&scene.path), scene.content.len());
}

#[tokio::test]
async fn those_who_wait_for_one_fill_get_its_verdict_and_not_its_bytes() {
    let scene = Scene::new("").await;
    scene.serves(&scene.wrong);
    let got = join_all((0..20).map(|_| scene.ask(&[]))).await;
    assert!(got.iter().all(|got| got.status == 502), "{got:?}");
    assert_eq!(scene.origin.sent(&scene.path), 2 * scene.content.len());
}

#[tokio::test]
async fn a_length_that_is_kept_back_is_no_way_around() {
    let scene = Scene::new("").await;
    scene.origin.serve(&scene.path, Resource::new(&scene.wrong).chunked().without_ranges());
    assert_eq!(scene.ask(&[]).await.status, 502);
    let fresh = Scene::new("").await;
    fresh.origin.serve(&fresh.path, Resource::new(&fresh.content).chunked().without_ranges());
    let got = fresh.ask(&[]).await;
    assert!(got.is_all_of(&fresh.content), "{got:?}");
}

#[tokio::test]
async fn longer_content_comes_as_it_comes_until_it_has_failed_twice() {
    let scene = Scene::new("verify_max = \"1 MiB\"").await;
    scene.serves(&scene.wrong);
    for turn in 1..=2 {
        assert!(scene.weir.download("wsus", &scene.path, &[], &scene.wrong).await.is_all_of(&scene.wrong), "{turn}");
        let counted =
            || async { (scene.weir.metric("weir_digests_mismatched_total", &[]).await >= f64::from(turn)).then_some(()) };
        eventually("it is verified", counted).await;
    }
    assert_eq!(scene.ask(&[]).await.status, 502);
    assert_eq!(scene.origin.sent(&scene.path), 2 * scene.content.len());
}

#[tokio::test]
async fn what_was_served_as_it_came_is_verified_before_a_stricter_weir_serves_it() {
    let Scene { content, wrong, path, origin, .. } = Scene::new("").await;
    origin.serve(&path, Resource::new(&wrong));
    let weir = proxy().wsus(&origin).start().await;
    let part = weir.download("wsus", &path, &[("Range", "bytes=0-1048575")], &wrong).await;
    assert!(part.status == 206 && part.is_right(MIB), "{part:?}");
    let (_, builder) = weir.stop().await;
    origin.serve(&path, Resource::new(&content));
    let weir = builder.config("[fill]\nverify = \"strict\"").start().await;
    let got = weir.download("wsus", &path, &[("Range", "bytes=0-1048575")], &content).await;
    assert!(got.status == 206 && got.is_right(MIB), "{got:?}");
    assert_eq!(weir.metric("weir_digests_verified_total", &[]).await, 1.0);
}

#[tokio::test]
async fn a_page_in_place_of_a_file_is_nobodys() {
    let scene = Scene::new("").await;
    let portal = "<html>Please log in</html>";
    scene.origin.answer(&scene.path, move |_| Answer::text("200 OK", portal).with("Content-Type", "text/html"));
    let got = scene.weir.get("wsus", &scene.path).await;
    assert_eq!(got.status, 502);
    assert!(got.field("cache-status").unwrap().contains("detail=html-for-a-file"), "{got:?}");
    assert_eq!(scene.weir.metric("weir_answers_contradicted_total", &[("reason", "html-for-a-file")]).await, 1.0);
    scene.serves(&scene.content);
    assert!(scene.ask(&[]).await.is_all_of(&scene.content), "as soon as somebody has logged in");
}
