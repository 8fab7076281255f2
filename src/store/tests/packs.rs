//! Packs: small contents that share files.

use std::path::Path;

use super::*;
use crate::store::{
    Disk, Error,
    disk::sim::Faults,
    fsck,
    place::{PLACE_LEN_MAX, Place},
};

/// With its record it fits into one block.
const LEN: u64 = 2_900;
const BLOCK: u64 = 4_096;

async fn packing(disk: &SimDisk) -> Store {
    start_with(disk, |config| config.pack_max = PLACE_LEN_MAX).await
}

fn files(disk: &SimDisk) -> usize {
    disk.files().iter().filter(|path| path.starts_with("/data/blobs")).count()
}

fn on_disk(disk: &SimDisk) -> u64 {
    disk.used_below(Path::new("/data/blobs"))
}

/// Commits until nothing is left to commit, and waits for what that leads to.
async fn settled(store: &Store) {
    for _ in 0..3 {
        store.flush().await.unwrap();
        settle(store).await;
    }
}

async fn remove(store: &Store, path: &str) {
    let stored = store.lookup(key(path).hash()).await.unwrap();
    store.remove(&stored[0]);
}

#[tokio::test]
async fn many_small_contents_become_durable_with_one_sync_of_one_file() {
    let disk = SimDisk::new(1);
    let store = start_with(&disk, |config| {
        config.pack_max = PLACE_LEN_MAX;
        config.commit_interval = Duration::from_secs(60);
    })
    .await;
    let before = disk.syncs();
    for number in 0..100 {
        drop(put(&store, &format!("/{number}"), &content(number, LEN + number)).await);
    }
    store.flush().await.unwrap();
    assert_eq!((files(&disk), on_disk(&disk)), (1, 100 * BLOCK));
    assert!(disk.syncs() - before < 10, "{} syncs", disk.syncs() - before);
    drop(store);
    let store = packing(&disk.crash()).await;
    for number in 0..100 {
        let blob = find(&store, &format!("/{number}")).await.unwrap();
        assert_eq!(read(&blob).await.unwrap(), content(number, LEN + number), "/{number}");
    }
}

#[tokio::test]
async fn what_is_too_long_or_of_unknown_length_has_a_file_of_its_own() {
    let disk = SimDisk::new(2);
    let store = packing(&disk).await;
    for (len, is_packed) in [(Some(0), true), (Some(PLACE_LEN_MAX), true), (Some(PLACE_LEN_MAX + 1), false), (None, false)] {
        let blob = store.create(len).await.unwrap();
        assert_eq!(Place::of(blob.id()).is_some(), is_packed, "{len:?}");
    }
}

#[tokio::test]
async fn what_goes_leaves_a_hole_and_a_pack_without_contents_goes() {
    let disk = SimDisk::new(3);
    let store = packing(&disk).await;
    for number in 0..3 {
        drop(put(&store, &format!("/{number}"), &content(number, LEN)).await);
    }
    settled(&store).await;
    remove(&store, "/1").await;
    settled(&store).await;
    assert_eq!((on_disk(&disk), store.stats().used), (2 * BLOCK, 2 * BLOCK));
    assert_eq!(read(&find(&store, "/2").await.unwrap()).await.unwrap(), content(2, LEN));
    store.close().await.unwrap();

    let store = packing(&disk).await;
    remove(&store, "/0").await;
    remove(&store, "/2").await;
    settled(&store).await;
    assert_eq!(files(&disk), 0);
}

#[tokio::test]
async fn a_full_pack_is_followed_by_another_and_goes_when_it_is_empty() {
    let disk = SimDisk::new(4);
    let store = packing(&disk).await;
    let mut blobs = Vec::new();
    for _ in 0..1_025 {
        blobs.push(store.create(Some(PLACE_LEN_MAX)).await.unwrap());
    }
    let pack = |blob: &Arc<Blob>| Place::of(blob.id()).unwrap().pack;
    let (first, last) = (pack(&blobs[0]), pack(&blobs[1_024]));
    assert!(pack(&blobs[1_023]) == first && last > first);
    assert_eq!(files(&disk), 2);
    let kept = blobs.pop().unwrap();
    drop(blobs);
    settled(&store).await;
    assert_eq!(files(&disk), 1);
    write(&kept, 0, &content(1, PLACE_LEN_MAX)).await.unwrap();
    assert_eq!(read(&kept).await.unwrap(), content(1, PLACE_LEN_MAX));
}

#[tokio::test]
async fn who_reads_a_content_reads_it_to_its_end_after_it_was_removed() {
    let disk = SimDisk::new(5);
    let store = packing(&disk).await;
    let bytes = content(1, 50_000);
    let held = put(&store, "/held", &bytes).await;
    drop(put(&store, "/other", &content(2, LEN)).await);
    settled(&store).await;
    remove(&store, "/held").await;
    settled(&store).await;
    assert_eq!(read(&held).await.unwrap(), bytes);
    drop(held);
    settled(&store).await;
    assert_eq!(on_disk(&disk), BLOCK);
}

#[tokio::test]
async fn the_next_start_makes_the_holes_that_a_kill_left_out() {
    let disk = SimDisk::new(6);
    let store = packing(&disk).await;
    let held: Vec<_> = [put(&store, "/a", &content(1, LEN)).await, put(&store, "/c", &content(3, LEN)).await].into();
    drop(put(&store, "/b", &content(2, LEN)).await);
    let last = put(&store, "/d", &content(4, LEN)).await;
    settled(&store).await;
    remove(&store, "/a").await;
    remove(&store, "/c").await;
    remove(&store, "/d").await;
    settled(&store).await;
    assert_eq!(on_disk(&disk), 4 * BLOCK, "what is held is still there");
    let disk = disk.crash();
    drop((held, last, store));
    let store = packing(&disk).await;
    settle(&store).await;
    assert_eq!(on_disk(&disk), BLOCK);
    assert_eq!(read(&find(&store, "/b").await.unwrap()).await.unwrap(), content(2, LEN));
}

#[tokio::test]
async fn a_pack_that_cannot_be_synced_loses_what_was_not_durable_and_nothing_else() {
    let disk = SimDisk::new(7);
    let store = start_with(&disk, |config| {
        config.pack_max = PLACE_LEN_MAX;
        config.commit_interval = Duration::from_secs(60);
    })
    .await;
    let durable = put(&store, "/durable", &content(1, LEN)).await;
    store.flush().await.unwrap();
    let lost = put(&store, "/lost", &content(2, LEN)).await;
    disk.set_faults(Faults { sync_errors: 1.0, only: ".pack".into(), ..Faults::default() });
    store.flush().await.unwrap();
    disk.set_faults(Faults::default());
    assert_eq!((durable.present(), lost.present()), (LEN, 0));
    let after = put(&store, "/after", &content(3, LEN)).await;
    let pack = |blob: &Blob| Place::of(blob.id()).unwrap().pack;
    assert_ne!(pack(&after), pack(&durable), "the pack gets no more contents");
    store.flush().await.unwrap();
    drop((durable, lost, after, store));
    let store = packing(&disk.crash()).await;
    assert_eq!(read(&find(&store, "/durable").await.unwrap()).await.unwrap(), content(1, LEN));
    assert_eq!(read(&find(&store, "/after").await.unwrap()).await.unwrap(), content(3, LEN));
    assert_eq!(find(&store, "/lost").await.map_or(0, |blob| blob.present()), 0);
}

#[tokio::test]
async fn rot_in_a_pack_harms_one_content_and_a_check_finds_it() {
    let disk = SimDisk::new(8);
    let store = packing(&disk).await;
    for number in 0..3 {
        drop(put(&store, &format!("/{number}"), &content(number, LEN)).await);
    }
    store.close().await.unwrap();
    let dynamic: Arc<dyn Disk> = Arc::new(disk.clone());
    assert!(fsck(Path::new("/data"), &dynamic, false).unwrap().is_clean());
    assert!(disk.flip_bit(&blob_file(&disk), BLOCK + 5));
    assert_eq!(fsck(Path::new("/data"), &dynamic, false).unwrap().bad_extents, 1);
    let store = packing(&disk).await;
    let rotten = find(&store, "/1").await.unwrap();
    assert!(matches!(rotten.read(0, 9).await, Err(Error::Corrupt { .. })));
    for number in [0, 2] {
        let blob = find(&store, &format!("/{number}")).await.unwrap();
        assert_eq!(read(&blob).await.unwrap(), content(number, LEN));
    }
}

#[tokio::test]
async fn a_content_in_a_pack_is_copied_into_quarantine() {
    let disk = SimDisk::new(9);
    let store = packing(&disk).await;
    let blob = put(&store, "/bad", &content(1, LEN)).await;
    let stored = store.lookup(key("/bad").hash()).await.unwrap()[0].clone();
    assert!(store.quarantine(&stored, "on purpose").await.unwrap());
    assert!(store.lookup(key("/bad").hash()).await.unwrap().is_empty());
    let file = disk.open(&Path::new("/data/quarantine").join(blob.id().to_string())).unwrap();
    let mut bytes = vec![0; LEN as usize];
    file.read_exact_at(0, &mut bytes).unwrap();
    assert_eq!(bytes, content(1, LEN));
}
