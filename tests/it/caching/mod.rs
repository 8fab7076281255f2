//! HTTP caching at the reverse door, as rows: what a client asks, what the origin says if it is asked, what the client must get.
//!
//! No row sleeps: time passes in `Age` and `Date` of what the origin sends (`@-100` is the date 100 seconds ago).

mod one_client;
mod opening;
mod partial;
mod stale;
mod storing;
mod targeted;
mod updates;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::task::JoinSet;

use crate::support::{Answer, Client, End, Origin, Proxy, Reply, Step, proxy};

/// What is claimed, and the requests that show it, one after the other.
struct Row {
    claim: &'static str,
    turns: Vec<Turn>,
}

/// One request, and what becomes of it.
#[derive(Clone)]
struct Turn {
    method: &'static str,
    fields: &'static str,
    /// What the origin answers in this turn; without it, it must not be asked.
    origin: Option<Answer>,
    status: u16,
    /// `None`: whatever.
    body: Option<&'static str>,
    cut: bool,
    /// Parameters of weir's member in Cache-Status; with `!` those that must not be there.
    says: &'static str,
    /// Fields of the origin's request, with `!name` those that it must not have.
    sent: &'static str,
    /// The same of the response.
    has: &'static str,
    /// The origin is asked once, or, if this is set, at least once.
    is_retried: bool,
    /// Asked again until it says what it shall: for what happens in the background.
    patient: bool,
}

fn row(claim: &'static str, turns: impl IntoIterator<Item = Turn>) -> Row {
    Row { claim, turns: turns.into_iter().collect() }
}

/// A GET with these fields (`Name: value | Name: value`).
fn get(fields: &'static str) -> Turn {
    Turn {
        method: "GET",
        fields,
        origin: None,
        status: 200,
        body: None,
        cut: false,
        says: "",
        sent: "",
        has: "",
        is_retried: false,
        patient: false,
    }
}

fn method(method: &'static str, fields: &'static str) -> Turn {
    Turn { method, ..get(fields) }
}

/// A stored answer: `one` under these fields.
fn stores(fields: &'static str) -> Turn {
    get("").origin(200, fields, "one").gets("one").says("fwd=uri-miss; fwd-status=200; stored")
}

/// An answer that is passed on, and not stored.
fn passes(fields: &'static str) -> Turn {
    get("").origin(200, fields, "one").gets("one").says("fwd=uri-miss; fwd-status=200; !stored")
}

/// `one` from the store.
fn hits() -> Turn {
    get("").gets("one").says("hit; !fwd; !stored")
}

impl Turn {
    /// What the origin answers in this turn; `{path}` in a field is the row's own.
    fn origin(mut self, status: u16, fields: &'static str, body: &'static str) -> Self {
        let mut answer = Answer::new(&format!("{status} Status"));
        for (name, value) in pairs(fields) {
            answer = answer.also(name, dated(value));
        }
        let has_body = self.method != "HEAD" && !matches!(status, 204 | 304);
        if has_body && !fields.to_ascii_lowercase().contains("content-length:") {
            answer = answer.with("Content-Length", body.len());
        }
        self.origin = Some(if has_body { answer.then(Step::Text(body.into())) } else { answer });
        self.status(status)
    }

    /// The origin is asked, and closes the connection without a word.
    fn hangs_up(self) -> Self {
        self.ends(Step::Close)
    }

    /// The origin is asked, and resets the connection.
    fn resets(self) -> Self {
        self.ends(Step::Reset)
    }

    fn ends(mut self, step: Step) -> Self {
        self.origin = Some(Answer { status: String::new(), ..Answer::new("") }.then(step));
        // A request that got nothing at all is sent again, on new connections.
        self.is_retried = true;
        self
    }

    /// The origin's body ends before its length says so.
    fn breaks(mut self) -> Self {
        self.origin = self.origin.map(|answer| answer.with("Content-Length", 100).then(Step::Close));
        self
    }

    /// The client's body does.
    fn cut(self) -> Self {
        Self { cut: true, ..self }
    }

    fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    fn gets(self, body: &'static str) -> Self {
        Self { body: Some(body), ..self }
    }

    fn says(self, says: &'static str) -> Self {
        Self { says, ..self }
    }

    fn sent(self, sent: &'static str) -> Self {
        Self { sent, ..self }
    }

    fn has(self, has: &'static str) -> Self {
        Self { has, ..self }
    }

    fn eventually(self) -> Self {
        Self { patient: true, ..self }
    }

    /// What is wrong about `reply`, and the requests that the origin saw meanwhile.
    fn complaints(&self, reply: Option<&Reply>, asks: &[crate::support::Ask]) -> Vec<String> {
        let mut wrong = Vec::new();
        let Some(reply) = reply else { return vec!["no answer".into()] };
        if reply.status != self.status {
            wrong.push(format!("status {}, not {}", reply.status, self.status));
        }
        if self.body.is_some_and(|body| body.as_bytes() != reply.body) {
            wrong.push(format!("body {:?}, not {:?}", reply.text(), self.body.unwrap_or_default()));
        }
        if (reply.end == End::Cut) != self.cut {
            wrong.push(format!("ended {:?}", reply.end));
        }
        let said = reply.head.all("cache-status").last().map_or("", |line| line.rsplit(", ").next().unwrap_or_default());
        let words: Vec<&str> = said.split("; ").collect();
        for word in self.says.split("; ").filter(|word| !word.is_empty()) {
            let is_there = |word: &str| words.iter().any(|said| *said == word || said.split('=').next() == Some(word));
            if word.strip_prefix('!').map_or(!is_there(word), is_there) {
                wrong.push(format!("says {said:?}, not {word}"));
            }
        }
        wrong.extend(differences("response", self.has, |name| reply.head.all(name).map(str::to_owned).collect()));
        let is_right = match (asks.len(), &self.origin) {
            (0, None) | (1, Some(_)) => true,
            (asks, origin) => asks > 1 && origin.is_some() && self.is_retried,
        };
        if !is_right {
            wrong.push(format!("the origin was asked {} times", asks.len()));
        }
        if let Some(ask) = asks.last() {
            wrong.extend(differences("request", self.sent, |name| ask.head.all(name).map(str::to_owned).collect()));
        }
        wrong
    }
}

/// How the fields of a message differ from `expected`: `name: value`, or `!name`, or `!name: value`.
fn differences(what: &str, expected: &str, lines: impl Fn(&str) -> Vec<String>) -> Vec<String> {
    let wrong = |entry: &str| {
        let (is_wanted, entry) = entry.strip_prefix('!').map_or((true, entry), |entry| (false, entry));
        let (name, value) = entry.split_once(": ").map_or((entry, None), |(name, value)| (name, Some(dated(value))));
        let found = lines(name);
        let is_there = value.as_ref().map_or(!found.is_empty(), |value| found.join(", ") == *value);
        (is_there != is_wanted).then(|| format!("{what} field {name}: {found:?}, wanted {entry:?}"))
    };
    expected.split(" | ").filter(|entry| !entry.is_empty()).filter_map(wrong).collect()
}

fn pairs(fields: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    fields.split(" | ").filter_map(|field| field.split_once(": "))
}

/// `@-100` is the date 100 seconds ago.
fn dated(value: &str) -> String {
    let offset = value.strip_prefix('@').and_then(|offset| offset.parse::<i64>().ok());
    let Some(offset) = offset else { return value.to_owned() };
    let distance = Duration::from_secs(offset.unsigned_abs());
    let now = SystemTime::now();
    httpdate::fmt_http_date(if offset < 0 { now - distance } else { now + distance })
}

/// Plays all rows at once, each at a path of its own, and fails for every turn that went wrong.
async fn play(rows: Vec<Row>) {
    let wrong = complaints(rows).await;
    assert!(wrong.is_empty(), "{wrong:#?}");
}

async fn complaints(rows: Vec<Row>) -> Vec<String> {
    let origin = Arc::new(Origin::start().await);
    let weir = Arc::new(proxy().reverse(&origin).start().await);
    let mut scenes = JoinSet::new();
    for (index, row) in rows.into_iter().enumerate() {
        scenes.spawn(act(weir.clone(), origin.clone(), format!("/row-{index}"), row));
    }
    scenes.join_all().await.into_iter().flatten().collect()
}

/// The tables against themselves: each of these rows is wrong in one way.
#[tokio::test]
async fn a_row_that_claims_what_is_not_so_is_noticed() {
    const FRESH: &str = "Cache-Control: max-age=60 | X-A: 1";
    let wrong = [
        ("status", vec![stores(FRESH), get("").status(404)]),
        ("body", vec![stores(FRESH), get("").gets("two")]),
        ("says", vec![stores(FRESH), get("").says("fwd=stale")]),
        ("says", vec![stores(FRESH), get("").says("!hit")]),
        ("response field", vec![stores(FRESH), get("").has("x-a: 2")]),
        ("response field", vec![stores(FRESH), get("").has("!x-a")]),
        ("request field", vec![stores(FRESH).sent("if-none-match: \"a\"")]),
        ("asked 0 times", vec![stores(FRESH), get("").origin(200, "", "one")]),
        ("asked 1 times", vec![get("").status(599)]),
        ("ended", vec![Turn { cut: true, ..get("").origin(200, FRESH, "one") }]),
    ];
    for (expected, turns) in wrong {
        let found = complaints(vec![row("a wrong row", turns)]).await;
        assert!(found.iter().any(|complaint| complaint.contains(expected)), "{expected}: {found:?}");
    }
}

async fn act(weir: Arc<Proxy>, origin: Arc<Origin>, path: String, row: Row) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut client = weir.client().await;
    for (number, turn) in row.turns.iter().enumerate() {
        let unexpected = Answer::text("599 Not expected", "not expected");
        let mut answer = turn.origin.clone().unwrap_or(unexpected);
        answer.fields.iter_mut().for_each(|(_, value)| *value = value.replace("{path}", &path));
        origin.answer(&path, move |_| answer.clone());
        let before = origin.requests(&path);
        let patience = if turn.patient { 500 } else { 1 };
        let mut complaints = Vec::new();
        for _ in 0..patience {
            let reply = ask(&mut client, turn, &path).await;
            complaints = turn.complaints(reply.as_ref(), &origin.asks(&path)[before..]);
            if complaints.is_empty() {
                break;
            }
            if turn.patient {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        if turn.cut || turn.status >= 500 {
            client = weir.client().await;
        }
        wrong.extend(complaints.into_iter().map(|complaint| format!("{} (turn {}): {complaint}", row.claim, number + 1)));
    }
    wrong
}

async fn ask(client: &mut Client, turn: &Turn, path: &str) -> Option<Reply> {
    let fields: Vec<(&str, String)> = pairs(turn.fields).map(|(name, value)| (name, dated(value))).collect();
    let mut fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    fields.insert(0, ("Host", "site.test"));
    if turn.method == "POST" {
        fields.push(("Content-Length", "0"));
    }
    client.ask(turn.method, path, &fields).await;
    client.try_reply(turn.method).await
}
