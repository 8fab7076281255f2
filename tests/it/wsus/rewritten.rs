//! URLs of content made to lead through weir, where the administrator wants it.

use super::{
    agent::{self, envelope},
    fields,
    learnt::{CLASSIC, STREAMED, large_reply, reaches},
    server::{CLIENT, CLIENT_PATH, HOST, Wsus},
};
use crate::support::{Answer, Client, Content, End, KIB, MIB, Origin, Proxy, Resource, Step, eventually, proxy, xpress};

/// What clients call weir: another name and another port than the server's.
const WEIR: &str = "weir.branch:8080";

/// In front of `wsus` with no other door than its own.
async fn rewriting(wsus: &Wsus, more: &str) -> (Proxy, std::net::SocketAddr) {
    let server = wsus.origin.address();
    let config = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\ndoors = [\"wsus\"]\n\n[[upstream]]\nname = \"wsus\"\nurl = \"http://{server}\"\ndoor = \"wsus\"\n\
         rewrite_to = \"http://{WEIR}\"\naccept_unsigned = true\n{more}"
    );
    let weir = proxy().config(&config).start().await;
    let door = weir.port("wsus").await;
    (weir, door)
}

async fn call(door: std::net::SocketAddr, operation: &str) -> crate::support::Reply {
    let body = envelope(operation, CLIENT, "");
    let head = format!(
        "POST {CLIENT_PATH} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: text/xml\r\nSOAPAction: \"{CLIENT}/{operation}\"\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let mut client = Client::connect(door).await;
    client.send(head + &body).await;
    client.reply("POST").await
}

fn locations(urls: &[&str]) -> String {
    let location = |url: &&str| {
        format!("<FileLocation><FileDigest>2jmj7l5rSw0yVb/vlWAYkK/YBwk=</FileDigest><Url>{url}</Url></FileLocation>")
    };
    format!("<FileLocations>{}</FileLocations>", urls.iter().map(location).collect::<String>())
}

fn reply(urls: &[&str]) -> String {
    format!(
        "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body><GetFileLocationsResponse xmlns=\"{CLIENT}\">\
         <GetFileLocationsResult>{}</GetFileLocationsResult></GetFileLocationsResponse></s:Body></s:Envelope>",
        locations(urls)
    )
}

#[tokio::test]
async fn a_whole_dialogue_fetches_through_weir_and_differs_in_nothing_but_authorities() {
    for xpress in [true, false] {
        let wsus = Wsus::start(&[918_944, 3 * MIB + 272_848]).await;
        let (weir, door) = rewriting(&wsus, "").await;
        let direct = agent::update(wsus.origin.address(), 1, xpress).await;
        let before: u64 = wsus.files.iter().map(|file| wsus.origin.sent(&file.path())).sum();
        let through = agent::update_from(door, WEIR, 1, xpress).await;
        let after: u64 = wsus.files.iter().map(|file| wsus.origin.sent(&file.path())).sum();
        assert_eq!(after, 2 * before, "once for each");
        assert_eq!(direct.calls.len(), through.calls.len());
        for ((operation, direct), (_, through)) in direct.calls.iter().zip(&through.calls) {
            if operation != "GetExtendedUpdateInfo" {
                assert!(direct.body == through.body, "{operation}: the body differs");
                assert_eq!(fields(&direct.head, &[]), fields(&through.head, &["via", "cache-status"]), "{operation}");
                continue;
            }
            let moved = agent::plain(direct).replace(&format!("<Url>http://{HOST}/"), &format!("<Url>http://{WEIR}/"));
            assert!(moved == through.text(), "{operation}: more than authorities differs");
            assert_eq!(through.field("content-encoding"), None);
            let framing = ["via", "cache-status", "content-length", "content-encoding", "transfer-encoding"];
            assert_eq!(fields(&direct.head, &framing), fields(&through.head, &framing), "{operation}");
        }
        reaches(&weir, "weir_metadata_urls_rewritten_total", 2.0).await;
        reaches(&weir, "weir_catalog_files", 2.0).await;
        assert_eq!(weir.metric("weir_metadata_unread_total", &[]).await, 0.0, "what is learnt is what the server said");
    }
}

#[tokio::test]
async fn content_at_microsoft_comes_through_the_same_door_and_nothing_else_does() {
    let content = Content::new("update", 300 * KIB);
    let places = Origin::start().await;
    for path in [CLASSIC, STREAMED] {
        places.serve(path, Resource::new(&content));
    }
    let at = places.address();
    let more = ["download.windowsupdate.com", "tlu.dl.delivery.mp.microsoft.com"].map(|host| {
        format!("[[upstream]]\nname = \"{host}\"\nurl = \"http://{host}\"\nhosts = [\"{host}\"]\naddress = \"{at}\"\n")
    });
    let wsus = Wsus::start(&[]).await;
    let (weir, door) = rewriting(&wsus, &more.concat()).await;
    let classic = format!("http://download.windowsupdate.com{CLASSIC}");
    let streamed = format!("http://tlu.dl.delivery.mp.microsoft.com{STREAMED}?P1=1893456000&amp;P4=c2Vj");
    let text = reply(&[&classic, &streamed, "http://evil.example/x", "https://user@wsus.test/Content/x"]);
    let told = text.clone();
    wsus.origin.answer(CLIENT_PATH, move |_| Answer::text("200 OK", &told));
    let asked = [
        format!("{CLASSIC}?cacheHostOrigin=download.windowsupdate.com"),
        format!("{STREAMED}?P1=1893456000&P4=c2Vj&cacheHostOrigin=tlu.dl.delivery.mp.microsoft.com"),
    ];
    let moved = text.replace(&classic, &format!("http://{WEIR}{}", asked[0]));
    let moved = moved.replace(&streamed, &format!("http://{WEIR}{}", asked[1].replace('&', "&amp;")));
    assert_eq!(call(door, "GetFileLocations").await.text(), moved);
    for path in &asked {
        let mut client = Client::connect(door).await;
        let part = client.get(path, &[("Host", WEIR), ("Range", "bytes=1000-1999")]).await;
        assert_eq!((part.status, part.body), (206, content.bytes(1000, 2000)), "{path}");
    }
    for target in [format!("{CLASSIC}?cacheHostOrigin=evil.example"), CLASSIC.to_owned()] {
        let mut client = Client::connect(door).await;
        let refused = client.get(&target, &[("Host", WEIR)]).await;
        assert_eq!(refused.status, 403, "{target}: {}", refused.text());
    }
    assert_eq!(weir.metric("weir_metadata_urls_left_total", &[]).await, 2.0);
}

#[tokio::test]
async fn sixty_megabytes_are_rewritten_in_little_memory() {
    let url = format!("http://{HOST}/Content/09/DA39A3EE5E6B4B0D3255BFEF95601890AFD80709.cab");
    let wsus = Wsus::start(&[]).await;
    let (weir, door) = rewriting(&wsus, "").await;
    let (plain, coded) = large_reply(&locations(&[&url]));
    let expected = String::from_utf8(plain.clone()).unwrap().replace(&url, &url.replace(HOST, WEIR)).into_bytes();
    let answer = |body: Vec<u8>, coding: Option<&'static str>| {
        wsus.origin.answer(CLIENT_PATH, move |_| {
            let answer = Answer::new("200 OK").with("Content-Length", body.len());
            let answer = if let Some(coding) = coding { answer.with("Content-Encoding", coding) } else { answer };
            answer.then(Step::Text(body.clone()))
        });
    };
    answer(plain.clone(), None);
    for _ in 0..4 {
        assert!(call(door, "GetTimestamps").await.body == plain);
    }
    let passing = weir.memory_peak();
    for (body, coding) in [(plain, None), (coded, Some("xpress"))] {
        answer(body, coding);
        let through = call(door, "GetExtendedUpdateInfo").await;
        assert!(through.end == End::Whole && through.body == expected, "{coding:?}: {} bytes", through.body.len());
    }
    let more = weir.memory_peak().saturating_sub(passing);
    assert!(more < 8 * MIB, "{more} bytes more than passing takes");
}

#[tokio::test]
async fn what_cannot_or_may_not_be_rewritten_passes_or_is_cut() {
    let url = format!("http://{HOST}/Content/09/DA39A3EE5E6B4B0D3255BFEF95601890AFD80709.cab");
    let text = reply(&[&url]);
    let coded = xpress::encode(text.as_bytes());
    let wsus = Wsus::start(&[]).await;
    let (weir, door) = rewriting(&wsus, "").await;
    let plain = |status: &str| Answer::new(status).with("Content-Length", text.len()).then(Step::Text(text.clone().into()));
    let as_it_is = [plain("500 Internal Server Error"), plain("200 OK").with("Cache-Control", "private, no-transform")];
    for answer in as_it_is {
        wsus.origin.answer(CLIENT_PATH, move |_| answer.clone());
        let reply = call(door, "GetFileLocations").await;
        assert!(reply.is_whole(text.as_bytes()), "{}: {}", reply.status, reply.text());
    }
    let mut broken = coded.clone();
    broken.extend([7; 20]);
    wsus.origin.answer(CLIENT_PATH, move |_| {
        let answer = Answer::new("200 OK").with("Content-Length", broken.len()).with("Content-Encoding", "xpress");
        answer.then(Step::Text(broken.clone()))
    });
    assert_ne!(call(door, "GetFileLocations").await.end, End::Whole, "cut, never closed as if whole");
    eventually("it is in the log", || async { weir.log().iter().any(|line| line["reason"] == "protocol").then_some(()) }).await;
}
