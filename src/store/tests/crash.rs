//! Power cuts at any moment: what the index says is present reads back right, and what was flushed is still there.

use std::collections::HashMap;

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::*;
use crate::store::place::PLACE_LEN_MAX;

const PATHS: u64 = 6;

/// What one seed expects of its store.
struct Scenario {
    seed: u64,
    random: StdRng,
    /// By path: what was present when a flush last ended well. Gone when the path was removed or replaced.
    durable: HashMap<u64, Vec<ByteRange>>,
}

#[tokio::test]
async fn whatever_moment_the_power_goes_nothing_wrong_is_served_and_nothing_flushed_is_lost() {
    for seed in 0..200 {
        let mut scenario = Scenario { seed, random: StdRng::seed_from_u64(seed), durable: HashMap::new() };
        let mut disk = SimDisk::new(seed);
        for _ in 0..2 {
            let calls = scenario.random.random_range(1..400);
            disk.die_after(calls);
            // The power may go in the very start.
            if let Ok(store) = open(scenario.config(), Arc::new(disk.clone()), metrics::Store::default()).await {
                let _ = scenario.live(&store).await;
            }
            disk = disk.crash();
            let store = start_with(&disk, |config| config.pack_max = scenario.pack_max()).await;
            scenario.check(&store).await;
            store.close().await.unwrap();
        }
    }
}

impl Scenario {
    /// Every other seed keeps its small contents in packs.
    fn pack_max(&self) -> u64 {
        self.seed % 2 * PLACE_LEN_MAX
    }

    fn config(&self) -> Config {
        Config { pack_max: self.pack_max(), ..config() }
    }

    fn content(&self, path: u64) -> Bytes {
        let len = match path {
            0 => MIB + 17,
            1 => MIB,
            2 => 0,
            _ if self.pack_max() > 0 => path * 9_000 + 1,
            _ => path * 20_000 + 1,
        };
        content(self.seed * 1_000 + path, len)
    }

    /// Random work until it is done or the disk fails.
    async fn live(&mut self, store: &Store) -> Result<(), crate::store::Error> {
        for _ in 0..self.random.random_range(1..25) {
            let path = self.random.random_range(0..PATHS);
            match self.random.random_range(0..10) {
                0 => self.flush(store).await?,
                1 => self.remove(store, path).await?,
                _ => self.write(store, path).await?,
            }
        }
        self.flush(store).await
    }

    /// Writes a random part of a content, into its blob or a new one.
    async fn write(&mut self, store: &Store, path: u64) -> Result<(), crate::store::Error> {
        let bytes = self.content(path);
        let name = format!("/{path}");
        let there = store.lookup(key(&name).hash()).await?;
        let blob = match there.first() {
            Some(object) => store.open(object.meta.blob).await?,
            None => {
                let blob = store.create(Some(bytes.len() as u64)).await?;
                store.insert(meta(&name, &blob));
                blob
            }
        };
        let start = if self.random.random() { 0 } else { self.random.random_range(0..=bytes.len()) };
        let end = if self.random.random() { bytes.len() } else { self.random.random_range(start..=bytes.len()) };
        super::write(&blob, start as u64, &bytes.slice(start..end)).await
    }

    async fn remove(&mut self, store: &Store, path: u64) -> Result<(), crate::store::Error> {
        self.durable.remove(&path);
        if let Some(object) = store.lookup(key(&format!("/{path}")).hash()).await?.first() {
            store.remove(object);
        }
        Ok(())
    }

    async fn flush(&mut self, store: &Store) -> Result<(), crate::store::Error> {
        let mut durable = HashMap::new();
        for path in 0..PATHS {
            if let Some(object) = store.lookup(key(&format!("/{path}")).hash()).await?.first() {
                let blob = store.open(object.meta.blob).await?;
                durable.insert(path, super::present(&blob, self.content(path).len() as u64));
            }
        }
        store.flush().await?;
        self.durable = durable;
        Ok(())
    }

    async fn check(&self, store: &Store) {
        let seed = self.seed;
        for path in 0..PATHS {
            let expected = self.content(path);
            let Some(blob) = find(store, &format!("/{path}")).await else {
                assert!(!self.durable.contains_key(&path), "seed {seed}: /{path} was flushed and is lost");
                continue;
            };
            for flushed in self.durable.get(&path).into_iter().flatten() {
                assert_eq!(blob.missing(*flushed), [], "seed {seed}: flushed bytes of /{path} are lost");
            }
            for extent in present(&blob, expected.len() as u64) {
                let got = read_range(&blob, extent).await.unwrap_or_else(|error| panic!("seed {seed}: /{path}: {error}"));
                assert!(got == expected[extent.start as usize..extent.end as usize], "seed {seed}: wrong bytes of /{path}");
            }
        }
    }
}
