//! Fetching files before anybody asks for them: those that metadata showed to clients, if an administrator wants that.
//!
//! Which, how many at once and how much of the line they may take in an hour is decided here; how they are fetched without getting into anybody's
//! way is `cache`'s business. Everything here may be forgotten: metadata passes again.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use http::{HeaderMap, Method, Version};
use tokio::{task::JoinSet, time::Instant};

use super::{
    call::one_client,
    content::{self, Asker},
};
use crate::{
    cache::{Cache, Wanted},
    catalog::Catalog,
    classify::Want,
    key::KeyHash,
    metrics,
    upstream::Interim,
};

/// What is fetched in advance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prestage {
    pub enabled: bool,
    /// So many clients (by address, or network of one host) must have been told of a file.
    pub clients: usize,
    /// The longest file, in bytes.
    pub size_max: u64,
    /// Files at once.
    pub at_once: usize,
    /// Bytes that may be begun within an hour.
    pub hourly_bytes: u64,
}

impl Prestage {
    /// The most that `clients` can be: so many are remembered of each file.
    pub const CLIENTS_MAX: usize = 64;
}

impl Default for Prestage {
    /// Off; switched on, what a line of 20 Mbit/s brings in an hour, for files that are more than one computer's.
    fn default() -> Self {
        Self { enabled: false, clients: 2, size_max: 2 << 30, at_once: 1, hourly_bytes: 8 << 30 }
    }
}

/// Who decides.
pub(super) struct Stager {
    config: Arc<ArcSwap<super::Config>>,
    cache: Cache,
    catalog: Arc<Catalog>,
    metrics: metrics::Catalog,
    node: Arc<str>,
    shown: Shown,
    spent: Spent,
    waiting: VecDeque<(Arc<Wanted>, u64)>,
    running: JoinSet<()>,
}

impl Stager {
    pub(super) fn new(
        config: Arc<ArcSwap<super::Config>>,
        cache: Cache,
        catalog: Arc<Catalog>,
        metrics: metrics::Catalog,
        node: Arc<str>,
    ) -> Self {
        let (shown, spent) = (Shown::default(), Spent::default());
        Self { config, cache, catalog, metrics, node, shown, spent, waiting: VecDeque::new(), running: JoinSet::new() }
    }

    /// Metadata told `client` of a file that is not stored.
    pub(super) fn shown(&mut self, want: Want, client: IpAddr) {
        let terms = self.terms();
        if !terms.enabled || self.shown.to(want.key.hash(), one_client(client)) != terms.clients.max(1) {
            return;
        }
        let size = self.catalog.expected(want.key.text(), want.declared).size;
        let Some(size) = size.filter(|size| *size <= terms.size_max) else { return self.metrics.prestage_refused.inc("size") };
        if self.waiting.len() >= WAITING_MAX {
            return self.metrics.prestage_refused.inc("queue");
        }
        let asker = Asker {
            version: Version::HTTP_11,
            method: Method::GET,
            fields: HeaderMap::new(),
            client: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            interim: Interim::default(),
        };
        self.waiting.push_back((content::wanted(want, asker, &self.node), size));
        self.start();
    }

    /// Waits until one of those under way has ended; for ever, if there are none.
    pub(super) async fn ended(&mut self) {
        if self.running.join_next().await.is_none() {
            std::future::pending::<()>().await;
        }
        self.start();
    }

    fn start(&mut self) {
        let terms = self.terms();
        while terms.enabled
            && self.running.len() < terms.at_once
            && let Some((want, size)) = self.waiting.pop_front()
        {
            if !self.spent.takes(size, terms.hourly_bytes, Instant::now()) {
                self.metrics.prestage_refused.inc("budget");
                continue;
            }
            self.metrics.prestage_started.inc();
            let (cache, metrics) = (self.cache.clone(), self.metrics.clone());
            self.running.spawn(async move {
                match cache.stage(&want, size).await {
                    Ok(()) => metrics.prestaged_bytes.add(size),
                    Err(error) => {
                        tracing::debug!(key = %want.key, %error, "not fetched in advance");
                        metrics.prestage_refused.inc(error.reason());
                    }
                }
            });
        }
    }

    fn terms(&self) -> Prestage {
        self.config.load().prestage
    }
}

/// Which clients were told of which file; of too many files those that came first are forgotten.
#[derive(Default)]
struct Shown {
    clients: HashMap<KeyHash, Vec<IpAddr>>,
    order: VecDeque<KeyHash>,
}

impl Shown {
    /// To how many clients the file was shown by now; 0 if that did not change.
    fn to(&mut self, key: KeyHash, client: IpAddr) -> usize {
        if !self.clients.contains_key(&key) {
            while self.order.len() >= FILES_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.clients.remove(&oldest);
            }
            self.order.push_back(key);
        }
        let clients = self.clients.entry(key).or_default();
        if clients.len() >= Prestage::CLIENTS_MAX || clients.contains(&client) {
            return 0;
        }
        clients.push(client);
        clients.len()
    }
}

/// What was begun within the running hour, in bytes.
#[derive(Default)]
struct Spent {
    bytes: u64,
    since: Option<Instant>,
}

impl Spent {
    /// Whether `size` more may be begun; if so, it counts.
    fn takes(&mut self, size: u64, hourly: u64, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= HOUR) {
            (self.bytes, self.since) = (0, Some(now));
        }
        let fits = self.bytes.saturating_add(size) <= hourly;
        self.bytes += if fits { size } else { 0 };
        fits
    }
}

const HOUR: Duration = Duration::from_secs(3600);
/// Files that clients were told of.
const FILES_MAX: usize = 10_000;
/// Files that wait for their turn.
const WAITING_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn client(nth: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, nth))
    }

    #[test]
    fn a_client_counts_once_for_a_file() {
        let (mut shown, key) = (Shown::default(), KeyHash([7; 16]));
        let seen: Vec<_> = [1, 1, 2, 1, 3].map(|nth| shown.to(key, client(nth))).into();
        assert_eq!(seen, [1, 0, 2, 0, 3]);
        assert_eq!(shown.to(KeyHash([8; 16]), client(1)), 1, "another file");
    }

    #[test]
    fn files_that_came_first_are_forgotten_and_clients_have_a_bound() {
        let mut shown = Shown::default();
        for nth in 0..FILES_MAX as u128 + 10 {
            shown.to(KeyHash(nth.to_le_bytes()), client(1));
        }
        assert_eq!((shown.order.len(), shown.clients.len()), (FILES_MAX, FILES_MAX));
        let told = (0..=255).filter(|nth| shown.to(KeyHash([9; 16]), client(*nth)) > 0).count();
        assert_eq!(told, Prestage::CLIENTS_MAX);
    }

    #[test]
    fn what_is_begun_within_an_hour_has_a_bound() {
        let (mut spent, start) = (Spent::default(), Instant::now());
        assert!(spent.takes(60, 100, start) && !spent.takes(41, 100, start) && spent.takes(40, 100, start));
        assert!(!spent.takes(1, 100, start + HOUR - Duration::from_secs(1)));
        assert!(spent.takes(100, 100, start + HOUR));
        assert!(!Spent::default().takes(101, 100, start), "longer than an hour's share");
    }
}
