//! A running weir as administration sees it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderValue, Method, Uri, Version, header};

use super::Parts;
use crate::{
    admin::{
        Act, Answer, Event, EventKind, Failure, Fill, Listed, ObjectPage, ObjectQuery, Pin, Pinned, Purge, PurgeWhat, Purged,
        Readiness, Snapshot, Update, Upstream, Weir,
    },
    catalog,
    census::{Reported, Seen},
    classify::{Asked, Class, Policy},
    key::{CacheKey, KeyHash, Scheme},
    listener::Socket,
    metrics::Metrics,
    object::{ObjectId, Trust},
    proxy::log,
    store::{self, Page},
    upstream,
};

/// The administration's way to the parts of a running weir.
pub(super) struct Administration {
    parts: Arc<Parts>,
}

impl Administration {
    pub(super) fn of(parts: &Arc<Parts>) -> Self {
        Self { parts: parts.clone() }
    }

    /// The keys that a URL may be stored under: as one of our own doors understands it, or as the origin's own URL.
    fn keys(&self, url: &str) -> Result<Vec<CacheKey>, Failure> {
        let parsed: Uri = url.parse().map_err(|error| Failure::Invalid(format!("{url}: {error}")))?;
        let policy = self.parts.policy.load();
        let mut keys: Vec<CacheKey> = policy.key_of(&parsed).into_iter().collect();
        let config = self.parts.config.load();
        for (socket, listening) in config.listener.sockets.iter().zip(&self.parts.listening) {
            if let Some(key) = key_at(&policy, &parsed, socket, listening.address)
                && !keys.contains(&key)
            {
                keys.push(key);
            }
        }
        if keys.is_empty() {
            return Err(Failure::Invalid(format!("{url} is no URL that is ever stored: scheme, host and path are needed")));
        }
        Ok(keys)
    }

    async fn purge_one(&self, what: store::Purge, dry_run: bool, sum: &mut Purged) -> Result<(), Failure> {
        let purged = self.parts.store.purge(what, dry_run).await.map_err(failed)?;
        sum.objects += purged.objects;
        sum.blobs += purged.blobs;
        sum.bytes += purged.bytes;
        Ok(())
    }
}

/// The key of what a client gets that asks `socket` for `url`.
fn key_at(policy: &Policy, url: &Uri, socket: &Socket, local: SocketAddr) -> Option<CacheKey> {
    let scheme = if socket.tls { Scheme::Https } else { Scheme::Http };
    if url.scheme_str() != Some(scheme.as_str()) {
        return None;
    }
    let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_str(url.authority()?.as_str()).ok()?)]);
    let uri = url.path_and_query()?.as_str().parse().ok()?;
    let (method, version, doors) = (&Method::GET, Version::HTTP_11, &*socket.doors);
    match policy.classify(&Asked { method, uri: &uri, version, headers: &headers, doors, scheme, local, has_content: false }) {
        Class::Content(want) => Some(want.key),
        Class::Pass(_) | Class::Tunnel(_) | Class::Refuse(_) => None,
    }
}

impl Weir for Administration {
    fn readiness(&self) -> Readiness {
        self.parts.readiness()
    }

    fn metrics(&self) -> &Metrics {
        &self.parts.metrics
    }

    fn snapshot(&self) -> Snapshot {
        let parts = &self.parts;
        let stats = parts.store.stats();
        Snapshot {
            node: parts.node.to_string(),
            started: parts.started,
            listening: parts.listening.clone(),
            reachable: reachable(&parts.own),
            fills: parts.cache.filling().into_iter().take(SHOWN_MAX).map(fill).collect(),
            upstreams: parts.upstreams.health().into_iter().map(upstream).collect(),
            directory: parts.config.load().store.directory.display().to_string(),
            degraded: degraded(&stats),
            warnings: parts.config.load().warnings(),
            events: events(&parts.log),
        }
    }

    fn objects(&self, query: ObjectQuery) -> Answer<'_, ObjectPage> {
        Box::pin(async move {
            let limit = query.limit.unwrap_or(100).clamp(1, READ_MAX);
            let mut after = query.after.as_deref().map(page).transpose()?;
            let Some(host) = query.host.map(|host| host.to_ascii_lowercase()) else {
                let (listed, next) = self.parts.store.objects(after, limit).await.map_err(failed)?;
                return Ok(ObjectPage { objects: listed.into_iter().map(listing).collect(), next: next.map(page_text) });
            };
            let mut objects = Vec::new();
            for _ in 0..READS_MAX {
                let (listed, next) = self.parts.store.objects(after, READ_MAX).await.map_err(failed)?;
                for listed in listed.into_iter().filter(|listed| listed.object.meta.key.group() == host) {
                    after = Some(Page(listed.object.meta.key.hash(), listed.object.id));
                    objects.push(listing(listed));
                    if objects.len() == limit {
                        return Ok(ObjectPage { objects, next: after.map(page_text) });
                    }
                }
                after = next;
                if after.is_none() {
                    break;
                }
            }
            Ok(ObjectPage { objects, next: after.map(page_text) })
        })
    }

    fn computers(&self, limit: usize) -> Vec<Seen> {
        self.parts.census.computers(limit)
    }

    fn reported(&self, limit: usize) -> Vec<Reported> {
        let mut events = self.parts.census.events(limit);
        let id = |event: &Reported| event.update.as_deref().and_then(|id| id.parse().ok());
        let titles = self.parts.catalog.titles(&events.iter().filter_map(id).collect());
        for event in &mut events {
            event.title = id(event).and_then(|id| titles.get(&id)).cloned();
        }
        events
    }

    fn updates(&self, limit: usize) -> Vec<Update> {
        self.parts.catalog.updates(limit).into_iter().map(update).collect()
    }

    fn purge(&self, purge: Purge) -> Answer<'_, Purged> {
        Box::pin(async move {
            let what = match &purge.what {
                PurgeWhat::Url(url) => self.keys(url)?.iter().map(|key| store::Purge::Key(key.hash())).collect(),
                PurgeWhat::Host(host) => vec![store::Purge::Group(host.to_ascii_lowercase())],
                PurgeWhat::All => vec![store::Purge::All],
            };
            let mut sum = Purged { dry_run: purge.dry_run, ..Purged::default() };
            for what in what {
                self.purge_one(what, purge.dry_run, &mut sum).await?;
            }
            Ok(sum)
        })
    }

    fn pin(&self, pin: Pin) -> Answer<'_, Pinned> {
        Box::pin(async move {
            let mut objects = Vec::new();
            for key in self.keys(&pin.url)? {
                objects.extend(self.parts.store.lookup(key.hash()).await.map_err(failed)?.iter().cloned());
            }
            if objects.is_empty() {
                return Err(Failure::Absent(format!("nothing is stored for {}", pin.url)));
            }
            let mut pinned = Pinned::default();
            for object in objects.iter().filter(|object| self.parts.store.pin(object.meta.blob, pin.pinned)) {
                pinned.blobs += 1;
                pinned.bytes += object.meta.len.unwrap_or(0);
            }
            Ok(pinned)
        })
    }

    fn reload(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            let parts = self.parts.clone();
            let reloaded = tokio::task::spawn_blocking(move || parts.reload()).await;
            reloaded.map_err(|error| Failure::Failed(error.to_string()))?.map_err(Failure::Invalid)
        })
    }

    fn record(&self, act: &Act<'_>) {
        let Act { at, who, action, target, outcome } = *act;
        self.parts.log.administration(&log::Administration { at, who, action, target, outcome });
    }
}

fn failed(error: store::Error) -> Failure {
    match error {
        store::Error::Full { .. } | store::Error::Degraded | store::Error::Closed => Failure::Unavailable(error.to_string()),
        error => Failure::Failed(error.to_string()),
    }
}

/// Addresses under which clients may reach this machine; link-local ones need a scope that no policy can carry.
fn reachable(own: &upstream::Own) -> Vec<String> {
    let usable = |address: &&IpAddr| match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    };
    own.addresses.iter().filter(usable).map(IpAddr::to_string).collect()
}

fn fill(filling: crate::cache::Filling) -> Fill {
    Fill {
        name: filling.name.into(),
        upstream: Some(filling.source.into()),
        len: filling.len,
        present_bytes: filling.present,
        bytes_per_second: filling.bytes_per_second,
        readers: filling.readers,
        running_seconds: filling.running.as_secs(),
    }
}

fn update(entry: catalog::Entry) -> Update {
    Update {
        id: entry.identity.map(|identity| identity.id.to_string()),
        revision: entry.identity.map(|identity| identity.revision),
        title: entry.title,
        article: entry.article,
        classification: entry.classification.map(|classification| format!("{classification:?}")),
        files: entry.files.iter().map(|digest| digest.to_string()).collect(),
    }
}

fn upstream(health: upstream::UpstreamHealth) -> Upstream {
    Upstream {
        name: health.name.to_string(),
        kind: health.kind.as_str().to_owned(),
        url: health.url,
        healthy: health.state == upstream::State::Healthy,
        since_seconds: Some(health.since.as_secs()),
        last_error: health.last_error,
        latency_ms: health.latency.map(|latency| latency.as_secs_f64() * 1000.0),
        connections: health.connections_in_use + health.connections_idle,
    }
}

fn degraded(stats: &store::Stats) -> Option<String> {
    match stats.state {
        store::State::Working => None,
        store::State::Full => Some("no room, and nothing that could be evicted: content is passed on without storing".to_owned()),
        store::State::Degraded => Some("writing to the disk fails: content is passed on without storing".to_owned()),
        store::State::Missing => {
            let remedy = "bring it back, or start weir again, which makes a new one";
            Some(format!(
                "the data directory is gone (removed, or no longer mounted): content is passed on without storing; {remedy}"
            ))
        }
    }
}

/// The last refusals and failures together, newest first.
fn events(access_log: &log::AccessLog) -> Vec<Event> {
    let of = |kind, remembered: Vec<log::Remembered>| remembered.into_iter().map(move |remembered| event(kind, remembered));
    let refused = of(EventKind::Refusal, access_log.refused());
    let mut events: Vec<Event> = refused.chain(of(EventKind::Error, access_log.failed())).collect();
    events.sort_by_key(|event| std::cmp::Reverse(event.at_ms));
    events
}

fn event(kind: EventKind, remembered: log::Remembered) -> Event {
    let at = remembered.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Event {
        at_ms: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
        kind,
        client: remembered.client.to_string(),
        status: remembered.status,
        reason: remembered.reason.to_owned(),
        what: remembered.what,
        detail: remembered.detail.map(String::from),
    }
}

fn listing(listed: store::Listed) -> Listed {
    let meta = &listed.object.meta;
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Listed {
        key: meta.key.text().to_owned(),
        status: meta.status.as_u16(),
        len: meta.len,
        present_bytes: listed.present,
        complete: listed.complete,
        pinned: listed.pinned,
        verified: matches!(meta.trust, Trust::Verified(_)),
        source: meta.source.to_string(),
        stored_at: seconds(meta.response_time),
    }
}

fn page_text(Page(key, object): Page) -> String {
    format!("{key:?}-{:x}", object.0)
}

fn page(text: &str) -> Result<Page, Failure> {
    let invalid = || Failure::Invalid(format!("{text}: not the `next` of a page"));
    let (key, object) = text.split_once('-').ok_or_else(invalid)?;
    let key = u128::from_str_radix(key, 16).map_err(|_| invalid())?;
    let object = u64::from_str_radix(object, 16).map_err(|_| invalid())?;
    Ok(Page(KeyHash(key.to_be_bytes()), ObjectId(object)))
}

/// Fills shown at once.
const SHOWN_MAX: usize = 50;

/// Stored responses read from the index at a time.
const READ_MAX: usize = 1_000;

/// How often the index is read for one page of one host's objects: keys are ordered by hash, so a host's own lie anywhere. What was not
/// found by then is left to the next page.
const READS_MAX: usize = 100;
