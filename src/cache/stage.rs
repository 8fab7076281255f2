//! Fetching what no client waits for, in the gaps between what clients do wait for.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use tokio::time::{Instant, sleep};

use super::{Answer, Error, Hub, Wanted, content::Content, get, judge::Why};
use crate::piece::ByteRange;

/// Fetches and stores the content of `want`, portion by portion, each when no fill runs that a client caused. What a demand meets on the line is at
/// most one portion of each that is staged at once. `size`: what metadata says of its length; no more is fetched.
///
/// # Errors
/// Why it is not, or not wholly, stored; [`Error::Busy`] when clients left no gap for an hour.
pub(super) async fn stage(hub: &Arc<Hub>, want: &Arc<Wanted>, size: u64) -> Result<(), Error> {
    let portion = Portion::begin(hub).await?;
    let Answer::Found(found) = get::get(hub, want, SystemTime::now()).await? else { return Err(Error::Unresumable) };
    // Nothing but what is small and whole is in memory.
    let Some(content) = found.content().cloned() else { return Ok(()) };
    let Some(len) = content.len() else { return unmeasured(&content, size).await };
    let segment_len = hub.config().segment_len.max(1);
    bring(&content, ByteRange::new(0, len.min(segment_len))).await?;
    drop(portion);
    let mut at = segment_len;
    while at < len {
        let range = ByteRange::new(at, len.min(at + segment_len));
        if range.is_some_and(|range| !content.has(range)) {
            let _portion = Portion::begin(hub).await?;
            bring(&content, range).await?;
        }
        at += segment_len;
    }
    Ok(())
}

/// Brings what the origin gives no length of: it may have no end. One byte more than expected is waited for, and not the end at exactly so many.
async fn unmeasured(content: &Arc<Content>, size: u64) -> Result<(), Error> {
    content.complete(size.saturating_add(1)).await?;
    if content.len() == Some(size) { Ok(()) } else { Err(Error::Contradicted(Why::Length.as_str())) }
}

async fn bring(content: &Arc<Content>, range: Option<ByteRange>) -> Result<(), Error> {
    content.reader(range, None).exhaust(u64::MAX).await
}

/// A portion under way.
struct Portion(Arc<Hub>);

impl Portion {
    /// Waits until nothing runs but other portions.
    async fn begin(hub: &Arc<Hub>) -> Result<Self, Error> {
        let deadline = Instant::now() + WAIT_MAX;
        while hub.metrics.fills_running.value() > i64::from(hub.staging.load(Ordering::Relaxed)) {
            if Instant::now() >= deadline {
                return Err(Error::Busy { bound: "prestage" });
            }
            sleep(LOOK_INTERVAL).await;
        }
        hub.staging.fetch_add(1, Ordering::Relaxed);
        Ok(Self(hub.clone()))
    }
}

impl Drop for Portion {
    fn drop(&mut self) {
        self.0.staging.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Between two looks at what runs: what clients wait for seldom leaves shorter gaps that would be worth taking.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Metadata that passes again brings it up again.
const WAIT_MAX: Duration = Duration::from_secs(3600);
