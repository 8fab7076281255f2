//! The WAN budget of one upstream: a token bucket over the bytes of its bodies.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Bytes per second, shared by all bodies of one upstream.
///
/// Bytes are taken when they have arrived and may run into debt; whoever took them then waits until the debt is paid before reading on.
/// So a body is slowed down by TCP's own flow control, and bodies that read at once share what there is.
pub(super) struct Budget {
    rate: f64,
    bucket: Mutex<Bucket>,
}

struct Bucket {
    /// Negative: debt.
    tokens: f64,
    at: Instant,
}

impl Budget {
    pub(super) fn new(bytes_per_second: u64) -> Self {
        let rate = bytes_per_second.max(1) as f64;
        Self { rate, bucket: Mutex::new(Bucket { tokens: rate * BURST.as_secs_f64(), at: Instant::now() }) }
    }

    /// Takes `bytes` and says how long to wait before reading more.
    pub(super) fn take(&self, bytes: usize) -> Option<Duration> {
        let now = Instant::now();
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let gained = now.saturating_duration_since(bucket.at).as_secs_f64() * self.rate;
        bucket.tokens = (bucket.tokens + gained).min(self.rate * BURST.as_secs_f64()) - bytes as f64;
        bucket.at = now;
        (bucket.tokens < 0.0).then(|| Duration::from_secs_f64(-bucket.tokens / self.rate))
    }
}

/// What an idle upstream may send at once: enough not to throttle small answers, little enough not to show on the line.
const BURST: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn several_readers_together_get_the_rate() {
        let budget = std::sync::Arc::new(Budget::new(1_000_000));
        let started = Instant::now();
        let read = |budget: std::sync::Arc<Budget>| async move {
            for _ in 0..50 {
                if let Some(pause) = budget.take(20_000) {
                    tokio::time::sleep(pause).await;
                }
            }
        };
        tokio::join!(read(budget.clone()), read(budget));
        let took = started.elapsed();
        assert!(took > Duration::from_millis(1850) && took < Duration::from_millis(2000), "2 MB at 1 MB/s took {took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_budget_saves_no_more_than_its_burst() {
        let budget = Budget::new(1000);
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(budget.take(100), None);
        assert_eq!(budget.take(1000), Some(Duration::from_secs(1)));
    }
}
