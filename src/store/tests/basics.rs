use super::*;

#[tokio::test]
async fn what_was_flushed_is_there_after_a_restart() {
    let disk = SimDisk::new(1);
    let bytes = content(1, 3 * MIB + 5);
    let store = start(&disk).await;
    let blob = put(&store, "/a", &bytes).await;
    assert!(blob.is_complete());
    assert_eq!(read(&blob).await.unwrap(), bytes);
    drop(blob);
    store.close().await.unwrap();
    let store = start(&disk).await;
    let blob = find(&store, "/a").await.unwrap();
    assert_eq!((blob.len(), blob.is_complete()), (Some(3 * MIB + 5), true));
    assert_eq!(blob.checked_until(0), None, "nothing was compared since the start");
    assert_eq!(read(&blob).await.unwrap(), bytes);
    assert_eq!(blob.checked_until(0), Some(3 * MIB + 5));
    assert!(find(&store, "/b").await.is_none());
}
