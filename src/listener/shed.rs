//! How many of the connections that find no place are answered at a time.
//!
//! Delivery Optimization bans a cache that refuses connections for 15 minutes, but not one that answers 503. So they are accepted and answered, a
//! few at a time and for a short time each; beyond that they are closed.

use std::{future::Future, time::Duration};

use tokio::{sync::Semaphore, time::timeout};

use crate::metrics;

/// Room for answers to connections beyond the limit.
#[derive(Debug)]
pub(super) struct Shed {
    answers: Semaphore,
    handshakes: Semaphore,
    metrics: metrics::Listener,
}

impl Shed {
    pub(super) fn new(metrics: metrics::Listener) -> Self {
        Self { answers: Semaphore::new(ANSWERS_MAX), handshakes: Semaphore::new(HANDSHAKES_MAX), metrics }
    }

    /// Runs `answer`, which yields `None` when it came to nothing, if there is room for it.
    pub(super) async fn run(&self, is_tls: bool, answer: impl Future<Output = Option<()>>) {
        self.metrics.shed.inc();
        let room = if is_tls { &self.handshakes } else { &self.answers };
        let answered = match room.try_acquire() {
            Ok(_room) => timeout(ANSWER_TIME, answer).await.is_ok_and(|answered| answered.is_some()),
            Err(_) => false,
        };
        if !answered {
            self.metrics.shed_silently.inc();
        }
    }
}

/// Connections that are answered at a time. Each takes an open file beyond the connection limit.
pub(super) const ANSWERS_MAX: usize = 64;
/// The same where the answer takes a TLS handshake first, which costs a hundred times as much.
pub(super) const HANDSHAKES_MAX: usize = 8;
/// For all of it: handshake, waiting for the request, sending the answer, letting the client read it.
const ANSWER_TIME: Duration = Duration::from_secs(3);
