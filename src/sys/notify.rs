//! Tells the service manager how far we are (`sd_notify(3)`).

use std::{
    env, io,
    os::{
        linux::net::SocketAddrExt,
        unix::{ffi::OsStrExt, net::SocketAddr, net::UnixDatagram},
    },
};

/// What the service manager is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Ready,
    Reloading,
    Stopping,
}

/// Sends `state` to the socket in `NOTIFY_SOCKET`. Without one nobody wants to know, and nothing happens.
pub fn notify(state: State) -> io::Result<()> {
    match env::var_os("NOTIFY_SOCKET") {
        Some(path) if !path.is_empty() => send(state, path.as_bytes()),
        _ => Ok(()),
    }
}

fn send(state: State, path: &[u8]) -> io::Result<()> {
    let address = match path.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))?,
    };
    let message = match state {
        State::Ready => "READY=1".to_owned(),
        // Type=notify-reload wants to know when, on the clock that systemd itself reads.
        State::Reloading => format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_usec()),
        State::Stopping => "STOPPING=1".to_owned(),
    };
    let socket = UnixDatagram::unbound()?;
    // A service manager that does not read must not hold us up.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(message.as_bytes(), &address)?;
    Ok(())
}

fn monotonic_usec() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_manager_reads_that_we_are_ready() {
        let name = format!("weir-notify-test-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        send(State::Ready, format!("@{name}").as_bytes()).unwrap();
        let mut message = [0; 64];
        let len = manager.recv(&mut message).unwrap();
        assert_eq!(&message[..len], b"READY=1");
    }

    #[test]
    fn a_service_manager_that_is_gone_is_an_error_and_no_wait() {
        assert!(send(State::Stopping, b"@weir-notify-test-nobody").is_err());
    }
}
