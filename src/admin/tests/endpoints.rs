use std::net::SocketAddr;

use crate::admin::tests::fake::{config, interface, interface_with, post};
use crate::admin::{
    client::{self, Command, Place},
    *,
};

#[test]
fn health_is_always_fine_and_readiness_follows_weir() {
    let interface = interface("ready");
    let readyz = || interface.get("/readyz");
    assert_eq!((interface.get("/healthz").status, readyz().status, readyz().body.as_str()), (200, 200, "ready\n"));
    for (readiness, word) in [(Readiness::Starting, "starting\n"), (Readiness::Draining, "draining\n")] {
        *interface.weir.readiness.lock().unwrap() = readiness;
        assert_eq!((readyz().status, readyz().body.as_str(), interface.get("/healthz").status), (503, word, 200));
    }
}

#[test]
fn metrics_come_in_the_text_format() {
    let reply = interface("metrics").get("/metrics");
    assert!(reply.head.contains("content-type: text/plain; version=0.0.4"), "{}", reply.head);
    assert!(reply.body.contains("\nweir_store_objects 18233\n"), "{}", reply.body);
}

#[test]
fn the_figures_add_up() {
    let status = interface("figures").get("/api/status").json();
    let gib = |gib: u64| serde_json::json!(gib << 30);
    assert_eq!(status["traffic"]["content_bytes"], gib(1000), "service calls and error pages are not content");
    assert_eq!(status["traffic"]["wan_bytes"], gib(100), "fills, and content past the store");
    assert_eq!(status["traffic"]["relayed_bytes"], 7 << 20);
    assert_eq!(status["traffic"]["requests"], 45_900);
    assert_eq!(status["verdicts"][0], serde_json::json!({"word": "hit", "count": 42_000}));
    assert_eq!(status["refusals"][0]["word"], "port", "most frequent first");
    assert_eq!(status["upstreams"][0]["received_bytes"], gib(30));
    assert_eq!(status["upstreams"][1]["errors"], 5);
    assert_eq!(status["hours"].as_array().unwrap().len(), 1);
    let status: Status = serde_json::from_value(status).unwrap();
    assert_eq!((status.traffic.saved_bytes(), status.traffic.hit_ratio()), (900 << 30, Some(0.9)));
}

#[test]
fn names_that_are_not_ours_are_not_answered() {
    let interface = interface("names");
    let get = |host: &str| interface.tcp(&format!("GET /api/status HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"));
    assert_eq!(get("attacker.example").status, 421);
    assert_eq!(get(&interface.address.to_string()).status, 200);
    assert_eq!(get("weir.branch:8081").status, 200);
    assert_eq!(interface.tcp("GET /api/status HTTP/1.0\r\n\r\n").status, 421);
}

#[test]
fn a_page_of_another_site_cannot_purge() {
    let interface = interface("cross-site");
    let from = |fields| interface.tcp(&post("localhost", "/api/purge", fields, r#"{"all":true}"#)).status;
    assert_eq!(from("origin: http://attacker.example\r\n"), 403);
    assert_eq!(from("sec-fetch-site: cross-site\r\n"), 403);
    assert_eq!(interface.weir.stored.lock().unwrap().len(), 3);
    assert_eq!(from("sec-fetch-site: same-origin\r\norigin: http://localhost\r\n"), 200);
    assert_eq!(interface.weir.stored.lock().unwrap().len(), 0);
}

#[test]
fn a_form_cannot_purge_whatever_its_browser_says() {
    let interface = interface("form");
    let body = r#"{"all":true}"#;
    let form = format!(
        "POST /api/purge HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(interface.tcp(&form).status, 400);
    assert_eq!(interface.weir.stored.lock().unwrap().len(), 3);
}

#[test]
fn every_answer_tells_browsers_not_to_misuse_it() {
    let interface = interface("fields");
    for path in ["/", "/api/status", "/metrics", "/nowhere", "/ui/status.js"] {
        let head = interface.get(path).head;
        for field in ["content-security-policy: default-src 'none'", "x-content-type-options: nosniff", "cache-control: no-store"]
        {
            assert!(head.contains(field), "{path}: {head}");
        }
        assert!(!head.contains("access-control-"), "{path}: {head}");
    }
}

#[test]
fn a_dry_run_says_what_a_purge_would_do_and_does_nothing() {
    let interface = interface("purge");
    let purge = |body: &str| interface.post("/api/purge", body);
    let told = purge(r#"{"host":"a.example","dry_run":true}"#).json();
    assert_eq!(told, serde_json::json!({"objects": 2, "blobs": 2, "bytes": 2 << 20, "dry_run": true}));
    assert_eq!(interface.weir.stored.lock().unwrap().len(), 3);
    assert_eq!(purge(r#"{"host":"a.example"}"#).json()["objects"], 2);
    assert_eq!(purge(r#"{"url":"http://b.example/1"}"#).json()["objects"], 1);
    assert!(interface.weir.stored.lock().unwrap().is_empty());
    let acts = interface.weir.acts.lock().unwrap();
    assert_eq!(acts[0], "127.0.0.1 purge-dry-run a.example: 2 objects, 2097152 bytes");
    assert_eq!(acts.len(), 3, "tries are recorded too");
}

#[test]
fn a_purge_must_say_exactly_what() {
    let interface = interface("what");
    let table = [
        "{}",
        r#"{"all":false}"#,
        r#"{"url":"a","host":"b"}"#,
        r#"{"host":"a","all":true}"#,
        r#"{"everything":true}"#,
        "",
        "[]",
        "{",
    ];
    for body in table {
        assert_eq!(interface.post("/api/purge", body).status, 400, "{body}");
    }
    assert!(!interface.post("/api/purge", "{}").json()["error"].as_str().unwrap().is_empty());
    assert_eq!(
        interface.post("/api/purge", &format!("{{\"url\":\"{}\"}}", "a".repeat(20_000))).status,
        400,
        "the body is bounded"
    );
    assert_eq!(interface.weir.stored.lock().unwrap().len(), 3);
    assert!(interface.weir.acts.lock().unwrap().is_empty());
}

#[test]
fn pinning_what_is_not_stored_is_a_404_and_recorded() {
    let interface = interface("pin");
    let pin = |url: &str| interface.post("/api/pin", &format!(r#"{{"url":"{url}","pinned":true}}"#));
    assert_eq!(pin("http://a.example/1").json(), serde_json::json!({"blobs": 1, "bytes": 1 << 20}));
    let absent = pin("http://a.example/9");
    assert_eq!((absent.status, absent.json()["error"].as_str().unwrap()), (404, "nothing is stored for http://a.example/9"));
    assert!(interface.weir.acts.lock().unwrap()[1].contains("refused: nothing is stored"));
}

#[test]
fn a_bad_configuration_is_refused_with_its_problems() {
    let interface = interface("reload");
    assert_eq!(interface.post("/api/reload", "").status, 200);
    *interface.weir.reload.lock().unwrap() = Err(Failure::Invalid("weir.toml:3:1: listen: unknown key".into()));
    let refused = interface.post("/api/reload", "");
    assert_eq!((refused.status, refused.json()["error"].as_str().unwrap()), (400, "weir.toml:3:1: listen: unknown key"));
}

#[test]
fn computers_and_their_reports_come_in_bounded_lists_that_say_what_they_are() {
    let interface = interface("computers");
    let clients = interface.get("/api/v1/clients?limit=2").json();
    assert_eq!((clients["clients"].as_array().unwrap().len(), &clients["observed"]), (2, &serde_json::json!(true)));
    assert_eq!(clients["clients"][0]["name"], "pc1.branch.example");
    assert_eq!(interface.get("/api/v1/clients?limit=100000").json()["clients"].as_array().unwrap().len(), 1_000, "clamped");
    assert_eq!(interface.get("/api/v1/events").json()["events"][0]["outcome"], "downloaded");
    assert_eq!(interface.get("/api/v1/updates").json()["updates"][0]["article"], "5034123");
    assert_eq!(interface.get("/api/v1/events?name=x").status, 400);
}

#[test]
fn objects_come_in_bounded_pages() {
    let interface = interface("objects");
    let first = interface.get("/api/objects?limit=2").json();
    assert_eq!((first["objects"].as_array().unwrap().len(), &first["next"]), (2, &serde_json::json!("2")));
    let last = interface.get("/api/objects?limit=2&after=2").json();
    assert_eq!((last["objects"][0]["key"].as_str().unwrap(), last["next"].is_null()), ("http://b.example/1", true));
    assert_eq!(interface.get("/api/objects?host=b.example").json()["objects"].as_array().unwrap().len(), 1);
    assert_eq!(interface.get("/api/objects?limit=0").json()["objects"].as_array().unwrap().len(), 1, "clamped");
    for bad in ["after=x", "limit=-1", "limit=x", "colour=blue"] {
        assert_eq!(interface.get(&format!("/api/objects?{bad}")).status, 400, "{bad}");
    }
}

#[test]
fn other_methods_and_paths_have_clear_answers() {
    let interface = interface("other");
    assert_eq!(interface.get("/nowhere").status, 404);
    assert_eq!(interface.get("/api/purge").status, 405);
    assert_eq!(interface.post("/metrics", "").status, 405);
    let head = interface.tcp("HEAD /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn the_unix_socket_may_do_everything_and_names_its_user() {
    let interface = interface("unix");
    assert_eq!(interface.unix(&post("anything", "/api/purge", "", r#"{"all":true}"#)).json()["objects"], 3);
    let acts = interface.weir.acts.lock().unwrap();
    assert!(acts[0].starts_with("unix:"), "{acts:?}");
}

#[test]
fn when_it_ends_its_port_and_socket_are_free() {
    let interface = interface("end");
    let (address, socket) = (interface.address, interface.socket.clone());
    assert!(bind(&Config { listen: vec![address], socket: None, ..Config::default() }).is_err());
    assert!(matches!(
        bind(&Config { listen: vec![], socket: Some(socket.clone()), ..Config::default() }),
        Err(Error::SocketInUse { .. })
    ));
    drop(interface);
    assert!(!socket.exists());
    assert!(bind(&Config { listen: vec![address], socket: Some(socket), ..Config::default() }).is_ok());
}

#[test]
fn a_reload_changes_names_and_keeps_the_old_ones_when_the_token_is_bad() {
    let mut config = config("rules");
    let interface = interface_with(&config);
    let status = |host| interface.tcp(&format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")).status;
    config.names = vec!["new.branch".into()];
    config.token_file = Some("/nonexistent/token".into());
    assert!(interface.admin.reload(&config).is_err());
    assert_eq!((status("weir.branch"), status("new.branch")), (200, 421));
    config.token_file = None;
    interface.admin.reload(&config).unwrap();
    assert_eq!((status("weir.branch"), status("new.branch")), (421, 200));
}

#[test]
fn a_client_that_sends_no_request_head_delays_nobody() {
    let interface = interface("slow");
    let idle: Vec<_> = (0..80).map(|_| std::net::TcpStream::connect(interface.address).unwrap()).collect();
    let unix = "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    assert_eq!(interface.unix(unix).status, 200, "a crowd on one socket locks nobody out of the other");
    drop(idle);
}

#[tokio::test]
async fn the_command_line_speaks_to_either_socket() {
    let interface = interface("client");
    let refused = SocketAddr::from(([127, 0, 0, 1], 1));
    for place in [Place::Socket(interface.socket.clone()), Place::Tcp(interface.address)] {
        let mut out = Vec::new();
        client::run(&place, &Command::Status { json: false }, &mut out).await.unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("saved         900.0 GiB  of 1000.0 GiB sent to clients"), "{text}");
        assert!(text.contains("hq               EJECTED"), "{text}");
    }
    let place = Place::Tcp(interface.address);
    let said = async |command| {
        let mut out = Vec::new();
        client::run(&place, &command, &mut out).await.map(|()| String::from_utf8(out).unwrap()).map_err(|error| error.to_string())
    };
    let purge = |dry_run| Command::Purge(Purge { what: PurgeWhat::Host("a.example".into()), dry_run });
    assert_eq!(said(purge(true)).await.unwrap(), "would remove 2 stored responses, 2 contents, 2.0 MiB\n");
    let pin = |url: &str| Command::Pin(Pin { url: url.into(), pinned: true });
    assert_eq!(said(pin("http://a.example/1")).await.unwrap(), "1 contents (1.0 MiB) pinned: never evicted\n");
    assert_eq!(said(pin("http://a.example/9")).await.unwrap_err(), "nothing is stored for http://a.example/9");
    assert_eq!(said(purge(false)).await.unwrap(), "removed 2 stored responses, 2 contents, 2.0 MiB\n");
    let objects = Command::Objects(ObjectQuery { host: Some("b.example".into()), after: None, limit: Some(5) });
    assert!(said(objects).await.unwrap().contains("http://b.example/1"));
    let json: serde_json::Value = serde_json::from_str(&said(Command::Status { json: true }).await.unwrap()).unwrap();
    assert_eq!(json["node"], "weir-7f3a");
    let nobody = client::run(&Place::Tcp(refused), &Command::Reload, &mut Vec::new()).await;
    assert_eq!(nobody.unwrap_err().to_string(), "no weir answers at 127.0.0.1:1");
}
