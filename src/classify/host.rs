//! Hosts as clients and administrators spell them, and the patterns that match them.

use std::{borrow::Cow, fmt, net::IpAddr, str::FromStr};

/// A host, checked and in one spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// Lower case, no trailing dot, letters, digits, `-`, `_` and dots only.
    Name(Cow<'a, str>),
    Address(IpAddr),
}

/// Why a text is no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHost {
    #[error("it is empty")]
    Empty,
    #[error("it is longer than 253 characters")]
    TooLong,
    #[error("one of its labels is empty or longer than 63 characters")]
    Label,
    #[error("it has a character that names do not have")]
    Character,
    #[error("it has user information")]
    UserInfo,
    #[error("it has a port")]
    Port,
    #[error("it is no port number")]
    PortNumber,
    #[error("its brackets do not hold an IPv6 address")]
    Brackets,
    #[error("it is an unusual spelling of an address")]
    OddAddress,
    #[error("a pattern is a name, or *. before a name of at least two labels")]
    Pattern,
}

impl<'a> Host<'a> {
    /// A host without port: a name, an IPv4 address, or an IPv6 address in brackets.
    pub fn parse(text: &'a str) -> Result<Self, BadHost> {
        if text.is_empty() {
            return Err(BadHost::Empty);
        }
        if text.contains('@') {
            return Err(BadHost::UserInfo);
        }
        if let Some(rest) = text.strip_prefix('[') {
            return match rest.split_once(']') {
                Some((address, "")) => address.parse().map(|v6| Self::Address(IpAddr::V6(v6))).map_err(|_| BadHost::Brackets),
                Some((_, rest)) if rest.starts_with(':') => Err(BadHost::Port),
                _ => Err(BadHost::Brackets),
            };
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Address(address));
        }
        if text.contains(':') {
            return Err(BadHost::Port);
        }
        name(text).map(Self::Name)
    }

    /// `host` or `host:port`.
    pub fn with_port(text: &'a str) -> Result<(Self, Option<u16>), BadHost> {
        let after_brackets = text.rfind(']').map_or(0, |at| at + 1);
        let Some(colon) = text[after_brackets..].find(':').map(|at| at + after_brackets) else {
            return Self::parse(text).map(|host| (host, None));
        };
        let port = &text[colon + 1..];
        let host = Self::parse(&text[..colon])?;
        // RFC 3986 §3.2.3 allows an empty port; it means the scheme's own.
        if port.is_empty() {
            return Ok((host, None));
        }
        if !port.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(BadHost::PortNumber);
        }
        match port.parse() {
            Ok(0) | Err(_) => Err(BadHost::PortNumber),
            Ok(port) => Ok((host, Some(port))),
        }
    }

    /// As in an [`Origin`](crate::key::Origin): an IPv6 address without brackets.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Name(name) => Cow::Borrowed(name),
            Self::Address(address) => Cow::Owned(address.to_string()),
        }
    }
}

/// Checks a name and brings it into one spelling.
fn name(text: &str) -> Result<Cow<'_, str>, BadHost> {
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.is_empty() {
        return Err(BadHost::Empty);
    }
    if text.len() > 253 {
        return Err(BadHost::TooLong);
    }
    let mut upper = false;
    for label in text.split('.') {
        if label.is_empty() || label.len() > 63 {
            return Err(BadHost::Label);
        }
        for byte in label.bytes() {
            upper |= byte.is_ascii_uppercase();
            if !(byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
                return Err(BadHost::Character);
            }
        }
    }
    // A resolver takes `127.1`, `2130706433` and `0x7f.1` for addresses, as URL parsers do (WHATWG URL, "ends in a number").
    let last = text.rsplit('.').next().unwrap_or(text);
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if digits(last) || hexadecimal.is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit())) {
        return Err(BadHost::OddAddress);
    }
    Ok(if upper { Cow::Owned(text.to_ascii_lowercase()) } else { Cow::Borrowed(text) })
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// A name, or all names below one (`*.example.org`, which `example.org` itself does not match).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// Exactly this name (or address literal).
    Exact(Box<str>),
    /// Every name that ends in a dot and this.
    Below(Box<str>),
}

impl HostPattern {
    /// `host`: in the spelling of [`Host`].
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => **name == *host,
            Self::Below(name) => host.strip_suffix(&**name).is_some_and(|front| front.len() > 1 && front.ends_with('.')),
        }
    }
}

impl FromStr for HostPattern {
    type Err = BadHost;

    fn from_str(text: &str) -> Result<Self, BadHost> {
        let (below, rest) = text.strip_prefix("*.").map_or((false, text), |rest| (true, rest));
        if rest.contains('*') || rest.starts_with('.') {
            return Err(BadHost::Pattern);
        }
        match Host::parse(rest)? {
            // `*.com` would open a whole top-level domain by a slip.
            Host::Name(name) if below && !name.contains('.') => Err(BadHost::Pattern),
            Host::Name(name) if below => Ok(Self::Below(name.into())),
            Host::Name(name) => Ok(Self::Exact(name.into())),
            Host::Address(_) if below => Err(BadHost::Pattern),
            Host::Address(address) => Ok(Self::Exact(address.to_string().into())),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Below(name) => write!(f, "*.{name}"),
        }
    }
}
