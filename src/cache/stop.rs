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
            // What is always ready, as the next bytes of a fast origin are, would never stop otherwise.
            biased;
            () = self.clone().wait() => Err(Error::Stopped),
            done = work => Ok(done),
        }
    }
}

/// For what a fill has in hand to reach the store.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_told_to_stop_goes_on_with_nothing_however_ready_it_is_and_is_waited_for() {
        let stop = Stop::new();
        let signal = stop.signal();
        assert!(matches!(signal.unless(ready(1)).await, Ok(1)));
        let task = async {
            signal.clone().wait().await;
            assert!(matches!(signal.unless(ready(2)).await, Err(Error::Stopped)));
            drop(signal);
        };
        let (in_time, ()) = tokio::join!(stop.stop(), task);
        assert!(in_time);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_stop_is_not_waited_for_for_ever() {
        let stop = Stop::new();
        let _listens = stop.signal();
        assert!(!stop.stop().await);
    }
}
