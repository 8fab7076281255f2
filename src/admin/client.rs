//! The command line's side of the interface: `weir status`, `weir purge`, `weir pin`, over the Unix socket or loopback.

use std::{io::Write, net::SocketAddr, path::PathBuf};

use crate::admin::{ObjectQuery, Pin, Purge};

/// Where the running weir listens for administration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Socket(PathBuf),
    Tcp(SocketAddr),
}

/// What to ask of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Status { json: bool },
    Objects(ObjectQuery),
    Purge(Purge),
    Pin(Pin),
    Reload,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no weir answers at {place}")]
    Unreachable { place: String, source: std::io::Error },
    #[error("{place}: broke off the answer: {reason}")]
    Broken { place: String, reason: String },
    #[error("{place}: no answer within {seconds} s")]
    Slow { place: String, seconds: u64 },
    #[error("{0}")]
    Refused(String),
    #[error("output")]
    Output(#[from] std::io::Error),
}

/// Asks the weir at `place` and writes the answer for a terminal (or as JSON, one object).
///
/// # Errors
/// Nobody answers there, the answer is a refusal, or `out` takes no more.
pub async fn run(place: &Place, command: &Command, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    let _ = (place, command, out);
    unimplemented!()
}
