//! What selects a stored response: the origin's name and the cache key.
//!
//! A key is text that only this module builds, plus its 128-bit hash. Disk names never come from it.

use std::{fmt, sync::Arc};

/// How an origin is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port a URL of this scheme means when it names none.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// The server that is authoritative for a URL (RFC 9110 §4.3.1): scheme, host in lower case without a trailing dot, port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    pub scheme: Scheme,
    /// A name or an address literal (IPv6 without brackets), lower case.
    pub host: Arc<str>,
    pub port: u16,
}

impl Origin {
    /// Lower-cases `host`, drops one trailing dot and the brackets of an IPv6 literal.
    pub fn new(scheme: Scheme, host: &str, port: u16) -> Self {
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let host = host.strip_suffix('.').unwrap_or(host);
        Self { scheme, host: host.to_ascii_lowercase().into(), port }
    }

    /// `host` or `host:port`, as it stands in a `Host` field: no port where it is the scheme's own.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.to_string() };
        if self.port == self.scheme.default_port() { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.authority())
    }
}

/// The cache key (RFC 9111 §2): scheme, host group, path and query, and the hash the store finds it by.
#[derive(Clone, PartialEq, Eq)]
pub struct CacheKey {
    text: Box<str>,
    hash: KeyHash,
}

/// 128 bits of BLAKE3 over the key's text: clients choose URLs, so the hash must resist chosen collisions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyHash(pub [u8; 16]);

impl CacheKey {
    /// `group` is a host (with its port when it is not the scheme's own) or the name of a host group;
    /// `path_and_query` is taken byte for byte: rules that fold or drop something have run before.
    pub fn new(scheme: Scheme, group: &str, path_and_query: &str) -> Self {
        Self::from_text([scheme.as_str(), "://", group, path_and_query].concat())
    }

    /// A key read back from the index.
    pub fn from_text(text: impl Into<Box<str>>) -> Self {
        let text = text.into();
        let hash = KeyHash::of(&text);
        Self { text, hash }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn hash(&self) -> KeyHash {
        self.hash
    }

    /// The host or host group, for purging by host.
    pub fn group(&self) -> &str {
        let rest = self.text.split_once("://").map_or(&*self.text, |(_, rest)| rest);
        rest.split(['/', '?']).next().unwrap_or(rest)
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl KeyHash {
    pub fn of(text: &str) -> Self {
        let mut short = [0; 16];
        short.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..16]);
        Self(short)
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_of_a_key_is_what_stands_between_scheme_and_path() {
        assert_eq!(CacheKey::new(Scheme::Http, "dl.example", "/a?b=//c").group(), "dl.example");
        assert_eq!(CacheKey::new(Scheme::Https, "h.example:8530", "/").group(), "h.example:8530");
    }

    #[test]
    fn origins_are_compared_in_one_spelling() {
        let origin = Origin::new(Scheme::Http, "WSUS.Example.", 80);
        assert_eq!(origin, Origin::new(Scheme::Http, "wsus.example", 80));
        assert_eq!(origin.to_string(), "http://wsus.example");
        assert_eq!(Origin::new(Scheme::Https, "[::1]", 8531).authority(), "[::1]:8531");
    }

    #[test]
    fn scheme_group_and_path_all_count() {
        let key = CacheKey::new(Scheme::Http, "a", "/x");
        assert_ne!(key.hash(), CacheKey::new(Scheme::Https, "a", "/x").hash());
        assert_ne!(key.hash(), CacheKey::new(Scheme::Http, "a", "/X").hash());
        assert_eq!(key, CacheKey::from_text("http://a/x"));
    }
}
