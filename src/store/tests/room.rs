//! Limits: eviction, pins, a full disk, a failing one.

use super::*;
use crate::store::{Disk, Error, State, disk::sim::Faults};

/// Whole blocks, so that content takes what it is long.
const ONE: u64 = 25 * 4_096;

async fn has(store: &Store, path: &str) -> bool {
    !store.lookup(key(path).hash()).await.unwrap().is_empty()
}

#[tokio::test]
async fn a_scan_does_not_evict_what_is_used_daily() {
    let disk = SimDisk::new(1);
    let store = start_with(&disk, |config| config.size = 40 * ONE).await;
    for _ in 0..3 {
        for hot in 0..10 {
            let path = format!("/hot/{hot}");
            if !has(&store, &path).await {
                drop(put(&store, &path, &content(hot, ONE)).await);
            }
        }
    }
    for cold in 100..200 {
        drop(put(&store, &format!("/cold/{cold}"), &content(cold, ONE)).await);
        store.flush().await.unwrap();
    }
    settle(&store).await;
    for hot in 0..10 {
        assert!(has(&store, &format!("/hot/{hot}")).await, "/hot/{hot} was evicted");
    }
    assert!(store.stats().used <= 40 * ONE);
    let on_disk = disk.files().iter().filter(|path| path.starts_with("/data/blobs")).count();
    assert!(on_disk <= 41, "{on_disk} files");
}

#[tokio::test]
async fn pinned_content_stays_and_a_store_full_of_it_refuses_more() {
    let disk = SimDisk::new(2);
    let store = start_with(&disk, |config| config.size = 10 * ONE).await;
    for number in 0..9 {
        let blob = put(&store, &format!("/{number}"), &content(number, ONE)).await;
        assert!(store.pin(blob.id(), true));
    }
    assert!(matches!(store.create(Some(2 * ONE)).await, Err(Error::Full { .. })));
    assert_eq!((store.stats().state, store.stats().pinned), (State::Full, 9));
    assert!(matches!(store.create(Some(11 * ONE)).await, Err(Error::Full { .. })));
    store.close().await.unwrap();
    let store = start_with(&disk, |config| config.size = 10 * ONE).await;
    assert_eq!(store.stats().pinned, 9);
    let blob = find(&store, "/3").await.unwrap();
    assert!(store.pin(blob.id(), false));
    drop(blob);
    store.create(Some(2 * ONE)).await.unwrap();
    assert!(!has(&store, "/3").await, "what is no longer pinned makes room");
    assert!(has(&store, "/4").await);
}

#[tokio::test]
async fn content_longer_than_the_longest_is_refused_before_and_while_it_arrives() {
    let store = start_with(&SimDisk::new(3), |config| config.object_max = 1_000).await;
    assert!(matches!(store.create(Some(1_001)).await, Err(Error::TooLarge { len: 1_001, max: 1_000 })));
    let blob = store.create(None).await.unwrap();
    assert!(matches!(write(&blob, 0, &content(1, 1_001)).await, Err(Error::TooLarge { .. })));
}

#[tokio::test]
async fn an_evicted_blob_is_readable_for_who_holds_it_and_gone_for_others() {
    let disk = SimDisk::new(4);
    let store = start_with(&disk, |config| config.size = 3 * ONE).await;
    let held = put(&store, "/held", &content(1, ONE)).await;
    for number in 2..8 {
        drop(put(&store, &format!("/{number}"), &content(number, ONE)).await);
    }
    store.flush().await.unwrap();
    settle(&store).await;
    assert!(!has(&store, "/held").await);
    assert!(matches!(store.open(held.id()).await, Ok(blob) if Arc::ptr_eq(&blob, &held)));
    assert_eq!(read(&held).await.unwrap(), content(1, ONE));
    let id = held.id();
    drop(held);
    assert!(matches!(store.open(id).await, Err(Error::Absent { .. })));
}

#[tokio::test]
async fn a_full_disk_fails_the_run_and_the_store_recovers_when_there_is_room() {
    let disk = SimDisk::new(5);
    let store = start(&disk).await;
    let pinned = put(&store, "/pinned", &content(1, ONE)).await;
    store.pin(pinned.id(), true);
    store.flush().await.unwrap();
    let blob = store.create(Some(MIB)).await.unwrap();
    store.insert(meta("/a", &blob));
    disk.set_capacity(disk.used() + ONE / 2);
    assert!(matches!(write(&blob, 0, &content(2, MIB)).await, Err(Error::Full { .. })));
    assert_eq!(store.stats().state, State::Full);
    assert_eq!(read(&pinned).await.unwrap(), content(1, ONE), "what is there is served");
    disk.set_capacity(u64::MAX);
    // The store notices by itself, but not at once: a commit that began on the full disk may still be failing.
    let mut tries = 0;
    while let Err(error) = write(&blob, 0, &content(2, MIB)).await {
        tries += 1;
        assert!(tries < 200, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    while store.flush().await.is_err() || store.stats().state != State::Working {
        tries += 1;
        assert!(tries < 200, "the store stays {:?}", store.stats().state);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(read(&blob).await.unwrap(), content(2, MIB));
}

#[tokio::test]
async fn a_disk_too_full_for_the_index_is_cleared_by_eviction() {
    let disk = SimDisk::new(6);
    let store = start(&disk).await;
    for number in 0..20 {
        drop(put(&store, &format!("/{number}"), &content(number, ONE)).await);
    }
    store.flush().await.unwrap();
    disk.set_capacity(disk.used());
    let blob = store.create(Some(ONE)).await;
    if let Ok(blob) = blob {
        let _ = write(&blob, 0, &content(99, ONE)).await;
    }
    // Each failed commit removes files; a few rounds make room.
    let mut works = false;
    for _ in 0..20 {
        let flushed = store.flush().await.is_ok();
        settle(&store).await;
        works = flushed && store.create(Some(ONE)).await.is_ok();
        if works {
            break;
        }
    }
    assert!(works, "{:?}", store.stats());
    assert_eq!(store.stats().state, State::Working);
    let left = store.stats().objects;
    assert!((10..20).contains(&left), "{left} of 20 are left");
}

#[tokio::test]
async fn the_reserve_of_free_space_is_left_alone() {
    let disk = SimDisk::new(7);
    disk.set_capacity(4 * MIB);
    let store = start_with(&disk, |config| config.reserve = MIB).await;
    for number in 0..60 {
        if let Ok(blob) = store.create(Some(ONE)).await {
            store.insert(meta(&format!("/{number}"), &blob));
            let _ = write(&blob, 0, &content(number, ONE)).await;
        }
        let free = disk.free_space(std::path::Path::new("/data")).unwrap();
        // The index grows beside what is counted: a commit may take some pages.
        assert!(free + 200_000 >= MIB, "only {free} bytes left after {number}");
    }
    store.flush().await.unwrap();
    assert!(store.stats().blobs > 3, "{:?}", store.stats());
}

#[tokio::test]
async fn a_failed_sync_drops_what_was_not_synced_and_nothing_else() {
    let disk = SimDisk::new(8);
    let store = start_with(&disk, |config| config.commit_interval = Duration::from_secs(60)).await;
    let bytes = content(1, 2 * MIB);
    let blob = store.create(Some(2 * MIB)).await.unwrap();
    store.insert(meta("/a", &blob));
    write(&blob, 0, &bytes.slice(..MIB as usize)).await.unwrap();
    store.flush().await.unwrap();
    disk.set_faults(Faults { sync_errors: 1.0, only: "blobs/00/00/".into(), ..Faults::default() });
    write(&blob, MIB, &bytes.slice(MIB as usize..)).await.unwrap();
    settle(&store).await;
    store.flush().await.unwrap();
    assert_eq!(present(&blob, 2 * MIB), [ByteRange { start: 0, end: MIB }]);
    disk.set_faults(Faults::default());
    write(&blob, MIB, &bytes.slice(MIB as usize..)).await.unwrap();
    store.flush().await.unwrap();
    drop((blob, store));
    let store = start(&disk.crash()).await;
    assert_eq!(read(&find(&store, "/a").await.unwrap()).await.unwrap(), bytes);
}

#[tokio::test]
async fn a_failing_index_is_a_state_that_ends_by_itself() {
    let disk = SimDisk::new(9);
    let store = start_with(&disk, |config| config.commit_interval = Duration::from_secs(60)).await;
    let (old, new) = (content(1, 1_000), content(2, 1_000));
    drop(put(&store, "/old", &old).await);
    store.flush().await.unwrap();
    disk.set_faults(Faults { sync_errors: 1.0, only: "index".into(), ..Faults::default() });
    let blob = put(&store, "/new", &new).await;
    assert!(matches!(store.flush().await, Err(Error::Degraded)));
    assert_eq!(store.stats().state, State::Degraded);
    assert!(matches!(store.create(Some(1)).await, Err(Error::Degraded)));
    assert_eq!(read(&find(&store, "/old").await.unwrap()).await.unwrap(), old);
    assert_eq!(read(&blob).await.unwrap(), new);
    disk.set_faults(Faults::default());
    store.flush().await.unwrap();
    assert_eq!(store.stats().state, State::Working);
    drop((blob, store));
    let store = start(&disk.crash()).await;
    assert_eq!(read(&find(&store, "/new").await.unwrap()).await.unwrap(), new, "nothing pending was lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn content_never_takes_more_of_the_disk_than_it_may_however_fast_it_comes() {
    let disk = SimDisk::new(10);
    let store = start_with(&disk, |config| config.size = MIB).await;
    let client = |client: u64| {
        let (disk, store) = (disk.clone(), store.clone());
        tokio::spawn(async move {
            for number in 0..100 {
                let bytes = content(client * 1_000 + number, 1 + number * 997 % 50_000);
                let Ok(blob) = store.create(Some(bytes.len() as u64)).await else { continue };
                store.insert(meta(&format!("/{client}/{number}"), &blob));
                // Refused is as good as kept, but never more than may be.
                let _ = write(&blob, 0, &bytes).await;
                let used = disk.used_below(std::path::Path::new("/data/blobs"));
                assert!(used <= MIB, "{used} bytes on the disk");
            }
        })
    };
    for client in (0..4).map(client).collect::<Vec<_>>() {
        client.await.unwrap();
    }
    assert!(store.stats().used <= MIB);
    assert!(store.stats().used > MIB / 2, "{:?}", store.stats());
}

#[tokio::test]
async fn small_contents_count_as_the_blocks_they_take() {
    let store = start(&SimDisk::new(11)).await;
    for number in 0..10 {
        drop(put(&store, &format!("/{number}"), &content(number, 10)).await);
    }
    assert_eq!(store.stats().used, 10 * 4_096);
}

#[tokio::test]
async fn a_directory_that_vanished_is_noticed_and_nothing_makes_half_of_it_again() {
    let disk = SimDisk::new(12);
    let store = start(&disk).await;
    let bytes = content(1, ONE);
    let held = put(&store, "/held", &bytes).await;
    store.flush().await.unwrap();
    disk.remove_tree(std::path::Path::new("/data"));
    assert!(store.create(Some(1)).await.is_err());
    assert_eq!(store.stats().state, State::Missing);
    assert_eq!(read(&held).await.unwrap(), bytes, "what is open is served");
    assert!(matches!(store.flush().await, Err(Error::Degraded)));
    assert!(matches!(store.create(Some(1)).await, Err(Error::Degraded)));
    assert_eq!(disk.files(), Vec::<PathBuf>::new());
    drop(held);
    let _ = store.close().await;
    drop(store);

    let store = start(&disk).await;
    assert_eq!(store.stats().objects, 0);
    drop(put(&store, "/new", &bytes).await);
    assert_eq!(read(&find(&store, "/new").await.unwrap()).await.unwrap(), bytes);
}
