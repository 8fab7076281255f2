//! Several servers behind one door, which stand in for one another.

use std::net::{IpAddr, Ipv4Addr};

use http::Request;

use super::*;
use crate::upstream::{Bound, Client, State, dial::Fault};

const FIRST: &str = "10.0.0.1:8530";
const SECOND: &str = "10.0.0.2:8530";

/// Two update servers; the second is written first in the file and has the higher order.
fn servers(first_says: impl Fn() -> Vec<u8> + Send + Sync + 'static) -> World {
    let mut world = World::new();
    for (name, url, order) in [("second", "http://second.corp:8530", 2), ("first", "http://first.corp:8530", 1)] {
        let definition = world.upstream(name, Kind::Origin, url);
        (definition.order, definition.group) = (order, Some("first".into()));
        definition.probe = Some("/ClientWebService/client.asmx".into());
    }
    world.server("first.corp", FIRST, move |_| Reply::Send(first_says()));
    world.server("second.corp", SECOND, |_| Reply::Send(ok("second")));
    world
}

fn both() -> World {
    servers(|| ok("first"))
}

fn fail(world: &World, fault: Fault) {
    world.net.always(FIRST.parse().unwrap(), fault);
}

async fn call(upstreams: &Upstreams, client: u8) -> String {
    let mut request = Request::post("/ClientWebService/client.asmx").header("host", "weir").body(empty()).unwrap();
    request.extensions_mut().insert(Client(IpAddr::from(Ipv4Addr::new(10, 1, 0, client))));
    let door = through("first", "http://first.corp:8530");
    let response = upstreams.relay(&door, request, &mut Bound::default()).await.unwrap();
    text(response).await.unwrap()
}

async fn content(upstreams: &Upstreams) -> String {
    fetched(upstreams, ask(through("first", "http://first.corp:8530"), "/Content/x")).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_preferred_server_answers_while_it_can_and_another_while_it_cannot() {
    let world = both();
    let upstreams = world.start();
    assert_eq!((call(&upstreams, 1).await.as_str(), content(&upstreams).await.as_str()), ("first", "first"));
    fail(&world, Fault::Refuse);
    // Those that are open still are of a server that is gone.
    tokio::time::sleep(HOUR).await;
    assert_eq!((call(&upstreams, 1).await.as_str(), content(&upstreams).await.as_str()), ("second", "second"));
    for client in 2..10 {
        assert_eq!(call(&upstreams, client).await, "second");
    }
    let state = |upstreams: &Upstreams| upstreams.health().iter().find(|one| &*one.name == "first").unwrap().state;
    assert_eq!(state(&upstreams), State::Ejected);
    let attempts = world.net.attempts(FIRST.parse().unwrap());
    assert_eq!(call(&upstreams, 10).await, "second");
    assert_eq!(world.net.attempts(FIRST.parse().unwrap()), attempts, "nobody waits for it any more");
    fail(&world, Fault::None);
    tokio::time::sleep(2 * HOUR).await;
    assert_eq!(state(&upstreams), State::Healthy);
    assert_eq!((call(&upstreams, 1).await.as_str(), content(&upstreams).await.as_str()), ("first", "first"));
}

#[tokio::test(start_paused = true)]
async fn a_dialogue_stays_with_its_server_when_the_preferred_one_comes_back() {
    let world = both();
    let upstreams = world.start();
    fail(&world, Fault::Refuse);
    for _ in 0..5 {
        assert_eq!(call(&upstreams, 1).await, "second");
    }
    fail(&world, Fault::None);
    tokio::time::sleep(HOUR / 2).await;
    assert_eq!(call(&upstreams, 1).await, "second", "it has a cookie of the second");
    assert_eq!(call(&upstreams, 2).await, "first", "others begin with the first");
    world.net.always(SECOND.parse().unwrap(), Fault::Refuse);
    tokio::time::sleep(HOUR / 4).await;
    assert_eq!(call(&upstreams, 1).await, "first", "but a server that is gone keeps nobody");
    world.net.always(SECOND.parse().unwrap(), Fault::None);
    assert_eq!(call(&upstreams, 1).await, "first", "and now it has a cookie of the first");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_that_it_cannot_is_passed_over_until_it_can() {
    let can = Arc::new(Mutex::new(false));
    let now_it_can = can.clone();
    let says = move || if *can.lock().unwrap() { ok("first") } else { answer("503 Service Unavailable", "", "stopped") };
    let upstreams = servers(says).start();
    assert_eq!(content(&upstreams).await, "second", "content is asked for again elsewhere");
    let mut answers = Vec::new();
    for client in 0..6 {
        answers.push(call(&upstreams, client).await);
    }
    assert_eq!(answers, ["stopped", "stopped", "stopped", "stopped", "second", "second"], "a call is sent once");
    *now_it_can.lock().unwrap() = true;
    tokio::time::sleep(HOUR).await;
    assert_eq!(call(&upstreams, 9).await, "first");
}
