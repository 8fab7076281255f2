//! Hits on a 1 KiB object, one after the other over one connection, with weir in this process: for tools that count what one hit costs.
//!
//! `cargo bench --bench hit [-- HITS [whole]]` prints the time of a hit; with `whole` it goes the whole way, as if its head had never been seen
//! before. `benches/hit.sh` runs it under valgrind twice, with different counts:
//! what the runs differ by is instructions and allocations of hits, without those of start and end.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use weir::{
    app::App,
    config::{Config, Flags, Sources},
};

/// What every hit carries, in bytes.
const CONTENT: [u8; 1024] = [b'w'; 1024];
const REQUEST: &[u8] = b"GET /content/1k HTTP/1.1\r\nHost: weir.example\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n";
const HEAD_END: &[u8] = b"\r\n\r\n";
/// A hit that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Before anything is counted: buffers have grown and the content is in memory.
const WARM_UP: u64 = 200;

fn main() -> anyhow::Result<()> {
    let hits = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(100_000);
    let directory = std::env::temp_dir().join(format!("weir-bench-hit-{}", std::process::id()));
    let origin = TcpListener::bind("127.0.0.1:0")?;
    let flags = Flags {
        reverse: Some(format!("http://{}", origin.local_addr()?)),
        listen: vec!["127.0.0.1:0".into()],
        admin: Some("127.0.0.1:0".into()),
        data: Some(directory.clone()),
        ..Flags::default()
    };
    thread::spawn(move || origin.incoming().flatten().for_each(answer));
    let recognise = std::env::args().all(|argument| argument != "whole");
    let config =
        Config::from_text(&format!("[log]\naccess = \"off\"\nlevel = \"error\"\n[send]\nrecognise = {recognise}\n"), &flags)
            .map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let app = runtime.block_on(App::start(config, Sources { file: None, flags }))?;
    let outcome = client(app.addresses()[0], hits);
    runtime.block_on(app.shutdown(std::future::ready(())));
    drop(runtime);
    std::fs::remove_dir_all(&directory)?;
    outcome.map_err(Into::into)
}

fn client(weir: SocketAddr, hits: u64) -> io::Result<()> {
    let mut stream = TcpStream::connect(weir)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut buffer = vec![0; 8 << 10];
    (0..WARM_UP).try_for_each(|_| exchange(&mut stream, &mut buffer))?;
    let began = Instant::now();
    (0..hits).try_for_each(|_| exchange(&mut stream, &mut buffer))?;
    println!("{hits} hits, {:.2} µs each, there and back", began.elapsed().as_secs_f64() * 1e6 / hits as f64);
    Ok(())
}

/// One request, and its response to the last byte.
fn exchange(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<()> {
    stream.write_all(REQUEST)?;
    let mut filled = 0;
    loop {
        match stream.read(&mut buffer[filled..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => filled += read,
        }
        let head = buffer[..filled].windows(HEAD_END.len()).position(|four| four == HEAD_END);
        if head.is_some_and(|head| filled == head + HEAD_END.len() + CONTENT.len()) {
            assert!(buffer[..filled].starts_with(b"HTTP/1.1 200 ") && buffer[..filled].ends_with(&CONTENT));
            return Ok(());
        }
    }
}

/// The origin: one object under every path. A connection that breaks was weir's to notice.
fn answer(mut stream: TcpStream) {
    thread::spawn(move || -> io::Result<()> {
        let mut request = [0; 4 << 10];
        while stream.read(&mut request)? > 0 {
            let length = CONTENT.len();
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nETag: \"1\"\r\n")?;
            write!(
                stream,
                "Last-Modified: Tue, 10 Nov 2026 18:00:00 GMT\r\nCache-Control: max-age=604800\r\nContent-Length: {length}\r\n\r\n"
            )?;
            stream.write_all(&CONTENT)?;
        }
        Ok(())
    });
}
