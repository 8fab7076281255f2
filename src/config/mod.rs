//! The configuration file and the command line's quick-start flags, turned into every module's own `Config`.
//!
//! Reads, checks and assembles; decides nothing. All problems are found in one pass, each with its place and its remedy.

use std::{fmt, path::PathBuf, time::Duration};

use crate::{
    admin, cache, classify, listener,
    proxy::{self, log::Destination},
    store, upstream,
};

/// Where a configuration comes from. Kept by `serve`, so that a reload reads the same sources again.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The TOML file; without one the defaults hold.
    pub file: Option<PathBuf>,
    pub flags: Flags,
}

/// Command-line flags that stand above the file, as given.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--reverse URL`: every request that no other door claims goes there.
    pub reverse: Option<String>,
    /// `--wsus URL`
    pub wsus: Option<String>,
    /// `--listen ADDR`: instead of the file's `[[listen]]` entries.
    pub listen: Vec<String>,
    pub admin: Option<String>,
    pub data: Option<PathBuf>,
    pub size: Option<String>,
    pub resolver: Vec<String>,
    /// `--allow HOST[=ADDR:PORT]`
    pub allow: Vec<String>,
}

/// Everything weir is built from. Each part is the owning module's type.
#[derive(Clone, Debug)]
pub struct Config {
    pub store: store::Config,
    /// The doors' rules; the node id comes from the data directory, weir's own ports from the sockets as bound.
    pub policy: classify::Config,
    /// `own` and `redirects.allow` are filled in when weir starts.
    pub upstream: upstream::Config,
    pub cache: cache::Config,
    pub proxy: proxy::Config,
    pub listener: listener::Config,
    pub admin: admin::Config,
    pub log: Log,
    /// How long running requests may go on after SIGTERM.
    pub drain: Duration,
}

/// Where weir says what it does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    pub access: Destination,
    /// What operators are told, as `tracing_subscriber::EnvFilter` reads it: `info`, `weir=debug`.
    pub level: String,
    /// JSON lines instead of text.
    pub json: bool,
    /// In place of standard error; opened anew on SIGUSR1.
    pub file: Option<PathBuf>,
}

/// One thing that is wrong, where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, or the flag.
    pub source: String,
    /// Line and column, from 1; `None` for flags.
    pub place: Option<(usize, usize)>,
    /// The key in full: `listen[0].address`.
    pub key: String,
    pub what: String,
    pub remedy: String,
}

/// All problems of one configuration, in file order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Config {
    /// Reads the sources and assembles every module's `Config`, or says everything that is wrong with them.
    pub fn load(sources: &Sources) -> Result<Self, Problems> {
        unimplemented!("{sources:?}")
    }

    /// The settings that differ from `self` in `new` and take effect only at the next start; all others change on reload.
    pub fn needs_restart(&self, new: &Self) -> Vec<&'static str> {
        unimplemented!("{new:?}")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}: {}; {}", self.key, self.what, self.remedy)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|problem| writeln!(f, "{problem}"))
    }
}

impl std::error::Error for Problems {}
