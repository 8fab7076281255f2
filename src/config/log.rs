//! `[log]`: where weir says what it does, and the start of `tracing`.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tracing_subscriber::{EnvFilter, filter::LevelFilter, fmt::MakeWriter};

use crate::{
    config::{problem::At, read::Section},
    proxy::log::Destination,
};

/// Where weir says what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub access: Destination,
    /// What operators are told, as `tracing_subscriber::EnvFilter` reads it: `info`, `weir=debug`.
    pub level: String,
    /// JSON lines instead of text.
    pub json: bool,
    /// In place of standard error; opened anew on SIGUSR1.
    pub file: Option<PathBuf>,
}

impl Default for Log {
    fn default() -> Self {
        Self { access: Destination::default(), level: "info".to_owned(), json: false, file: None }
    }
}

pub(super) fn read(section: Section<'_>, log: &mut Log) {
    if let Some(access) = section.file_or("access", &["stdout", "off"]) {
        log.access = match access.value {
            Ok(file) => Destination::File(file),
            Err(word) if word == "off" => Destination::Nowhere,
            Err(_) => Destination::Stdout,
        };
    }
    if let Some(level) = section.get::<String>("level") {
        check_level(&section, &level);
        log.level = level.value;
    }
    if let Some(format) = section.get::<String>("format") {
        if !matches!(&*format.value, "text" | "json") {
            section.complain(&format.place, format!("{:?} is no format", format.value), "write \"text\" or \"json\"");
        }
        log.json = format.value == "json";
    }
    log.file = section.file_or("file", &["stderr"]).and_then(|at| at.value.ok());
    section.finish();
}

fn check_level(section: &Section<'_>, level: &At<String>) {
    // A word alone would be taken for the name of a part, and a mistyped level would silence everything else.
    let mistyped = level.value.split(',').map(str::trim).find(|word| !word.contains('=') && word.parse::<LevelFilter>().is_err());
    let problem = match (mistyped, EnvFilter::builder().parse(&level.value)) {
        (Some(word), _) => format!("{word:?} is no level"),
        (None, Err(error)) => error.to_string(),
        (None, Ok(_)) => return,
    };
    section.complain(&level.place, problem, "write error, warn, info, debug or trace, or weir::part=level");
}

/// What `tracing` writes to; keeps nothing but the file.
#[derive(Clone, Debug)]
pub struct Logging {
    path: Option<PathBuf>,
    file: Arc<Mutex<Option<File>>>,
}

impl Log {
    /// Starts `tracing` for the whole process. `RUST_LOG` stands above `level`.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn start(&self) -> io::Result<Logging> {
        let file = self.file.as_deref().map(append).transpose()?;
        let logging = Logging { path: self.file.clone(), file: Arc::new(Mutex::new(file)) };
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(&self.level));
        let is_terminal = self.file.is_none() && io::IsTerminal::is_terminal(&io::stderr());
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(logging.clone()).with_ansi(is_terminal);
        // A second start (tests in one process) leaves the first one in place.
        let started = if self.json { builder.json().try_init() } else { builder.with_target(false).try_init() };
        if let Err(error) = started {
            tracing::debug!(%error, "log was started already");
        }
        Ok(logging)
    }
}

impl Logging {
    /// Opens the file anew, after it was moved away. On an error the old one stays in use.
    pub fn reopen(&self) {
        let Some(path) = &self.path else { return };
        match append(path) {
            Ok(new) => *self.file.lock().unwrap_or_else(PoisonError::into_inner) = Some(new),
            Err(error) => tracing::error!(path = %path.display(), %error, "log not opened anew"),
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

impl<'a> MakeWriter<'a> for Logging {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

impl Write for &Logging {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *self.file.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(file) => file.write(bytes),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
