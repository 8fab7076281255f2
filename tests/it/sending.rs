//! However stored bytes get into the socket, clients get the same ones.

use crate::support::{Content, MIB, Origin, Proxy, Resource, proxy};

const LEN: u64 = 3 * MIB + 17;
const STRATEGIES: [&str; 4] = ["auto", "copy", "sendfile", "map"];

/// A weir that sends in this way, with `/a` stored.
async fn warm(strategy: &str, content: &Content) -> Proxy {
    let origin = Origin::start().await;
    origin.serve("/a", Resource::new(content).with("ETag", "\"one\""));
    let weir = proxy().upstream("cdn.test", &origin).config(&format!("[send]\nstrategy = \"{strategy}\"")).start().await;
    assert!(weir.download("cdn.test", "/a", &[], content).await.is_all_of(content));
    weir.settled().await;
    weir
}

#[tokio::test]
async fn pipelined_ranges_are_the_stored_bytes_whatever_the_strategy() {
    let content = Content::new("sent", LEN);
    for strategy in STRATEGIES {
        let weir = warm(strategy, &content).await;
        let mut client = weir.client().await;
        let ranges = [(0, MIB), (5, 5 + 300_000), (MIB - 1, 3 * MIB + 1), (7, 9), (LEN - 70_000, LEN), (0, LEN)];
        for (start, end) in ranges {
            let range = format!("bytes={start}-{}", end - 1);
            client.ask("GET", "/a", &[("Host", "cdn.test"), ("Range", &range)]).await;
        }
        for (start, end) in ranges {
            let reply = client.reply("GET").await;
            assert_eq!(reply.status, 206, "{strategy}");
            assert!(reply.body == content.bytes(start, end), "{strategy} {start}-{end}");
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_costs_nobody_else_a_byte() {
    let content = Content::new("left", LEN);
    for strategy in STRATEGIES {
        let weir = warm(strategy, &content).await;
        let mut leaving = weir.client().await;
        leaving.ask("GET", "/a", &[("Host", "cdn.test")]).await;
        leaving.head().await.expect("a response head");
        leaving.abort();
        for _ in 0..3 {
            assert!(weir.download("cdn.test", "/a", &[], &content).await.is_all_of(&content), "{strategy}");
        }
    }
}
