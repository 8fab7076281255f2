//! Whatever the network does: nothing wrong is delivered, and nothing unsafe is sent twice.

use http::Request;
use http_body_util::Full;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::*;
use crate::upstream::{Bound, dial::Fault};

const SEEDS: u64 = 150;

fn fault(rng: &mut StdRng) -> Fault {
    let after = rng.random_range(0..3000);
    match rng.random_range(0..10) {
        0 => Fault::Refuse,
        1 => Fault::Hang,
        2 => Fault::ResetAfter(after),
        3 => Fault::EndAfter(after),
        4 => Fault::StallAfter(after),
        5 => Fault::Slow { bytes: rng.random_range(1..500), every: Duration::from_millis(rng.random_range(1..400)) },
        _ => Fault::None,
    }
}

/// The one right content of a path.
fn content(path: &str) -> String {
    let number: usize = path.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
    format!("<{number}>").repeat(number % 700)
}

/// A server that answers rightly, but in many manners.
fn moody(seed: u64) -> impl Fn(&Seen) -> Reply {
    move |seen| {
        let mut rng = StdRng::seed_from_u64(seed << 16 ^ seen.number as u64);
        let body = content(seen.head.split(' ').nth(1).unwrap().rsplit('/').next().unwrap());
        let whole = match rng.random_range(0..3) {
            0 => format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
                .replace("\r\n0\r\n\r\n0\r\n", "\r\n0\r\n")
                .into_bytes(),
            _ => ok(&body),
        };
        match rng.random_range(0..12) {
            0 => Reply::Close,
            1 => Reply::SendAndClose(whole[..rng.random_range(0..whole.len())].to_vec()),
            2 => Reply::SendAndClose(whole),
            3 => Reply::SendThen(whole, Duration::from_millis(rng.random_range(0..2000)), b"stray".to_vec()),
            4 => Reply::Send(answer("503 Service Unavailable", "", "busy")),
            _ => Reply::Send(whole),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_is_the_right_one_or_an_error_and_a_post_is_seen_at_most_once() {
    let (mut good, mut posted) = (0, 0);
    for seed in 0..SEEDS {
        let rng = &mut StdRng::seed_from_u64(seed);
        let mut world = World::new();
        world.upstream("parent", Kind::Parent, "http://parent.corp:8080");
        let servers = [("parent.corp", "10.0.0.2:8080"), ("dl.test", "8.8.8.8:80")];
        let logs = servers.map(|(host, at)| world.server(host, at, moody(seed)));
        for (_, at) in servers {
            world.net.script(at.parse().unwrap(), (0..60).map(|_| fault(rng)).collect::<Vec<_>>());
        }
        let upstreams = world.start();
        for step in 0..20 {
            let path = format!("/{}", seed as usize * 1000 + step);
            let answer = if rng.random() {
                let request = Request::post(&path).header("content-length", "4").body(Full::from("soap")).unwrap();
                posted += 1;
                upstreams.relay(&target("http://dl.test"), request, &mut Bound::default()).await
            } else {
                upstreams.fetch(get("http://dl.test", &path)).await.map(|fetched| fetched.response)
            };
            if let Ok(response) = answer
                && response.status() == 200
                && let Ok(body) = text(response).await
            {
                assert_eq!(body, content(&path), "seed {seed}, {path}");
                good += 1;
            }
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..3000))).await;
        }
        let mut posts: Vec<_> = logs[1].seen().into_iter().filter(|seen| seen.head.starts_with("POST")).map(|s| s.head).collect();
        let all = posts.len();
        posts.sort();
        posts.dedup();
        assert_eq!(posts.len(), all, "seed {seed}: a POST was sent twice");
    }
    assert!(
        good > SEEDS as usize * 8 && posted > SEEDS as usize * 8,
        "{good} good answers, {posted} posts: the run means something"
    );
}
