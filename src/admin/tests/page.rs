use std::collections::BTreeSet;

use crate::admin::tests::fake::interface;
use crate::admin::{Hour, Listening, Readiness, Status, guide, page};

fn status(name: &str) -> Status {
    serde_json::from_str(&interface(name).get("/api/status").body).unwrap()
}

#[test]
fn nothing_that_came_from_elsewhere_becomes_markup() {
    let html = page::render(&status("markup"));
    assert!(!html.contains("<script>") && !html.contains("<img"), "{html}");
    assert!(html.contains("dl.example/&lt;script&gt;alert(1)&lt;/script&gt;"), "{html}");
    assert!(html.contains("title=\"tracker.example/?q=&quot;&gt;&lt;img src=x onerror=alert(1)&gt;\""), "{html}");
}

#[test]
fn nothing_is_loaded_from_elsewhere_and_nothing_is_inline() {
    let html = page::render(&status("inline"));
    for attribute in [" src=\"", " href=\""] {
        let ours = |value: &str| value.starts_with(['/', '#']) && !value.starts_with("//") || value.starts_with("data:,");
        assert!(html.split(attribute).skip(1).all(ours), "{html}");
    }
    let inline = ["<style", " style=", " onclick=", " onload=", "javascript:"];
    assert!(inline.iter().all(|inline| !html.contains(inline)), "the policy forbids inline code and style");
    assert_eq!((html.matches("<script").count(), html.matches("<script src=\"/ui/status.js\"").count()), (1, 1));
    assert!(!page::STYLE.contains("url(") && !page::STYLE.contains("@import"));
}

/// Every element that is opened is closed, in order.
#[test]
fn the_markup_is_well_formed() {
    let mut status = status("form");
    status.hours = vec![Hour { start: status.now - 7200, content_bytes: 10, wan_bytes: 20 }];
    status.store.degraded = Some("disk full".into());
    let html = page::render(&status);
    let mut open = Vec::new();
    for tag in html.split('<').skip(1) {
        let tag = tag.split('>').next().unwrap();
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        if matches!(name, "!doctype" | "meta" | "link" | "br" | "input") || tag.ends_with('/') {
            continue;
        }
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "after {open:?}");
        } else {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
    let ids: Vec<_> = html.split(" id=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
}

#[test]
fn it_says_what_was_saved_and_what_goes_on() {
    let html = page::render(&status("says"));
    for said in [
        "over plain http (http://&lt;wsus&gt;:8530)",
        "900.0 GiB",
        "of 1000.0 GiB sent to clients",
        "90.0 %",
        "11.0 MiB/s",
        "75.0 %",
        "serving",
        "ejected",
        "18,233",
    ] {
        assert!(html.contains(said), "{said}");
    }
}

#[test]
fn computers_are_listed_with_their_last_error_as_far_as_they_may_be_known() {
    let mut status = status("computers");
    status.computers.truncate(1);
    (status.computers_known, status.now) = (4_001, 32);
    status.computers[0].name = Some("pc<1>".into());
    let html = page::render(&status);
    for said in ["pc&lt;1&gt;", "10.20.0.7", "Windows 11", "10.0.22631", "30 s ago", "1 failed", "0x80240022", "and 4,000 more"] {
        assert!(html.contains(said), "{said} is not in {html}");
    }
    // What the census does not keep.
    (status.computers[0].name, status.computers[0].address) = (None, None);
    let html = page::render(&status);
    assert!(html.contains("title=\"a\">a</th><td>–</td>"), "{html}");
    status.computers.clear();
    assert!(!page::render(&status).contains("Computers"), "there is no server whose computers they could be");
}

#[test]
fn content_that_failed_its_digest_is_told_of() {
    let mut status = status("mismatches");
    assert!(!page::render(&status).contains("digest"));
    (status.store.mismatched, status.store.quarantined) = (9, 8);
    assert!(page::render(&status).contains("9 contents did not match their digest since start; 8 of them"));
}

#[test]
fn the_guide_gives_the_addresses_of_this_weir() {
    let html = page::render(&status("guide"));
    for said in [
        "/v DOCacheHost /t REG_SZ /d 10.20.0.5 /f",
        "option 235, text, <code>10.20.0.5</code>",
        "/v WUServer /t REG_SZ /d https://10.20.0.5:8531 /f",
        "export http_proxy=http://10.20.0.5:8080",
        "Acquire::http::Proxy &quot;http://10.20.0.5:8080&quot;;",
        "netsh winhttp set proxy 10.20.0.5:8080",
    ] {
        assert!(html.contains(said) || html.contains(&said.replace("&quot;", "\"")), "{said} is not in {html}");
    }
    assert!(!html.contains("port 80 only"), "the delivery door is on port 80");
}

#[test]
fn the_guide_says_the_same_in_a_terminal_without_markup() {
    let mut text = Vec::new();
    guide::write(&status("terminal"), &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    for said in [
        "/v DOCacheHost /t REG_SZ /d 10.20.0.5 /f",
        "netsh dhcp server set optionvalue 235 STRING \"10.20.0.5\"",
        "address=/download.windowsupdate.com/10.20.0.5",
        "/v WUServer /t REG_SZ /d https://10.20.0.5:8531 /f",
        "\"http://10.20.0.5/mscomtest/wuidt.gif?cacheHostOrigin=au.download.windowsupdate.com\"",
        "Acquire::http::Proxy \"http://10.20.0.5:8080\";",
    ] {
        assert!(text.lines().any(|line| line.starts_with("    ") && line.contains(said)), "{said} is no line of {text}");
    }
    assert!(!text.contains('<') && !text.contains("&quot;"), "{text}");
}

#[test]
fn the_guide_warns_where_windows_would_not_find_the_cache() {
    let mut status = status("warns");
    let doors = vec!["delivery".to_owned()];
    status.listening = vec![Listening { address: "127.0.0.1:8080".parse().unwrap(), doors, tls: false }];
    let html = page::render(&status);
    assert!(html.contains("port 80 only") && html.contains("open on loopback only"), "{html}");
    status.reachable.clear();
    status.listening[0].address = "[::]:80".parse().unwrap();
    let html = page::render(&status);
    assert!(html.contains("/v DOCacheHost /t REG_SZ /d weir.branch.example /f") && html.contains("In place of"), "{html}");
    status.reachable = vec!["2001:db8::5".into()];
    status.listening[0].doors = vec!["forward".into()];
    assert!(
        page::render(&status).contains("export http_proxy=http://[2001:db8::5]\n")
            || page::render(&status).contains("http://[2001:db8::5]</pre>")
    );
}

#[test]
fn a_weir_that_starts_or_cannot_store_says_so() {
    let mut status = status("says-so");
    status.readiness = Readiness::Starting;
    status.store.degraded = Some("writing to the disk fails".into());
    let html = page::render(&status);
    assert!(
        html.contains("starting")
            && html.contains("Nothing is being stored, content only passes through: writing to the disk fails")
    );
}

#[test]
fn hours_are_placed_by_how_long_ago_they_were() {
    let mut status = status("hours");
    status.now = 100 * 3600 + 1800;
    let hour = |start: u64, content_bytes| Hour { start: start * 3600, content_bytes, wan_bytes: 0 };
    status.hours = vec![hour(70, 1 << 40), hour(98, 50), hour(100, 100)];
    let html = page::render(&status);
    assert!(
        html.contains("<th scope=\"row\">this hour</th><td>100 B</td>")
            && html.contains("<th scope=\"row\">2 h ago</th><td>50 B</td>")
    );
    assert!(!html.contains("1.0 TiB"), "older than a day");
    assert!(html.contains(r#"x="693" y="0.0""#) && html.contains(r#"x="633" y="55.0""#), "{html}");
}
