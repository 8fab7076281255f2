//! What the demonstration shows: progress while it runs, and at the end what was promised, with the figures that prove or disprove it.

use std::{
    convert::Infallible,
    fmt,
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use crate::demo::fleet::{Fleet, Outcome};

/// What the run came to.
#[derive(Debug, Default)]
pub(super) struct Report {
    figures: Vec<String>,
    promises: Vec<Promise>,
}

#[derive(Debug)]
struct Promise {
    kept: bool,
    text: String,
}

impl Report {
    /// Judges the fleet's run: `size` is the length of the update, `wan_bytes` what its origin sent.
    pub(super) fn of(outcome: &Outcome, size: u64, wan_bytes: u64) -> Self {
        let (lan, seconds) = (outcome.lan_bytes, outcome.took.as_secs_f64().max(0.001));
        let saved = 100.0 * (1.0 - wan_bytes as f64 / lan.max(1) as f64);
        let updated = outcome.computers - outcome.failures.len() as u64;
        let mut report = Self::default();
        report.figures.push(format!("LAN    {:>10}   to {} computers", bytes(lan), outcome.computers));
        report.figures.push(format!("WAN    {:>10}   from the origin", bytes(wan_bytes)));
        report.figures.push(format!("saved  {saved:>8.1} %"));
        report.figures.push(format!("time   {seconds:>8.1} s   {}/s on the LAN side", bytes((lan as f64 / seconds) as u64)));
        report.promise(
            outcome.failures.is_empty(),
            format!("right bytes: {updated} of {} computers have the update, every piece's SHA-256 compared", outcome.computers),
        );
        report.figures.extend(outcome.failures.iter().take(FAILURES_SHOWN).cloned());
        report.promise(
            wan_bytes as f64 <= size as f64 * WAN_FACTOR_MAX,
            format!("once over the WAN: {} for an update of {}", bytes(wan_bytes), bytes(size)),
        );
        report
    }

    pub(super) fn promise(&mut self, kept: bool, text: String) {
        self.promises.push(Promise { kept, text });
    }

    /// A promise that a trial proves; its error says what went wrong.
    pub(super) fn promise_shown(&mut self, promise: &str, trial: anyhow::Result<()>) {
        match trial {
            Ok(()) => self.promise(true, promise.to_owned()),
            Err(error) => self.promise(false, format!("{promise}: {error:#}")),
        }
    }

    pub(super) fn all_kept(&self) -> bool {
        self.promises.iter().all(|promise| promise.kept)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.figures.iter().try_for_each(|figure| writeln!(f, "  {figure}"))?;
        writeln!(f)?;
        self.promises.iter().try_for_each(|promise| {
            let verdict = if promise.kept { "kept  " } else { "BROKEN" };
            writeln!(f, "  {verdict}  {}", promise.text)
        })
    }
}

/// Shows how far the fleet is until it is dropped: one line that changes on a terminal, a line every two seconds elsewhere.
pub(super) async fn show_progress(fleet: &Fleet, computers: u64, wan_bytes: impl Fn() -> u64) -> Infallible {
    let terminal = io::stdout().is_terminal();
    let (interval, start, end) =
        if terminal { (Duration::from_millis(200), "\r", "\x1b[K") } else { (Duration::from_secs(2), "", "\n") };
    let begun = Instant::now();
    loop {
        tokio::time::sleep(interval).await;
        let mut out = io::stdout().lock();
        // Nobody looks any more: the run and its exit code still count.
        let _ = write!(
            out,
            "{start}  {:5.1} s   {:>3} of {computers} computers done   LAN {:>10}   WAN {:>10}{end}",
            begun.elapsed().as_secs_f64(),
            fleet.finished(),
            bytes(fleet.lan_bytes()),
            bytes(wan_bytes()),
        );
        let _ = out.flush();
    }
}

/// Ends the line that `show_progress` left on a terminal.
pub(super) fn end_progress() {
    if io::stdout().is_terminal() {
        let _ = write!(io::stdout(), "\r\x1b[K");
    }
}

/// `count` bytes as people write them.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let (mut value, mut unit) = (count as f64 / 1024.0, 0);
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// 1 % over the size of the update: a piece asked for twice after a retry, no more.
const WAN_FACTOR_MAX: f64 = 1.01;
const FAILURES_SHOWN: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn outcome(failures: Vec<String>) -> Outcome {
        Outcome { computers: 20, lan_bytes: 20 * 64 * MIB, took: Duration::from_secs(4), failures }
    }

    #[test]
    fn an_update_that_crossed_the_wan_once_keeps_the_promises() {
        let report = Report::of(&outcome(vec![]), 64 * MIB, 64 * MIB);
        assert!(report.all_kept());
        assert!(report.to_string().contains("saved      95.0 %"), "{report}");
    }

    #[test]
    fn a_second_crossing_breaks_a_promise() {
        assert!(!Report::of(&outcome(vec![]), 64 * MIB, 65 * MIB).all_kept());
    }

    #[test]
    fn a_computer_without_its_update_breaks_a_promise_and_is_named() {
        let report = Report::of(&outcome(vec!["computer 3: piece 1: wrong bytes".into()]), 64 * MIB, 64 * MIB);
        assert!(!report.all_kept());
        assert!(report.to_string().contains("computer 3"), "{report}");
        assert!(report.to_string().contains("19 of 20"), "{report}");
    }

    #[test]
    fn a_failed_trial_says_why() {
        let mut report = Report::default();
        report.promise_shown("a hit", Err(anyhow::anyhow!("it was a miss")));
        assert!(report.to_string().contains("BROKEN  a hit: it was a miss"), "{report}");
    }

    #[test]
    fn bytes_are_written_as_people_write_them() {
        let written = [0, 1023, 1024, MIB - 1, MIB, 1280 * MIB].map(bytes);
        assert_eq!(written, ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "1.0 MiB", "1.2 GiB"]);
    }
}
