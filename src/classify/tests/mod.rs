//! A branch's policy, and what becomes of requests under it. The tables by door are in `tables.rs`.

mod places;
mod tables;

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Uri, Version};

use super::{rules::FAMILIES, *};

const GUID: &str = "/filestreamingservice/files/7bc846e0-af9c-49be-a03d-bb04428c9bb5";
const SHA1: &str = "DA39A3EE5E6B4B0D3255BFEF95601890AFD80709";
const NODE: &str = "weir-3f9a";

/// What the tables' `$guid`, `$SHA1`, `$sha1`, `$label` (64 letters, one too many) and `$long` (259 characters) stand for.
fn expand(text: &str) -> String {
    let text = text.replace("$guid", GUID).replace("$SHA1", SHA1).replace("$sha1", &SHA1.to_lowercase());
    let text = text.replace("$client", "http://www.microsoft.com/SoftwareDistribution/Server/ClientWebService");
    text.replace("$label", &"a".repeat(64)).replace("$long", &["a"; 130].join("."))
}

fn patterns(texts: &[&str]) -> Vec<HostPattern> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn origins(texts: &[&str]) -> Vec<OriginPattern> {
    let origin = |text: &&str| {
        let (host, port) = text.split_once(':').map_or((*text, None), |(host, port)| (host, Some(port.parse().unwrap())));
        OriginPattern { host: host.parse().unwrap(), port }
    };
    texts.iter().map(origin).collect()
}

fn site(name: &str, kind: SiteKind) -> Site {
    Site {
        name: name.into(),
        kind,
        hosts: vec![],
        paths: vec![],
        catch_all: false,
        pass: vec![],
        opened: Opened::default(),
        rewrite_to: None,
        caching: Caching::default(),
    }
}

/// A branch: a WSUS, a mirror by path, an intranet server by name, a lab origin whose address is configured.
fn branch() -> Config {
    let wsus = SiteKind::Wsus { origin: Origin::new(Scheme::Http, "wsus.corp", 8530), base: "".into() };
    let mirror = SiteKind::Reverse { origin: Origin::new(Scheme::Https, "mirror.corp", 443), base: "/debian/".into() };
    let files = SiteKind::Reverse { origin: Origin::new(Scheme::Http, "files.corp", 80), base: "".into() };
    Config {
        own_names: patterns(&["weir.branch", "*.weir.branch"]),
        own_ports: vec![8080, 8081, 8530],
        builtin: true,
        allow: origins(&["deb.debian.org", "*.example.org", "mirror.example:8080"]),
        aliases: vec![("203.0.113.5".parse().unwrap(), "dl.delivery.mp.microsoft.com".into())],
        groups: vec![Group { name: "example-mirrors".into(), hosts: patterns(&["a.example.org", "b.example.org"]) }],
        sites: vec![
            site("wsus", wsus),
            Site { paths: vec!["/pool/".into(), "/dists".into()], ..site("mirror", mirror) },
            Site { hosts: origins(&["files.branch"]), pass: vec!["/api".into()], ..site("files", files) },
            Site { hosts: origins(&["lab.test"]), ..site("lab", SiteKind::Origin) },
        ],
        connect_ports: vec![443],
        target_max: 8192,
        policies: Policies::default(),
    }
}

/// `METHOD target; Field: value; …`, to the branch's socket by default.
fn class(policy: &Policy, doors: &[Door], request: &str) -> Class {
    let request = expand(request);
    let mut parts = request.split("; ");
    let (method, target) = parts.next().unwrap().split_once(' ').unwrap();
    let (mut headers, mut version, mut scheme) = (HeaderMap::new(), Version::HTTP_11, Scheme::Http);
    let mut has_content = false;
    for part in parts {
        match part.split_once(": ") {
            Some((name, value)) => {
                headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
            }
            None if part == "h2" => version = Version::HTTP_2,
            None if part == "1.0" => version = Version::HTTP_10,
            None if part == "data" => has_content = true,
            None if part == "tls" => scheme = Scheme::Https,
            None => {
                headers.insert(http::header::HOST, HeaderValue::from_str(part).unwrap());
            }
        }
    }
    let uri: Uri = if method == "CONNECT" { Uri::builder().authority(target).build().unwrap() } else { target.parse().unwrap() };
    let local: SocketAddr = "10.1.1.1:8080".parse().unwrap();
    let method = &method.parse().unwrap();
    policy.classify(&Asked { method, uri: &uri, version, headers: &headers, doors, scheme, local, has_content })
}

fn show(class: &Class) -> String {
    let by = |upstream: &Option<Arc<str>>| upstream.as_ref().map(|name| format!(" by {name}")).unwrap_or_default();
    match class {
        Class::Content(want) => {
            let url = format!("{}{}", want.origin, want.path_and_query);
            let from = if url == want.key.text() { String::new() } else { format!(" from {url}") };
            let mut text = format!("content {} {}{from}{}", want.door, want.key, by(&want.upstream));
            let marks = [
                (want.freshness == FreshnessRule::Immutable, "immutable"),
                (want.freshness == FreshnessRule::Mutable, "mutable"),
                (want.declared.is_some(), "declared"),
                (want.ranged, "ranged"),
                (!want.anonymous, "personal"),
            ];
            marks.iter().filter(|(set, _)| *set).for_each(|(_, mark)| text.extend([" +", mark]));
            want.signature.iter().for_each(|signature| text.extend([" sig=", signature]));
            text
        }
        Class::Pass(pass) => {
            format!("pass {} {:?} {}{}{}", pass.door, pass.why, pass.origin, pass.path_and_query, by(&pass.upstream))
        }
        Class::Tunnel(tunnel) => format!("tunnel {} {}{}", tunnel.door, tunnel.origin, by(&tunnel.upstream)),
        Class::Refuse(refusal) => format!("{} {}", refusal.status().as_u16(), refusal.as_str()),
    }
}

/// Checks rows of a request and, after `=>`, its class; reports every one that differs. `#` starts a comment.
fn check(doors: &[Door], table: &str) {
    let policy = Policy::new(&branch(), NODE);
    let lines: Vec<_> = table.lines().map(str::trim).filter(|line| !line.starts_with('#')).collect();
    // A long row goes on in the next line.
    let text = lines.join("\n").replace("\n=> ", " => ");
    let rows: Vec<_> = text.lines().filter_map(|row| row.split_once(" => ")).collect();
    let mut wrong = Vec::new();
    for (request, wanted) in &rows {
        let wanted = expand(wanted);
        let got = show(&class(&policy, doors, request));
        if got != wanted {
            wrong.push(format!("{request}\n  wanted {wanted}\n  got    {got}"));
        }
    }
    assert!(!rows.is_empty() && wrong.is_empty(), "{} of {} rows differ:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn a_target_over_the_limit_is_refused_and_one_at_it_is_not() {
    let policy = Policy::new(&branch(), NODE);
    let ask = |len: usize| show(&class(&policy, &Door::ALL, &format!("GET /{}; deb.debian.org", "a".repeat(len - 1))));
    assert!(ask(8192).starts_with("content"), "{}", ask(8192));
    assert_eq!(ask(8193), "414 target-length");
}

#[test]
fn a_catch_all_takes_what_nobody_else_claims_and_nothing_that_is_another_doors() {
    let mut config = branch();
    let origin = Origin::new(Scheme::Http, "127.0.0.1", 9000);
    let all = SiteKind::Reverse { origin, base: "".into() };
    config.sites.push(Site { catch_all: true, ..site("all", all) });
    let policy = Policy::new(&config, NODE);
    let ask = |request: &str| show(&class(&policy, &Door::ALL, request));
    let caught = "content reverse http://127.0.0.1:9000/x by all +personal";
    for host in ["weir.branch", "evil.example", "198.51.100.7", "deb.debian.org:22"] {
        assert_eq!(ask(&format!("GET /x; {host}")), caught, "{host}");
    }
    assert_eq!(ask("GET /x; 1.0"), caught);
    assert_eq!(ask("GET /x; Host: "), caught);
    assert!(ask("GET /x; deb.debian.org").starts_with("content transparent"));
    assert!(ask("GET /Content/x; weir.branch").starts_with("pass wsus"));
    // A refused origin of another door does not fall through to the catch-all.
    assert_eq!(ask("GET /x?cacheHostOrigin=evil.example; weir.branch"), "403 origin");
    assert_eq!(ask("GET http://evil.example/x; h"), "403 origin");
    // Where no door is a proxy's, absolute-form names what origin-form would.
    for request in ["GET http://w.example/x; w.example", "GET http://w.example/x; h2", "GET https://w.example/x; h2"] {
        assert_eq!(show(&class(&policy, &[Door::Reverse], request)), caught, "{request}");
    }
}

#[test]
fn a_site_can_ignore_query_parameters_in_its_keys_but_not_towards_its_origin() {
    let mut config = branch();
    let origin = Origin::new(Scheme::Http, "shop.corp", 80);
    let ignored_parameters = vec!["utm_*".into(), "session".into()];
    let policy = semantics::Policy { heuristic: None, ..semantics::Policy::HTTP };
    let caching = Caching { policy, ignored_parameters };
    let kind = SiteKind::Reverse { origin, base: "".into() };
    config.sites.push(Site { hosts: origins(&["shop.branch"]), caching, ..site("shop", kind) });
    let policy = Policy::new(&config, NODE);
    for (asked, keyed) in [
        ("/x?a=1&utm_source=y&b=2", "/x?a=1&b=2"),
        ("/x?session=7", "/x"),
        ("/x?session", "/x"),
        ("/x?sessions=7", "/x?sessions=7"),
        ("/x?Session=7&autm_=1", "/x?Session=7&autm_=1"),
        ("/x?", "/x?"),
        ("/x", "/x"),
    ] {
        let Class::Content(want) = class(&policy, &Door::ALL, &format!("GET {asked}; shop.branch")) else { panic!("{asked}") };
        assert_eq!((want.key.text(), &*want.path_and_query), (&*format!("http://shop.corp{keyed}"), asked));
        assert_eq!(want.policy.heuristic, None, "{asked}");
        let url: Uri = format!("http://shop.corp{asked}").parse().unwrap();
        assert_eq!(policy.key_of(&url).as_ref(), Some(&want.key), "{asked}: invalidated and purged under the same key");
    }
}

#[test]
fn a_client_hello_is_ours_an_origins_or_nobodys() {
    let policy = Policy::new(&branch(), NODE);
    let verdict = |name, doors: &[Door]| policy.sni_verdict(name, doors);
    let tunnel = |host: &str| {
        let origin = Origin::new(Scheme::Https, host, 443);
        SniVerdict::Tunnel(Tunnel { door: Door::Transparent, origin, upstream: None })
    };
    for (name, wanted) in [
        (None, SniVerdict::OwnName),
        (Some("weir.branch"), SniVerdict::OwnName),
        (Some("a.weir.branch"), SniVerdict::OwnName),
        (Some("files.branch"), SniVerdict::OwnName),
        (Some("SLS.update.microsoft.com"), tunnel("sls.update.microsoft.com")),
        (Some("deb.debian.org"), tunnel("deb.debian.org")),
        (Some("evil.example"), SniVerdict::Close),
        (Some("mirror.example"), SniVerdict::Close),
        (Some("10.1.1.1"), SniVerdict::Close),
        (Some(""), SniVerdict::Close),
    ] {
        assert_eq!(verdict(name, &Door::ALL), wanted, "{name:?}");
    }
    assert_eq!(verdict(Some("deb.debian.org"), &[Door::Reverse]), SniVerdict::Close);
}

#[test]
fn without_the_builtin_origins_their_hosts_are_refused_but_still_understood_when_allowed() {
    let mut config = Config { builtin: false, ..branch() };
    let ask = |config: &Config, request: &str| show(&class(&Policy::new(config, NODE), &Door::ALL, request));
    let request = "GET $guid?P1=1; tlu.dl.delivery.mp.microsoft.com";
    assert_eq!(ask(&config, request), "403 origin");
    config.allow = origins(&["*.dl.delivery.mp.microsoft.com"]);
    assert!(ask(&config, request).ends_with("+immutable +ranged sig=P1=1"), "{}", ask(&config, request));
}

#[test]
fn a_purged_url_has_the_key_that_requests_for_it_have() {
    let policy = Policy::new(&branch(), NODE);
    for (url, request) in [
        (
            "http://b.tlu.dl.delivery.mp.microsoft.com$guid?P1=7",
            "GET $guid?P1=1&cacheHostOrigin=dl.delivery.mp.microsoft.com; weir.branch",
        ),
        ("http://wsus.corp:8530/content/9/$sha1.cab", "GET /Content/09/$SHA1.cab; weir.branch"),
        ("https://mirror.corp/debian/pool/a.deb", "GET /pool/a.deb; weir.branch"),
        ("http://deb.debian.org/x?y", "GET http://deb.debian.org/x?y; h"),
        ("http://b.example.org/x", "GET /x; a.example.org"),
    ] {
        let Class::Content(want) = class(&policy, &Door::ALL, request) else { panic!("{request} is no content") };
        assert_eq!(policy.key_of(&expand(url).parse().unwrap()), Some(want.key), "{url}");
    }
    assert_eq!(policy.key_of(&"/x".parse().unwrap()), None);
}

#[test]
fn redirects_follow_the_same_allow_list() {
    let policy = Policy::new(&branch(), NODE);
    let allows = |url: &str| {
        let url: Uri = url.parse().unwrap();
        let scheme = if url.scheme_str() == Some("https") { Scheme::Https } else { Scheme::Http };
        policy.allows(&Origin::new(scheme, url.host().unwrap(), url.port_u16().unwrap_or(scheme.default_port())))
    };
    assert!(allows("http://x.download.windowsupdate.com/"));
    assert!(allows("https://deb.debian.org/"));
    assert!(!allows("http://deb.debian.org:8080/"));
    assert!(!allows("http://127.0.0.1/"));
    assert!(!allows("http://evil.example/"));
}

#[test]
fn every_builtin_host_is_a_pattern_with_a_source() {
    for family in FAMILIES {
        assert!(!family.source.is_empty() && !family.hosts.is_empty(), "{family:?}");
        for host in family.hosts {
            assert!(host.parse::<HostPattern>().is_ok(), "{host}");
            assert_eq!(host.to_lowercase(), **host);
        }
    }
}

#[test]
fn every_refusal_has_a_final_status_a_word_and_a_sentence_without_line_breaks() {
    let text = || Box::<str>::from("thing");
    for refusal in [
        Refusal::OriginNotAllowed(text()),
        Refusal::Address(text()),
        Refusal::NotContent(text()),
        Refusal::Port { host: text(), port: 1 },
        Refusal::Itself(text()),
        Refusal::DoorClosed(Door::Forward),
        Refusal::NoSite(text()),
        Refusal::Service(text()),
        Refusal::Call(crate::wsus::Refused::Doubled("a".into())),
        Refusal::method(&Method::TRACE, &[Door::Delivery]),
        Refusal::HostField,
        Refusal::Host { text: "a\r\nb".into(), why: BadHost::Character },
        Refusal::Scheme(text()),
        Refusal::Target(text()),
        Refusal::Path(BadPath::DotSegment),
        Refusal::TargetTooLong { len: 2, max: 1 },
        Refusal::Loop,
    ] {
        assert!(refusal.status().is_client_error() || refusal.status().as_u16() == 508);
        assert!(!refusal.as_str().contains(' '));
        assert!(!refusal.to_string().contains(['\r', '\n']), "{refusal}");
    }
}

#[test]
fn allow_names_what_the_doors_of_the_port_take() {
    let allow = |doors: &[Door]| Refusal::method(&Method::TRACE, doors).allow();
    assert_eq!(allow(&[Door::Delivery]), Some("GET, HEAD"));
    for doors in [&[Door::Delivery, Door::Transparent][..], &[Door::Wsus], &Door::ALL] {
        assert!(allow(doors).is_some_and(|methods| methods.contains("POST")), "{doors:?}");
    }
    assert_eq!(Refusal::Loop.allow(), None);
}

proptest::proptest! {
    /// Whatever a client writes, an origin that is contacted is one that a rule names.
    #[test]
    fn no_spelling_of_an_origin_leaves_the_allow_list(
        noise in "[ -~]{0,12}",
        host in "(dl\\.delivery\\.mp\\.microsoft\\.com|deb\\.debian\\.org|evil\\.example|127\\.0\\.0\\.1|%5[bB]::1%5[dD])",
        tail in "[ -~]{0,12}",
    ) {
        let policy = Policy::new(&Config { sites: vec![], aliases: vec![], ..branch() }, NODE);
        let named = format!("{noise}{host}{tail}").replace(['#', ';'], "");
        let target = format!("/x?cacheHostOrigin={named}").replace([' ', '"', '<', '>', '\\', '^', '`', '{', '|', '}'], "");
        if target.parse::<Uri>().is_ok()
            && let Class::Content(want) = class(&policy, &Door::ALL, &format!("GET {target}; weir.branch"))
        {
            let host = &*want.origin.host;
            let is_below = |name: &str| host == name || host.ends_with(&format!(".{name}"));
            let allowed = ["microsoft.com", "windowsupdate.com", "cdn.office.net", "edgesuite.net", "xboxlive.com", "xbox.com", "example.org"];
            proptest::prop_assert!(allowed.into_iter().any(is_below) || host == "deb.debian.org", "{target} led to {host}");
            proptest::prop_assert!(!want.path_and_query.to_ascii_lowercase().contains("cachehostorigin"), "{want:?}");
        }
    }

    /// Two paths have one key only where a rule says so: not here.
    #[test]
    fn keys_of_an_ordinary_origin_are_its_urls_byte_for_byte(path in "/[a-zA-Z0-9%/._~-]{0,40}", query in "[a-zA-Z0-9%=&+/?]{0,20}") {
        let policy = Policy::new(&branch(), NODE);
        if let Class::Content(want) = class(&policy, &Door::ALL, &format!("GET {path}?{query}; deb.debian.org")) {
            proptest::prop_assert_eq!(want.key.text(), format!("http://deb.debian.org{path}?{query}"));
        }
    }
}

#[test]
fn a_wildcard_of_ours_claims_no_name_that_a_rule_allows_as_exactly() {
    let own_names = patterns(&["*.corp.example", "weir.example.org", "*.deep.mirrors.corp.example"]);
    let allow = origins(&["mirror.corp.example", "*.example.org", "*.mirrors.corp.example"]);
    let policy = Policy::new(&Config { own_names, allow, ..branch() }, NODE);
    let verdict = |name| policy.sni_verdict(Some(name), &Door::ALL);
    for ours in ["weir.corp.example", "weir.example.org", "x.deep.mirrors.corp.example"] {
        assert_eq!(verdict(ours), SniVerdict::OwnName, "{ours}");
    }
    for theirs in ["mirror.corp.example", "deb.example.org", "a.mirrors.corp.example"] {
        assert!(matches!(verdict(theirs), SniVerdict::Tunnel(_)), "{theirs}");
    }
}
