use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{xml::Malformed, *};
use crate::digest::Digest;

#[path = "../../tests/it/support/xpress.rs"]
mod encoder;

/// The messages of recorded exchanges whose file has this name, where they are at hand. They are not ours to carry.
fn recorded(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures/wsus");
    let folders = ["flow", "scan", "reports/closure", "reports/staged"];
    let folders = folders.iter().filter_map(|folder| fs::read_dir(root.join(folder)).ok()).flatten();
    let mut found: Vec<_> = folders.map(|folder| folder.unwrap().path().join(name)).filter(|path| path.exists()).collect();
    found.sort();
    if found.is_empty() {
        eprintln!("skipped: no recorded exchanges beside the package");
    }
    found.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn wire(plain: &[u8], coding: Coding) -> Vec<u8> {
    match coding {
        Coding::Identity => plain.to_vec(),
        Coding::Xpress => encoder::encode(plain),
    }
}

const CODINGS: [Coding; 2] = [Coding::Identity, Coding::Xpress];

fn facts(bytes: &[u8], coding: Coding, piece: usize) -> Result<Vec<Fact>, Unreadable> {
    let (mut reply, mut facts) = (Reply::new(coding), Vec::new());
    for piece in wire(bytes, coding).chunks(piece) {
        reply.push(piece, |fact| facts.push(fact))?;
    }
    reply.finish()?;
    assert_eq!(reply.unread_fragments(), 0);
    Ok(facts)
}

fn said(bytes: &[u8], coding: Coding, piece: usize) -> Result<Vec<Said>, Unreadable> {
    let (mut request, mut said) = (Request::new(coding), Vec::new());
    for piece in wire(bytes, coding).chunks(piece) {
        request.push(piece, |one| said.push(one))?;
    }
    request.finish().map(|()| said)
}

fn events(said: &[Said]) -> Vec<&Event> {
    said.iter().filter_map(|said| if let Said::Event(event) = said { Some(&**event) } else { None }).collect()
}

/// What stands between two texts, each time they occur: a reading as plain as can be, to hold the other against.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Vec<&'a str> {
    text.split(start).skip(1).map(|rest| rest.split_once(end).unwrap().0).collect()
}

#[test]
fn all_files_of_the_recorded_reply_are_found_with_digests_sizes_names_and_urls() {
    let replies = recorded("response.body");
    let Some((_, reply)) = replies.iter().find(|(path, _)| path.ends_with("flow/000015/response.body")) else { return };
    let text = String::from_utf8(reply.clone()).unwrap();
    let facts = facts(reply, Coding::Xpress, 100).unwrap();

    let files: Vec<&File> =
        facts.iter().filter_map(|fact| if let Fact::File { file, .. } = fact { Some(file) } else { None }).collect();
    assert_eq!(files.len(), 9);
    let of = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let each = |what: fn(&File) -> String| files.iter().map(|file| what(file)).collect::<Vec<_>>();
    assert_eq!(each(|file| file.name.to_string()), of(between(&text, "FileName=\"", "\"")));
    assert_eq!(each(|file| file.size.unwrap().to_string()), of(between(&text, "\" Size=\"", "\"")));
    let digests = |texts: Vec<&str>| texts.into_iter().map(Digest::from_base64).collect::<Vec<_>>();
    assert_eq!(files.iter().map(|file| file.sha1).collect::<Vec<_>>(), digests(between(&text, "File Digest=\"", "\"")));
    let sha256 = between(&text, "&lt;AdditionalDigest Algorithm=\"SHA256\"&gt;", "&lt;");
    assert_eq!(files.iter().map(|file| file.sha256).collect::<Vec<_>>(), digests(sha256));

    let locations: Vec<&Location> =
        facts.iter().filter_map(|fact| if let Fact::Location(location) = fact { Some(location) } else { None }).collect();
    assert_eq!(
        locations.iter().map(|location| location.url.to_string()).collect::<Vec<_>>(),
        of(between(&text, "<Url>", "</Url>"))
    );
    for location in locations {
        let (_, name) = location.url.rsplit_once('/').unwrap();
        assert_eq!(Digest::from_hex(name.trim_end_matches(".exe")), Some(location.digest), "named by its digest");
        assert!(files.iter().any(|file| file.sha1 == Some(location.digest)));
    }
}

#[test]
fn updates_of_the_recorded_replies_have_names_titles_and_articles() {
    let replies = recorded("response.body");
    let updates = |folder: &str| -> Vec<(Option<i64>, Update)> {
        let Some((_, reply)) = replies.iter().find(|(path, _)| path.ends_with(format!("flow/{folder}/response.body"))) else {
            return Vec::new();
        };
        let facts = facts(reply, Coding::Identity, 1000).unwrap().into_iter();
        facts.filter_map(|fact| if let Fact::Update { number, update } = fact { Some((number, update)) } else { None }).collect()
    };
    let core = updates("000001");
    if core.is_empty() {
        return;
    }
    let id = "378c0b3f-b3be-471d-ac6c-21e0f96d7de4".parse().unwrap();
    assert_eq!((core.len(), core[0].0), (6, Some(107_176)));
    assert_eq!(core[0].1.identity, Some(Identity { id, revision: 200 }), "not that of what it requires");
    let extended = updates("000015");
    let article = |(_, update): &&(_, Update)| update.article.as_deref() == Some("2267602");
    assert_eq!(extended.iter().filter(article).count(), 6);
    let titles: Vec<_> = extended.iter().filter_map(|(number, update)| Some((*number, update.title.as_deref()?))).collect();
    assert_eq!(titles.len(), 18);
    assert!(titles.contains(&(Some(199_594), "Bases 1.459.0.0 for Defender amd64fre Broad Full")), "{titles:?}");
}

#[test]
fn all_events_of_the_recorded_reports_are_read_with_their_results() {
    let mut count = 0;
    for (path, request) in recorded("request.body") {
        let text = String::from_utf8(request.clone()).unwrap();
        let said = said(&request, Coding::Identity, 500).unwrap();
        let events = events(&said);
        let each = |what: fn(&Event) -> String| events.iter().map(|event| what(event)).collect::<Vec<_>>();
        assert_eq!(each(|event| event.number.to_string()), between(&text, "<EventID>", "<"), "{}", path.display());
        assert_eq!(each(|event| event.result.to_string()), between(&text, "<Win32HResult>", "<"));
        assert_eq!(each(|event| event.time.to_string()), between(&text, "<TimeAtTarget>", "<"));
        assert_eq!(each(|event| event.instance.unwrap().to_string()), between(&text, "<EventInstanceID>", "<"));
        assert_eq!(each(|event| event.computer.unwrap().to_string()), between(&text, "<Sid>", "<"));
        let updates = between(&text, "<UpdateID><UpdateID>", "<");
        let of = |event: &Event| event.update.map(|update| update.id).unwrap_or_default().to_string();
        assert_eq!(each(of), updates);
        assert!(events.iter().all(|event| event.os.build == 26200 && event.outcome() != Outcome::Other), "{events:?}");
        count += events.len();
    }
    assert!(matches!(count, 0 | 27), "{count}");
}

#[test]
fn a_successful_installation_tells_how_much_was_downloaded() {
    for (path, request) in recorded("request.body") {
        if !path.parent().is_some_and(|folder| folder.ends_with("staged/000232")) {
            continue;
        }
        let said = said(&request, Coding::Identity, 500).unwrap();
        let outcomes: Vec<_> = events(&said).iter().map(|event| event.outcome()).collect();
        let expected =
            [Outcome::Detected, Outcome::Status, Outcome::DownloadStarted, Outcome::Downloaded, Outcome::InstallStarted];
        assert_eq!(outcomes, expected);
        assert!(events(&said)[3].downloaded().is_some_and(|bytes| bytes > 0), "{said:?}");
    }
}

#[test]
fn computers_say_who_they_are() {
    let computers: Vec<Computer> = recorded("request.body")
        .iter()
        .flat_map(|(_, request)| said(request, Coding::Identity, 500).unwrap())
        .filter_map(|said| if let Said::Computer(computer) = said { Some(*computer) } else { None })
        .collect();
    let [cookie, registered] = &computers[..] else { return assert!(computers.is_empty()) };
    assert_eq!(cookie.id, "e1da06a3-5601-43c9-bac3-52d5db701494".parse().ok());
    assert_eq!(cookie.dns_name, registered.dns_name);
    assert_eq!(registered.os, Some(Build { major: 10, minor: 0, build: 26200 }));
    assert_eq!(registered.manufacturer.as_deref(), Some("QEMU"));
}

#[test]
fn every_recorded_message_is_read_alike_in_both_codings_and_in_pieces() {
    for (path, reply) in recorded("response.body") {
        let whole = facts(&reply, Coding::Identity, reply.len()).unwrap();
        for (coding, piece) in [(Coding::Identity, 1), (Coding::Xpress, 1), (Coding::Xpress, 1000)] {
            assert_eq!(facts(&reply, coding, piece), Ok(whole.clone()), "{} {coding:?}", path.display());
        }
    }
    for (path, request) in recorded("request.body") {
        let whole = said(&request, Coding::Identity, request.len()).unwrap();
        for (coding, piece) in [(Coding::Identity, 1), (Coding::Xpress, 7)] {
            assert_eq!(said(&request, coding, piece), Ok(whole.clone()), "{} {coding:?}", path.display());
        }
    }
}

#[test]
fn a_recorded_message_cut_anywhere_is_not_whole() {
    for coding in CODINGS {
        for (path, reply) in recorded("response.body") {
            let (mut reader, bytes) = (Reply::new(coding), wire(&reply, coding));
            for (len, byte) in bytes.iter().enumerate() {
                assert!(reader.finish().is_err(), "{} {coding:?}: {len} bytes", path.display());
                reader.push(&[*byte], |_| {}).unwrap();
            }
            assert_eq!(reader.finish(), Ok(()), "{}", path.display());
        }
        for (path, request) in recorded("request.body") {
            let (mut reader, bytes) = (Request::new(coding), wire(&request, coding));
            for (len, byte) in bytes.iter().enumerate() {
                assert!(reader.finish().is_err(), "{} {coding:?}: {len} bytes", path.display());
                reader.push(&[*byte], |_| {}).unwrap();
            }
            assert_eq!(reader.finish(), Ok(()), "{}", path.display());
        }
    }
}

#[test]
fn what_a_recorded_answer_has_unusual_is_no_obstacle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures/wsus");
    let Ok(redacted) = fs::read(root.join("get-file-locations-response.xml")) else { return };
    let [Fact::Location(location)] = &facts(&redacted, Coding::Identity, 50).unwrap()[..] else { panic!("one location") };
    assert!(location.url.ends_with("/Content/A2/86542C97261C46D5B379A43EC895F97EAF409BA2.cab"));
    let fragment = fs::read_to_string(root.join("cbs-rollupfix-extended.xml")).unwrap();
    let [Fact::File { number: Some(7), file }] = &facts(extended(7, &fragment).as_bytes(), Coding::Identity, 50).unwrap()[..]
    else {
        panic!("one file")
    };
    assert_eq!((&*file.name, file.size), ("Windows10.0-KB5026368-arm64.cab", Some(479_510_336)));
    assert!(file.sha1.is_some() && file.sha256.is_some());
}

/// A reply with one fragment for one update.
fn extended(number: i64, fragment: &str) -> String {
    let fragment = fragment.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    soap("GetExtendedUpdateInfo", &format!("<Updates><Update><ID>{number}</ID><Xml>{fragment}</Xml></Update></Updates>"))
}

fn soap(operation: &str, result: &str) -> String {
    const CLIENT: &str = "http://www.microsoft.com/SoftwareDistribution/Server/ClientWebService";
    format!(
        "<e:Envelope xmlns:e=\"http://schemas.xmlsoap.org/soap/envelope/\"><e:Body>\
         <{operation}Response xmlns=\"{CLIENT}\"><{operation}Result>{result}</{operation}Result></{operation}Response>\
         </e:Body></e:Envelope>"
    )
}

#[test]
fn a_fragment_that_is_none_costs_only_itself() {
    for fragment in ["<Files><File", "<a></b>", "<!DOCTYPE a>", "&x;"] {
        let text = extended(1, fragment);
        let more = "<Updates></Updates><FileLocations><FileLocation><FileDigest>2jmj7l5rSw0yVb/vlWAYkK/YBwk=</FileDigest>\
                    <Url>http://w/</Url></FileLocation></FileLocations></GetExtendedUpdateInfoResult>";
        let text = text.replace("</GetExtendedUpdateInfoResult>", more);
        let (mut reply, mut facts) = (Reply::new(Coding::Identity), 0);
        reply.push(text.as_bytes(), |_| facts += 1).unwrap();
        assert_eq!((reply.finish(), reply.unread_fragments(), facts), (Ok(()), 1, 1), "{fragment}");
    }
}

#[test]
fn an_update_says_what_kind_it_is_by_what_it_requires() {
    let security = "0fa1201d-4330-4fa8-8ae9-b877473b6441";
    let fragment = format!(
        "<UpdateIdentity UpdateID=\"378c0b3f-b3be-471d-ac6c-21e0f96d7de4\" RevisionNumber=\"3\"/><Relationships><Prerequisites>\
         <AtLeastOne IsCategory=\"true\"><UpdateIdentity UpdateID=\"{security}\"/></AtLeastOne></Prerequisites></Relationships>"
    );
    let facts = facts(extended(1, &fragment).as_bytes(), Coding::Identity, 9).unwrap();
    let [Fact::Update { update, .. }] = &facts[..] else { panic!("{facts:?}") };
    assert_eq!(update.classification, Some(Classification::Security));
    assert_eq!(update.identity.map(|identity| identity.revision), Some(3));
}

#[test]
fn elements_of_other_namespaces_are_not_mistaken_for_a_services_own() {
    let location = "<FileLocation><FileDigest>2jmj7l5rSw0yVb/vlWAYkK/YBwk=</FileDigest><Url>http://w/</Url></FileLocation>";
    for (result, count) in [
        (format!("<FileLocations>{location}</FileLocations>"), 1),
        (format!("<FileLocations xmlns=\"urn:other\">{location}</FileLocations>"), 0),
        (format!("<x:FileLocations xmlns:x=\"urn:other\">{location}</x:FileLocations>"), 0),
        (format!("<FileLocations><x>{location}</x></FileLocations>"), 0),
        (format!("<FileLocations>{}</FileLocations>", location.replace("2jmj", "")), 0),
    ] {
        let facts = facts(soap("GetFileLocations", &result).as_bytes(), Coding::Identity, 50).unwrap();
        assert_eq!(facts.len(), count, "{result}");
    }
}

#[test]
fn texts_that_are_too_long_are_not_taken_for_shorter_ones() {
    let location = |url: &str| {
        let text = format!(
            "<FileLocations><FileLocation><FileDigest>2jmj7l5rSw0yVb/vlWAYkK/YBwk=</FileDigest><Url>{url}</Url></FileLocation></FileLocations>"
        );
        facts(soap("GetFileLocations", &text).as_bytes(), Coding::Identity, 100).unwrap().len()
    };
    assert_eq!(location(&"x".repeat(4096)), 1);
    assert_eq!(location(&"x".repeat(4097)), 0);
}

#[test]
fn a_document_type_declaration_ends_the_reading() {
    let error = facts(b"<!DOCTYPE a [<!ENTITY b 'c'>]><a/>", Coding::Identity, 5);
    assert_eq!(error, Err(Unreadable::Xml(Malformed::Doctype)));
}

#[test]
fn a_reply_of_sixty_megabytes_is_read_as_it_comes() {
    let rule = "&lt;b.RegDword Key=\"HKEY_LOCAL_MACHINE\" Subkey=\"SOFTWARE\" Value=\"x\" /&gt;".repeat(1000);
    let (head, tail) = {
        let text = extended(5, "<UpdateIdentity UpdateID=\"378c0b3f-b3be-471d-ac6c-21e0f96d7de4\" RevisionNumber=\"3\"/>");
        let at = text.find("</Xml>").unwrap();
        (text[..at].to_owned(), text[at..].to_owned())
    };
    let (mut reply, mut facts, mut len) = (Reply::new(Coding::Xpress), Vec::new(), 0);
    reply.push(&encoder::encode(head.as_bytes()), |fact| facts.push(fact)).unwrap();
    let rules = encoder::encode(rule.as_bytes());
    while len < 60_000_000 {
        reply.push(&rules, |fact| facts.push(fact)).unwrap();
        len += rule.len();
    }
    reply.push(&encoder::encode(tail.as_bytes()), |fact| facts.push(fact)).unwrap();
    assert_eq!(reply.finish(), Ok(()));
    assert!(matches!(&facts[..], [Fact::Update { number: Some(5), .. }]), "{facts:?}");
}

#[test]
fn a_message_has_one_coding_or_none_that_is_read_here() {
    let of = |codings: &[&'static str]| {
        let mut fields = http::HeaderMap::new();
        for coding in codings {
            fields.append("content-encoding", http::HeaderValue::from_static(coding));
        }
        Coding::of(&fields)
    };
    assert_eq!(
        (of(&[]), of(&["Identity"]), of(&["XPRESS"])),
        (Some(Coding::Identity), Some(Coding::Identity), Some(Coding::Xpress))
    );
    for codings in [&["gzip"][..], &["xpress, gzip"], &["xpress", "gzip"], &["identity", "identity"]] {
        assert_eq!(of(codings), None, "{codings:?}");
    }
}
