//! Requests that two parsers could read in two ways: each is refused, or read in one way and forwarded in weir's own framing.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::support::{Answer, Ask, Origin, Proxy, Reply, proxy};

/// Shared with the check that other servers read alike what is forwarded.
const TABLE: &str = include_str!("requests.txt");

/// A row of the table.
#[derive(Clone, Debug)]
struct Message {
    name: &'static str,
    answers: &'static str,
    forwarded: &'static str,
    bytes: Vec<u8>,
}

fn messages(host: &str) -> Vec<Message> {
    let rows = TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    rows.map(|line| {
        let [name, answers, forwarded, bytes] = line.splitn(4, " | ").collect::<Vec<_>>().try_into().expect(line);
        Message { name, answers, forwarded, bytes: unescaped(&bytes.replace("HOST", host)) }
    })
    .collect()
}

fn unescaped(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.bytes());
    while let Some(byte) = rest.next() {
        let escaped = if byte == b'\\' { rest.next() } else { None };
        bytes.push(match escaped {
            None => byte,
            Some(b'r') => b'\r',
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'0') => 0,
            Some(b'x') => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&digits, 16).expect(text)
            }
            Some(other) => panic!("\\{} in {text}", char::from(other)),
        });
    }
    bytes
}

/// What came back, as the table has it.
fn told(reply: &Reply) -> String {
    let reason = reply.field("cache-status").and_then(|status| status.split_once("detail="));
    match reason {
        Some((_, reason)) if reply.status != 404 => format!("{} {reason}", reply.status),
        _ => reply.status.to_string(),
    }
}

/// Whether `ask` is for `host` and came whole: of what breaks off in its body the origin may see a beginning.
fn is_whole(ask: &Ask, host: &str) -> bool {
    let is_cut = ask.field("transfer-encoding").is_some() && ask.body.is_empty();
    ask.field("host") == Some(host) && !is_cut
}

async fn judge(row: usize, weir: Arc<Proxy>, origin: Arc<Origin>) -> Option<String> {
    // A host of its own, so that what the origin sees under it is this row's doing.
    let host = format!("row{row:03}.cdn.test");
    let message = messages(&host).swap_remove(row);
    let mut client = weir.client().await;
    client.send(&message.bytes).await;
    let mut answers = Vec::new();
    while answers.len() < message.answers.split(", ").count() {
        let Some(reply) = client.try_reply("POST").await else { break };
        answers.push(told(&reply));
    }
    let ends_in_refusal = answers.last().is_some_and(|answer| answer.contains(' '));
    if ends_in_refusal && client.try_reply("POST").await.is_some() {
        answers.push("and the connection goes on".into());
    }
    let asks = [origin.asks("/m"), origin.asks("/smuggled")].concat().into_iter().filter(|ask| is_whole(ask, &host));
    let forwarded: Vec<_> = asks.map(|ask| format!("{} {} {}", ask.method, ask.target, ask.body.len())).collect();
    let forwarded = if forwarded.is_empty() { "-".to_owned() } else { forwarded.join(", ") };
    let (got, wanted) = ((answers.join(", "), forwarded), (message.answers.to_owned(), message.forwarded.to_owned()));
    (got != wanted).then(|| format!("{}: wanted {wanted:?}, got {got:?}", message.name))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_ambiguous_request_is_refused_or_read_in_one_way() {
    let origin = Arc::new(Origin::start().await);
    origin.answer("/m", |_| Answer::text("200 OK", "read").with("Cache-Control", "no-store"));
    let weir = Arc::new(proxy().upstream("*.cdn.test", &origin).start().await);
    let rows = messages("cdn.test").len();
    assert!(rows >= 100, "{rows}");
    let judged: JoinSet<_> = (0..rows).map(|row| judge(row, weir.clone(), origin.clone())).collect();
    let wrong: Vec<_> = judged.join_all().await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(origin.requests("/m") + origin.requests("/smuggled"), origin.requests_in_all(), "nothing else was asked for");
}
