//! The four doors: the same bytes through each, from one cache.

use crate::support::{Answer, Client, Content, KIB, MIB, Origin, Proxy, Resource, proxy};

const GUID: &str = "/filestreamingservice/files/3a1f0c58-0d2e-4c7b-9f7e-2f6b1d5c9a10";

async fn delivery(content: &Content) -> (Origin, Proxy) {
    let origin = Origin::start().await;
    origin.serve(GUID, Resource::new(content));
    let weir = proxy().upstream("*.dl.delivery.mp.microsoft.com", &origin).start().await;
    (origin, weir)
}

#[tokio::test]
async fn the_delivery_door_serves_what_cache_host_origin_names() {
    let content = Content::new("update", 2 * MIB + 5);
    let (origin, weir) = delivery(&content).await;
    let url = format!("{GUID}?P1=1893456000&P2=402&P3=2&P4=c2VjcmV0&cacheHostOrigin=tlu.dl.delivery.mp.microsoft.com");

    let first = weir.download("weir.branch", &url, &[("User-Agent", "Microsoft-Delivery-Optimization/10.1")], &content).await;
    assert!(first.is_all_of(&content) && !first.is_hit(), "{first:?}");
    weir.settled().await;
    let second =
        weir.download("weir.branch", &url, &[("Content-Length", "0"), ("Range", "bytes=1048576-2097151")], &content).await;
    assert!(second.status == 206 && second.is_right(MIB) && second.is_hit(), "{second:?}");

    let ask = &origin.asks(GUID)[0];
    assert_eq!(ask.field("host"), Some("tlu.dl.delivery.mp.microsoft.com"));
    assert!(ask.target.contains("P4=c2VjcmV0"), "the signature goes to the origin: {}", ask.target);
    assert!(!ask.target.to_ascii_lowercase().contains("cachehostorigin"), "{}", ask.target);
}

#[tokio::test]
async fn signatures_and_host_labels_are_no_part_of_the_key() {
    let content = Content::new("update", 100 * KIB);
    let (origin, weir) = delivery(&content).await;
    let urls = [
        "P1=1893456000&P4=one&cacheHostOrigin=tlu.dl.delivery.mp.microsoft.com",
        "P1=1893456001&P4=two&cacheHostOrigin=tlu.dl.delivery.mp.microsoft.com",
        "P1=1893456002&P4=three&cacheHostOrigin=msedge.b.tlu.dl.delivery.mp.microsoft.com",
    ];
    for query in urls {
        let got = weir.download("weir.branch", &format!("{GUID}?{query}"), &[], &content).await;
        assert!(got.is_all_of(&content), "{query}: {got:?}");
    }
    assert_eq!(origin.sent(GUID), content.len());
}

#[tokio::test]
async fn the_last_cache_host_origin_counts() {
    let content = Content::new("update", KIB);
    let (origin, weir) = delivery(&content).await;
    let good = "cacheHostOrigin=tlu.dl.delivery.mp.microsoft.com";
    let evil = "cacheHostOrigin=evil.example";
    let reply = weir.get("weir.branch", &format!("{GUID}?{evil}&{good}")).await;
    assert!(reply.is_whole(&content.all()), "{reply:?}");
    let reply = weir.get("weir.branch", &format!("{GUID}?{good}&{evil}")).await;
    assert_eq!(reply.status, 403, "{}", reply.text());
    assert_eq!(origin.requests(GUID), 1);
}

#[tokio::test]
async fn the_piece_hashes_of_a_file_are_another_object() {
    let (content, hashes) = (Content::new("update", 10 * KIB), Content::new("hashes", KIB));
    let (origin, weir) = delivery(&content).await;
    let path = format!("{GUID}/pieceshash");
    origin.serve(&path, Resource::new(&hashes));
    let query = "P1=1893456000&cacheHostOrigin=tlu.dl.delivery.mp.microsoft.com";
    assert!(weir.get("weir.branch", &format!("{GUID}?{query}")).await.is_whole(&content.all()));
    assert!(weir.get("weir.branch", &format!("{path}?{query}")).await.is_whole(&hashes.all()));
}

#[tokio::test]
async fn transparent_and_forward_share_what_one_of_them_fetched() {
    let content = Content::new("a", 300 * KIB);
    let origin = Origin::start().await;
    origin.serve("/a.cab", Resource::new(&content));
    let weir = proxy().upstream("cdn.test", &origin).start().await;

    let transparent = weir.get("cdn.test", "/a.cab").await;
    assert!(transparent.is_whole(&content.all()) && !transparent.is_hit());
    weir.settled().await;
    let forward = weir.get("cdn.test", "http://cdn.test/a.cab").await;
    assert!(forward.is_whole(&content.all()) && forward.is_hit(), "{:?}", forward.head);
    assert_eq!(origin.requests("/a.cab"), 1);
    assert_eq!(origin.asks("/a.cab")[0].target, "/a.cab");
}

#[tokio::test]
async fn an_answer_says_where_it_came_from() {
    let content = Content::new("a", 10 * KIB);
    let origin = Origin::start().await;
    origin.serve("/a.cab", Resource::new(&content).with("Age", "5"));
    let weir = proxy().upstream("cdn.test", &origin).start().await;

    let miss = weir.get("cdn.test", "/a.cab").await;
    assert!(miss.field("cache-status").unwrap().contains("fwd=uri-miss"), "{:?}", miss.head);
    assert!(miss.field("via").unwrap().starts_with("1.1 "), "{:?}", miss.head);
    weir.settled().await;
    let hit = weir.get("cdn.test", "/a.cab").await;
    assert!(hit.is_hit() && hit.field("via").is_some(), "{:?}", hit.head);
    assert!(hit.field("age").unwrap().parse::<u64>().unwrap() >= 5, "the age it came with counts: {:?}", hit.head);
    for name in ["etag", "last-modified", "content-type", "accept-ranges"] {
        assert_eq!(hit.field(name), miss.field(name), "{name}");
        assert!(hit.field(name).is_some(), "{name}");
    }
}

#[tokio::test]
async fn the_reverse_door_serves_any_host_from_its_upstream() {
    let content = Content::new("pool", 200 * KIB);
    let origin = Origin::start().await;
    origin.serve("/debian/pool/a.deb", Resource::new(&content));
    let weir = proxy().reverse(&origin).start().await;
    for (host, hit) in [("mirror.branch", false), ("10.1.2.3:8080", true)] {
        let reply = weir.get(host, "/debian/pool/a.deb").await;
        assert!(reply.is_whole(&content.all()), "{reply:?}");
        assert_eq!(reply.is_hit(), hit, "{host}");
        weir.settled().await;
    }
    assert_eq!(origin.requests("/debian/pool/a.deb"), 1);
}

#[tokio::test]
async fn a_port_with_the_reverse_door_alone_is_a_server_and_no_proxy() {
    let content = Content::new("pool", 20 * KIB);
    let origin = Origin::start().await;
    origin.serve("/a.deb", Resource::new(&content));
    origin.serve("/other", Resource::new(&content));
    let port = "[[listen]]\naddress = \"127.0.0.1:0\"\ndoors = [\"reverse\"]\n";
    let weir = proxy().upstream("cdn.test", &origin).reverse(&origin).config(port).start().await;
    let at = weir.port("reverse").await;
    let (ours, our_name) = (format!("http://{at}/a.deb"), at.to_string());
    for (target, host) in [
        ("/a.deb", "mirror.branch"),
        // RFC 9112 §3.2.2: a server takes absolute-form, too, and only a server is here.
        (ours.as_str(), our_name.as_str()),
        ("http://mirror.branch/a.deb", "mirror.branch"),
        // No name selects another origin here: neither an allowed one, nor by what Delivery Optimization sends.
        ("/other", "cdn.test"),
        ("/other?cacheHostOrigin=cdn.test", "mirror.branch"),
    ] {
        let mut client = Client::connect(at).await;
        let reply = client.get(target, &[("Host", host)]).await;
        assert!(reply.status == 200 && reply.is_whole(&content.all()), "{target}: {reply:?}");
    }
    assert!(origin.asks("/other").iter().all(|ask| ask.field("host") == Some(&*origin.address().to_string())));
    let mut client = Client::connect(at).await;
    client.ask("CONNECT", "cdn.test:443", &[("Host", "cdn.test:443")]).await;
    assert_eq!(client.reply("CONNECT").await.status, 403);
    assert_eq!(origin.requests("/a.deb"), 1);
}

#[tokio::test]
async fn via_names_the_version_in_which_what_is_stored_was_received() {
    let origin = Origin::start().await;
    for (path, version) in [("/1.0", "HTTP/1.0"), ("/1.1", "HTTP/1.1")] {
        let head = format!("{version} 200 OK\r\nCache-Control: max-age=60\r\nVia: 1.1 before\r\nContent-Length: 3\r\n\r\none");
        origin.answer(path, move |_| Answer::raw(head.clone()));
    }
    let weir = proxy().reverse(&origin).start().await;
    for path in ["/1.0", "/1.1"] {
        for hit in [false, true] {
            let reply = weir.get("site.test", path).await;
            let via = reply.head.all("via").collect::<Vec<_>>().join(", ");
            let ours = via.strip_prefix("1.1 before, ").unwrap_or_else(|| panic!("{via}"));
            assert!(ours.starts_with(&path[1..]) && !ours.contains(','), "{path}: {via}");
            assert_eq!(reply.is_hit(), hit, "{:?}", reply.head);
            weir.settled().await;
        }
    }
}

#[tokio::test]
async fn the_wsus_door_caches_content_and_passes_services() {
    let content = Content::new("cab", 150 * KIB);
    let path = content.wsus_path();
    let origin = Origin::start().await;
    origin.serve(&path, Resource::new(&content).without("Cache-Control"));
    origin.answer("/ClientWebService/client.asmx", |ask| {
        Answer::text("200 OK", &format!("{} {}", ask.method, ask.body.len())).with("Cache-Control", "private")
    });
    let weir = proxy().wsus(&origin).start().await;

    assert!(weir.get("wsus:8530", &path).await.is_whole(&content.all()));
    weir.settled().await;
    let again = weir.get("wsus:8530", &path).await;
    assert!(again.is_whole(&content.all()) && again.is_hit(), "{:?}", again.head);
    let lower = weir.get("wsus:8530", &path.to_lowercase()).await;
    assert!(lower.is_whole(&content.all()) && lower.is_hit(), "IIS paths know no case: {:?}", lower.head);

    let service = "http://www.microsoft.com/SoftwareDistribution/Server/ClientWebService";
    let body = format!(
        "<e:Envelope xmlns:e=\"http://schemas.xmlsoap.org/soap/envelope/\"><e:Body><GetConfig xmlns=\"{service}\"/></e:Body></e:Envelope>"
    );
    let call = format!(
        "POST /ClientWebService/client.asmx HTTP/1.1\r\nHost: wsus:8530\r\nContent-Type: text/xml\r\n\
         SOAPAction: \"{service}/GetConfig\"\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    for _ in 0..2 {
        let mut client = weir.client().await;
        client.send(call.as_str()).await;
        assert_eq!(client.reply("POST").await.text(), format!("POST {}", body.len()));
    }
    assert_eq!(origin.requests("/ClientWebService/client.asmx"), 2);
    assert_eq!(
        origin.asks("/ClientWebService/client.asmx")[0].field("host"),
        Some("wsus:8530"),
        "Host goes through: WSUS builds URLs of it"
    );
}

#[tokio::test]
async fn connect_is_a_plain_tunnel_to_an_allowed_host() {
    let content = Content::new("a", 100 * KIB);
    let origin = Origin::start().await;
    origin.serve("/a", Resource::new(&content));
    let address = origin.address();
    let upstream =
        format!("[[upstream]]\nname = \"tls\"\nurl = \"https://tls.test\"\nhosts = [\"tls.test\"]\naddress = \"{address}\"\n");
    let weir = proxy().config(&upstream).start().await;

    let mut client = weir.client().await;
    client.ask("CONNECT", "tls.test:443", &[("Host", "tls.test:443")]).await;
    assert!(client.head().await.unwrap().start.starts_with("HTTP/1.1 200"), "the tunnel stands");
    // Whatever is said inside is between the client and the origin: here plain HTTP, so that we can read it.
    let inside = client.download("/a", &[("Host", "tls.test")], &content).await;
    assert!(inside.is_all_of(&content), "{inside:?}");
    assert!(inside.head.field("via").is_none(), "nothing is added inside a tunnel");
}

#[tokio::test]
async fn an_origin_that_no_rule_allows_is_refused_with_a_reason() {
    let origin = Origin::start().await;
    let weir = proxy().upstream("cdn.test", &origin).start().await;
    let evil = [
        ("evil.example", "/a"),
        ("evil.example", "http://evil.example/a"),
        ("evilcdn.test", "/a"),
        ("cdn.test.evil.example", "/a"),
    ];
    for (host, target) in evil {
        let reply = weir.get(host, target).await;
        assert_eq!(reply.status, 403, "{host} {target}");
        assert!(reply.text().contains(host), "the reason names the host: {:?}", reply.text());
        assert!(reply.field("cache-status").is_some(), "{:?}", reply.head);
    }
    let mut client = weir.client().await;
    client.ask("CONNECT", "evil.example:443", &[("Host", "evil.example:443")]).await;
    assert_eq!(client.reply("CONNECT").await.status, 403);
    assert_eq!(origin.requests_in_all(), 0);
    assert!(weir.metric("weir_refusals_total", &[]).await >= 5.0);
}
