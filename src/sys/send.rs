//! Sending to a socket: memory, files, mapped files. Never waits for the socket; `WouldBlock` says that it is full.

use std::{
    fmt, fs, io,
    io::{IoSlice, IoSliceMut},
    os::fd::AsFd,
};

use rustix::{
    fs::sendfile,
    io::{ReadWriteFlags, preadv2},
    net::{SendAncillaryBuffer, SendFlags, sendmsg},
};

use crate::sys::map::Map;

/// A file that is open for sending.
pub trait Sendable: fmt::Debug + Send + Sync + 'static {
    fn file(&self) -> &fs::File;

    /// All of it mapped, where that is possible. Made at the first call.
    fn map(&self) -> Option<&Map>;
}

/// Whether more follows at once, so that the kernel may wait with a packet that is not full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    Follows,
    Nothing,
}

/// Sends from memory; how many bytes the socket took.
pub fn memory(socket: &impl AsFd, parts: &[IoSlice<'_>], more: More) -> io::Result<usize> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let flags = if more == More::Follows { flags | SendFlags::MORE } else { flags };
    Ok(sendmsg(socket, parts, &mut SendAncillaryBuffer::default(), flags)?)
}

/// Sends `heads` and then `len` bytes at `offset` from a mapped file with one call.
///
/// # Errors
/// Also when the map does not reach so far.
pub fn mapped(socket: &impl AsFd, heads: &[IoSlice<'_>], map: &Map, offset: u64, len: usize) -> io::Result<usize> {
    let part = map.part(offset, len).ok_or(io::ErrorKind::UnexpectedEof)?;
    if heads.is_empty() {
        return memory(socket, &[part], More::Nothing);
    }
    if heads.len() >= PARTS_MAX {
        return memory(socket, heads, More::Follows);
    }
    let mut parts = [IoSlice::new(&[]); PARTS_MAX];
    parts[..heads.len()].copy_from_slice(heads);
    parts[heads.len()] = part;
    memory(socket, &parts[..=heads.len()], More::Nothing)
}

/// A head, the end of a body before it, and a few of each where requests are pipelined.
const PARTS_MAX: usize = 64;

/// Sends up to `len` bytes at `offset` of a file; 0 when it ends before.
pub fn file(socket: &impl AsFd, file: &fs::File, offset: u64, len: usize) -> io::Result<usize> {
    let mut at = offset;
    Ok(sendfile(socket, file, Some(&mut at), len)?)
}

/// Copies bytes at `offset` into `buffer`, from the page cache alone; `WouldBlock` when they are not there.
pub fn read_cached(file: &fs::File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(preadv2(file, &mut [IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT)?)
}
