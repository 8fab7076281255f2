//! weirs behind weirs: only the root asks the origin.

use crate::support::{Content, Head, MIB, Origin, Resource, eventually, proxy};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_branches_behind_a_parent_cost_the_origin_one_download() {
    let content = Content::new("a", 12 * MIB + 7);
    let origin = Origin::start().await;
    origin.serve("/a", Resource::new(&content));
    let root = proxy().upstream("cdn.test", &origin).start().await;
    let allow = "[origins]\nallow = [\"cdn.test\"]\n";
    let (north, south) =
        tokio::join!(proxy().config(allow).parent(root.doors()).start(), proxy().config(allow).parent(root.doors()).start());
    let (one, two) =
        tokio::join!(north.download("cdn.test", "/a", &[], &content), south.download("cdn.test", "/a", &[], &content));
    assert!(one.is_all_of(&content) && two.is_all_of(&content), "{one:?} {two:?}");
    assert_eq!(origin.sent("/a"), content.len());

    for branch in [&north, &south] {
        branch.settled().await;
        let again = branch.get_with("cdn.test", "/a", &[("Range", "bytes=5-9")]).await;
        assert!(again.is_hit() && again.is_whole(&content.bytes(5, 10)), "{:?}", again.head);
        assert_eq!(again.field("last-modified"), one.head.field("last-modified"), "validators survive the chain");
    }
    assert_eq!(proxies(&one.head), 2, "{:?}", one.head);
}

/// How many proxies a message says it has passed (RFC 9110 §7.6.3).
fn proxies(head: &Head) -> usize {
    head.all("via").flat_map(|line| line.split(',')).count()
}

#[tokio::test]
async fn when_the_parent_is_gone_the_origin_is_asked() {
    let content = Content::new("a", MIB);
    let origin = Origin::start().await;
    for path in ["/a", "/b", "/c"] {
        origin.serve(path, Resource::new(&content));
    }
    let root = proxy().upstream("cdn.test", &origin).start().await;
    let branch = proxy().parent(root.doors()).upstream("cdn.test", &origin).start().await;
    assert!(branch.download("cdn.test", "/a", &[], &content).await.is_all_of(&content));
    assert_eq!(proxies(&origin.asks("/a")[0].head), 2, "through both: {:?}", origin.asks("/a")[0].head);
    drop(root);
    for path in ["/b", "/c"] {
        let got = branch.download("cdn.test", path, &[], &content).await;
        assert!(got.is_all_of(&content), "{path}: {got:?}");
        assert_eq!(origin.requests(path), 1, "{path}");
    }
}

#[tokio::test]
async fn a_parent_that_dies_in_the_middle_of_a_download_is_replaced_by_the_origin() {
    let content = Content::new("a", 8 * MIB);
    let (origin, gate) = (Origin::start().await, crate::support::Gate::closed());
    origin.serve("/a", Resource::new(&content).held_from(2 * MIB, &gate));
    let root = proxy().upstream("cdn.test", &origin).start().await;
    let branch = proxy().parent(root.doors()).upstream("cdn.test", &origin).start().await;
    let mut client = branch.client().await;
    client.ask("GET", "/a", &[("Host", "cdn.test")]).await;
    let head = client.head().await.unwrap();
    gate.reached_by(1).await;
    root.kill();
    gate.open();
    let got = client.check(head, &content).await;
    // A validator binds to the host that gave it: the branch may resume where that is provable, else it cuts; never a wrong byte.
    assert_eq!(got.difference, None, "{got:?}");
    let whole = eventually("the whole from the origin", || async {
        Some(branch.download("cdn.test", "/a", &[], &content).await).filter(|got| got.status == 200)
    })
    .await;
    assert!(whole.is_all_of(&content), "{whole:?}");
}

#[tokio::test]
async fn a_request_that_comes_round_is_refused_as_a_loop() {
    let content = Content::new("a", 100);
    let origin = Origin::start().await;
    origin.serve("/a", Resource::new(&content));
    let mut first = proxy().upstream("cdn.test", &origin).start().await;
    let allow = "[origins]\nallow = [\"cdn.test\"]\n";
    let second = proxy().config(allow).parent(first.doors()).start().await;
    // Now the first asks the second, which asks the first.
    let circle = format!(
        "{allow}[[upstream]]\nname = \"second\"\nkind = \"parent\"\nurl = \"http://{}\"\nonly_parents = true\n",
        second.doors()
    );
    first.reload(&circle);
    eventually("the reload is applied", || async {
        (first.metric("weir_config_reloads_total", &[("outcome", "applied")]).await >= 1.0).then_some(())
    })
    .await;
    let reply = first.get("cdn.test", "/a").await;
    assert!(matches!(reply.status, 502 | 508), "{reply:?}");
    assert!(
        second.metric("weir_refusals_total", &[("reason", "loop")]).await
            + first.metric("weir_refusals_total", &[("reason", "loop")]).await
            >= 1.0
    );
}

#[tokio::test]
async fn our_own_mark_in_a_request_means_a_loop() {
    let origin = Origin::start().await;
    origin.serve("/a", Resource::new(&Content::new("a", 100)));
    let weir = proxy().upstream("cdn.test", &origin).start().await;
    assert_eq!(weir.get("cdn.test", "/a").await.status, 200);
    let ask = &origin.asks("/a")[0];
    for name in ["cdn-loop", "via"] {
        let mark = ask.field(name).unwrap_or_else(|| panic!("{name} in {:?}", ask.head));
        let reply = weir.get_with("cdn.test", "/b", &[(name, mark)]).await;
        assert_eq!(reply.status, 508, "{name}: {mark}");
        let others = weir.get_with("cdn.test", "/a", &[(name, "1.1 other-node")]).await;
        assert_eq!(others.status, 200, "{name} of another proxy");
    }
    assert_eq!(origin.requests("/b"), 0);
}
