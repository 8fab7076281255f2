//! The command line: arguments, what runs, exit codes.

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{Args, Parser, Subcommand};
use weir::{
    admin::{
        Pin, Purge, PurgeWhat,
        client::{self, Command, Place},
    },
    app,
    config::{self, Config, Flags, Sources},
    demo,
    listener::Certificates,
    store::{self, RealDisk},
    sys,
};

/// Faster than the system's where many threads allocate small things at once, which is what requests do.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A content-distribution caching proxy for branch offices: every update crosses the WAN once.
#[derive(Parser)]
#[command(version, max_term_width = 110, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Serve until SIGTERM, which lets what runs finish; a second one cuts it. Without a file: Microsoft's content hosts, on port 8080, data in ./weir-data
    Serve(ServeArgs),
    /// Read a configuration and list every problem, with line and column
    Check(ServeArgs),
    /// Show it all on this machine: an origin, a weir, and computers that fetch an update
    Demo(demo::Options),
    /// Say what the running weir does and what it saved
    Status {
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        at: AdminArgs,
    },
    /// Say how to point clients at the running weir: Group Policy, registry, DHCP, DNS and proxy settings, with its own addresses
    Clients {
        /// Print the settings
        #[arg(long, required = true)]
        how: bool,
        #[command(flatten)]
        at: AdminArgs,
    },
    /// Remove stored content
    Purge {
        #[command(flatten)]
        what: PurgeArgs,
        /// Only say what would go
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        at: AdminArgs,
    },
    /// Keep what is stored for a URL, whatever room is needed
    Pin {
        url: String,
        /// Let it go again
        #[arg(long)]
        undo: bool,
        #[command(flatten)]
        at: AdminArgs,
    },
    /// Let the running weir read its configuration again
    Reload {
        #[command(flatten)]
        at: AdminArgs,
    },
    /// Check a store that no weir uses: every stored byte against its checksum
    Fsck {
        /// Drop what is bad; it is fetched anew when somebody asks for it
        #[arg(long)]
        repair: bool,
        /// The configuration file that names the store
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// The data directory [default: weir-data]
        #[arg(long, value_name = "DIRECTORY")]
        data: Option<PathBuf>,
    },
    /// Say which version this is
    Version,
}

#[derive(Args)]
struct ServeArgs {
    /// Configuration file; config/weir.toml documents every key
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Send every request that no other door claims to this server
    #[arg(long, value_name = "URL")]
    reverse: Option<String>,
    /// Stand in front of this WSUS server
    #[arg(long, value_name = "URL")]
    wsus: Option<String>,
    /// Listen here, with all doors that lead somewhere, instead of where the file says; may be repeated
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Vec<String>,
    /// Administration page and metrics [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin: Option<String>,
    /// Keep everything in this directory [default: weir-data]
    #[arg(long, value_name = "DIRECTORY")]
    data: Option<PathBuf>,
    /// What content may take on disk, as in "200 GiB"
    #[arg(long)]
    size: Option<String>,
    /// Name server to ask instead of the system's; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    resolver: Vec<String>,
    /// Allow this origin too, at this address if one is given; may be repeated
    #[arg(long, value_name = "HOST[=ADDRESS:PORT]")]
    allow: Vec<String>,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct PurgeArgs {
    /// This URL, as clients ask for it
    url: Option<String>,
    /// Everything of this host or host group
    #[arg(long)]
    host: Option<String>,
    /// Everything
    #[arg(long)]
    all: bool,
}

/// Where the running weir is; by default where this configuration puts it.
#[derive(Args)]
struct AdminArgs {
    /// Its administration address, or the path of its Unix socket
    #[arg(long, value_name = "ADDRESS:PORT|PATH")]
    admin: Option<String>,
    /// Its configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Its data directory
    #[arg(long, value_name = "DIRECTORY")]
    data: Option<PathBuf>,
}

const EXIT_CODES: &str = "Exit codes: 0 done, or stopped by a signal; 1 it failed, fsck found damage, or the demonstration broke a promise; 64 \
                          wrong usage; 69 no weir answers, or the machine lacks what serve needs (a port, the data directory); 78 the \
                          configuration has problems.";
const FAILED: u8 = 1;
const USAGE: u8 = 64;
const UNAVAILABLE: u8 = 69;
const BAD_CONFIG: u8 = 78;

fn main() -> ExitCode {
    // Before there are threads, and before memory is used.
    sys::huge_pages::refuse();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(message) => {
            _ = message.print();
            return if message.use_stderr() { USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    match cli.verb {
        Verb::Serve(args) => with_config(Config::load, args.sources(), serve),
        Verb::Check(args) => with_config(Config::load, args.sources(), |config, _| check(&config)),
        Verb::Demo(args) => run_demo(&args),
        Verb::Status { json, at } => ask(at, Command::Status { json }),
        Verb::Clients { how: _, at } => ask(at, Command::Guide),
        Verb::Purge { what, dry_run, at } => ask(at, Command::Purge(Purge { what: what.what(), dry_run })),
        Verb::Pin { url, undo, at } => ask(at, Command::Pin(Pin { url, pinned: !undo })),
        Verb::Reload { at } => ask(at, Command::Reload),
        Verb::Fsck { repair, config, data } => {
            let sources = Sources { file: config, flags: Flags { data, ..Flags::default() } };
            with_config(Config::look, sources, |config, _| fsck(&config.store.directory, repair))
        }
        Verb::Version => {
            println!("weir {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
    }
}

/// Goes on with a configuration without problems; else says them all.
fn with_config(
    read: fn(&Sources) -> Result<Config, config::Problems>,
    sources: Sources,
    go_on: impl FnOnce(Config, Sources) -> ExitCode,
) -> ExitCode {
    match read(&sources) {
        Ok(config) => go_on(config, sources),
        Err(problems) => {
            eprintln!("{problems}");
            BAD_CONFIG.into()
        }
    }
}

fn serve(config: Config, sources: Sources) -> ExitCode {
    let log = match config.log.start() {
        Ok(log) => log,
        Err(error) => return failed(UNAVAILABLE, &anyhow::Error::new(error).context("log")),
    };
    match app::serve(config, sources, move || log.reopen()) {
        Ok(()) => ExitCode::SUCCESS,
        // What a check of the configuration found good may have changed since.
        Err(error) => failed(if error.is_configuration() { BAD_CONFIG } else { UNAVAILABLE }, &error.into()),
    }
}

fn check(config: &Config) -> ExitCode {
    let certificates = match Certificates::load(&config.listener.certificates) {
        Ok(certificates) => certificates,
        Err(errors) => return failed(BAD_CONFIG, &app::Error::Certificates(errors).into()),
    };
    for remark in config.remarks(&certificates.summaries()) {
        println!("{remark}");
    }
    println!("the configuration is good");
    ExitCode::SUCCESS
}

fn run_demo(options: &demo::Options) -> ExitCode {
    match demo::run(options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => finish(Err(error)),
    }
}

fn fsck(directory: &Path, repair: bool) -> ExitCode {
    let disk: Arc<dyn store::Disk> = Arc::new(RealDisk);
    let report = match store::fsck(directory, &disk, repair) {
        Ok(report) => report,
        Err(error) => return finish(Err(error.into())),
    };
    println!("{report}");
    if report.is_clean() || report.repaired { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Asks the running weir, and writes what it says.
fn ask(at: AdminArgs, command: Command) -> ExitCode {
    let place = match at.place() {
        Ok(place) => place,
        Err(problems) => {
            eprintln!("{problems}");
            return BAD_CONFIG.into();
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let asked = runtime.map_err(client::Error::Output).and_then(|runtime| {
        let mut out = io::stdout();
        runtime.block_on(client::run(&place, &command, &mut out))?;
        Ok(out.flush()?)
    });
    match asked {
        Err(error @ client::Error::Unreachable { .. }) => failed(UNAVAILABLE, &error.into()),
        other => finish(other.map_err(Into::into)),
    }
}

fn finish(result: anyhow::Result<()>) -> ExitCode {
    result.map_or_else(|error| failed(FAILED, &error), |()| ExitCode::SUCCESS)
}

/// Says an error with all its causes.
fn failed(code: u8, error: &anyhow::Error) -> ExitCode {
    eprintln!("weir: {error:#}");
    code.into()
}

impl ServeArgs {
    fn sources(self) -> Sources {
        let Self { config, reverse, wsus, listen, admin, data, size, resolver, allow } = self;
        Sources { file: config, flags: Flags { reverse, wsus, listen, admin, data, size, resolver, allow } }
    }
}

impl PurgeArgs {
    fn what(self) -> PurgeWhat {
        match (self.url, self.host) {
            (Some(url), _) => PurgeWhat::Url(url),
            (_, Some(host)) => PurgeWhat::Host(host),
            _ => PurgeWhat::All,
        }
    }
}

impl AdminArgs {
    /// The Unix socket if it is there, as it lets its owner's group do everything; else the address.
    fn place(self) -> Result<Place, config::Problems> {
        if let Some(path) = self.admin.as_ref().filter(|admin| admin.contains('/')) {
            return Ok(Place::Socket(path.into()));
        }
        let is_given = self.admin.is_some();
        let flags = Flags { admin: self.admin, data: self.data, ..Flags::default() };
        let admin = Config::look(&Sources { file: self.config, flags })?.admin;
        let socket = admin.socket.filter(|socket| !is_given && socket.exists());
        let address = admin.listen.first().copied();
        Ok(match (socket, address) {
            (Some(socket), _) => Place::Socket(socket),
            (None, address) => Place::Tcp(address.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8081)))),
        })
    }
}
