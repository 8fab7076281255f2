//! `weir demo`: an origin, a weir and an office full of simulated computers on one machine, and a report whether weir keeps its promises.
//!
//! The weir is the one of `weir serve`, built from a configuration file text; origin and computers exist only here and speak to it over loopback.

mod client;
mod content;
mod doors;
mod fleet;
mod origin;
mod report;
mod scratch;
mod shelf;

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::Path,
    str::FromStr,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    app::App,
    config::{self, Config, Flags, Sources},
    demo::{
        doors::Way,
        fleet::Fleet,
        origin::Origin,
        report::{Report, bytes},
        scratch::Scratch,
        shelf::{DOORS, PACKAGES_HOST, Shelf, UPDATE_HOST, WINDOWS_UPDATE_HOST, hex},
    },
    proxy::log::Destination,
};

/// What to show; the flags of `weir demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How many computers fetch the update
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=200))]
    pub computers: u64,
    /// How large the update is
    #[arg(long, default_value = "64 MiB", value_parser = update_size)]
    pub size: u64,
    /// Speed of the line between origin and weir, all connections together; or `unlimited`
    #[arg(long, value_name = "RATE", default_value = "100 Mbit/s")]
    pub wan: LineSpeed,
    /// Where weir listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// End after the report instead of staying up
    #[arg(long)]
    pub exit: bool,
}

/// How fast the origin's line is: a rate as in the configuration file, or `unlimited`.
#[derive(Clone, Debug)]
pub struct LineSpeed {
    text: String,
    /// `None` is no limit.
    bytes_per_second: Option<u64>,
}

impl FromStr for LineSpeed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes_per_second = match text {
            "unlimited" => None,
            rate => Some(config::parse_rate(rate)?),
        };
        if bytes_per_second == Some(0) {
            return Err("nothing would ever arrive".to_owned());
        }
        Ok(Self { text: text.to_owned(), bytes_per_second })
    }
}

/// Runs the demonstration; whether weir kept all its promises. SIGINT and SIGTERM end it at any time and leave nothing behind.
///
/// # Errors
/// When it could not be shown to its end: no origin, no weir, no terminal, or somebody interrupted it.
pub fn run(options: &Options) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("weir-demo").build()?;
    runtime.block_on(async {
        let scratch = Scratch::new().context("a directory for the demonstration")?;
        let origin = Origin::start(Shelf::new(options.size), options.wan.bytes_per_second).await.context("the origin")?;
        let (config, sources) = configuration(options, origin.address, scratch.path())?;
        let weir = App::start(config, sources).await.context("weir does not start")?;
        let kept = show(&origin, &weir, options).await;
        weir.shutdown(tokio::time::sleep(GRACE)).await;
        kept
    })
}

/// What `weir serve` would be given: an address, the origin as a WSUS server and as a server behind weir, and its address for the names that
/// clients know.
fn configuration(options: &Options, origin: SocketAddr, directory: &Path) -> Result<(Config, Sources)> {
    let flags = Flags {
        wsus: Some(format!("http://{origin}")),
        reverse: Some(format!("http://{origin}")),
        listen: vec![options.listen.to_string()],
        admin: Some("127.0.0.1:0".to_owned()),
        data: Some(directory.join("data")),
        allow: [UPDATE_HOST, WINDOWS_UPDATE_HOST, PACKAGES_HOST].map(|host| format!("{host}={origin}")).to_vec(),
        ..Flags::default()
    };
    let sources = Sources { file: None, flags };
    let mut config = Config::load(&sources)?;
    config.log.access = Destination::Nowhere;
    Ok((config, sources))
}

async fn show(origin: &Origin, weir: &App, options: &Options) -> Result<bool> {
    let address = *weir.addresses().first().context("weir listens nowhere")?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut out = io::stdout();
    say_hello(&mut out, origin, address, options)?;
    let report = tokio::select! {
        report = demonstrate(origin, address, options) => report,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("interrupted"),
    };
    writeln!(out, "{report}")?;
    if !options.exit {
        say_what_to_try(&mut out, origin, address, weir.admin_addresses())?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
    Ok(report.all_kept())
}

/// The run itself: the fleet's update, then a latecomer, then every door.
async fn demonstrate(origin: &Origin, weir: SocketAddr, options: &Options) -> Report {
    let update = &origin.shelf.update;
    let fleet = Fleet::new(weir, update.clone());
    let outcome = tokio::select! {
        outcome = fleet.update(options.computers) => outcome,
        never = report::show_progress(&fleet, options.computers, || update.sent_bytes()) => match never {},
    };
    report::end_progress();
    let mut report = Report::of(&outcome, options.size, update.sent_bytes());
    let latecomer = doors::try_latecomer(weir, update).await;
    report.promise_shown("a hit for whoever comes later: whole file, SHA-256 right, nothing over the WAN", latecomer);
    let doors = doors::try_all(weir, &origin.shelf).await;
    report.promise_shown("one cache behind every door: right bytes, a hit the second time", doors);
    report
}

fn say_hello(out: &mut impl Write, origin: &Origin, weir: SocketAddr, options: &Options) -> io::Result<()> {
    writeln!(out, "  origin     http://{}, WAN line: {}", origin.address, options.wan.text)?;
    writeln!(out, "  weir       http://{weir}")?;
    writeln!(out, "  computers  {}, each fetches an update of {}\n", options.computers, bytes(options.size))
}

/// An update has at least one byte.
fn update_size(text: &str) -> Result<u64, String> {
    match config::parse_size(text)? {
        0 => Err("there would be nothing to fetch".to_owned()),
        size => Ok(size),
    }
}

/// One line per door, for samples that nobody fetched yet.
fn say_what_to_try(out: &mut impl Write, origin: &Origin, weir: SocketAddr, admin: &[SocketAddr]) -> io::Result<()> {
    writeln!(out, "Everything stays up for you to try. Ask twice: the second answer says `Cache-Status: …; hit`.\n")?;
    for (door, file) in DOORS.into_iter().zip(&origin.shelf.samples) {
        let (digest, curl) = (hex(&file.sha256), Way::through(door, weir, file).curl);
        writeln!(out, "  # {} door, SHA-256 {digest}\n  {curl} | sha256sum", door.as_str())?;
    }
    if let Some(admin) = admin.first() {
        writeln!(out, "\nWhat weir says of itself: http://{admin}/")?;
    }
    writeln!(out, "\nCtrl-C ends it and removes what it stored.")
}

/// Nobody who matters is still reading when the demonstration ends.
const GRACE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(clap::Parser)]
    struct CommandLine {
        #[command(flatten)]
        options: Options,
    }

    fn options(flags: &[&str]) -> Result<Options, clap::Error> {
        CommandLine::try_parse_from([&["demo"], flags].concat()).map(|line| line.options)
    }

    #[test]
    fn without_flags_twenty_computers_fetch_over_a_line_that_a_branch_may_have() {
        let options = options(&[]).unwrap();
        assert_eq!((options.computers, options.size, options.exit), (20, 64 << 20, false));
        assert_eq!(options.wan.bytes_per_second, Some(12_500_000));
    }

    #[test]
    fn flags_that_could_never_be_shown_are_refused() {
        for flags in [["--size", "0 B"], ["--size", "many"], ["--wan", "0 Mbit/s"], ["--computers", "0"], ["--listen", "here"]] {
            assert!(options(&flags).is_err(), "{flags:?}");
        }
        assert_eq!(options(&["--wan", "unlimited"]).unwrap().wan.bytes_per_second, None);
    }

    /// The origin answers computers directly: it is no cache, so the demonstration must notice.
    #[tokio::test]
    async fn without_a_weir_between_them_the_promises_are_broken() {
        let options = options(&["--computers", "3", "--size", "2.25 MiB"]).unwrap();
        let origin = Origin::start(Shelf::new(options.size), None).await.unwrap();
        let report = demonstrate(&origin, origin.address, &options).await.to_string();
        assert!(report.contains("kept    right bytes: 3 of 3 computers"), "{report}");
        assert!(report.contains("BROKEN  once over the WAN: 6.8 MiB"), "{report}");
        assert!(report.contains("BROKEN  a hit for whoever comes later"), "{report}");
        assert!(report.contains("BROKEN  one cache behind every door"), "{report}");
    }
}
