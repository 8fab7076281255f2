//! Rot is found and dropped; what rotted is fetched anew.

use super::*;
use crate::store::{Disk, Error, fsck};

#[tokio::test]
async fn a_rotten_piece_is_dropped_and_what_is_written_in_its_place_is_served() {
    let disk = SimDisk::new(1);
    let store = start(&disk).await;
    let bytes = content(1, 2 * MIB + 10);
    drop(put(&store, "/a", &bytes).await);
    store.close().await.unwrap();
    assert!(disk.flip_bit(&blob_file(&disk), MIB + 5));

    let store = start(&disk).await;
    let blob = find(&store, "/a").await.unwrap();
    assert_eq!(blob.read(0, 9).await.unwrap(), bytes[..9]);
    assert!(matches!(blob.read(MIB + 700, 9).await, Err(Error::Corrupt { offset: MIB, .. })));
    assert_eq!((present(&blob, 2 * MIB + 10).len(), blob.is_complete()), (2, false));
    assert_eq!(store.shared.metrics.corrupt_extents.value(), 1);
    store.close().await.unwrap();

    let store = start(&disk).await;
    let blob = find(&store, "/a").await.unwrap();
    assert_eq!(blob.missing(ByteRange { start: 0, end: 2 * MIB + 10 }), [ByteRange { start: MIB, end: 2 * MIB }]);
    write(&blob, MIB, &bytes.slice(MIB as usize..2 * MIB as usize)).await.unwrap();
    assert_eq!(read(&blob).await.unwrap(), bytes);
    settle(&store).await;
    assert!(blob.state().complete);
}

#[tokio::test]
async fn content_mended_with_other_bytes_is_forgotten() {
    let disk = SimDisk::new(2);
    let store = start(&disk).await;
    drop(put(&store, "/a", &content(1, MIB + 10)).await);
    store.close().await.unwrap();
    disk.flip_bit(&blob_file(&disk), 5);
    let store = start(&disk).await;
    let blob = find(&store, "/a").await.unwrap();
    assert!(blob.read(0, 1).await.is_err());
    write(&blob, 0, &content(2, MIB)).await.unwrap();
    settle(&store).await;
    assert!(store.lookup(key("/a").hash()).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_unreadable_sector_is_rot_and_short_reads_are_not() {
    let disk = SimDisk::new(3);
    let store = start(&disk).await;
    let bytes = content(1, 300_000);
    drop(put(&store, "/a", &bytes).await);
    store.close().await.unwrap();
    let store = start(&disk).await;
    let blob = find(&store, "/a").await.unwrap();
    disk.set_faults(crate::store::disk::sim::Faults { short_reads: 0.9, only: "blobs".into(), ..Default::default() });
    assert_eq!(read(&blob).await.unwrap(), bytes);
    disk.set_faults(crate::store::disk::sim::Faults { read_errors: 1.0, only: "blobs".into(), ..Default::default() });
    assert!(matches!(blob.read(7, 100).await, Err(Error::Corrupt { .. })));
    assert_eq!(blob.present_until(0), None);
}

#[tokio::test]
async fn a_blob_whose_file_is_missing_is_forgotten_when_met() {
    let disk = SimDisk::new(4);
    let store = start(&disk).await;
    drop(put(&store, "/a", &content(1, 1_000)).await);
    store.close().await.unwrap();
    disk.unlink(&blob_file(&disk)).unwrap();
    let store = start(&disk).await;
    assert!(find(&store, "/a").await.is_none());
    assert!(store.lookup(key("/a").hash()).await.unwrap().is_empty());
    assert_eq!((store.stats().objects, store.stats().blobs, store.stats().used), (0, 0, 0));
}

#[tokio::test]
async fn an_index_that_rotted_anywhere_never_stops_a_start_and_never_makes_wrong_bytes() {
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        let store = start(&disk).await;
        let bytes = content(1, 50_000);
        for path in ["/a", "/b", "/c"] {
            drop(put(&store, path, &bytes).await);
        }
        store.close().await.unwrap();
        for bit in 0..40 {
            disk.flip_bit(std::path::Path::new("/data/index.redb"), (seed * 977 + bit * 1_013) % 60_000);
        }
        let store = start(&disk).await;
        for path in ["/a", "/b", "/c"] {
            if let Some(blob) = find(&store, path).await
                && let Ok(got) = read(&blob).await
            {
                assert_eq!(got, bytes[..got.len()], "seed {seed}");
            }
        }
        // Whichever commit meets the rot starts an empty index; the next one works.
        let _ = store.close().await;
        for attempt in 1.. {
            let store = start(&disk).await;
            drop(put(&store, "/new", &content(2, 1_000)).await);
            if store.close().await.is_ok() {
                break;
            }
            assert!(attempt < 3, "seed {seed}: the index stays bad");
        }
        let store = start(&disk).await;
        assert!(find(&store, "/new").await.is_some(), "seed {seed}");
    }
}

#[tokio::test]
async fn fsck_finds_what_is_wrong_and_repair_drops_it() {
    let disk = SimDisk::new(5);
    let store = start(&disk).await;
    let paths = ["/whole", "/rotten", "/missing"];
    for (number, path) in paths.iter().enumerate() {
        drop(put(&store, path, &content(number as u64, MIB + 10)).await);
    }
    store.flush().await.unwrap();
    let files: Vec<_> = disk.files().into_iter().filter(|path| path.starts_with("/data/blobs")).collect();
    let sim: Arc<dyn Disk> = Arc::new(disk.clone());
    let directory = std::path::Path::new("/data");
    assert!(matches!(fsck(directory, &sim, false), Err(Error::Locked { .. })));
    store.close().await.unwrap();
    assert!(fsck(directory, &sim, false).unwrap().is_clean());

    disk.flip_bit(&files[1], MIB + 1);
    disk.unlink(&files[2]).unwrap();
    disk.create(&files[0].with_file_name("00000000000000ff")).unwrap();
    let found = fsck(directory, &sim, false).unwrap();
    assert_eq!((found.objects, found.blobs, found.extents), (3, 3, 4));
    assert_eq!((found.bad_extents, found.missing_files, found.orphans, found.bad_rows), (1, 1, 1, 0));
    assert!(!found.is_clean() && !found.repaired);
    assert!(fsck(directory, &sim, true).unwrap().repaired);
    let after = fsck(directory, &sim, false).unwrap();
    assert!(after.is_clean() && after.orphans == 0, "{after:?}");

    let store = start(&disk).await;
    assert_eq!(find(&store, "/rotten").await.unwrap().present_until(0), Some(MIB));
    assert!(find(&store, "/missing").await.is_none());
    assert!(find(&store, "/whole").await.unwrap().is_complete());
}
