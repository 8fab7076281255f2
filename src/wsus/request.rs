//! What computers tell their server: who they are, and how downloads and installations went.
//!
//! Observed, not authoritative: anybody can send such a message.

use crate::wsus::{
    Coding, Guid, Identity, Unreadable,
    message::{Message, Path, kept, service_name},
    xml,
};

/// One thing that a request says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Computer(Box<Computer>),
    Event(Box<Event>),
}

/// A computer, as it presents itself in `GetAuthorizationCookie` or `RegisterComputer`. What it does not say is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Computer {
    /// By which its reports name it, too.
    pub id: Option<Guid>,
    pub dns_name: Option<Box<str>>,
    /// The group that its policy puts it into.
    pub group: Option<Box<str>>,
    pub manufacturer: Option<Box<str>>,
    pub model: Option<Box<str>>,
    pub os: Option<Build>,
    /// Windows 11 calls itself Windows 10 here: [`Build`] knows better.
    pub os_description: Option<Box<str>>,
    pub locale: Option<Box<str>>,
    pub architecture: Option<Box<str>>,
}

/// The version of an operating system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Build {
    pub major: u32,
    pub minor: u32,
    pub build: u32,
}

/// One `ReportingEvent`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub computer: Option<Guid>,
    /// Unique for each event, so that one that is reported twice counts once.
    pub instance: Option<Guid>,
    /// By the computer's clock, as it wrote it.
    pub time: Box<str>,
    pub namespace: u32,
    pub number: u32,
    /// Which part of the agent speaks.
    pub source: u32,
    pub update: Option<Identity>,
    /// `HRESULT`: negative for a failure.
    pub result: i32,
    pub application: Option<Box<str>>,
    pub os: Build,
    pub model: Option<Box<str>>,
    /// What goes into the text of the event.
    pub strings: Vec<Box<str>>,
    /// `name=value` pairs.
    pub details: Vec<Box<str>>,
}

/// What an event means for the update it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    Detected,
    DetectionFailed,
    /// Lists of what is installed and what is not.
    Status,
    DownloadStarted,
    Downloaded,
    DownloadFailed,
    DownloadCancelled,
    InstallStarted,
    Installed,
    /// And the computer has to restart.
    RestartNeeded,
    InstallFailed,
    InstallCancelled,
    InstallPending,
    Uninstalled,
    Other,
}

impl Outcome {
    /// The one word that interface, metric and page share.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Detected => "detected",
            Self::DetectionFailed => "detection-failed",
            Self::Status => "status",
            Self::DownloadStarted => "download-started",
            Self::Downloaded => "downloaded",
            Self::DownloadFailed => "download-failed",
            Self::DownloadCancelled => "download-cancelled",
            Self::InstallStarted => "install-started",
            Self::Installed => "installed",
            Self::RestartNeeded => "restart-needed",
            Self::InstallFailed => "install-failed",
            Self::InstallCancelled => "install-cancelled",
            Self::InstallPending => "install-pending",
            Self::Uninstalled => "uninstalled",
            Self::Other => "other",
        }
    }
}

impl Event {
    /// Of the events of namespace 1, as the server's own table describes them.
    pub fn outcome(&self) -> Outcome {
        if self.namespace != 1 {
            return Outcome::Other;
        }
        match self.number {
            147 => Outcome::Detected,
            148 => Outcome::DetectionFailed,
            153 | 156 => Outcome::Status,
            161 => Outcome::DownloadFailed,
            162 | 164 => Outcome::Downloaded,
            163 => Outcome::DownloadCancelled,
            167 | 168 => Outcome::DownloadStarted,
            181 => Outcome::InstallStarted,
            183 | 190 | 197 | 203 => Outcome::Installed,
            184 | 191 | 193 | 194 | 199 => Outcome::RestartNeeded,
            182 | 187 | 192 | 195 | 198 | 200 | 204 => Outcome::InstallFailed,
            186 => Outcome::InstallCancelled,
            201 => Outcome::InstallPending,
            221..=226 => Outcome::Uninstalled,
            _ => Outcome::Other,
        }
    }

    /// The bytes that a download brought, where the computer says so.
    pub fn downloaded(&self) -> Option<u64> {
        let says = |detail: &str| detail.strip_prefix("B=")?.parse().ok();
        self.details.iter().filter(|_| self.outcome() == Outcome::Downloaded).find_map(|detail| says(detail))
    }
}

/// Reads one request.
#[derive(Debug)]
pub struct Request {
    message: Message,
    path: Path,
    computer: Computer,
    event: Event,
}

impl Request {
    pub fn new(coding: Coding) -> Self {
        Self { message: Message::new(coding), path: Path::default(), computer: Computer::default(), event: Event::default() }
    }

    /// Takes the next bytes as they are on the wire. After an error nothing more can be read; what was learnt holds.
    pub fn push(&mut self, bytes: &[u8], mut learn: impl FnMut(Said)) -> Result<(), Unreadable> {
        let Self { message, path, computer, event } = self;
        message.push(bytes, |xml| {
            match xml {
                xml::Event::Open(open) => path.open(NAMES, service_name(&open)),
                xml::Event::Text(text) => path.text(text),
                xml::Event::Close => {
                    closed(path, computer, event, &mut learn);
                    path.close();
                }
            }
            Ok(())
        })
    }

    /// Nothing more comes.
    pub fn finish(&self) -> Result<(), Unreadable> {
        self.message.finish()
    }
}

fn closed(path: &Path, computer: &mut Computer, event: &mut Event, learn: &mut impl FnMut(Said)) {
    let text = path.leaf().unwrap_or_default();
    match path.names() {
        ["Envelope", "Body", "GetAuthorizationCookie" | "RegisterComputer"] => {
            let computer = std::mem::take(computer);
            if computer != Computer::default() {
                learn(Said::Computer(Box::new(computer)));
            }
        }
        ["Envelope", "Body", "ReportEventBatch", "eventBatch", "ReportingEvent"] => {
            learn(Said::Event(Box::new(std::mem::take(event))));
        }
        ["Envelope", "Body", "GetAuthorizationCookie", name] => of_cookie(computer, name, text),
        ["Envelope", "Body", "RegisterComputer", "computerInfo", name] => of_registration(computer, name, text),
        ["Envelope", "Body", "ReportEventBatch", "eventBatch", "ReportingEvent", part, rest @ ..] => match *part {
            "BasicData" => basic(event, rest, text),
            "ExtendedData" => extended(event, rest, text),
            _ => {}
        },
        _ => {}
    }
}

fn of_cookie(computer: &mut Computer, name: &str, text: &str) {
    match name {
        "clientId" => computer.id = text.trim().parse().ok(),
        "dnsName" => computer.dns_name = said(text),
        "targetGroupName" => computer.group = said(text),
        _ => {}
    }
}

fn of_registration(computer: &mut Computer, name: &str, text: &str) {
    let mut os = |set: fn(&mut Build, u32)| set(computer.os.get_or_insert_default(), number(text));
    match name {
        "OSMajorVersion" => os(|os, number| os.major = number),
        "OSMinorVersion" => os(|os, number| os.minor = number),
        "OSBuildNumber" => os(|os, number| os.build = number),
        "DnsName" => computer.dns_name = said(text),
        "ComputerManufacturer" => computer.manufacturer = said(text),
        "ComputerModel" => computer.model = said(text),
        "OSDescription" => computer.os_description = said(text),
        "OSLocale" => computer.locale = said(text),
        "ProcessorArchitecture" => computer.architecture = said(text),
        _ => {}
    }
}

fn basic(event: &mut Event, path: &[&str], text: &str) {
    match path {
        ["TargetID", "Sid"] => event.computer = text.trim().parse().ok(),
        ["EventInstanceID"] => event.instance = text.trim().parse().ok(),
        ["TimeAtTarget"] => event.time = kept(text, TIME_MAX),
        ["NamespaceID"] => event.namespace = number(text),
        ["EventID"] => event.number = number(text),
        ["SourceID"] => event.source = number(text),
        ["UpdateID", "UpdateID"] => {
            let id = text.trim().parse().ok().filter(|id: &Guid| !id.is_nil());
            event.update = id.map(|id| Identity { id, revision: 0 });
        }
        ["UpdateID", "RevisionNumber"] => {
            if let Some(update) = &mut event.update {
                update.revision = number(text);
            }
        }
        ["Win32HResult"] => event.result = text.trim().parse().unwrap_or_default(),
        ["AppName"] => event.application = said(text),
        _ => {}
    }
}

fn extended(event: &mut Event, path: &[&str], text: &str) {
    match path {
        ["ReplacementStrings", "string"] => add(&mut event.strings, text),
        ["MiscData", "string"] => add(&mut event.details, text),
        ["ComputerModel"] => event.model = said(text),
        ["OSVersion", "Major"] => event.os.major = number(text),
        ["OSVersion", "Minor"] => event.os.minor = number(text),
        ["OSVersion", "Build"] => event.os.build = number(text),
        _ => {}
    }
}

fn add(list: &mut Vec<Box<str>>, text: &str) {
    if list.len() < STRINGS_MAX {
        list.push(kept(text, STRING_MAX));
    }
}

fn said(text: &str) -> Option<Box<str>> {
    Some(kept(text, NAME_MAX)).filter(|text| !text.is_empty())
}

fn number(text: &str) -> u32 {
    text.trim().parse().unwrap_or_default()
}

/// The elements of interest; all others are passed over.
const NAMES: &[&str] = &[
    "Envelope",
    "Body",
    "GetAuthorizationCookie",
    "clientId",
    "dnsName",
    "targetGroupName",
    "RegisterComputer",
    "computerInfo",
    "DnsName",
    "OSMajorVersion",
    "OSMinorVersion",
    "OSBuildNumber",
    "ComputerManufacturer",
    "ComputerModel",
    "OSDescription",
    "OSLocale",
    "ProcessorArchitecture",
    "ReportEventBatch",
    "eventBatch",
    "ReportingEvent",
    "BasicData",
    "TargetID",
    "Sid",
    "EventInstanceID",
    "TimeAtTarget",
    "NamespaceID",
    "EventID",
    "SourceID",
    "UpdateID",
    "RevisionNumber",
    "Win32HResult",
    "AppName",
    "ExtendedData",
    "ReplacementStrings",
    "MiscData",
    "string",
    "OSVersion",
    "Major",
    "Minor",
    "Build",
];

/// A DNS name has at most 253 characters.
const NAME_MAX: usize = 256;
const TIME_MAX: usize = 40;

/// 30 details are usual; lists of updates in them are longer than is kept.
const STRINGS_MAX: usize = 64;
const STRING_MAX: usize = 512;
