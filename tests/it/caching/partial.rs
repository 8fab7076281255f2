//! Partial content: every pair of what is stored and what is asked for, under every kind of validator (RFC 9110 §14, RFC 9111 §3.3, §3.4).

use std::{collections::BTreeSet, sync::Arc};

use tokio::task::JoinSet;

use crate::support::{Content, End, Origin, Proxy, Reply, Resource, proxy};

const LEN: u64 = 20;

/// What a first request asks for; an empty text is a request without `Range`.
const STORED: &[&str] = &["bytes=0-4", "bytes=5-9", "bytes=-5", "bytes=12-", "bytes=0-0", "bytes=0-18", ""];

/// What the second one asks for, as a client does, and what it means: `None` is the whole, an empty list nothing that can be had.
type Asked = (&'static str, Option<&'static [(u64, u64)]>);

const ASKED: &[Asked] = &[
    ("bytes=0-4", Some(&[(0, 5)])),
    ("bytes=1-3", Some(&[(1, 4)])),
    ("bytes=3-6", Some(&[(3, 7)])),
    ("bytes=7-", Some(&[(7, 20)])),
    ("bytes=-3", Some(&[(17, 20)])),
    ("bytes=-99", Some(&[(0, 20)])),
    ("bytes=19-400", Some(&[(19, 20)])),
    ("bytes=20-", Some(&[])),
    ("bytes=0-1,18-19", Some(&[(0, 2), (18, 20)])),
    ("bytes=8-9,2-3", Some(&[(8, 10), (2, 4)])),
    ("", None),
];

/// What the origin says about the identity of its representation.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Validators {
    StrongTag,
    StrongDate,
    WeakTag,
    None,
    /// A strong tag, and another representation after the first request.
    Changed,
}

const VALIDATORS: [Validators; 5] =
    [Validators::StrongTag, Validators::StrongDate, Validators::WeakTag, Validators::None, Validators::Changed];

impl Validators {
    /// Whether parts may be kept and combined (RFC 9111 §3.4).
    fn combine(self) -> bool {
        matches!(self, Self::StrongTag | Self::StrongDate | Self::Changed)
    }

    fn resource(self, content: &Content) -> Resource {
        let resource = Resource::new(content);
        match self {
            Self::StrongTag | Self::Changed => resource.without("Last-Modified"),
            // Strong because it is long before `Date` (RFC 9110 §8.8.2.2).
            Self::StrongDate => resource.without("ETag").with("Date", &httpdate::fmt_http_date(std::time::SystemTime::now())),
            Self::WeakTag => resource.without("Last-Modified").with("ETag", "W/\"weak\""),
            Self::None => resource.without("Last-Modified").without("ETag"),
        }
    }
}

#[tokio::test]
async fn every_pair_of_stored_parts_and_asked_ranges_under_every_validator() {
    let origin = Arc::new(Origin::start().await);
    let weir = Arc::new(proxy().reverse(&origin).start().await);
    let (before, after) = (Content::new("before", LEN), Content::new("after", LEN));
    let mut scenes = JoinSet::new();
    for validators in VALIDATORS {
        for stored in STORED {
            for asked in ASKED {
                let path = format!("/row-{}", scenes.len());
                let scene = Scene { path, validators, stored, asked, before: before.clone(), after: after.clone() };
                scenes.spawn(scene.play(weir.clone(), origin.clone()));
            }
        }
    }
    assert_eq!(scenes.len(), 385);
    let wrong: Vec<String> = scenes.join_all().await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{} wrong: {wrong:#?}", wrong.len());
}

struct Scene {
    path: String,
    validators: Validators,
    stored: &'static str,
    asked: &'static Asked,
    before: Content,
    after: Content,
}

impl Scene {
    async fn play(self, weir: Arc<Proxy>, origin: Arc<Origin>) -> Vec<String> {
        origin.serve(&self.path, self.validators.resource(&self.before));
        let first = self.ask(&weir, self.stored).await;
        let mut wrong = Vec::new();
        if first.end != End::Whole || !matches!(first.status, 200 | 206) {
            wrong.push(format!("the first answer is {first:?}"));
        }
        let changed = self.validators == Validators::Changed;
        if changed {
            origin.serve(&self.path, self.validators.resource(&self.after));
        }
        let (requests, sent) = (origin.requests(&self.path), origin.sent(&self.path));
        let second = self.ask(&weir, self.asked.0).await;
        let requests = origin.requests(&self.path) - requests;
        let sent = origin.sent(&self.path) - sent;
        let missing = self.missing();
        if changed && !missing.is_empty() {
            if missing.contains(&self.first()) {
                wrong.extend(self.is_wrong(&second, &self.after, false).map(|why| format!("with its first byte missing: {why}")));
            } else {
                // Nothing tells before the missing bytes come that they belong to something else: the answer is cut, never mixed.
                wrong.extend(self.is_wrong(&second, &self.before, true));
            }
            // One finds out; then each range of what is there now is one.
            if requests > 1 + self.asked.1.map_or(1, <[_]>::len) {
                wrong.push(format!("{requests} requests for something that changed"));
            }
            let third = self.ask(&weir, self.asked.0).await;
            wrong.extend(self.is_wrong(&third, &self.after, false).map(|why| format!("after the cut: {why}")));
        } else {
            wrong.extend(self.is_wrong(&second, &self.before, false));
            if missing.is_empty() != (requests == 0) {
                wrong.push(format!("{requests} requests for the missing {missing:?}"));
            }
            if self.validators.combine() && sent != missing.len() as u64 {
                wrong.push(format!("{sent} bytes fetched for the missing {missing:?}"));
            }
            if second.is_hit() != missing.is_empty() {
                wrong.push(format!("says {:?} with {missing:?} missing", second.field("cache-status")));
            }
        }
        let name = format!("{:?}, stored {:?}, asked {:?}", self.validators, self.stored, self.asked.0);
        wrong.into_iter().map(|why| format!("{name}: {why}")).collect()
    }

    async fn ask(&self, weir: &Proxy, range: &str) -> Reply {
        let range = [("Range", range)];
        let fields = if range[0].1.is_empty() { &[][..] } else { &range[..] };
        weir.get_with("site.test", &self.path, fields).await
    }

    /// The positions that the second answer needs and the first one did not leave behind.
    fn missing(&self) -> BTreeSet<u64> {
        let whole = self.stored.is_empty();
        let kept = match self.stored {
            "bytes=0-4" => 0..5,
            "bytes=5-9" => 5..10,
            "bytes=-5" => 15..20,
            "bytes=12-" => 12..20,
            "bytes=0-0" => 0..1,
            "bytes=0-18" => 0..19,
            _ => 0..LEN,
        };
        let needed: BTreeSet<u64> = match self.asked.1 {
            None => (0..LEN).collect(),
            // An unsatisfiable range needs the length, which every stored part tells.
            Some([]) if !whole && !self.validators.combine() => return BTreeSet::from([LEN]),
            Some(ranges) => ranges.iter().flat_map(|&(start, end)| start..end).collect(),
        };
        needed.into_iter().filter(|at| !(whole || self.validators.combine()) || !kept.contains(at)).collect()
    }

    /// Where the second answer begins.
    fn first(&self) -> u64 {
        self.asked.1.and_then(|ranges| ranges.first()).map_or(0, |(start, _)| *start)
    }

    /// What is wrong about an answer with bytes of `content`; `may_be_cut`: the end of it may be missing, but not all of it.
    fn is_wrong(&self, reply: &Reply, content: &Content, may_be_cut: bool) -> Option<String> {
        let slices: Vec<Vec<u8>> = match self.asked.1 {
            None => vec![content.all()],
            Some(ranges) => ranges.iter().map(|&(start, end)| content.bytes(start, end)).collect(),
        };
        let (status, is_right) = match (&slices[..], self.asked.1) {
            (_, None) => (200, reply.body == slices[0]),
            ([], _) => (416, reply.field("content-range") == Some("bytes */20")),
            ([slice], Some(ranges)) => {
                let field = format!("bytes {}-{}/{LEN}", ranges[0].0, ranges[0].1 - 1);
                let is_named = reply.field("content-range") == Some(&field);
                // A server may answer a range with the whole (RFC 9110 §14.2).
                (206, reply.body == *slice && is_named)
            }
            _ => {
                let is_multipart = reply.field("content-type").is_some_and(|value| value.starts_with("multipart/byteranges"));
                (206, is_multipart && holds_in_order(&reply.body, &slices))
            }
        };
        let is_cut = may_be_cut && reply.end == End::Cut && reply.status == status && !reply.body.is_empty();
        let is_prefix = slices.len() != 1 || slices[0].starts_with(&reply.body);
        if is_cut && is_prefix {
            return None;
        }
        let is_whole = reply.end == End::Whole && reply.status == status && is_right;
        (!is_whole).then(|| format!("{} {:?} {:?} with {} bytes", reply.status, reply.end, reply.head.fields, reply.body.len()))
    }
}

fn holds_in_order(body: &[u8], slices: &[Vec<u8>]) -> bool {
    let mut at = 0;
    slices.iter().all(|slice| {
        let found = body[at..].windows(slice.len()).position(|window| window == slice);
        found.inspect(|skip| at += skip + slice.len()).is_some()
    })
}
