//! What the table keeps of contents.

use std::{
    ops::{Deref, DerefMut},
    sync::atomic::{AtomicU8, Ordering::Relaxed},
};

use crate::key::KeyHash;

/// What the table keeps of a blob.
#[derive(Debug)]
pub(in crate::store) struct BlobEntry {
    /// Bytes present.
    pub(in crate::store) bytes: u64,
    keys: Keys,
}

/// Keys of the objects that refer to a blob, nearly always one; the marks fill what alignment would leave empty beside it.
#[derive(Debug)]
#[expect(clippy::box_collection, reason = "a thin pointer: the rare case must not widen the usual one")]
enum Keys {
    None(Marks),
    One(KeyHash, Marks),
    Many(Box<Vec<KeyHash>>, Marks),
}

/// What is marked about a blob. Reached through its [`BlobEntry`].
#[derive(Debug, Default)]
pub(in crate::store) struct Marks {
    pub(in crate::store) complete: bool,
    pub(in crate::store) pinned: bool,
    /// All its bytes were compared with their sums since the start.
    pub(in crate::store) checked: bool,
    /// Eviction knows it.
    pub(in crate::store) queued: bool,
    /// Writers at work, a little-endian number: while there are any the blob is not evicted.
    writers: [u8; 2],
    /// Uses since eviction last asked, at most [`USES_MAX`].
    uses: AtomicU8,
}

const USES_MAX: u8 = 3;

impl BlobEntry {
    pub(in crate::store) fn new(bytes: u64, complete: bool, pinned: bool) -> Self {
        Self { bytes, keys: Keys::None(Marks { complete, pinned, ..Marks::default() }) }
    }

    pub(in crate::store) fn has_keys(&self) -> bool {
        !self.keys.as_slice().is_empty()
    }

    pub(in crate::store) fn keys(&self) -> &[KeyHash] {
        self.keys.as_slice()
    }

    pub(in crate::store) fn add_key(&mut self, key: KeyHash) {
        self.keys = match std::mem::replace(&mut self.keys, Keys::None(Marks::default())) {
            Keys::None(marks) => Keys::One(key, marks),
            Keys::One(first, marks) => Keys::Many(Box::new(vec![first, key]), marks),
            Keys::Many(mut keys, marks) => {
                keys.push(key);
                Keys::Many(keys, marks)
            }
        };
    }

    /// Takes out one mention of `key`.
    pub(in crate::store) fn remove_key(&mut self, key: KeyHash) {
        match &mut self.keys {
            Keys::One(only, marks) if *only == key => self.keys = Keys::None(std::mem::take(marks)),
            Keys::Many(keys, _) => {
                if let Some(at) = keys.iter().position(|there| *there == key) {
                    keys.swap_remove(at);
                }
            }
            _ => {}
        }
    }

    pub(in crate::store) fn begin_writing(&mut self) {
        self.writers = u16::from_le_bytes(self.writers).saturating_add(1).to_le_bytes();
    }

    pub(in crate::store) fn end_writing(&mut self) {
        self.writers = u16::from_le_bytes(self.writers).saturating_sub(1).to_le_bytes();
    }

    pub(in crate::store) fn is_being_written(&self) -> bool {
        self.writers != [0; 2]
    }

    pub(super) fn note_use(&self) {
        // Lost increments do no harm, and the usual case, a hot blob at the maximum, writes nothing.
        let uses = self.uses.load(Relaxed);
        if uses < USES_MAX {
            self.uses.store(uses + 1, Relaxed);
        }
    }

    /// Whether it was used since this was last asked; forgets one use.
    pub(in crate::store) fn take_use(&self) -> bool {
        let uses = self.uses.load(Relaxed);
        self.uses.store(uses.saturating_sub(1), Relaxed);
        uses > 0
    }
}

impl Deref for BlobEntry {
    type Target = Marks;

    fn deref(&self) -> &Marks {
        let (Keys::None(marks) | Keys::One(_, marks) | Keys::Many(_, marks)) = &self.keys;
        marks
    }
}

impl DerefMut for BlobEntry {
    fn deref_mut(&mut self) -> &mut Marks {
        let (Keys::None(marks) | Keys::One(_, marks) | Keys::Many(_, marks)) = &mut self.keys;
        marks
    }
}

impl Keys {
    fn as_slice(&self) -> &[KeyHash] {
        match self {
            Self::None(_) => &[],
            Self::One(key, _) => std::slice::from_ref(key),
            Self::Many(keys, _) => keys,
        }
    }
}
