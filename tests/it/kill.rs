//! Killed at any moment: what is served afterwards is right, and what was durable is still here.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::task::JoinSet;

use crate::support::{Client, Content, End, KIB, Origin, Proxy, Resource, eventually, proxy};

const KILLS: u64 = 50;
const SEED: u64 = 7;
/// Contents that clients fetch while weir is killed.
const LOAD: u64 = 24;

fn named(name: &str, len: u64) -> (String, Content) {
    (format!("/{name}"), Content::new(name, len))
}

/// Lengths on both sides of what is packed, and of a piece.
fn load() -> Vec<(String, Content)> {
    let len = |n: u64| [3 * KIB, 60 * KIB, 70 * KIB, 900 * KIB, 1024 * KIB, 2500 * KIB][n as usize % 6] + n;
    (0..LOAD).map(|n| named(&format!("load-{n}"), len(n))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_fifty_times_under_load_it_never_serves_a_wrong_byte_nor_forgets_what_was_durable() {
    let mut random = StdRng::seed_from_u64(SEED);
    let origin = Origin::start().await;
    let load = load();
    for (path, content) in &load {
        origin.serve(path, Resource::new(content));
    }
    let mut builder = proxy().upstream("cdn.test", &origin).config("[store]\ncommit_interval = \"20ms\"\n");
    let mut durable: Vec<(String, Content)> = Vec::new();
    for kill in 0..KILLS {
        let weir = builder.start().await;
        let clients = fetchers(&weir, &load, SEED * 1000 + kill);
        // Everything that was durable before any kill so far.
        let asked = origin.requests_in_all_of("/durable-");
        for (path, content) in &durable {
            let got = weir.download("cdn.test", path, &[], content).await;
            assert!(got.is_all_of(content) && got.is_hit(), "seed {SEED}, kill {kill}: {path}: {got:?}");
        }
        assert_eq!(origin.requests_in_all_of("/durable-"), asked, "seed {SEED}, kill {kill}: fetched again");
        // A few of the old ones are enough to notice a loss that comes late.
        if durable.len() > 8 {
            durable.remove(random.random_range(0..durable.len()));
        }
        durable.push(made_durable(&weir, &origin, kill).await);
        // The moment is random, not an order of events: nothing is awaited here.
        tokio::time::sleep(Duration::from_millis(random.random_range(0..60))).await;
        builder = weir.kill();
        clients.join_all().await;
    }
    let weir = builder.start().await;
    for (path, content) in load.iter().chain(&durable) {
        let got = weir.download("cdn.test", path, &[], content).await;
        assert!(got.is_all_of(content), "seed {SEED}, at the end: {path}: {got:?}");
    }
}

/// Clients that fetch wholes and parts until weir is gone; whatever they get is right as far as it goes.
fn fetchers(weir: &Proxy, load: &[(String, Content)], seed: u64) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for number in 0..4 {
        let (doors, load) = (weir.doors(), load.to_vec());
        let mut random = StdRng::seed_from_u64(seed * 10 + number);
        clients.spawn(async move {
            loop {
                let Ok(stream) = tokio::net::TcpStream::connect(doors).await else { return };
                let mut client = Client::over(stream);
                let (path, content) = &load[random.random_range(0..load.len())];
                let start = if random.random() { 0 } else { random.random_range(0..content.len()) };
                let range = format!("bytes={start}-");
                client.ask("GET", path, &[("Host", "cdn.test"), ("Range", &range)]).await;
                let Some(head) = client.head().await else { continue };
                let got = client.check(head, content).await;
                assert_eq!(got.difference, None, "seed {seed}: {path} from {start}: {got:?}");
                assert!(got.end == End::Cut || got.is_right(content.len() - start), "seed {seed}: {path} from {start}: {got:?}");
            }
        });
    }
    clients
}

/// Fetches something new and waits until weir says that it is on disk.
async fn made_durable(weir: &Proxy, origin: &Origin, kill: u64) -> (String, Content) {
    let (path, content) = named(&format!("durable-{kill}"), 40 * KIB + kill * 9_000);
    origin.serve(&path, Resource::new(&content));
    let got = weir.download("cdn.test", &path, &[], &content).await;
    assert!(got.is_all_of(&content), "kill {kill}: {got:?}");
    weir.settled().await;
    committed(weir, origin).await;
    (path, content)
}

/// Waits until everything stored so far is durable: the second commit that ends from here on began later than now.
async fn committed(weir: &Proxy, origin: &Origin) {
    static NEW: AtomicU32 = AtomicU32::new(0);
    let commits = || weir.metric("weir_store_commits_total", &[]);
    let before = commits().await;
    for _ in 0..1000 {
        if commits().await >= before + 2.0 {
            return;
        }
        // Without anything new there is nothing to commit.
        let (path, content) = named(&format!("new-{}", NEW.fetch_add(1, Ordering::Relaxed)), KIB);
        origin.serve(&path, Resource::new(&content));
        weir.get("cdn.test", &path).await;
    }
    panic!("no commits");
}

#[tokio::test]
async fn a_download_that_a_kill_cut_is_resumed_from_what_was_durable() {
    let (path, content) = named("big", 24_000_000);
    let origin = Origin::start().await;
    let gate = crate::support::Gate::closed();
    origin.serve(&path, Resource::new(&content).held_from(12_000_000, &gate));
    let weir = proxy().upstream("cdn.test", &origin).config("[store]\ncommit_interval = \"20ms\"\n").start().await;
    let mut client = weir.client().await;
    client.ask("GET", &path, &[("Host", "cdn.test")]).await;
    gate.reached_by(1).await;
    let written = || weir.metric("weir_store_written_bytes_total", &[]);
    eventually("half of it is written", || async { (written().await >= 11_000_000.0).then_some(()) }).await;
    committed(&weir, &origin).await;

    let builder = weir.kill();
    origin.serve(&path, Resource::new(&content));
    let sent = origin.sent(&path);
    let weir = builder.start().await;
    assert!(weir.download("cdn.test", &path, &[], &content).await.is_all_of(&content));
    let again = origin.sent(&path) - sent;
    assert!(again < 14_000_000, "{again} bytes fetched again");
}
