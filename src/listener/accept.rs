//! Accepting connections, and letting go of them in a drain.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinError, JoinSet},
};

use crate::{
    listener::{
        Drained, Socket,
        connection::{Ends, Gate},
        limit::Places,
    },
    metrics,
    proxy::connection::{Phase, Service},
};

/// One listening socket and the connections that came through it.
pub(super) struct Accepting<S> {
    pub(super) listener: TcpListener,
    pub(super) socket: Arc<Socket>,
    pub(super) gate: Arc<Gate<S>>,
    pub(super) places: Arc<Places>,
    pub(super) metrics: metrics::Listener,
    pub(super) phase: watch::Receiver<Phase>,
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
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => self.take_in(&mut connections, stream, peer),
                    Err(error) => self.recover(&error).await,
                },
            }
        }
        drop(self.listener);
        drain(connections, self.phase).await
    }

    fn take_in(&self, connections: &mut JoinSet<()>, stream: TcpStream, peer: std::net::SocketAddr) {
        self.metrics.accepted.inc();
        let Ok(local) = stream.local_addr() else { return }; // reset already
        let (gate, socket) = (Arc::clone(&self.gate), Arc::clone(&self.socket));
        let ends = Ends::of_socket(peer, local);
        match self.places.take() {
            Ok(place) => connections.spawn(async move { gate.welcome(&socket, stream, ends, place).await }),
            Err(_full) => connections.spawn(async move { gate.shed(&socket, stream, ends).await }),
        };
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
