//! What is known, in a file: one fact a line, as JSON. A line that cannot be read is passed over.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    path::Path,
};

use serde_json::{Value, json};

use super::{Claim, Described, Known};
use crate::{
    digest::Digest,
    wsus::{Fact, File, Identity, Location, Update},
};

/// What a line says.
pub(super) enum Line<'a> {
    /// A fact; of a location with the text of its key.
    Fact(&'a Fact, Option<&'a str>),
    /// That who said it contradicted himself about the file, or the place.
    ContradictsFile(Digest),
    ContradictsPlace(&'a str),
}

/// Tells `learn` of every line in the file: who said it, and what.
pub(super) fn load(path: &Path, mut learn: impl FnMut(&str, Line<'_>)) {
    let Ok(file) = fs::File::open(path) else { return };
    for line in BufReader::new(file.take(LEN_MAX)).lines().map_while(Result::ok) {
        let Ok(value) = serde_json::from_str::<Value>(&line) else { continue };
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let Some(upstream) = text("by") else { continue };
        if value.get("contradicts").is_some() {
            match (text("place"), text("sha1").and_then(Digest::from_hex)) {
                (Some(place), _) => learn(upstream, Line::ContradictsPlace(place)),
                (None, Some(sha1)) => learn(upstream, Line::ContradictsFile(sha1)),
                (None, None) => {}
            }
        } else if let Some(fact) = fact(&value, &text) {
            learn(upstream, Line::Fact(&fact, text("place")));
        }
    }
}

fn fact<'a>(value: &'a Value, text: &impl Fn(&str) -> Option<&'a str>) -> Option<Fact> {
    let digest = |name: &str| text(name).and_then(Digest::from_hex);
    let number = value.get("number").and_then(Value::as_i64);
    if text("place").is_some() {
        return Some(Fact::Location(Location { digest: digest("sha1")?, url: Box::default() }));
    }
    if let Some(name) = text("file") {
        let size = value.get("size").and_then(Value::as_u64);
        return Some(Fact::File {
            number,
            file: File { name: name.into(), size, sha1: digest("sha1"), sha256: digest("sha256") },
        });
    }
    let revision = value.get("revision").and_then(Value::as_u64).and_then(|revision| revision.try_into().ok());
    let identity = text("update").and_then(|id| id.parse().ok()).zip(revision).map(|(id, revision)| Identity { id, revision });
    let update =
        Update { identity, title: text("title").map(Into::into), article: text("article").map(Into::into), ..Update::default() };
    Some(Fact::Update { number: Some(number?), update })
}

/// One line for each fact, those learnt first first.
pub(super) fn lines(known: &Known) -> Vec<u8> {
    let mut lines: Vec<(u64, Value)> = Vec::new();
    for ((by, number), (age, entry)) in &known.updates.entries {
        let identity = entry.identity;
        lines.push((
            *age,
            json!({
                "by": by, "number": number, "title": entry.title, "article": entry.article,
                "update": identity.map(|identity| identity.id.to_string()), "revision": identity.map(|identity| identity.revision),
            }),
        ));
    }
    for (sha1, (age, claims)) in &known.files.entries {
        let line = |by: &str, claim: &Claim<Described>| match claim {
            Claim::Says(file) => {
                let sha256 = file.sha256.as_ref().map(hex);
                json!({ "by": by, "file": file.name, "size": file.size, "sha1": hex(sha1), "sha256": sha256 })
            }
            Claim::Contradicts => json!({ "by": by, "sha1": hex(sha1), "contradicts": true }),
        };
        lines.extend(claims.iter().map(|(by, claim)| (*age, line(by, claim))));
    }
    for (place, (age, claims)) in &known.places.entries {
        let line = |by: &str, claim: &Claim<Digest>| match claim {
            Claim::Says(sha1) => json!({ "by": by, "place": place, "sha1": hex(sha1) }),
            Claim::Contradicts => json!({ "by": by, "place": place, "contradicts": true }),
        };
        lines.extend(claims.iter().map(|(by, claim)| (*age, line(by, claim))));
    }
    lines.sort_by_key(|(age, _)| *age);
    lines.into_iter().flat_map(|(_, line)| format!("{line}\n").into_bytes()).collect()
}

fn hex(digest: &Digest) -> String {
    digest.bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// In one step, so that a kill leaves the old or the new.
pub(super) fn save(path: &Path, lines: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = fs::File::create(&new)?;
    file.write_all(lines)?;
    file.sync_data()?;
    fs::rename(&new, path)
}

/// Several times what the bounds of a catalog allow.
const LEN_MAX: u64 = 256 << 20;
