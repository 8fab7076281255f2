//! Files mapped into memory for the kernel to send from. Nothing in weir reads them: a page that has to be fetched would hold up a whole
//! thread, and a file that was cut short would end the process. The kernel meets the same and reports an error.

use std::{
    ffi::c_void,
    fs, io, ptr,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A file's first `len` bytes, mapped to be sent.
#[derive(Debug)]
pub struct Map {
    base: *mut c_void,
    len: usize,
}

// SAFETY: the mapping is never written through, and only the kernel reads it.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

/// Maps that exist. The kernel allows a process 65,530 in all (`vm.max_map_count`).
static MAPS: AtomicUsize = AtomicUsize::new(0);
const MAPS_MAX: usize = 16_384;

impl Map {
    /// # Errors
    /// Too many maps exist, or the kernel refuses.
    pub fn of(file: &fs::File, len: u64) -> io::Result<Self> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
        if len == 0 || MAPS.fetch_add(1, Relaxed) >= MAPS_MAX {
            MAPS.fetch_sub(usize::from(len != 0), Relaxed);
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that is in use.
        let base = unsafe { mmap(ptr::null_mut(), len, ProtFlags::READ, MapFlags::SHARED, file, 0) };
        let base = base.inspect_err(|_| _ = MAPS.fetch_sub(1, Relaxed))?;
        Ok(Self { base, len })
    }

    /// `len` bytes at `offset`, for a system call that sends them; `None` where the map does not reach.
    pub(super) fn part(&self, offset: u64, len: usize) -> Option<io::IoSlice<'_>> {
        let start = usize::try_from(offset).ok()?;
        if start.checked_add(len)? > self.len {
            return None;
        }
        // SAFETY: the bytes lie within a mapping that lives as long as `self`, in a file whose stored extents are not written again. Only
        // the kernel reads them, and answers EFAULT where the file has become shorter.
        Some(io::IoSlice::new(unsafe { std::slice::from_raw_parts(self.base.cast::<u8>().add(start).cast_const(), len) }))
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and every slice of it borrows `self`.
        let unmapped = unsafe { munmap(self.base, self.len) };
        debug_assert!(unmapped.is_ok(), "a whole mapping can be unmapped");
        MAPS.fetch_sub(1, Relaxed);
    }
}
