//! Digests: content that a path vouches for is checked, and what does not match is never served from the cache.

use crate::support::{Content, MIB, Origin, Proxy, Resource, eventually, proxy};

struct Scene {
    content: Content,
    path: String,
    origin: Origin,
    weir: Proxy,
}

impl Scene {
    /// A WSUS door, and an origin without a word on freshness.
    async fn new() -> Self {
        let content = Content::new("cab", 3 * MIB + 77);
        let origin = Origin::start().await;
        let weir = proxy().wsus(&origin).start().await;
        Self { path: content.wsus_path(), content, origin, weir }
    }

    fn serves(&self, content: &Content) {
        self.origin.serve(&self.path, Resource::new(content).without("Cache-Control"));
    }

    async fn counted(&self, metric: &str, count: f64) {
        eventually(metric, || async { (self.weir.metric(metric, &[]).await >= count).then_some(()) }).await;
    }
}

#[tokio::test]
async fn content_that_matches_its_path_is_verified_and_never_asked_for_again() {
    let scene = Scene::new().await;
    scene.serves(&scene.content);
    assert!(scene.weir.download("wsus", &scene.path, &[], &scene.content).await.is_all_of(&scene.content));
    scene.counted("weir_digests_verified_total", 1.0).await;
    let asked = scene.origin.requests(&scene.path);
    let again = scene.weir.download("wsus", &scene.path, &[("Cache-Control", "no-cache")], &scene.content).await;
    assert!(again.is_all_of(&scene.content), "{again:?}");
    assert_eq!(scene.origin.requests(&scene.path), asked, "a client's no-cache does not make verified content doubtful");
}

#[tokio::test]
async fn content_in_pieces_is_verified_once_it_is_whole() {
    let scene = Scene::new().await;
    scene.serves(&scene.content);
    for piece in [2, 0, 3, 1] {
        let end = scene.content.len().min((piece + 1) * MIB);
        let range = format!("bytes={}-{}", piece * MIB, end - 1);
        let got = scene.weir.download("wsus", &scene.path, &[("Range", &range)], &scene.content).await;
        assert!(got.status == 206 && got.is_right(end - piece * MIB), "{piece}: {got:?}");
    }
    scene.counted("weir_digests_verified_total", 1.0).await;
    assert_eq!(scene.origin.sent(&scene.path), scene.content.len());
}

#[tokio::test]
async fn content_that_does_not_match_is_quarantined_and_fetched_anew() {
    let scene = Scene::new().await;
    let wrong = Content::new("wrong", scene.content.len());
    scene.serves(&wrong);
    // It streams while it comes: the first client finds out by its own check.
    assert!(scene.weir.download("wsus", &scene.path, &[], &wrong).await.is_all_of(&wrong));
    scene.counted("weir_digests_mismatched_total", 1.0).await;

    scene.serves(&scene.content);
    for _ in 0..2 {
        let got = scene.weir.download("wsus", &scene.path, &[], &scene.content).await;
        assert!(got.is_all_of(&scene.content), "{got:?}");
    }
    scene.counted("weir_digests_verified_total", 1.0).await;
}

#[tokio::test]
async fn content_that_never_matches_is_relayed_and_not_kept() {
    let scene = Scene::new().await;
    let wrong = Content::new("wrong", scene.content.len());
    scene.serves(&wrong);
    for turn in 1..=2 {
        assert!(scene.weir.download("wsus", &scene.path, &[], &wrong).await.is_all_of(&wrong));
        scene.counted("weir_digests_mismatched_total", f64::from(turn)).await;
    }
    for _ in 0..2 {
        let before = scene.origin.requests(&scene.path);
        let got = scene.weir.download("wsus", &scene.path, &[], &wrong).await;
        assert!(got.is_all_of(&wrong) && !got.is_hit(), "{got:?}");
        assert!(scene.origin.requests(&scene.path) > before, "nothing of it is kept");
    }
}
