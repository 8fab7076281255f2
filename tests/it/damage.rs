//! Damage to what is kept on disk: it costs fetching again, never a wrong byte and never a start that fails.

use std::{
    fs,
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use crate::support::{Content, MIB, Origin, Resource, proxy};

const LEN: u64 = 4 * MIB + 321;

/// Stores an object, stops, lets `damage` at the data directory, starts again, and fetches it twice.
async fn survives(what: &str, damage: impl FnOnce(&Path)) -> u64 {
    let content = Content::new("damaged", LEN);
    let origin = Origin::start().await;
    origin.serve("/a", Resource::new(&content));
    let weir = proxy().upstream("cdn.test", &origin).start().await;
    assert!(weir.download("cdn.test", "/a", &[], &content).await.is_all_of(&content));
    weir.settled().await;
    let data = weir.data();
    let (status, builder) = weir.stop().await;
    assert!(status.success(), "{what}: {status}");
    damage(&data);
    let weir = builder.start().await;
    for turn in ["first", "again"] {
        let got = weir.download("cdn.test", "/a", &[], &content).await;
        assert!(got.is_all_of(&content), "{what}, {turn}: {got:?}");
        weir.settled().await;
    }
    assert!(weir.get_with("cdn.test", "/a", &[("Range", "bytes=0-9")]).await.is_hit(), "{what}: mended");
    origin.sent("/a") - LEN
}

/// The one file with content.
fn blob(data: &Path) -> PathBuf {
    let mut found = Vec::new();
    files(&data.join("blobs"), &mut found);
    found.retain(|path| path.metadata().unwrap().len() >= LEN);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => files(&entry.path(), found),
            false => found.push(entry.path()),
        }
    }
}

fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.write_all(bytes).unwrap();
}

#[tokio::test]
async fn a_rotten_sector_is_noticed_and_only_its_piece_is_fetched_again() {
    let again = survives("rot", |data| overwrite(&blob(data), 2 * MIB + 5, b"rotten")).await;
    assert!((1..=2 * MIB).contains(&again), "{again} bytes fetched again");
}

#[tokio::test]
async fn rot_in_the_last_byte_is_noticed_too() {
    survives("rot at the end", |data| overwrite(&blob(data), LEN - 1, &[0])).await;
}

#[tokio::test]
async fn a_truncated_file_costs_what_is_missing() {
    survives("truncated", |data| fs::OpenOptions::new().write(true).open(blob(data)).unwrap().set_len(MIB).unwrap()).await;
}

#[tokio::test]
async fn a_missing_file_costs_fetching_it_again() {
    let again = survives("removed", |data| fs::remove_file(blob(data)).unwrap()).await;
    assert_eq!(again, LEN);
}

#[tokio::test]
async fn an_index_that_is_gone_leaves_an_empty_cache() {
    survives("no index", |data| fs::remove_file(data.join("index.redb")).unwrap()).await;
}

#[tokio::test]
async fn an_index_of_garbage_leaves_an_empty_cache() {
    survives("garbage for an index", |data| fs::write(data.join("index.redb"), vec![0x5a; 100_000]).unwrap()).await;
}

#[tokio::test]
async fn files_that_nobody_knows_are_removed_or_ignored() {
    survives("orphans", |data| {
        let directory = blob(data).parent().unwrap().to_owned();
        fs::write(directory.join("ffffffffffffff00"), b"orphan").unwrap();
        fs::write(directory.join("not a blob"), b"stray").unwrap();
    })
    .await;
}

#[tokio::test]
async fn data_of_another_version_is_refused_in_words() {
    let origin = Origin::start().await;
    let weir = proxy().upstream("cdn.test", &origin).start().await;
    let (_, builder) = weir.stop().await;
    let data = builder.data_path().to_owned();
    fs::write(data.join("VERSION"), "weir store 9999\n").unwrap();
    let (status, said) = builder.start_in_vain();
    assert!(!status.success());
    assert!(said.contains("9999") || said.contains("version"), "{said}");
}
