//! Buffers for bytes on their way from a file to clients: all of one length, cleared once, used again and again, bounded in number.
//!
//! A fresh buffer for each read would cost more than the read: its pages have to be found, cleared and mapped. Who gets none because too many
//! are in use (by clients that read slowly) reads less at a time, into memory of its own.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

/// Length of a buffer. Copying so much takes about 30 µs.
pub(super) const BUFFER_LEN: usize = 256 << 10;

/// Buffers in use at most, 64 MiB.
const TAKEN_MAX: usize = 256;

/// Buffers kept while nobody needs them, 8 MiB.
const IDLE_MAX: usize = 32;

/// What is read at a time without a buffer of the pool.
const POOR_LEN: usize = 16 << 10;

/// Less than one in so many bytes of a buffer is copied out of it, so that it does not keep the rest.
const COPY_BELOW: usize = 8;

/// The pool.
#[derive(Debug, Default)]
pub(super) struct Buffers(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    idle: Vec<Box<[u8]>>,
    taken: usize,
}

/// Room to read into. Goes back to the pool when it, and whatever was made of it, is dropped.
pub(super) struct Buffer {
    room: Box<[u8]>,
    len: usize,
    /// `None`: it is of no pool.
    home: Option<Arc<Mutex<Inner>>>,
}

impl Buffers {
    /// Room for at least one byte and at most `len`, whatever was in it before.
    pub(super) fn take(&self, len: usize) -> Buffer {
        let idle = {
            let mut inner = locked(&self.0);
            if inner.taken >= TAKEN_MAX {
                drop(inner);
                let len = len.clamp(1, POOR_LEN);
                return Buffer { room: vec![0; len].into(), len, home: None };
            }
            inner.taken += 1;
            inner.idle.pop()
        };
        let room = idle.unwrap_or_else(|| vec![0; BUFFER_LEN].into());
        Buffer { room, len: len.clamp(1, BUFFER_LEN), home: Some(Arc::clone(&self.0)) }
    }
}

impl Buffer {
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.room[..self.len]
    }

    /// The first `len` bytes of the room.
    pub(super) fn into_bytes(mut self, len: usize) -> Bytes {
        self.len = self.len.min(len);
        if self.len < self.room.len() / COPY_BELOW { Bytes::copy_from_slice(self.as_ref()) } else { Bytes::from_owner(self) }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.room[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(home) = self.home.take() else { return };
        let room = std::mem::take(&mut self.room);
        let mut inner = locked(&home);
        inner.taken -= 1;
        if inner.idle.len() < IDLE_MAX {
            inner.idle.push(room);
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("idle", &self.idle.len()).field("taken", &self.taken).finish()
    }
}

fn locked(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_once_the_last_bytes_of_it_are_gone() {
        let buffers = Buffers::default();
        let mut buffer = buffers.take(100_000);
        buffer.room().fill(7);
        let place = buffer.room().as_ptr();
        let bytes = buffer.into_bytes(90_000);
        let slice = bytes.slice(10..20);
        drop(bytes);
        assert_ne!(buffers.take(1).room().as_ptr(), place, "a slice of it is still held");
        assert_eq!(slice, [7; 10][..]);
        let other = buffers.take(1);
        drop(slice);
        assert_eq!(buffers.take(BUFFER_LEN).room().as_ptr(), place);
        drop(other);
    }

    #[test]
    fn a_few_bytes_do_not_keep_a_whole_buffer() {
        let buffers = Buffers::default();
        let mut buffer = buffers.take(5);
        buffer.room().copy_from_slice(b"hello");
        let bytes = buffer.into_bytes(5);
        assert_eq!((&bytes[..], locked(&buffers.0).taken), (&b"hello"[..], 0));
    }

    #[test]
    fn who_comes_when_all_are_in_use_reads_less_at_a_time() {
        let buffers = Buffers::default();
        let taken: Vec<Buffer> = (0..TAKEN_MAX).map(|_| buffers.take(BUFFER_LEN)).collect();
        assert_eq!(buffers.take(BUFFER_LEN).room().len(), POOR_LEN);
        drop(taken);
        assert_eq!(buffers.take(2 * BUFFER_LEN).room().len(), BUFFER_LEN);
        assert_eq!(locked(&buffers.0).idle.len(), IDLE_MAX);
    }
}
