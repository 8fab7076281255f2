//! The real disk, in a directory of its own.

use super::*;
use crate::store::{Error, RealDisk, State, place::PLACE_LEN_MAX};

pub(super) struct Directory(pub(super) PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn real(directory: &Directory) -> Result<Store, Error> {
    let config = Config { directory: directory.0.clone(), ..config() };
    open(config, Arc::new(RealDisk), metrics::Store::default()).await
}

#[tokio::test]
async fn the_real_disk_keeps_what_the_simulated_one_keeps() {
    let directory = Directory(std::env::temp_dir().join(format!("weir-store-test-{}", std::process::id())));
    let bytes = content(1, 2 * MIB + 3);
    let store = real(&directory).await.unwrap();
    let blob = put(&store, "/a", &bytes).await;
    assert_eq!(blob.sendable().unwrap().file().metadata().unwrap().len(), 2 * MIB + 3);
    assert!(matches!(real(&directory).await, Err(Error::Locked { .. })));
    drop(blob);
    store.close().await.unwrap();
    let store = real(&directory).await.unwrap();
    assert_eq!(read(&find(&store, "/a").await.unwrap()).await.unwrap(), bytes);
    assert!(store.stats().free > 0);
    store.close().await.unwrap();
    let report = crate::store::fsck(&directory.0, &(Arc::new(RealDisk) as Arc<dyn crate::store::Disk>), false).unwrap();
    assert!(report.is_clean(), "{report:?}");
}

#[tokio::test]
async fn a_directory_that_comes_back_is_used_again() {
    let directory = Directory(std::env::temp_dir().join(format!("weir-store-back-{}", std::process::id())));
    let elsewhere = Directory(directory.0.with_extension("elsewhere"));
    let bytes = content(1, 1_000);
    let store = real(&directory).await.unwrap();
    drop(put(&store, "/a", &bytes).await);
    store.flush().await.unwrap();
    std::fs::rename(&directory.0, &elsewhere.0).unwrap();
    assert!(store.create(Some(1)).await.is_err());
    assert_eq!(store.stats().state, State::Missing);
    assert!(!directory.0.exists(), "somebody made it again");
    std::fs::rename(&elsewhere.0, &directory.0).unwrap();
    // The committer looks once a second.
    for _ in 0..200 {
        if store.stats().state == State::Working {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(put(&store, "/b", &bytes).await);
    assert_eq!(read(&find(&store, "/a").await.unwrap()).await.unwrap(), bytes);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_packed_content_that_was_compared_is_read_without_opening_it_until_it_is_removed() {
    let directory = Directory(std::env::temp_dir().join(format!("weir-store-packed-{}", std::process::id())));
    let bytes = content(1, 40_000);
    let config = Config { directory: directory.0.clone(), pack_max: PLACE_LEN_MAX, ..config() };
    let store = open(config, Arc::new(RealDisk), metrics::Store::default()).await.unwrap();
    drop(put(&store, "/a", &bytes).await);
    store.flush().await.unwrap();
    let stored = store.lookup(key("/a").hash()).await.unwrap();
    // The committer's thread may still have it in its hands.
    for _ in 0..200 {
        store.shared.open.release_all();
        settle(&store).await;
        if store.open_now(stored[0].meta.blob).is_none() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    store.shared.open.release_all();
    assert!(store.open_now(stored[0].meta.blob).is_none(), "it is closed");
    assert_eq!(store.small(&stored[0]).unwrap(), bytes);
    store.shared.memory.contents.invalidate_all();
    assert_eq!(store.small(&stored[0]).unwrap(), bytes, "from the pack again");
    store.remove(&stored[0]);
    store.shared.memory.contents.invalidate_all();
    assert!(store.small(&stored[0]).is_none());
    store.close().await.unwrap();
}
