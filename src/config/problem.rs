//! What is wrong with a configuration, and where.

use std::{cell::RefCell, fmt, ops::Range};

/// One thing that is wrong, where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, or `command line`.
    pub source: String,
    /// Line and column, from 1; `None` on the command line and where there is no file to point into.
    pub place: Option<(usize, usize)>,
    /// The key in full (`listen[0].address`), or the flag.
    pub key: String,
    pub what: String,
    pub remedy: String,
}

/// All problems of one configuration, in file order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": ")?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}; {}", self.what, self.remedy)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.0.iter().map(Problem::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Problems {}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Bytes of the file, and the key in full.
    File(Range<usize>, String),
    Flag(&'static str),
    /// Nowhere: the default of this key.
    BuiltIn(&'static str),
}

/// A value, and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// Collects problems while a configuration is read.
#[derive(Debug)]
pub(super) struct Complaints<'a> {
    file: &'a str,
    text: &'a str,
    found: RefCell<Vec<(usize, Problem)>>,
    /// Where values were written, for checks that come later.
    places: RefCell<Vec<Place>>,
}

impl<'a> Complaints<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text, found: RefCell::default(), places: RefCell::default() }
    }

    pub(super) fn remember(&self, place: &Place) {
        self.places.borrow_mut().push(place.clone());
    }

    /// Where the value of a key was written, if anywhere.
    pub(super) fn place_of(&self, key: &'static str) -> Place {
        let places = self.places.borrow();
        let found = places.iter().find(|place| matches!(place, Place::File(_, written) if written == key));
        found.cloned().unwrap_or(Place::BuiltIn(key))
    }

    pub(super) fn add(&self, place: &Place, what: impl Into<String>, remedy: impl Into<String>) {
        let (what, remedy) = (what.into(), remedy.into());
        let (order, problem) = match place {
            Place::File(span, key) => {
                let place = Some(line_and_column(self.text, span.start));
                (span.start, Problem { source: self.file.to_owned(), place, key: key.clone(), what, remedy })
            }
            Place::Flag(key) => {
                (usize::MAX, Problem { source: "command line".to_owned(), place: None, key: (*key).to_owned(), what, remedy })
            }
            Place::BuiltIn(key) => {
                (usize::MAX, Problem { source: "default".to_owned(), place: None, key: (*key).to_owned(), what, remedy })
            }
        };
        self.found.borrow_mut().push((order, problem));
    }

    /// What was collected, in file order, or nothing.
    pub(super) fn finish(self) -> Result<(), Problems> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|(order, _)| *order);
        if found.is_empty() { Ok(()) } else { Err(Problems(found.into_iter().map(|(_, problem)| problem).collect())) }
    }
}

/// Line and column of a byte, both from 1; columns count characters.
fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
