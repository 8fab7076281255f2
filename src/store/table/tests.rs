use std::num::NonZeroU32;

use super::*;
use crate::object::ObjectId;

#[test]
fn a_slot_and_a_blob_entry_stay_small() {
    assert_eq!((size_of::<Option<(KeyHash, Slots)>>(), size_of::<Option<(BlobId, BlobEntry)>>()), (40, 40));
}

#[test]
fn an_object_takes_at_most_120_bytes_of_the_table_however_many_there_are() {
    let table = Table::default();
    for number in 1..=1_000_000_u64 {
        let hash = blake3::hash(&number.to_le_bytes());
        let key = KeyHash(hash.as_bytes()[..16].try_into().unwrap());
        let blob = Place { pack: number >> 14, block: number % (1 << 14), blocks: 1 }.id();
        let mut entry = BlobEntry::new(4_096, true, false);
        entry.add_key(key);
        table.add_blob(blob, entry);
        let slot = Slot { object: ObjectId(number), blob, tag: Tag::new(0, false), revision: NonZeroU32::MIN };
        Slots::edit(&mut table.keys_mut(key), key, |slots| slots.push(slot));
        if number >= 200_000 && number.is_multiple_of(50_000) {
            let keys: usize = table.keys.iter().map(|shard| shard.read().unwrap().bytes()).sum();
            let blobs: usize = table.blobs.iter().map(|shard| shard.read().unwrap().bytes()).sum();
            let each = (keys + blobs) as u64 / number;
            // And 16 for its place in the queues of eviction.
            assert!(each + 16 <= 120, "{each} bytes each of {number}");
        }
    }
}

#[test]
fn no_shard_is_crowded() {
    let mut counts = [0; SHARDS];
    for number in 0..1_000_000_u64 {
        counts[blob_shard(Place { pack: number >> 10, block: number % 1_024 * 16, blocks: 16 }.id())] += 1;
    }
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert!(*least > 14_000 && *most < 17_500, "{least} to {most}");
}

#[test]
fn sums_follow_what_is_added_changed_and_taken() {
    let table = Table::default();
    let id = BlobId(1);
    table.add_blob(id, BlobEntry::new(10, true, false));
    table.change_blob(id, |entry| {
        entry.bytes = 4;
        entry.pinned = true;
        entry.add_key(KeyHash([1; 16]));
        entry.add_key(KeyHash([2; 16]));
        entry.remove_key(KeyHash([1; 16]));
    });
    assert_eq!((table.used.load(Relaxed), table.pinned.load(Relaxed), table.blob_count()), (4_096, 1, 1));
    assert_eq!(table.take_blob(id), Some(vec![KeyHash([2; 16])]));
    assert_eq!((table.used.load(Relaxed), table.pinned.load(Relaxed)), (0, 0));
    assert_eq!(table.take_blob(id), None);
}

#[test]
fn a_digest_is_found_only_while_its_blob_is_complete() {
    let table = Table::default();
    let digest = Digest::Sha1([1; 20]);
    table.add_blob(BlobId(1), BlobEntry::new(1, false, false));
    table.add_digest(digest, BlobId(1));
    assert_eq!(table.verified(&digest), None);
    table.change_blob(BlobId(1), |entry| entry.complete = true);
    assert_eq!(table.verified(&digest), Some(BlobId(1)));
    table.take_blob(BlobId(1));
    assert_eq!(table.verified(&digest), None);
}
