//! A barrier that scenarios open by hand.

use std::sync::Arc;

use tokio::sync::watch;

use super::within;

/// Whoever waits at a closed gate goes on when it is opened. Clones are the same gate.
#[derive(Clone)]
pub(crate) struct Gate {
    open: Arc<watch::Sender<bool>>,
    arrived: Arc<watch::Sender<usize>>,
}

impl Gate {
    pub(crate) fn closed() -> Self {
        Self { open: Arc::new(watch::Sender::new(false)), arrived: Arc::new(watch::Sender::new(0)) }
    }

    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }

    /// Waits at the gate until it is open.
    pub(crate) async fn pass(&self) {
        self.arrived.send_modify(|count| *count += 1);
        self.open.subscribe().wait_for(|open| *open).await.expect("the sender lives in self");
    }

    /// Resolves when at least `count` have come to the gate, open or not.
    pub(crate) async fn reached_by(&self, count: usize) {
        let mut arrived = self.arrived.subscribe();
        within("somebody reaches the gate", arrived.wait_for(|n| *n >= count)).await.expect("the sender lives in self");
    }
}
