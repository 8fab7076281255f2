//! Stored responses: variants, replacement, purge, listing.

use http::{HeaderValue, header};

use super::*;
use crate::store::{Purge, Purged};

#[tokio::test]
async fn a_response_with_the_same_selecting_fields_is_replaced_and_others_stand_beside_it() {
    let store = start(&SimDisk::new(1)).await;
    let blob = store.create(Some(1)).await.unwrap();
    let variant = |encoding: Option<&'static str>| {
        let mut meta = meta("/a", &blob);
        meta.selecting = vec![(header::ACCEPT_ENCODING, encoding.map(HeaderValue::from_static))];
        meta
    };
    let plain = store.insert(variant(None));
    let gzip = store.insert(variant(Some("gzip")));
    let newer = store.insert(variant(None));
    let ids = |objects: &[Arc<crate::object::Object>]| objects.iter().map(|object| object.id).collect::<Vec<_>>();
    assert_eq!(ids(&store.lookup(key("/a").hash()).await.unwrap()), [newer.id, gzip.id]);
    assert_ne!(plain.id, newer.id);
    assert!(store.update(&plain, variant(None)).is_none(), "what was replaced cannot be freshened");
    let fresh = store.update(&gzip, variant(Some("gzip"))).unwrap();
    assert_eq!(ids(&store.lookup(key("/a").hash()).await.unwrap()), [gzip.id, newer.id]);
    assert_eq!((fresh.id, store.stats().objects), (gzip.id, 2));
}

#[tokio::test]
async fn of_two_who_change_one_response_at_a_time_the_second_looks_again() {
    let disk = SimDisk::new(6);
    let store = start(&disk).await;
    let blob = put(&store, "/a", &content(1, 1_000)).await;
    let seen = store.lookup(key("/a").hash()).await.unwrap()[0].clone();
    let changed = |source: &str| ObjectMeta { source: source.into(), ..meta("/a", &blob) };
    store.update(&seen, changed("first")).unwrap();
    assert!(store.update(&seen, changed("second")).is_none());
    let seen = store.lookup(key("/a").hash()).await.unwrap()[0].clone();
    assert_eq!(&*seen.meta.source, "first");
    store.update(&seen, changed("second")).unwrap();
    store.flush().await.unwrap();
    drop((blob, store));
    let store = start(&disk.crash()).await;
    let stored = store.lookup(key("/a").hash()).await.unwrap();
    assert_eq!((stored.len(), &*stored[0].meta.source), (1, "second"));
    assert_eq!(read(&find(&store, "/a").await.unwrap()).await.unwrap(), content(1, 1_000));
}

#[tokio::test]
async fn variants_under_one_key_are_bounded() {
    let store = start(&SimDisk::new(2)).await;
    let blob = store.create(Some(1)).await.unwrap();
    for number in 0..100 {
        let mut meta = meta("/a", &blob);
        meta.selecting = vec![(header::COOKIE, Some(HeaderValue::from(number)))];
        store.insert(meta);
    }
    assert_eq!(store.lookup(key("/a").hash()).await.unwrap().len(), 32);
    assert_eq!(store.stats().objects, 32);
}

#[tokio::test]
async fn what_was_removed_is_gone_at_once_and_after_a_restart() {
    let disk = SimDisk::new(3);
    let store = start(&disk).await;
    drop(put(&store, "/a", &content(1, 1_000)).await);
    drop(put(&store, "/b", &content(2, 1_000)).await);
    store.flush().await.unwrap();
    let object = store.lookup(key("/a").hash()).await.unwrap()[0].clone();
    store.remove(&object);
    assert!(find(&store, "/a").await.is_none());
    store.close().await.unwrap();
    blob_file(&disk);
    let store = start(&disk).await;
    assert!(find(&store, "/a").await.is_none());
    assert!(find(&store, "/b").await.is_some());
}

#[tokio::test]
async fn a_blob_without_a_response_goes_with_its_last_holder() {
    let disk = SimDisk::new(4);
    let store = start(&disk).await;
    let blob = store.create(Some(1_000)).await.unwrap();
    write(&blob, 0, &content(1, 1_000)).await.unwrap();
    store.flush().await.unwrap();
    assert_eq!(store.stats().blobs, 1);
    settle(&store).await;
    drop(blob);
    // The commit may have been its last holder; then the next one forgets it.
    store.flush().await.unwrap();
    store.flush().await.unwrap();
    settle(&store).await;
    assert_eq!((store.stats().blobs, store.stats().used), (0, 0));
    assert!(!disk.files().iter().any(|path| path.starts_with("/data/blobs")));
}

#[tokio::test]
async fn small_content_is_answered_from_memory_once_it_was_read() {
    let store = start(&SimDisk::new(5)).await;
    let bytes = content(1, 20_000);
    let blob = put(&store, "/a", &bytes).await;
    let object = store.lookup_now(key("/a").hash()).unwrap()[0].clone();
    assert_eq!(store.small(&object), None);
    assert_eq!(blob.read(0, 100_000).await.unwrap(), bytes);
    assert_eq!(store.small(&object).unwrap(), bytes);
    assert_eq!(blob.read(19_999, 10).await.unwrap(), bytes[19_999..]);
    store.remove(&object);
    drop(blob);
    assert_eq!(store.lookup_now(key("/a").hash()).unwrap().len(), 0);
}

#[tokio::test]
async fn a_purge_counts_first_and_then_does_what_it_counted() {
    let store = start(&SimDisk::new(6)).await;
    for (path, seed) in [("/a", 1), ("/b", 1), ("/c", 2)] {
        drop(put(&store, path, &content(seed, 1_000)).await);
        settle(&store).await;
    }
    let other = put(&store, "/other", &content(3, 500)).await;
    let mut elsewhere = meta("/x", &other);
    elsewhere.key = CacheKey::new(Scheme::Http, "other.example", "/x");
    store.insert(elsewhere);
    drop(other);
    let one = Purge::Key(key("/a").hash());
    let counted = Purged { objects: 1, blobs: 0, bytes: 0 };
    assert_eq!(store.purge(one.clone(), true).await.unwrap(), counted, "its bytes are shared");
    assert_eq!(store.purge(one, false).await.unwrap(), counted);
    let group = Purge::Group("h.example".into());
    let counted = Purged { objects: 3, blobs: 2, bytes: 2_000 };
    assert_eq!(store.purge(group.clone(), true).await.unwrap(), counted);
    assert_eq!(store.stats().objects, 4);
    assert_eq!(store.purge(group, false).await.unwrap(), counted);
    assert_eq!(store.purge(Purge::All, false).await.unwrap(), Purged { objects: 1, blobs: 1, bytes: 500 });
    store.flush().await.unwrap();
    assert_eq!((store.stats().objects, store.stats().blobs, store.stats().used), (0, 0, 0));
}

#[tokio::test]
async fn what_was_purged_stays_so_after_a_power_cut() {
    let disk = SimDisk::new(8);
    let store = start(&disk).await;
    drop(put(&store, "/a", &content(1, 1_000)).await);
    store.flush().await.unwrap();
    store.purge(Purge::Key(key("/a").hash()), false).await.unwrap();
    let after = start(&disk.crash()).await;
    assert_eq!(after.stats().objects, 0);
}

#[tokio::test]
async fn all_responses_are_listed_page_by_page() {
    let store = start(&SimDisk::new(7)).await;
    for number in 0..25 {
        drop(put(&store, &format!("/{number}"), &content(number, 100)).await);
    }
    store.flush().await.unwrap();
    let (mut page, mut seen) = (None, std::collections::HashSet::new());
    loop {
        let (listed, next) = store.objects(page, 10).await.unwrap();
        assert!(listed.len() <= 10 && listed.iter().all(|one| one.present == 100));
        seen.extend(listed.iter().map(|one| one.object.meta.key.text().to_owned()));
        page = next;
        if page.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 25);
}

#[tokio::test]
async fn quarantined_content_is_kept_aside_and_never_found() {
    let disk = SimDisk::new(8);
    let store = start(&disk).await;
    let blob = put(&store, "/a", &content(1, 1_000)).await;
    let stored = store.lookup(key("/a").hash()).await.unwrap()[0].clone();
    assert!(store.quarantine(&stored, "digest mismatch").await.unwrap());
    assert!(store.lookup(key("/a").hash()).await.unwrap().is_empty());
    let kept = PathBuf::from(format!("/data/quarantine/{}", blob.id()));
    store.flush().await.unwrap();
    settle(&store).await;
    assert!(disk.files().contains(&kept));
    assert!(!store.quarantine(&stored, "again").await.unwrap());
}

#[tokio::test]
async fn quarantine_takes_nothing_from_those_who_share_the_content() {
    let store = start(&SimDisk::new(8)).await;
    let blob = put(&store, "/right", &content(1, 1_000)).await;
    let wrong = store.insert(meta("/wrong", &blob));
    assert!(!store.quarantine(&wrong, "digest mismatch").await.unwrap());
    assert!(store.lookup(key("/wrong").hash()).await.unwrap().is_empty());
    assert_eq!(store.lookup(key("/right").hash()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_stamp_holds_until_something_changes_under_its_key() {
    let store = start(&SimDisk::new(3)).await;
    let stamp = || store.stamp(key("/a").hash());
    let blob = put(&store, "/a", &content(1, 1_000)).await;
    let stored = store.lookup(key("/a").hash()).await.unwrap()[0].clone();
    let found = stamp();
    put(&store, "/b", &content(2, 1_000)).await;
    store.used(&stored);
    assert_eq!(stamp(), found);

    store.update(&stored, meta("/a", &blob)).unwrap();
    let updated = stamp();
    assert_ne!(updated, found);
    store.insert(meta("/a", &blob));
    let replaced = stamp();
    assert_ne!(replaced, updated);
    assert_eq!(store.purge(Purge::Key(key("/a").hash()), true).await.unwrap().objects, 1);
    assert_eq!(stamp(), replaced);
    store.purge(Purge::Key(key("/a").hash()), false).await.unwrap();
    assert_ne!(stamp(), replaced);
}
