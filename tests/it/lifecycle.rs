//! From start to end of a process: what stays, what changes while it runs, and how it goes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tokio::task::JoinSet;
use weir::store::disk::sim::SimDisk;

use crate::{
    full_disk::weir_on,
    support::{Answer, Client, Content, End, Framing, Gate, KIB, MIB, Origin, Proxy, Resource, Scratch, Step, eventually, proxy},
};

async fn scene(content: &Content) -> (Origin, Proxy) {
    let origin = Origin::start().await;
    origin.serve("/a", Resource::new(content));
    let weir = proxy().upstream("cdn.test", &origin).start().await;
    (origin, weir)
}

#[tokio::test]
async fn what_was_stored_is_served_after_a_restart_without_asking() {
    let content = Content::new("a", 5 * MIB + 3);
    let (origin, weir) = scene(&content).await;
    let before = weir.get("cdn.test", "/a").await;
    assert!(before.is_whole(&content.all()));
    let (status, builder) = weir.stop().await;
    assert!(status.success(), "{status}");
    let weir = builder.start().await;
    let after = weir.get("cdn.test", "/a").await;
    assert!(after.is_hit() && after.is_whole(&content.all()), "{:?}", after.head);
    for name in ["etag", "last-modified", "content-type"] {
        assert_eq!(after.field(name), before.field(name), "{name}");
    }
    assert_eq!(origin.sent("/a"), content.len());
}

/// The client has the last bytes while the disk is still at the first: those in between wait in memory, and the very last for room there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_has_is_stored_before_weir_ends_however_slow_the_disk() {
    let (origin, scratch, disk) = (Origin::start().await, Scratch::new(), SimDisk::new(11));
    let (first, second) = (Gate::closed(), Gate::closed());
    let content = Content::new("a", MIB + 512 * KIB + 100);
    let (parts, gates) = (content.clone(), (first.clone(), second.clone()));
    origin.answer("/a", move |_| {
        let body = |start, end| Step::Body(parts.clone(), start, end);
        let answer =
            Answer::new("200 OK").with("Content-Length", parts.len()).with("Cache-Control", "max-age=3600").with("ETag", "\"a\"");
        answer.only([
            body(0, 512 * KIB),
            Step::Hold(gates.0.clone()),
            body(512 * KIB, parts.len() - 100),
            Step::Hold(gates.1.clone()),
            body(parts.len() - 100, parts.len()),
        ])
    });
    let weir = weir_on(&disk, &origin, &scratch).await;
    disk.hold_writes(Some("blobs"));
    let mut client = Client::connect(weir.addresses()[0]).await;
    client.ask("GET", "/a", &[("Host", "cdn.test")]).await;
    let head = client.head().await.unwrap();
    let disk_is_at_it = async {
        eventually("the disk is at it", || async { (disk.held_writes() > 0).then_some(()) }).await;
        first.open();
        second.reached_by(1).await;
        second.open();
    };
    let (got, ()) = tokio::join!(client.check(head, &content), disk_is_at_it);
    assert!(got.is_all_of(&content), "{got:?}");
    drop(client);

    let let_go = async {
        // Time for a shutdown that waits for nothing to get far; one that waits does so in any case.
        tokio::time::sleep(Duration::from_millis(100)).await;
        disk.hold_writes(None);
    };
    tokio::join!(weir.shutdown(std::future::ready(())), let_go);
    let weir = weir_on(&disk, &origin, &scratch).await;
    let got = Client::connect(weir.addresses()[0]).await.download("/a", &[("Host", "cdn.test")], &content).await;
    assert!(got.is_hit() && got.is_all_of(&content), "{got:?}");
    assert_eq!(origin.requests("/a"), 1);
    weir.shutdown(std::future::ready(())).await;
}

#[tokio::test]
async fn drained_on_sigterm_it_finishes_the_downloads_that_run_and_takes_no_new_ones() {
    let (content, gate) = (Content::new("a", 4 * MIB), Gate::closed());
    let (origin, mut weir) = scene(&content).await;
    origin.serve("/held", Resource::new(&content).held_from(MIB, &gate));
    let mut client = weir.client().await;
    client.ask("GET", "/held", &[("Host", "cdn.test")]).await;
    let head = client.head().await.unwrap();
    weir.signal(Signal::TERM);
    let doors = weir.doors();
    eventually("no new connection is taken", || async { tokio::net::TcpStream::connect(doors).await.is_err().then_some(()) })
        .await;
    gate.open();
    assert!(client.check(head, &content).await.is_all_of(&content), "the running download is finished");
    assert!(weir.ended().await.success());
}

#[tokio::test]
async fn a_drain_does_not_wait_for_clients_that_ask_for_nothing() {
    let (_origin, mut weir) = scene(&Content::new("a", KIB)).await;
    let mut idle = weir.client().await;
    assert_eq!(idle.get("/a", &[("Host", "cdn.test")]).await.status, 200);
    let silent = weir.client().await;
    let begun = Instant::now();
    weir.signal(Signal::TERM);
    assert!(weir.ended().await.success());
    assert!(begun.elapsed() < Duration::from_secs(15), "half of the grace period for nothing");
    drop((idle, silent));
}

#[tokio::test]
async fn a_drain_ends_even_if_a_download_does_not() {
    let (content, gate) = (Content::new("a", 4 * MIB), Gate::closed());
    let origin = Origin::start().await;
    origin.serve("/held", Resource::new(&content).held_from(MIB, &gate));
    let mut weir = proxy().upstream("cdn.test", &origin).config("[timeouts]\ndrain = \"500ms\"\n").start().await;
    let mut client = weir.client().await;
    client.ask("GET", "/held", &[("Host", "cdn.test")]).await;
    let head = client.head().await.unwrap();
    weir.signal(Signal::TERM);
    assert!(weir.ended().await.success());
    let got = client.check(head, &content).await;
    assert!(got.end == End::Cut && got.difference.is_none(), "cut, not falsely whole: {got:?}");
}

#[tokio::test]
async fn a_second_signal_ends_the_drain_at_once_and_what_is_stored_stays() {
    let (content, gate) = (Content::new("a", 4 * MIB), Gate::closed());
    let (origin, mut weir) = scene(&content).await;
    weir.download("cdn.test", "/a", &[], &content).await;
    weir.settled().await;
    origin.serve("/held", Resource::new(&content).held_from(MIB, &gate));
    for (first, second) in [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::TERM), (Signal::TERM, Signal::INT)] {
        let mut client = weir.client().await;
        client.ask("GET", "/held", &[("Host", "cdn.test")]).await;
        let head = client.head().await.unwrap();
        weir.signal(first);
        let doors = weir.doors();
        eventually("the drain began", || async { tokio::net::TcpStream::connect(doors).await.is_err().then_some(()) }).await;
        let told = Instant::now();
        weir.signal(second);
        let status = weir.ended().await;
        assert!(status.success() && told.elapsed() < Duration::from_secs(15), "half of the grace period: {status}");
        let got = client.check(head, &content).await;
        assert!(got.end == End::Cut && got.difference.is_none(), "cut, not falsely whole: {got:?}");
        weir = weir.kill().start().await;
        assert!(weir.download("cdn.test", "/a", &[], &content).await.is_hit());
    }
    assert_eq!(origin.requests("/a"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_under_load_on_a_handed_socket_refuses_nobody() {
    let content = Content::new("a", 50 * KIB);
    let origin = Origin::start().await;
    origin.serve("/a", Resource::new(&content));
    let socket = Arc::new(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let address = socket.local_addr().unwrap();
    let mut weir = proxy().upstream("cdn.test", &origin).socket(&socket).start().await;
    assert_eq!(weir.doors(), address);

    let (served, stop) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        let (served, stop, content) = (served.clone(), stop.clone(), content.clone());
        clients.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let stream = tokio::net::TcpStream::connect(address).await.expect("a connection is never refused");
                let mut client = Client::over(stream);
                client.ask("GET", "/a", &[("Host", "cdn.test")]).await;
                // Closed without an answer: it was accepted in the moment of the signal, and the client tries again.
                let Some(head) = client.head().await else { continue };
                let got = client.check(head, &content).await;
                assert!(got.is_all_of(&content), "{got:?}");
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for _ in 0..3 {
        let before = served.load(Ordering::Relaxed);
        eventually("clients are served", || async { (served.load(Ordering::Relaxed) >= before + 50).then_some(()) }).await;
        let (status, builder) = weir.stop().await;
        assert!(status.success(), "{status}");
        weir = builder.start().await;
    }
    stop.store(true, Ordering::Relaxed);
    clients.join_all().await;
    assert_eq!(origin.requests("/a"), 1);
}

#[tokio::test]
async fn a_reload_applies_what_is_new_and_keeps_the_old_when_the_new_is_bad() {
    let content = Content::new("a", 10 * KIB);
    let (origin, mut weir) = scene(&content).await;
    assert_eq!(weir.get("other.test", "/a").await.status, 403);

    let old = weir.config().to_owned();
    weir.reload(&(old.clone() + &old.replace("cdn.test", "other.test")));
    eventually("the new host is served", || async { (weir.get("other.test", "/a").await.status == 200).then_some(()) }).await;
    assert!(weir.get("cdn.test", "/a").await.is_whole(&content.all()));

    weir.reload("[[upstream]]\nname = 7\nnonsense = true\n");
    eventually("the refusal is counted", || async {
        (weir.metric("weir_config_reloads_total", &[("outcome", "refused")]).await == 1.0).then_some(())
    })
    .await;
    assert!(weir.get("other.test", "/a").await.is_whole(&content.all()), "as before");
    assert!(weir.said().contains("nonsense"), "the log says why: {}", weir.said());
    assert!(origin.requests_in_all() <= 2);
}

#[tokio::test]
async fn a_second_weir_on_the_same_data_says_so_and_ends() {
    let (origin, weir) = scene(&Content::new("a", KIB)).await;
    let (status, said) = proxy().upstream("cdn.test", &origin).data(weir.data()).start_in_vain();
    assert_eq!(status.code(), Some(69), "the configuration is good: {said}");
    assert!(said.contains(&*weir.data().to_string_lossy()), "it names the directory: {said}");
    assert!(said.contains("another") || said.contains("in use") || said.contains("lock"), "{said}");
    assert_eq!(weir.get("cdn.test", "/a").await.status, 200);
}

#[tokio::test]
async fn a_port_that_is_taken_stops_the_start_in_words() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (status, said) = proxy().arg("--listen").arg(&address).start_in_vain();
    assert_eq!(status.code(), Some(69), "the configuration is good: {said}");
    assert!(said.contains(&address), "it names the address: {said}");
}

#[tokio::test]
async fn a_purged_url_is_fetched_again_and_others_stay() {
    let content = Content::new("a", 10 * KIB);
    let (origin, weir) = scene(&content).await;
    origin.serve("/b", Resource::new(&Content::new("b", KIB)));
    for path in ["/a", "/b"] {
        weir.get("cdn.test", path).await;
    }
    let (status, said) = weir.command(&["purge", "--dry-run", "http://cdn.test/a"]);
    assert!(status.success(), "{said}");
    assert!(weir.get("cdn.test", "/a").await.is_hit(), "a dry run purges nothing");
    let (status, said) = weir.command(&["purge", "http://cdn.test/a"]);
    assert!(status.success(), "{said}");
    let again = weir.get("cdn.test", "/a").await;
    assert!(!again.is_hit() && again.is_whole(&content.all()), "{:?}", again.head);
    assert!(weir.get("cdn.test", "/b").await.is_hit());

    let (status, said) = weir.command(&["purge", "--host", "cdn.test"]);
    assert!(status.success(), "{said}");
    assert!(!weir.get("cdn.test", "/b").await.is_hit());
    let (status, said) = weir.command(&["purge", "--all"]);
    assert!(status.success(), "{said}");
    assert!(!weir.get("cdn.test", "/b").await.is_hit());
}

#[tokio::test]
async fn the_objects_of_one_host_are_listed_page_by_page_whatever_lies_between_them() {
    let origin = Origin::start().await;
    let weir = proxy().upstream("few.test", &origin).upstream("many.test", &origin).start().await;
    for number in 0..30 {
        let path = format!("/{number}");
        origin.serve(&path, Resource::new(&Content::new(&path, 100)));
        weir.get("many.test", &path).await;
        if number % 10 == 0 {
            weir.get("few.test", &path).await;
        }
    }
    weir.settled().await;
    let page = async |query: &str| -> serde_json::Value {
        serde_json::from_str(&weir.admin_get(&format!("/api/objects?host=few.test&limit=2{query}")).await.text()).unwrap()
    };
    let listed = eventually("all are listed", || async {
        let first = page("").await;
        let next = first["next"].as_str()?;
        let second = page(&format!("&after={next}")).await;
        Some([first, second]).filter(|[first, second]| {
            first["objects"].as_array().unwrap().len() == 2 && second["objects"].as_array().unwrap().len() == 1
        })
    })
    .await;
    let mut keys: Vec<_> =
        listed.iter().flat_map(|page| page["objects"].as_array().unwrap()).map(|o| o["key"].as_str().unwrap()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["http://few.test/0", "http://few.test/10", "http://few.test/20"]);
    assert!(listed[1]["next"].is_null(), "{listed:#?}");
}

#[tokio::test]
async fn pinned_content_outlives_a_full_store() {
    let origin = Origin::start().await;
    let weir = proxy().upstream("cdn.test", &origin).config("[store]\nsize = \"16 MiB\"\n").start().await;
    let content = Content::new("pinned", 2 * MIB);
    origin.serve("/pinned", Resource::new(&content));
    assert!(weir.download("cdn.test", "/pinned", &[], &content).await.is_all_of(&content));
    let (status, said) = weir.command(&["pin", "http://cdn.test/pinned"]);
    assert!(status.success(), "{said}");
    for number in 0..20 {
        let path = format!("/{number}");
        let content = Content::new(&path, 2 * MIB);
        origin.serve(&path, Resource::new(&content));
        assert!(weir.download("cdn.test", &path, &[], &content).await.is_all_of(&content), "{path}");
    }
    assert!(weir.metric("weir_store_evictions_total", &[]).await >= 1.0);
    assert!(weir.metric("weir_store_used_bytes", &[]).await <= 16.0 * MIB as f64);
    assert!(weir.download("cdn.test", "/pinned", &[], &content).await.is_hit());
}

#[tokio::test]
async fn every_response_leaves_one_line_in_the_access_log_without_secrets() {
    let content = Content::new("a", 100 * KIB);
    let (_origin, weir) = scene(&content).await;
    weir.get("cdn.test", "/a").await;
    weir.settled().await;
    weir.get_with("cdn.test", "/a", &[("Range", "bytes=0-9"), ("User-Agent", "a \"quoted\" one")]).await;
    weir.get("cdn.test", "/missing?P1=1&P2=402&P3=2&P4=topsecret&x=y").await;
    weir.get("evil.example", "/nothing").await;
    let log = eventually("four lines", || async { Some(weir.log()).filter(|log| log.len() >= 4) }).await;
    assert_eq!(log.len(), 4, "{log:#?}");
    let line =
        |status: u16| log.iter().find(|line| line["status"] == status).unwrap_or_else(|| panic!("no {status} in {log:#?}"));
    let (whole, part, refused) = (line(200), line(206), line(403));
    assert_eq!((&whole["verdict"], &whole["sent_bytes"]), (&"miss".into(), &content.len().into()), "{whole}");
    assert_eq!((&part["verdict"], &part["sent_bytes"]), (&"hit".into(), &10.into()), "{part}");
    assert_eq!(part["agent"], "a \"quoted\" one");
    assert_eq!(refused["class"], "refuse", "{refused}");
    assert!(line(404)["url"].as_str().unwrap().contains("x=y"), "{}", line(404));
    assert!(!serde_json::to_string(&log).unwrap().contains("topsecret"), "{log:#?}");
}

#[tokio::test]
async fn the_line_of_a_download_is_written_at_its_end() {
    let (content, gate) = (Content::new("a", 2 * MIB), Gate::closed());
    let (origin, weir) = scene(&content).await;
    origin.serve("/held", Resource::new(&content).held_from(MIB, &gate));
    let mut client = weir.client().await;
    client.ask("GET", "/held", &[("Host", "cdn.test")]).await;
    let head = client.head().await.unwrap();
    let mut framing = head.framing(Framing::Close);
    client.some(&mut framing).await.unwrap();
    client.abort();
    let log = eventually("a line for the aborted one", || async { Some(weir.log()).filter(|log| !log.is_empty()) }).await;
    assert_eq!(log[0]["status"], 200);
    assert!(log[0]["sent_bytes"].as_u64().unwrap() < content.len(), "{}", log[0]);
    assert!(log[0]["end"] != "done", "{}", log[0]);
    gate.open();
}

#[tokio::test]
async fn metrics_count_what_clients_and_origins_moved() {
    let content = Content::new("a", MIB);
    let (_origin, weir) = scene(&content).await;
    for _ in 0..3 {
        weir.download("cdn.test", "/a", &[], &content).await;
        weir.settled().await;
    }
    eventually("three requests are counted", || async { (weir.metric("weir_requests_total", &[]).await == 3.0).then_some(()) })
        .await;
    assert_eq!(weir.metric("weir_requests_total", &[("verdict", "hit")]).await, 2.0);
    assert_eq!(weir.metric("weir_requests_total", &[("verdict", "miss"), ("door", "transparent")]).await, 1.0);
    assert_eq!(weir.metric("weir_sent_bytes_total", &[]).await, 3.0 * MIB as f64);
    assert_eq!(weir.metric("weir_upstream_bytes_total", &[]).await, MIB as f64);
    eventually("the object is counted", || async { (weir.metric("weir_store_objects", &[]).await == 1.0).then_some(()) }).await;
    assert_eq!(weir.metric("weir_upstream_healthy", &[("upstream", "cdn.test")]).await, 1.0);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(weir.admin_get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn the_access_log_is_reopened_on_sigusr1() {
    let (_origin, weir) = scene(&Content::new("a", KIB)).await;
    weir.get("cdn.test", "/a").await;
    eventually("a line", || async { (weir.log().len() == 1).then_some(()) }).await;
    weir.rotate_log();
    weir.signal(Signal::USR1);
    eventually("a line in the new file", || async {
        weir.get("cdn.test", "/a").await;
        (!weir.log().is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn fsck_finds_a_stopped_store_whole_and_will_not_touch_a_running_one() {
    let content = Content::new("a", 3 * MIB);
    let (_origin, weir) = scene(&content).await;
    assert!(weir.download("cdn.test", "/a", &[], &content).await.is_all_of(&content));
    let data = weir.data();
    let fsck = || {
        let output = crate::support::weir_command().arg("fsck").arg("--data").arg(&data).output().unwrap();
        (output.status, String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    };
    let (status, said) = fsck();
    assert!(!status.success(), "in use: {said}");
    let (_, builder) = weir.stop().await;
    let (status, said) = fsck();
    assert!(status.success(), "{said}");
    drop(builder);
}
