//! Opening: the lock, the version, what a crash left.

use super::*;
use crate::store::{Disk, Error};

async fn open_error(disk: &SimDisk) -> Error {
    open(config(), Arc::new(disk.clone()), metrics::Store::default()).await.unwrap_err()
}

fn write_version(disk: &SimDisk, text: &str) {
    disk.create_dirs(std::path::Path::new("/data/blobs")).unwrap();
    let file = disk.create(std::path::Path::new("/data/VERSION")).unwrap();
    file.set_len(0).unwrap();
    file.write_at(0, &[std::io::IoSlice::new(text.as_bytes())]).unwrap();
}

#[tokio::test]
async fn a_second_weir_is_refused_until_the_first_is_closed() {
    let disk = SimDisk::new(1);
    let store = start(&disk).await;
    let error = open_error(&disk).await;
    assert!(matches!(error, Error::Locked { .. }));
    assert_eq!(error.to_string(), "data directory /data is in use by another weir");
    store.close().await.unwrap();
    assert!(matches!(store.create(Some(1)).await, Err(Error::Closed)));
    assert!(matches!(store.flush().await, Err(Error::Closed)));
    start(&disk).await;
}

#[tokio::test]
async fn an_unknown_or_missing_version_is_never_guessed() {
    for text in ["weir store 4\n", "", "weir store 10\n", "rubbish"] {
        let disk = SimDisk::new(2);
        write_version(&disk, text);
        let error = open_error(&disk).await;
        assert!(matches!(&error, Error::Version { .. }), "{text:?}: {error}");
    }
}

#[tokio::test]
async fn a_store_of_a_former_format_is_taken_over() {
    for text in ["weir store 1\n", "weir store 2\n"] {
        let disk = SimDisk::new(2);
        write_version(&disk, text);
        start(&disk).await.close().await.unwrap();
        start(&disk).await;
    }
}

#[tokio::test]
async fn ids_are_never_given_twice() {
    let mut disk = SimDisk::new(3);
    let mut highest = 0;
    for _ in 0..4 {
        let store = start(&disk).await;
        let blob = store.create(Some(1)).await.unwrap();
        let object = store.insert(meta("/a", &blob));
        assert!(blob.id().0 > highest && object.id.0 > 0);
        highest = blob.id().0;
        drop((blob, store));
        disk = disk.crash();
    }
}

#[tokio::test]
async fn a_lost_index_costs_its_content_and_nothing_else() {
    let disk = SimDisk::new(4);
    let store = start(&disk).await;
    let old = put(&store, "/a", &content(1, 1_000)).await.id();
    store.close().await.unwrap();
    disk.unlink(std::path::Path::new("/data/index.redb")).unwrap();
    let store = start(&disk).await;
    settle(&store).await;
    assert!(find(&store, "/a").await.is_none());
    assert!(!disk.files().iter().any(|path| path.starts_with("/data/blobs")), "the orphan is removed");
    assert_eq!(store.shared.metrics.orphans_removed.value(), 1);
    assert!(store.create(None).await.unwrap().id() > old, "no id of a file that existed is given again");
}

#[tokio::test]
async fn an_unreadable_index_is_kept_aside() {
    let disk = SimDisk::new(5);
    start(&disk).await.close().await.unwrap();
    let file = disk.open(std::path::Path::new("/data/index.redb")).unwrap();
    file.write_at(0, &[std::io::IoSlice::new(&[0xaa; 8_192])]).unwrap();
    let store = start(&disk).await;
    assert!(disk.files().contains(&PathBuf::from("/data/index.bad")));
    drop(put(&store, "/a", &content(1, 10)).await);
    store.flush().await.unwrap();
}

#[tokio::test]
async fn a_check_says_that_it_takes_over_a_former_format_and_says_it_once() {
    let disk = SimDisk::new(2);
    start(&disk).await.close().await.unwrap();
    write_version(&disk, "weir store 2\n");
    let dynamic: Arc<dyn Disk> = Arc::new(disk);
    let check = || crate::store::fsck(std::path::Path::new("/data"), &dynamic, false).unwrap();
    let report = check();
    assert!(report.is_clean() && report.to_string().contains("\"weir store 2\" and is \"weir store 3\" now"), "{report}");
    assert_eq!(check().upgraded, None);
}
