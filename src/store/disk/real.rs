//! The operating system's file system.

use std::{
    fs, io,
    io::IoSlice,
    io::IoSliceMut,
    num::NonZeroU64,
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    sync::Arc,
};

use rustix::{
    fs::{Advice, FallocateFlags, FlockOperation, fadvise, fallocate, flock, statvfs},
    io::ReadWriteFlags,
};

use crate::{
    piece::ByteRange,
    store::disk::{Disk, DiskFile, Entry},
    sys::write_back,
};

/// The operating system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

#[derive(Debug)]
struct RealFile(fs::File);

impl Disk for RealDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile(fs::OpenOptions::new().read(true).write(true).open(path)?)))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile(fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?)))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        }
    }

    fn create_dirs(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            // A name that is not UTF-8 is not ours; a file that vanished meanwhile is no longer there to list.
            let (Ok(name), Ok(about)) = (entry.file_name().into_string(), entry.metadata()) else { continue };
            let is_dir = about.is_dir();
            entries.push(Entry { name, is_dir, len: if is_dir { 0 } else { about.len() } });
        }
        Ok(entries)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        fs::File::open(directory)?.sync_all()
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        let about = statvfs(path)?;
        Ok(about.f_bavail.saturating_mul(about.f_frsize))
    }
}

impl DiskFile for RealFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn read_cached_at(&self, offset: u64, buffer: &mut [u8]) -> Option<usize> {
        let parts = &mut [IoSliceMut::new(buffer)];
        rustix::io::preadv2(&self.0, parts, offset, ReadWriteFlags::NOWAIT).ok()
    }

    fn will_read(&self, range: ByteRange) {
        // Advice that is not taken costs nothing but time.
        let _ = fadvise(&self.0, range.start, NonZeroU64::new(range.len()), Advice::WillNeed);
    }

    fn write_at(&self, mut offset: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        // One call for the usual case; what it leaves is written part by part.
        let mut skip = if parts.len() > 1 { retried(|| Ok(rustix::io::pwritev(&self.0, parts, offset)?))? } else { 0 };
        for part in parts {
            if skip >= part.len() {
                skip -= part.len();
            } else {
                self.0.write_all_at(&part[skip..], offset + skip as u64)?;
                skip = 0;
            }
            offset += part.len() as u64;
        }
        Ok(())
    }

    fn write_back(&self, range: ByteRange) {
        // What does not begin now is written with the next sync, which reports errors.
        let _ = write_back::begin(&self.0, range.start, range.len());
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn punch_hole(&self, range: ByteRange) -> io::Result<()> {
        Ok(fallocate(&self.0, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, range.start, range.len())?)
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        let there = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            there => there?,
        };
        let own = self.0.metadata()?;
        Ok((there.dev(), there.ino()) == (own.dev(), own.ino()))
    }

    fn try_lock(&self) -> io::Result<bool> {
        match flock(&self.0, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn as_std(&self) -> Option<&fs::File> {
        Some(&self.0)
    }
}

fn retried<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}
