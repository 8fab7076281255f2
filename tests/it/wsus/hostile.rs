//! Calls that no agent makes: what each gets. None reaches the server.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::{
    agent::envelope,
    server::{CLIENT, CLIENT_PATH, HOST, REPORTS, REPORTS_PATH, SIMPLE_AUTH, SIMPLE_AUTH_PATH, Wsus},
};
use crate::support::{Client, eventually, proxy, xpress};

/// A request, written field by field so that each can be wrong.
#[derive(Clone)]
struct Call {
    method: &'static str,
    target: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Call {
    fn to(path: &str, namespace: &str, operation: &str, body: &str) -> Self {
        let fields = [("Content-Type", "text/xml; charset=utf-8"), ("SOAPAction", &format!("\"{namespace}/{operation}\""))];
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Self { method: "POST", target: path.to_owned(), fields, body: body.into() }
    }

    fn client(operation: &str, inside: &str) -> Self {
        Self::to(CLIENT_PATH, CLIENT, operation, &envelope(operation, CLIENT, inside))
    }

    fn report(inside: &str) -> Self {
        Self::to(REPORTS_PATH, REPORTS, "ReportEventBatch", &envelope("ReportEventBatch", REPORTS, inside))
    }

    fn plain(method: &'static str, target: &str) -> Self {
        Self { method, target: target.to_owned(), fields: Vec::new(), body: Vec::new() }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.retain(|(own, _)| own != name);
        self.and(name, value)
    }

    fn and(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    fn asked_with(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    fn at(mut self, target: &str) -> Self {
        self.target = target.to_owned();
        self
    }

    fn replace(mut self, what: &str, by: &str) -> Self {
        let text = String::from_utf8(self.body).unwrap();
        assert!(text.contains(what), "{what} is not in {text}");
        self.body = text.replace(what, by).into();
        self
    }

    fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    fn written(&self) -> Vec<u8> {
        let fields: String = self.fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!(
            "{} {} HTTP/1.1\r\nHost: {HOST}\r\n{fields}Content-Length: {}\r\n\r\n",
            self.method,
            self.target,
            self.body.len()
        );
        [head.as_bytes(), &self.body].concat()
    }
}

fn cookie(data: &str) -> String {
    format!("<AuthorizationCookie><PlugInId>SimpleTargeting</PlugInId><CookieData>{data}</CookieData></AuthorizationCookie>")
}

fn get_cookie() -> Call {
    Call::client(
        "GetCookie",
        &format!("<authCookies>{}</authCookies><protocolVersion>2.90</protocolVersion>", cookie(&data(496))),
    )
}

fn data(len: usize) -> String {
    BASE64.encode(vec![7; len])
}

fn config() -> Call {
    Call::client("GetConfig", "<protocolVersion>2.90</protocolVersion>")
}

fn event(text: &str) -> Call {
    Call::report(&format!(
        "<eventBatch><ReportingEvent><BasicData><EventID>147</EventID></BasicData><ExtendedData><MiscData><string>{text}</string>\
         </MiscData></ExtendedData><PrivateData/></ReportingEvent></eventBatch>"
    ))
}

/// What it is, the request, the status and the word for the reason.
fn hostile() -> Vec<(&'static str, Call, u16, &'static str)> {
    let doctype = "<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///c:/windows/win.ini\">]>";
    let laughs =
        "<!DOCTYPE x [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\"><!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;\">]>";
    let formatter = "AAEAAAD/////AQAAAAAAAAAMAgAAAElTeXN0ZW0uV2luZG93cw==";
    let soap_formatter = "&lt;SOAP-ENV:Envelope xmlns:a1=\"http://schemas.microsoft.com/clr/nsassem/System.Data/x\"&gt;";
    let config_body = config().body;
    let prefixed = |text: &str| [text.as_bytes(), &config_body].concat();
    let utf16: Vec<u8> = config_body.iter().flat_map(|byte| [*byte, 0]).collect();
    // 64 KiB of blanks from 13 bytes, again and again.
    let bomb = [&65_535_u32.to_le_bytes()[..], &13_u32.to_le_bytes(), b"\xff\xff\xff\x7f \x07\0\x0f\xff\xfb\xff\0\0"]
        .concat()
        .repeat(4000);
    vec![
        // Closed: administration, servers, roll-up, inventory, descriptions, everything unknown.
        ("administration", Call::to("/ApiRemoting30/WebService.asmx", CLIENT, "x", "x"), 403, "service"),
        ("administration in other letters", Call::to("/aPIremoting%33%30/WebService.asmx", CLIENT, "x", "x"), 403, "service"),
        ("administration by its short name", Call::plain("POST", "/APIREM~1/WebService.asmx"), 403, "origin"),
        ("administration through content", Call::plain("GET", "/Content/../ApiRemoting30/WebService.asmx"), 400, "path"),
        (
            "the catalogue",
            Call::to("/ServerSyncWebService/ServerSyncWebService.asmx", REPORTS, "GetUpdateData", "x"),
            403,
            "service",
        ),
        ("a downstream server", Call::plain("POST", "//DssAuthWebService/DssAuthWebService.asmx"), 403, "service"),
        ("inventory", Call::plain("POST", "/Inventory/x"), 403, "service"),
        ("roll-up", Call::to(REPORTS_PATH, REPORTS, "RollupComputers", "x"), 403, "service"),
        ("a description", Call::plain("GET", "/ClientWebService/client.asmx?wsdl"), 403, "service"),
        ("a page of a service", Call::plain("GET", CLIENT_PATH), 403, "service"),
        ("a call by form", config().at("/ClientWebService/client.asmx/GetConfig"), 403, "service"),
        ("a file beside the service", Call::plain("GET", "/ClientWebService/web.config"), 403, "service"),
        ("an unknown method", Call::plain("PUT", CLIENT_PATH), 403, "service"),
        ("writing content", Call::plain("PUT", "/Content/09/x.cab"), 405, "method"),
        ("content with a GET", Call::plain("GET", "/Content/anonymousCheckFile.txt").body("<x/>"), 403, "call-shape"),
        ("an action with a GET", config().asked_with("GET").at("/SelfUpdate/wuident.cab").body(""), 403, "call-shape"),
        // Heads.
        ("no action", config().with("SOAPAction", ""), 403, "call-action"),
        ("two actions", config().and("SOAPAction", "\"x\""), 403, "call-action"),
        ("an unknown action", config().with("SOAPAction", &format!("\"{CLIENT}/Execute\"")), 403, "call-action"),
        ("another service's action", config().with("SOAPAction", &format!("\"{REPORTS}/ReportEventBatch\"")), 403, "call-action"),
        ("a query", config().at("/ClientWebService/client.asmx?op=GetConfig"), 403, "call-query"),
        ("SOAP 1.2", config().with("Content-Type", "application/soap+xml; charset=utf-8"), 403, "call-type"),
        ("another charset", config().with("Content-Type", "text/xml; charset=utf-7"), 403, "call-type"),
        ("another coding", config().and("Content-Encoding", "gzip"), 403, "call-type"),
        ("two codings", config().coded().and("Content-Encoding", "gzip"), 403, "call-type"),
        ("two content types", config().and("Content-Type", "text/xml; charset=utf-16"), 403, "call-type"),
        ("two charsets", config().with("Content-Type", "text/xml; charset=utf-8; charset=utf-16"), 403, "call-type"),
        ("a service below content", config().at("/Content/%2e%2e/ApiRemoting30/WebService.asmx"), 400, "path"),
        ("an encoded slash", config().at("/ClientWebService%2fclient.asmx"), 400, "path"),
        ("a stream of the file system", config().at("/ClientWebService/client.asmx::$DATA"), 400, "path"),
        ("a doubled escape", config().at("/ClientWebService/client%252easmx"), 400, "path"),
        ("another target", config().and("X-Original-URL", "/ApiRemoting30/WebService.asmx"), 403, "override"),
        ("another target for content", Call::plain("GET", "/Content/x").and("X-Rewrite-Url", "/Inventory/x"), 403, "override"),
        ("another method", config().and("x-http-method-override", "PUT"), 403, "override"),
        ("the same, shorter", config().and("X-HTTP-Method", "DELETE"), 403, "override"),
        ("the same, shortest", config().and("X-Method-Override", "MERGE"), 403, "override"),
        // Documents.
        ("no XML", config().body("soap"), 403, "call-malformed"),
        ("nothing", config().body(""), 403, "call-malformed"),
        ("UTF-16", config().body(utf16), 403, "call-malformed"),
        ("an external entity", config().body(prefixed(doctype)), 403, "call-dtd"),
        ("a billion laughs", config().body(prefixed(laughs)), 403, "call-dtd"),
        ("an entity of nobody", config().replace("2.90", "&xxe;"), 403, "call-dtd"),
        ("a style sheet", config().body(prefixed("<?xml-stylesheet href='http://evil.example/'?>")), 403, "call-dtd"),
        ("declared as EBCDIC", config().body(prefixed("<?xml version='1.0' encoding='IBM037'?>")), 403, "call-malformed"),
        ("another version of XML", config().body(prefixed("<?xml version='1.1'?>")), 403, "call-dtd"),
        ("a control character", config().replace("2.90", "2\u{1}90"), 403, "call-malformed"),
        ("very deep", config().replace("2.90", &("<a>".repeat(100) + &"</a>".repeat(100))), 403, "call-shape"),
        ("two envelopes", config().body(config_body.repeat(2)), 403, "call-malformed"),
        ("too long", config().replace("2.90", &"9".repeat(9000)), 413, "call-length"),
        ("an XPRESS bomb", config().and("Content-Encoding", "xpress").body(bomb[..8000].to_vec()), 413, "call-length"),
        ("bad XPRESS", config().and("Content-Encoding", "xpress").body("not at all coded"), 403, "call-malformed"),
        ("a gadget in XPRESS", event(formatter).coded(), 403, "call-gadget"),
        // Envelopes.
        ("another call than the action", config().replace("GetConfig", "GetCookie"), 403, "call-shape"),
        ("two calls", config().replace("<GetConfig", &format!("<GetConfig xmlns=\"{CLIENT}\"/><GetConfig")), 403, "call-doubled"),
        ("a header", config().replace("<s:Body>", "<s:Header/><s:Body>"), 403, "call-shape"),
        ("a type", config().replace("<protocolVersion>", "<protocolVersion xmlns:i=\"urn:i\" i:type=\"x\">"), 403, "call-shape"),
        ("text before an element", config().replace("2.90", "2<a/>.90"), 403, "call-shape"),
        ("text behind an element", config().replace("2.90", "<a/>2.90"), 403, "call-shape"),
        (
            "nil that is neither yes nor no",
            config().replace("<protocolVersion>", "<protocolVersion xmlns:i=\"urn:i\" i:nil=\"AAEAAAD\">"),
            403,
            "call-shape",
        ),
        ("a reference", config().replace("<protocolVersion>", "<protocolVersion href=\"#1\">"), 403, "call-shape"),
        ("another namespace", config().replace("<protocolVersion>", "<x xmlns=\"urn:x\"/><protocolVersion>"), 403, "call-shape"),
        // Cookies (CVE-2025-59287 came in there).
        ("no cookie", get_cookie().replace(&cookie(&data(496)), ""), 403, "call-cookie"),
        ("two cookies", get_cookie().replace("</authCookies>", &(cookie(&data(496)) + "</authCookies>")), 403, "call-doubled"),
        (
            "two lists of cookies",
            get_cookie().replace("<protocolVersion>", "<authCookies/><protocolVersion>"),
            403,
            "call-doubled",
        ),
        ("an oversized cookie", get_cookie().replace(&data(496), &data(2000)), 403, "call-cookie"),
        ("a tiny cookie", get_cookie().replace(&data(496), &data(4)), 403, "call-cookie"),
        ("a cookie of another plug-in", get_cookie().replace("SimpleTargeting", "Other"), 403, "call-cookie"),
        ("a cookie with two contents", get_cookie().replace("<CookieData>", "<CookieData/><CookieData>"), 403, "call-cookie"),
        ("a formatted cookie", get_cookie().replace(&data(496), formatter), 403, "call-cookie"),
        ("a cookie that is not base64", get_cookie().replace(&data(496), "{\"$type\":\"x\"}"), 403, "call-cookie"),
        (
            "a cookie in several sections",
            get_cookie().replace(&data(496), "<![CDATA[AAEAAAD]]><![CDATA[/////AQAAAAAAAAAMAgAA]]>"),
            403,
            "call-cookie",
        ),
        (
            "a cookie from elsewhere",
            get_cookie().replace(&data(496), "<i:Include xmlns:i=\"http://www.w3.org/2004/08/xop/include\" href=\"cid:x\"/>"),
            403,
            "call-shape",
        ),
        // Strings that a deserialiser could mean to read.
        ("a binary formatter", event(formatter), 403, "call-gadget"),
        ("a SOAP formatter", event(soap_formatter), 403, "call-gadget"),
        ("the same, hidden", event("A&#65;EA<!-- -->AAD/<![CDATA[////]]> AQAAAAAA"), 403, "call-gadget"),
        (
            "the same, in references of a document inside",
            event("&lt;a xmlns:b=\"http://schemas.microsoft.com&amp;#x00000000000002F;clr/nsassem/System\"/&gt;"),
            403,
            "call-gadget",
        ),
        (
            "entities of a document inside",
            event("&lt;!DOCTYPE a [&lt;!ENTITY b \"http://schemas.micro\"&gt;]&gt;"),
            403,
            "call-gadget",
        ),
        ("a data contract", event("&lt;a xmlns=\"http://schemas.datacontract.org/2004/07/System\"/&gt;"), 403, "call-gadget"),
        ("XAML", event("&lt;ObjectDataProvider MethodName=\"Start\"&gt;"), 403, "call-gadget"),
        (
            "in the name of a computer",
            Call::to(
                SIMPLE_AUTH_PATH,
                SIMPLE_AUTH,
                "GetAuthorizationCookie",
                &envelope("GetAuthorizationCookie", SIMPLE_AUTH, &format!("<dnsName>{formatter}</dnsName>")),
            ),
            403,
            "call-gadget",
        ),
    ]
}

impl Call {
    fn coded(self) -> Self {
        let body = xpress::encode(&self.body);
        self.and("Content-Encoding", "xpress").body(body)
    }
}

#[tokio::test]
async fn hostile_calls_are_refused_with_a_reason_and_never_reach_the_server() {
    let wsus = Wsus::start(&[]).await;
    let weir = proxy().wsus(&wsus.origin).start().await;
    let rows = hostile();
    assert!(rows.len() >= 25);
    let mut wrong = Vec::new();
    for (what, call, status, reason) in &rows {
        let mut client = Client::connect(weir.doors()).await;
        client.send(call.written()).await;
        let reply = client.reply("POST").await;
        let detail = reply.field("cache-status").unwrap_or_default().to_owned();
        let is_said = detail.split(';').any(|word| word.trim() == format!("detail={reason}"));
        if reply.status != *status || !is_said || !reply.text().starts_with("weir: ") {
            wrong.push(format!("{what}: {} {detail} {}", reply.status, reply.text()));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    assert_eq!(wsus.origin.requests_in_all(), 0, "the server sees none of them");
    for reason in ["service", "call-action", "call-dtd", "call-cookie", "call-gadget"] {
        let expected = rows.iter().filter(|row| row.3 == reason).count();
        let counted = weir.metric("weir_refusals_total", &[("reason", reason)]).await;
        assert_eq!(counted as usize, expected, "{reason}");
    }
}

#[tokio::test]
async fn what_the_table_starts_from_is_passed_on() {
    let wsus = Wsus::start(&[]).await;
    let weir = proxy().wsus(&wsus.origin).start().await;
    let calls = [config(), config().coded(), get_cookie(), event("B=3")];
    for call in &calls {
        let mut client = Client::connect(weir.doors()).await;
        client.send(call.written()).await;
        assert_eq!(client.reply("POST").await.status, 200, "{}", String::from_utf8_lossy(&call.body));
    }
    assert_eq!(wsus.origin.requests_in_all(), calls.len());
}

#[tokio::test]
async fn the_server_gets_what_was_judged_in_the_plainest_form() {
    let wsus = Wsus::start(&[]).await;
    let weir = proxy().wsus(&wsus.origin).start().await;
    let plain = event("B=3");
    let chunked = format!("{:x}\r\n{}\r\n0\r\nX-Trailer: x\r\n\r\n", plain.body.len(), String::from_utf8_lossy(&plain.body));
    let written = plain.clone().and("Expect", "100-continue").and("Transfer-Encoding", "chunked").body("").written();
    let written = String::from_utf8(written).unwrap().replace("Content-Length: 0\r\n", "") + &chunked;
    for written in [plain.clone().coded().and("Expect", "100-continue").written(), written.into_bytes(), plain.written()] {
        let mut client = Client::connect(weir.doors()).await;
        client.send(written).await;
        assert_eq!(client.reply("POST").await.status, 200);
    }
    let asks = wsus.origin.asks(REPORTS_PATH);
    assert_eq!(asks.len(), 3);
    for ask in asks {
        assert!(ask.body == plain.body, "{}", String::from_utf8_lossy(&ask.body));
        assert_eq!(ask.field("content-length"), Some(&*plain.body.len().to_string()));
        for name in ["content-encoding", "transfer-encoding", "expect", "x-trailer"] {
            assert_eq!(ask.field(name), None, "{name}");
        }
    }
}

#[tokio::test]
async fn a_client_that_calls_too_often_waits_and_others_do_not() {
    let wsus = Wsus::start(&[]).await;
    let weir = proxy().wsus(&wsus.origin).config("[limits]\ncalls_per_client = 1\n").start().await;
    let mut client = Client::connect(weir.doors()).await;
    let mut statuses = Vec::new();
    for _ in 0..40 {
        client.send(config().written()).await;
        statuses.push(client.reply("POST").await.status);
    }
    assert!(statuses[..10].iter().all(|status| *status == 200), "ten seconds' worth at once: {statuses:?}");
    assert!(statuses.contains(&503), "{statuses:?}");
}

#[tokio::test]
async fn what_a_downstream_server_needs_can_be_opened() {
    let wsus = Wsus::start(&[]).await;
    let address = wsus.origin.address();
    let sync = "/ServerSyncWebService/ServerSyncWebService.asmx";
    wsus.origin.answer(sync, |_| crate::support::Answer::text("200 OK", "revisions"));
    let config = format!(
        "[[upstream]]\nname = \"wsus\"\nurl = \"http://{address}\"\ndoor = \"wsus\"\nopen = [\"server-sync\", \"descriptions\"]\n"
    );
    let weir = proxy().config(&config).start().await;
    let doors = weir.doors();
    let ask = |call: Call| async move {
        let mut client = Client::connect(doors).await;
        client.send(call.written()).await;
        client.reply("POST").await.status
    };
    let inside = envelope("GetRevisionIdList", REPORTS, "");
    assert_eq!(ask(Call::to(sync, REPORTS, "GetRevisionIdList", &inside)).await, 200);
    assert_eq!(ask(Call::to(sync, REPORTS, "Execute", &inside)).await, 403, "what is opened is still checked");
    assert_eq!(ask(Call::to("/ApiRemoting30/WebService.asmx", REPORTS, "x", "x")).await, 403, "and the rest is closed");
    assert_eq!(ask(Call::plain("GET", &format!("{sync}?wsdl"))).await, 200);
}

#[tokio::test]
async fn a_call_that_does_not_come_to_its_end_is_given_up_and_never_reaches_the_server() {
    for (limit, reason) in [("client_call = \"1 s\"", "call-slow"), ("client_body = \"1 s\"", "request")] {
        let wsus = Wsus::start(&[]).await;
        let weir = proxy().wsus(&wsus.origin).config(&format!("[timeouts]\n{limit}\n")).start().await;
        let written = config().written();
        let mut client = Client::connect(weir.doors()).await;
        client.send(&written[..written.len() - 1]).await;
        let reply = client.reply("POST").await;
        let detail = reply.field("cache-status").unwrap_or_default().to_owned();
        assert!(reply.status == 408 && detail.ends_with(&format!("detail={reason}")), "{} {detail}", reply.status);
        assert_eq!(wsus.origin.requests_in_all(), 0);
    }
}

#[tokio::test]
async fn calls_that_do_not_end_take_no_more_than_a_clients_share_of_memory() {
    let wsus = Wsus::start(&[]).await;
    let weir = proxy().wsus(&wsus.origin).start().await;
    let long = Call::report("").body(vec![b' '; 2 << 20]).written();
    let unfinished = async || {
        let mut client = Client::connect(weir.doors()).await;
        client.send(&long[..long.len() - 1]).await;
        let reply = client.reply("POST").await;
        (reply.status, reply.field("cache-status").unwrap_or_default().to_owned())
    };
    // Eight of them fit, and wait for their last byte.
    let mut all: FuturesUnordered<_> = (0..12).map(|_| unfinished()).collect();
    for _ in 0..4 {
        let (status, detail) = all.next().await.unwrap();
        assert!(status == 503 && detail.ends_with("detail=call-memory"), "{status} {detail}");
    }
    drop(all);
    eventually("a call passes again", async || {
        let mut client = Client::connect(weir.doors()).await;
        client.send(config().written()).await;
        (client.reply("POST").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(wsus.origin.requests_in_all(), 1, "the server saw none of the others");
}
