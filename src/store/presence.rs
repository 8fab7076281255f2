//! Whether the data directory is still where it was, and takes files: somebody may remove it, unmount it, or mount it read-only.
//!
//! Nothing here or elsewhere makes the directory again while the store runs: half of it would only keep the next start from making it whole.

use std::sync::PoisonError;

use crate::store::{State, shared::Shared};

impl Shared {
    /// Whether the lock file is still the one this store took. True when that cannot be told: a commit then finds out.
    pub(super) fn is_there(&self) -> bool {
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner).clone();
        lock.is_none_or(|lock| lock.is_at(&self.layout.lock()).unwrap_or(true))
    }

    /// Looks after the directory. Called by the committer, so once a second at least.
    pub(super) fn watch(&self) {
        if !self.is_there() {
            return self.room.enter(State::Missing, &self.metrics);
        }
        let is_writing = matches!(self.room.state(), State::Working | State::Full);
        if !is_writing && self.takes_files() {
            // The commit decides.
            self.journal.hurry();
        }
    }

    /// Writing failed, for this reason or that.
    pub(super) fn cannot_write(&self) {
        self.room.enter(if self.is_there() { State::Degraded } else { State::Missing }, &self.metrics);
    }

    /// A file could not be made: nothing more is taken in until a commit and a file that can be made say that it works.
    pub(super) fn doubt_writing(&self) {
        self.cannot_write();
        self.journal.hurry();
    }

    /// A commit succeeded. That alone is not enough after files could not be made.
    pub(super) fn recovered(&self) {
        let is_writing = matches!(self.room.state(), State::Working | State::Full);
        if !is_writing && self.takes_files() {
            self.room.enter(State::Working, &self.metrics);
        }
    }

    /// Makes a file where blobs are, and removes it.
    fn takes_files(&self) -> bool {
        let probe = self.layout.probe();
        self.disk.create(&probe).and_then(|_| self.disk.unlink(&probe)).is_ok()
    }
}
