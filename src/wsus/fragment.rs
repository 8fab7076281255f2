//! Metadata of one update, as it lies escaped inside replies: the Core, Extended and localised fragments (MS-WUSP 2.2.2).

use crate::{
    digest::Digest,
    wsus::{
        Guid,
        message::{Path, kept},
        xml::{Attributes, Event, Form, Malformed, Tokenizer},
    },
};

/// What one fragment says of an update. What it does not say is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    pub identity: Option<Identity>,
    pub classification: Option<Classification>,
    pub title: Option<Box<str>>,
    /// Of the title.
    pub language: Option<Box<str>>,
    /// The number of its knowledge base article, digits only.
    pub article: Option<Box<str>>,
}

/// The name of an update that every server and client knows it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    pub id: Guid,
    pub revision: u32,
}

/// A file of an update.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    pub name: Box<str>,
    /// In bytes.
    pub size: Option<u64>,
    /// By this digest locations refer to it.
    pub sha1: Option<Digest>,
    pub sha256: Option<Digest>,
}

/// What kind of update it is.
///
/// Source: learn.microsoft.com, "WSUS Classification GUIDs" (ff357803).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Classification {
    Application,
    Connector,
    Critical,
    Definition,
    DeveloperKit,
    Driver,
    FeaturePack,
    Guidance,
    Rollup,
    Security,
    ServicePack,
    Tool,
    Update,
    Upgrade,
}

const CLASSIFICATIONS: &[(u128, Classification)] = &[
    (0x5C9376AB_8CE6_464A_B136_113223DD4332, Classification::Application),
    (0x434DE588_ED14_48F5_8EED_A15E09A991F6, Classification::Connector),
    (0xE6CF1350_C01B_414D_A61F_263D14D133B4, Classification::Critical),
    (0xE0789628_CE08_4437_BE74_2495B842F43B, Classification::Definition),
    (0xE140075D_8433_45C3_AD87_E72345B36078, Classification::DeveloperKit),
    (0xEBFC1FC5_71A4_4F7B_9ACA_3B9A503104A0, Classification::Driver),
    (0xB54E7D24_7ADD_428F_8B75_90A396FA584F, Classification::FeaturePack),
    (0x9511D615_35B2_47BB_927F_F73D8E9260BB, Classification::Guidance),
    (0x28BC880E_0592_4CBF_8F95_C79B17911D5F, Classification::Rollup),
    (0x0FA1201D_4330_4FA8_8AE9_B877473B6441, Classification::Security),
    (0x68C5B0A3_D1A6_4553_AE49_01D3A7827828, Classification::ServicePack),
    (0xB4832BD8_E735_4761_8DAF_37F882276DAB, Classification::Tool),
    (0xCD5FFD1E_E932_4E3A_BF74_18BF0B1BBD83, Classification::Update),
    (0x3689BDC8_B205_4AF4_8D4A_A63924C5E9D5, Classification::Upgrade),
];

impl Classification {
    fn of(category: Guid) -> Option<Self> {
        CLASSIFICATIONS.iter().find(|(id, _)| *id == category.0).map(|(_, classification)| *classification)
    }
}

/// Reads one fragment.
#[derive(Debug)]
pub(super) struct Fragment {
    tokenizer: Tokenizer,
    path: Path,
    update: Update,
    file: File,
}

impl Fragment {
    pub(super) fn new() -> Self {
        Self {
            tokenizer: Tokenizer::new(Form::Fragment),
            path: Path::default(),
            update: Update::default(),
            file: File::default(),
        }
    }

    /// Takes the next bytes of it, unescaped; `learn` is told of every file at once, because an update may have thousands.
    pub(super) fn push(&mut self, bytes: &[u8], learn: &mut impl FnMut(File)) -> Result<(), Malformed> {
        let Self { tokenizer, path, update, file } = self;
        tokenizer.push(bytes, |event| {
            match event {
                Event::Open(open) => {
                    path.open(NAMES, open.name);
                    opened(path.names(), &open.attributes, update, file);
                }
                Event::Text(text) => path.text(text),
                Event::Close => {
                    closed(path.names(), path.leaf(), update, file, learn);
                    path.close();
                }
            }
            Ok(())
        })
    }

    /// What it said, once all of it has come.
    pub(super) fn finish(self) -> Result<Update, Malformed> {
        self.tokenizer.finish().map(|()| self.update)
    }
}

fn opened(path: &[&str], attributes: &Attributes<'_>, update: &mut Update, file: &mut File) {
    match path {
        ["UpdateIdentity"] => update.identity = identity(attributes),
        // Its categories are among what it requires.
        ["Relationships", "Prerequisites", .., "UpdateIdentity"] => {
            let category = attributes.get("UpdateID").and_then(|id| id.parse().ok());
            update.classification = update.classification.or_else(|| category.and_then(Classification::of));
        }
        ["Files", "File"] => *file = described(attributes),
        _ => {}
    }
}

fn closed(path: &[&str], text: Option<&str>, update: &mut Update, file: &mut File, learn: &mut impl FnMut(File)) {
    match (path, text) {
        (["ExtendedProperties", "KBArticleID"], Some(text)) => {
            let is_number = !text.is_empty() && text.len() <= 12 && text.bytes().all(|byte| byte.is_ascii_digit());
            update.article = is_number.then(|| text.into());
        }
        (["LocalizedProperties", "Title"], Some(text)) => update.title = Some(kept(text, TITLE_MAX)),
        (["LocalizedProperties", "Language"], Some(text)) => update.language = Some(kept(text, LANGUAGE_MAX)),
        (["Files", "File", "AdditionalDigest"], Some(text)) => file.has(Digest::from_base64(text)),
        (["Files", "File"], _) => {
            let file = std::mem::take(file);
            if file.sha1.is_some() || file.sha256.is_some() {
                learn(file);
            }
        }
        _ => {}
    }
}

fn identity(attributes: &Attributes<'_>) -> Option<Identity> {
    let id = attributes.get("UpdateID")?.parse().ok()?;
    let revision = attributes.get("RevisionNumber")?.parse().ok()?;
    Some(Identity { id, revision })
}

fn described(attributes: &Attributes<'_>) -> File {
    let name = attributes.get("FileName").map(|name| kept(&name, NAME_MAX)).unwrap_or_default();
    let mut file = File { name, size: attributes.get("Size").and_then(|size| size.parse().ok()), ..File::default() };
    file.has(attributes.get("Digest").and_then(|digest| Digest::from_base64(&digest)));
    file
}

impl File {
    /// Of two digests of one kind the first counts.
    fn has(&mut self, digest: Option<Digest>) {
        match digest {
            Some(Digest::Sha1(_)) => self.sha1 = self.sha1.or(digest),
            Some(Digest::Sha256(_)) => self.sha256 = self.sha256.or(digest),
            None => {}
        }
    }
}

/// The elements of interest; all others are passed over.
const NAMES: &[&str] = &[
    "UpdateIdentity",
    "Relationships",
    "Prerequisites",
    "ExtendedProperties",
    "KBArticleID",
    "LocalizedProperties",
    "Title",
    "Language",
    "Files",
    "File",
    "AdditionalDigest",
];

const TITLE_MAX: usize = 512;
const LANGUAGE_MAX: usize = 16;

/// What Windows file systems take.
const NAME_MAX: usize = 255;
