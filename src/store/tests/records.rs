//! Records: fields beside small contents.

use std::path::Path;

use http::{HeaderName, HeaderValue};

use super::{real::Directory, *};
use crate::{
    object::Object,
    store::{Disk, RealDisk, fsck, place::PLACE_LEN_MAX, table::Slot},
};

const LEN: u64 = 2_900;

async fn packing(disk: &SimDisk) -> Store {
    start_with(disk, |config| config.pack_max = PLACE_LEN_MAX).await
}

/// Commits until nothing is left to commit, and waits for what that leads to.
async fn settled(store: &Store) {
    for _ in 0..3 {
        settle(store).await;
        store.flush().await.unwrap();
    }
}

fn slot(store: &Store, path: &str) -> Slot {
    store.shared.table.slots(key(path).hash())[0]
}

async fn response(store: &Store, path: &str) -> Option<Arc<Object>> {
    store.lookup(key(path).hash()).await.unwrap().first().cloned()
}

fn tagged(path: &str, blob: &Blob, tag: &str) -> ObjectMeta {
    let mut meta = meta(path, blob);
    meta.fields.insert(HeaderName::from_static("x-tag"), HeaderValue::from_str(tag).unwrap());
    meta
}

#[tokio::test]
async fn a_hit_whose_pages_are_in_the_page_cache_needs_neither_index_nor_pool() {
    let directory = Directory(std::env::temp_dir().join(format!("weir-store-records-{}", std::process::id())));
    let start = || async {
        let config = Config { directory: directory.0.clone(), pack_max: PLACE_LEN_MAX, ..config() };
        open(config, Arc::new(RealDisk), metrics::Store::default()).await.unwrap()
    };
    let store = start().await;
    let bytes = content(1, 4_096);
    let blob = store.create(Some(4_096)).await.unwrap();
    store.insert(tagged("/a", &blob, "kept"));
    write(&blob, 0, &bytes).await.unwrap();
    drop(blob);
    settled(&store).await;
    store.close().await.unwrap();

    let store = start().await;
    // The first reader of a pack opens it; those after it find it open.
    store.lookup(key("/a").hash()).await.unwrap();
    store.shared.memory.responses.invalidate(&key("/a").hash());
    store.shared.memory.contents.invalidate(&slot(&store, "/a").blob);
    let found = store.lookup_now(key("/a").hash()).expect("answered at once");
    assert_eq!(found[0].meta.fields["x-tag"], "kept");
    assert_eq!(store.small(&found[0]).as_deref(), Some(&bytes[..]));
    store.close().await.unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    assert!(fsck(&directory.0, &disk, false).unwrap().is_clean());
}

#[tokio::test]
async fn what_a_record_says_is_the_last_that_was_committed() {
    let disk = SimDisk::new(1);
    let store = packing(&disk).await;
    let blob = put(&store, "/a", &content(1, LEN)).await;
    settled(&store).await;
    assert!(slot(&store, "/a").tag.is_in_pack());
    let old = response(&store, "/a").await.unwrap();
    store.update(&old, tagged("/a", &blob, "new")).unwrap();
    assert!(!slot(&store, "/a").tag.is_in_pack(), "the record is of the former state");
    settled(&store).await;
    assert!(slot(&store, "/a").tag.is_in_pack());
    drop((blob, old, store));
    let store = packing(&disk.crash()).await;
    assert_eq!(response(&store, "/a").await.unwrap().meta.fields["x-tag"], "new");
    assert_eq!(read(&find(&store, "/a").await.unwrap()).await.unwrap(), content(1, LEN));
}

#[tokio::test]
async fn a_response_committed_before_its_content_gets_its_record_when_that_is_whole() {
    let disk = SimDisk::new(2);
    let store = packing(&disk).await;
    let blob = store.create(Some(LEN)).await.unwrap();
    store.insert(meta("/a", &blob));
    store.flush().await.unwrap();
    assert!(!slot(&store, "/a").tag.is_in_pack());
    write(&blob, 0, &content(1, LEN)).await.unwrap();
    settled(&store).await;
    assert!(slot(&store, "/a").tag.is_in_pack());
}

#[tokio::test]
async fn fields_that_do_not_fit_beside_the_content_stay_in_the_index() {
    let disk = SimDisk::new(3);
    let store = packing(&disk).await;
    let blob = store.create(Some(LEN)).await.unwrap();
    store.insert(tagged("/a", &blob, &"x".repeat(5_000)));
    write(&blob, 0, &content(1, LEN)).await.unwrap();
    settled(&store).await;
    assert!(!slot(&store, "/a").tag.is_in_pack());
    drop((blob, store));
    let store = packing(&disk.crash()).await;
    assert_eq!(response(&store, "/a").await.unwrap().meta.fields["x-tag"].len(), 5_000);
}

#[tokio::test]
async fn of_two_responses_with_one_content_both_keep_their_fields() {
    let disk = SimDisk::new(4);
    let store = packing(&disk).await;
    for path in ["/a", "/b"] {
        let blob = store.create(Some(LEN)).await.unwrap();
        store.insert(tagged(path, &blob, path));
        write(&blob, 0, &content(1, LEN)).await.unwrap();
        drop(blob);
        settled(&store).await;
    }
    assert_eq!(slot(&store, "/a").blob, slot(&store, "/b").blob);
    drop(store);
    let store = packing(&disk.crash()).await;
    for path in ["/a", "/b"] {
        assert_eq!(response(&store, path).await.unwrap().meta.fields["x-tag"], path);
        assert_eq!(read(&find(&store, path).await.unwrap()).await.unwrap(), content(1, LEN));
    }
}

#[tokio::test]
async fn a_record_that_rotted_costs_its_response_and_a_check_finds_it() {
    let disk = SimDisk::new(5);
    let store = packing(&disk).await;
    for path in ["/a", "/b"] {
        drop(put(&store, path, &content(path.len() as u64 + u64::from(path.as_bytes()[1]), LEN)).await);
    }
    settled(&store).await;
    let end = crate::store::place::Place::of(slot(&store, "/a").blob).unwrap().range().end;
    store.close().await.unwrap();
    assert!(disk.flip_bit(&blob_file(&disk), end - 20));
    let dynamic: Arc<dyn Disk> = Arc::new(disk.clone());
    assert_eq!(fsck(Path::new("/data"), &dynamic, false).unwrap().bad_records, 1);
    let store = packing(&disk).await;
    assert!(response(&store, "/a").await.is_none());
    assert!(response(&store, "/b").await.is_some());
}

#[tokio::test]
async fn a_record_whose_sync_failed_is_not_counted_on() {
    let disk = SimDisk::new(6);
    let store = packing(&disk).await;
    let blob = put(&store, "/a", &content(1, LEN)).await;
    settled(&store).await;
    let old = response(&store, "/a").await.unwrap();
    store.update(&old, tagged("/a", &blob, "new")).unwrap();
    let faults = crate::store::disk::sim::Faults { sync_errors: 1.0, only: ".pack".into(), ..Default::default() };
    disk.set_faults(faults);
    store.flush().await.unwrap();
    disk.set_faults(Default::default());
    assert!(!slot(&store, "/a").tag.is_in_pack());
    drop((blob, old, store));
    let store = packing(&disk.crash()).await;
    assert_eq!(response(&store, "/a").await.unwrap().meta.fields["x-tag"], "new", "the index has all of it");
}
