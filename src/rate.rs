//! A rate in bytes per second that several share. Knows neither who they are nor what the bytes mean.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// A token bucket that lends: bytes are taken once they have passed and may run into debt; whoever took them waits until the debt is paid
/// before moving more. So a transfer is slowed down by TCP's own flow control, and those that go on at once share what there is.
#[derive(Debug)]
pub struct Rate {
    bytes_per_second: f64,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    /// Negative: debt.
    tokens: f64,
    at: Instant,
}

impl Rate {
    pub fn new(bytes_per_second: u64) -> Self {
        let bytes_per_second = bytes_per_second.max(1) as f64;
        let bucket = Bucket { tokens: bytes_per_second * BURST.as_secs_f64(), at: Instant::now() };
        Self { bytes_per_second, bucket: Mutex::new(bucket) }
    }

    /// Takes `bytes` and says how long to wait before moving more.
    pub fn take(&self, bytes: usize) -> Option<Duration> {
        let now = Instant::now();
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let gained = now.saturating_duration_since(bucket.at).as_secs_f64() * self.bytes_per_second;
        bucket.tokens = (bucket.tokens + gained).min(self.bytes_per_second * BURST.as_secs_f64()) - bytes as f64;
        bucket.at = now;
        (bucket.tokens < 0.0).then(|| Duration::from_secs_f64(-bucket.tokens / self.bytes_per_second))
    }

    /// How much one of many may move at a time, so that each has its turn soon: what the rate gives in 10 ms, within reason.
    pub fn portion(&self) -> usize {
        (self.bytes_per_second * PORTION.as_secs_f64()).clamp(PORTION_MIN, PORTION_MAX) as usize
    }
}

/// What may pass at once after silence: enough not to throttle small answers, little enough not to show on the line.
const BURST: Duration = Duration::from_millis(100);

const PORTION: Duration = Duration::from_millis(10);
/// Two packets.
const PORTION_MIN: f64 = 3e3;
/// More at a time saves nothing.
const PORTION_MAX: f64 = 256e3;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn several_together_get_the_rate() {
        let rate = Arc::new(Rate::new(1_000_000));
        let started = Instant::now();
        let read = |rate: Arc<Rate>| async move {
            for _ in 0..50 {
                if let Some(pause) = rate.take(20_000) {
                    tokio::time::sleep(pause).await;
                }
            }
        };
        tokio::join!(read(rate.clone()), read(rate));
        let took = started.elapsed();
        assert!(took > Duration::from_millis(1850) && took < Duration::from_millis(2000), "2 MB at 1 MB/s took {took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_saves_no_more_than_the_burst() {
        let rate = Rate::new(1000);
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(rate.take(100), None);
        assert_eq!(rate.take(1000), Some(Duration::from_secs(1)));
    }

    #[test]
    fn a_portion_is_never_nothing_and_never_everything() {
        let portion = |rate| Rate::new(rate).portion();
        assert_eq!((portion(0), portion(10_000_000), portion(u64::MAX)), (3_000, 100_000, 256_000));
    }
}
