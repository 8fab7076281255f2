//! The allocator's own housekeeping, at moments of ours.
//!
//! Each thread has pages of its own there. What others freed in them is found when that thread allocates many times more; a thread with nothing
//! to do never gives it back.

// The library is linked for its functions, whatever the program allocates with.
use mimalloc as _;

/// Gives back what nobody uses any more in the pages of this thread, those included that it keeps for its next needs. Costs some ten microseconds,
/// and the faults of pages that are needed again: for moments of rest, or once a second.
pub fn tidy() {
    // SAFETY: part of mimalloc's stable interface; takes no pointer, touches no block in use, and may be called by any thread at any time.
    unsafe { mi_collect(true) }
}

unsafe extern "C" {
    fn mi_collect(force: bool);
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_in_use_stays() {
        let text = vec![7_u8; 100_000];
        super::tidy();
        assert!(text.iter().all(|byte| *byte == 7));
    }
}
