//! Waiting at most so long, where time in which the whole process stood still does not count.
//!
//! A machine that is suspended, moved or out of breath stops everybody: those who wait, and those they wait for. When it goes on, the timers
//! of the first are due before the others had a chance to do anything.

use std::{pin::pin, time::Duration};

use tokio::time::{Instant, timeout_at};

/// What `work` gives, or `None` after `limit`. If that ends much too late, `work` gets as long again: more than that nobody is made to wait,
/// however often the process stands still.
pub async fn timeout<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let due = Instant::now() + limit;
    match timeout_at(due, &mut work).await {
        Ok(done) => Some(done),
        Err(_) if due.elapsed() < STOOD_STILL => None,
        Err(_) => tokio::time::timeout(limit, work).await.ok(),
    }
}

/// A timer that rings so late did not wait for a busy thread.
const STOOD_STILL: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use tokio::{sync::Notify, time::advance};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn who_waits_in_vain_gives_up_in_time() {
        let began = Instant::now();
        assert_eq!(timeout(LIMIT, std::future::pending::<()>()).await, None);
        assert_eq!(began.elapsed().as_secs(), LIMIT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_after_a_standstill_is_still_waited_for() {
        let comes = Notify::new();
        let standstill = async {
            advance(4 * LIMIT).await;
            // Who waits is awake by now and saw that its time is over.
            tokio::time::sleep(LIMIT / 2).await;
            comes.notify_one();
        };
        let (waited, ()) = tokio::join!(timeout(LIMIT, comes.notified()), standstill);
        assert_eq!(waited, Some(()));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_standstill_nobody_waits_for_ever() {
        let (waited, ()) = tokio::join!(timeout(LIMIT, std::future::pending::<()>()), advance(4 * LIMIT));
        assert_eq!(waited, None);
    }
}
