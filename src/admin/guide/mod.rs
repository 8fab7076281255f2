//! "How to point clients here": what to set on clients, DHCP and DNS, with this weir's own names and ports.
//!
//! The advice is made once, as [`Chapter`]s, and written twice: on the status page and by `weir clients --how`. Sources: Microsoft's
//! Delivery Optimization reference, the Connected Cache verification page, and the policy templates of Windows Update.

mod chapters;
mod way;

use std::io::{self, Write};

use crate::admin::{Listening, Status};

/// What to do on one kind of client, or with one kind of server beside it.
pub(super) struct Chapter {
    pub(super) title: &'static str,
    pub(super) parts: Vec<Part>,
}

/// Text marks what is typed or read literally with backquotes; no value that is put into it may have one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Something that keeps clients from finding this door.
    Warning(String),
    Text(String),
    /// Lines to be taken over as they are.
    Lines(String),
}

/// Stands where a name should, while nobody has told weir its own.
const PLACEHOLDER: &str = "weir.branch.example";

/// The advice for the doors that are open. Nothing, if none is.
pub(super) fn chapters(status: &Status) -> Vec<Chapter> {
    let to = |door| way::Way::to(status, door);
    let made = [
        to("delivery").map(|way| chapters::delivery(&way)),
        to("wsus").map(|way| chapters::wsus(&way)),
        to("forward").map(|way| chapters::forward(&way)),
        to("reverse").map(|way| chapters::reverse(&way)),
        to("transparent").map(|way| chapters::transparent(&way)),
        to("delivery").map(|way| chapters::proof(&way)),
    ];
    made.into_iter().flatten().collect()
}

/// One line for each socket: where it is, whether it speaks TLS, and its doors.
pub(super) fn socket(listening: &Listening) -> String {
    let tls = if listening.tls { ", TLS" } else { "" };
    format!("{}{tls}: {}", listening.address, listening.doors.join(", "))
}

/// What to put where [`PLACEHOLDER`] stands, if it stands anywhere.
pub(super) fn remark(status: &Status) -> Option<String> {
    let needed = status.reachable.is_empty();
    needed.then(|| format!("In place of `{PLACEHOLDER}` put the name or address by which clients reach this machine."))
}

/// The advice for a terminal or a mail.
pub(super) fn write(status: &Status, out: &mut dyn Write) -> io::Result<()> {
    if status.listening.is_empty() {
        return writeln!(out, "weir listens nowhere yet.");
    }
    for listening in &status.listening {
        writeln!(out, "{}", socket(listening))?;
    }
    if let Some(remark) = remark(status) {
        writeln!(out, "\n{remark}")?;
    }
    for chapter in chapters(status) {
        writeln!(out, "\n{}\n{}", chapter.title, "-".repeat(chapter.title.chars().count()))?;
        for part in &chapter.parts {
            match part {
                Part::Warning(text) => writeln!(out, "! {text}")?,
                Part::Text(text) => writeln!(out, "{text}")?,
                Part::Lines(lines) => lines.lines().try_for_each(|line| writeln!(out, "    {line}"))?,
            }
        }
    }
    Ok(())
}
