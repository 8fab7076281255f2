//! A line of limited width between a proxy and its origin: all connections through it share `rate` bytes a second.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::wanted::{Outcome, Wanted};

/// What passes at a time, in bytes: at 100 MB/s it is 0.6 ms of the line.
const BLOCK: usize = 64 << 10;
/// What a line that was idle may pass at once.
const BURST: Duration = Duration::from_millis(5);

/// The line: when it will have passed all it was given.
struct Line {
    busy_until: Mutex<Instant>,
    /// Bytes a second.
    rate: f64,
}

impl Line {
    fn pass(&self, bytes: usize) {
        let wait = {
            let mut busy_until = self.busy_until.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            *busy_until = (*busy_until).max(now - BURST) + Duration::from_secs_f64(bytes as f64 / self.rate);
            busy_until.saturating_duration_since(now)
        };
        thread::sleep(wait);
    }
}

/// Relays connections on `listen` to `to` until it is killed.
pub(crate) fn relay(wanted: &Wanted) -> Outcome {
    let listener = TcpListener::bind(wanted.address("listen")?)?;
    let to = wanted.address("to")?;
    let line = Arc::new(Line { busy_until: Mutex::new(Instant::now()), rate: wanted.number("rate")? as f64 });
    for client in listener.incoming() {
        if let Err(error) = client.and_then(|client| connect(client, to, &line)) {
            eprintln!("load throttle: {error}");
        }
    }
    Ok(String::new())
}

fn connect(client: TcpStream, to: SocketAddr, line: &Arc<Line>) -> io::Result<()> {
    let origin = TcpStream::connect(to)?;
    client.set_nodelay(true)?;
    origin.set_nodelay(true)?;
    let (client_too, origin_too, line) = (client.try_clone()?, origin.try_clone()?, Arc::clone(line));
    thread::spawn(move || copy(client_too, origin_too, |_| ()));
    thread::spawn(move || copy(origin, client, |bytes| line.pass(bytes)));
    Ok(())
}

/// Copies until an end, which is passed on; what went wrong the other side will see.
fn copy(mut from: TcpStream, mut to: TcpStream, before: impl Fn(usize)) {
    let mut block = vec![0; BLOCK];
    while let Ok(read @ 1..) = from.read(&mut block) {
        before(read);
        if to.write_all(&block[..read]).is_err() {
            break;
        }
    }
    for stream in [from, to] {
        // Already closed by the other direction: nothing to do.
        let _ = stream.shutdown(Shutdown::Both);
    }
}
