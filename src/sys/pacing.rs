//! How fast the kernel sends on a socket, at most.

use std::{
    io,
    mem::size_of,
    os::fd::{AsFd, AsRawFd},
};

/// Has TCP space the packets of `socket` so that no more than so many bytes per second leave; `None`: as fast as they go. Connections that a
/// listening socket accepts later inherit it.
pub fn set_max(socket: &impl AsFd, bytes_per_second: Option<u64>) -> io::Result<()> {
    // All bits set is the kernel's word for no limit.
    let rate = bytes_per_second.unwrap_or(u64::MAX);
    if rate == u64::MAX && max(socket)? == u64::MAX {
        // Asking for no limit would turn the kernel's pacing timers on.
        return Ok(());
    }
    let (level, name, len) = (libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, size_of::<u64>() as libc::socklen_t);
    // SAFETY: the descriptor is open while it is borrowed, and the kernel reads `len` bytes of `rate`, which outlives the call.
    let done = unsafe { libc::setsockopt(socket.as_fd().as_raw_fd(), level, name, (&raw const rate).cast(), len) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What was set; [`u64::MAX`] for no limit.
fn max(socket: &impl AsFd) -> io::Result<u64> {
    let (mut rate, mut len) = (0_u64, size_of::<u64>() as libc::socklen_t);
    let (level, name) = (libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE);
    // SAFETY: the descriptor is open while it is borrowed, and the kernel writes at most `len` bytes to `rate`; both outlive the call.
    let done = unsafe { libc::getsockopt(socket.as_fd().as_raw_fd(), level, name, (&raw mut rate).cast(), &raw mut len) };
    if done == 0 { Ok(rate) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn accepted_connections_have_the_rate_of_their_listener() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        set_max(&listener, None).unwrap();
        assert_eq!(max(&listener).unwrap(), u64::MAX);
        set_max(&listener, Some(5_000_000)).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(max(&accepted).unwrap(), 5_000_000);
        set_max(&listener, None).unwrap();
        assert_eq!(max(&listener).unwrap(), u64::MAX);
    }
}
