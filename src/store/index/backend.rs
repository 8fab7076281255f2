//! redb over the disk seam, so that a simulated crash loses index writes too.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    io::{self, IoSlice},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use redb::StorageBackend;

use crate::store::disk::DiskFile;

/// The index's file.
#[derive(Debug)]
pub(super) struct Backend(pub(super) Arc<dyn DiskFile>);

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, &[IoSlice::new(data)])
    }
}

/// The index's file on a disk that takes no writes: what redb writes when it opens (it mends what a failed commit left) stays in memory, so that
/// reading goes on. Nothing is ever committed through it.
#[derive(Debug)]
pub(super) struct Overlay {
    file: Arc<dyn DiskFile>,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    len: u64,
    blocks: BTreeMap<u64, Box<[u8]>>,
}

const BLOCK_LEN: u64 = 4_096;

impl Overlay {
    pub(super) fn new(file: Arc<dyn DiskFile>) -> io::Result<Self> {
        let len = file.len()?;
        Ok(Self { file, written: Mutex::new(Written { len, blocks: BTreeMap::new() }) })
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The block as the file has it; zeros beyond its end.
    fn block(&self, number: u64) -> io::Result<Box<[u8]>> {
        let mut block = vec![0; BLOCK_LEN as usize];
        let mut filled = 0;
        while filled < block.len() {
            match self.file.read_at(number * BLOCK_LEN + filled as u64, &mut block[filled..])? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(block.into())
    }

    /// Calls `each` with every block that `offset..offset + len` touches: its number, the bytes of it, and those of the whole.
    fn blocks(offset: u64, len: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>, std::ops::Range<usize>)> {
        let end = offset + len as u64;
        (offset / BLOCK_LEN..end.div_ceil(BLOCK_LEN)).map(move |number| {
            let start = number * BLOCK_LEN;
            let (from, to) = (offset.max(start), end.min(start + BLOCK_LEN));
            (number, (from - start) as usize..(to - start) as usize, (from - offset) as usize..(to - offset) as usize)
        })
    }
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.lock();
        if offset.saturating_add(out.len() as u64) > written.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, inside, whole) in Self::blocks(offset, out.len()) {
            match written.blocks.get(&number) {
                Some(block) => out[whole].copy_from_slice(&block[inside]),
                None => out[whole].copy_from_slice(&self.block(number)?[inside]),
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.lock().len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.lock();
        written.len = written.len.max(offset + data.len() as u64);
        for (number, inside, whole) in Self::blocks(offset, data.len()) {
            let block = match written.blocks.entry(number) {
                Entry::Occupied(there) => there.into_mut(),
                Entry::Vacant(free) => free.insert(self.block(number)?),
            };
            block[inside].copy_from_slice(&data[whole]);
        }
        Ok(())
    }
}
