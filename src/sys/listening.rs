//! A listening socket in a tokio runtime that gives away what it accepts without having looked after it.
//!
//! tokio's own listener ties what it accepts to the runtime that accepted it; here another may serve it.

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
};

use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::{
    io::{Interest, unix::AsyncFd},
    task::coop,
};

/// A listening socket. Several runtimes may hold clones of one: whichever is awake takes the next connection, and what waits in the queue
/// waits for all of them.
#[derive(Debug)]
pub struct Listening(AsyncFd<TcpListener>);

impl Listening {
    /// `listener` does not block. Call inside the runtime that is to accept.
    ///
    /// # Errors
    /// The kernel cannot watch one more file.
    pub fn new(listener: TcpListener) -> io::Result<Self> {
        // SAFETY: a `TcpListener` owns one open file descriptor and names the same one until it is dropped; the `AsyncFd` owns it by then.
        let registered = unsafe { AsyncFd::register_with_interest(listener, Interest::READABLE) };
        Ok(Self(registered?))
    }

    /// The next connection, not blocking, and whose it is. Dropped early, it loses none.
    ///
    /// # Errors
    /// Those of accept(2).
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        // A queue that never ends must not keep this thread from everything else.
        coop::consume_budget().await;
        loop {
            if let Ok(accepted) = self.0.readable().await?.try_io(|listener| accept(listener.get_ref())) {
                return accepted;
            }
        }
    }
}

fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, peer) = acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    // The kernel gives an address of the listener's own family.
    let peer = SocketAddr::try_from(peer.ok_or(io::ErrorKind::ConnectionAborted)?)?;
    Ok((stream.into(), peer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn connections_come_with_their_address_and_do_not_block() {
        let (listener, address) = listener();
        let listening = Listening::new(listener).unwrap();
        let client = tokio::net::TcpStream::connect(address).await.unwrap();
        let (stream, peer) = listening.accept().await.unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
        assert_eq!(io::Read::read(&mut &stream, &mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[tokio::test]
    async fn two_that_hold_one_socket_get_each_connection_once() {
        let (listener, address) = listener();
        let second = Listening::new(listener.try_clone().unwrap()).unwrap();
        let first = Listening::new(listener).unwrap();
        let mut ports = Vec::new();
        let mut clients = Vec::new();
        for _ in 0..8 {
            clients.push(tokio::net::TcpStream::connect(address).await.unwrap());
            let (_, peer) = tokio::select! {
                accepted = first.accept() => accepted.unwrap(),
                accepted = second.accept() => accepted.unwrap(),
            };
            ports.push(peer);
        }
        assert_eq!(ports, clients.iter().map(|client| client.local_addr().unwrap()).collect::<Vec<_>>());
    }
}
