//! What is kept of a computer and of an event, as the administration interface gives it out.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::wsus::{Build, Computer, Event, Outcome};

/// A computer as it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The id under which its update server knows it, or a pseudonym.
    pub id: Box<str>,
    pub name: Option<Box<str>>,
    /// Where it called from last.
    pub address: Option<Box<str>>,
    /// `Windows 11`, by its build; what it says itself where that is no help.
    pub os: Option<Box<str>>,
    /// `10.0.22631`
    pub build: Option<Box<str>>,
    pub model: Option<Box<str>>,
    /// The group that its policy names.
    pub group: Option<Box<str>>,
    /// Unix seconds, as all times here.
    pub first_seen: u64,
    pub last_seen: u64,
    pub downloads: u64,
    /// What the computer says that its downloads brought, from wherever.
    pub downloaded_bytes: u64,
    pub downloads_failed: u64,
    pub installs: u64,
    pub installs_failed: u64,
    /// An installation waits for a restart, as far as it was reported.
    pub restart_needed: bool,
    /// `HRESULT` of the last download or installation that failed, and when it was reported.
    pub last_error: Option<Box<str>>,
    pub last_error_seen: Option<u64>,
}

/// An event as it was reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    /// When weir saw it; the computer's own clock is [`Reported::time`].
    pub seen: u64,
    pub time: Box<str>,
    pub computer: Option<Box<str>>,
    /// The number of the event, 162 for example.
    pub number: u32,
    pub outcome: Box<str>,
    /// Id of the update, and which revision of it.
    pub update: Option<Box<str>>,
    pub revision: Option<u32>,
    /// What the update is called, where its metadata was seen, too. Nothing that the computer reported.
    pub title: Option<Box<str>>,
    /// `HRESULT`, `0x80240438` for example; none for success.
    pub error: Option<Box<str>>,
    /// Which program asked for the update.
    pub application: Option<Box<str>>,
    pub downloaded_bytes: Option<u64>,
}

impl Seen {
    pub(super) fn new(id: Box<str>, now: SystemTime) -> Self {
        Self {
            id,
            name: None,
            address: None,
            os: None,
            build: None,
            model: None,
            group: None,
            first_seen: unix(now),
            last_seen: unix(now),
            downloads: 0,
            downloaded_bytes: 0,
            downloads_failed: 0,
            installs: 0,
            installs_failed: 0,
            restart_needed: false,
            last_error: None,
            last_error_seen: None,
        }
    }

    pub(super) fn was_at(&mut self, address: Option<Box<str>>, now: SystemTime) {
        self.address = address;
        self.last_seen = unix(now);
    }

    /// Takes over what a computer says of itself; what it does not say stays.
    pub(super) fn describe(&mut self, computer: &Computer, name: Option<Box<str>>) {
        self.name = name.or_else(|| self.name.take());
        self.group = computer.group.clone().or_else(|| self.group.take());
        let model = match (&computer.manufacturer, &computer.model) {
            (Some(maker), Some(model)) => Some(format!("{maker} {model}").into()),
            (_, model) => model.clone(),
        };
        self.model = model.or_else(|| self.model.take());
        if let Some(build) = computer.os {
            self.runs(build, computer.os_description.as_deref());
        }
    }

    /// Counts what a report says.
    pub(super) fn count(&mut self, event: &Event, outcome: Outcome) {
        if self.build.is_none() {
            self.runs(event.os, None);
        }
        if matches!(outcome, Outcome::DownloadFailed | Outcome::InstallFailed) {
            self.last_error = code(event).or(Some("unknown".into()));
            self.last_error_seen = Some(self.last_seen);
        }
        match outcome {
            Outcome::Downloaded => {
                self.downloads += 1;
                self.downloaded_bytes = self.downloaded_bytes.saturating_add(event.downloaded().unwrap_or(0));
            }
            Outcome::DownloadFailed => self.downloads_failed += 1,
            Outcome::Installed => {
                self.installs += 1;
                self.restart_needed = false;
            }
            Outcome::RestartNeeded => self.restart_needed = true,
            Outcome::InstallFailed => self.installs_failed += 1,
            _ => {}
        }
    }

    fn runs(&mut self, build: Build, description: Option<&str>) {
        if build == Build::default() {
            return;
        }
        self.build = Some(format!("{}.{}.{}", build.major, build.minor, build.build).into());
        self.os = windows(build, description).or(description).map(Into::into).or_else(|| self.os.take());
    }
}

/// The product, where its build tells: Windows 11 calls itself Windows 10. Servers share builds with clients, but call themselves servers.
fn windows(build: Build, description: Option<&str>) -> Option<&'static str> {
    if description.is_some_and(|description| description.contains("Server")) {
        return None;
    }
    match (build.major, build.minor, build.build) {
        (10, 0, 22_000..) => Some("Windows 11"),
        (10, 0, _) => Some("Windows 10"),
        (6, 3, _) => Some("Windows 8.1"),
        (6, 1, _) => Some("Windows 7"),
        _ => None,
    }
}

impl Reported {
    pub(super) fn new(event: &Event, computer: Option<Box<str>>, outcome: Outcome, now: SystemTime) -> Self {
        Self {
            seen: unix(now),
            time: event.time.clone(),
            computer,
            number: event.number,
            outcome: outcome.as_str().into(),
            update: event.update.map(|update| update.id.to_string().into()),
            revision: event.update.map(|update| update.revision),
            title: None,
            error: code(event),
            application: event.application.clone(),
            downloaded_bytes: event.downloaded(),
        }
    }

    pub(super) fn is_before(&self, time: SystemTime) -> bool {
        self.seen < unix(time)
    }
}

/// What an event failed with; none for success.
fn code(event: &Event) -> Option<Box<str>> {
    (event.result != 0).then(|| format!("{:#010x}", event.result).into())
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
