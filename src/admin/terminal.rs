//! The figures for a terminal: plain text, 100 columns, no colours, so that it can be mailed and searched.

use std::io::{self, Write};

use crate::admin::{
    Counted, Pin, Pinned, Purged, Readiness, Status,
    human::{Bytes, Count, Share, Span},
    status::ratio,
};

/// Lines shown of a list that may be long.
const LINES_MAX: usize = 10;

pub(super) fn status(status: &Status, out: &mut dyn Write) -> io::Result<()> {
    let readiness = match status.readiness {
        Readiness::Ready => "serving",
        Readiness::Starting => "starting",
        Readiness::Draining => "draining",
    };
    writeln!(out, "weir {}  {}  {readiness}, up {}", status.version, clean(&status.node), Span(status.uptime_seconds))?;
    if let Some(reason) = &status.store.degraded {
        writeln!(out, "NOTHING IS BEING STORED: {}", clean(reason))?;
    }
    for warning in &status.warnings {
        writeln!(out, "! {}", clean(warning))?;
    }
    let traffic = &status.traffic;
    writeln!(out)?;
    writeln!(out, "saved      {:>12}  of {} sent to clients", Bytes(traffic.saved_bytes()), Bytes(traffic.content_bytes))?;
    writeln!(out, "hit ratio  {:>12}  by bytes", Share(traffic.hit_ratio()))?;
    writeln!(out, "WAN        {:>12}  and {} of service calls", Bytes(traffic.wan_bytes), Bytes(traffic.relayed_bytes))?;
    writeln!(out, "requests   {:>12}  {} connections open", Count(traffic.requests), Count(status.connections))?;
    let store = &status.store;
    let used = Share(ratio(store.used_bytes, store.limit_bytes));
    writeln!(
        out,
        "store      {:>12}  of {} ({used}), {} objects",
        Bytes(store.used_bytes),
        Bytes(store.limit_bytes),
        Count(store.objects)
    )?;
    fills(status, out)?;
    upstreams(status, out)?;
    counts("requests", &status.verdicts, out)?;
    counts("refusals", &status.refusals, out)?;
    counts("errors", &status.errors, out)
}

fn fills(status: &Status, out: &mut dyn Write) -> io::Result<()> {
    if status.fills.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nbeing filled")?;
    for fill in status.fills.iter().take(LINES_MAX) {
        let progress = match fill.len {
            Some(len) => Share(ratio(fill.present_bytes, len)).to_string(),
            None => Bytes(fill.present_bytes).to_string(),
        };
        let rate = Bytes(fill.bytes_per_second).to_string();
        writeln!(out, "  {progress:>9}  {rate:>10}/s  {:>3} readers  {}", fill.readers, tail(&clean(&fill.name), 60))?;
    }
    let more = status.fills_running.saturating_sub(status.fills.len().min(LINES_MAX) as u64);
    if more > 0 {
        writeln!(out, "  and {} more", Count(more))?;
    }
    Ok(())
}

fn upstreams(status: &Status, out: &mut dyn Write) -> io::Result<()> {
    if status.upstreams.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nupstreams")?;
    for of in &status.upstreams {
        let upstream = &of.upstream;
        let state = if upstream.healthy { "healthy" } else { "EJECTED" };
        let latency = upstream.latency_ms.map_or_else(|| "–".into(), |latency| format!("{latency:.0} ms"));
        let name = clean(&upstream.name);
        let url = if upstream.url.is_empty() { "all other origins".into() } else { clean(&upstream.url) };
        writeln!(out, "  {name:<16} {state:<8} {latency:>8}  {:>10} received  {url}", Bytes(of.received_bytes))?;
        if let Some(error) = upstream.last_error.as_deref().filter(|_| !upstream.healthy) {
            writeln!(out, "  {:16} {}", "", clean(error))?;
        }
    }
    Ok(())
}

fn counts(title: &str, counts: &[Counted], out: &mut dyn Write) -> io::Result<()> {
    if counts.is_empty() {
        return Ok(());
    }
    let words: Vec<_> =
        counts.iter().take(LINES_MAX).map(|counted| format!("{} {}", clean(&counted.word), Count(counted.count))).collect();
    writeln!(out, "\n{title}\n  {}", words.join("  "))
}

pub(super) fn purged(purged: &Purged, out: &mut dyn Write) -> io::Result<()> {
    let verb = if purged.dry_run { "would remove" } else { "removed" };
    writeln!(out, "{verb} {} stored responses, {} contents, {}", Count(purged.objects), Count(purged.blobs), Bytes(purged.bytes))
}

pub(super) fn pinned(pin: &Pin, pinned: &Pinned, out: &mut dyn Write) -> io::Result<()> {
    let state = if pin.pinned { "pinned: never evicted" } else { "not pinned: may be evicted" };
    writeln!(out, "{} contents ({}) {state}", Count(pinned.blobs), Bytes(pinned.bytes))
}

/// Text that came from elsewhere, without what a terminal would obey.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The end of a name says more than its beginning.
fn tail(text: &str, chars_max: usize) -> String {
    let chars = text.chars().count();
    if chars <= chars_max {
        return text.into();
    }
    std::iter::once('…').chain(text.chars().skip(chars + 1 - chars_max)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_would_obey_gets_through() {
        assert_eq!(clean("a\u{1b}[2Jb\r\nc\u{9b}d"), "a\u{fffd}[2Jb\u{fffd}\u{fffd}c\u{fffd}d");
    }

    #[test]
    fn of_a_long_name_the_end_is_shown() {
        assert_eq!((tail("abc", 3).as_str(), tail("äbcd", 3).as_str(), tail("", 3).as_str()), ("abc", "…cd", ""));
    }
}
