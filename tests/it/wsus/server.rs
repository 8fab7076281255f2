//! A WSUS as far as an agent sees one: its calls, its answers in XPRESS, its content.
//!
//! Shapes, fields, framing and the echo of `Host` in URLs are as observed of one WSUS on Windows Server 2025. Imitated, because nobody looks
//! into them: cookies, ids, applicability rules; there is no state of computers.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use crate::support::{Answer, Ask, Content, Origin, Resource, Step, xpress};

pub(super) const CLIENT: &str = "http://www.microsoft.com/SoftwareDistribution/Server/ClientWebService";
pub(super) const SIMPLE_AUTH: &str = "http://www.microsoft.com/SoftwareDistribution/Server/SimpleAuthWebService";
pub(super) const REPORTS: &str = "http://www.microsoft.com/SoftwareDistribution";

pub(super) const CLIENT_PATH: &str = "/ClientWebService/client.asmx";
pub(super) const SIMPLE_AUTH_PATH: &str = "/SimpleAuthWebService/SimpleAuth.asmx";
pub(super) const REPORTS_PATH: &str = "/ReportingWebService/ReportingWebService.asmx";

const DATE: &str = "Sun, 04 Oct 2026 15:03:36 GMT";

/// The name that clients know it by; its URLs have it, too.
pub(super) const HOST: &str = "wsus.test:8530";

pub(super) struct Wsus {
    pub(super) origin: Origin,
    pub(super) files: Vec<File>,
}

/// A file of an update of its own.
#[derive(Clone)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) content: Content,
    pub(super) sha1: String,
    sha256: String,
    /// URLs at which it is said to be, too.
    pub(super) also_at: Vec<String>,
}

impl File {
    fn new(name: &str, len: u64) -> Self {
        let content = Content::new(name, len);
        let of = |algorithm| BASE64.encode(digest(algorithm, &content.all()));
        Self { name: name.to_owned(), sha1: of(&SHA1_FOR_LEGACY_USE_ONLY), sha256: of(&SHA256), also_at: Vec::new(), content }
    }

    pub(super) fn path(&self) -> String {
        self.content.wsus_path()
    }
}

impl Wsus {
    /// With files of these lengths.
    pub(super) async fn start(lens: &[u64]) -> Self {
        Self::start_with(lens, &[]).await
    }

    /// The same, and the first file is said to be at further URLs.
    pub(super) async fn start_with(lens: &[u64], also_at: &[&str]) -> Self {
        let mut files: Vec<File> =
            lens.iter().enumerate().map(|(nth, len)| File::new(&format!("update-{nth}.cab"), *len)).collect();
        if let Some(file) = files.first_mut() {
            file.also_at = also_at.iter().map(|url| (*url).to_owned()).collect();
        }
        let origin = Origin::start().await;
        for file in &files {
            let resource = Resource::new(&file.content).without("Cache-Control").with("Date", DATE);
            origin.serve(&file.path(), resource.with("Server", "Microsoft-IIS/10.0").with("X-Powered-By", "ASP.NET"));
        }
        let known = files.clone();
        origin.answer(CLIENT_PATH, move |ask| client_service(ask, &known));
        origin.answer(SIMPLE_AUTH_PATH, simple_auth);
        origin.answer(REPORTS_PATH, reporting);
        Self { origin, files }
    }

    /// Calls and pages that reached it, content not counted.
    pub(super) fn calls(&self) -> usize {
        self.origin.requests_in_all() - self.origin.requests_in_all_of("/Content/")
    }
}

fn client_service(ask: &Ask, files: &[File]) -> Answer {
    let body = String::from_utf8_lossy(&ask.body).into_owned();
    let action = ask.field("soapaction").unwrap_or_default().trim_matches('"').to_owned();
    let operation = action.rsplit('/').next().unwrap_or_default();
    let result = match operation {
        "GetConfig" => config(),
        "GetCookie" => cookie(),
        "RegisterComputer" => String::new(),
        "StartCategoryScan" => {
            "<preferredCategoryIds><guid>dd78b8a1-0b20-45c1-add6-4da72e9364cf</guid></preferredCategoryIds>".into()
        }
        "SyncUpdates" => updates(&body, files),
        "GetExtendedUpdateInfo" => extended(ask.field("host").unwrap_or_default(), files),
        _ => return Answer::text("500 Internal Server Error", "fault"),
    };
    let result = match operation {
        "RegisterComputer" | "StartCategoryScan" => result,
        _ => format!("<{operation}Result>{result}</{operation}Result>"),
    };
    let text = format!(
        "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
         xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\"><{operation}Response xmlns=\"{CLIENT}\">{result}</{operation}Response></s:Body></s:Envelope>"
    );
    coded(ask, &text, "private")
}

fn simple_auth(ask: &Ask) -> Answer {
    let data = BASE64.encode([7; 496]);
    let result = format!("<PlugInId>SimpleTargeting</PlugInId><CookieData>{data}</CookieData>");
    coded(ask, &asmx("GetAuthorizationCookie", SIMPLE_AUTH, &result), "private, max-age=0")
}

fn reporting(ask: &Ask) -> Answer {
    coded(ask, &asmx("ReportEventBatch", REPORTS, "true"), "private, max-age=0")
}

fn asmx(operation: &str, namespace: &str, result: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><soap:Envelope xmlns:soap=\"http://schemas.xmlsoap.org/soap/envelope/\"><soap:Body>\
         <{operation}Response xmlns=\"{namespace}\"><{operation}Result>{result}</{operation}Result></{operation}Response>\
         </soap:Body></soap:Envelope>"
    )
}

/// Small answers come as they are, larger ones in what the agent asked for.
fn coded(ask: &Ask, text: &str, cache_control: &str) -> Answer {
    let is_coded = text.len() > 300 && ask.field("accept-encoding").is_some_and(|coding| coding.contains("xpress"));
    let body = if is_coded { xpress::encode(text.as_bytes()) } else { text.as_bytes().to_vec() };
    let answer = Answer::new("200 OK")
        .with("Cache-Control", cache_control)
        .with("Content-Type", "text/xml; charset=utf-8")
        .with("Vary", "Accept-Encoding")
        .with("Server", "Microsoft-IIS/10.0")
        .with("X-AspNet-Version", "4.0.30319")
        .with("X-Powered-By", "ASP.NET")
        .with("Date", DATE)
        .with("Content-Length", body.len());
    let answer = if is_coded { answer.with("Content-Encoding", "xpress") } else { answer };
    answer.then(Step::Text(body))
}

fn config() -> String {
    "<LastChange>2026-10-04T13:17:07.59Z</LastChange><IsRegistrationRequired>true</IsRegistrationRequired><AuthInfo><AuthPlugInInfo>\
     <PlugInID>SimpleTargeting</PlugInID><ServiceUrl>SimpleAuthWebService/SimpleAuth.asmx</ServiceUrl><Parameter/></AuthPlugInInfo>\
     </AuthInfo><Properties><ConfigurationProperty><Name>ProtocolVersion</Name><Value>3.2</Value></ConfigurationProperty></Properties>"
        .into()
}

fn cookie() -> String {
    format!("<Expiration>2026-10-04T16:03:35.9967236Z</Expiration><EncryptedData>{}</EncryptedData>", BASE64.encode([9; 224]))
}

/// One update a page, so that an agent has to ask several times.
fn updates(body: &str, files: &[File]) -> String {
    let known = |nth: &usize| body.contains(&format!("<int>{}</int>", number(*nth)));
    let Some(nth) = (0..files.len()).find(|nth| !known(nth)) else {
        return format!(
            "<Truncated>false</Truncated><NewCookie>{}</NewCookie><DriverSyncNotNeeded>true</DriverSyncNotNeeded>",
            cookie()
        );
    };
    let core = format!(
        "<UpdateIdentity UpdateID=\"{}\" RevisionNumber=\"200\" /><Properties UpdateType=\"Software\" /><ApplicabilityRules><IsInstalled>{}\
         </IsInstalled></ApplicabilityRules>",
        update_id(nth),
        "<b.RegDword Key=\"HKEY_LOCAL_MACHINE\" Subkey=\"SOFTWARE\\Microsoft\\Windows Defender\" Value=\"x\" Comparison=\"EqualTo\" Data=\"1\" />"
            .repeat(200),
    );
    format!(
        "<NewUpdates><UpdateInfo><ID>{}</ID><Deployment><ID>{nth}</ID><Action>Install</Action><IsAssigned>true</IsAssigned>\
         <LastChangeTime>2026-10-04</LastChangeTime><AutoSelect>0</AutoSelect><AutoDownload>0</AutoDownload>\
         <SupersedenceBehavior>0</SupersedenceBehavior></Deployment><IsLeaf>true</IsLeaf><Xml>{}</Xml></UpdateInfo></NewUpdates>\
         <Truncated>true</Truncated><NewCookie>{}</NewCookie><DriverSyncNotNeeded>false</DriverSyncNotNeeded>",
        number(nth),
        escaped(&core),
        cookie()
    )
}

fn extended(host: &str, files: &[File]) -> String {
    let fragments: String = files.iter().enumerate().map(|(nth, file)| fragments(nth, file)).collect();
    let location = |file: &File, url: &str| {
        format!("<FileLocation><FileDigest>{}</FileDigest><Url>{}</Url></FileLocation>", file.sha1, escaped(url))
    };
    let own = files.iter().map(|file| location(file, &format!("http://{host}{}", file.path())));
    let further = files.iter().flat_map(|file| file.also_at.iter().map(|url| location(file, url)));
    let locations: String = own.chain(further).collect();
    format!("<Updates>{fragments}</Updates><FileLocations>{locations}</FileLocations>")
}

fn fragments(nth: usize, file: &File) -> String {
    let size = file.content.len();
    let extended = format!(
        "<ExtendedProperties DefaultPropertiesLanguage=\"en\" MaxDownloadSize=\"{size}\" MinDownloadSize=\"0\"><KBArticleID>50263{nth:02}\
         </KBArticleID></ExtendedProperties><Files><File Digest=\"{}\" DigestAlgorithm=\"SHA1\" FileName=\"{}\" Size=\"{size}\" \
         Modified=\"2026-10-03T15:47:53Z\"><AdditionalDigest Algorithm=\"SHA256\">{}</AdditionalDigest></File></Files>",
        file.sha1, file.name, file.sha256
    );
    let title = format!("<LocalizedProperties><Language>en</Language><Title>Update {nth}</Title></LocalizedProperties>");
    let update = |xml: &str| format!("<Update><ID>{}</ID><Xml>{}</Xml></Update>", number(nth), escaped(xml));
    update(&extended) + &update(&title)
}

/// By which this server knows an update.
pub(super) fn number(nth: usize) -> usize {
    191_472 + nth
}

pub(super) fn update_id(nth: usize) -> String {
    format!("378c0b3f-b3be-471d-ac6c-{nth:012x}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
