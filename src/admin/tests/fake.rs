//! A weir of plain data, and a client that sends exactly what it is told.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use crate::{
    admin::*,
    census::{Reported, Seen},
    metrics::{Class, Door, Metrics, Purpose, Source, Verdict},
};

pub(super) struct Fake {
    metrics: Metrics,
    pub(super) readiness: Mutex<Readiness>,
    pub(super) reload: Mutex<Result<(), Failure>>,
    /// What the interface reported as done.
    pub(super) acts: Mutex<Vec<String>>,
    pub(super) stored: Mutex<Vec<&'static str>>,
}

impl Fake {
    pub(super) fn new() -> Arc<Self> {
        let metrics = Metrics::new();
        let proxy = &metrics.proxy;
        proxy.sent_bytes[(Door::Delivery, Class::Content, Source::Store)].add(900 << 30);
        proxy.sent_bytes[(Door::Delivery, Class::Content, Source::Upstream)].add(90 << 30);
        proxy.sent_bytes[(Door::Forward, Class::Content, Source::Relayed)].add(10 << 30);
        proxy.sent_bytes[(Door::Wsus, Class::Pass, Source::Relayed)].add(7 << 20);
        proxy.sent_bytes[(Door::Forward, Class::Refuse, Source::Own)].add(96);
        proxy.sent_bytes[(Door::Forward, Class::Content, Source::Own)].add(96);
        metrics.cache.upstream_bytes[Purpose::Demand].add(80 << 30);
        metrics.cache.upstream_bytes[Purpose::ReadAhead].add(10 << 30);
        proxy.requests[(Door::Delivery, Class::Content, Verdict::Hit)].add(41_000);
        proxy.requests[(Door::Forward, Class::Content, Verdict::Hit)].add(1000);
        proxy.requests[(Door::Delivery, Class::Content, Verdict::Miss)].add(900);
        proxy.requests[(Door::Wsus, Class::Pass, Verdict::Bypass)].add(3000);
        proxy.refusals.add("origin", 12);
        proxy.refusals.add("port", 30);
        proxy.errors.add("first-byte", 2);
        metrics.listener.connections.set(312);
        metrics.cache.fills_running.set(2);
        metrics.store.used_bytes.set(412 << 30);
        metrics.store.limit_bytes.set(500 << 30);
        metrics.store.free_bytes.set(120 << 30);
        metrics.store.objects.set(18_233);
        metrics.upstream.named("wsus").received_bytes.add(30 << 30);
        metrics.upstream.named("hq").errors.add("connect", 5);
        Arc::new(Self {
            metrics,
            readiness: Mutex::new(Readiness::Ready),
            reload: Mutex::new(Ok(())),
            acts: Mutex::default(),
            stored: Mutex::new(vec!["http://a.example/1", "http://a.example/2", "http://b.example/1"]),
        })
    }
}

impl Weir for Fake {
    fn readiness(&self) -> Readiness {
        self.readiness.lock().unwrap().clone()
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            node: "weir-7f3a".into(),
            started: SystemTime::now() - Duration::from_secs(187_200),
            listening: vec![
                Listening { address: "0.0.0.0:80".parse().unwrap(), doors: words(&["delivery", "transparent"]), tls: false },
                Listening { address: "[::]:8080".parse().unwrap(), doors: words(&["forward", "reverse"]), tls: false },
                Listening { address: "0.0.0.0:8531".parse().unwrap(), doors: words(&["wsus"]), tls: true },
            ],
            reachable: words(&["10.20.0.5"]),
            fills: vec![
                fill("11.tlu.dl.delivery.mp.microsoft.com/filestreamingservice/files/3f6c2f8e-9d1f", Some(4 << 30), 3 << 30),
                fill("dl.example/<script>alert(1)</script>", None, 5 << 20),
            ],
            upstreams: vec![upstream("wsus", true, None), upstream("hq", false, Some("connect: connection refused"))],
            directory: "/var/lib/weir".into(),
            degraded: None,
            warnings: words(&["wsus is asked over plain http (http://<wsus>:8530)"]),
            events: vec![
                event(EventKind::Refusal, "tracker.example/?q=\"><img src=x onerror=alert(1)>", "origin", 403),
                event(EventKind::Error, "tlu.dl.delivery.mp.microsoft.com/files/a", "first-byte", 504),
            ],
        }
    }

    fn objects(&self, query: ObjectQuery) -> Answer<'_, ObjectPage> {
        Box::pin(async move {
            let after: usize = match query.after {
                Some(after) => after.parse().map_err(|_| Failure::Invalid("after: no such page".into()))?,
                None => 0,
            };
            let (limit, stored) = (query.limit.unwrap(), self.stored.lock().unwrap());
            let of_host = stored.iter().filter(|url| query.host.as_ref().is_none_or(|host| url.contains(host.as_str())));
            let objects = of_host.skip(after).take(limit).map(|url| listed(url)).collect();
            let next = (after + limit < stored.len()).then(|| (after + limit).to_string());
            Ok(ObjectPage { objects, next })
        })
    }

    fn computers(&self, limit: usize) -> Vec<Seen> {
        let seen = serde_json::json!({
            "id": "a", "name": "pc1.branch.example", "address": "10.20.0.7", "os": "Windows 11", "build": "10.0.22631", "model": null,
            "group": null, "first_seen": 1, "last_seen": 2, "downloads": 3, "downloaded_bytes": 4, "downloads_failed": 0, "installs": 0,
            "installs_failed": 1, "restart_needed": false, "last_error": "0x80240022", "last_error_seen": 2,
        });
        (0..limit.min(2_000)).map(|_| serde_json::from_value(seen.clone()).unwrap()).collect()
    }

    fn reported(&self, limit: usize) -> Vec<Reported> {
        let reported = serde_json::json!({
            "seen": 1, "time": "2026-01-13T10:00:00", "computer": "a", "number": 162, "outcome": "downloaded", "update": null,
            "revision": null, "title": null, "error": null, "application": null, "downloaded_bytes": 4,
        });
        (0..limit.min(1)).map(|_| serde_json::from_value(reported.clone()).unwrap()).collect()
    }

    fn updates(&self, limit: usize) -> Vec<Update> {
        let update = Update {
            id: Some("378c0b3f-b3be-471d-ac6c-21e0f96d7de4".into()),
            revision: Some(201),
            title: Some("Cumulative Update".into()),
            article: Some("5034123".into()),
            classification: Some("Security".into()),
            files: words(&["sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709"]),
        };
        (0..limit.min(1)).map(|_| update.clone()).collect()
    }

    fn purge(&self, purge: Purge) -> Answer<'_, Purged> {
        Box::pin(async move {
            let hit = |url: &str| match &purge.what {
                PurgeWhat::Url(wanted) => url == wanted,
                PurgeWhat::Host(host) => url.contains(host.as_str()),
                PurgeWhat::All => true,
            };
            let mut stored = self.stored.lock().unwrap();
            let objects = stored.iter().filter(|url| hit(url)).count() as u64;
            if !purge.dry_run {
                stored.retain(|url| !hit(url));
            }
            Ok(Purged { objects, blobs: objects, bytes: objects << 20, dry_run: purge.dry_run })
        })
    }

    fn pin(&self, pin: Pin) -> Answer<'_, Pinned> {
        Box::pin(async move {
            if self.stored.lock().unwrap().contains(&pin.url.as_str()) {
                return Ok(Pinned { blobs: 1, bytes: 1 << 20 });
            }
            Err(Failure::Absent(format!("nothing is stored for {}", pin.url)))
        })
    }

    fn reload(&self) -> Answer<'_, ()> {
        Box::pin(async { self.reload.lock().unwrap().clone() })
    }

    fn record(&self, act: &Act<'_>) {
        self.acts.lock().unwrap().push(format!("{} {} {}: {}", act.who, act.action, act.target, act.outcome));
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn fill(name: &str, len: Option<u64>, present_bytes: u64) -> Fill {
    let upstream = Some("origin".into());
    Fill { name: name.into(), upstream, len, present_bytes, bytes_per_second: 11 << 20, readers: 14, running_seconds: 95 }
}

fn upstream(name: &str, healthy: bool, last_error: Option<&str>) -> Upstream {
    Upstream {
        name: name.into(),
        kind: if name == "hq" { "parent".into() } else { "wsus".into() },
        url: format!("http://{name}.example:8530"),
        healthy,
        since_seconds: Some(720),
        last_error: last_error.map(str::to_owned),
        latency_ms: healthy.then_some(23.4),
        connections: 9,
    }
}

fn event(kind: EventKind, what: &str, reason: &str, status: u16) -> Event {
    let (client, detail) = ("10.20.1.77".into(), (kind == EventKind::Error).then(|| "no response head within 60s".into()));
    let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() - Duration::from_secs(40);
    Event { at_ms: at.as_millis() as u64, kind, client, status, reason: reason.into(), what: what.into(), detail }
}

fn listed(url: &str) -> Listed {
    Listed {
        key: url.into(),
        status: 200,
        len: Some(1 << 20),
        present_bytes: 1 << 20,
        complete: true,
        pinned: false,
        verified: true,
        source: "a.example".into(),
        stored_at: 1_795_435_200,
    }
}

/// An interface in front of a fake weir, on loopback and on a socket in a directory of its own.
pub(super) struct Interface {
    pub(super) admin: Admin,
    pub(super) weir: Arc<Fake>,
    pub(super) address: SocketAddr,
    pub(super) socket: PathBuf,
}

pub(super) fn config(name: &str) -> Config {
    let directory = std::env::temp_dir().join(format!("weir-admin-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    Config {
        listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        socket: Some(directory.join("admin.sock")),
        names: vec!["weir.branch".into()],
        ..Config::default()
    }
}

pub(super) fn interface(name: &str) -> Interface {
    interface_with(&config(name))
}

pub(super) fn interface_with(config: &Config) -> Interface {
    let (weir, bound) = (Fake::new(), bind(config).unwrap());
    let address = bound.addresses()[0];
    let admin = bound.serve(weir.clone()).unwrap();
    Interface { admin, weir, address, socket: config.socket.clone().unwrap() }
}

/// What came back.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Reply {
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Interface {
    pub(super) fn get(&self, path: &str) -> Reply {
        self.tcp(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"))
    }

    pub(super) fn post(&self, path: &str, body: &str) -> Reply {
        self.tcp(&post("localhost", path, "", body))
    }

    pub(super) fn tcp(&self, request: &str) -> Reply {
        exchange(TcpStream::connect(self.address).unwrap(), request)
    }

    pub(super) fn unix(&self, request: &str) -> Reply {
        exchange(UnixStream::connect(&self.socket).unwrap(), request)
    }
}

/// A POST of JSON; `fields` are further lines with their line ends.
pub(super) fn post(host: &str, path: &str, fields: &str, body: &str) -> String {
    let len = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{fields}\
         content-type: application/json\r\ncontent-length: {len}\r\n\r\n{body}"
    )
}

fn exchange(mut stream: impl Read + Write, request: &str) -> Reply {
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no response head in {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}
