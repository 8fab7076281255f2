//! The status page, made on the server from a [`Status`]. Its style and script are files of ours; nothing is loaded from elsewhere.
//!
//! Everything that is not a constant goes through [`Text`] or is a number. Without the script the page reloads itself.

mod computers;
mod guide;

use std::fmt::{self, Display, Write};

use crate::admin::{
    Counted, Event, EventKind, Fill, Hour, Readiness, Status, UpstreamUse,
    human::{Bytes, Count, Share, Span},
    status::ratio,
};

pub(super) const STYLE: &str = include_str!("../ui/status.css");
pub(super) const SCRIPT: &str = include_str!("../ui/status.js");

/// Text that becomes HTML, safe in element content and in double-quoted attributes.
#[derive(Clone, Copy)]
struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(['<', '>', '&', '"', '\'']) {
            f.write_str(&rest[..at])?;
            f.write_str(match rest.as_bytes()[at] {
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'&' => "&amp;",
                b'"' => "&quot;",
                _ => "&#39;",
            })?;
            rest = &rest[at + 1..];
        }
        f.write_str(rest)
    }
}

/// The whole page.
pub(super) fn render(status: &Status) -> String {
    let mut html = String::with_capacity(32 * 1024);
    write_page(status, &mut html).expect("a String takes every character");
    html
}

fn write_page(status: &Status, html: &mut String) -> fmt::Result {
    html.push_str(HEAD);
    html.push_str("<div id=\"live\">");
    banner(status, html)?;
    tiles(status, html)?;
    hours(status, html)?;
    fills(status, html)?;
    upstreams(&status.upstreams, html)?;
    computers::write(status, html)?;
    store(status, html)?;
    html.push_str("<div class=\"columns\">");
    counts("Requests", "What the cache made of them, since start.", &status.verdicts, html)?;
    counts("Refusals", "By reason, since start.", &status.refusals, html)?;
    counts("Errors", "By reason, since start.", &status.errors, html)?;
    html.push_str("</div>");
    events(&status.events, status.now, html)?;
    html.push_str("</div>");
    guide::write(status, html)?;
    html.push_str(FOOT);
    Ok(())
}

const HEAD: &str = r##"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>weir</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/ui/status.css">
<script src="/ui/status.js" defer></script>
<noscript><meta http-equiv="refresh" content="15"></noscript>
</head>
<body>
<a class="skip" href="#guide">How to point clients here</a>
<header>
<h1>weir</h1>
<p class="controls"><label><input type="checkbox" id="follow" checked> update live</label> <span id="lost" role="status"></span></p>
</header>
<main>
"##;

const FOOT: &str = r#"</main>
<footer><p>The same figures: <a href="/api/status">JSON</a>, <a href="/metrics">Prometheus metrics</a>, <code>weir status</code> in a terminal.</p></footer>
</body>
</html>
"#;

fn banner(status: &Status, html: &mut String) -> fmt::Result {
    let (class, word) = match status.readiness {
        Readiness::Ready => ("good", "serving"),
        Readiness::Starting => ("warn", "starting"),
        Readiness::Draining => ("warn", "draining: nothing new is accepted"),
    };
    writeln!(
        html,
        "<p class=\"banner\"><span class=\"state {class}\">{word}</span> {} · version {} · up {}</p>",
        Text(&status.node),
        Text(&status.version),
        Span(status.uptime_seconds),
    )?;
    if let Some(reason) = &status.store.degraded {
        writeln!(
            html,
            "<p class=\"alert\" role=\"alert\">Nothing is being stored, content only passes through: {}</p>",
            Text(reason)
        )?;
    }
    status.warnings.iter().try_for_each(|warning| writeln!(html, "<p class=\"alert\">{}</p>", Text(warning)))
}

fn tiles(status: &Status, html: &mut String) -> fmt::Result {
    let traffic = &status.traffic;
    html.push_str("<section aria-label=\"At a glance\"><dl class=\"tiles\">");
    tile(html, "Saved", Bytes(traffic.saved_bytes()), format_args!("of {} sent to clients", Bytes(traffic.content_bytes)))?;
    tile(html, "Hit ratio by bytes", Share(traffic.hit_ratio()), "of the content did not cross the WAN")?;
    tile(html, "Over the WAN", Bytes(traffic.wan_bytes), format_args!("and {} of service calls", Bytes(traffic.relayed_bytes)))?;
    tile(html, "Requests", Count(traffic.requests), format_args!("{} connections open", Count(status.connections)))?;
    html.push_str("</dl></section>\n");
    Ok(())
}

fn tile(html: &mut String, name: &str, figure: impl Display, remark: impl Display) -> fmt::Result {
    write!(html, "<div class=\"tile\"><dt>{name}</dt><dd class=\"figure\">{figure}</dd><dd class=\"remark\">{remark}</dd></div>")
}

/// Two bars an hour: to clients, over the WAN. The same figures stand in a table below.
fn hours(status: &Status, html: &mut String) -> fmt::Result {
    let rows: Vec<(u64, &Hour)> = status.hours.iter().map(|hour| (hours_ago(hour, status.now), hour)).collect();
    let rows: Vec<_> = rows.into_iter().filter(|(ago, _)| *ago < SLOTS).collect();
    let highest = rows.iter().map(|(_, hour)| hour.content_bytes.max(hour.wan_bytes)).max().unwrap_or(0);
    if highest == 0 {
        return Ok(());
    }
    html.push_str("<section aria-labelledby=\"hours\"><h2 id=\"hours\">Last 24 hours</h2>\n<p class=\"legend\"><span class=\"key sent\"></span> to clients <span class=\"key wan\"></span> over the WAN</p>\n");
    write!(
        html,
        "<svg class=\"chart\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"Bytes by hour; see the table below\">",
        SLOTS * SLOT_WIDTH,
        CHART_HEIGHT + 14
    )?;
    write!(html, "<line x1=\"0\" y1=\"{CHART_HEIGHT}\" x2=\"{}\" y2=\"{CHART_HEIGHT}\"/>", SLOTS * SLOT_WIDTH)?;
    for (ago, hour) in &rows {
        let left = (SLOTS - 1 - ago) * SLOT_WIDTH;
        bar(html, "sent", left + 3, ratio(hour.content_bytes, highest))?;
        bar(html, "wan", left + 15, ratio(hour.wan_bytes, highest))?;
    }
    for ago in [0, 6, 12, 18] {
        let middle = (SLOTS - 1 - ago) * SLOT_WIDTH + SLOT_WIDTH / 2;
        let label = if ago == 0 { "now".into() } else { format!("−{ago} h") };
        write!(html, "<text x=\"{middle}\" y=\"{}\">{label}</text>", CHART_HEIGHT + 12)?;
    }
    html.push_str("</svg>\n<details id=\"hours-table\"><summary>As a table</summary>");
    table_head(html, "Bytes by hour", &["Hour", "To clients", "Over the WAN", "Hit ratio"])?;
    for (ago, hour) in rows.iter().rev() {
        let when = if *ago == 0 { "this hour".into() } else { format!("{ago} h ago") };
        let (sent, wan, share) = (Bytes(hour.content_bytes), Bytes(hour.wan_bytes), Share(hour.hit_ratio()));
        write!(html, "<tr><th scope=\"row\">{when}</th><td>{sent}</td><td>{wan}</td><td>{share}</td></tr>")?;
    }
    html.push_str(TABLE_END);
    html.push_str("</details></section>\n");
    Ok(())
}

const SLOTS: u64 = 24;
const SLOT_WIDTH: u64 = 30;
const CHART_HEIGHT: u64 = 110;

fn hours_ago(hour: &Hour, now: u64) -> u64 {
    (now / 3600).saturating_sub(hour.start / 3600)
}

fn bar(html: &mut String, class: &str, left: u64, share: Option<f64>) -> fmt::Result {
    let height = share.unwrap_or(0.0) * CHART_HEIGHT as f64;
    let top = CHART_HEIGHT as f64 - height;
    write!(html, "<rect class=\"{class}\" x=\"{left}\" y=\"{top:.1}\" width=\"11\" height=\"{height:.1}\" rx=\"1\"/>")
}

fn table_head(html: &mut String, caption: &str, columns: &[&str]) -> fmt::Result {
    write!(html, "<div class=\"scroll\"><table><caption>{caption}</caption><thead><tr>")?;
    columns.iter().try_for_each(|column| write!(html, "<th scope=\"col\">{column}</th>"))?;
    html.push_str("</tr></thead><tbody>");
    Ok(())
}

const TABLE_END: &str = "</tbody></table></div>\n";

fn fills(status: &Status, html: &mut String) -> fmt::Result {
    html.push_str("<section aria-labelledby=\"fills\"><h2 id=\"fills\">Being filled now</h2>\n");
    if status.fills.is_empty() {
        html.push_str("<p class=\"empty\">Nothing is being fetched.</p></section>\n");
        return Ok(());
    }
    table_head(html, "Fills in progress", &["Content", "From", "Progress", "Rate", "Readers", "For"])?;
    status.fills.iter().try_for_each(|fill| fill_row(fill, html))?;
    html.push_str(TABLE_END);
    let more = status.fills_running.saturating_sub(status.fills.len() as u64);
    if more > 0 {
        write!(html, "<p class=\"empty\">and {} more</p>", Count(more))?;
    }
    html.push_str("</section>\n");
    Ok(())
}

fn fill_row(fill: &Fill, html: &mut String) -> fmt::Result {
    let name = Text(&fill.name);
    write!(
        html,
        "<tr><th scope=\"row\" class=\"name\" title=\"{name}\">{name}</th><td>{}</td><td>",
        Text(fill.upstream.as_deref().unwrap_or("–"))
    )?;
    match fill.len {
        Some(len) => write!(
            html,
            "<progress max=\"{len}\" value=\"{}\" aria-label=\"{}\"></progress> {} of {}",
            fill.present_bytes.min(len),
            Share(ratio(fill.present_bytes, len)),
            Bytes(fill.present_bytes),
            Bytes(len),
        )?,
        None => write!(html, "{} of unknown length", Bytes(fill.present_bytes))?,
    }
    write!(
        html,
        "</td><td>{}/s</td><td>{}</td><td>{}</td></tr>",
        Bytes(fill.bytes_per_second),
        fill.readers,
        Span(fill.running_seconds)
    )
}

fn upstreams(upstreams: &[UpstreamUse], html: &mut String) -> fmt::Result {
    html.push_str("<section aria-labelledby=\"upstreams\"><h2 id=\"upstreams\">Upstreams</h2>\n");
    if upstreams.is_empty() {
        html.push_str("<p class=\"empty\">None is configured; content comes from the built-in origins.</p></section>\n");
        return Ok(());
    }
    table_head(
        html,
        "Upstreams and their health",
        &["Name", "Kind", "Address", "State", "Latency", "Received", "Errors", "Connections"],
    )?;
    upstreams.iter().try_for_each(|upstream| upstream_row(upstream, html))?;
    html.push_str(TABLE_END);
    html.push_str("</section>\n");
    Ok(())
}

fn upstream_row(of: &UpstreamUse, html: &mut String) -> fmt::Result {
    let upstream = &of.upstream;
    let (class, word) = if upstream.healthy { ("good", "healthy") } else { ("bad", "ejected") };
    write!(
        html,
        "<tr><th scope=\"row\">{}</th><td>{}</td><td class=\"name\">{}</td><td><span class=\"state {class}\">{word}</span>",
        Text(&upstream.name),
        Text(&upstream.kind),
        Text(if upstream.url.is_empty() { "all other origins" } else { &upstream.url }),
    )?;
    if let Some(since) = upstream.since_seconds {
        write!(html, " for {}", Span(since))?;
    }
    if let Some(error) = upstream.last_error.as_deref().filter(|_| !upstream.healthy) {
        write!(html, "<br><span class=\"remark\">{}</span>", Text(error))?;
    }
    match upstream.latency_ms {
        Some(latency) => write!(html, "</td><td>{latency:.0} ms</td>")?,
        None => html.push_str("</td><td>–</td>"),
    }
    write!(html, "<td>{}</td><td>{}</td><td>{}</td></tr>", Bytes(of.received_bytes), Count(of.errors), upstream.connections)
}

fn store(status: &Status, html: &mut String) -> fmt::Result {
    let store = &status.store;
    let used = Share(ratio(store.used_bytes, store.limit_bytes));
    writeln!(
        html,
        "<section aria-labelledby=\"store\"><h2 id=\"store\">Store</h2>\n\
         <p><progress class=\"wide\" max=\"{}\" value=\"{}\" aria-label=\"{used}\"></progress> {} of {} used ({used}), {} free on the file system</p>\n\
         <p>{} stored responses in <code>{}</code>. {} contents ({}) were evicted to make room since start.</p>",
        store.limit_bytes.max(1),
        store.used_bytes.min(store.limit_bytes),
        Bytes(store.used_bytes),
        Bytes(store.limit_bytes),
        Bytes(store.free_bytes),
        Count(store.objects),
        Text(&store.directory),
        Count(store.evictions),
        Bytes(store.evicted_bytes),
    )?;
    if store.mismatched > 0 {
        writeln!(
            html,
            "<p class=\"alert\">{} contents did not match their digest since start; {} of them were put into quarantine.</p>",
            Count(store.mismatched),
            Count(store.quarantined),
        )?;
    }
    html.push_str("</section>\n");
    Ok(())
}

fn counts(title: &str, caption: &str, counts: &[Counted], html: &mut String) -> fmt::Result {
    write!(html, "<section><h2>{title}</h2>")?;
    if counts.is_empty() {
        html.push_str("<p class=\"empty\">None.</p></section>\n");
        return Ok(());
    }
    write!(html, "<table><caption>{caption}</caption><tbody>")?;
    for counted in counts {
        write!(html, "<tr><th scope=\"row\">{}</th><td>{}</td></tr>", Text(&counted.word), Count(counted.count))?;
    }
    html.push_str("</tbody></table></section>\n");
    Ok(())
}

/// More are in the JSON, and all in the access log.
const EVENTS_SHOWN: usize = 20;

fn events(events: &[Event], now: u64, html: &mut String) -> fmt::Result {
    if events.is_empty() {
        return Ok(());
    }
    html.push_str("<section aria-labelledby=\"events\"><h2 id=\"events\">Recent refusals and errors</h2>\n");
    table_head(html, "Newest first", &["When", "What", "Client", "Request", "Status", "Reason"])?;
    for event in events.iter().take(EVENTS_SHOWN) {
        let (class, kind) = match event.kind {
            EventKind::Refusal => ("warn", "refused"),
            EventKind::Error => ("bad", "error"),
        };
        let ago = Span(now.saturating_sub(event.at_ms / 1000));
        write!(
            html,
            "<tr><td>{ago} ago</td><td><span class=\"state {class}\">{kind}</span></td><td>{}</td>",
            Text(&event.client)
        )?;
        let what = Text(&event.what);
        write!(html, "<td class=\"name\" title=\"{what}\">{what}</td><td>{}</td><td>{}", event.status, Text(&event.reason))?;
        if let Some(detail) = &event.detail {
            write!(html, "<br><span class=\"remark\">{}</span>", Text(detail))?;
        }
        html.push_str("</td></tr>");
    }
    html.push_str(TABLE_END);
    html.push_str("</section>\n");
    Ok(())
}
