//! The computers that were seen, on the page.

use std::fmt::{self, Write};

use crate::{
    admin::{
        Status,
        human::{Count, Span},
        page::{TABLE_END, Text, table_head},
    },
    census::Seen,
};

/// Nothing without computers: most of those who look have no WSUS server behind weir.
pub(super) fn write(status: &Status, html: &mut String) -> fmt::Result {
    if status.computers.is_empty() {
        return Ok(());
    }
    html.push_str("<section aria-labelledby=\"computers\"><h2 id=\"computers\">Computers</h2>\n");
    html.push_str("<p class=\"remark\">What they said of themselves to their update server, seen in passing.</p>\n");
    let columns = ["Computer", "Address", "System", "Last contact", "Downloads", "Installations", "Last error"];
    table_head(html, "The last ones seen", &columns)?;
    status.computers.iter().try_for_each(|computer| row(computer, status.now, html))?;
    html.push_str(TABLE_END);
    let more = status.computers_known.saturating_sub(status.computers.len() as u64);
    if more > 0 {
        write!(html, "<p class=\"empty\">and {} more: <a href=\"/api/v1/clients?limit=1000\">JSON</a></p>", Count(more))?;
    }
    html.push_str("</section>\n");
    Ok(())
}

fn row(computer: &Seen, now: u64, html: &mut String) -> fmt::Result {
    let or_dash = |text: &Option<Box<str>>| text.clone().unwrap_or_else(|| "–".into());
    let name = computer.name.as_deref().unwrap_or(&computer.id);
    write!(
        html,
        "<tr><th scope=\"row\" class=\"name\" title=\"{}\">{}</th><td>{}</td><td>{}",
        Text(&computer.id),
        Text(name),
        Text(&or_dash(&computer.address)),
        Text(&or_dash(&computer.os)),
    )?;
    if let Some(build) = &computer.build {
        write!(html, "<br><span class=\"remark\">{}</span>", Text(build))?;
    }
    write!(html, "</td><td>{} ago</td>", Span(now.saturating_sub(computer.last_seen)))?;
    outcomes(computer.downloads, computer.downloads_failed, html)?;
    outcomes(computer.installs, computer.installs_failed, html)?;
    match &computer.last_error {
        Some(error) => {
            let ago = Span(now.saturating_sub(computer.last_error_seen.unwrap_or(now)));
            write!(html, "<td>{}<br><span class=\"remark\">{ago} ago</span></td></tr>", Text(error))
        }
        None => write!(html, "<td>–</td></tr>"),
    }
}

fn outcomes(good: u64, failed: u64, html: &mut String) -> fmt::Result {
    write!(html, "<td>{}", Count(good))?;
    if failed > 0 {
        write!(html, "<br><span class=\"state bad\">{} failed</span>", Count(failed))?;
    }
    html.push_str("</td>");
    Ok(())
}
