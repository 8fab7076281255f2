//! Listening sockets: bound here, or handed over by the service manager.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    time::Duration,
};

use listenfd::ListenFd;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::{listener::Error, sys::pacing};

/// Connections that wait to be accepted. The kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Sockets handed over at start (`sd_listen_fds(3)`), so that no connection is refused while weir restarts.
pub(super) struct Inherited(Vec<(SocketAddr, TcpListener)>);

impl Inherited {
    /// Takes them from the environment. The first call gets them all.
    pub(super) fn take() -> Result<Self, Error> {
        let mut handed = ListenFd::from_env();
        let mut sockets = Vec::new();
        for index in 0..handed.len() {
            if let Some(socket) = handed.take_tcp_listener(index).map_err(Error::Inherited)? {
                sockets.push((socket.local_addr().map_err(Error::Inherited)?, socket));
            }
        }
        Ok(Self(sockets))
    }

    /// The socket for `address`: the same address, else any on the same port.
    fn find(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let same = self.0.iter().position(|(bound, _)| *bound == address);
        let index = same.or_else(|| self.0.iter().position(|(bound, _)| bound.port() == address.port()))?;
        Some(self.0.swap_remove(index).1)
    }

    /// The addresses nobody asked for.
    pub(super) fn left(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|(address, _)| *address).collect()
    }
}

/// The socket for `address`, inherited or new, ready for tokio.
pub(super) fn listen(address: SocketAddr, inherited: &mut Inherited, connection_rate: Option<u64>) -> io::Result<TcpListener> {
    let socket = match inherited.find(address) {
        Some(socket) => socket,
        None => bind(address)?,
    };
    prepare(&socket)?;
    // Said in either case: an inherited socket may have the rate of the weir before.
    pacing::set_max(&socket, connection_rate)?;
    Ok(socket)
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match bind_exactly(address) {
        // A kernel without IPv6: everything there is, is IPv4.
        Err(error) if is_any_v6(address) && error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()) => {
            bind_exactly((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        bound => bound,
    }
}

fn is_any_v6(address: SocketAddr) -> bool {
    address.is_ipv6() && address.ip().is_unspecified()
}

fn bind_exactly(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // Connections of a weir that just ended linger in TIME_WAIT; they must not keep the next one from binding.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepted connections inherit these options on Linux, which saves the calls for each of them.
fn prepare(socket: &TcpListener) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(UNSENT_MAX)?;
    socket.set_keepalive(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))
}

/// Bytes that may wait in a socket beyond what its client is ready for. Without a limit each slow reader has the kernel keep more than a MiB of its answer,
/// copied while others wait; and few long streams take turns in portions that no cache holds (100 MiB objects: 2.5 against 1.9 GB/s).
const UNSENT_MAX: u32 = 256 << 10;

/// Finds out about clients that vanished without a word, in tunnels above all.
const KEEPALIVE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn handed(address: &str) -> (SocketAddr, TcpListener) {
        let socket = TcpListener::bind(address).unwrap();
        (socket.local_addr().unwrap(), socket)
    }

    #[test]
    fn inherited_sockets_are_found_by_address_then_by_port() {
        let (here, there) = (handed("127.0.0.1:0"), handed("127.0.0.1:0"));
        let (address, port) = (there.0, here.0.port());
        let mut inherited = Inherited(vec![here, there]);
        let same = listen(address, &mut inherited, None).unwrap();
        assert_eq!(same.local_addr().unwrap(), address);
        let any = listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), &mut inherited, None).unwrap();
        assert_eq!(any.local_addr().unwrap().port(), port);
        assert!(inherited.left().is_empty());
    }

    #[test]
    fn an_inherited_socket_that_nobody_asks_for_is_left() {
        let other = handed("127.0.0.1:0");
        let address = other.0;
        let mut inherited = Inherited(vec![other]);
        let own = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), &mut inherited, None).unwrap();
        assert_ne!(own.local_addr().unwrap(), address);
        assert_eq!(inherited.left(), [address]);
    }

    #[test]
    fn a_port_in_use_is_an_error() {
        let mut none = Inherited(Vec::new());
        let first = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), &mut none, None).unwrap();
        assert!(listen(first.local_addr().unwrap(), &mut none, None).is_err());
    }
}
