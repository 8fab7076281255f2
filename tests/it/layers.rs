//! The module map of ARCHITECTURE.md, kept true: a module may only name modules below it.

use std::{collections::BTreeSet, fs, path::Path};

/// Lowest first. Each line: the module, then every module it may name.
#[rustfmt::skip]
const LAYERS: &[(&str, &str)] = &[
    ("sys", ""), ("metrics", ""), ("key", ""), ("digest", ""), ("piece", ""), ("rate", ""),
    ("semantics", "piece"),
    ("object", "key digest"),
    ("wsus", "digest"),
    ("census", "metrics wsus"),
    ("classify", "key digest semantics wsus"),
    ("store", "sys metrics key digest piece object"),
    ("upstream", "sys metrics key rate semantics"),
    ("transmit", "sys metrics"),
    ("catalog", "metrics digest wsus store"),
    ("cache", "sys metrics key digest piece semantics object store upstream catalog transmit"),
    ("proxy", "sys metrics key digest piece semantics object wsus classify upstream catalog census cache transmit"),
    ("jobs", "metrics key digest piece object store upstream catalog cache"),
    ("listener", "sys metrics key rate classify transmit proxy"),
    ("admin", "metrics key digest object census classify store upstream catalog cache jobs"),
    ("config", "sys metrics key semantics census store upstream catalog classify cache proxy jobs listener admin transmit"),
    ("app", "metrics key object sys census store upstream catalog classify cache proxy jobs listener admin config"),
    ("demo", "metrics key digest piece classify proxy config app"),
];

#[test]
fn modules_name_only_modules_below_them() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for entry in fs::read_dir(&src).unwrap() {
        let path = entry.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap();
        if matches!(module, "lib" | "main") {
            continue;
        }
        let Some((_, below)) = LAYERS.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("{module} is not in LAYERS"));
            continue;
        };
        for named in named_modules(&path) {
            if named != module && !below.split(' ').any(|b| b == named) {
                wrong.push(format!("{module} names {named}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Every `x` that the files under `path` name as `crate::x` or inside `crate::{…}`.
fn named_modules(path: &Path) -> BTreeSet<String> {
    if path.is_dir() {
        let entries = fs::read_dir(path).unwrap();
        return entries.flat_map(|e| named_modules(&e.unwrap().path())).collect();
    }
    let text = fs::read_to_string(path).unwrap_or_default();
    let code: String = text.lines().map(|line| line.split("//").next().unwrap()).collect();
    let mut named = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(group) => named.extend(heads(group)),
            None => named.extend(ident(rest)),
        }
    }
    named
}

/// The first name of each item of an import group, nested groups skipped.
fn heads(group: &str) -> Vec<String> {
    let (mut depth, mut item, mut found) = (1, String::new(), Vec::new());
    for c in group.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if depth == 0 || (depth == 1 && c == ',') {
            found.extend(ident(&item));
            item.clear();
        } else {
            item.push(c);
        }
        if depth == 0 {
            break;
        }
    }
    found
}

fn ident(text: &str) -> Option<String> {
    let name = text.trim_start().split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    (!name.is_empty()).then(|| name.to_owned())
}
