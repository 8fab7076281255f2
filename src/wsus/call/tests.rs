use std::{fs, path::Path};

use http::{HeaderName, HeaderValue};

use super::*;
use crate::wsus::Closed;

const CLIENT: &str = "http://www.microsoft.com/SoftwareDistribution/Server/ClientWebService";
const REPORTS: &str = "http://www.microsoft.com/SoftwareDistribution";

fn fields(fields: &[(&str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&str, &str)| -> (HeaderName, HeaderValue) { (name.parse().unwrap(), value.parse().unwrap()) };
    fields.iter().map(field).fold(HeaderMap::new(), |mut all, (name, value)| {
        all.append(name, value);
        all
    })
}

/// What becomes of a call of `operation` with this content.
fn client(operation: &str, content: &str) -> Result<(), Refused> {
    let action = format!("\"{CLIENT}/{operation}\"");
    let fields = fields(&[("soapaction", &action), ("content-type", "text/xml; charset=utf-8")]);
    Call::announced("/clientwebservice/client.asmx", None, &fields, Opened::default())?.check(content.as_bytes()).map(drop)
}

fn envelope(inside: &str) -> String {
    format!("<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body>{inside}</s:Body></s:Envelope>")
}

fn soap(operation: &str, inside: &str) -> String {
    envelope(&format!("<{operation} xmlns=\"{CLIENT}\">{inside}</{operation}>"))
}

/// What an agent sends.
fn get_cookie() -> String {
    let data = "A".repeat(662) + "==";
    soap(
        "GetCookie",
        &format!(
            "<authCookies><AuthorizationCookie><PlugInId>SimpleTargeting</PlugInId><CookieData>{data}</CookieData>\
             </AuthorizationCookie></authCookies><oldCookie><Expiration>2026-10-04T15:03:36Z</Expiration></oldCookie>\
             <protocolVersion>2.90</protocolVersion>"
        ),
    )
}

#[test]
fn every_recorded_call_is_acceptable_and_none_of_its_beginnings_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures/wsus");
    let folders = ["flow", "scan", "reports/closure", "reports/staged"];
    let folders = folders.iter().filter_map(|folder| fs::read_dir(root.join(folder)).ok()).flatten();
    let mut count = 0;
    for folder in folders.map(|folder| folder.unwrap().path()) {
        let head = fs::read_to_string(folder.join("request.headers")).unwrap();
        let content = fs::read(folder.join("request.body")).unwrap();
        let mut lines = head.lines();
        let path = lines.next().unwrap().split(' ').nth(1).unwrap().to_lowercase();
        let all: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
        let call = Call::announced(&path, None, &fields(&all), Opened::default()).unwrap();
        assert_eq!(call.check(&content).as_deref(), Ok(&content[..]), "{}", folder.display());
        let step = content.len() / 500 + 1;
        for len in (0..content.len()).step_by(step) {
            assert!(call.check(&content[..len]).is_err(), "{}: {len} bytes of it", folder.display());
        }
        count += 1;
    }
    if count == 0 {
        eprintln!("skipped: no recorded exchanges beside the package");
    }
}

#[test]
fn the_head_of_a_call_names_one_action_of_its_service() {
    let action = format!("\"{CLIENT}/GetConfig\"");
    let xml = ("content-type", "text/xml; charset=utf-8");
    let announced = |path: &str, query: Option<&str>, all: &[(&str, &str)]| {
        Call::announced(path, query, &fields(all), Opened::default()).map(|call| call.operation.name)
    };
    let path = "/clientwebservice/client.asmx";
    assert_eq!(announced(path, None, &[("soapaction", &action), xml]), Ok("GetConfig"));
    assert_eq!(announced(path, None, &[("soapaction", action.trim_matches('"')), xml]), Ok("GetConfig"));
    for (path, query, all, why) in [
        ("/other.asmx", None, &[("soapaction", &*action), xml][..], Refused::Path),
        (path, Some("op=GetConfig"), &[("soapaction", &action), xml], Refused::Query),
        (path, None, &[xml], Refused::ActionCount),
        (path, None, &[("soapaction", &action), ("soapaction", &action), xml], Refused::ActionCount),
        (path, None, &[("soapaction", "\"\""), xml], Refused::Action),
        (path, None, &[("soapaction", &format!("{CLIENT}/Execute")), xml], Refused::Action),
        (path, None, &[("soapaction", &format!("{REPORTS}/ReportEventBatch")), xml], Refused::Action),
        (path, None, &[("soapaction", &action)], Refused::ContentType),
        (path, None, &[("soapaction", &action), ("content-type", "application/soap+xml")], Refused::ContentType),
        (path, None, &[("soapaction", &action), ("content-type", "text/xml; charset=utf-16")], Refused::ContentType),
        (path, None, &[("soapaction", &action), ("content-type", "text/xml; a=b; charset=utf-7")], Refused::ContentType),
        (path, None, &[("soapaction", &action), xml, xml], Refused::ContentType),
        (path, None, &[("soapaction", &action), xml, ("content-encoding", "gzip")], Refused::Coding),
    ] {
        assert_eq!(announced(path, query, all), Err(why), "{path} {query:?} {all:?}");
    }
}

#[test]
fn what_only_a_downstream_server_calls_is_open_where_it_was_opened() {
    let action = format!("\"{REPORTS}/RollupComputers\"");
    let fields = fields(&[("soapaction", &action), ("content-type", "text/xml")]);
    let announced = |opened: &[Closed]| {
        Call::announced("/reportingwebservice/webservice.asmx", None, &fields, opened.iter().copied().collect())
    };
    assert_eq!(announced(&[]).unwrap_err(), Refused::Closed("RollupComputers", "roll-up"));
    assert_eq!(announced(&[Closed::RollUp]).unwrap().operation.name, "RollupComputers");
}

#[test]
fn a_call_is_one_envelope_with_one_body_with_what_its_action_names() {
    let call = |inside: &str| format!("<GetConfig xmlns=\"{CLIENT}\">{inside}</GetConfig>");
    assert_eq!(client("GetConfig", &envelope(&call("<protocolVersion>2.90</protocolVersion>"))), Ok(()));
    for content in [
        call(""),
        envelope(""),
        envelope("<GetConfig/>"),
        envelope(&soap("GetConfig", "")),
        soap("GetCookie", ""),
        soap("GetConfig", "").replace("soap/envelope", "soap/other"),
        soap("GetConfig", "").replace("s:Body", "s:Header"),
    ] {
        assert_eq!(client("GetConfig", &content), Err(Refused::Envelope), "{content}");
    }
    let two = envelope(&(call("") + &call("")));
    assert_eq!(client("GetConfig", &two), Err(Refused::Doubled("GetConfig".into())));
}

#[test]
fn a_cookie_is_asked_for_with_one_that_a_server_gave() {
    let good = get_cookie();
    assert_eq!(client("GetCookie", &good), Ok(()));
    let cookie = &good[good.find("<AuthorizationCookie>").unwrap()..good.find("</authCookies>").unwrap()];
    let data = "A".repeat(662) + "==";
    let formatted = "AAEAAAD/////".to_owned() + &"A".repeat(100);
    let doubled = |name: &str| Err(Refused::Doubled(name.into()));
    for (content, result) in [
        (good.replace("SimpleTargeting", "Other"), Err(Refused::PlugIn)),
        (good.replace(&data, &"A".repeat(1368)), Err(Refused::Cookie("CookieData"))),
        (good.replace(&data, &"A".repeat(16)), Err(Refused::Cookie("CookieData"))),
        (good.replace(&data, "not base64!"), Err(Refused::Cookie("CookieData"))),
        (good.replace(&data, &formatted), Err(Refused::Cookie("CookieData"))),
        (good.replace(cookie, &cookie.repeat(2)), doubled("AuthorizationCookie")),
        (good.replace("<PlugInId>", "<PlugInId>SimpleTargeting</PlugInId><PlugInId>"), doubled("PlugInId")),
        (good.replace(cookie, ""), Err(Refused::PlugIn)),
        (good.replace("<PlugInId>SimpleTargeting</PlugInId>", ""), Err(Refused::PlugIn)),
        (good.replace("<protocolVersion>", "<oldCookie/><protocolVersion>"), doubled("oldCookie")),
    ] {
        assert_eq!(client("GetCookie", &content), result, "{content}");
    }
}

#[test]
fn what_a_deserialiser_could_mean_is_found_however_it_is_written() {
    for text in [
        "AAEAAAD/////AQAAAAAAAAAMAgAAAElTeXN0ZW0",
        "AAEA AAD/\r\n////AQAAAAAAAAAMAgAA",
        "&#65;AEAAAD<!-- -->/////AQAAAAAAA<![CDATA[AAM]]>AgAA",
        "&lt;SOAP-ENV:Envelope xmlns:a1=&quot;http://schemas.microsoft.com/clr/nsassem/x&quot;&gt;",
        "&lt;ObjectDataProvider MethodName=&quot;Start&quot;/&gt;",
        // A document in the text, with references of its own.
        "&lt;a xmlns:b=&quot;http://schemas.microsoft.com&amp;#47;clr/nsassem/x&quot;/&gt;",
        "&lt;a xmlns:b=&quot;http://schemas.microsoft.com&amp;#x000000000000000000000000002F;clr/nsassem/x&quot;/&gt;",
        "&lt;a b=&quot;System.Diagnostics.Pr&amp;amp;#111;cess&quot;/&gt;",
        "AAEAAAD/&amp;#10;////AQAAAAAAAAAMAgAA",
        "&amp;amp;amp;amp;amp;#65;AEAAAD",
        "&lt;!DOCTYPE a [&lt;!ENTITY b &quot;http://schemas.micro&quot;&gt;]&gt;",
        "&lt;a xmlns=&quot;http://schemas.datacontract.org/2004/07/System&quot;/&gt;",
    ] {
        let content = soap("GetConfig", &format!("<protocolVersion>{text}</protocolVersion>"));
        assert_eq!(client("GetConfig", &content), Err(Refused::Gadget), "{text}");
    }
}

#[test]
fn what_people_write_is_no_gadget() {
    for text in [
        "R&amp;D, 5 &lt; 6",
        "a&amp;b;c",
        "&amp;&amp;&amp;&amp;&amp;&amp;&amp;",
        "U=378c0b3f;V=&amp;quot;x&amp;quot;",
        "AT&amp;amp;T",
    ] {
        let content = soap("GetConfig", &format!("<protocolVersion>{text}</protocolVersion>"));
        assert_eq!(client("GetConfig", &content), Ok(()), "{text}");
    }
}

#[test]
fn a_coded_call_is_judged_by_what_it_says() {
    let action = format!("\"{CLIENT}/GetConfig\"");
    let fields = fields(&[("soapaction", &action), ("content-type", "text/xml"), ("content-encoding", "xpress")]);
    let call = Call::announced("/clientwebservice/client.asmx", None, &fields, Opened::default()).unwrap();
    let raw = |plain: &[u8]| [&(plain.len() as u32).to_le_bytes()[..], &(plain.len() as u32).to_le_bytes(), plain].concat();
    let plain = soap("GetConfig", "");
    let good = raw(plain.as_bytes());
    assert_eq!(call.check(&good).as_deref(), Ok(plain.as_bytes()), "what is passed on is what was judged");
    assert_eq!(call.check(&good[..good.len() - 1]), Err(Refused::Xpress));
    assert_eq!(call.check(&raw(b"<!DOCTYPE a><a/>")), Err(Refused::Xml(xml::Malformed::Doctype)));
    // 64 KiB of one letter from 13 bytes.
    let bomb =
        [&65_535_u32.to_le_bytes()[..], &13_u32.to_le_bytes(), &0x7fff_ffff_u32.to_le_bytes(), b" \x07\x00\x0f\xff\xfb\xff\0\0"]
            .concat();
    assert_eq!(call.check(&bomb), Err(call.too_large()));
}
