//! Accepting connections, dealing them to cores, and letting go of them in a drain.

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
};

use crate::{
    listener::{
        Drained, Socket,
        connection::{Ends, Gate},
        cores::Dealer,
        limit::Places,
    },
    metrics,
    proxy::connection::{Phase, Service},
    sys::listening::Listening,
};

/// One listening socket on one core, and the connections that came through it.
pub(super) struct Accepting<S> {
    pub(super) door: Door,
    pub(super) socket: Arc<Socket>,
    pub(super) gate: Arc<Gate<S>>,
    pub(super) places: Arc<Places>,
    pub(super) metrics: metrics::Listener,
    pub(super) phase: watch::Receiver<Phase>,
}

/// A listening socket as one core sees it; others may hold the same.
pub(super) struct Door {
    listening: Listening,
    address: SocketAddr,
    dealer: Dealer,
}

impl Door {
    /// Call inside the runtime that is to accept.
    pub(super) fn new(listener: TcpListener, address: SocketAddr, dealer: Dealer) -> io::Result<Self> {
        Ok(Self { listening: Listening::new(listener)?, address, dealer })
    }

    /// The address that the client connected to; `None` if it has gone already.
    fn local(&self, stream: &TcpStream) -> Option<SocketAddr> {
        if self.address.ip().is_unspecified() { stream.local_addr().ok() } else { Some(self.address) }
    }
}

impl<S: Service> Accepting<S> {
    /// Accepts until a drain begins, then waits for the connections until the cut.
    pub(super) async fn run(mut self) -> Drained {
        let mut connections = JoinSet::new();
        while *self.phase.borrow_and_update() == Phase::Serving {
            tokio::select! {
                biased; // a drain first: it counts what is open
                changed = self.phase.changed() => if changed.is_err() { break },
                Some(ended) = connections.join_next() => note_panic(ended),
                accepted = self.door.listening.accept() => match accepted {
                    Ok((stream, peer)) => self.take_in(&mut connections, stream, peer),
                    Err(error) => self.recover(&error).await,
                },
            }
        }
        drop(self.door);
        drain(connections, self.phase).await
    }

    fn take_in(&self, connections: &mut JoinSet<()>, stream: TcpStream, peer: SocketAddr) {
        self.metrics.accepted.inc();
        let Some(local) = self.door.local(&stream) else { return }; // reset already
        let (gate, socket) = (Arc::clone(&self.gate), Arc::clone(&self.socket));
        let ends = Ends::of_socket(peer, local);
        let (place, seat) = (self.places.take(), self.door.dealer.seat());
        let core = Arc::clone(seat.core());
        let served = async move {
            // Registered on the core that serves it: events wake the thread that is to act on them.
            let Ok(stream) = tokio::net::TcpStream::from_std(stream) else { return };
            match place {
                Ok(place) => gate.welcome(&socket, stream, ends, place).await,
                Err(_full) => gate.shed(&socket, stream, ends).await,
            }
            drop(seat);
        };
        connections.spawn_on(served, core.runtime());
    }

    /// An accept that failed says nothing about the next one, but where a resource ran out, trying at once again would burn the processor.
    async fn recover(&self, error: &io::Error) {
        let Some(reason) = exhausted(error) else {
            return self.metrics.accept_errors.inc("connection");
        };
        self.metrics.accept_errors.inc(reason);
        tracing::warn!(%error, "cannot accept connections");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Short against the 3 s in which Delivery Optimization wants to be connected.
const PAUSE: Duration = Duration::from_millis(100);

/// What ran out, if that is why an accept failed.
fn exhausted(error: &io::Error) -> Option<&'static str> {
    use rustix::io::Errno;
    match Errno::from_io_error(error)? {
        Errno::MFILE | Errno::NFILE => Some("open-files"),
        Errno::NOBUFS | Errno::NOMEM => Some("memory"),
        _ => None,
    }
}

/// Waits for `connections` until they are gone or cut.
async fn drain(mut connections: JoinSet<()>, mut phase: watch::Receiver<Phase>) -> Drained {
    let open = connections.len();
    loop {
        tokio::select! {
            // The cut first: connections that it ended are counted as cut. An error means that nobody is left to wait for us.
            biased;
            _ = phase.wait_for(|phase| *phase == Phase::Cut) => break,
            ended = connections.join_next() => match ended {
                Some(ended) => note_panic(ended),
                None => break,
            },
        }
    }
    let cut = connections.len();
    connections.shutdown().await;
    Drained { finished: open - cut, cut }
}

fn note_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection ended in a panic");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_resource_that_ran_out_makes_accepting_pause() {
        let word = |errno: rustix::io::Errno| exhausted(&errno.into());
        assert_eq!(word(rustix::io::Errno::MFILE), Some("open-files"));
        assert_eq!(word(rustix::io::Errno::NOMEM), Some("memory"));
        assert_eq!(word(rustix::io::Errno::CONNABORTED), None);
    }
}
