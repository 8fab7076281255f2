//! Each row is a request in one line and what becomes of it in one line.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Uri, Version};

use super::{rules::FAMILIES, *};

const GUID: &str = "/filestreamingservice/files/7bc846e0-af9c-49be-a03d-bb04428c9bb5";
const SHA1: &str = "DA39A3EE5E6B4B0D3255BFEF95601890AFD80709";
const NODE: &str = "weir-3f9a";

/// What the tables' `$guid`, `$SHA1`, `$sha1`, `$label` (64 letters, one too many) and `$long` (259 characters) stand for.
fn expand(text: &str) -> String {
    let text = text.replace("$guid", GUID).replace("$SHA1", SHA1).replace("$sha1", &SHA1.to_lowercase());
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
    Site { name: name.into(), kind, hosts: vec![], paths: vec![], catch_all: false, pass: vec![] }
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
    }
}

/// `METHOD target; Field: value; …`, to the branch's socket by default.
fn class(policy: &Policy, doors: &[Door], request: &str) -> Class {
    let request = expand(request);
    let mut parts = request.split("; ");
    let (method, target) = parts.next().unwrap().split_once(' ').unwrap();
    let (mut headers, mut version, mut scheme) = (HeaderMap::new(), Version::HTTP_11, Scheme::Http);
    for part in parts {
        match part.split_once(": ") {
            Some((name, value)) => {
                headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
            }
            None if part == "h2" => version = Version::HTTP_2,
            None if part == "1.0" => version = Version::HTTP_10,
            None if part == "tls" => scheme = Scheme::Https,
            None => {
                headers.insert(http::header::HOST, HeaderValue::from_str(part).unwrap());
            }
        }
    }
    let uri: Uri = if method == "CONNECT" { Uri::builder().authority(target).build().unwrap() } else { target.parse().unwrap() };
    let local: SocketAddr = "10.1.1.1:8080".parse().unwrap();
    policy.classify(&Asked { method: &method.parse().unwrap(), uri: &uri, version, headers: &headers, doors, scheme, local })
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
fn the_delivery_door_takes_the_origin_from_the_last_cache_host_origin() {
    check(
        &Door::ALL,
        r#"
        GET $guid?P1=1547175661&P2=402&P3=2&P4=ab%2bc&cacheHostOrigin=tlu.dl.delivery.mp.microsoft.com; weir.branch
            => content delivery http://dl.delivery.mp.microsoft.com$guid from http://tlu.dl.delivery.mp.microsoft.com$guid +immutable +ranged sig=P1=1547175661&P2=402&P3=2&P4=ab%2bc
        GET $guid/pieceshash?P1=1&cacheHostOrigin=dl.delivery.mp.microsoft.com; 10.1.1.1
            => content delivery http://dl.delivery.mp.microsoft.com$guid/pieceshash +immutable +ranged sig=P1=1
        HEAD /x?a=1&cacheHostOrigin=dl.delivery.mp.microsoft.com&b=2; weir.branch
            => content delivery http://dl.delivery.mp.microsoft.com/x?a=1&b=2 +ranged
        # A client appends its own: the one before it is not the client's.
        GET /x?cacheHostOrigin=evil.example&cacheHostOrigin=dl.delivery.mp.microsoft.com; weir.branch
            => content delivery http://dl.delivery.mp.microsoft.com/x +ranged
        GET /x?cacheHostOrigin=dl.delivery.mp.microsoft.com&cacheHostOrigin=evil.example; weir.branch => 403 origin
        # Any spelling of the parameter's name counts, so that no origin sees one.
        GET /x?CACHEHOSTORIGIN=evil.example; weir.branch => 403 origin
        GET /x?cachehostorigin=b1.download.windowsupdate.com; weir.branch
            => content delivery http://download.windowsupdate.com/x from http://b1.download.windowsupdate.com/x +ranged
        GET /x?cacheHostOrigin=DL.Delivery.MP.Microsoft.COM; weir.branch
            => content delivery http://dl.delivery.mp.microsoft.com/x +ranged
        GET /x?cacheHostOrigin=dl.delivery.mp.microsoft.com.; weir.branch
            => content delivery http://dl.delivery.mp.microsoft.com/x +ranged
        # Escapes are decoded before the host is judged, never after.
        GET /x?cacheHostOrigin=dl%2edelivery.mp.microsoft.com; weir.branch
            => content delivery http://dl.delivery.mp.microsoft.com/x +ranged
        # The origin wins over Host, which is a peer's address when routing brought the request here.
        GET /x?cacheHostOrigin=dl.delivery.mp.microsoft.com; 198.51.100.7
            => content delivery http://dl.delivery.mp.microsoft.com/x +ranged
        # Over TLS the client had an https URL.
        GET /a.intunewin?cacheHostOrigin=swda01.manage.microsoft.com; weir.branch; tls
            => content delivery https://swda01.manage.microsoft.com/a.intunewin +ranged
        GET /x?cacheHostOrigin=lab.test; weir.branch => content delivery http://lab.test/x by lab
        GET /x?cacheHostOrigin=xn--bcher-kva.example.org; weir.branch => content delivery http://xn--bcher-kva.example.org/x
        # DO sends `Content-Length: 0` on GET.
        GET /x?cacheHostOrigin=deb.debian.org; weir.branch; Content-Length: 0 => content delivery http://deb.debian.org/x
        # A peer known by address only.
        GET /x?cacheHostOrigin=203.0.113.5; weir.branch => content delivery http://dl.delivery.mp.microsoft.com/x +ranged
        # Clients that know the WSUS by its own name.
        GET /Content/09/$SHA1.cab?cacheHostOrigin=wsus.corp; weir.branch
            => content delivery http://wsus.corp:8530/Content/09/$SHA1.cab by wsus +immutable +declared +ranged
    "#,
    );
}

#[test]
fn tricks_with_cache_host_origin_are_refused() {
    check(
        &Door::ALL,
        r#"
        GET /x?cacheHostOrigin=; weir.branch => 400 host
        GET /x?cacheHostOrigin; weir.branch => 400 host
        GET /x?cacheHostOrigin=.; weir.branch => 400 host
        GET /x?cacheHostOrigin=evil.example; weir.branch => 403 origin
        GET /x?cacheHostOrigin=evildl.delivery.mp.microsoft.com.evil.example; weir.branch => 403 origin
        GET /x?cacheHostOrigin=notwindowsupdate.com; weir.branch => 403 origin
        GET /x?cacheHostOrigin=evil-dl.delivery.mp.microsoft.com.; weir.branch
            => content delivery http://evil-dl.delivery.mp.microsoft.com/x +ranged
        GET /x?cacheHostOrigin=xdownload.windowsupdate.example; weir.branch => 403 origin
        GET /x?cacheHostOrigin=xexample.org; weir.branch => 403 origin
        GET /x?cacheHostOrigin=example.org; weir.branch => 403 origin
        GET /x?cacheHostOrigin=user@dl.delivery.mp.microsoft.com; weir.branch => 400 host
        GET /x?cacheHostOrigin=dl.delivery.mp.microsoft.com%40evil.example; weir.branch => 400 host
        GET /x?cacheHostOrigin=dl.delivery.mp.microsoft.com:80; weir.branch => 400 host
        GET /x?cacheHostOrigin=dl.delivery.mp.microsoft.com%3a8080; weir.branch => 400 host
        GET /x?cacheHostOrigin=dl.delivery.mp.microsoft.com..; weir.branch => 400 host
        GET /x?cacheHostOrigin=dl..delivery.mp.microsoft.com; weir.branch => 400 host
        GET /x?cacheHostOrigin=dl.delivery.mp.microsoft.com/..; weir.branch => 400 host
        GET /x?cacheHostOrigin=dl.delivery.mp.microsoft.com%2fx; weir.branch => 400 host
        GET /x?cacheHostOrigin=dl.delivery.mp.microsoft.com%00.evil.example; weir.branch => 400 host
        GET /x?cacheHostOrigin=evil.example%23.dl.delivery.mp.microsoft.com; weir.branch => 400 host
        GET /x?cacheHostOrigin=dl.delivery.mp.microsoft.com%0d%0aX:y; weir.branch => 400 host
        GET /x?cacheHostOrigin=http://dl.delivery.mp.microsoft.com; weir.branch => 400 host
        GET /x?cacheHostOrigin=%ff.example.org; weir.branch => 400 host
        GET /x?cacheHostOrigin=b%C3%BCcher.example.org; weir.branch => 400 host
        GET /x?cacheHostOrigin=*.example.org; weir.branch => 400 host
        GET /x?cacheHostOrigin=127.0.0.1; weir.branch => 403 address
        GET /x?cacheHostOrigin=169.254.169.254; weir.branch => 403 address
        GET /x?cacheHostOrigin=127.1; weir.branch => 400 host
        GET /x?cacheHostOrigin=2130706433; weir.branch => 400 host
        GET /x?cacheHostOrigin=0x7f000001; weir.branch => 400 host
        GET /x?cacheHostOrigin=0177.0.0.1; weir.branch => 400 host
        GET /x?cacheHostOrigin=::1; weir.branch => 403 address
        GET /x?cacheHostOrigin=%5B::1%5D; weir.branch => 403 address
        GET /x?cacheHostOrigin=%5B::ffff:169.254.169.254%5D; weir.branch => 403 address
        GET /x?cacheHostOrigin=%5B::1%5D:80; weir.branch => 400 host
        GET /x?cacheHostOrigin=[::1; weir.branch => 400 host
        GET /x?cacheHostOrigin=$long.example.org; weir.branch => 400 host
        GET /x?cacheHostOrigin=$label.example.org; weir.branch => 400 host
        # A service host is no content host.
        GET /x?cacheHostOrigin=fe3cr.delivery.mp.microsoft.com; weir.branch => 403 not-content
        GET /x?cacheHostOrigin=sls.update.microsoft.com; weir.branch => 403 not-content
        GET /x?cacheHostOrigin=localhost; weir.branch => 403 origin
        POST /x?cacheHostOrigin=dl.delivery.mp.microsoft.com; weir.branch => 405 method
        DELETE /x?cacheHostOrigin=dl.delivery.mp.microsoft.com; weir.branch => 405 method
        # Decoded paths are not another origin's business.
        GET /a%2fb?cacheHostOrigin=deb.debian.org; weir.branch => 400 path
        GET /a//b?cacheHostOrigin=deb.debian.org; weir.branch => 400 path
        GET /a%zz?cacheHostOrigin=deb.debian.org; weir.branch => 400 path
        # The administrator's and the other sites' hosts are not origins of this door.
        GET /x?cacheHostOrigin=weir.branch; weir.branch => 403 origin
        GET /ApiRemoting30/WebService.asmx?cacheHostOrigin=wsus.corp; weir.branch => 403 service
    "#,
    );
}

#[test]
fn the_transparent_door_takes_the_origin_from_host() {
    check(
        &Door::ALL,
        r#"
        GET /c/msdownload/update/software/secu/2024/01/windows10.0-kb5034122-x64_$sha1.cab?P1=1; au.download.windowsupdate.com
            => content transparent http://download.windowsupdate.com/c/msdownload/update/software/secu/2024/01/windows10.0-kb5034122-x64_$sha1.cab from http://au.download.windowsupdate.com/c/msdownload/update/software/secu/2024/01/windows10.0-kb5034122-x64_$sha1.cab +immutable +declared +ranged
        GET /msdownload/update/v3/static/trustedr/en/authrootstl.cab?0d3cab5b; ctldl.windowsupdate.com
            => content transparent http://ctldl.windowsupdate.com/msdownload/update/v3/static/trustedr/en/authrootstl.cab +mutable +ranged
        GET /v9/windowsupdate/redir/muv4wuredir.cab?1409; download.windowsupdate.com:80
            => content transparent http://download.windowsupdate.com/v9/windowsupdate/redir/muv4wuredir.cab +mutable +ranged
        GET /pr/492350f6/Office/Data/v64.cab; officecdn.microsoft.com.edgesuite.net
            => content transparent http://officecdn.microsoft.com/pr/492350f6/Office/Data/v64.cab from http://officecdn.microsoft.com.edgesuite.net/pr/492350f6/Office/Data/v64.cab +mutable +ranged
        GET /pr/492350f6/Office/Data/16.0.17328.20162/stream.x86.x-none.dat; officecdn.microsoft.com
            => content transparent http://officecdn.microsoft.com/pr/492350f6/Office/Data/16.0.17328.20162/stream.x86.x-none.dat +immutable +ranged
        # Not a digest: too short, or in no place where digests are promised.
        GET /msdownload/update/x_1234.cab; download.windowsupdate.com
            => content transparent http://download.windowsupdate.com/msdownload/update/x_1234.cab +ranged
        GET /x_$sha1.cab; deb.debian.org => content transparent http://deb.debian.org/x_$sha1.cab +ranged
        GET /d?b=2&a=1&; deb.debian.org => content transparent http://deb.debian.org/d?b=2&a=1&
        GET /d?; deb.debian.org => content transparent http://deb.debian.org/d?
        GET /p/a.deb; a.example.org
            => content transparent http://example-mirrors/p/a.deb from http://a.example.org/p/a.deb +ranged
        GET /p/a.deb; b.example.org; tls
            => content transparent https://example-mirrors/p/a.deb from https://b.example.org/p/a.deb +ranged
        GET /@scope%2fname; c.example.org => content transparent http://c.example.org/@scope%2fname
        GET /x; mirror.example:8080 => content transparent http://mirror.example:8080/x
        GET /x; mirror.example => 403 port
        GET /x; deb.debian.org:22 => 403 port
        GET /x; deb.debian.org:0 => 400 host
        GET /x; deb.debian.org:70000 => 400 host
        GET /x; deb.debian.org:+80 => 400 host
        GET /x; evil.example => 403 origin
        GET /x; 203.0.113.5 => content transparent http://dl.delivery.mp.microsoft.com/x +ranged
        GET /x; 203.0.113.6 => 403 address
        GET /x; [fe80::1] => 403 address
        GET /x; user@deb.debian.org => 400 host
        GET /x; deb.debian.org, evil.example => 400 host
        GET /x => 400 host-field
        GET /x; Host: deb.debian.org; Host: deb.debian.org => 400 host-field
        GET /x; 1.0 => 404 no-site
        GET /x; lab.test => content transparent http://lab.test/x by lab
        # Service hosts and what is no GET go through as they came.
        POST /v6/ClientWebService/client.asmx; fe2.update.microsoft.com; SOAPAction: "x"
            => pass transparent Service http://fe2.update.microsoft.com/v6/ClientWebService/client.asmx
        GET /x?P1=2; sls.update.microsoft.com => pass transparent Service http://sls.update.microsoft.com/x?P1=2
        POST /x?y; deb.debian.org => pass transparent Method http://deb.debian.org/x?y
        OPTIONS /x; deb.debian.org => pass transparent Method http://deb.debian.org/x
        GET /x; deb.debian.org; Content-Length: 3 => pass transparent Body http://deb.debian.org/x
        GET /x; deb.debian.org; Transfer-Encoding: chunked => pass transparent Body http://deb.debian.org/x
        TRACE /x; deb.debian.org => 405 method
    "#,
    );
}

#[test]
fn the_forward_door_is_no_open_relay() {
    check(
        &Door::ALL,
        r#"
        GET http://deb.debian.org/debian/pool/a.deb; deb.debian.org
            => content forward http://deb.debian.org/debian/pool/a.deb +ranged +personal
        # The target counts, whatever Host says (RFC 9112 §3.2.2).
        GET http://evil.example/x; deb.debian.org => 403 origin
        GET http://deb.debian.org; deb.debian.org => content forward http://deb.debian.org/ +personal
        GET https://deb.debian.org/x; deb.debian.org => content forward https://deb.debian.org/x +personal
        GET HTTP://DEB.debian.org/X; deb.debian.org => content forward http://deb.debian.org/X +personal
        GET http://deb.debian.org:8080/x; h => 403 port
        GET http://user:pw@deb.debian.org/x; h => 400 host
        GET http://127.0.0.1/x; h => 403 address
        GET http://[::1]:8081/x; h => 403 address
        GET ftp://deb.debian.org/x; h => 400 scheme
        GET http://deb.debian.org/a/../b; h => 400 path
        GET http://weir.branch:8081/metrics; h => 403 itself
        GET http://10.1.1.1:8081/metrics; h => 403 itself
        GET http://localhost:8081/metrics; h => 403 itself
        # To this very socket it is as good as origin-form.
        GET http://weir.branch:8080/pool/a.deb; h
            => content reverse https://mirror.corp/debian/pool/a.deb by mirror +ranged +personal
        GET http://weir.branch:8080/x; h => 404 no-site
        GET http://lab.test/x; h => content forward http://lab.test/x by lab +personal
        GET http://files.branch/x; h => content reverse http://files.corp/x by files +personal
        PUT http://deb.debian.org/x; h => pass forward Method http://deb.debian.org/x
        CONNECT deb.debian.org:443; h => tunnel forward https://deb.debian.org
        CONNECT lab.test:443; h => tunnel forward https://lab.test by lab
        CONNECT mirror.example:8080; h => tunnel forward https://mirror.example:8080
        CONNECT fe3cr.delivery.mp.microsoft.com:443; h => tunnel forward https://fe3cr.delivery.mp.microsoft.com
        CONNECT deb.debian.org:22; h => 403 port
        CONNECT evil.example:443; h => 403 origin
        CONNECT 127.0.0.1:443; h => 403 address
        CONNECT 10.1.1.1:8081; h => 403 itself
        CONNECT weir.branch:443; h => 403 itself
        CONNECT localhost:8081; h => 403 itself
        CONNECT deb.debian.org; h => 400 target
        OPTIONS *; deb.debian.org => 400 target
        # HTTP/2 names scheme and authority always; only a foreign scheme makes it a proxy request.
        GET http://deb.debian.org/x; h2 => content transparent http://deb.debian.org/x
        GET http://deb.debian.org/x; h2; tls => content forward http://deb.debian.org/x +personal
    "#,
    );
}

#[test]
fn sites_are_claimed_by_host_then_path_then_wsus() {
    check(
        &Door::ALL,
        r#"
        GET /pool/a/a.deb; weir.branch => content reverse https://mirror.corp/debian/pool/a/a.deb by mirror +ranged +personal
        GET /dists; 10.1.1.1:8080 => content reverse https://mirror.corp/debian/dists by mirror +personal
        GET /distsx; weir.branch => 404 no-site
        GET /pool/../etc; weir.branch => 400 path
        GET /pool/%2e%2e/etc; weir.branch => 400 path
        GET /pool/..%2fetc; weir.branch => 400 path
        GET /pool/..%5cetc; weir.branch => 400 path
        GET /pool/a%00b; weir.branch => 400 path
        GET /pool/a%7fb; weir.branch => 400 path
        GET /pool/a%2zb; weir.branch => content reverse https://mirror.corp/debian/pool/a%2zb by mirror +personal
        GET /pool/.../x; weir.branch => content reverse https://mirror.corp/debian/pool/.../x by mirror +personal
        GET /x?y=cacheHostOrigin; files.branch:8080 => content reverse http://files.corp/x?y=cacheHostOrigin by files +personal
        GET /api/x; files.branch => pass reverse Policy http://files.corp/api/x by files
        GET /apix; files.branch => content reverse http://files.corp/apix by files +personal
        POST /x; files.branch => pass reverse Method http://files.corp/x by files
        POST /x; files.branch; SOAPAction: "u" => pass reverse Service http://files.corp/x by files
        GET /x; weir.branch => 404 no-site
    "#,
    );
}

#[test]
fn wsus_content_is_keyed_in_one_spelling_and_its_services_are_guarded() {
    check(
        &Door::ALL,
        r#"
        GET /Content/09/$SHA1.cab; weir.branch:8530 => content wsus http://wsus.corp:8530/Content/09/$SHA1.cab by wsus +immutable +declared +ranged
        GET /Content/09/$SHA1.cab?x=1; weir.branch:8530 => content wsus http://wsus.corp:8530/Content/09/$SHA1.cab by wsus +immutable +declared +ranged
        GET /content/9/$sha1.CAB; weir.branch:8530
            => content wsus http://wsus.corp:8530/Content/09/$SHA1.cab from http://wsus.corp:8530/content/9/$sha1.CAB by wsus +immutable +declared +ranged
        GET /Content/AB/$SHA1.cab; weir.branch => pass wsus Service http://wsus.corp:8530/Content/AB/$SHA1.cab by wsus
        GET /Content/+9/$SHA1.cab; weir.branch => pass wsus Service http://wsus.corp:8530/Content/+9/$SHA1.cab by wsus
        GET /Content/09/$SHA1; weir.branch => pass wsus Service http://wsus.corp:8530/Content/09/$SHA1 by wsus
        GET /Content/09/x/$SHA1.cab; weir.branch => pass wsus Service http://wsus.corp:8530/Content/09/x/$SHA1.cab by wsus
        GET /Content/anonymousCheckFile.txt; weir.branch
            => pass wsus Service http://wsus.corp:8530/Content/anonymousCheckFile.txt by wsus
        GET /Content/09%2f$SHA1.cab; weir.branch => 400 path
        GET /Content//09/$SHA1.cab; weir.branch => 400 path
        GET /Content/../ApiRemoting30/WebService.asmx; weir.branch => 400 path
        GET /Content/09/$SHA1.cab::$DATA; weir.branch => 400 path
        GET /Content./09/$SHA1.cab; weir.branch => 404 no-site
        POST /ClientWebService/client.asmx; weir.branch; SOAPAction: "GetCookie"
            => pass wsus Service http://wsus.corp:8530/ClientWebService/client.asmx by wsus
        POST /clientwebservice/Client.asmx; weir.branch
            => pass wsus Service http://wsus.corp:8530/clientwebservice/Client.asmx by wsus
        GET /ClientWebService/wusserverversion.xml; weir.branch
            => pass wsus Service http://wsus.corp:8530/ClientWebService/wusserverversion.xml by wsus
        GET /ClientWebService/client.asmx?wsdl; weir.branch => 403 service
        GET /ClientWebService/client%2easmx; weir.branch => 403 service
        POST /ApiRemoting30/WebService.asmx; weir.branch => 403 service
        POST /APIREMOTING%33%30/WebService.asmx; weir.branch => 403 service
        POST /ClientWebService/(S(x))/client.asmx; weir.branch => 400 path
        POST /ServerSyncWebService/ServerSyncWebService.asmx; weir.branch => 403 service
        POST //DssAuthWebService/DssAuthWebService.asmx; weir.branch => 403 service
        GET /Inventory/x; weir.branch => 403 service
        GET /SelfUpdate/WUIdent.cab?0911180916; weir.branch
            => content wsus http://wsus.corp:8530/selfupdate/wuident.cab from http://wsus.corp:8530/SelfUpdate/WUIdent.cab?0911180916 by wsus +mutable
    "#,
    );
    // On a socket of its own a WSUS takes every path, and still no short names.
    check(
        &[Door::Wsus],
        r#"
        GET /iisstart.htm; any.name => pass wsus Service http://wsus.corp:8530/iisstart.htm by wsus
        POST /APIREM~1/WebService.asmx; any.name => 400 path
        GET /Content/09/$SHA1.cab?cacheHostOrigin=evil.example; any.name => content wsus http://wsus.corp:8530/Content/09/$SHA1.cab by wsus +immutable +declared +ranged
    "#,
    );
}

#[test]
fn closed_doors_stay_closed() {
    check(
        &[Door::Reverse],
        r#"
        GET /x?cacheHostOrigin=deb.debian.org; weir.branch => 404 no-site
        GET /x; deb.debian.org => 404 no-site
        GET http://deb.debian.org/x; deb.debian.org => 403 door-closed
        CONNECT deb.debian.org:443; h => 403 door-closed
        GET /Content/09/$SHA1.cab; weir.branch => 404 no-site
        # Addressed to a site, absolute-form is no proxy request (RFC 9112 §3.2.2).
        GET http://files.branch/x; h => content reverse http://files.corp/x by files +personal
    "#,
    );
    check(
        &[Door::Delivery],
        r#"
        GET /x; deb.debian.org => 404 no-site
        GET /x?cacheHostOrigin=files.corp; weir.branch => 403 origin
    "#,
    );
}

#[test]
fn a_request_that_was_here_before_is_a_loop() {
    check(
        &Door::ALL,
        r#"
        GET /x; deb.debian.org; Via: 1.1 weir-3f9a => 508 loop
        GET /x; deb.debian.org; Via: 1.0 fred, 1.1 WEIR-3F9A (weir) => 508 loop
        GET /x; deb.debian.org; CDN-Loop: other; CDN-Loop: foo;a=1, weir-3f9a;x => 508 loop
        CONNECT deb.debian.org:443; h; CDN-Loop: weir-3f9a => 508 loop
        GET /x; deb.debian.org; Via: 1.1 weir-0000; CDN-Loop: weir-3f9ab => content transparent http://deb.debian.org/x
    "#,
    );
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
        Refusal::Method(text()),
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
