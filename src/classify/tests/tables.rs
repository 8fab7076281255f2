//! By door: each row is a request in one line and what becomes of it in one line.

use super::{NODE, branch, check, class, show};
use crate::classify::{Closed, Door, Policy};

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
fn http2_reaches_a_proxy_where_no_other_door_claims_the_request() {
    check(
        &[Door::Forward],
        r#"
        GET http://deb.debian.org/x; h2 => content forward http://deb.debian.org/x +personal
        GET https://deb.debian.org/x; h2; tls => content forward https://deb.debian.org/x +personal
        PUT http://deb.debian.org/x; h2 => pass forward Method http://deb.debian.org/x
        GET http://evil.example/x; h2 => 403 origin
        GET http://127.0.0.1/x; h2 => 403 address
        GET http://10.1.1.1:8080/x; h2 => 404 no-site
        GET http://10.1.1.1:8081/x; h2 => 403 itself
        GET /x; deb.debian.org => 404 no-site
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
        GET http://files.branch/x; h2; data => pass reverse Body http://files.corp/x by files
        HEAD http://files.branch/x; h2; data => pass reverse Body http://files.corp/x by files
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
        POST /ClientWebService/client.asmx; weir.branch; Content-Type: text/xml; SOAPAction: $client/GetCookie
            => pass wsus Service http://wsus.corp:8530/ClientWebService/client.asmx by wsus
        POST /clientwebservice/Client.asmx; weir.branch; Content-Type: text/xml; SOAPAction: "$client/GetConfig"
            => pass wsus Service http://wsus.corp:8530/clientwebservice/Client.asmx by wsus
        POST /ClientWebService/client.asmx; weir.branch => 403 call-action
        POST /ClientWebService/client.asmx?wsdl; weir.branch => 403 call-query
        POST /ClientWebService/client.asmx/GetConfig; weir.branch => 403 service
        POST /ClientWebService/other.asmx; weir.branch => 403 service
        PUT /ClientWebService/client.asmx; weir.branch => 403 service
        POST /ReportingWebService/ReportingWebService.asmx; weir.branch; SOAPAction: "http://www.microsoft.com/SoftwareDistribution/RollupComputers"
            => 403 service
        GET /ClientWebService/web.config; weir.branch => 403 service
        POST /Content/09/$SHA1.cab; weir.branch => 405 method
        DELETE /SelfUpdate/wuident.cab; weir.branch => 405 method
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
    // On a socket of its own a WSUS is asked whatever the host, and still for nothing else.
    check(
        &[Door::Wsus],
        r#"
        GET /iisstart.htm; any.name => 403 service
        POST /APIREM~1/WebService.asmx; any.name => 400 path
        GET /Content/09/$SHA1.cab?cacheHostOrigin=evil.example; any.name => content wsus http://wsus.corp:8530/Content/09/$SHA1.cab by wsus +immutable +declared +ranged
    "#,
    );
}

#[test]
fn what_a_site_opens_of_a_wsus_is_open_and_nothing_else() {
    let opened = |what: &[Closed], request: &str| {
        let mut config = branch();
        config.sites[0].opened = what.iter().copied().collect();
        show(&class(&Policy::new(&config, NODE), &[Door::Wsus], request))
    };
    let sync = "Content-Type: text/xml; SOAPAction: http://www.microsoft.com/SoftwareDistribution/";
    let rows = [
        (Closed::Administration, "POST /ApiRemoting30/WebService.asmx; w".to_owned()),
        (Closed::ServerSync, format!("POST /ServerSyncWebService/ServerSyncWebService.asmx; w; {sync}GetUpdateData")),
        (
            Closed::DssAuth,
            format!("POST //DssAuthWebService/DssAuthWebService.asmx; w; {sync}Server/DssAuthWebService/GetAuthorizationCookie"),
        ),
        (Closed::RollUp, format!("POST /ReportingWebService/ReportingWebService.asmx; w; {sync}RollupComputers")),
        (Closed::Inventory, "GET /Inventory/x; w".to_owned()),
        (Closed::Descriptions, "GET /ClientWebService/client.asmx?wsdl; w".to_owned()),
        (Closed::Other, "GET /iisstart.htm; w".to_owned()),
    ];
    assert_eq!(rows.len(), Closed::ALL.len());
    for (what, request) in rows {
        assert!(opened(&[what], &request).starts_with("pass wsus"), "{what}: {}", opened(&[what], &request));
        let others: Vec<Closed> = Closed::ALL.into_iter().filter(|other| *other != what).collect();
        assert_eq!(opened(&others, &request), "403 service", "{what}");
    }
    assert_eq!(opened(&Closed::ALL, "POST //ApiRemoting30//WebService.asmx; w"), "400 path");
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
        GET https://files.branch/x; h2 => content reverse http://files.corp/x by files +personal
    "#,
    );
    check(
        &[Door::Transparent],
        r#"
        GET http://deb.debian.org/x; deb.debian.org => content transparent http://deb.debian.org/x
        GET http://evil.example/x; evil.example => 403 origin
    "#,
    );
    check(
        &[Door::Forward, Door::Reverse],
        r#"
        # A name that is neither ours nor a site's asks for a proxy, whatever site takes any Host: its pages are not evil.example's.
        GET http://evil.example/pool/a.deb; evil.example => 403 origin
        GET /pool/a.deb; evil.example
            => content reverse https://mirror.corp/debian/pool/a.deb by mirror +ranged +personal
        GET http://weir.branch:8080/pool/a.deb; h
            => content reverse https://mirror.corp/debian/pool/a.deb by mirror +ranged +personal
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
