//! Whether a stretch of a file is in the page cache, so that sending it waits for no disk.

use std::{
    fs, io,
    io::IoSliceMut,
    os::fd::{AsRawFd, RawFd},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use rustix::io::{ReadWriteFlags, preadv2};

/// Whether all of `offset..offset + len` could be read without waiting when this was asked. Pages may leave at any time after.
pub fn is_resident(file: &fs::File, offset: u64, len: u64) -> bool {
    let Some(last) = len.checked_sub(1).map(|last| offset + last) else { return true };
    if KNOWN_ABSENT.load(Relaxed) {
        return (offset..=last).step_by(PROBE_STEP).chain([last]).all(|at| is_readable(file, at));
    }
    let pages = last / PAGE - offset / PAGE + 1;
    match cached_pages(file.as_raw_fd(), offset, len) {
        // The last page may be counted although it is just being read.
        Ok(cached) => cached >= pages && is_readable(file, last),
        Err(_) => {
            // Older than Linux 6.5, or forbidden.
            KNOWN_ABSENT.store(true, Relaxed);
            is_resident(file, offset, len)
        }
    }
}

/// `cachestat` failed once: it is not asked again.
static KNOWN_ABSENT: AtomicBool = AtomicBool::new(false);

const PAGE: u64 = 4096;
/// What is read ahead at a time comes and goes together, so that a probe every so often finds what is missing.
const PROBE_STEP: usize = 64 << 10;

fn is_readable(file: &fs::File, at: u64) -> bool {
    let mut byte = [0];
    preadv2(file, &mut [IoSliceMut::new(&mut byte)], at, ReadWriteFlags::NOWAIT) == Ok(1)
}

/// `struct cachestat_range` of the kernel.
#[repr(C)]
struct Range {
    offset: u64,
    len: u64,
}

/// `struct cachestat` of the kernel, in pages.
#[repr(C)]
#[derive(Default)]
struct Statistics {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// Number of the system call `cachestat`, the same on all architectures (Linux 6.5).
const CACHESTAT: libc::c_long = 451;

fn cached_pages(file: RawFd, offset: u64, len: u64) -> io::Result<u64> {
    let range = Range { offset, len };
    let mut statistics = Statistics::default();
    // SAFETY: both structures have the kernel's layout and outlive the call, which reads the first and fills the second.
    let done = unsafe { libc::syscall(CACHESTAT, file, &raw const range, &raw mut statistics, 0) };
    if done == 0 { Ok(statistics.cached) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn what_was_just_written_is_resident_and_what_is_not_there_is_not() {
        let path = std::env::temp_dir().join(format!("weir-residency-{}", std::process::id()));
        let file = fs::File::options().create(true).truncate(true).read(true).write(true).open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        file.write_all_at(&[7; 300_000], 0).unwrap();
        for absent in [false, true] {
            KNOWN_ABSENT.store(absent, Relaxed);
            assert!(is_resident(&file, 0, 300_000) && is_resident(&file, 5000, 1) && is_resident(&file, 9, 0));
            assert!(!is_resident(&file, 0, 400_000), "it ends before");
        }
        KNOWN_ABSENT.store(false, Relaxed);
    }
}
