//! "How to point clients here", on the page.

use std::fmt::{self, Write};

use crate::admin::{
    Status,
    guide::{self, Part},
    page::Text,
};

pub(super) fn write(status: &Status, html: &mut String) -> fmt::Result {
    html.push_str(
        "<section id=\"guide\" aria-labelledby=\"guide-title\"><h2 id=\"guide-title\">How to point clients here</h2>\n",
    );
    if status.listening.is_empty() {
        html.push_str("<p class=\"empty\">weir listens nowhere yet.</p></section>\n");
        return Ok(());
    }
    html.push_str("<ul class=\"listening\">");
    for listening in &status.listening {
        write!(html, "<li>{}</li>", Text(&guide::socket(listening)))?;
    }
    html.push_str("</ul>\n");
    if let Some(remark) = guide::remark(status) {
        paragraph("", &remark, html)?;
    }
    for chapter in guide::chapters(status) {
        writeln!(html, "<h3>{}</h3>", Text(chapter.title))?;
        for part in &chapter.parts {
            match part {
                Part::Warning(text) => paragraph(" class=\"alert\"", text, html)?,
                Part::Text(text) => paragraph("", text, html)?,
                Part::Lines(lines) => writeln!(html, "<pre>{}</pre>", Text(lines))?,
            }
        }
    }
    html.push_str("</section>\n");
    Ok(())
}

/// What stands between backquotes becomes code.
fn paragraph(class: &str, text: &str, html: &mut String) -> fmt::Result {
    write!(html, "<p{class}>")?;
    for (at, stretch) in text.split('`').enumerate() {
        let (open, close) = if at % 2 == 1 { ("<code>", "</code>") } else { ("", "") };
        write!(html, "{open}{}{close}", Text(stretch))?;
    }
    html.push_str("</p>\n");
    Ok(())
}
