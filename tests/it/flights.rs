//! Flights: one fill for many readers, owned by none of them; and what may not be shared.

use std::time::Duration;

use crate::support::{
    Answer, Client, Content, Framing, Gate, KIB, MIB, Origin, Proxy, Resource, Step, eventually, proxy, within,
};

async fn scene(resource: Resource) -> (Origin, Proxy) {
    let origin = Origin::start().await;
    origin.serve("/a", resource);
    let weir = proxy().upstream("cdn.test", &origin).start().await;
    (origin, weir)
}

/// A client that has asked for `/a` and read nothing yet.
async fn asking(weir: &Proxy, fields: &[(&str, &str)]) -> Client {
    let mut client = weir.client().await;
    let fields: Vec<_> = [("Host", "cdn.test")].iter().chain(fields).copied().collect();
    client.ask("GET", "/a", &fields).await;
    client
}

async fn running_requests(weir: &Proxy, count: f64) {
    eventually("weir works on the requests", || async {
        (weir.metric("weir_requests_running", &[]).await >= count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn two_clients_asking_at_once_cause_one_fill() {
    let (content, gate) = (Content::new("a", 3 * MIB), Gate::closed());
    let (origin, weir) = scene(Resource::new(&content).held(&gate)).await;
    let mut first = asking(&weir, &[]).await;
    gate.reached_by(1).await;
    let mut second = asking(&weir, &[]).await;
    running_requests(&weir, 2.0).await;
    gate.open();
    for client in [&mut first, &mut second] {
        let head = client.head().await.unwrap();
        assert!(client.check(head, &content).await.is_all_of(&content));
    }
    assert_eq!(origin.sent("/a"), content.len());
}

#[tokio::test]
async fn a_follower_says_that_it_was_collapsed() {
    let (content, gate) = (Content::new("a", 2 * MIB), Gate::closed());
    let (_origin, weir) = scene(Resource::new(&content).held_from(MIB, &gate)).await;
    let mut leader = asking(&weir, &[]).await;
    let leader_head = leader.head().await.unwrap();
    let mut follower = asking(&weir, &[]).await;
    let head = follower.head().await.unwrap();
    assert!(head.field("cache-status").unwrap().contains("collapsed"), "{head:?}");
    assert!(!leader_head.field("cache-status").unwrap().contains("collapsed"), "{leader_head:?}");
    gate.open();
    assert!(follower.check(head, &content).await.is_all_of(&content));
    assert!(leader.check(leader_head, &content).await.is_all_of(&content));
}

#[tokio::test]
async fn bytes_are_passed_on_as_they_come_not_piece_by_piece() {
    let (content, gate) = (Content::new("a", 2 * MIB), Gate::closed());
    let (_origin, weir) = scene(Resource::new(&content).held_from(1000, &gate)).await;
    let mut client = asking(&weir, &[]).await;
    let head = client.head().await.unwrap();
    let mut framing = head.framing(Framing::Close);
    let mut got = 0;
    while got < 1000 {
        got += client.some(&mut framing).await.expect("bytes before the hold").len();
    }
    assert_eq!(got, 1000);
    gate.open();
}

#[tokio::test]
async fn the_leader_leaving_harms_no_follower() {
    let (content, gate) = (Content::new("a", 4 * MIB), Gate::closed());
    let (origin, weir) = scene(Resource::new(&content).held_from(MIB / 2, &gate)).await;
    let mut leader = asking(&weir, &[]).await;
    leader.head().await.unwrap();
    let mut follower = asking(&weir, &[]).await;
    let head = follower.head().await.unwrap();
    leader.abort();
    eventually("weir notices", || async { (weir.metric("weir_client_aborts_total", &[]).await >= 1.0).then_some(()) }).await;
    gate.open();
    assert!(follower.check(head, &content).await.is_all_of(&content));
    assert_eq!(origin.sent("/a"), content.len());
}

#[tokio::test]
async fn a_small_fill_goes_on_when_its_last_reader_leaves() {
    let (content, gate) = (Content::new("a", 8 * MIB), Gate::closed());
    let (origin, weir) = scene(Resource::new(&content).held_from(2 * MIB, &gate)).await;
    let mut client = asking(&weir, &[]).await;
    client.head().await.unwrap();
    client.abort();
    eventually("weir notices", || async { (weir.metric("weir_client_aborts_total", &[]).await >= 1.0).then_some(()) }).await;
    gate.open();
    weir.settled().await;
    let later = weir.download("cdn.test", "/a", &[], &content).await;
    assert!(later.is_all_of(&content) && later.is_hit(), "{later:?}");
    assert_eq!(origin.sent("/a"), content.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_fill_ends_when_its_last_reader_leaves_and_keeps_what_it_has() {
    let content = Content::new("a", 300 * MIB);
    let (origin, weir) = scene(Resource::new(&content).paced(8 * MIB)).await;
    let mut client = asking(&weir, &[]).await;
    let head = client.head().await.unwrap();
    let mut framing = head.framing(Framing::Close);
    let mut got = 0;
    while got < 3 * MIB {
        got += client.some(&mut framing).await.expect("more bytes").len() as u64;
    }
    client.abort();
    weir.settled().await;
    assert!(origin.sent("/a") < 100 * MIB, "{} bytes for nobody", origin.sent("/a"));
    let kept = weir.get_with("cdn.test", "/a", &[("Range", "bytes=0-1048575")]).await;
    assert!(kept.is_hit() && kept.is_whole(&content.bytes(0, MIB)), "{:?}", kept.head);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_stops_reading_slows_nobody() {
    let content = Content::new("a", 32 * MIB);
    let (origin, weir) = scene(Resource::new(&content)).await;
    let mut slow = asking(&weir, &[]).await;
    let head = slow.head().await.unwrap();
    let quick = within("the quick one is not kept waiting", weir.download("cdn.test", "/a", &[], &content)).await;
    assert!(quick.is_all_of(&content), "{quick:?}");
    assert!(slow.check(head, &content).await.is_all_of(&content), "the slow one gets everything too");
    assert!(origin.sent("/a") <= content.len() * 101 / 100);
}

#[tokio::test]
async fn a_range_far_ahead_does_not_wait_for_what_lies_before_it() {
    let (content, gate) = (Content::new("a", 16 * MIB), Gate::closed());
    let (origin, weir) = scene(Resource::new(&content)).await;
    // Only the request that starts at the front is held.
    let (resource, held) = (Resource::new(&content), gate.clone());
    origin.answer("/a", move |ask| {
        let answer = resource.answer(ask);
        let front = ask.field("range").is_none_or(|range| range.starts_with("bytes=0-"));
        if front { Answer { held_from: Some((MIB, held.clone())), ..answer } } else { answer }
    });
    let mut front = asking(&weir, &[]).await;
    let head = front.head().await.unwrap();
    let ahead = within("a range far ahead", weir.get_with("cdn.test", "/a", &[("Range", "bytes=15728640-15729663")])).await;
    assert!(ahead.is_whole(&content.bytes(15 * MIB, 15 * MIB + KIB)), "{:?}", ahead.head);
    gate.open();
    assert!(front.check(head, &content).await.is_all_of(&content));
}

/// Answers that name their request, under fields that forbid sharing.
async fn numbered(fields: &'static [(&'static str, &'static str)], gate: Option<Gate>) -> (Origin, Proxy) {
    let origin = Origin::start().await;
    origin.answer("/a", move |ask| {
        let answer = Answer::text("200 OK", &format!("answer {}", ask.earlier));
        let answer = fields.iter().fold(answer, |answer, (name, value)| answer.with(name, value));
        match &gate {
            Some(gate) => answer.first(Step::Hold(gate.clone())),
            None => answer,
        }
    });
    let weir = proxy().upstream("cdn.test", &origin).start().await;
    (origin, weir)
}

#[tokio::test]
async fn what_may_not_be_stored_is_asked_for_each_time() {
    let rows: &[&[(&str, &str)]] = &[
        &[("Cache-Control", "no-store"), ("ETag", "\"x\"")],
        &[("Cache-Control", "private"), ("ETag", "\"x\"")],
        &[("Cache-Control", "max-age=3600, private"), ("ETag", "\"x\"")],
        &[("Vary", "*"), ("Cache-Control", "max-age=3600"), ("ETag", "\"x\"")],
    ];
    for fields in rows {
        let (_origin, weir) = numbered(fields, None).await;
        for number in 0..3 {
            assert_eq!(weir.get("cdn.test", "/a").await.text(), format!("answer {number}"), "{fields:?}");
        }
    }
}

#[tokio::test]
async fn a_private_response_reaches_only_the_client_that_asked_even_in_a_flight() {
    let gate = Gate::closed();
    let (_origin, weir) = numbered(&[("Cache-Control", "private, max-age=60"), ("ETag", "\"x\"")], Some(gate.clone())).await;
    let mut clients = vec![asking(&weir, &[]).await];
    gate.reached_by(1).await;
    for _ in 0..4 {
        clients.push(asking(&weir, &[]).await);
    }
    running_requests(&weir, 5.0).await;
    gate.open();
    let mut texts = Vec::new();
    for client in &mut clients {
        texts.push(client.reply("GET").await.text());
    }
    texts.sort();
    assert_eq!(texts, ["answer 0", "answer 1", "answer 2", "answer 3", "answer 4"]);
}

#[tokio::test]
async fn requests_for_an_unshareable_key_do_not_queue_behind_one_another() {
    let gate = Gate::closed();
    let (origin, weir) = numbered(&[("Cache-Control", "private"), ("ETag", "\"x\"")], None).await;
    assert_eq!(weir.get("cdn.test", "/a").await.text(), "answer 0");
    let held = gate.clone();
    origin.answer("/a", move |_| Answer::text("200 OK", "held").with("Cache-Control", "private").first(Step::Hold(held.clone())));
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(asking(&weir, &[]).await);
    }
    gate.reached_by(3).await;
    gate.open();
    for client in &mut clients {
        assert_eq!(client.reply("GET").await.text(), "held");
    }
}

#[tokio::test]
async fn responses_to_authorized_requests_are_not_shared() {
    let (_origin, weir) = numbered(&[("Cache-Control", "max-age=3600"), ("ETag", "\"x\"")], None).await;
    let mut texts = Vec::new();
    for credentials in [Some("Basic b25l"), Some("Basic dHdv"), None] {
        let fields: Vec<_> = credentials.map(|value| ("Authorization", value)).into_iter().collect();
        texts.push(weir.get_with("cdn.test", "http://cdn.test/a", &fields).await.text());
    }
    // The transparent and forward doors are anonymous: whether such fields go upstream is policy, that answers differ is not.
    texts.dedup();
    assert_eq!(texts.len(), 3, "{texts:?}");
}

#[tokio::test]
async fn variants_are_kept_apart() {
    let origin = Origin::start().await;
    origin.answer("/a", |ask| {
        let language = ask.field("accept-language").unwrap_or("none").to_owned();
        let answer = Answer::text("200 OK", &format!("in {language}"));
        answer.with("Vary", "Accept-Language").with("ETag", format!("\"{language}\"")).with("Cache-Control", "max-age=3600")
    });
    let weir = proxy().reverse(&origin).start().await;
    for _ in 0..2 {
        for language in ["de", "fr"] {
            let reply = weir.get_with("any.branch", "/a", &[("Accept-Language", language)]).await;
            assert_eq!(reply.text(), format!("in {language}"));
        }
    }
    assert_eq!(origin.requests("/a"), 2);
}

#[tokio::test]
async fn a_herd_that_wants_three_variants_causes_one_fill_for_each() {
    let (origin, gate) = (Origin::start().await, Gate::closed());
    let held = gate.clone();
    origin.answer("/a", move |ask| {
        let language = ask.field("accept-language").unwrap_or("none").to_owned();
        let answer = Answer::text("200 OK", &format!("in {language}")).first(Step::Hold(held.clone()));
        answer.with("Vary", "Accept-Language").with("ETag", format!("\"{language}\"")).with("Cache-Control", "max-age=3600")
    });
    let weir = proxy().reverse(&origin).start().await;
    let herd = (0..30).map(|number| {
        let (weir, language) = (&weir, ["de", "fr", "it"][number % 3]);
        async move { (language, weir.get_with("any.branch", "/a", &[("Accept-Language", language)]).await) }
    });
    let (answers, ()) = tokio::join!(futures_util::future::join_all(herd), async {
        running_requests(&weir, 30.0).await;
        gate.open();
    });
    for (language, reply) in answers {
        assert_eq!(reply.text(), format!("in {language}"));
    }
    assert_eq!(origin.requests("/a"), 3);
}

#[tokio::test]
async fn a_chunked_response_is_stored_once_it_has_ended_cleanly() {
    let content = Content::new("a", 2 * MIB + 1);
    let (origin, weir) = scene(Resource::new(&content).without_ranges().chunked()).await;
    assert!(weir.download("cdn.test", "/a", &[], &content).await.is_all_of(&content));
    weir.settled().await;
    let part = weir.get_with("cdn.test", "/a", &[("Range", "bytes=-9")]).await;
    assert!(part.is_hit() && part.is_whole(&content.bytes(2 * MIB - 8, 2 * MIB + 1)), "{:?}", part.head);
    assert_eq!(origin.requests("/a"), 1);
}

#[tokio::test]
async fn what_ends_with_its_connection_is_relayed_and_never_stored() {
    let content = Content::new("a", MIB);
    let (origin, weir) = scene(Resource::new(&content).without_ranges().close_delimited()).await;
    for _ in 0..2 {
        let got = weir.download("cdn.test", "/a", &[], &content).await;
        assert!(got.is_all_of(&content) && !got.is_hit(), "a cut could not be told from its end: {got:?}");
    }
    assert_eq!(origin.requests("/a"), 2);
}

#[tokio::test]
async fn equal_content_under_two_names_is_stored_once() {
    let content = Content::new("same", 4 * MIB);
    let (origin, weir) = scene(Resource::new(&content)).await;
    origin.serve("/b", Resource::new(&content));
    for path in ["/a", "/b"] {
        assert!(weir.download("cdn.test", path, &[], &content).await.is_all_of(&content));
    }
    eventually("the copy is noticed", || async {
        (weir.metric("weir_store_deduplicated_bytes_total", &[]).await >= content.len() as f64).then_some(())
    })
    .await;
    weir.settled().await;
    for path in ["/a", "/b"] {
        let again = weir.download("cdn.test", path, &[], &content).await;
        assert!(again.is_all_of(&content) && again.is_hit(), "{path}");
    }
}

#[tokio::test]
async fn a_stale_response_is_revalidated_and_its_bytes_stay() {
    let content = Content::new("a", 2 * MIB);
    let (origin, weir) = scene(Resource::new(&content).with("Cache-Control", "max-age=0")).await;
    assert!(weir.download("cdn.test", "/a", &[], &content).await.is_all_of(&content));
    let again = weir.download("cdn.test", "/a", &[], &content).await;
    assert!(again.is_all_of(&content), "{again:?}");
    assert_eq!(origin.sent("/a"), content.len(), "a 304 costs no content");
    assert!(origin.asks("/a").last().unwrap().field("if-none-match").is_some());

    let new = Content::new("new", MIB);
    origin.serve("/a", Resource::new(&new));
    assert!(weir.download("cdn.test", "/a", &[], &new).await.is_all_of(&new), "a changed one is fetched");
}

#[tokio::test]
async fn a_fill_bound_turns_into_503_not_into_waiting_forever() {
    let (content, gate) = (Content::new("a", MIB), Gate::closed());
    let origin = Origin::start().await;
    let weir = proxy().upstream("cdn.test", &origin).config("[limits]\nfills = 2\n").start().await;
    let mut clients = Vec::new();
    for index in 0..3 {
        let path = format!("/held-{index}");
        origin.serve(&path, Resource::new(&content).held(&gate));
        let mut client = weir.client().await;
        client.ask("GET", &path, &[("Host", "cdn.test")]).await;
        clients.push(client);
        gate.reached_by(clients.len().min(2)).await;
    }
    let waited = std::time::Instant::now();
    let head = clients[2].head().await.unwrap();
    assert!(head.start.contains(" 503 "), "{head:?}");
    assert!(waited.elapsed() < Duration::from_secs(10));
    gate.open();
    for client in &mut clients[..2] {
        assert!(client.reply("GET").await.is_whole(&content.all()));
    }
}
