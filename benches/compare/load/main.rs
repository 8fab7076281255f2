//! The clients that wrk cannot play: herds, shuffled pieces, random ranges for a while, slow readers; and what makes and slows down content.
//!
//! `load COMMAND name=value…` prints one line of JSON. One thread for each connection, blocking, the standard library alone: this must
//! never be what a case measures. `run.sh` compiles it with `rustc -O`; it stands in Cargo.toml for the lints.

mod content;
mod crowd;
mod http;
mod slow;
mod throttle;
mod wanted;

use std::{fs::File, io::Write, process::ExitCode};

use content::Content;
use wanted::{Outcome, Wanted};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let command = arguments.next().unwrap_or_default();
    let wanted = Wanted::new(arguments);
    let outcome = match command.as_str() {
        "write" => write(&wanted),
        "herd" => crowd::herd(&wanted),
        "shuffled" => crowd::shuffled(&wanted),
        "ranges" => crowd::ranges(&wanted),
        "fill" => crowd::fill(&wanted),
        "slow" => slow::readers(&wanted),
        "throttle" => throttle::relay(&wanted),
        // Without a command it is a bench target that `cargo bench` came across.
        "" => return ExitCode::SUCCESS,
        _ => Err(format!("unknown command {command}").into()),
    };
    match outcome {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("load {command}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Writes `len` bytes of content with `seed` over `file`, in place.
fn write(wanted: &Wanted) -> Outcome {
    let (content, len) = (Content::new(wanted.number("seed")?), wanted.number("len")?);
    let mut file = File::options().create(true).write(true).truncate(false).open(wanted.text("file")?)?;
    let mut block = vec![0; 1 << 20];
    let mut offset = 0;
    while offset < len {
        let part = usize::try_from(len - offset).map_or(block.len(), |left| left.min(block.len()));
        content.write(offset, &mut block[..part]);
        file.write_all(&block[..part])?;
        offset += part as u64;
    }
    file.set_len(len)?;
    Ok(format!("{{\"bytes\": {len}}}"))
}
