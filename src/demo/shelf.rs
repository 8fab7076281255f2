//! What the demonstration's origin offers: files with paths as Microsoft's content services shape them, and how much of each was sent.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::{classify::Door, demo::content::Content, digest::Digest};

/// The name under which clients know the service that holds the update.
pub(super) const UPDATE_HOST: &str = "tlu.dl.delivery.mp.microsoft.com";
/// A package repository: what is no business of Microsoft goes through the forward door.
pub(super) const PACKAGES_HOST: &str = "packages.example";
/// The name that a DNS override would send to weir.
pub(super) const WINDOWS_UPDATE_HOST: &str = "download.windowsupdate.com";

/// One file of the origin.
#[derive(Debug)]
pub(super) struct File {
    /// Origin-form, without a signature.
    pub(super) path: String,
    pub(super) content: Content,
    pub(super) sha256: Digest,
    /// Strong, quotes included.
    pub(super) etag: String,
    sent_bytes: AtomicU64,
}

/// All files of the origin.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) update: Arc<File>,
    /// Tried by the demonstration itself, one for each of [`DOORS`].
    pub(super) trials: Vec<Arc<File>>,
    /// Left cold for the visitor to try, one for each of [`DOORS`].
    pub(super) samples: Vec<Arc<File>>,
}

/// The doors that are tried and shown, in this order.
pub(super) const DOORS: [Door; 5] = [Door::Delivery, Door::Transparent, Door::Wsus, Door::Reverse, Door::Forward];

impl File {
    fn new(path: String, content: Content) -> Arc<Self> {
        let sha256 = content.sha256();
        let hex = hex(&sha256);
        Arc::new(Self { path, content, sha256, etag: format!("\"{}\"", &hex[..16]), sent_bytes: AtomicU64::new(0) })
    }

    /// Content bytes handed to connections so far: what crossed the "WAN" for this file.
    pub(super) fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn count_sent(&self, bytes: u64) {
        self.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Shelf {
    /// `update_len` is the length of the update in bytes. Making it up once for its digest takes a moment.
    pub(super) fn new(update_len: u64) -> Self {
        let update = Content::new(UPDATE_SEED, update_len);
        Self {
            update: File::new(format!("/filestreamingservice/files/{}", guid(UPDATE_SEED)), update),
            trials: DOORS.iter().map(|&door| file_for(door, TRIAL_SEED)).collect(),
            samples: DOORS.iter().map(|&door| file_for(door, SAMPLE_SEED)).collect(),
        }
    }

    pub(super) fn find(&self, path: &str) -> Option<&Arc<File>> {
        self.files().find(|file| file.path == path)
    }

    fn files(&self) -> impl Iterator<Item = &Arc<File>> {
        std::iter::once(&self.update).chain(&self.trials).chain(&self.samples)
    }
}

/// A file of the shape that clients of `door` ask for. Names that hold a digest hold the right one: weir checks it.
fn file_for(door: Door, seed: u64) -> Arc<File> {
    let content = Content::new(seed + door as u64, SAMPLE_LEN);
    let path = match door {
        Door::Delivery => format!("/filestreamingservice/files/{}", guid(seed)),
        Door::Transparent => {
            format!("/d/msdownload/update/software/secu/2025/01/windows11.0-kb{seed}-x64_{}.cab", hex(&content.sha1()))
        }
        Door::Reverse => format!("/handbooks/branch-office-{seed}.pdf"),
        Door::Wsus => {
            let name = hex(&content.sha1()).to_uppercase();
            format!("/Content/{}/{name}.cab", &name[name.len() - 2..])
        }
        Door::Forward => format!("/pool/main/w/weir-sample/weir-sample_{seed}_amd64.deb"),
    };
    File::new(path, content)
}

/// A GUID as `filestreamingservice` paths have them; the seed decides it.
fn guid(seed: u64) -> String {
    let digits = hex(&Content::new(seed, 16).sha256());
    format!("{}-{}-4{}-a{}-{}", &digits[..8], &digits[8..12], &digits[13..16], &digits[17..20], &digits[20..32])
}

/// The digest alone, without the name of its kind.
pub(super) fn hex(digest: &Digest) -> String {
    let text = digest.to_string();
    text.rsplit(':').next().unwrap_or_default().to_owned()
}

const UPDATE_SEED: u64 = 5_068_861;
const TRIAL_SEED: u64 = 5_070_000;
const SAMPLE_SEED: u64 = 5_071_000;

/// A quarter over a piece: two pieces, the last one short.
const SAMPLE_LEN: u64 = (1 << 20) + (1 << 18);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_a_path_of_its_own() {
        let shelf = Shelf::new(10);
        for file in shelf.files() {
            assert_eq!(shelf.find(&file.path).map(|found| found.sha256), Some(file.sha256), "{}", file.path);
        }
    }

    #[test]
    fn a_wsus_name_is_the_sha1_of_the_file_in_the_folder_of_its_last_byte() {
        let file = file_for(Door::Wsus, 1);
        let sha1 = hex(&file.content.sha1()).to_uppercase();
        assert_eq!(file.path, format!("/Content/{}/{sha1}.cab", &sha1[38..]));
    }

    #[test]
    fn a_guid_has_the_shape_of_one() {
        let groups: Vec<usize> = guid(1).split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12]);
    }
}
