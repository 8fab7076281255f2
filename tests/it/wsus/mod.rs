//! Windows computers and their update server, with weir between them.

mod agent;
mod hostile;
mod learnt;
mod prestage;
mod rewritten;
mod server;

use std::collections::BTreeSet;

use futures_util::future::join_all;

use self::server::Wsus;
use crate::support::{Head, MIB, proxy};

/// Name and value of every field but those that weir adds.
fn fields(head: &Head, added: &[&str]) -> BTreeSet<(String, String)> {
    let own = head.fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
    own.filter(|(name, _)| !added.contains(&&**name)).collect()
}

#[tokio::test]
async fn a_dialogue_through_weir_is_the_dialogue_with_the_server() {
    for xpress in [true, false] {
        let wsus = Wsus::start(&[918_944, 3 * MIB + 272_848]).await;
        let weir = proxy().wsus(&wsus.origin).start().await;
        let direct = agent::update(wsus.origin.address(), 1, xpress).await;
        let through = agent::update(weir.doors(), 1, xpress).await;

        assert_eq!(direct.calls.len(), through.calls.len());
        for ((operation, direct), (_, through)) in direct.calls.iter().zip(&through.calls) {
            assert!(direct.body == through.body, "{operation}: the body differs");
            assert_eq!(fields(&direct.head, &[]), fields(&through.head, &["via", "cache-status"]), "{operation}");
        }
        assert_eq!(direct.ranges.len(), 1 + 4);
        for (range, direct) in &direct.ranges {
            let through = &through.ranges[range];
            assert!(direct.body == through.body, "{range:?}: the body differs");
            // RFC 9111 §5.1 has a cache add Age to what is stored.
            assert_eq!(fields(&direct.head, &[]), fields(&through.head, &["via", "cache-status", "age"]), "{range:?}");
        }
    }
}

#[tokio::test]
async fn what_twenty_computers_fetch_crosses_once() {
    let wsus = Wsus::start(&[918_944, 3 * MIB + 272_848]).await;
    let weir = proxy().wsus(&wsus.origin).start().await;
    let dialogues = join_all((0..20).map(|seed| agent::update(weir.doors(), seed, true))).await;
    assert_eq!(dialogues.len(), 20);
    for file in &wsus.files {
        assert_eq!(wsus.origin.sent(&file.path()), file.content.len(), "{}", file.name);
    }
    let calls = dialogues[0].calls.len();
    assert_eq!(wsus.calls(), 20 * calls, "every call is answered by the server");
}

#[tokio::test]
async fn a_server_that_is_gone_is_passed_over_for_calls_and_content() {
    let wsus = Wsus::start(&[918_944]).await;
    // Nobody listens there any more.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = |name: &str, at, order: u32| {
        format!("[[upstream]]\nname = \"{name}\"\nurl = \"http://{at}\"\ndoor = \"wsus\"\norder = {order}\n")
    };
    let weir = proxy().config(&(server("second", wsus.origin.address(), 2) + &server("first", gone, 1))).start().await;
    let dialogue = agent::update(weir.doors(), 1, true).await;
    assert_eq!(wsus.calls(), dialogue.calls.len(), "every call reached the one that is there, once");
    assert_eq!(wsus.origin.sent(&wsus.files[0].path()), wsus.files[0].content.len());
}
