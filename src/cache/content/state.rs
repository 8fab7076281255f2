//! What a content knows of its readers and runs, under one lock. No I/O, nothing waits.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    Onward, Reader,
    run::{Run, WINDOW_MAX},
};
use crate::{
    cache::{Error, Wanted},
    piece::{ByteRange, PIECE_LEN},
    upstream::Target,
};

pub(super) struct State {
    /// What further requests are derived from: of those who asked, the one whose signature holds longest.
    pub(super) want: Arc<Wanted>,
    /// Who else asked, under another signature.
    pub(super) other: Option<Arc<Wanted>>,
    /// Where redirects led. The rest is asked for there: the next redirect may lead to a host whose validators are others.
    pub(super) moved: Option<(Target, String)>,
    /// Known from the start, or since a body of unknown length ended.
    pub(super) len: Option<u64>,
    pub(super) runs: Vec<Run>,
    /// Bytes that runs brought.
    pub(super) arrived: u64,
    pub(super) readers: HashMap<u64, Interest>,
    pub(super) next_id: u64,
    /// How many runs failed, and the last one: what it was to bring, and why it did not. A reader that waited for those bytes
    /// and saw the count grow gets the error; one that comes later tries again.
    pub(super) failures: u64,
    pub(super) failure: Option<(ByteRange, Error)>,
    /// No byte can be added any more: the origin has another representation now.
    pub(super) ended: Option<Error>,
    /// Until then a run goes on although nobody reads: the client that asked is being answered.
    pub(super) grace: Instant,
    /// What clients read last, to recognise those that read on: client → (start, end, how often in a row).
    pub(super) sequences: HashMap<IpAddr, (u64, u64, u32)>,
}

/// What a reader still wants.
#[derive(Clone, Copy)]
pub(super) struct Interest {
    pub(super) at: u64,
    /// Exclusive; `u64::MAX` while the length is unknown.
    pub(super) end: u64,
    /// Its client was promised these bytes; before that it can be told of an error.
    pub(super) has_begun: bool,
}

impl State {
    pub(super) fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// A signature that ends earlier is no replacement, but may be the good one of two.
    pub(super) fn renew(&mut self, want: &Arc<Wanted>) {
        if want.path_and_query == self.want.path_and_query {
            return;
        }
        if expiry(&want.path_and_query) < expiry(&self.want.path_and_query) {
            self.other = Some(want.clone());
        } else {
            self.other = Some(std::mem::replace(&mut self.want, want.clone()));
        }
    }

    pub(super) fn start_run(&mut self, start: u64, end: Option<u64>) -> u64 {
        let id = self.id();
        self.runs.push(Run::new(id, start, end));
        id
    }

    pub(super) fn in_window(&self, at: u64, end: u64) -> Option<Bytes> {
        self.runs.iter().find_map(|run| run.take(at, end))
    }

    /// Whether a running request will bring the byte at `offset`, and is no more than `far` bytes away from it.
    pub(super) fn brings(&self, offset: u64, far: u64) -> bool {
        self.runs.iter().any(|run| run.brings(offset, far))
    }

    /// The same of a request whose answer was judged.
    pub(super) fn promises(&self, offset: u64, far: u64) -> bool {
        self.runs.iter().any(|run| run.judged && run.brings(offset, far))
    }

    pub(super) fn judged(&mut self, id: u64, judged: bool) {
        if let Some(run) = self.runs.iter_mut().find(|run| run.id == id) {
            run.judged = judged;
        }
    }

    pub(super) fn has_begun(&self, reader: &Reader) -> bool {
        self.readers.get(&reader.id).is_none_or(|interest| interest.has_begun)
    }

    /// Whether run `id`, now at `at`, is to bring what a client was promised; also while nobody reads.
    pub(super) fn is_owed(&self, id: u64, at: u64) -> bool {
        let Some(run) = self.runs.iter().find(|run| run.id == id) else { return false };
        let end = run.end.unwrap_or(u64::MAX);
        let mut waiting = self.readers.values().filter(|reader| reader.at < end && at < reader.end).peekable();
        waiting.peek().is_none() || waiting.any(|reader| reader.has_begun)
    }

    /// Why no request for the next byte of `reader` is started.
    pub(super) fn why_not(&self, reader: &Reader, resumable: bool) -> Option<Error> {
        if self.ended.is_some() {
            return self.ended.clone();
        }
        if self.failures > reader.failures
            && let Some((lost, error)) = &self.failure
            && lost.contains(reader.at)
        {
            return Some(error.clone());
        }
        (!resumable || reader.end == u64::MAX).then(|| match &self.failure {
            Some((_, error)) => error.clone(),
            None => Error::Unresumable,
        })
    }

    /// The range of `reader` that is still to be served, with its read-ahead, within the content.
    pub(super) fn wanted_by(&self, reader: &Reader) -> Option<ByteRange> {
        let end = reader.end.saturating_add(reader.ahead).min(self.len.unwrap_or(u64::MAX)).max(reader.end);
        ByteRange::new(reader.at, end)
    }

    /// Decides whether run `id` goes on: somebody wants what it brings, or the client that asked is not there yet.
    /// What nobody wants ends with its piece, so that no piece is left torn.
    pub(super) fn onward(&mut self, id: u64, now: Instant) -> Onward {
        let wanted = |run: &Run, end: u64| self.readers.values().any(|reader| reader.at < end && run.at < reader.end);
        let Some(index) = self.runs.iter().position(|run| run.id == id) else { return Onward::Stop };
        let run = &self.runs[index];
        if now >= self.grace && !wanted(run, run.end.unwrap_or(u64::MAX)) {
            let piece_end = run.at.next_multiple_of(PIECE_LEN);
            let end = run.end.map_or(piece_end, |end| end.min(piece_end));
            // A body of unknown length cannot be cut and continued: it goes on or is lost.
            if self.len.is_some() || !run.stored {
                self.runs[index].end = Some(end);
            }
        }
        let run = &self.runs[index];
        if run.end.is_some_and(|end| run.at >= end) { Onward::Stop } else { Onward::Continue }
    }

    /// Whether a reader is within the window of run `id`.
    pub(super) fn needs_window(&self, id: u64) -> bool {
        let Some(run) = self.runs.iter().find(|run| run.id == id) else { return false };
        self.readers.values().any(|reader| reader.end > run.floor() && (run.floor()..run.at).contains(&reader.at))
    }

    /// `None` while the run has to wait.
    pub(super) fn make_room(&mut self, id: u64) -> Option<Onward> {
        let Some(index) = self.runs.iter().position(|run| run.id == id) else { return Some(Onward::Stop) };
        let (floor, at, end) = (self.runs[index].floor(), self.runs[index].at, self.runs[index].end.unwrap_or(u64::MAX));
        let fastest =
            self.readers.values().filter(|reader| reader.end > floor && reader.at < end).map(|reader| reader.at.min(at)).max();
        let Some(fastest) = fastest else {
            return Some(if Instant::now() < self.grace { Onward::Continue } else { Onward::Stop });
        };
        let run = &mut self.runs[index];
        while run.window_len > WINDOW_MAX
            && let Some((start, bytes)) = run.window.front()
            && start + bytes.len() as u64 <= fastest
        {
            run.drop_front();
        }
        (run.window_len <= WINDOW_MAX).then_some(Onward::Continue)
    }

    /// How far ahead to ask for a client that reads range after range in order: twice as far each time, within a bound.
    pub(super) fn read_ahead(&mut self, client: IpAddr, start: u64, end: u64) -> u64 {
        if end == u64::MAX {
            return 0;
        }
        let streak = match self.sequences.get(&client) {
            Some(&(_, last, streak)) if last == start => streak + 1,
            // The same request: it waited for its first byte.
            Some(&(first, last, streak)) if (first, last) == (start, end) => streak,
            _ => 0,
        };
        if self.sequences.len() >= SEQUENCES_MAX {
            self.sequences.clear();
        }
        self.sequences.insert(client, (start, end, streak));
        // The first continuation may be chance; from the second on it is a habit.
        if streak < 2 { 0 } else { ((end - start) << (streak - 1).min(4)).min(READ_AHEAD_MAX) }
    }
}

/// When the signature in a URL of Microsoft's content services ends, in seconds of Unix time (`P1`, by all that was observed of it).
fn expiry(path_and_query: &str) -> Option<u64> {
    let (_, query) = path_and_query.split_once('?')?;
    query.split('&').find_map(|parameter| parameter.strip_prefix("P1="))?.parse().ok()
}

const READ_AHEAD_MAX: u64 = 16 << 20;
const SEQUENCES_MAX: usize = 64;
