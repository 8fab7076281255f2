//! What is known of updates and their files from metadata that passed: a cache of names, expendable, bounded, and never needed for passing
//! anything on.
//!
//! Facts are kept by the upstream that said them, because each is trusted for itself only. Where two disagree about a file or a place, what
//! they say of it counts for nothing. It never reads a message itself (`wsus` does), and it knows nothing of keys but their text.

mod kept;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    path::PathBuf,
    sync::{
        PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use self::kept::Line;
use crate::{
    digest::Digest,
    metrics,
    wsus::{Classification, Fact, File, Guid, Identity, Update},
};

/// Bounds, and where it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Of files, of places and of updates, each. Beyond it those that were learnt first are forgotten.
    pub entries_max: usize,
    /// A file of its own; without one it is gone with the process.
    pub path: Option<PathBuf>,
}

/// Everything known.
#[derive(Debug)]
pub struct Catalog {
    config: Config,
    metrics: metrics::Catalog,
    /// Written by one thread alone, which also keeps it: what serves clients never waits while all of it is read.
    known: RwLock<Known>,
    /// Since it was last kept.
    has_changed: AtomicBool,
}

/// What all who know a file say of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Described {
    pub name: Box<str>,
    /// In bytes.
    pub size: Option<u64>,
    pub sha256: Option<Digest>,
}

/// What content must be like, as far as somebody said so whom nobody contradicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// The best that is known: SHA-256, else SHA-1.
    pub digest: Option<Digest>,
    /// In bytes.
    pub size: Option<u64>,
}

/// An update, as one upstream describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    pub identity: Option<Identity>,
    pub title: Option<Box<str>>,
    pub article: Option<Box<str>>,
    pub classification: Option<Classification>,
    /// SHA-1 of its files; of very many only the first.
    pub files: Vec<Digest>,
}

#[derive(Debug, Default)]
struct Known {
    /// By SHA-1.
    files: Table<Digest, Claims<Described>>,
    /// SHA-1, by SHA-256: a content has one of each, so that nobody's words give one file the content of another.
    contents: Table<Digest, Claims<Digest>>,
    /// SHA-1, by the text of the key that the place's URL has.
    places: Table<Box<str>, Claims<Digest>>,
    /// By upstream and its own number for the update.
    updates: Table<(Box<str>, i64), Entry>,
}

/// What upstreams say of one thing: at most a handful, because they are configured.
type Claims<T> = Vec<(Box<str>, Claim<T>)>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Claim<T> {
    Says(T),
    /// It said two things.
    Contradicts,
}

/// A map that forgets what came first when it is full.
#[derive(Debug)]
struct Table<K, V> {
    entries: HashMap<K, (u64, V)>,
    next: u64,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), next: 0 }
    }
}

impl<K: Clone + Eq + Hash, V: Default> Table<K, V> {
    /// The entry of `key`, made if it is not there.
    fn entry(&mut self, key: K, max: usize) -> &mut V {
        if self.entries.len() >= max && !self.entries.contains_key(&key) {
            // A tenth at once, so that looking for the oldest is rare.
            let mut ages: Vec<u64> = self.entries.values().map(|(age, _)| *age).collect();
            ages.sort_unstable();
            let oldest = ages.get(max / 10).copied().unwrap_or(u64::MAX);
            self.entries.retain(|_, (age, _)| *age > oldest);
        }
        self.next += 1;
        let age = self.next;
        &mut self.entries.entry(key).or_insert_with(|| (age, V::default())).1
    }

    fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.entries.get(key).map(|(_, value)| value)
    }
}

impl Catalog {
    /// With what was kept, as far as it can be read. Blocks on the disk.
    pub fn open(config: Config, metrics: metrics::Catalog) -> Self {
        let catalog = Self { config, metrics, known: RwLock::default(), has_changed: AtomicBool::default() };
        if let Some(path) = &catalog.config.path {
            kept::load(path, |upstream, line| match line {
                Line::Fact(fact, key) => catalog.learn(upstream, fact, key),
                Line::ContradictsFile(sha1) => {
                    contradict(catalog.learning().files.entry(sha1, catalog.config.entries_max), upstream)
                }
                Line::ContradictsPlace(key) => {
                    contradict(catalog.learning().places.entry(key.into(), catalog.config.entries_max), upstream);
                }
            });
        }
        catalog.has_changed.store(false, Ordering::Relaxed);
        catalog
    }

    /// Takes down what `upstream` said; for a location with the text of the key that its URL has.
    pub fn learn(&self, upstream: &str, fact: &Fact, key: Option<&str>) {
        let max = self.config.entries_max;
        let mut known = self.learning();
        match fact {
            Fact::Update { number: Some(number), update } => known.updates.entry((upstream.into(), *number), max).takes(update),
            Fact::File { number, file } => known.takes_file(upstream, *number, file, max),
            Fact::Location(location) => {
                if let Some(key) = key {
                    claim(known.places.entry(key.into(), max), upstream, location.digest);
                }
            }
            Fact::Update { number: None, .. } => return,
        }
        self.metrics.files.set(known.files.entries.len() as u64);
        self.metrics.updates.set(known.updates.entries.len() as u64);
        self.has_changed.store(true, Ordering::Relaxed);
    }

    /// What all say of the file with this SHA-1.
    pub fn file(&self, sha1: &Digest) -> Option<Described> {
        agreed(self.known().files.get(sha1)?).cloned()
    }

    /// What is known of the content that is stored, or to be stored, under this key. `declared`: its digest by the name itself.
    pub fn expected(&self, key: &str, declared: Option<Digest>) -> Expected {
        let known = self.known();
        let of_place = || known.places.get(key).and_then(agreed).copied();
        let Some(sha1) = declared.or_else(of_place) else { return Expected::default() };
        let file = known.files.get(&sha1).and_then(agreed);
        let sha256 = file.and_then(|file| file.sha256).filter(|sha256| known.is_of_one_file(sha256));
        Expected { digest: sha256.or(Some(sha1)), size: file.and_then(|file| file.size) }
    }

    /// The updates that have a title, those learnt last first.
    pub fn updates(&self, limit: usize) -> Vec<Entry> {
        let known = self.known();
        let mut titled: Vec<_> = known.updates.entries.values().filter(|(_, entry)| entry.title.is_some()).collect();
        titled.sort_unstable_by_key(|(age, _)| std::cmp::Reverse(*age));
        titled.into_iter().take(limit).map(|(_, entry)| entry.clone()).collect()
    }

    /// The titles of those of these updates that have one, whoever gave it.
    pub fn titles(&self, of: &HashSet<Guid>) -> HashMap<Guid, Box<str>> {
        let known = self.known();
        let entries = known.updates.entries.values().map(|(_, entry)| entry);
        let wanted = entries.filter_map(|entry| Some((entry.identity?.id, entry.title.as_ref()?)));
        wanted.filter(|(id, _)| of.contains(id)).map(|(id, title)| (id, title.clone())).collect()
    }

    /// Writes what is known to its file, if it has changed. What fails is said and costs nothing but learning again. Blocks on the disk.
    pub fn keep(&self) {
        let Some(path) = self.config.path.as_deref().filter(|_| self.has_changed.swap(false, Ordering::Relaxed)) else { return };
        let lines = kept::lines(&self.known());
        if let Err(error) = kept::save(path, &lines) {
            tracing::warn!(path = %path.display(), %error, "what is known of updates could not be kept");
        }
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        // Whoever panicked left at worst one entry half described.
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn learning(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn takes_file(&mut self, upstream: &str, number: Option<i64>, file: &File, max: usize) {
        let Some(sha1) = file.sha1 else { return };
        let described = Described { name: file.name.clone(), size: file.size, sha256: file.sha256 };
        claim(self.files.entry(sha1, max), upstream, described);
        if let Some(sha256) = file.sha256 {
            claim(self.contents.entry(sha256, max), upstream, sha1);
        }
        let Some(number) = number else { return };
        let update = self.updates.entry((upstream.into(), number), max);
        if update.files.len() < FILES_MAX && !update.files.contains(&sha1) {
            update.files.push(sha1);
        }
    }

    /// Whether nobody says that two files have this SHA-256.
    fn is_of_one_file(&self, sha256: &Digest) -> bool {
        self.contents.get(sha256).is_none_or(|claims| agreed(claims).is_some())
    }
}

impl Entry {
    /// Fragments of one update come one by one; of titles the first, which is in the language that was asked for first.
    fn takes(&mut self, update: &Update) {
        self.identity = update.identity.or(self.identity);
        self.classification = update.classification.or(self.classification);
        self.article = update.article.clone().or(self.article.take());
        self.title = self.title.take().or_else(|| update.title.clone());
    }
}

fn claim<T: Agrees>(claims: &mut Claims<T>, upstream: &str, says: T) {
    let Some((_, claim)) = claims.iter_mut().find(|(name, _)| **name == *upstream) else {
        if claims.len() < CLAIMS_MAX {
            claims.push((upstream.into(), Claim::Says(says)));
        }
        return;
    };
    let is_said_again = matches!(claim, Claim::Says(old) if old.agrees(&says));
    if !is_said_again {
        *claim = Claim::Contradicts;
    }
}

/// Takes down that `upstream` contradicted itself.
fn contradict<T>(claims: &mut Claims<T>, upstream: &str) {
    claims.retain(|(name, _)| **name != *upstream);
    if claims.len() < CLAIMS_MAX {
        claims.push((upstream.into(), Claim::Contradicts));
    }
}

/// What all say; `None` as soon as one disagrees.
fn agreed<T: Agrees>(claims: &Claims<T>) -> Option<&T> {
    let mut says = claims.iter().map(|(_, claim)| match claim {
        Claim::Says(says) => Some(says),
        Claim::Contradicts => None,
    });
    let first = says.next()??;
    says.all(|other| other.is_some_and(|other| first.agrees(other))).then_some(first)
}

/// What can be said of one thing by several.
trait Agrees {
    fn agrees(&self, other: &Self) -> bool;
}

impl Agrees for Described {
    /// Names may differ; what is said of the bytes may not.
    fn agrees(&self, other: &Self) -> bool {
        let (size, sha256) = (self.size.zip(other.size), self.sha256.zip(other.sha256));
        size.is_none_or(|(a, b)| a == b) && sha256.is_none_or(|(a, b)| a == b)
    }
}

impl Agrees for Digest {
    fn agrees(&self, other: &Self) -> bool {
        self == other
    }
}

/// Of one update: an express update has thousands, and nobody looks at them.
const FILES_MAX: usize = 64;

/// Upstreams that say something of one file; more are not heard.
const CLAIMS_MAX: usize = 8;
