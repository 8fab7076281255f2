//! Everything at once: an origin that fails and changes at random, clients that want anything. From a seed, so that a failure can be had again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::task::JoinSet;

use crate::support::{Answer, Ask, Client, Content, End, Origin, Reply, Resource, Step, proxy};

const PATHS: usize = 6;
/// No version of anything is shorter.
const LEN_MIN: u64 = 1_200_000;

/// What the origin has, and what it ever had.
struct World {
    random: StdRng,
    /// How often each path has changed.
    versions: Vec<u64>,
    /// By `ETag`: what a client may believe to get.
    known: HashMap<String, Content>,
}

impl World {
    fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), versions: vec![0; PATHS], known: HashMap::new() }
    }

    fn resource(&mut self, path: usize) -> Resource {
        let version = self.versions[path];
        let content = Content::new(&format!("chaos {path} {version}"), LEN_MIN + path as u64 * 700_000 + version * 1_001);
        let tag = format!("\"{path}-{version}\"");
        self.known.insert(tag.clone(), content.clone());
        Resource::new(&content).with("ETag", &tag)
    }

    /// Mostly a good answer; else one of many kinds of bad ones.
    fn answer(&mut self, path: usize, ask: &Ask) -> Answer {
        if self.random.random_bool(0.02) {
            self.versions[path] += 1;
        }
        let good = self.resource(path);
        match self.random.random_range(0..100) {
            0..8 => self.cut(good.answer(ask), Step::Reset),
            8..14 => self.cut(good.answer(ask), Step::Close),
            14..17 => good.without_ranges().answer(ask),
            17..20 => good.without_ranges().chunked().answer(ask),
            20..23 => Answer::text("503 Service Unavailable", "later"),
            23..25 => Answer::raw("not HTTP at all\r\n\r\n"),
            25..27 => Answer::raw(""),
            27..29 if good.answer(ask).status.contains("206") => good.answer(ask).with("Content-Range", "bytes 7-9/10"),
            29..31 => good.answer(ask).then(Step::Close),
            _ => good.answer(ask),
        }
    }

    /// Stops somewhere in the body.
    fn cut(&mut self, answer: Answer, end: Step) -> Answer {
        let steps = answer.steps.iter().flat_map(|step| match step {
            Step::Body(content, start, stop) if stop - start > 1 => {
                vec![Step::Body(content.clone(), *start, self.random.random_range(start + 1..*stop)), end.clone()]
            }
            other => vec![other.clone()],
        });
        let steps: Vec<_> = steps.collect();
        answer.only(steps)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_every_answer_is_of_one_representation() {
    for seed in 1..=4 {
        let world = Arc::new(Mutex::new(World::new(seed)));
        let origin = Origin::start().await;
        for path in 0..PATHS {
            let world = world.clone();
            origin.answer(&format!("/{path}.iso"), move |ask| world.lock().unwrap().answer(path, ask));
        }
        // Small enough to evict; and failures are the rule here, so nobody is to be given up for them.
        let config = "[store]\nsize = \"8 MiB\"\n\n[health]\nfailures = 1000000\n\n";
        let weir = proxy().config(config).upstream("cdn.test", &origin).start().await;
        let mut clients = JoinSet::new();
        for number in 0..6 {
            let (world, doors) = (world.clone(), weir.doors());
            let mut random = StdRng::seed_from_u64(seed * 100 + number);
            clients.spawn(async move {
                for turn in 0..25 {
                    let path = random.random_range(0..PATHS);
                    let range = range(&mut random);
                    let mut client = Client::connect(doors).await;
                    let fields: Vec<_> =
                        [("Host", "cdn.test")].into_iter().chain(range.as_deref().map(|range| ("Range", range))).collect();
                    client.ask("GET", &format!("/{path}.iso"), &fields).await;
                    if random.random_bool(0.1) {
                        client.abort();
                        continue;
                    }
                    let reply = client.try_reply("GET").await;
                    let verdict = reply.as_ref().map_or(Ok(()), |reply| judge(reply, &world.lock().unwrap()));
                    assert_eq!(
                        verdict,
                        Ok(()),
                        "seed {seed}, client {number}, turn {turn}: {range:?} of {path}: {:?}",
                        reply.map(|reply| reply.head)
                    );
                }
            });
        }
        clients.join_all().await;
    }
}

/// What a client asks for: all, or a part that every version has.
fn range(random: &mut StdRng) -> Option<String> {
    let start = random.random_range(0..LEN_MIN - 1);
    match random.random_range(0..5) {
        0 => None,
        1 => Some(format!("bytes={start}-")),
        2 => Some(format!("bytes=-{}", start + 1)),
        _ => Some(format!("bytes={start}-{}", random.random_range(start..LEN_MIN))),
    }
}

/// Whether the bytes are those of the representation that the head names, as far as they go, and all of them if it ended well.
fn judge(reply: &Reply, world: &World) -> Result<(), String> {
    if matches!(reply.status, 502..=504) {
        return Ok(());
    }
    let tag = reply.field("etag").unwrap_or("none");
    let content =
        world.known.get(tag).ok_or_else(|| format!("status {} of a representation that never was: {tag}", reply.status))?;
    let (start, len) = match (reply.status, reply.field("content-range")) {
        (200, None) => (0, content.len()),
        (206, Some(range)) => part(range, content.len()).ok_or_else(|| format!("{range} of {} bytes", content.len()))?,
        (status, range) => return Err(format!("status {status} with {range:?}")),
    };
    if let Some(offset) = content.difference(start, &reply.body) {
        return Err(format!("not {tag} at {offset}"));
    }
    match reply.end {
        End::Whole if reply.body.len() as u64 != len => Err(format!("{} bytes of {len}, as if that was all", reply.body.len())),
        End::Whole | End::Cut => Ok(()),
    }
}

/// Start and length of `bytes a-b/len`.
fn part(field: &str, len: u64) -> Option<(u64, u64)> {
    let (range, total) = field.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    (total.parse() == Ok(len) && first <= last && last < len).then_some((first, last + 1 - first))
}
