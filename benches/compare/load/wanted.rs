//! What the command line asks for: `name=value` words.

use std::{collections::HashMap, error::Error, net::SocketAddr, str::FromStr};

/// A line of JSON, or why there is none.
pub(crate) type Outcome = Result<String, Box<dyn Error + Send + Sync>>;

/// The words after the command.
pub(crate) struct Wanted(HashMap<String, String>);

impl Wanted {
    pub(crate) fn new(words: impl Iterator<Item = String>) -> Self {
        Self(words.filter_map(|word| word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))).collect())
    }

    pub(crate) fn text(&self, name: &str) -> Result<&str, String> {
        self.0.get(name).map(String::as_str).ok_or_else(|| format!("{name}= is missing"))
    }

    pub(crate) fn number(&self, name: &str) -> Result<u64, String> {
        self.parsed(name)
    }

    pub(crate) fn address(&self, name: &str) -> Result<SocketAddr, String> {
        self.parsed(name)
    }

    fn parsed<T: FromStr>(&self, name: &str) -> Result<T, String> {
        self.text(name)?.parse().map_err(|_| format!("{name}= is not what it should be"))
    }
}
