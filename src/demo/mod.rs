//! `weir demo`: an origin, a weir and an office full of simulated computers on one machine, and a report whether weir keeps its promises.
//!
//! The weir is the one of `weir serve`, built from a configuration file text; origin and computers exist only here and speak to it over loopback.

mod client;
mod content;
mod doors;
mod fleet;
mod origin;
mod report;
mod shelf;

use std::{
    io::{self, Write},
    net::SocketAddr,
};

use crate::demo::{
    doors::Way,
    fleet::Fleet,
    origin::Origin,
    report::{Report, bytes},
    shelf::DOORS,
};

/// What to show.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many computers fetch the update.
    pub computers: usize,
    /// Length of the update in bytes.
    pub size: u64,
    /// Speed of the line between origin and weir in Mbit/s; 0 is no limit.
    pub wan: u64,
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
    let line = if options.wan == 0 { "an unlimited line".to_owned() } else { format!("a line of {} Mbit/s", options.wan) };
    writeln!(out, "  origin     http://{}  behind {line}", origin.address)?;
    writeln!(out, "  weir       http://{weir}")?;
    writeln!(out, "  computers  {} of them, each fetches an update of {}\n", options.computers, bytes(options.size))
}

/// One line per door, for samples that nobody fetched yet.
fn say_what_to_try(out: &mut impl Write, origin: &Origin, weir: SocketAddr) -> io::Result<()> {
    writeln!(out, "Everything stays up for you to try. Ask twice: the second answer says `Cache-Status: …; hit`.\n")?;
    for (door, file) in DOORS.into_iter().zip(&origin.shelf.samples) {
        writeln!(out, "  # {}\n  {}", format!("{door:?} door").to_lowercase(), Way::through(door, weir, file).curl)?;
    }
    writeln!(out, "\nCtrl-C ends it and removes what it stored.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::shelf::Shelf;

    const OPTIONS: Options = Options { computers: 3, size: (2 << 20) + 7, wan: 0 };

    /// The origin answers computers directly: it is no cache, so the demonstration must notice.
    #[tokio::test]
    async fn without_a_weir_between_them_the_promises_are_broken() {
        let origin = Origin::start(Shelf::new(OPTIONS.size), 0).await.unwrap();
        let report = demonstrate(&origin, origin.address, &OPTIONS).await.to_string();
        assert!(report.contains("kept    right bytes: 3 of 3 computers"), "{report}");
        assert!(report.contains("BROKEN  once over the WAN: 6.0 MiB"), "{report}");
        assert!(report.contains("BROKEN  a hit for whoever comes later"), "{report}");
        assert!(report.contains("BROKEN  one cache behind every door"), "{report}");
    }
}
