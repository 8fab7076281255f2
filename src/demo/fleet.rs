//! Many simulated computers that fetch one update the way Delivery Optimization does: seven connections each, aligned 1 MiB ranges in shuffled order.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use tokio::task::JoinSet;

use crate::{
    demo::{
        client::{Ask, Connection},
        shelf::{File, UPDATE_HOST},
    },
    digest::Digest,
    piece::{piece_count, piece_range},
};

/// What all computers are after, and how far they are.
pub(super) struct Fleet {
    weir: SocketAddr,
    file: Arc<File>,
    piece_digests: Vec<Digest>,
    lan_bytes: AtomicU64,
    finished: AtomicUsize,
}

/// What came of a run.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) computers: u64,
    /// Content bytes that weir sent to the computers.
    pub(super) lan_bytes: u64,
    pub(super) took: Duration,
    /// One line for each computer that did not get its update.
    pub(super) failures: Vec<String>,
}

/// One computer: the pieces it still lacks.
struct Computer {
    fleet: Arc<Fleet>,
    uri: String,
    pieces: Mutex<Vec<u64>>,
}

impl Fleet {
    pub(super) fn new(weir: SocketAddr, file: Arc<File>) -> Arc<Self> {
        let piece_digests = file.content.piece_digests();
        Arc::new(Self { weir, file, piece_digests, lan_bytes: AtomicU64::new(0), finished: AtomicUsize::new(0) })
    }

    pub(super) fn lan_bytes(&self) -> u64 {
        self.lan_bytes.load(Ordering::Relaxed)
    }

    /// Computers that have the update.
    pub(super) fn finished(&self) -> usize {
        self.finished.load(Ordering::Relaxed)
    }

    /// All computers at once; returns when the last one has the update or has given up. Dropped, all stop.
    pub(super) async fn update(self: &Arc<Self>, computers: u64) -> Outcome {
        let begun = Instant::now();
        let mut running = JoinSet::new();
        for number in 0..computers {
            let fleet = self.clone();
            running.spawn(async move {
                let result = fleet.clone().computer(number).run().await;
                fleet.finished.fetch_add(usize::from(result.is_ok()), Ordering::Relaxed);
                result.map_err(|error| format!("computer {}: {error:#}", number + 1))
            });
        }
        let results = running.join_all().await;
        Outcome {
            computers,
            lan_bytes: self.lan_bytes(),
            took: begun.elapsed(),
            failures: results.into_iter().filter_map(Result::err).collect(),
        }
    }

    /// `number` seeds the order of the pieces: every run of the demonstration asks alike.
    fn computer(self: Arc<Self>, number: u64) -> Computer {
        let mut pieces: Vec<u64> = (0..piece_count(self.file.content.len())).collect();
        pieces.shuffle(&mut StdRng::seed_from_u64(number));
        let uri = format!("{}?{}&cacheHostOrigin={UPDATE_HOST}", self.file.path, signature(number));
        Computer { fleet: self, uri, pieces: Mutex::new(pieces) }
    }
}

impl Computer {
    async fn run(self) -> Result<()> {
        let computer = Arc::new(self);
        let mut connections = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let computer = computer.clone();
            connections.spawn(async move { computer.work().await });
        }
        connections.join_all().await.into_iter().collect()
    }

    /// One connection: takes pieces until none is left.
    async fn work(&self) -> Result<()> {
        let mut connection = Connection::open(self.fleet.weir).await?;
        while let Some(piece) = self.next_piece() {
            let mut attempt = 1;
            while let Err(error) = self.fetch(&mut connection, piece).await {
                ensure!(attempt < ATTEMPTS, "piece {piece}: {error:#}");
                attempt += 1;
                tokio::time::sleep(RETRY_DELAY).await;
                connection = Connection::open(self.fleet.weir).await?;
            }
        }
        Ok(())
    }

    fn next_piece(&self) -> Option<u64> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    async fn fetch(&self, connection: &mut Connection, piece: u64) -> Result<()> {
        let host = self.fleet.weir.to_string();
        let ask = Ask { uri: &self.uri, host: &host, range: piece_range(piece, self.fleet.file.content.len()) };
        let seen = |bytes| _ = self.fleet.lan_bytes.fetch_add(bytes, Ordering::Relaxed);
        let answer = connection.ask(&ask, seen).await?;
        ensure!(answer.sha256 == self.fleet.piece_digests[piece as usize], "wrong bytes: {}", answer.sha256);
        Ok(())
    }
}

/// Every client of Microsoft's service holds a signature of its own; none of it is part of what the content is.
fn signature(number: u64) -> String {
    format!("P1=1795000000&P2=402&P3=2&P4=demo{number}%2bsignature%3d%3d")
}

/// As many connections as Delivery Optimization was seen to open to one host.
const CONNECTIONS: usize = 7;

/// How often a piece is asked for before the computer gives up; 503 is an answer that asks to come back.
const ATTEMPTS: usize = 5;
const RETRY_DELAY: Duration = Duration::from_secs(1);
