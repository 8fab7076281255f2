//! Many at once: every byte crosses the WAN once, whoever asks for it and in whatever order.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use tokio::task::JoinSet;

use crate::support::{Client, Content, Framing, Gate, MIB, Origin, Resource, eventually, proxy};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_clients_of_one_cold_object_cost_one_download() {
    let content = Content::new("herd", 64 * MIB);
    let (origin, gate) = (Origin::start().await, Gate::closed());
    // Held inside the third piece: whoever has a byte now got it before that piece was sent.
    origin.serve("/image.iso", Resource::new(&content).held_from(2 * MIB + MIB / 2, &gate));
    let weir = proxy().upstream("cdn.test", &origin).start().await;

    let begun = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..200 {
        let (begun, content, doors) = (begun.clone(), content.clone(), weir.doors());
        clients.spawn(async move {
            let mut client = Client::connect(doors).await;
            client.ask("GET", "/image.iso", &[("Host", "cdn.test")]).await;
            let head = client.head().await.expect("a head");
            let mut framing = head.framing(Framing::Close);
            let first = client.some(&mut framing).await.expect("first bytes");
            begun.fetch_add(1, Ordering::Relaxed);
            let mut at = 0;
            let mut next = Some(first);
            while let Some(bytes) = next {
                assert_eq!(content.difference(at, &bytes), None);
                at += bytes.len() as u64;
                next = client.some(&mut framing).await;
            }
            assert!(matches!(framing, Framing::Ended), "cut at {at}");
            at
        });
    }
    eventually("every client has its first byte while the origin is held", || {
        let all = begun.load(Ordering::Relaxed) == 200;
        async move { all.then_some(()) }
    })
    .await;
    assert!(origin.sent("/image.iso") < 3 * MIB);
    gate.open();
    let lens = clients.join_all().await;
    assert!(lens.iter().all(|len| *len == content.len()));
    assert!(origin.sent("/image.iso") <= content.len() * 101 / 100, "{} bytes from the origin", origin.sent("/image.iso"));
    assert_eq!(weir.metric("weir_requests_total", &[("verdict", "miss")]).await, 1.0, "the others found a download that runs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_just_when_a_response_is_stored_finds_its_download_running() {
    const ROUNDS: u64 = 200;
    let content = Content::new("moment", 300_000);
    let origin = Origin::start().await;
    let weir = proxy().upstream("cdn.test", &origin).start().await;
    for round in 0..ROUNDS {
        let path = format!("/moment-{round}.iso");
        origin.serve(&path, Resource::new(&content));
        let mut clients = JoinSet::new();
        for late in 0..6 {
            let (content, doors, path) = (content.clone(), weir.doors(), path.clone());
            clients.spawn(async move {
                let mut client = Client::connect(doors).await;
                // Each a little later than the one before, so that some come while the answer's head is being judged.
                for _ in 0..late * 20 {
                    tokio::task::yield_now().await;
                }
                client.download(&path, &[("Host", "cdn.test")], &content).await
            });
        }
        for got in clients.join_all().await {
            assert!(got.is_all_of(&content), "{path}: {got:?}");
        }
        assert_eq!(origin.requests(&path), 1, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_clients_fetching_shuffled_pieces_cost_one_download() {
    const SEED: u64 = 20_260_113;
    let content = Content::new("shuffled", 32 * MIB + 12_345);
    let origin = Origin::start().await;
    origin.serve("/image.iso", Resource::new(&content));
    let weir = proxy().upstream("cdn.test", &origin).start().await;

    let received = Arc::new(AtomicU64::new(0));
    let mut connections = JoinSet::new();
    for client in 0..8_u64 {
        let mut pieces: Vec<u64> = (0..content.len().div_ceil(MIB)).collect();
        pieces.shuffle(&mut StdRng::seed_from_u64(SEED + client));
        for share in pieces.chunks(pieces.len().div_ceil(7)).map(<[u64]>::to_vec) {
            let (content, doors, received) = (content.clone(), weir.doors(), received.clone());
            connections.spawn(async move {
                let mut client = Client::connect(doors).await;
                for piece in share {
                    let (start, end) = (piece * MIB, content.len().min((piece + 1) * MIB));
                    let range = format!("bytes={start}-{}", end - 1);
                    let fields = [("Host", "cdn.test"), ("Content-Length", "0"), ("Range", &range)];
                    let got = client.download("/image.iso", &fields, &content).await;
                    assert!(got.status == 206 && got.is_right(end - start), "seed {SEED}, piece {piece}: {got:?}");
                    received.fetch_add(got.len, Ordering::Relaxed);
                }
            });
        }
    }
    connections.join_all().await;
    assert_eq!(received.load(Ordering::Relaxed), 8 * content.len());
    assert!(origin.sent("/image.iso") <= content.len() * 101 / 100, "{} bytes from the origin", origin.sent("/image.iso"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_without_a_telling_name_is_fetched_once_too() {
    let content = Content::new("nameless", 24 * MIB);
    let origin = Origin::start().await;
    origin.serve("/nameless", Resource::new(&content));
    let weir = proxy().upstream("cdn.test", &origin).start().await;
    let mut clients = JoinSet::new();
    for _ in 0..20 {
        let (content, doors) = (content.clone(), weir.doors());
        clients.spawn(async move {
            let got = Client::connect(doors).await.download("/nameless", &[("Host", "cdn.test")], &content).await;
            assert!(got.is_all_of(&content), "{got:?}");
        });
    }
    clients.join_all().await;
    assert!(origin.sent("/nameless") <= content.len() * 101 / 100, "{} bytes from the origin", origin.sent("/nameless"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_long_answer_says_of_itself_is_enough_for_several_requests() {
    const RATE: u64 = 16 * MIB;
    let content = Content::new("long", 40 * MIB);
    let origin = Origin::start().await;
    origin.serve("/long", Resource::new(&content).paced(RATE));
    origin.serve("/whole", Resource::new(&content).without_ranges().paced(RATE));
    let weir = proxy().upstream("cdn.test", &origin).config("[fill]\nsegment = \"1 MiB\"\n").start().await;
    for (path, several) in [("/long", true), ("/whole", false)] {
        let got = weir.download("cdn.test", path, &[], &content).await;
        assert!(got.is_all_of(&content), "{path}: {got:?}");
        assert_eq!(origin.requests(path) > 4, several, "{path}");
    }
    assert!(origin.sent("/long") <= content.len() * 5 / 4, "{} bytes from the origin", origin.sent("/long"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_download_from_an_origin_that_limits_connections_is_no_slower_than_a_direct_one() {
    const RATE: u64 = 6 * MIB;
    let content = Content::new("paced", 36 * MIB);
    let origin = Origin::start().await;
    origin.serve("/paced.iso", Resource::new(&content).paced(RATE));
    let weir = proxy().upstream("cdn.test", &origin).start().await;
    let begun = Instant::now();
    let got = weir.download("cdn.test", "/paced.iso", &[], &content).await;
    let (took, direct) = (begun.elapsed(), Duration::from_secs(content.len() / RATE));
    assert!(got.is_all_of(&content), "{got:?}");
    assert!(took < direct.mul_f64(1.05), "{took:?} through weir, {direct:?} direct");
    assert_eq!(origin.sent("/paced.iso"), content.len());
}
