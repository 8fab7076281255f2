//! Room: what stays, what goes and what is never kept when the store is small.

use crate::support::{Client, Content, Framing, KIB, MIB, Origin, Proxy, Resource, proxy};

/// A store of 16 MiB.
async fn small() -> (Origin, Proxy) {
    let origin = Origin::start().await;
    let weir = proxy().upstream("cdn.test", &origin).config("[store]\nsize = \"16 MiB\"\n").start().await;
    (origin, weir)
}

/// Fetches `count` contents of 2 MiB that nobody wants twice.
async fn scan(origin: &Origin, weir: &Proxy, count: u32) {
    for number in 0..count {
        let path = format!("/scan-{number}");
        let content = Content::new(&path, 2 * MIB);
        origin.serve(&path, Resource::new(&content));
        let got = weir.download("cdn.test", &path, &[], &content).await;
        assert!(got.is_all_of(&content), "{path}: {got:?}");
    }
}

#[tokio::test]
async fn what_is_larger_than_the_store_is_passed_on_and_flushes_nothing() {
    let (origin, weir) = small().await;
    let (kept, huge) = (Content::new("kept", MIB), Content::new("huge", 40 * MIB));
    origin.serve("/kept", Resource::new(&kept));
    origin.serve("/huge", Resource::new(&huge));
    assert!(weir.download("cdn.test", "/kept", &[], &kept).await.is_all_of(&kept));
    for _ in 0..2 {
        let got = weir.download("cdn.test", "/huge", &[], &huge).await;
        assert!(got.is_all_of(&huge), "{got:?}");
    }
    let part = weir.download("cdn.test", "/huge", &[("Range", "bytes=1000000-1999999")], &huge).await;
    assert!(part.status == 206 && part.is_right(1_000_000), "{part:?}");
    assert!(weir.download("cdn.test", "/kept", &[], &kept).await.is_hit());
}

#[tokio::test]
async fn what_everybody_needs_outlives_what_is_read_once() {
    let (origin, weir) = small().await;
    let daily = Content::new("daily", 2 * MIB);
    origin.serve("/daily", Resource::new(&daily));
    for _ in 0..4 {
        assert!(weir.download("cdn.test", "/daily", &[], &daily).await.is_all_of(&daily));
        weir.settled().await;
    }
    scan(&origin, &weir, 24).await;
    assert!(weir.metric("weir_store_evictions_total", &[]).await >= 10.0);
    assert!(weir.download("cdn.test", "/daily", &[], &daily).await.is_hit(), "flushed by a scan");
}

#[tokio::test]
async fn what_is_evicted_while_somebody_reads_it_is_read_to_its_end() {
    let (origin, weir) = small().await;
    let content = Content::new("read", 12 * MIB);
    origin.serve("/read", Resource::new(&content));
    assert!(weir.download("cdn.test", "/read", &[], &content).await.is_all_of(&content));
    weir.settled().await;
    let mut slow = weir.client().await;
    slow.ask("GET", "/read", &[("Host", "cdn.test")]).await;
    let head = slow.head().await.unwrap();
    scan(&origin, &weir, 12).await;
    let got = slow.check(head, &content).await;
    assert!(got.is_all_of(&content), "{got:?}");
}

#[tokio::test]
async fn what_is_purged_while_it_arrives_still_arrives() {
    let (origin, weir) = small().await;
    let gate = crate::support::Gate::closed();
    let content = Content::new("purged", 4 * MIB);
    origin.serve("/purged", Resource::new(&content).held_from(MIB, &gate));
    let mut client: Client = weir.client().await;
    client.ask("GET", "/purged", &[("Host", "cdn.test")]).await;
    let head = client.head().await.unwrap();
    let (status, said) = weir.command(&["purge", "--all"]);
    assert!(status.success(), "{said}");
    gate.open();
    let got = client.check(head, &content).await;
    assert!(got.is_all_of(&content), "{got:?}");
}

#[tokio::test]
async fn a_thousand_small_objects_are_each_themselves() {
    let origin = Origin::start().await;
    let weir = proxy().upstream("cdn.test", &origin).start().await;
    let contents: Vec<_> = (0..1000).map(|n| (format!("/small-{n}"), Content::new(&format!("small {n}"), n * 37))).collect();
    for (path, content) in &contents {
        origin.serve(path, Resource::new(content));
    }
    for turn in 0..2 {
        let mut client = weir.client().await;
        for (path, content) in &contents {
            let got = client.download(path, &[("Host", "cdn.test")], content).await;
            assert!(got.is_all_of(content), "{path}, turn {turn}: {got:?}");
        }
        weir.settled().await;
    }
    assert_eq!(origin.requests_in_all(), 1000);
}

#[tokio::test]
async fn many_slow_readers_of_one_object_share_its_bytes() {
    let content = Content::new("slow", 24 * MIB);
    let origin = Origin::start().await;
    origin.serve("/slow.iso", Resource::new(&content));
    let weir = proxy().upstream("cdn.test", &origin).start().await;
    let mut readers = Vec::new();
    for _ in 0..40 {
        let mut client = weir.client().await;
        client.ask("GET", "/slow.iso", &[("Host", "cdn.test")]).await;
        let head = client.head().await.unwrap();
        readers.push((client, head.framing(Framing::Close), 0));
    }
    // In turns, a little each: none may lose its place while the others wait.
    for _ in 0..4 {
        for (client, framing, at) in &mut readers {
            let bytes = client.some(framing).await.expect("more bytes");
            assert_eq!(content.difference(*at, &bytes), None);
            *at += bytes.len() as u64;
        }
    }
    for (mut client, mut framing, mut at) in readers {
        while let Some(bytes) = client.some(&mut framing).await {
            assert_eq!(content.difference(at, &bytes), None);
            at += bytes.len() as u64;
        }
        assert_eq!(at, content.len());
    }
    assert!(origin.sent("/slow.iso") <= content.len() + 64 * KIB, "{}", origin.sent("/slow.iso"));
}
