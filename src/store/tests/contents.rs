//! How bytes become contents: runs, pieces, completion, equal content.

use super::*;
use crate::{
    digest::Digest,
    store::{Error, journal::CHANGED_BLOBS_MAX},
};

fn sha256(bytes: &[u8]) -> Digest {
    let mut hasher = Digest::Sha256([0; 32]).hasher();
    hasher.update(bytes);
    hasher.finish()
}

#[tokio::test]
async fn pieces_in_any_order_and_of_any_cut_make_the_same_content() {
    let store = start(&SimDisk::new(1)).await;
    let bytes = content(1, 2 * MIB + 999);
    let whole = put(&store, "/whole", &bytes).await;
    settle(&store).await;
    let blob = store.create(Some(bytes.len() as u64)).await.unwrap();
    store.insert(meta("/cut", &blob));
    let cuts = [(2 * MIB, bytes.len() as u64), (300_000, 1_100_000), (0, 300_000), (1_099_000, 2 * MIB)];
    for (start, end) in cuts {
        assert!(!blob.is_complete());
        write(&blob, start, &bytes.slice(start as usize..end as usize)).await.unwrap();
    }
    assert!(blob.is_complete());
    settle(&store).await;
    assert_eq!(blob.state().merged_into, Some(whole.id()), "both have one identity");
    assert_eq!(read(&blob).await.unwrap(), bytes);
}

#[tokio::test]
async fn equal_content_is_stored_once_whatever_its_urls() {
    let disk = SimDisk::new(2);
    let store = start(&disk).await;
    let bytes = content(1, 500_000);
    let first = put(&store, "/a", &bytes).await.id();
    settle(&store).await;
    let second = put(&store, "/b", &bytes).await;
    settle(&store).await;
    assert_eq!(store.lookup(key("/b").hash()).await.unwrap()[0].meta.blob, first);
    assert_eq!(read(&second).await.unwrap(), bytes, "who holds the second one still reads it");
    drop(second);
    // The commit may have been its last holder; then the next one forgets it.
    store.flush().await.unwrap();
    store.flush().await.unwrap();
    settle(&store).await;
    assert_eq!((store.stats().blobs, store.stats().used, store.stats().objects), (1, 503_808, 2));
    assert_eq!(store.shared.metrics.deduplicated_bytes.value(), 500_000);
    blob_file(&disk);
    store.close().await.unwrap();
    let store = start(&disk).await;
    for path in ["/a", "/b"] {
        assert_eq!(read(&find(&store, path).await.unwrap()).await.unwrap(), bytes);
    }
}

#[tokio::test]
async fn a_length_learnt_at_the_end_completes_the_content() {
    let store = start(&SimDisk::new(3)).await;
    for len in [0, 1, MIB, MIB + 1] {
        let bytes = content(len, len);
        let blob = store.create(None).await.unwrap();
        store.insert(meta(&format!("/{len}"), &blob));
        write(&blob, 0, &bytes).await.unwrap();
        assert!(!blob.is_complete());
        blob.set_len(len);
        assert!(blob.is_complete(), "{len} bytes");
        settle(&store).await;
        assert_eq!(blob.state().content, Some(*blake3::hash(&bytes).as_bytes()));
    }
}

#[tokio::test]
async fn bytes_beyond_the_length_are_not_kept() {
    let store = start(&SimDisk::new(4)).await;
    let bytes = content(1, 200_000);
    let blob = store.create(None).await.unwrap();
    write(&blob, 0, &bytes).await.unwrap();
    blob.set_len(150_000);
    assert_eq!(blob.present_until(150_000), None);
    assert!(matches!(write(&blob, 150_000, &bytes).await, Err(Error::TooLarge { max: 150_000, .. })));
    // The run that crossed the length had to go; the rest comes again.
    write(&blob, 0, &bytes.slice(..150_000)).await.unwrap();
    assert_eq!(read(&blob).await.unwrap(), bytes[..150_000]);
}

#[tokio::test]
async fn readable_bytes_are_never_overwritten() {
    let store = start(&SimDisk::new(5)).await;
    let (old, new) = (content(1, 100_000), content(2, 300_000));
    let blob = store.create(Some(300_000)).await.unwrap();
    write(&blob, 100_000, &old).await.unwrap();
    write(&blob, 0, &new).await.unwrap();
    settle(&store).await;
    let expected = [&new[..100_000], &old, &new[200_000..]].concat();
    assert_eq!(read(&blob).await.unwrap(), expected);
    assert!(blob.is_complete());
}

#[tokio::test]
async fn bytes_are_readable_before_their_run_ends() {
    const STEP: u64 = 512 << 10;
    let store = start(&SimDisk::new(6)).await;
    let bytes = content(1, 600_000);
    let blob = store.create(Some(2 * MIB)).await.unwrap();
    let mut writer = blob.writer(1_000);
    for part in [0..300_000, 300_000..500_000, 500_000..600_000] {
        writer.write(bytes.slice(part)).await.unwrap();
    }
    until_readable(&blob, STEP).await;
    assert_eq!(blob.present_until(1_000), Some(STEP), "the rest waits until it fills a step of the file, or is asked for");
    writer.flush().unwrap();
    until_readable(&blob, 601_000).await;
    assert_eq!(blob.checked_until(1_000), Some(601_000));
    assert_eq!(read_range(&blob, ByteRange { start: 1_000, end: 601_000 }).await.unwrap(), bytes);
    assert!(matches!(blob.read(0, 10).await, Err(Error::Absent { offset: 0, .. })));
    assert!(matches!(blob.read(601_000, 10).await, Err(Error::Absent { .. })));
}

async fn until_readable(blob: &Arc<Blob>, until: u64) {
    loop {
        let grown = blob.grown();
        if blob.present_until(1_000) >= Some(until) {
            return;
        }
        grown.await;
    }
}

#[tokio::test]
async fn a_dropped_writer_keeps_what_was_written() {
    let store = start(&SimDisk::new(7)).await;
    let bytes = content(1, 300_000);
    let blob = store.create(Some(MIB)).await.unwrap();
    store.insert(meta("/a", &blob));
    let mut writer = blob.writer(0);
    writer.write(bytes.clone()).await.unwrap();
    drop(writer);
    settle(&store).await;
    assert_eq!(blob.state().map.bytes(), 300_000);
}

#[tokio::test]
async fn at_most_4096_extents_are_kept_and_the_shortest_go() {
    let store = start(&SimDisk::new(8)).await;
    let blob = store.create(Some(16 * MIB)).await.unwrap();
    let bytes = content(1, 3);
    for at in 0..4_200_u64 {
        let len = if at < 100 { 1 } else { 3 };
        let mut writer = blob.writer(at * 10);
        writer.write(bytes.slice(..len)).await.unwrap();
    }
    settle(&store).await;
    let kept = present(&blob, 16 * MIB);
    let long = kept.iter().filter(|extent| extent.len() == 3).count();
    assert!(kept.len() <= 4_096, "{} extents", kept.len());
    assert!(long >= 4_000, "only {long} of the longer extents were kept");
}

#[tokio::test]
async fn a_verified_blob_is_found_by_its_digest_even_after_a_restart() {
    let disk = SimDisk::new(9);
    let store = start(&disk).await;
    let bytes = content(1, MIB + 77);
    let blob = put(&store, "/a", &bytes).await;
    settle(&store).await;
    assert_eq!(store.verified(&sha256(&bytes)), None);
    assert!(!store.verify(&blob, &Digest::Sha256([7; 32])).await.unwrap());
    assert!(store.verify(&blob, &sha256(&bytes)).await.unwrap());
    assert_eq!(store.verified(&sha256(&bytes)), Some(blob.id()));
    store.flush().await.unwrap();
    drop(blob);
    store.close().await.unwrap();
    let store = start(&disk).await;
    let id = store.verified(&sha256(&bytes)).unwrap();
    assert_eq!(read(&store.open(id).await.unwrap()).await.unwrap(), bytes);
    let object = store.lookup(key("/a").hash()).await.unwrap()[0].clone();
    store.remove(&object);
    assert_eq!(store.verified(&sha256(&bytes)), None);
}

#[tokio::test]
async fn an_incomplete_blob_is_not_verified() {
    let store = start(&SimDisk::new(10)).await;
    let blob = store.create(Some(10)).await.unwrap();
    let digest = Digest::Sha1([0; 20]);
    assert!(matches!(store.verify(&blob, &digest).await, Err(Error::Absent { .. })));
    store.mark_verified(&blob, &digest);
    assert_eq!(store.verified(&digest), None);
}

#[tokio::test]
async fn contents_that_come_faster_than_commits_wait_for_one() {
    let store = start_with(&SimDisk::new(9), |config| config.commit_interval = Duration::from_secs(3600)).await;
    for number in 0..3 * CHANGED_BLOBS_MAX as u64 {
        drop(put(&store, &format!("/{number}"), &content(number, 10)).await);
        let open = store.shared.journal.changed_blobs();
        assert!(open <= CHANGED_BLOBS_MAX, "{open} blobs are open for their changes");
    }
    assert_eq!(store.stats().blobs, 3 * CHANGED_BLOBS_MAX as u64);
}
