//! The real disk, in a directory of its own.

use super::*;
use crate::store::{Error, RealDisk};

struct Directory(PathBuf);

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
    assert_eq!(blob.file().unwrap().metadata().unwrap().len(), 2 * MIB + 3);
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
