//! The end of a cache: what it started is told to stop, and waited for.

use std::time::Duration;

use tokio::{sync::watch, time::timeout};

use super::Error;

/// Tells all tasks of a cache to stop.
pub(super) struct Stop(watch::Sender<bool>);

/// What a task listens to. As long as it is held, the cache waits for the task.
#[derive(Clone)]
pub(super) struct StopSignal(watch::Receiver<bool>);

impl Stop {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    pub(super) fn signal(&self) -> StopSignal {
        StopSignal(self.0.subscribe())
    }

    /// Tells, and waits until nobody listens any more. False: some task did not end in time.
    pub(super) async fn stop(&self) -> bool {
        self.0.send_replace(true);
        timeout(PATIENCE, self.0.closed()).await.is_ok()
    }
}

impl StopSignal {
    /// Resolves when the cache stops.
    pub(super) async fn wait(mut self) {
        // An error means that the cache is gone, which is stopping, too.
        _ = self.0.wait_for(|stop| *stop).await;
    }

    /// Does `work`, but drops it when the cache stops.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub(super) async fn unless<T>(&self, work: impl Future<Output = T>) -> Result<T, Error> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = self.clone().wait() => Err(Error::Stopped),
        }
    }
}

/// For what a fill has in hand to reach the store.
const PATIENCE: Duration = Duration::from_secs(10);
