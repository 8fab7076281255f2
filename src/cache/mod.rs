//! The heart: what is stored under a key, who fetches what is missing, and bodies that follow both.
//!
//! The only place where store and upstream meet. [`Cache::get`] is the way in; its answer is a stored (or arriving) response to
//! select from, or a response that is only relayed. It never builds a response: that is `proxy`'s.

mod ask;
mod asking;
mod binding;
mod body;
mod bounds;
mod content;
mod error;
mod fill;
mod flight;
mod found;
mod gain;
mod get;
mod judge;
mod known;
mod learnt;
mod mismatches;
mod plan;
mod send;
mod stage;
mod standing;
pub mod status;
mod stop;
mod twin;
mod update;
mod verify;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, LazyLock, Mutex, Weak, atomic::AtomicU32},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use http::{HeaderMap, Method, Response, Uri, Version};

use self::{
    asking::Asking, bounds::Bounds, content::Content, flight::Flights, gain::Gains, known::KnownCache, mismatches::Mismatches,
    stop::Stop, verify::Verifications,
};
pub use self::{
    body::Body,
    error::Error,
    found::Found,
    known::Known,
    standing::{Current, Standing},
    status::{CacheStatus, How},
    verify::Verify,
};
use crate::{
    catalog::Catalog,
    digest::Digest,
    key::CacheKey,
    metrics,
    object::{BlobId, Object, ObjectMeta},
    semantics::{Policy, fields, range::RepeatedLines},
    store::{Blob, Store},
    upstream::{self, Target, Upstreams},
};

/// Bounds and habits of fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Fills at once, in all.
    pub fills_max: usize,
    /// Fills at once that one client caused by asking for something new.
    pub fills_per_client_max: usize,
    /// How long a request waits at these bounds before it is told to come back.
    pub fill_wait: Duration,
    /// Requests at once for one content, if the upstream gains from it.
    pub parallel_max: usize,
    /// The longest range one request asks for.
    pub segment_len: u64,
    /// A fill whose last reader left goes on if no more than this is missing of what that reader wanted,
    pub finish_len: u64,
    /// or no more than this share of the content, in per cent.
    pub finish_percent: u64,
    /// The longest content that is stored.
    pub object_max: u64,
    /// How long a reader waits for one byte, whatever the fill does meanwhile.
    pub reader_timeout: Duration,
    /// When content whose digest is known is held against it.
    pub verify: Verify,
    /// Longer content is verified after it was served, whatever `verify` says.
    pub verify_len_max: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            fills_max: 256,
            fills_per_client_max: 64,
            fill_wait: Duration::from_secs(5),
            parallel_max: 6,
            segment_len: 8 << 20,
            finish_len: 64 << 20,
            finish_percent: 20,
            object_max: 128 << 30,
            reader_timeout: Duration::from_secs(120),
            verify: Verify::Later,
            verify_len_max: 64 << 20,
        }
    }
}

/// Content that a client wants, in the terms of the cache.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub key: CacheKey,
    pub target: Target,
    /// What to ask the origin for, signature included.
    pub path_and_query: String,
    /// GET or HEAD.
    pub method: Method,
    /// The client's own fields: directives, selecting fields, range.
    pub fields: HeaderMap,
    /// Those of them that go to the origin, where `Connection` keeps some back; `None`: all.
    pub end_to_end: Option<HeaderMap>,
    pub forward: Forward,
    pub policy: Policy,
    /// The policy once the content matched its declared digest.
    pub verified_policy: Policy,
    pub declared: Option<Digest>,
    /// Ask in bounded ranges from the first request on.
    pub ranged: bool,
    /// The name says that this is a file: redirects are followed, and a web page in its place is not stored.
    pub file: bool,
    pub lines: RepeatedLines,
    pub client: IpAddr,
    /// The longest that the client waits for an answer that has to be fetched; `None`: as long as that takes.
    pub patience: Option<Duration>,
    /// Hears of the interim responses to what is asked upstream for this request; not of those to a flight that it joined.
    pub interim: upstream::Interim,
}

/// A response that came although nobody asked for it through the cache.
pub struct Posted {
    /// The URL that was posted to, in absolute form.
    pub target: Uri,
    pub response: Response<upstream::Body>,
    /// When the request was sent, and when the response head arrived.
    pub request_time: SystemTime,
    pub response_time: SystemTime,
}

impl Wanted {
    /// The same without the buffer that the client's request was read into, of which it holds slices: for who keeps it long.
    fn detached(&self) -> Self {
        let end_to_end = self.end_to_end.as_ref().map(fields::detached);
        Self { fields: fields::detached(&self.fields), end_to_end, ..self.clone() }
    }

    /// The fields that the origin chooses a variant by (RFC 9111 §4.1): the client's, if any of them go there.
    fn presented(&self) -> &HeaderMap {
        static NOBODY: LazyLock<HeaderMap> = LazyLock::new(fields::anonymous_request);
        if self.forward.anonymous { &NOBODY } else { self.end_to_end.as_ref().unwrap_or(&self.fields) }
    }

    /// Host and path, without the query and its secrets.
    fn name(&self) -> Box<str> {
        let path = self.path_and_query.split('?').next().unwrap_or_default();
        format!("{}{path}", self.target.origin).into()
    }
}

/// What a fill may say to an upstream.
#[derive(Clone, Debug)]
pub struct Forward {
    /// Nothing of the client goes there; otherwise its end-to-end fields do, without conditions and ranges.
    pub anonymous: bool,
    /// The version of the client's request, and our name: for `Via` and `CDN-Loop`.
    pub received: Version,
    pub node: Arc<str>,
}

/// What the cache has to say to a request.
pub enum Answer {
    /// A stored response, or one that is arriving and shared.
    Found(Found),
    /// A response for this client only.
    Relayed { response: Box<Response<upstream::Body>>, status: CacheStatus },
}

/// A fill as the status page shows it.
#[derive(Clone, Debug)]
pub struct Filling {
    pub name: Box<str>,
    pub len: Option<u64>,
    pub present: u64,
    pub readers: usize,
    pub requests: usize,
    /// The host that it comes from.
    pub source: Box<str>,
    /// Averaged over the fill's life so far.
    pub bytes_per_second: u64,
    pub running: Duration,
}

/// Handle to the cache; clones share it.
#[derive(Clone)]
pub struct Cache(Arc<Hub>);

/// What all parts of the cache share.
pub(crate) struct Hub {
    pub(self) store: Store,
    pub(self) upstreams: Upstreams,
    /// Declares digests that names do not.
    pub(self) catalog: Arc<Catalog>,
    pub(self) metrics: metrics::Cache,
    config: ArcSwap<Config>,
    flights: Arc<Flights>,
    pub(self) asking: Arc<Asking>,
    pub(self) bounds: Arc<Bounds>,
    gains: Gains,
    known: KnownCache,
    mismatches: Mismatches,
    verifications: Verifications,
    /// Portions under way that no client waits for.
    staging: AtomicU32,
    /// Contents that are open and not complete, so that all who want one meet.
    contents: Mutex<HashMap<BlobId, Weak<Content>>>,
    pub(self) stop: Stop,
}

impl Cache {
    pub fn new(config: Config, store: Store, upstreams: Upstreams, catalog: Arc<Catalog>, metrics: metrics::Cache) -> Self {
        let bounds = Bounds::new(config.fills_max, config.fills_per_client_max, config.fill_wait);
        let gains = Gains::new(config.parallel_max);
        let known = KnownCache::new(store.derived_memory());
        Self(Arc::new(Hub {
            store,
            upstreams,
            catalog,
            metrics,
            config: ArcSwap::from_pointee(config),
            flights: Arc::default(),
            asking: Arc::default(),
            bounds,
            gains,
            known,
            mismatches: Mismatches::default(),
            verifications: Verifications::default(),
            staging: AtomicU32::default(),
            contents: Mutex::default(),
            stop: Stop::new(),
        }))
    }

    /// Takes new habits for what starts from now on. The bounds on fills and connections stay as they were at the start.
    pub fn reload(&self, config: Config) {
        self.0.config.store(Arc::new(config));
    }

    /// The answer to `want`, from the store or by asking upstream. `now` is when the request came.
    ///
    /// Dropping the future leaves a fill that it started running, by the rule for fills without readers.
    ///
    /// # Errors
    /// When nothing stored may answer and no upstream could be asked.
    pub async fn get(&self, want: &Arc<Wanted>, now: SystemTime) -> Result<Answer, Error> {
        get::get(&self.0, want, now).await
    }

    /// Stores a response to a POST if it says that a GET of the same URL, which is `want`, would get the same (RFC 9110 §9.3.3).
    ///
    /// # Errors
    /// The response, when it is not stored.
    pub async fn keep(&self, want: &Arc<Wanted>, posted: Posted) -> Result<Found, Box<Response<upstream::Body>>> {
        update::keep(&self.0, want, posted).await
    }

    /// RFC 9111 §4.4: an unsafe request succeeded, so what is stored under `key`, or was asked for before, must be validated before it
    /// is used again.
    pub async fn invalidate(&self, key: &CacheKey) {
        self.0.asking.outdate(key.hash());
        let Ok(objects) = self.0.store.lookup(key.hash()).await else { return };
        for object in objects.iter() {
            self.0.amend(object, |meta| meta.invalidated = true).await;
        }
    }

    /// Whether something is stored under `key`, as far as can be told at once; when in doubt, yes.
    pub fn may_have(&self, key: &CacheKey) -> bool {
        self.0.store.lookup_now(key.hash()).is_none_or(|objects| !objects.is_empty())
    }

    /// The catalog knows more of `key` than it did: what is stored under it is held against that. Waits for the verdict.
    pub async fn learnt(&self, key: &CacheKey) {
        learnt::learnt(&self.0, key).await;
    }

    /// Fetches and stores the content of `want` in the gaps that clients leave, if it is of `size` bytes.
    ///
    /// # Errors
    /// Why it is not, or not wholly, stored.
    pub async fn stage(&self, want: &Arc<Wanted>, size: u64) -> Result<(), Error> {
        stage::stage(&self.0, want, size).await
    }

    /// The fills under way, for the status page.
    pub fn filling(&self) -> Vec<Filling> {
        let contents: Vec<_> = self.0.contents().values().filter_map(Weak::upgrade).collect();
        contents.iter().filter_map(|content| content.filling()).collect()
    }

    /// Ends all fills, and waits until each has given what it brought to the store, which keeps it if it is closed only then.
    pub async fn stop(&self) {
        if !self.0.stop.stop().await {
            tracing::warn!("some fills do not end; what they brought last may be fetched again");
        }
    }
}

impl Hub {
    pub(self) fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// The content of `blob` if it is open and arriving.
    pub(self) fn arriving(&self, blob: BlobId) -> Option<Arc<Content>> {
        self.contents().get(&blob)?.upgrade()
    }

    /// Puts `content` where others find it, or gives the one that is there already.
    pub(self) fn meet(&self, content: Arc<Content>) -> Arc<Content> {
        let mut contents = self.contents();
        match contents.get(&content.blob.id()).and_then(Weak::upgrade) {
            Some(there) => {
                // Dropping the newcomer must not find the table locked.
                drop(contents);
                there
            }
            None => {
                contents.insert(content.blob.id(), Arc::downgrade(&content));
                content
            }
        }
    }

    /// A content of `blob` is dropped.
    pub(self) fn closed(&self, blob: &Blob) {
        let mut contents = self.contents();
        if contents.get(&blob.id()).is_some_and(|content| content.strong_count() == 0) {
            contents.remove(&blob.id());
        }
    }

    /// Changes what is stored of `object` now: meanwhile it may have been freshened, its blob found to equal another, or it may be gone.
    /// `None` if it is gone, or others changed it each time between looking and changing.
    pub(self) async fn amend(&self, object: &Object, change: impl Fn(&mut ObjectMeta)) -> Option<Arc<Object>> {
        for _ in 0..AMENDS_MAX {
            let stored = self.store.lookup(object.meta.key.hash()).await.ok()?;
            let current = stored.iter().find(|stored| stored.id == object.id)?;
            let mut meta = current.meta.clone();
            change(&mut meta);
            if let Some(amended) = self.store.update(current, meta) {
                return Some(amended);
            }
        }
        None
    }

    fn contents(&self) -> std::sync::MutexGuard<'_, HashMap<BlobId, Weak<Content>>> {
        self.contents.lock().expect("no panic while the table of contents is held")
    }
}

/// Looks at a stored response that others keep changing.
const AMENDS_MAX: usize = 4;
