//! A part of a file that passes for a file: a place in a pack.

use std::{io, io::IoSlice, path::Path, sync::Arc};

use crate::{piece::ByteRange, store::disk::DiskFile};

/// The bytes of `range` of a file, and no others.
#[derive(Debug)]
pub(in crate::store) struct Part {
    file: Arc<dyn DiskFile>,
    range: ByteRange,
}

impl Part {
    pub(in crate::store) fn new(file: Arc<dyn DiskFile>, range: ByteRange) -> Self {
        Self { file, range }
    }

    /// As many of `len` bytes at `offset` as there are.
    fn within(&self, offset: u64, len: usize) -> usize {
        let left = self.range.len().saturating_sub(offset);
        usize::try_from(left).unwrap_or(usize::MAX).min(len)
    }
}

impl DiskFile for Part {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        match self.within(offset, buffer.len()) {
            0 => Ok(0),
            len => self.file.read_at(self.range.start + offset, &mut buffer[..len]),
        }
    }

    fn read_cached_at(&self, offset: u64, buffer: &mut [u8]) -> Option<usize> {
        match self.within(offset, buffer.len()) {
            0 => Some(0),
            len => self.file.read_cached_at(self.range.start + offset, &mut buffer[..len]),
        }
    }

    /// What reaches beyond the part is refused: it is another's.
    fn write_at(&self, offset: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        let len = parts.iter().map(|part| part.len()).sum();
        if self.within(offset, len) < len {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.file.write_at(self.range.start + offset, parts)
    }

    /// Syncs the whole file.
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.range.len())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn punch_hole(&self, range: ByteRange) -> io::Result<()> {
        let (start, end) = (self.range.start + range.start, self.range.start + range.end);
        match ByteRange::new(start, end.min(self.range.end)) {
            Some(range) => self.file.punch_hole(range),
            None => Ok(()),
        }
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        self.file.is_at(path)
    }

    fn try_lock(&self) -> io::Result<bool> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
