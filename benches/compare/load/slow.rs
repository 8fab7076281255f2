//! Readers that take little at a time, all in one thread.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    http::Connection,
    wanted::{Outcome, Wanted},
};

/// Each reader reads once in so long.
const TURN: Duration = Duration::from_secs(1);

/// `clients` readers take `rate` bytes a second each, until standard input ends. Prints `ready` when all have asked, and at the end what
/// they got; `starved` counts the times when nothing was there to be read.
pub(crate) fn readers(wanted: &Wanted) -> Outcome {
    let (to, path) = (wanted.address("to")?, wanted.text("path")?);
    let clients = u32::try_from(wanted.number("clients")?)?;
    let mut streams = (0..clients).map(|_| Connection::open(to)?.only_ask(path)).collect::<io::Result<Vec<_>>>()?;
    println!("ready");
    io::stdout().flush()?;
    let over = Arc::new(AtomicBool::new(false));
    thread::spawn({
        let over = Arc::clone(&over);
        move || over.store(io::copy(&mut io::stdin(), &mut io::sink()).is_ok(), Ordering::Relaxed)
    });
    let mut buffer = vec![0; usize::try_from(wanted.number("rate")?)?];
    let (mut bytes, mut starved) = (0, 0);
    let mut due = Instant::now();
    while !over.load(Ordering::Relaxed) {
        for stream in &mut streams {
            due += TURN / clients;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            match take(stream, &mut buffer)? {
                0 => starved += 1,
                read => bytes += read,
            }
        }
    }
    Ok(format!("{{\"clients\": {clients}, \"bytes\": {bytes}, \"starved\": {starved}}}"))
}

/// What is there now, up to the size of the buffer; 0 when nothing is. The end of a stream is an error: bodies are longer than the case.
fn take(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    stream.set_nonblocking(true)?;
    match stream.read(buffer) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        read => read,
    }
}
