//! The types of values that keys have.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use ipnet::IpNet;
use toml_edit::Value;

use crate::{
    cache::Verify,
    census::Personal,
    classify::{BadHost, Closed, Door, Host, HostPattern, OriginPattern},
    config::{
        read::{Setting, Wrong, closest},
        units::{Rate, Size, Span},
    },
    key::{Origin, Scheme},
    listener::Flavour,
    semantics::policy::Errors,
    transmit::Strategy,
    upstream::Kind,
};

/// An `http` or `https` URL of a server, with the path it puts before every other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) origin: Origin,
    /// Empty, or beginning with a slash.
    pub(super) base: String,
}

impl Url {
    /// Stands where a URL was not understood.
    pub(super) fn nowhere() -> Self {
        Self { origin: Origin::new(Scheme::Http, "", 80), base: String::new() }
    }
}

/// A name server: an address, with port 53 unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Server(pub(super) SocketAddr);

/// A host as it stands in a `Host` field: a name or an address, with a port or without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostField(pub(super) Box<str>);

/// A name in a `Host` field, whatever its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostName(pub(super) Box<str>);

/// What a GET can ask a server for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestPath(pub(super) Box<str>);

/// A name that a certificate can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerName(pub(super) Box<str>);

/// The name of a query parameter, or how such names begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parameter(pub(super) Box<str>);

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = text.parse::<IpAddr>().map(|ip| SocketAddr::from((ip, 53)));
        address.or_else(|_| text.parse()).map(Self).map_err(|_| format!("{text:?} is no address"))
    }
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: http::Uri = text.parse().map_err(|error| format!("{text:?} is no URL: {error}"))?;
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            Some(other) => return Err(format!("scheme {other} is not supported")),
            None => return Err(format!("{text:?} has no scheme")),
        };
        let authority = uri.authority().ok_or_else(|| format!("{text:?} names no host"))?;
        let (host, port) = Host::with_port(authority.as_str()).map_err(|why| format!("{authority:?} is no host: {why}"))?;
        if uri.query().is_some() {
            return Err(format!("{text:?} has a query"));
        }
        let origin = Origin::new(scheme, &host.text(), port.unwrap_or(scheme.default_port()));
        Ok(Self { origin, base: uri.path().trim_end_matches('/').to_owned() })
    }
}

impl Setting for String {
    const REMEDY: &'static str = "write a text in quotes";

    fn read(value: &Value) -> Result<Self, Vec<Wrong>> {
        text(value).map(str::to_owned)
    }
}

impl Setting for bool {
    const REMEDY: &'static str = "write true or false";

    fn read(value: &Value) -> Result<Self, Vec<Wrong>> {
        value.as_bool().ok_or_else(|| vec![Wrong::new(format!("this is {}", kind(value)))])
    }
}

/// Counts of things.
macro_rules! counts {
    ($($number:ty),*) => {$(
        impl Setting for $number {
            const REMEDY: &'static str = "write a whole number";

            fn read(value: &Value) -> Result<Self, Vec<Wrong>> {
                let number = value.as_integer().ok_or_else(|| vec![Wrong::new(format!("this is {}", kind(value)))])?;
                number.try_into().map_err(|_| vec![Wrong::new(format!("{number} is out of range"))])
            }
        }
    )*};
}

counts!(u16, u32, u64, usize);

/// Values that are written as text.
macro_rules! texts {
    ($($type:ty => $parse:expr, $remedy:expr;)*) => {$(
        impl Setting for $type {
            const REMEDY: &'static str = $remedy;

            fn read(value: &Value) -> Result<Self, Vec<Wrong>> {
                let text = text(value)?;
                let parse: fn(&str) -> Result<$type, String> = $parse;
                parse(text).map_err(|what| vec![Wrong::new(what)])
            }
        }
    )*};
}

texts! {
    Size => str::parse, "write a number and a unit, such as \"200 GiB\" (1024³) or \"1.5 GB\" (1000³)";
    Rate => str::parse, "write a number and a unit per second, such as \"20 MB/s\" or \"100 Mbit/s\"";
    Duration => |text| text.parse().map(|Span(duration)| duration), "write a number and a unit: ms, s, min, h or d, such as \"30 s\"";
    SocketAddr => |text| parse(text, "no address with a port"), "write an address and a port, such as \"[::]:80\" or \"192.0.2.1:80\"";
    IpNet => network, "write a network, such as \"10.0.0.0/8\" or \"2001:db8::/32\", or one address";
    Server => str::parse, "write the address of a name server, such as \"192.0.2.53\" or \"[2001:db8::53]:5353\"";
    Kind => kind_of_upstream, "the kinds are origin and parent";
    Url => str::parse, "write a URL such as \"http://wsus.example.com:8530\"";
    PathBuf => |text| Ok(PathBuf::from(text)), "write a path in quotes";
    HostPattern => |text| text.parse().map_err(|why| bad_host(text, why)), "write a name, or *. and a name for all below it";
    OriginPattern => origin_pattern, "write a name such as \"deb.debian.org\", \"*.example.org\" for all below it, or \"name:port\"";
    HostField => host_field, "write a name such as \"wsus.example.com\", or \"name:port\"";
    HostName => host_name, "write a name such as \"weir.example.com\", without scheme and port";
    RequestPath => path, "write a path such as \"/check.txt\"";
    ServerName => server_name, "write a name such as \"wsus.example.com\", or an address";
    Parameter => parameter, "write a name such as \"session\", or the beginning of names and a *, such as \"utm_*\"";
    Errors => errors, "write \"heuristic\", \"explicit\" or \"never\"";
    Personal => |text| Personal::named(text).ok_or_else(|| format!("{text} is no such choice")), "write \"keep\", \"hash\" or \"off\"";
    Verify => |text| Verify::named(text).ok_or_else(|| format!("{text} is no such choice")), "write \"later\" or \"strict\"";
    Flavour => flavour, "write \"per-core\" or \"shared\"";
    Strategy => strategy, "the strategies are auto, copy, sendfile and map";
    Closed => closed, "write any of \"administration\", \"server-sync\", \"dss-auth\", \"roll-up\", \"inventory\", \"descriptions\" and \"other\"";
    Door => door, "the doors are reverse, wsus, delivery, transparent and forward";
}

impl<T: Setting> Setting for Vec<T> {
    const REMEDY: &'static str = T::REMEDY;

    /// One value alone stands for a list of one; of a list every wrong element is reported.
    fn read(value: &Value) -> Result<Self, Vec<Wrong>> {
        let Some(array) = value.as_array() else { return T::read(value).map(|one| vec![one]) };
        let (mut values, mut wrongs) = (Vec::new(), Vec::new());
        for element in array {
            match T::read(element) {
                Ok(value) => values.push(value),
                Err(found) => {
                    let placed = |wrong: Wrong| Wrong { span: wrong.span.or_else(|| element.span()), ..wrong };
                    wrongs.extend(found.into_iter().map(placed));
                }
            }
        }
        if wrongs.is_empty() { Ok(values) } else { Err(wrongs) }
    }
}

fn text(value: &Value) -> Result<&str, Vec<Wrong>> {
    value.as_str().ok_or_else(|| vec![Wrong::new(format!("this is {}", kind(value)))])
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) | Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date or time",
        Value::Array(_) => "a list",
        Value::InlineTable(_) => "a table",
    }
}

fn parse<T: FromStr>(text: &str, otherwise: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is {otherwise}"))
}

fn network(text: &str) -> Result<IpNet, String> {
    parse(text, "no network").or_else(|why| text.parse::<IpAddr>().map(IpNet::from).map_err(|_| why))
}

/// An address in brackets or not, or a pattern of names; with a port or without.
pub(super) fn origin_pattern(text: &str) -> Result<OriginPattern, String> {
    if text.contains('/') {
        return Err(format!("{text:?} is more than a host"));
    }
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
            let port: u16 = parse(port, "no port")?;
            (name, Some(port))
        }
        _ => (text, None),
    };
    let host = name.parse().map_err(|why| bad_host(name, why))?;
    Ok(OriginPattern { host, port })
}

fn host_field(text: &str) -> Result<HostField, String> {
    Host::with_port(text).map(|_| HostField(text.into())).map_err(|why| bad_host(text, why))
}

fn host_name(text: &str) -> Result<HostName, String> {
    Host::parse(text).map(|_| HostName(text.into())).map_err(|why| bad_host(text, why))
}

fn path(text: &str) -> Result<RequestPath, String> {
    let is_path = text.starts_with('/') && text.parse::<http::Uri>().is_ok();
    if is_path { Ok(RequestPath(text.into())) } else { Err(format!("{text:?} is no path")) }
}

fn server_name(text: &str) -> Result<ServerName, String> {
    let read = rustls::pki_types::ServerName::try_from(text).map(|_| ServerName(text.into()));
    read.map_err(|_| format!("{text:?} is no name for a certificate"))
}

fn parameter(text: &str) -> Result<Parameter, String> {
    let name = text.strip_suffix('*').unwrap_or(text);
    let is_name = !text.is_empty() && !name.contains(['*', '&', '=', '?', '#']) && !name.contains(char::is_whitespace);
    if is_name { Ok(Parameter(text.into())) } else { Err(format!("{text:?} is no name of a parameter")) }
}

fn errors(text: &str) -> Result<Errors, String> {
    match text {
        "heuristic" => Ok(Errors::Heuristic),
        "explicit" => Ok(Errors::Explicit),
        "never" => Ok(Errors::Never),
        _ => Err(format!("{text:?} is no choice")),
    }
}

fn bad_host(text: &str, why: BadHost) -> String {
    format!("{text:?} is no host: {why}")
}

fn kind_of_upstream(text: &str) -> Result<Kind, String> {
    [Kind::Origin, Kind::Parent]
        .into_iter()
        .find(|kind| kind.as_str() == text)
        .ok_or_else(|| format!("{text:?} is no kind of upstream"))
}

fn strategy(text: &str) -> Result<Strategy, String> {
    Strategy::ALL
        .into_iter()
        .find(|strategy| strategy.as_str() == text)
        .ok_or_else(|| format!("{text:?} is no way to send stored bytes"))
}

fn flavour(text: &str) -> Result<Flavour, String> {
    let found = Flavour::ALL.iter().find(|flavour| flavour.as_str() == text);
    found.copied().ok_or_else(|| format!("{text:?} is no flavour of runtime"))
}

fn closed(text: &str) -> Result<Closed, String> {
    text.parse().map_err(|()| match closest(text, &Closed::ALL.map(Closed::as_str)) {
        Some(near) => format!("{text:?} cannot be opened; did you mean {near:?}?"),
        None => format!("{text:?} cannot be opened"),
    })
}

fn door(text: &str) -> Result<Door, String> {
    text.parse().map_err(|()| match closest(text, &Door::ALL.map(Door::as_str)) {
        Some(near) => format!("{text:?} is no door; did you mean {near:?}?"),
        None => format!("{text:?} is no door"),
    })
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.base)
    }
}
