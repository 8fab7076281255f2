//! What the table keeps of stored responses.

use std::num::NonZeroU32;

use crate::{
    key::KeyHash,
    object::{BlobId, Object, ObjectId},
    store::table::KeyShard,
};

/// What the table keeps of an object. Two equal slots mean the same stored response, unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Slot {
    pub(in crate::store) object: ObjectId,
    pub(in crate::store) blob: BlobId,
    pub(in crate::store) tag: Tag,
    pub(in crate::store) revision: NonZeroU32,
}

/// Which variant of its key an object is, and whether the record in its blob's place is of this very state of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Tag {
    variant: [u8; 3],
    /// Has values to spare: those tell one slot from many, and an entry of the table from a free place.
    is_in_pack: bool,
}

/// The objects of one key, the most recent first. Nearly always one.
#[derive(Debug)]
#[expect(clippy::box_collection, reason = "a thin pointer: the rare case must not widen the usual one")]
pub(in crate::store) enum Slots {
    One(Slot),
    Many(Box<Vec<Slot>>),
}

impl Slot {
    /// Whether it stands for `object` as it is, its blob aside.
    pub(in crate::store) fn is_state_of(&self, object: &Object) -> bool {
        self.object == object.id && self.revision == object.revision
    }

    /// Whether both stand for the same state of the same response, wherever its fields are.
    pub(in crate::store) fn is_same(&self, other: &Self) -> bool {
        (self.object, self.revision, self.blob) == (other.object, other.revision, other.blob)
    }
}

impl Tag {
    /// `variant`: of [`variant_of`], of which 24 bits are kept.
    pub(in crate::store) fn new(variant: u32, is_in_pack: bool) -> Self {
        let [kept @ .., _] = variant.to_le_bytes();
        Self { variant: kept, is_in_pack }
    }

    pub(in crate::store) fn variant(self) -> u32 {
        let [low, middle, high] = self.variant;
        u32::from_le_bytes([low, middle, high, 0])
    }

    pub(in crate::store) fn is_in_pack(self) -> bool {
        self.is_in_pack
    }
}

impl std::fmt::Debug for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}{}", self.variant(), if self.is_in_pack() { " in pack" } else { "" })
    }
}

impl Slots {
    pub(in crate::store) fn as_slice(&self) -> &[Slot] {
        match self {
            Self::One(slot) => std::slice::from_ref(slot),
            Self::Many(slots) => slots,
        }
    }

    fn from_vec(mut slots: Vec<Slot>) -> Option<Self> {
        match slots.len() {
            0 => None,
            1 => slots.pop().map(Self::One),
            _ => Some(Self::Many(Box::new(slots))),
        }
    }

    pub(in crate::store) fn as_mut_slice(&mut self) -> &mut [Slot] {
        match self {
            Self::One(slot) => std::slice::from_mut(slot),
            Self::Many(slots) => slots,
        }
    }

    /// Puts `slot` in front of those of `key`.
    pub(in crate::store) fn enter(shard: &mut KeyShard, key: KeyHash, slot: Slot) {
        if let Some(others) = shard.insert(key, Self::One(slot)) {
            Self::edit(shard, key, |slots| slots.extend_from_slice(others.as_slice()));
        }
    }

    /// Replaces the slots of `key` by what `change` makes of them; a key without slots is removed.
    pub(in crate::store) fn edit(shard: &mut KeyShard, key: KeyHash, change: impl FnOnce(&mut Vec<Slot>)) {
        let mut slots = shard.get(&key).map_or_else(Vec::new, |slots| slots.as_slice().to_vec());
        change(&mut slots);
        match Self::from_vec(slots) {
            Some(slots) => drop(shard.insert(key, slots)),
            None => drop(shard.remove(&key)),
        }
    }
}

/// Tells variants of a key apart. Equal hashes of different fields only cost a replaced variant.
pub(in crate::store) fn variant_of(selecting: &[(http::HeaderName, Option<http::HeaderValue>)]) -> u32 {
    if selecting.is_empty() {
        return 0;
    }
    let mut text = blake3::Hasher::new();
    for (name, value) in selecting {
        text.update(name.as_str().as_bytes()).update(&[0]);
        if let Some(value) = value {
            text.update(&[1]).update(&(value.len() as u64).to_le_bytes()).update(value.as_bytes());
        }
    }
    let hash = text.finalize();
    u32::from_le_bytes([hash.as_bytes()[0], hash.as_bytes()[1], hash.as_bytes()[2], hash.as_bytes()[3]])
}
