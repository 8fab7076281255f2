//! The I/O seam: every blocking disk call of weir's storage goes through [`Disk`].
//!
//! Two implementations: [`RealDisk`], and [`SimDisk`](sim::SimDisk), which lives in memory and fails on purpose.
//! What survives a power cut is the contract both keep: bytes of a file after [`DiskFile::sync_data`], names after [`Disk::sync_dir`].

mod part;
mod real;
pub mod sim;

use std::{fmt, fs, io, io::IoSlice, path::Path, sync::Arc};

pub(super) use part::Part;
pub use real::RealDisk;

use crate::piece::ByteRange;

/// A file system. Calls block; only the disk pool, the committer and the start make them.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Opens a file that exists, for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file, made empty if it does not exist. The name is durable after [`Disk::sync_dir`] of its directory.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Makes a directory in one that exists ([`io::ErrorKind::NotFound`] if that does not); no error if it exists.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes a directory and those above it; no error if it exists.
    fn create_dirs(&self, path: &Path) -> io::Result<()>;

    /// What stands in a directory, in no order.
    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>>;

    /// Removes a file's name; who has it open goes on reading.
    fn unlink(&self, path: &Path) -> io::Result<()>;

    /// Moves a file within the file system, over whatever had the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, directory: &Path) -> io::Result<()>;

    /// Bytes that can still be written on the file system of `path`.
    fn free_space(&self, path: &Path) -> io::Result<u64>;
}

/// An open file. Writes to different places may run at once.
pub trait DiskFile: fmt::Debug + Send + Sync + 'static {
    /// Reads at most `buffer.len()` bytes; fewer, even before the end, are allowed; 0 means the end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// [`DiskFile::read_at`] of what needs no waiting for a disk; `None` if it would have to, or if that cannot be told.
    fn read_cached_at(&self, offset: u64, buffer: &mut [u8]) -> Option<usize> {
        let _ = (offset, buffer);
        None
    }

    /// Says that `range` is going to be read, so that the disk may bring it in one go.
    fn will_read(&self, range: ByteRange) {
        let _ = range;
    }

    /// Writes all of `parts`, one after the other. After an error any part of it may have been written.
    fn write_at(&self, offset: u64, parts: &[IoSlice<'_>]) -> io::Result<()>;

    /// Says that no more is written to `range` for now, so that the disk may begin with it. Does not wait for that.
    fn write_back(&self, range: ByteRange) {
        let _ = range;
    }

    /// What was written before survives a power cut after this returned `Ok`. After an error nothing is known about unsynced writes.
    fn sync_data(&self) -> io::Result<()>;

    fn len(&self) -> io::Result<u64>;

    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts the file, or extends it with zeros that take no room.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Gives the room of whole blocks in `range` back; its bytes read as zeros. [`io::ErrorKind::Unsupported`] where there are no holes.
    fn punch_hole(&self, range: ByteRange) -> io::Result<()>;

    /// Whether `path` leads to this file.
    fn is_at(&self, path: &Path) -> io::Result<bool>;

    /// Takes the file's exclusive advisory lock; `false` if another holder has it. Held until the file is closed.
    fn try_lock(&self) -> io::Result<bool>;

    /// The operating system's file, for sending from it; `None` where there is none.
    fn as_std(&self) -> Option<&fs::File> {
        None
    }

    /// Fills `buffer` from `offset`, over short reads; `UnexpectedEof` if the file ends before.
    fn read_exact_at(&self, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(offset, buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    offset += read as u64;
                    buffer = &mut buffer[read..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub is_dir: bool,
    /// Length of a file in bytes; 0 for a directory.
    pub len: u64,
}
