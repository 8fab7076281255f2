//! What a server answers: which files there are, where they lie, and what updates they belong to.

use crate::{
    digest::Digest,
    wsus::{
        Coding, Unreadable,
        fragment::{File, Fragment, Update},
        message::{Message, Path, kept, service_name},
        xml::Event,
    },
};

/// One thing that a reply says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// What a fragment says of the update that the server knows by this number; numbers mean nothing on another server.
    Update {
        number: Option<i64>,
        update: Update,
    },
    /// A file of that update.
    File {
        number: Option<i64>,
        file: File,
    },
    Location(Location),
}

/// Where a file is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// SHA-1, in all that was seen.
    pub digest: Digest,
    pub url: Box<str>,
}

/// Reads one reply of the client service.
#[derive(Debug)]
pub struct Reply {
    message: Message,
    reading: Reading,
}

#[derive(Debug, Default)]
struct Reading {
    path: Path,
    /// Of the update whose element is open.
    number: Option<i64>,
    /// Inside `Xml`; `None` there when it could not be read.
    fragment: Option<Fragment>,
    digest: Option<Digest>,
    url: Option<Box<str>>,
    unread_fragments: u64,
}

impl Reply {
    pub fn new(coding: Coding) -> Self {
        Self { message: Message::new(coding), reading: Reading::default() }
    }

    /// Takes the next bytes as they are on the wire. After an error nothing more can be read; what was learnt holds.
    pub fn push(&mut self, bytes: &[u8], mut learn: impl FnMut(Fact)) -> Result<(), Unreadable> {
        let Self { message, reading } = self;
        message.push(bytes, |event| {
            reading.event(event, &mut learn);
            Ok(())
        })
    }

    /// Nothing more comes.
    pub fn finish(&self) -> Result<(), Unreadable> {
        self.message.finish()
    }

    /// Fragments inside it that could not be read; the rest of the reply could.
    pub fn unread_fragments(&self) -> u64 {
        self.reading.unread_fragments
    }
}

impl Reading {
    fn event(&mut self, event: Event<'_>, learn: &mut impl FnMut(Fact)) {
        match event {
            Event::Open(open) => {
                self.path.open(NAMES, service_name(&open));
                self.opened();
            }
            Event::Text(text) => self.text(text, learn),
            Event::Close => {
                self.closed(learn);
                self.path.close();
            }
        }
    }

    fn opened(&mut self) {
        match self.path.names() {
            ["Envelope", "Body", _, _, "Updates" | "NewUpdates" | "ChangedUpdates", "Update" | "UpdateInfo"] => {
                self.number = None
            }
            ["Envelope", "Body", _, _, _, "Update" | "UpdateInfo", "Xml"] => self.fragment = Some(Fragment::new()),
            ["Envelope", "Body", _, _, "FileLocations", "FileLocation"] => (self.digest, self.url) = (None, None),
            _ => {}
        }
    }

    fn text(&mut self, text: &[u8], learn: &mut impl FnMut(Fact)) {
        let number = self.number;
        let Some(fragment) = &mut self.fragment else { return self.path.text(text) };
        if fragment.push(text, &mut |file| learn(Fact::File { number, file })).is_err() {
            self.fragment = None;
            self.unread_fragments += 1;
        }
    }

    fn closed(&mut self, learn: &mut impl FnMut(Fact)) {
        match (self.path.names(), self.path.leaf()) {
            (["Envelope", "Body", _, _, _, "Update" | "UpdateInfo", "ID"], Some(text)) => self.number = text.trim().parse().ok(),
            (["Envelope", "Body", _, _, _, "Update" | "UpdateInfo", "Xml"], _) => {
                let Some(fragment) = self.fragment.take() else { return };
                match fragment.finish() {
                    Ok(update) if update == Update::default() => {}
                    Ok(update) => learn(Fact::Update { number: self.number, update }),
                    Err(_) => self.unread_fragments += 1,
                }
            }
            (["Envelope", "Body", _, _, _, "FileLocation", "FileDigest"], Some(text)) => self.digest = Digest::from_base64(text),
            (["Envelope", "Body", _, _, _, "FileLocation", "Url"], Some(text)) => self.url = Some(kept(text, URL_MAX)),
            (["Envelope", "Body", _, _, "FileLocations", "FileLocation"], _) => {
                if let (Some(digest), Some(url)) = (self.digest.take(), self.url.take()) {
                    learn(Fact::Location(Location { digest, url }));
                }
            }
            _ => {}
        }
    }
}

/// The elements of interest; all others are passed over.
const NAMES: &[&str] = &[
    "Envelope",
    "Body",
    "Updates",
    "NewUpdates",
    "ChangedUpdates",
    "Update",
    "UpdateInfo",
    "ID",
    "Xml",
    "FileLocations",
    "FileLocation",
    "FileDigest",
    "Url",
];

/// As long as the longest text that is read.
const URL_MAX: usize = 4096;
