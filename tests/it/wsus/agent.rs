//! A Windows computer that looks for updates, fetches them and reports: update agent and Delivery Optimization in one.
//!
//! The order of calls, their fields and the ranges (of 1 MiB, shuffled, over several connections) are as observed of one Windows 11. Imitated:
//! what calls say of the computer is shorter, nothing is installed, and what is decided by applicability rules is decided by a list.

use std::{collections::BTreeMap, net::SocketAddr};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use weir::wsus::xpress::{Decoder, Malformed};

use super::server::{CLIENT, CLIENT_PATH, HOST, REPORTS, REPORTS_PATH, SIMPLE_AUTH, SIMPLE_AUTH_PATH};
use crate::support::{Client, End, MIB, Reply};

/// What one whole dialogue brought.
#[derive(Debug, Default)]
pub(super) struct Dialogue {
    /// Of each call its operation and what was answered.
    pub(super) calls: Vec<(String, Reply)>,
    /// Of each range of each file what was answered.
    pub(super) ranges: BTreeMap<(String, u64), Reply>,
}

struct Agent {
    address: SocketAddr,
    connection: Client,
    name: String,
    /// Whether it asks for XPRESS, as all real ones do.
    xpress: bool,
    /// Where its files are said to be: a name with a port.
    place: &'static str,
    dialogue: Dialogue,
}

/// A file as metadata describes it.
struct Wanted {
    path: String,
    sha1: String,
    size: u64,
}

/// Runs the whole dialogue of one computer against whoever listens at `address`.
pub(super) async fn update(address: SocketAddr, seed: u64, xpress: bool) -> Dialogue {
    update_from(address, HOST, seed, xpress).await
}

/// The same where all files are said to be at `place`.
pub(super) async fn update_from(address: SocketAddr, place: &'static str, seed: u64, xpress: bool) -> Dialogue {
    let mut agent = Agent::new(address, place, format!("pc-{seed}"), xpress).await;
    agent.sign_in().await;
    let updates = agent.scan().await;
    let files = agent.metadata(&updates).await;
    for (nth, file) in files.iter().enumerate() {
        agent.fetch(file, seed + nth as u64).await;
        agent.report(nth).await;
    }
    agent.dialogue
}

/// The same up to the metadata, and nothing is fetched.
pub(super) async fn look(address: SocketAddr) {
    let mut agent = Agent::new(address, HOST, "pc".into(), true).await;
    agent.sign_in().await;
    let updates = agent.scan().await;
    agent.metadata(&updates).await;
}

impl Agent {
    async fn new(address: SocketAddr, place: &'static str, name: String, xpress: bool) -> Self {
        let connection = Client::connect(address).await;
        Self { address, connection, name, xpress, place, dialogue: Dialogue::default() }
    }

    async fn sign_in(&mut self) {
        self.client("GetConfig", "<protocolVersion>2.90</protocolVersion>").await;
        let id = format!("<clientId>e1da06a3-5601-43c9-bac3-52d5db701494</clientId><dnsName>{}</dnsName>", self.name);
        let told = self.call(SIMPLE_AUTH_PATH, SIMPLE_AUTH, "GetAuthorizationCookie", &id).await;
        let data = between(&told, "<CookieData>", "<").remove(0);
        let cookie = format!(
            "<authCookies><AuthorizationCookie><PlugInId>SimpleTargeting</PlugInId><CookieData>{data}</CookieData></AuthorizationCookie>\
             </authCookies><oldCookie><Expiration>2026-10-04T15:03:36Z</Expiration></oldCookie><lastChange>2026-10-04T13:17:07.59Z\
             </lastChange><currentTime>2026-10-04T15:03:36Z</currentTime><protocolVersion>2.90</protocolVersion>"
        );
        self.client("GetCookie", &cookie).await;
        let computer = format!(
            "{}<computerInfo><DnsName>{}</DnsName><OSMajorVersion>10</OSMajorVersion><OSMinorVersion>0</OSMinorVersion>\
             <OSBuildNumber>26200</OSBuildNumber></computerInfo>",
            self.cookie(),
            self.name
        );
        self.client("RegisterComputer", &computer).await;
    }

    fn cookie(&self) -> String {
        let data = BASE64.encode([9; 224]);
        format!("<cookie><Expiration>2026-10-04T16:03:35Z</Expiration><EncryptedData>{data}</EncryptedData></cookie>")
    }

    /// Asks until the server has nothing new.
    async fn scan(&mut self) -> Vec<String> {
        let category = "<requestedCategories><CategoryRelationship><IndexOfAndGroup>0</IndexOfAndGroup>\
                        <CategoryId>dd78b8a1-0b20-45c1-add6-4da72e9364cf</CategoryId></CategoryRelationship></requestedCategories>";
        self.client("StartCategoryScan", category).await;
        let mut known: Vec<String> = Vec::new();
        loop {
            let ids: String = known.iter().map(|id| format!("<int>{id}</int>")).collect();
            let parameters = format!(
                "{}<parameters><ExpressQuery>false</ExpressQuery><InstalledNonLeafUpdateIDs/><OtherCachedUpdateIDs>{ids}\
                 </OtherCachedUpdateIDs></parameters>",
                self.cookie()
            );
            let told = self.client("SyncUpdates", &parameters).await;
            known.extend(between(&told, "<UpdateInfo><ID>", "<"));
            if told.contains("<Truncated>false</Truncated>") {
                return known;
            }
        }
    }

    async fn metadata(&mut self, updates: &[String]) -> Vec<Wanted> {
        let ids: String = updates.iter().map(|id| format!("<int>{id}</int>")).collect();
        let what = format!(
            "{}<revisionIDs>{ids}</revisionIDs><infoTypes><XmlUpdateFragmentType>Extended</XmlUpdateFragmentType>\
             <XmlUpdateFragmentType>LocalizedProperties</XmlUpdateFragmentType></infoTypes><locales><string>en-US</string></locales>",
            self.cookie()
        );
        let told = self.client("GetExtendedUpdateInfo", &what).await;
        let sizes = between(&told, "\" Size=\"", "\"");
        let digests = between(&told, "File Digest=\"", "\"");
        let located = between(&told, "<FileDigest>", "<").into_iter().zip(between(&told, "<Url>", "<"));
        let place = self.place;
        let wanted = |(sha1, url): (String, String)| {
            let path =
                url.strip_prefix(&format!("http://{place}")).unwrap_or_else(|| panic!("{url} is not at {place}")).to_owned();
            let nth = digests.iter().position(|digest| *digest == sha1).unwrap();
            Wanted { path, sha1, size: sizes[nth].parse().unwrap() }
        };
        located.filter(|(_, url)| url.contains("/Content/")).map(wanted).collect()
    }

    /// Every range once, over four connections at a time, and the whole against its digest.
    async fn fetch(&mut self, file: &Wanted, seed: u64) {
        let mut starts: Vec<u64> = (0..file.size).step_by(MIB as usize).collect();
        starts.shuffle(&mut StdRng::seed_from_u64(seed));
        let lanes = (0..4).map(|lane| {
            let starts: Vec<u64> = starts.iter().copied().skip(lane).step_by(4).collect();
            fetch_ranges(self.address, self.place, file.path.clone(), file.size, starts)
        });
        let replies: BTreeMap<u64, Reply> = futures_util::future::join_all(lanes).await.into_iter().flatten().collect();
        let whole: Vec<u8> = replies.values().flat_map(|reply| reply.body.iter().copied()).collect();
        assert_eq!(BASE64.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &whole)), file.sha1, "{}", file.path);
        self.dialogue.ranges.extend(replies.into_iter().map(|(start, reply)| ((file.path.clone(), start), reply)));
    }

    async fn report(&mut self, nth: usize) {
        let update = super::server::update_id(nth);
        let event = |number: u32| {
            format!(
                "<ReportingEvent><BasicData><TargetID><Sid>e1da06a3-5601-43c9-bac3-52d5db701494</Sid></TargetID><SequenceNumber>0\
                 </SequenceNumber><TimeAtTarget>2026-10-04T15:20:47.397Z</TimeAtTarget><EventInstanceID>fab199c1-6123-44f2-b01c-{number:012}\
                 </EventInstanceID><NamespaceID>1</NamespaceID><EventID>{number}</EventID><SourceID>101</SourceID><UpdateID><UpdateID>{update}\
                 </UpdateID><RevisionNumber>200</RevisionNumber></UpdateID><Win32HResult>0</Win32HResult></BasicData><ExtendedData>\
                 <ReplacementStrings><string>Update {nth}</string></ReplacementStrings><MiscData><string>B=3</string><string>C=3</string>\
                 </MiscData></ExtendedData><PrivateData/></ReportingEvent>"
            )
        };
        let batch = format!(
            "{}<clientTime>2026-10-04T15:20:47.397Z</clientTime><eventBatch>{}{}</eventBatch>",
            self.cookie(),
            event(162),
            event(183)
        );
        self.call(REPORTS_PATH, REPORTS, "ReportEventBatch", &batch).await;
    }

    async fn client(&mut self, operation: &str, inside: &str) -> String {
        self.call(CLIENT_PATH, CLIENT, operation, inside).await
    }

    /// One call; what was answered, decoded.
    async fn call(&mut self, path: &str, namespace: &str, operation: &str, inside: &str) -> String {
        let body = envelope(operation, namespace, inside);
        self.connection.send(request(path, namespace, operation, &body, self.xpress)).await;
        let reply = self.connection.reply("POST").await;
        assert_eq!((reply.status, reply.end), (200, End::Whole), "{operation}: {}", reply.text());
        let told = plain(&reply);
        self.dialogue.calls.push((operation.to_owned(), reply));
        told
    }
}

async fn fetch_ranges(address: SocketAddr, host: &str, path: String, size: u64, starts: Vec<u64>) -> Vec<(u64, Reply)> {
    let (mut connection, mut replies) = (Client::connect(address).await, Vec::new());
    for start in starts {
        let end = size.min(start + MIB);
        let range = format!("bytes={start}-{}", end - 1);
        let fields = [
            ("Connection", "Keep-Alive"),
            ("Accept", "*/*"),
            ("Range", &range),
            ("User-Agent", "Microsoft-Delivery-Optimization/10.1"),
            ("MS-CV", "me4WAo5lqUCG/53V.1.1.1"),
            ("Content-Length", "0"),
            ("Host", host),
        ];
        let reply = connection.get(&path, &fields).await;
        assert_eq!((reply.status, reply.body.len() as u64), (206, end - start), "{path} {range}: {:?}", reply.head);
        replies.push((start, reply));
    }
    replies
}

pub(super) fn envelope(operation: &str, namespace: &str, inside: &str) -> String {
    format!(
        "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body><{operation} xmlns=\"{namespace}\">{inside}\
         </{operation}></s:Body></s:Envelope>"
    )
}

/// A request as the agent writes it, in its order and spelling.
fn request(path: &str, namespace: &str, operation: &str, body: &str, xpress: bool) -> String {
    let accept = if xpress { "Accept-Encoding: xpress\r\n" } else { "" };
    format!(
        "POST {path} HTTP/1.1\r\nCache-Control: no-cache\r\nConnection: Keep-Alive\r\nPragma: no-cache\r\n\
         Content-Type: text/xml; charset=utf-8\r\n{accept}\
         User-Agent: Windows-Update-Agent/1507.2601.30012.0 Client-Protocol/2.90\r\nSOAPAction: \"{namespace}/{operation}\"\r\n\
         MS-CV: me4WAo5lqUCG/53V.1.0.0.2.1\r\nContent-Length: {}\r\nHost: {HOST}\r\n\r\n{body}",
        body.len()
    )
}

/// What a reply says, decoded.
pub(super) fn plain(reply: &Reply) -> String {
    if reply.field("content-encoding") == Some("xpress") { decoded(&reply.body) } else { reply.text() }
}

fn decoded(body: &[u8]) -> String {
    let (mut decoder, mut plain) = (Decoder::new(1 << 30), Vec::new());
    let decoded = decoder.decode(body, |block| {
        plain.extend_from_slice(block);
        Ok::<_, Malformed>(())
    });
    decoded.and_then(|()| decoder.finish()).unwrap();
    String::from_utf8(plain).unwrap()
}

fn between(text: &str, start: &str, end: &str) -> Vec<String> {
    text.split(start).skip(1).map(|rest| rest.split_once(end).unwrap().0.to_owned()).collect()
}
