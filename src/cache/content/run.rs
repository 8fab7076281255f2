//! A run: a range that is being brought, with a window of what arrived lately.

use std::collections::VecDeque;

use bytes::Bytes;

pub(super) struct Run {
    pub(super) id: u64,
    pub(super) at: u64,
    pub(super) end: Option<u64>,
    /// Bytes that arrived lately, oldest first.
    pub(super) window: VecDeque<(u64, Bytes)>,
    pub(super) window_len: usize,
    /// Whether the store takes the bytes; if not, the window is all there is.
    pub(super) stored: bool,
    /// Whether it pours an answer whose head was judged before the run began: clients may have been told of it.
    pub(super) judged: bool,
}

impl Run {
    pub(super) fn new(id: u64, start: u64, end: Option<u64>) -> Self {
        Self { id, at: start, end, window: VecDeque::new(), window_len: 0, stored: true, judged: false }
    }

    /// Where the window begins: bytes before it are in the blob or gone.
    pub(super) fn floor(&self) -> u64 {
        self.at - self.window_len as u64
    }

    /// Whether the byte at `offset` is to come, and no more than `far` bytes away.
    pub(super) fn brings(&self, offset: u64, far: u64) -> bool {
        self.at <= offset && self.end.is_none_or(|end| offset < end) && offset - self.at <= far
    }

    pub(super) fn take(&self, at: u64, end: u64) -> Option<Bytes> {
        if at < self.floor() || at >= self.at {
            return None;
        }
        // The window is in order: find the last entry that starts at or before `at`.
        let index = self.window.partition_point(|(start, _)| *start <= at).checked_sub(1)?;
        let (start, bytes) = &self.window[index];
        let skip = usize::try_from(at - start).ok()?;
        let take = usize::try_from(end - at).unwrap_or(usize::MAX).min(bytes.len() - skip);
        Some(bytes.slice(skip..skip + take))
    }

    /// Lets go what the blob has, but for a little that readers close behind will want at once.
    pub(super) fn trim(&mut self, readable: u64) {
        while self.window_len > WINDOW_KEPT
            && let Some((start, bytes)) = self.window.front()
            && start + bytes.len() as u64 <= readable
        {
            self.drop_front();
        }
    }

    pub(super) fn drop_front(&mut self) {
        if let Some((_, bytes)) = self.window.pop_front() {
            self.window_len -= bytes.len();
        }
    }
}

/// Kept of what is in the blob already, for readers close behind the fill: of many that take turns the last is so far behind the first.
const WINDOW_KEPT: usize = 1 << 20;
/// The most an unstored run holds for its readers.
pub(super) const WINDOW_MAX: usize = 2 << 20;
