//! What weir learns from what passes, and what it does with it.

use super::{
    agent::{self, envelope},
    server::{CLIENT, CLIENT_PATH, HOST, Wsus},
};
use crate::support::{Answer, Content, End, KIB, MIB, Origin, Proxy, Resource, Step, eventually, proxy, xpress};

pub(super) const CLASSIC: &str = "/d/msdownload/update/software/defu/2026/10/update-0.cab";
pub(super) const STREAMED: &str = "/filestreamingservice/files/7bc846e0-af9c-49be-a03d-bb04428c9bb5";
const SIGNATURE: &str = "P1=1893456000&P2=402&P3=2&P4=c2VjcmV0";

pub(super) async fn reaches(weir: &Proxy, metric: &str, value: f64) {
    eventually(metric, || async { (weir.metric(metric, &[]).await >= value).then_some(()) }).await;
}

/// A WSUS whose one file is said to be at two places of Microsoft's, too; those places; and a weir in front of all.
struct Scene {
    wsus: Wsus,
    places: Origin,
    weir: Proxy,
}

impl Scene {
    async fn new() -> Self {
        let scene = Self::unseen().await;
        scene.look().await;
        scene
    }

    /// Before any metadata passed.
    async fn unseen() -> Self {
        let classic = format!("http://download.windowsupdate.com{CLASSIC}");
        let streamed = format!("http://tlu.dl.delivery.mp.microsoft.com{STREAMED}?{SIGNATURE}");
        let wsus = Wsus::start_with(&[2 * MIB + 77], &[&classic, &streamed]).await;
        let places = Origin::start().await;
        let weir = proxy()
            .wsus(&wsus.origin)
            .upstream("download.windowsupdate.com", &places)
            .upstream("*.dl.delivery.mp.microsoft.com", &places)
            .start()
            .await;
        Self { wsus, places, weir }
    }

    /// A computer asks for metadata.
    async fn look(&self) {
        agent::look(self.weir.doors()).await;
        reaches(&self.weir, "weir_catalog_files", 1.0).await;
        // The locations follow the files in the same reply.
        reaches(&self.weir, "weir_metadata_read_total", 5.0).await;
    }

    fn content(&self) -> &Content {
        &self.wsus.files[0].content
    }

    fn serve(&self, content: &Content) {
        for path in [CLASSIC, STREAMED] {
            self.places.serve(path, Resource::new(content));
        }
    }

    /// By all three of its names.
    async fn everywhere(&self) {
        let content = self.content();
        assert!(self.weir.download(HOST, &self.wsus.files[0].path(), &[], content).await.is_all_of(content), "by WSUS");
        reaches(&self.weir, "weir_digests_verified_total", 1.0).await;
        assert!(self.weir.download("download.windowsupdate.com", CLASSIC, &[], content).await.is_all_of(content), "classic");
        let url = format!("{STREAMED}?P1=1893456999&P4=b3RoZXI&cacheHostOrigin=2.tlu.dl.delivery.mp.microsoft.com");
        assert!(self.weir.download("weir.branch", &url, &[], content).await.is_all_of(content), "streamed");
    }
}

#[tokio::test]
async fn one_file_under_three_kinds_of_url_is_fetched_once_and_stored_once() {
    let scene = Scene::new().await;
    scene.serve(scene.content());
    scene.everywhere().await;
    assert_eq!(scene.wsus.origin.sent(&scene.wsus.files[0].path()), scene.content().len());
    for path in [CLASSIC, STREAMED] {
        assert!(scene.places.sent(path) <= 1, "{path}: only for the head of the response");
    }
    assert_eq!(scene.weir.metric("weir_content_reused_total", &[]).await, 2.0);
    reaches(&scene.weir, "weir_store_objects", 3.0).await;
    assert_eq!(scene.weir.metric("weir_store_blobs", &[]).await, 1.0, "three responses, one content");
}

#[tokio::test]
async fn what_was_here_before_its_metadata_is_verified_as_soon_as_that_passes() {
    let scene = Scene::unseen().await;
    scene.serve(scene.content());
    let classic = || scene.weir.download("download.windowsupdate.com", CLASSIC, &[], scene.content());
    assert!(classic().await.is_all_of(scene.content()));
    scene.weir.settled().await;
    assert_eq!(scene.weir.metric("weir_digests_verified_total", &[]).await, 0.0, "nobody knows what it must be");
    scene.look().await;
    reaches(&scene.weir, "weir_digests_verified_total", 1.0).await;
    scene.everywhere().await;
    assert!(scene.wsus.origin.sent(&scene.wsus.files[0].path()) <= 1 && scene.places.sent(STREAMED) <= 1, "it was here");
}

#[tokio::test]
async fn what_was_wrong_before_its_metadata_is_gone_as_soon_as_that_passes() {
    let scene = Scene::unseen().await;
    let (wrong, short) = (Content::new("wrong", scene.content().len()), Content::new("short", 100 * KIB));
    scene.places.serve(CLASSIC, Resource::new(&wrong));
    scene.places.serve(STREAMED, Resource::new(&short));
    assert!(scene.weir.download("download.windowsupdate.com", CLASSIC, &[], &wrong).await.is_all_of(&wrong));
    let streamed = scene.weir.download("tlu.dl.delivery.mp.microsoft.com", &format!("{STREAMED}?{SIGNATURE}"), &[], &short).await;
    assert!(streamed.is_all_of(&short));
    scene.weir.settled().await;
    scene.look().await;
    reaches(&scene.weir, "weir_quarantined_total", 1.0).await;
    reaches(&scene.weir, "weir_answers_contradicted_total", 1.0).await;
    scene.serve(scene.content());
    scene.everywhere().await;
}

#[tokio::test]
async fn a_corrupted_copy_is_quarantined_fetched_anew_and_never_served_from_the_cache() {
    let scene = Scene::new().await;
    let wrong = Content::new("wrong", scene.content().len());
    scene.serve(&wrong);
    let ask = |content| scene.weir.download("download.windowsupdate.com", CLASSIC, &[], content);
    for turn in 1..=2 {
        // It streams while it comes: clients find out by their own check.
        let got = ask(&wrong).await;
        assert!(got.is_all_of(&wrong) && !got.is_hit(), "{got:?}");
        reaches(&scene.weir, "weir_quarantined_total", f64::from(turn)).await;
    }
    for _ in 0..2 {
        let got = ask(&wrong).await;
        assert!(!got.is_hit() && got.head.field("cache-status").unwrap().contains("detail=digest-mismatch"), "{got:?}");
    }
    assert_eq!(scene.weir.metric("weir_quarantined_total", &[]).await, 2.0, "not stored again");
    assert_eq!(std::fs::read_dir(scene.weir.data().join("quarantine")).unwrap().count(), 2);
}

#[tokio::test]
async fn what_contradicts_itself_is_believed_no_more_also_after_a_restart() {
    let url = format!("http://download.windowsupdate.com{CLASSIC}");
    let (one, other) = (Wsus::start_with(&[2 * MIB], &[&url]).await, Wsus::start_with(&[2 * MIB + 1], &[&url]).await);
    let places = Origin::start().await;
    let content = Content::new("whatever", 300 * KIB);
    places.serve(CLASSIC, Resource::new(&content));
    let place = places.address();
    let config = |wsus: &Wsus| {
        format!(
            "[[upstream]]\nname = \"wsus\"\nurl = \"http://{}\"\ndoor = \"wsus\"\n\
             [[upstream]]\nname = \"place\"\nurl = \"http://download.windowsupdate.com\"\naddress = \"{place}\"\n",
            wsus.origin.address()
        )
    };
    let mut weir = proxy().config(&config(&one)).start().await;
    agent::look(weir.doors()).await;
    reaches(&weir, "weir_metadata_read_total", 5.0).await;
    weir.reload(&config(&other));
    reaches(&weir, "weir_config_reloads_total", 1.0).await;
    agent::look(weir.doors()).await;
    reaches(&weir, "weir_metadata_read_total", 10.0).await;
    let (_, builder) = weir.stop().await;
    let weir = builder.start().await;
    for _ in 0..2 {
        let got = weir.download("download.windowsupdate.com", CLASSIC, &[], &content).await;
        assert!(got.is_all_of(&content), "{got:?}");
    }
    assert_eq!(weir.metric("weir_answers_contradicted_total", &[]).await, 0.0, "neither length is believed");
    assert_eq!(places.sent(CLASSIC), content.len(), "it is cached by what HTTP says");
}

#[tokio::test]
async fn a_place_with_other_content_than_metadata_says_makes_no_other_place_wrong() {
    let scene = Scene::new().await;
    let wrong = Content::new("wrong", scene.content().len());
    scene.serve(&wrong);
    // It streams while it comes: the first client finds out by its own check.
    assert!(scene.weir.download("download.windowsupdate.com", CLASSIC, &[], &wrong).await.is_all_of(&wrong));
    reaches(&scene.weir, "weir_digests_mismatched_total", 1.0).await;
    scene.everywhere().await;
}

#[tokio::test]
async fn a_place_with_content_of_another_length_gives_its_own_and_it_is_not_stored() {
    let scene = Scene::new().await;
    let other = Content::new("other", 100 * KIB);
    assert!(scene.weir.download(HOST, &scene.wsus.files[0].path(), &[], scene.content()).await.is_all_of(scene.content()));
    reaches(&scene.weir, "weir_digests_verified_total", 1.0).await;
    scene.serve(&other);
    for asked in 1..=2 {
        let got = scene.weir.download("download.windowsupdate.com", CLASSIC, &[], &other).await;
        assert!(got.is_all_of(&other) && got.head.field("cache-status").unwrap().ends_with("detail=wrong-length"), "{got:?}");
        let counted = scene.weir.metric("weir_answers_contradicted_total", &[("reason", "wrong-length")]).await;
        assert_eq!(counted, f64::from(asked), "asked anew each time");
    }
    assert!(scene.places.sent(CLASSIC) >= 2 * other.len(), "nothing of it is stored");
}

#[tokio::test]
async fn a_part_of_content_of_another_length_than_metadata_says_is_not_stored() {
    let scene = Scene::new().await;
    let other = Content::new("other", scene.content().len() + 1);
    scene.serve(&other);
    for range in ["bytes=0-99", "bytes=1048576-2097151"] {
        let got = scene.weir.download("download.windowsupdate.com", CLASSIC, &[("Range", range)], &other).await;
        assert!(got.status == 206 && got.difference.is_none(), "{got:?}");
    }
    assert_eq!(scene.weir.metric("weir_answers_contradicted_total", &[("reason", "wrong-length")]).await, 2.0);
}

#[tokio::test]
async fn computers_and_their_reports_are_seen() {
    let wsus = Wsus::start(&[300 * KIB]).await;
    let weir = proxy().wsus(&wsus.origin).start().await;
    agent::update(weir.doors(), 5, true).await;
    reaches(&weir, "weir_census_events_total", 2.0).await;
    let clients = weir.admin_get("/api/v1/clients").await.text();
    assert!(clients.contains("pc-5"), "{clients}");
    assert_eq!(weir.metric("weir_metadata_unread_total", &[]).await, 0.0);
}

#[tokio::test]
async fn what_is_learnt_outlives_a_restart() {
    let wsus = Wsus::start(&[300 * KIB]).await;
    let weir = proxy().wsus(&wsus.origin).start().await;
    agent::look(weir.doors()).await;
    reaches(&weir, "weir_catalog_files", 1.0).await;
    let (status, started) = weir.stop().await;
    assert!(status.success());
    let weir = started.start().await;
    assert_eq!(weir.metric("weir_catalog_files", &[]).await, 1.0);
}

#[tokio::test]
async fn a_reply_that_cannot_be_read_passes_as_it_is_and_is_counted() {
    let wsus = Wsus::start(&[]).await;
    let weir = proxy().wsus(&wsus.origin).start().await;
    let replies: [(&[u8], Option<&str>, &str); 3] =
        [(b"<a><b></a>", None, "xml"), (b"not coded at all", Some("xpress"), "xpress"), (b"<!DOCTYPE a><a/>", None, "xml")];
    let body = envelope("GetFileLocations", CLIENT, "");
    for (nth, (reply, coding, _)) in replies.into_iter().enumerate() {
        wsus.origin.answer(CLIENT_PATH, move |_| {
            let answer = Answer::new("200 OK").with("Content-Length", reply.len());
            let answer = match coding {
                Some(coding) => answer.with("Content-Encoding", coding),
                None => answer,
            };
            answer.then(Step::Text(reply.to_vec()))
        });
        let mut client = weir.client().await;
        let head = format!(
            "POST {CLIENT_PATH} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: text/xml\r\nSOAPAction: \"{CLIENT}/GetFileLocations\"\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        client.send(head + &body).await;
        assert!(client.reply("POST").await.is_whole(reply));
        reaches(&weir, "weir_metadata_unread_total", nth as f64 + 1.0).await;
    }
    for (reason, count) in [("xml", 2.0), ("xpress", 1.0)] {
        assert_eq!(weir.metric("weir_metadata_unread_total", &[("reason", reason)]).await, count, "{reason}");
    }
}

/// A reply whose one fragment has more than 60 MB, and `behind` it, plain and coded.
pub(super) fn large_reply(behind: &str) -> (Vec<u8>, Vec<u8>) {
    let head = format!(
        "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body><GetExtendedUpdateInfoResponse xmlns=\"{CLIENT}\">\
         <GetExtendedUpdateInfoResult><Updates><Update><ID>7</ID><Xml>&lt;LocalizedProperties&gt;&lt;Title&gt;Large&lt;/Title&gt;\
         &lt;/LocalizedProperties&gt;"
    );
    let rules =
        "&lt;b.RegDword Key=\"HKEY_LOCAL_MACHINE\" Subkey=\"SOFTWARE\\Policies\" Value=\"x\" Data=\"1\" /&gt;".repeat(10_000);
    let tail = format!(
        "</Xml></Update></Updates>{behind}</GetExtendedUpdateInfoResult></GetExtendedUpdateInfoResponse></s:Body></s:Envelope>"
    );
    let times = 60_000_000 / rules.len() + 1;
    let coded =
        [xpress::encode(head.as_bytes()), xpress::encode(rules.as_bytes()).repeat(times), xpress::encode(tail.as_bytes())]
            .concat();
    ([&*head, &rules.repeat(times), &tail].concat().into_bytes(), coded)
}

#[tokio::test]
async fn a_reply_of_sixty_megabytes_passes_in_little_memory_and_is_read() {
    let wsus = Wsus::start(&[]).await;
    let weir = proxy().wsus(&wsus.origin).start().await;
    let (plain, coded) = large_reply("");
    let ask = async |operation: &str, body: &[u8], coding: Option<&'static str>| {
        let text = body.to_vec();
        wsus.origin.answer(CLIENT_PATH, move |_| {
            let answer = Answer::new("200 OK").with("Content-Length", text.len());
            let answer = if let Some(coding) = coding { answer.with("Content-Encoding", coding) } else { answer };
            answer.then(Step::Text(text.clone()))
        });
        let call = envelope(operation, CLIENT, "");
        let head = format!(
            "POST {CLIENT_PATH} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: text/xml\r\nSOAPAction: \"{CLIENT}/{operation}\"\r\n\
             Content-Length: {}\r\n\r\n",
            call.len()
        );
        let mut client = weir.client().await;
        client.send(head + &call).await;
        let reply = client.reply("POST").await;
        assert!(reply.end == End::Whole && reply.body == body, "{operation}: {} bytes of {}", reply.body.len(), body.len());
    };
    // Nobody looks at these; several, because what passing alone takes differs from one to the next.
    for _ in 0..4 {
        ask("GetTimestamps", &plain, None).await;
    }
    let unobserved = weir.memory_peak();
    ask("GetExtendedUpdateInfo", &coded, Some("xpress")).await;
    reaches(&weir, "weir_catalog_updates", 1.0).await;
    // Read, or given up where the machine is slow: it passes in any case.
    ask("GetExtendedUpdateInfo", &plain, None).await;
    let more = weir.memory_peak().saturating_sub(unobserved);
    assert!(more < 8 * MIB, "{more} bytes more than without a look at it");
}
