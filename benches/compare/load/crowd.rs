//! Many connections at once, each in a thread: what they got, how fast, and whether it was right.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Barrier, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    content::{Content, Random},
    http::{Answer, Connection},
    wanted::{Outcome, Wanted},
};

/// Of a thread, in bytes: buffers are on the heap.
const STACK: usize = 128 << 10;

/// What a crowd has got so far.
#[derive(Default)]
struct Tally {
    bytes: AtomicU64,
    answers: AtomicU64,
    wrong: AtomicU64,
    first_bytes: Mutex<Vec<Duration>>,
}

impl Tally {
    fn add(&self, answer: io::Result<Answer>) -> bool {
        self.answers.fetch_add(1, Ordering::Relaxed);
        match answer {
            Ok(answer) => {
                self.bytes.fetch_add(answer.bytes, Ordering::Relaxed);
                self.wrong.fetch_add(u64::from(!answer.right), Ordering::Relaxed);
                self.first_bytes.lock().unwrap_or_else(PoisonError::into_inner).push(answer.first_byte);
                true
            }
            Err(error) => {
                eprintln!("load: {error}");
                self.wrong.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }

    fn line(self, took: Duration) -> String {
        let mut times = self.first_bytes.into_inner().unwrap_or_else(PoisonError::into_inner);
        times.sort_unstable();
        let at = |share: usize| {
            times.get((times.len() * share / 100).min(times.len().saturating_sub(1))).map_or(0.0, Duration::as_secs_f64)
        };
        format!(
            "{{\"seconds\": {:.4}, \"bytes\": {}, \"answers\": {}, \"wrong\": {}, \"first_byte_p50\": {:.5}, \"first_byte_p99\": {:.5}, \"first_byte_max\": {:.5}}}",
            took.as_secs_f64(),
            self.bytes.into_inner(),
            self.answers.into_inner(),
            self.wrong.into_inner(),
            at(50),
            at(99),
            at(100)
        )
    }
}

/// Lets `work` run once for each of `connections`, all connected before the first begins.
fn together(to: SocketAddr, connections: u64, work: impl Fn(u64, Connection, &Tally) + Sync) -> Outcome {
    let tally = Tally::default();
    let open = (0..connections).map(|_| Connection::open(to)).collect::<io::Result<Vec<_>>>()?;
    let start = Barrier::new(open.len() + 1);
    let began = thread::scope(|scope| -> io::Result<Instant> {
        for (number, connection) in (0..).zip(open) {
            let (tally, start, work) = (&tally, &start, &work);
            thread::Builder::new().stack_size(STACK).spawn_scoped(scope, move || {
                start.wait();
                work(number, connection, tally);
            })?;
        }
        start.wait();
        Ok(Instant::now())
    })?;
    Ok(tally.line(began.elapsed()))
}

/// `clients` connections get the whole of `path` at once.
pub(crate) fn herd(wanted: &Wanted) -> Outcome {
    let (path, content) = (wanted.text("path")?, Content::new(wanted.number("seed")?));
    together(wanted.address("to")?, wanted.number("clients")?, |_, mut connection, tally| {
        tally.add(connection.get(path, None, content));
    })
}

/// `clients` computers with `connections` each; every computer gets all pieces of `piece` bytes once, in an order of its own.
pub(crate) fn shuffled(wanted: &Wanted) -> Outcome {
    let (path, content, len, piece) =
        (wanted.text("path")?, Content::new(wanted.number("seed")?), wanted.number("len")?, wanted.number("piece")?);
    let (clients, connections) = (wanted.number("clients")?, wanted.number("connections")?);
    let orders: Vec<Mutex<Vec<u64>>> = (0..clients)
        .map(|client| {
            let mut pieces: Vec<u64> = (0..len.div_ceil(piece)).collect();
            Random::new(client << 32).shuffle(&mut pieces);
            Mutex::new(pieces)
        })
        .collect();
    together(wanted.address("to")?, clients * connections, |number, mut connection, tally| {
        let order = &orders[(number % clients) as usize];
        loop {
            let Some(next) = order.lock().unwrap_or_else(PoisonError::into_inner).pop() else { return };
            let range = (next * piece, piece.min(len - next * piece));
            if !tally.add(connection.get(path, Some(range), content)) {
                return;
            }
        }
    })
}

/// `connections` get random ranges of `piece` bytes for `seconds`.
pub(crate) fn ranges(wanted: &Wanted) -> Outcome {
    let (path, content, len, piece) =
        (wanted.text("path")?, Content::new(wanted.number("seed")?), wanted.number("len")?, wanted.number("piece")?);
    let until = Duration::from_secs(wanted.number("seconds")?);
    let began = Instant::now();
    together(wanted.address("to")?, wanted.number("connections")?, |number, mut connection, tally| {
        let mut random = Random::new(number << 40 | u64::from(began.elapsed().subsec_nanos()));
        while began.elapsed() < until && tally.add(connection.get(path, Some((random.below(len - piece), piece)), content)) {}
    })
}

/// `connections` get `count` objects from `first` on, `path` + ten digits, each once. The content is the path, over and over.
pub(crate) fn fill(wanted: &Wanted) -> Outcome {
    let (path, first, len) = (wanted.text("path")?, wanted.number("first")?, usize::try_from(wanted.number("len")?)?);
    let end = first + wanted.number("count")?;
    let (next, failed) = (AtomicU64::new(first), AtomicBool::new(false));
    together(wanted.address("to")?, wanted.number("connections")?, |_, mut connection, tally| {
        while !failed.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= end {
                return;
            }
            let path = format!("{path}{number:010}");
            let expected = path.repeat(len.div_ceil(path.len()));
            let asked = Instant::now();
            let answer = connection.get_small(&path, expected.as_bytes());
            let answer =
                answer.map_err(|error| io::Error::new(error.kind(), format!("{path}: after {:?}: {error}", asked.elapsed())));
            let answer = answer.map(|right| Answer { first_byte: asked.elapsed(), bytes: len as u64, right });
            if !tally.add(answer) {
                failed.store(true, Ordering::Relaxed);
            }
        }
    })
}
