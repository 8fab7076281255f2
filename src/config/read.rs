//! Reading TOML tables key by key, so that every key is known, typed and placed.

use std::{
    cell::RefCell,
    ops::Range,
    path::{Path, PathBuf},
};

use toml_edit::{Item, TableLike, Value};

use crate::config::problem::{At, Complaints, Place};

/// A type of value that a key can have.
pub(super) trait Setting: Sized {
    /// What to write instead of something wrong.
    const REMEDY: &'static str;

    fn read(value: &Value) -> Result<Self, Vec<Wrong>>;
}

/// Why a value is not of the type wanted; `span` is the part of it that is wrong.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) span: Option<Range<usize>>,
    pub(super) what: String,
}

/// One table of the file. A table that is not there reads as empty.
pub(super) struct Section<'a> {
    complaints: &'a Complaints<'a>,
    /// Directory that relative paths in the file start from.
    base: Option<&'a Path>,
    /// The key in full, empty for the file itself.
    path: String,
    table: Option<&'a dyn TableLike>,
    span: Range<usize>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    pub(super) fn root(complaints: &'a Complaints<'a>, base: Option<&'a Path>, table: &'a dyn TableLike) -> Self {
        Self { complaints, base, path: String::new(), table: Some(table), span: 0..0, asked: RefCell::default() }
    }

    /// The value of a key, if it is there and well-formed.
    pub(super) fn get<T: Setting>(&self, key: &'static str) -> Option<At<T>> {
        let item = self.item(key)?;
        let place = self.place(key, item.span());
        self.complaints.remember(&place);
        let Some(value) = item.as_value() else {
            self.complaints.add(&place, "a table stands where a value belongs", T::REMEDY);
            return None;
        };
        match T::read(value) {
            Ok(value) => Some(At { value, place }),
            Err(wrongs) => {
                for wrong in wrongs {
                    let place = self.place(key, wrong.span.or_else(|| item.span()));
                    self.complaints.add(&place, wrong.what, T::REMEDY);
                }
                None
            }
        }
    }

    /// The value, where its place does not matter any more.
    pub(super) fn value<T: Setting>(&self, key: &'static str) -> Option<T> {
        self.get(key).map(|at| at.value)
    }

    /// Replaces a default if the key is there.
    pub(super) fn set<T: Setting>(&self, key: &'static str, target: &mut T) {
        if let Some(value) = self.value(key) {
            *target = value;
        }
    }

    /// The same for something that must be there.
    pub(super) fn need<T: Setting>(&self, key: &'static str) -> Option<At<T>> {
        let is_there = self.table.is_some_and(|table| table.contains_key(key));
        if !is_there {
            let _ = self.item(key);
            self.complaints.add(&self.here(), format!("{key} is missing"), T::REMEDY);
        }
        self.get(key)
    }

    /// A path; relative ones start at the file's directory.
    pub(super) fn file(&self, key: &'static str) -> Option<At<PathBuf>> {
        self.get(key).map(|at| self.resolve(at))
    }

    pub(super) fn need_file(&self, key: &'static str) -> Option<At<PathBuf>> {
        self.need(key).map(|at| self.resolve(at))
    }

    pub(super) fn files(&self, key: &'static str) -> Vec<At<PathBuf>> {
        let Some(At { value, place }) = self.get::<Vec<PathBuf>>(key) else { return Vec::new() };
        value.into_iter().map(|value| self.resolve(At { value, place: place.clone() })).collect()
    }

    /// The same for a value that is a path or one of these words, which are `Err`.
    pub(super) fn file_or(&self, key: &'static str, words: &[&str]) -> Option<At<Result<PathBuf, String>>> {
        let At { value, place } = self.get::<String>(key)?;
        if words.contains(&&*value) {
            return Some(At { value: Err(value), place });
        }
        let At { value, place } = self.resolve(At { value: PathBuf::from(value), place });
        Some(At { value: Ok(value), place })
    }

    fn resolve(&self, At { value, place }: At<PathBuf>) -> At<PathBuf> {
        At { value: self.base.map_or(value.clone(), |base| base.join(&value)), place }
    }

    pub(super) fn section(&self, key: &'static str) -> Section<'a> {
        let item = self.item(key);
        let table = item.and_then(Item::as_table_like);
        if let Some(item) = item.filter(|item| !item.is_table_like()) {
            let place = self.place(key, item.span());
            self.complaints.add(&place, "a value stands where a table belongs", format!("write it as [{key}]"));
        }
        self.below(self.full(key), table, item.and_then(Item::span).unwrap_or_default())
    }

    /// The tables of `[[key]]`, or of `key = [{…}]`.
    pub(super) fn sections(&self, key: &'static str) -> Vec<Section<'a>> {
        let Some(item) = self.item(key) else { return Vec::new() };
        let tables: Option<Vec<(&'a dyn TableLike, _)>> = match item {
            Item::ArrayOfTables(tables) => Some(tables.iter().map(|table| (table as &dyn TableLike, table.span())).collect()),
            Item::Value(Value::Array(values)) => {
                let table = |value: &'a Value| value.as_inline_table().map(|table| (table as &dyn TableLike, table.span()));
                values.iter().map(table).collect()
            }
            _ => None,
        };
        let Some(tables) = tables else {
            let place = self.place(key, item.span());
            self.complaints.add(
                &place,
                "this is no list of tables",
                format!("write each entry as [[{key}]], or key = [{{ … }}, …]"),
            );
            return Vec::new();
        };
        let numbered = tables.into_iter().enumerate();
        numbered
            .map(|(nth, (table, span))| self.below(format!("{}[{nth}]", self.full(key)), Some(table), span.unwrap_or_default()))
            .collect()
    }

    /// All keys, for a table whose keys are data.
    pub(super) fn entries<T: Setting>(&self) -> Vec<(At<String>, T)> {
        let Some(table) = self.table else { return Vec::new() };
        let mut entries = Vec::new();
        for (key, item) in table.iter() {
            let span = table.key(key).and_then(toml_edit::Key::span);
            let at = At { value: key.to_owned(), place: self.place(key, span) };
            let read = item.as_value().map_or_else(|| Err(vec![Wrong::new("this is no value")]), T::read);
            match read {
                Ok(value) => entries.push((at, value)),
                Err(wrongs) => wrongs.into_iter().for_each(|wrong| {
                    let place = self.place(key, wrong.span.or_else(|| item.span()));
                    self.complaints.add(&place, wrong.what, T::REMEDY);
                }),
            }
        }
        entries
    }

    pub(super) fn complain(&self, place: &Place, what: impl Into<String>, remedy: impl Into<String>) {
        self.complaints.add(place, what, remedy);
    }

    /// Whether the table is there at all.
    pub(super) fn is_written(&self) -> bool {
        self.table.is_some()
    }

    /// The table itself.
    pub(super) fn here(&self) -> Place {
        Place::File(self.span.clone(), self.path.clone())
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self) {
        let Some(table) = self.table else { return };
        let asked = self.asked.borrow();
        for (key, item) in table.iter().filter(|(key, _)| !asked.contains(key)) {
            let span = table.key(key).and_then(toml_edit::Key::span).or_else(|| item.span());
            let remedy = match closest(key, &asked) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("known here: {}", asked.join(", ")),
            };
            self.complaints.add(&self.place(key, span), "unknown key", remedy);
        }
    }

    fn below(&self, path: String, table: Option<&'a dyn TableLike>, span: Range<usize>) -> Section<'a> {
        Section { complaints: self.complaints, base: self.base, path, table, span, asked: RefCell::default() }
    }

    fn item(&self, key: &'static str) -> Option<&'a Item> {
        self.asked.borrow_mut().push(key);
        self.table?.get(key)
    }

    fn place(&self, key: &str, span: Option<Range<usize>>) -> Place {
        Place::File(span.unwrap_or_else(|| self.span.clone()), self.full(key))
    }

    fn full(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

impl Wrong {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { span: None, what: what.into() }
    }
}

/// The known word that `word` is probably meant to be.
pub(super) fn closest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    let scored = known.iter().map(|name| (distance(word, name), *name));
    scored.filter(|(distance, _)| *distance <= allowed).min().map(|(_, name)| name)
}

/// Levenshtein's: how many letters to insert, drop or change.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, letter) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, against) in other.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *against);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let known = ["address", "doors", "tls", "certificates"];
        assert_eq!(closest("adress", &known), Some("address"));
        assert_eq!(closest("door", &known), Some("doors"));
        assert_eq!(closest("certs", &known), None);
        assert_eq!(closest("", &known), None);
    }
}
