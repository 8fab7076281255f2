//! The connections of an origin.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::Instant,
};

use super::{
    super::{
        content::Content,
        wire::{Framing, Wire},
    },
    Answer, Ask, State, Step,
};

/// What happens to a connection after an answer.
#[derive(PartialEq, Eq)]
enum Next {
    Keep,
    Close,
}

/// Body bytes are written in steps of this length, and counted after each.
const WRITE: u64 = 64 * 1024;

pub(super) async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let number = {
            let mut count = state.connections.lock().unwrap();
            *count += 1;
            *count - 1
        };
        connections.spawn(connection(stream, number, state.clone()));
        while connections.try_join_next().is_some() {}
    }
}

/// Serves one connection; an error is a peer that left, which is its right.
async fn connection(stream: TcpStream, number: usize, state: Arc<State>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut wire = Wire::new(stream);
    while let Some(head) = wire.read_head().await? {
        let mut line = head.start.split(' ').map(str::to_owned);
        let (method, target) = (line.next().unwrap_or_default(), line.next().unwrap_or_default());
        let mut ask = Ask { method, target, head, body: Vec::new(), trailers: Vec::new(), earlier: 0, connection: number };
        let mut framing = ask.head.framing(Framing::Ended);
        // Recorded before its body, so that a scenario can see a request whose body is still under way.
        let place = state.record(&mut ask);
        let responder = state.responders.lock().unwrap().get(ask.path()).cloned();
        if !responder.as_ref().is_some_and(|responder| responder.early) {
            if ask.field("expect").is_some() {
                wire.send("HTTP/1.1 100 Continue\r\n\r\n").await?;
            }
            while let Some(bytes) = wire.read_body(&mut framing, &mut ask.trailers).await? {
                ask.body.extend_from_slice(&bytes);
            }
            state.asks.lock().unwrap()[place] = ask.clone();
        }
        let answer = match responder {
            Some(responder) => (responder.answer)(&ask),
            None => Answer::text("404 Not Found", "no such path"),
        };
        if play(&answer, &ask, &mut framing, &mut wire, &state).await? == Next::Close {
            return Ok(());
        }
    }
    Ok(())
}

async fn play(answer: &Answer, ask: &Ask, request: &mut Framing, wire: &mut Wire, state: &State) -> io::Result<Next> {
    for step in &answer.before {
        if one(step, answer, ask, request, wire, state).await? == Next::Close {
            return Ok(Next::Close);
        }
    }
    if !answer.status.is_empty() {
        let mut head = format!("{}\r\n", answer.status);
        answer.fields.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        wire.send(head + "\r\n").await?;
    }
    for step in &answer.steps {
        if one(step, answer, ask, request, wire, state).await? == Next::Close {
            return Ok(Next::Close);
        }
    }
    Ok(Next::Keep)
}

async fn one(step: &Step, answer: &Answer, ask: &Ask, request: &mut Framing, wire: &mut Wire, state: &State) -> io::Result<Next> {
    match step {
        Step::Text(bytes) => wire.send(bytes).await?,
        Step::Body(content, start, end) => body(content, *start, *end, false, answer, ask, wire, state).await?,
        Step::Chunks(content, start, end) => body(content, *start, *end, true, answer, ask, wire, state).await?,
        Step::Hold(gate) => gate.pass().await,
        Step::Stall => while wire.read_more().await? > 0 {},
        Step::Echo => echo(request, wire).await?,
        Step::Reset => {
            socket2::SockRef::from(&wire.stream).set_linger(Some(Duration::ZERO))?;
            return Ok(Next::Close);
        }
        Step::Close => return Ok(Next::Close),
    }
    Ok(Next::Keep)
}

#[expect(clippy::too_many_arguments, reason = "one caller, and a struct for it would say less")]
async fn body(
    content: &Content,
    start: u64,
    end: u64,
    chunked: bool,
    answer: &Answer,
    ask: &Ask,
    wire: &mut Wire,
    state: &State,
) -> io::Result<()> {
    let begun = Instant::now();
    let mut at = start;
    while at < end {
        let mut until = end.min(at + WRITE);
        if let Some((from, gate)) = &answer.held_from {
            if at >= *from {
                gate.pass().await;
            } else {
                until = until.min(*from);
            }
        }
        let bytes = content.bytes(at, until);
        if chunked {
            wire.send(format!("{:x}\r\n", bytes.len())).await?;
        }
        wire.send(&bytes).await?;
        if chunked {
            wire.send("\r\n").await?;
        }
        *state.sent.lock().unwrap().entry(ask.path().to_owned()).or_default() += until - at;
        at = until;
        if let Some(rate) = answer.rate {
            tokio::time::sleep_until(begun + Duration::from_secs_f64((at - start) as f64 / rate as f64)).await;
        }
    }
    Ok(())
}

async fn echo(request: &mut Framing, wire: &mut Wire) -> io::Result<()> {
    let mut trailers = Vec::new();
    while let Some(bytes) = wire.read_body(request, &mut trailers).await? {
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(&bytes);
        chunk.extend_from_slice(b"\r\n");
        wire.send(chunk).await?;
    }
    let trailers: String = trailers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    wire.send(format!("0\r\n{trailers}\r\n")).await
}

impl State {
    /// Remembers a request; its place in the list is returned, so that its body can be added.
    fn record(&self, ask: &mut Ask) -> usize {
        let mut asks = self.asks.lock().unwrap();
        ask.earlier = asks.iter().filter(|other| other.path() == ask.path()).count();
        asks.push(ask.clone());
        asks.len() - 1
    }
}
