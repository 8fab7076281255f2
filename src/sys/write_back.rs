//! Written pages on their way to the disk.

use std::{fs, io, os::fd::AsRawFd};

/// Has the kernel begin to write what is dirty of `len` bytes at `offset`, and does not wait for it. Makes nothing durable: it is for the sync
/// that comes later to find little left to do.
pub fn begin(file: &fs::File, offset: u64, len: u64) -> io::Result<()> {
    let place = |bytes: u64| i64::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput);
    let (offset, len) = (place(offset)?, place(len)?);
    // SAFETY: no memory is passed, and the descriptor is open while the file is borrowed.
    let done = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, len, libc::SYNC_FILE_RANGE_WRITE) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn what_is_being_written_back_stays_readable() {
        let path = std::env::temp_dir().join(format!("weir-write-back-{}", std::process::id()));
        let file = fs::File::options().create(true).truncate(true).read(true).write(true).open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        file.write_all_at(&[7; 10_000], 5_000).unwrap();
        begin(&file, 0, 15_000).unwrap();
        begin(&file, 1 << 40, 1).unwrap();
        assert!(begin(&file, u64::MAX, 1).is_err());
        let mut read = [0; 10_000];
        file.read_exact_at(&mut read, 5_000).unwrap();
        assert_eq!(read, [7; 10_000]);
    }
}
