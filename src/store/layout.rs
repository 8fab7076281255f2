//! Where things are in the data directory, its format version, and its lock.
//!
//! ```text
//! VERSION  LOCK  index.redb  blobs/<volume>/<ab>/<id>  blobs/<volume>/<ab>/<pack>.pack  quarantine/<id>
//! ```

use std::{
    fmt,
    io::{self, IoSlice},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    object::BlobId,
    store::{
        Error,
        disk::{Disk, DiskFile},
        place::{Place, file_number},
    },
};

/// A data directory that is ours.
pub(super) struct Claim {
    pub(super) lock: Arc<dyn DiskFile>,
    pub(super) upgraded: Option<Upgraded>,
}

/// The format of a store was a former one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upgraded {
    pub from: &'static str,
    pub to: &'static str,
}

impl fmt::Display for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the format of the data directory was {:?} and is {:?} now: an older weir no longer reads it",
            self.from, self.to
        )
    }
}

/// The paths of one data directory.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    directory: PathBuf,
}

/// What `VERSION` holds. Since 2, small contents share files; since 3, fields lie beside them.
const VERSION: &str = "weir store 3\n";
/// Read and written as the present one: they only lack what is new.
const FORMER_VERSIONS: [&str; 2] = ["weir store 1\n", "weir store 2\n"];

/// The volume that blobs go to. More can be added under the same ids.
const VOLUME: u16 = 0;

impl Layout {
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn index(&self) -> PathBuf {
        self.directory.join("index.redb")
    }

    /// The file whose lock says that the directory is in use.
    pub(super) fn lock(&self) -> PathBuf {
        self.directory.join("LOCK")
    }

    /// A file made only to see that files can be made.
    pub(super) fn probe(&self) -> PathBuf {
        self.volume().join("probe")
    }

    /// Where an index that could not be read is kept for whoever wants to know why. One: the newest.
    pub(super) fn bad_index(&self) -> PathBuf {
        self.directory.join("index.bad")
    }

    pub(super) fn quarantine(&self) -> PathBuf {
        self.directory.join("quarantine")
    }

    pub(super) fn quarantined(&self, id: BlobId) -> PathBuf {
        self.quarantine().join(id.to_string())
    }

    pub(super) fn volume(&self) -> PathBuf {
        self.directory.join("blobs").join(format!("{VOLUME:02}"))
    }

    /// The directory of a blob, one of 256. It changes with every 256 ids, so that a commit of many new blobs has few directories to sync.
    pub(super) fn blob_dir(&self, id: BlobId) -> PathBuf {
        self.directory_of(file_number(id))
    }

    fn directory_of(&self, number: u64) -> PathBuf {
        self.volume().join(format!("{:02x}", number >> 8 & 0xff))
    }

    /// The file that holds the bytes of a blob.
    pub(super) fn blob(&self, id: BlobId) -> PathBuf {
        match Place::of(id) {
            Some(place) => self.pack(place.pack),
            None => self.blob_dir(id).join(id.to_string()),
        }
    }

    pub(super) fn pack(&self, number: u64) -> PathBuf {
        self.directory_of(number).join(format!("{number:016x}{PACK_ENDING}"))
    }

    /// Makes the directory if need be, takes its lock, and checks or writes its version. The lock is held while the file is. A store of a former
    /// version is one of the present from then on.
    pub(super) fn claim(&self, disk: &dyn Disk) -> Result<Claim, Error> {
        disk.create_dirs(&self.directory).map_err(|error| self.io("make", error))?;
        let lock = disk.create(&self.lock()).map_err(|error| self.io("lock", error))?;
        if !lock.try_lock().map_err(|error| self.io("lock", error))? {
            return Err(Error::Locked { directory: self.directory.clone() });
        }
        if !has(disk, &self.directory, "VERSION") {
            self.sync_parent(disk);
        }
        let upgraded = self.check_version(disk)?;
        let blobs = self.directory.join("blobs");
        // A start pays for each sync with the time of several thousand rows: only names that are new are synced.
        let is_made = has(disk, &self.directory, "quarantine") && disk.list(&self.volume()).is_ok();
        if !is_made {
            let made = [self.volume(), self.quarantine()];
            made.iter().try_for_each(|directory| disk.create_dirs(directory)).map_err(|error| self.io("make", error))?;
            let synced = [&self.directory, &blobs];
            synced.iter().try_for_each(|directory| disk.sync_dir(directory)).map_err(|error| self.io("sync", error))?;
        }
        Ok(Claim { lock, upgraded })
    }

    fn sync_parent(&self, disk: &dyn Disk) {
        if let Some(parent) = self.directory.parent().filter(|parent| !parent.as_os_str().is_empty())
            && let Err(error) = disk.sync_dir(parent)
        {
            // Ours to use, perhaps, but not to sync: then a directory just made may be lost with the power.
            tracing::debug!(%error, directory = %parent.display(), "the parent of the data directory cannot be synced");
        }
    }

    /// A store without a version is from nobody we know: never guessed. Says so if it was of a former one.
    fn check_version(&self, disk: &dyn Disk) -> Result<Option<Upgraded>, Error> {
        let entries = disk.list(&self.directory).map_err(|error| self.io("list", error))?;
        let named = |name: &str| entries.iter().any(|entry| entry.name == name);
        let has_store = named("index.redb") || named("blobs");
        let text =
            if named("VERSION") { self.read_version(disk).map_err(|error| self.io("read", error))? } else { String::new() };
        if text == VERSION {
            return Ok(None);
        }
        let write = || self.write_version(disk).map_err(|error| self.io("write", error));
        if let Some(from) = FORMER_VERSIONS.into_iter().find(|former| *former == text) {
            return write().map(|()| Some(Upgraded { from: from.trim_end(), to: VERSION.trim_end() }));
        }
        // A crash in the first start leaves part of the text, and nothing else: the version is durable before anything is made.
        if !has_store && VERSION.starts_with(&text) {
            return write().map(|()| None);
        }
        let reason = match &*text {
            "" => "holds something like a store, but no VERSION: remove what is in it, or name another directory".to_owned(),
            found => format!("its format is {:?}, this weir knows {:?}", found.trim_end(), VERSION.trim_end()),
        };
        Err(Error::Version { directory: self.directory.clone(), reason })
    }

    fn read_version(&self, disk: &dyn Disk) -> io::Result<String> {
        let mut text = [0; 64];
        let read = disk.open(&self.directory.join("VERSION"))?.read_at(0, &mut text)?;
        Ok(String::from_utf8_lossy(&text[..read]).into_owned())
    }

    fn write_version(&self, disk: &dyn Disk) -> io::Result<()> {
        let file = disk.create(&self.directory.join("VERSION"))?;
        file.write_at(0, &[IoSlice::new(VERSION.as_bytes())])?;
        file.sync_data()?;
        disk.sync_dir(&self.directory)
    }

    fn io(&self, op: &'static str, source: io::Error) -> Error {
        Error::Io { op, path: self.directory.clone(), source }
    }
}

/// Whether `name` stands in `directory`.
fn has(disk: &dyn Disk, directory: &Path, name: &str) -> bool {
    disk.list(directory).is_ok_and(|entries| entries.iter().any(|entry| entry.name == name))
}

/// The id a blob's file name stands for.
pub(super) fn blob_id(name: &str) -> Option<BlobId> {
    number(name).map(BlobId)
}

/// The pack a file name stands for.
pub(super) fn pack_number(name: &str) -> Option<u64> {
    number(name.strip_suffix(PACK_ENDING)?)
}

fn number(name: &str) -> Option<u64> {
    let canonical = name.len() == 16 && !name.bytes().any(|c| c.is_ascii_uppercase());
    u64::from_str_radix(name, 16).ok().filter(|_| canonical)
}

const PACK_ENDING: &str = ".pack";
