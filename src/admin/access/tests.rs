use http::Request;

use super::*;

const LOCAL: &str = "127.0.0.1:5000";
const REMOTE: &str = "10.0.0.9:5000";

fn rules() -> Rules {
    Rules {
        names: vec!["weir.branch".into()],
        scrape: vec!["10.2.0.0/16".parse().unwrap()],
        token: Some("0123456789abcdef".into()),
    }
}

fn judge(client: &str, request: http::request::Builder) -> Result<(), Denied> {
    let local = if client == LOCAL { "127.0.0.1:8081" } else { "10.1.1.1:8081" };
    let peer = Peer::Tcp { client: client.parse().unwrap(), local: local.parse().unwrap() };
    rules().judge(&peer, &request.body(()).unwrap().into_parts().0)
}

#[test]
fn only_own_names_and_the_address_connected_to_are_answered() {
    let table = [
        ("localhost", true),
        ("LOCALHOST:8081", true),
        ("localhost.", true),
        ("127.0.0.1:8081", true),
        ("[::ffff:127.0.0.1]:1", true),
        ("weir.branch:80", true),
        ("Weir.Branch.", true),
        ("attacker.example", false),
        ("attacker.example:8081", false),
        ("localhost.attacker.example", false),
        ("notlocalhost", false),
        ("weir.branch@attacker.example", false),
        ("attacker.example@localhost", false),
        ("localhost:80:80", false),
        ("localhost:x", false),
        ("127.0.0.2", false),
        ("[::1]", false),
        ("[localhost", false),
        ("", false),
    ];
    for (host, allowed) in table {
        let result = judge(LOCAL, Request::get("/").header("host", host));
        assert_eq!(result, if allowed { Ok(()) } else { Err(Denied::Host) }, "{host:?}");
    }
}

#[test]
fn a_request_without_exactly_one_host_is_refused() {
    for path in ["/", "/metrics"] {
        assert_eq!(judge(LOCAL, Request::get(path)), Err(Denied::Host));
    }
    let two = Request::get("/").header("host", "localhost").header("host", "attacker.example");
    assert_eq!(judge(LOCAL, two), Err(Denied::Host));
    let absolute = Request::get("http://attacker.example/").header("host", "localhost");
    assert_eq!(judge(LOCAL, absolute), Err(Denied::Host), "the target counts, not the field");
}

#[test]
fn an_old_probe_without_a_host_gets_health_and_nothing_else() {
    let probe = |path: &str| Request::get(path).version(http::Version::HTTP_10);
    assert_eq!(judge("10.2.3.4:5000", probe("/readyz")), Ok(()));
    assert_eq!(judge(REMOTE, probe("/readyz")), Err(Denied::Token));
    assert_eq!(judge(LOCAL, probe("/api/status")), Err(Denied::Host));
    assert_eq!(judge(LOCAL, probe("/readyz").header("host", "attacker.example")), Err(Denied::Host));
}

#[test]
fn what_changes_something_must_come_from_our_own_page_or_no_page() {
    let table: [(&[(&str, &str)], bool); 9] = [
        (&[], true),
        (&[("sec-fetch-site", "none")], true),
        (&[("sec-fetch-site", "same-origin"), ("origin", "http://localhost:8081")], true),
        (&[("sec-fetch-site", "same-site")], false),
        (&[("sec-fetch-site", "cross-site")], false),
        (&[("origin", "http://localhost:8081")], true),
        (&[("origin", "http://localhost:9999")], false),
        (&[("origin", "https://attacker.example")], false),
        (&[("origin", "null")], false),
    ];
    for (fields, allowed) in table {
        let request = |method| {
            let request = Request::builder().method(method).uri("/api/purge").header("host", "localhost:8081");
            fields.iter().fold(request, |request, (name, value)| request.header(*name, *value))
        };
        let want = if allowed { Ok(()) } else { Err(Denied::CrossSite) };
        assert_eq!(judge(LOCAL, request("POST")), want, "{fields:?}");
        assert_eq!(judge(LOCAL, request("DELETE")), want, "{fields:?}");
        assert_eq!(judge(LOCAL, request("GET")), Ok(()), "{fields:?}");
    }
}

#[test]
fn from_elsewhere_only_metrics_and_health_can_be_had() {
    let scraper = "10.2.3.4:5000";
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert_eq!(judge(scraper, Request::get(path).header("host", "10.1.1.1")), Ok(()), "{path}");
        assert_eq!(judge(scraper, Request::post(path).header("host", "10.1.1.1")), Err(Denied::Network), "{path}");
    }
    for path in ["/", "/api/status", "/api/purge", "/metrics/", "/ui/status.css", "//metrics"] {
        assert_eq!(judge(scraper, Request::get(path).header("host", "10.1.1.1")), Err(Denied::Network), "{path}");
    }
    assert_eq!(judge(scraper, Request::get("/metrics").header("host", "attacker.example")), Err(Denied::Host));
}

#[test]
fn a_token_opens_the_same_paths_from_any_network() {
    let get = |path: &str, token: &str| Request::get(path).header("host", "10.1.1.1").header("authorization", token);
    assert_eq!(judge(REMOTE, get("/metrics", "Bearer 0123456789abcdef")), Ok(()));
    assert_eq!(judge(REMOTE, get("/metrics", "bearer 0123456789abcdef")), Ok(()));
    for wrong in ["Bearer 0123456789abcdee", "Bearer 0123456789abcde", "Bearer ", "Bearer", "Basic 0123456789abcdef", ""] {
        assert_eq!(judge(REMOTE, get("/metrics", wrong)), Err(Denied::Token), "{wrong:?}");
    }
    assert_eq!(judge(REMOTE, get("/api/status", "Bearer 0123456789abcdef")), Err(Denied::Network));
    assert_eq!(judge(REMOTE, Request::get("/metrics").header("host", "10.1.1.1")), Err(Denied::Token));
}

#[test]
fn without_a_token_file_no_token_opens_anything() {
    let rules = Rules { token: None, ..rules() };
    let peer = Peer::Tcp { client: REMOTE.parse().unwrap(), local: "10.1.1.1:8081".parse().unwrap() };
    let request = Request::get("/metrics").header("host", "10.1.1.1").header("authorization", "Bearer ");
    assert_eq!(rules.judge(&peer, &request.body(()).unwrap().into_parts().0), Err(Denied::Network));
}

#[test]
fn the_unix_socket_needs_no_host() {
    let request = Request::post("/api/purge").body(()).unwrap();
    assert_eq!(rules().judge(&Peer::Unix { uid: Some(0) }, &request.into_parts().0), Ok(()));
}

#[test]
fn a_loopback_client_in_ipv6_spelling_is_loopback() {
    let peer = Peer::Tcp { client: "[::ffff:127.0.0.1]:1".parse().unwrap(), local: "[::ffff:127.0.0.1]:8081".parse().unwrap() };
    let request = Request::get("/api/status").header("host", "127.0.0.1:8081").body(()).unwrap();
    assert_eq!(rules().judge(&peer, &request.into_parts().0), Ok(()));
}

#[test]
fn a_token_file_must_hold_one_token() {
    let path = std::env::temp_dir().join(format!("weir-token-{}", std::process::id()));
    for (text, fine) in [("0123456789abcdef\n", true), ("short", false), ("two words but long enough", false), ("", false)] {
        fs::write(&path, text).unwrap();
        assert_eq!(read_token(&path).is_ok(), fine, "{text:?}");
    }
    fs::remove_file(&path).unwrap();
    assert!(matches!(read_token(&path), Err(Error::Token { .. })));
}
