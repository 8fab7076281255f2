//! What passes between computers and their update server, looked at on the side, by a thread of its own.
//!
//! Nothing that passes waits for it or is changed by it. The way to the thread has a bound in bytes and in notes; a reply that does not fit is
//! given up, and counted. What is learnt goes to the catalog, and what computers say of themselves to the census.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;
use bytes::Bytes;

use crate::{
    catalog::Catalog,
    census::Census,
    classify::Policy,
    metrics,
    proxy::places::{Places, Told},
    sys::threads,
    wsus::{Coding, Fact, Location, Reply, Request, Unreadable},
};

/// The way to the thread. The thread ends when this and all taps have gone.
#[derive(Debug)]
pub(super) struct Observer {
    notes: SyncSender<Note>,
    /// Bytes that the thread has not read yet.
    waiting: Arc<AtomicUsize>,
    next: AtomicU64,
    metrics: metrics::Catalog,
}

/// Who learns.
pub struct Learners {
    pub catalog: Arc<Catalog>,
    pub census: Arc<Census>,
    pub metrics: metrics::Catalog,
}

enum Note {
    Request {
        client: IpAddr,
        at: SystemTime,
        content: Bytes,
    },
    /// The next bytes of a reply that `upstream` gives to `client`.
    Reply {
        id: u64,
        upstream: Arc<str>,
        client: IpAddr,
        coding: Coding,
        bytes: Vec<u8>,
        given_up: Arc<AtomicBool>,
    },
    End {
        id: u64,
    },
}

/// Sees the bytes of one reply as they pass.
#[derive(Debug)]
pub(super) struct Tap {
    observer: Arc<Observer>,
    id: u64,
    upstream: Arc<str>,
    client: IpAddr,
    coding: Coding,
    /// What passed and was not told yet. A copy: what passes lies in larger buffers, which are used again as soon as nobody refers to them.
    seen: Vec<u8>,
    /// Nothing more of it is told, and what waits need not be read.
    given_up: Arc<AtomicBool>,
}

impl Observer {
    /// Starts the thread.
    pub(super) fn start(learners: Learners, policy: Arc<ArcSwap<Policy>>, places: Places) -> Arc<Self> {
        let metrics = learners.metrics.clone();
        let (notes, heard) = sync_channel(NOTES_MAX);
        let waiting = Arc::<AtomicUsize>::default();
        let reader = Reader { learners, policy, places, waiting: Arc::clone(&waiting), replies: BTreeMap::new() };
        let started = thread::Builder::new().name("observer".into()).spawn(move || reader.run(&heard));
        if let Err(error) = started {
            // Every note fails from now on, and is counted.
            tracing::warn!(%error, "metadata is not read: no thread for it");
        }
        Arc::new(Self { notes, waiting, next: AtomicU64::new(0), metrics })
    }

    pub(super) fn metrics(&self) -> &metrics::Catalog {
        &self.metrics
    }

    /// A call that is passed on, with its plain content.
    pub(super) fn called(&self, client: IpAddr, at: SystemTime, content: &Bytes) {
        self.tell(content.len(), Note::Request { client, at, content: content.clone() });
    }

    /// Looks at a reply of `upstream` to `client` from its beginning.
    pub(super) fn tap(self: &Arc<Self>, upstream: Arc<str>, client: IpAddr, coding: Coding) -> Tap {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        Tap { observer: Arc::clone(self), id, upstream, client, coding, seen: Vec::new(), given_up: Arc::default() }
    }

    /// Whether the note goes to the thread.
    fn tell(&self, len: usize, note: Note) -> bool {
        let fits = self.waiting.fetch_add(len, Ordering::Relaxed) + len <= WAITING_MAX;
        let is_told = fits && self.notes.try_send(note).is_ok();
        if !is_told {
            self.waiting.fetch_sub(len, Ordering::Relaxed);
            self.metrics.unread.inc("lagging");
        }
        is_told
    }
}

impl Tap {
    /// The next bytes that pass.
    pub(super) fn see(&mut self, bytes: &Bytes) {
        if self.given_up.load(Ordering::Relaxed) {
            return;
        }
        self.seen.extend_from_slice(bytes);
        if self.seen.len() >= SEEN_MIN {
            self.tell();
        }
    }

    fn tell(&mut self) {
        let (upstream, client, bytes) = (Arc::clone(&self.upstream), self.client, std::mem::take(&mut self.seen));
        let (len, given_up) = (bytes.len(), Arc::clone(&self.given_up));
        let note = Note::Reply { id: self.id, upstream, client, coding: self.coding, bytes, given_up };
        if !self.observer.tell(len, note) {
            self.given_up.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        if !self.seen.is_empty() {
            self.tell();
        }
        // If that does not fit, the reply is among those that are forgotten when others come.
        _ = self.observer.notes.try_send(Note::End { id: self.id });
    }
}

struct Reader {
    learners: Learners,
    policy: Arc<ArcSwap<Policy>>,
    places: Places,
    waiting: Arc<AtomicUsize>,
    /// Those that have begun. `None`: what follows cannot be read.
    replies: BTreeMap<u64, Option<Reply>>,
}

impl Reader {
    fn run(mut self, heard: &Receiver<Note>) {
        // What passes is in a hurry, and reading it is not. Where that is not granted, it only takes more from others.
        let _ = threads::step_back(NICENESS);
        let mut kept = Instant::now();
        loop {
            match heard.recv_timeout(KEEP_INTERVAL) {
                Ok(note) => self.note(note),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if kept.elapsed() >= KEEP_INTERVAL {
                self.learners.catalog.keep();
                kept = Instant::now();
            }
        }
        self.learners.catalog.keep();
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::Request { client, at, content } => {
                self.request(client, at, &content);
                self.waiting.fetch_sub(content.len(), Ordering::Relaxed);
            }
            Note::Reply { id, upstream, client, coding, bytes, given_up } => {
                // It was counted when it was given up.
                match self.replies.get_mut(&id) {
                    Some(reply) if given_up.load(Ordering::Relaxed) => *reply = None,
                    _ => self.reply(id, (&upstream, client), coding, &bytes),
                }
                self.waiting.fetch_sub(bytes.len(), Ordering::Relaxed);
            }
            Note::End { id } => self.end(id),
        }
    }

    fn request(&mut self, client: IpAddr, at: SystemTime, content: &[u8]) {
        let (mut request, census) = (Request::new(Coding::Identity), &self.learners.census);
        let read = request.push(content, |said| census.note(client, &said, at)).and_then(|()| request.finish());
        self.count(read);
    }

    fn reply(&mut self, id: u64, (upstream, client): (&str, IpAddr), coding: Coding, bytes: &[u8]) {
        if !self.replies.contains_key(&id) && self.replies.len() >= REPLIES_MAX {
            // The oldest is one whose end did not reach us.
            self.replies.pop_first();
            self.learners.metrics.unread.inc("lagging");
        }
        let entry = self.replies.entry(id).or_insert_with(|| Some(Reply::new(coding)));
        let Some(reply) = entry else { return };
        let (catalog, policy, places) = (&self.learners.catalog, &self.policy, &self.places);
        let read = reply.push(bytes, |fact| {
            let told = if let Fact::Location(location) = &fact { told(policy, upstream, location, client) } else { None };
            catalog.learn(upstream, &fact, told.as_ref().map(|told| told.key.text()));
            if let Some(told) = told {
                places.told_of(told);
            }
        });
        if read.is_err() {
            *entry = None;
            self.count(read);
        }
    }

    fn end(&mut self, id: u64) {
        let Some(Some(reply)) = self.replies.remove(&id) else { return };
        for _ in 0..reply.unread_fragments() {
            self.learners.metrics.unread.inc("fragment");
        }
        self.count(reply.finish());
    }

    fn count(&self, read: Result<(), Unreadable>) {
        match read {
            Ok(()) => self.learners.metrics.read.inc(),
            Err(why) => self.learners.metrics.unread.inc(why.as_str()),
        }
    }
}

/// What a place that `upstream` tells `client` of is here.
fn told(policy: &ArcSwap<Policy>, upstream: &str, location: &Location, client: IpAddr) -> Option<Told> {
    let (policy, url) = (policy.load(), location.url.parse().ok()?);
    let want = policy.wanted_at(upstream, &url, &location.digest);
    let key = want.as_ref().map(|want| want.key.clone()).or_else(|| policy.key_of(&url))?;
    Some(Told { key, want, client })
}

/// Bytes on their way to the thread: what a fast network brings while it is busy with something else.
const WAITING_MAX: usize = 2 << 20;
/// A tenth of the time of a thread that serves, where both want all.
const NICENESS: u8 = 10;
/// The thread is woken no oftener than for so many bytes of a reply.
const SEEN_MIN: usize = 32 << 10;

const NOTES_MAX: usize = 1024;

/// Replies that are read at once. Each takes some 100 KiB.
const REPLIES_MAX: usize = 32;

/// What was learnt and is not kept yet is lost by a kill, and learnt again.
const KEEP_INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{catalog, census, classify, digest::Digest};

    /// A server, and the client that it answers.
    const WSUS: (&str, IpAddr) = ("wsus", IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    fn reader() -> Reader {
        let catalog = catalog::Config { entries_max: 10, path: None };
        let learners = Learners {
            catalog: Arc::new(Catalog::open(catalog, metrics::Catalog::default())),
            census: Arc::new(Census::new(census::Config::default(), metrics::Census::default())),
            metrics: metrics::Catalog::default(),
        };
        let policy = classify::Config {
            own_names: vec![],
            own_ports: vec![],
            builtin: true,
            allow: vec![],
            aliases: vec![],
            groups: vec![],
            sites: vec![],
            connect_ports: vec![],
            target_max: 8192,
            policies: classify::Policies::default(),
        };
        let policy = Arc::new(ArcSwap::from_pointee(Policy::new(&policy, "weir")));
        Reader { learners, policy, places: Places::new(|_| false).0, waiting: Arc::default(), replies: BTreeMap::new() }
    }

    fn location() -> String {
        let service = "http://www.microsoft.com/SoftwareDistribution/Server/ClientWebService";
        format!(
            "<e:Envelope xmlns:e=\"http://schemas.xmlsoap.org/soap/envelope/\"><e:Body><GetFileLocationsResponse xmlns=\"{service}\">\
             <GetFileLocationsResult><FileLocations><FileLocation><FileDigest>2jmj7l5rSw0yVb/vlWAYkK/YBwk=</FileDigest>\
             <Url>http://tlu.dl.delivery.mp.microsoft.com/filestreamingservice/files/7bc846e0?P1=1&amp;P4=2</Url></FileLocation>\
             </FileLocations></GetFileLocationsResult></GetFileLocationsResponse></e:Body></e:Envelope>"
        )
    }

    #[test]
    fn a_place_is_known_by_the_key_of_its_content() {
        let mut reader = reader();
        for piece in location().as_bytes().chunks(50) {
            reader.reply(1, WSUS, Coding::Identity, piece);
        }
        reader.end(1);
        let key = "http://dl.delivery.mp.microsoft.com/filestreamingservice/files/7bc846e0";
        assert!(
            matches!(reader.learners.catalog.expected(key, None).digest, Some(Digest::Sha1(_))),
            "without signature and label of the host"
        );
        assert_eq!((reader.learners.metrics.read.value(), reader.replies.len()), (1, 0));
    }

    #[test]
    fn a_reply_that_breaks_off_is_counted_and_what_it_said_holds() {
        let mut reader = reader();
        let text = location();
        reader.reply(1, WSUS, Coding::Identity, &text.as_bytes()[..text.len() - 20]);
        reader.end(1);
        assert_eq!(reader.learners.metrics.unread.value("xml"), 1);
    }

    #[test]
    fn replies_whose_end_did_not_come_are_forgotten() {
        let mut reader = reader();
        for id in 0..REPLIES_MAX as u64 + 5 {
            reader.reply(id, WSUS, Coding::Identity, b"<a>");
        }
        assert_eq!((reader.replies.len(), reader.learners.metrics.unread.value("lagging")), (REPLIES_MAX, 5));
        assert!(!reader.replies.contains_key(&4) && reader.replies.contains_key(&5));
    }

    #[test]
    fn a_thread_that_lags_costs_the_reply_that_does_not_fit_and_nobody_waits() {
        // Nobody hears.
        let (notes, _heard) = sync_channel(NOTES_MAX);
        let metrics = metrics::Catalog::default();
        let observer = Arc::new(Observer { notes, waiting: Arc::default(), next: AtomicU64::new(0), metrics: metrics.clone() });
        let (mut large, mut small) =
            (observer.tap("wsus".into(), WSUS.1, Coding::Identity), observer.tap("wsus".into(), WSUS.1, Coding::Identity));
        large.see(&Bytes::from(vec![b'x'; WAITING_MAX - SEEN_MIN]));
        for _ in 0..3 {
            large.see(&Bytes::from(vec![b'x'; SEEN_MIN + 1]));
        }
        assert_eq!(metrics.unread.value("lagging"), 1, "once, however much follows");
        small.see(&Bytes::from(vec![b'x'; SEEN_MIN]));
        assert_eq!(metrics.unread.value("lagging"), 1, "another one has its place");
        small.see(&Bytes::from_static(b"x"));
        drop(small);
        assert_eq!((metrics.unread.value("lagging"), observer.waiting.load(Ordering::Relaxed)), (2, WAITING_MAX));
    }
}
