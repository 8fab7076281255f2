//! Addresses without memory: slices that stand for bytes which are somewhere else.
//!
//! A [`Reservation`] is a stretch of address space that nothing can be read from or written to. Its slices go through code that only passes
//! slices on; whoever gets one at the end knows by its address what it stands for. Code that reads one ends the process: that is
//! the point, for the alternative would be wrong bytes.

use std::{ffi::c_void, io, ptr};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// Address space in slots of equal length.
#[derive(Debug)]
pub struct Reservation {
    base: *mut c_void,
    slots: usize,
    slot_len: usize,
}

// SAFETY: the pointer is an address only; nothing behind it is ever read or written, from any thread.
unsafe impl Send for Reservation {}
// SAFETY: as above.
unsafe impl Sync for Reservation {}

impl Reservation {
    /// # Errors
    /// The address space is not to be had (a limit on it, or too little of it).
    pub fn new(slots: usize, slot_len: usize) -> io::Result<Self> {
        // SAFETY: a new private mapping at an address of the kernel's choice touches no memory that is in use.
        let base = unsafe {
            mmap_anonymous(ptr::null_mut(), slots * slot_len, ProtFlags::empty(), MapFlags::PRIVATE | MapFlags::NORESERVE)
        }?;
        Ok(Self { base, slots, slot_len })
    }

    /// The slice that stands for `len` bytes from `from` of what is placed in `slot`. Not to be read.
    ///
    /// # Panics
    /// When these do not lie within a slot.
    pub fn slice(&self, slot: usize, from: usize, len: usize) -> &[u8] {
        assert!(slot < self.slots && from + len <= self.slot_len, "invariant: a placeholder lies within its slot");
        // SAFETY: the addresses lie within one mapping that lives as long as `self`; they are aligned and not null, and nobody writes behind
        // them. They cannot be read: this is a slice in name only, made for code that passes slices on by address and length. The compiler
        // reads from a slice only where the source does, and a source that does is the bug that must end the process.
        unsafe { std::slice::from_raw_parts(self.base.cast::<u8>().add(slot * self.slot_len + from).cast_const(), len) }
    }

    /// The slot that `slice` lies in, and where in it; `None` for a slice of ordinary memory.
    pub fn find(&self, slice: &[u8]) -> Option<(usize, usize)> {
        let offset = (slice.as_ptr() as usize).checked_sub(self.base as usize)?;
        (offset < self.slots * self.slot_len).then(|| (offset / self.slot_len, offset % self.slot_len))
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and every slice of it borrows `self`.
        let unmapped = unsafe { munmap(self.base, self.slots * self.slot_len) };
        debug_assert!(unmapped.is_ok(), "a whole mapping can be unmapped");
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt, process::Command};

    use super::*;

    #[test]
    fn a_slice_says_by_its_address_what_it_stands_for() {
        let reservation = Reservation::new(8, 1 << 20).unwrap();
        assert_eq!(reservation.find(reservation.slice(3, 700, 5)), Some((3, 700)));
        assert_eq!(reservation.find(reservation.slice(7, (1 << 20) - 1, 1)), Some((7, (1 << 20) - 1)));
        assert_eq!(reservation.find(b"ordinary"), None);
    }

    /// Runs itself as another process, for this one must live on.
    #[test]
    fn a_placeholder_that_is_read_ends_the_process() {
        const CHILD: &str = "WEIR_TEST_READS_A_PLACEHOLDER";
        if std::env::var_os(CHILD).is_some() {
            let reservation = Reservation::new(1, 4096).unwrap();
            let copied = reservation.slice(0, 1, 100).to_vec();
            unreachable!("read {copied:?}");
        }
        let name = "sys::placeholder::tests::a_placeholder_that_is_read_ends_the_process";
        let child = Command::new(std::env::current_exe().unwrap()).args(["--exact", name]).env(CHILD, "1").output().unwrap();
        assert!(matches!(child.status.signal(), Some(libc::SIGSEGV | libc::SIGBUS)), "{child:?}");
    }
}
