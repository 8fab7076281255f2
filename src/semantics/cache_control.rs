//! `Cache-Control` of requests and responses (RFC 9111 §5.2), `Pragma` (§5.4) and `CDN-Cache-Control` (RFC 9213).
//!
//! One parser for all: names without case, values as token or quoted string, any number of lines, unknown directives skipped.
//! What cannot be read counts as the value that shares and keeps least.

use std::{borrow::Cow, time::Duration};

use http::{
    HeaderMap, HeaderName,
    header::{CACHE_CONTROL, PRAGMA},
};

use crate::semantics::{
    list,
    structured::{self, Item, Member},
};

/// The directives of a request (RFC 9111 §5.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    /// Also set by `Pragma: no-cache` where there is no `Cache-Control` (RFC 9111 §5.4).
    pub no_cache: bool,
    pub no_store: bool,
    pub no_transform: bool,
    pub only_if_cached: bool,
    pub max_age: Option<Duration>,
    pub min_fresh: Option<Duration>,
    /// How far past freshness the client accepts; without a value any.
    pub max_stale: Option<Duration>,
    /// RFC 5861 §4.
    pub stale_if_error: Option<Duration>,
}

/// The directives of a response (RFC 9111 §5.2.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseDirectives {
    pub no_store: bool,
    pub no_cache: Qualified,
    pub private: Qualified,
    pub public: bool,
    pub must_revalidate: bool,
    pub proxy_revalidate: bool,
    pub must_understand: bool,
    pub no_transform: bool,
    /// RFC 8246
    pub immutable: bool,
    pub max_age: Option<Duration>,
    pub s_maxage: Option<Duration>,
    /// RFC 5861 §3.
    pub stale_while_revalidate: Option<Duration>,
    /// RFC 5861 §4.
    pub stale_if_error: Option<Duration>,
    /// These came from `CDN-Cache-Control`, so `Cache-Control` and `Expires` do not count (RFC 9213 §2.2).
    pub targeted: bool,
}

/// A directive that may name fields: `no-cache="set-cookie"`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Qualified {
    #[default]
    Absent,
    /// It concerns the whole response.
    Everything,
    /// It concerns these fields only; not empty.
    Fields(Vec<HeaderName>),
}

/// What stands after the `=` of a directive.
enum Value<'a> {
    Absent,
    Text(Cow<'a, [u8]>),
    Invalid,
}

impl RequestDirectives {
    pub fn of(request: &HeaderMap) -> Self {
        let mut directives = Self::default();
        if !request.contains_key(CACHE_CONTROL) {
            directives.no_cache = request.contains_key(PRAGMA) && list::has_token(request, &PRAGMA, "no-cache");
            return directives;
        }
        for member in list::of(request, &CACHE_CONTROL) {
            let (name, value) = split(member);
            directives.take(name, &value);
        }
        directives
    }

    fn take(&mut self, name: &[u8], value: &Value<'_>) {
        match lower(name, &mut [0; NAME_LEN_MAX]) {
            b"no-cache" => self.no_cache = true,
            b"no-store" => self.no_store = true,
            b"no-transform" => self.no_transform = true,
            b"only-if-cached" => self.only_if_cached = true,
            b"max-age" => smallest(&mut self.max_age, value.delta()),
            b"max-stale" if matches!(value, Value::Absent) => smallest(&mut self.max_stale, Duration::MAX),
            b"max-stale" => smallest(&mut self.max_stale, value.delta()),
            b"stale-if-error" => smallest(&mut self.stale_if_error, value.delta()),
            b"min-fresh" => self.min_fresh = self.min_fresh.max(Some(value.delta())),
            _ => {}
        }
    }
}

impl ResponseDirectives {
    /// Reads `CDN-Cache-Control` if `targeted` and it is there and valid, else `Cache-Control`.
    pub fn of(response: &HeaderMap, targeted: bool) -> Self {
        if targeted && let Some(directives) = Self::of_targeted(response) {
            return directives;
        }
        let mut directives = Self::default();
        for member in list::of(response, &CACHE_CONTROL) {
            let (name, value) = split(member);
            directives.take(name, &value);
        }
        directives
    }

    /// Nothing may be reused past freshness: `must-revalidate`, `proxy-revalidate`, and `s-maxage`, which implies the latter
    /// (RFC 9111 §4.2.4, §5.2.2.2, §5.2.2.8, §5.2.2.10).
    pub fn forbids_stale(&self) -> bool {
        self.must_revalidate || self.proxy_revalidate || self.s_maxage.is_some()
    }

    /// A shared cache may reuse the response to a request with `Authorization` (RFC 9111 §3.5).
    pub fn allows_authorized(&self) -> bool {
        self.public || self.must_revalidate || self.s_maxage.is_some()
    }

    /// RFC 9213 §2.2: a targeted field that is absent, empty or invalid is as if it were not there.
    fn of_targeted(response: &HeaderMap) -> Option<Self> {
        if !response.contains_key(CDN_CACHE_CONTROL) {
            return None;
        }
        let members = structured::dictionary(response, &CDN_CACHE_CONTROL).ok()?;
        let mut directives = Self { targeted: true, ..Self::default() };
        for (key, member) in &members {
            if let Some(value) = Value::of_member(member) {
                directives.take(key.as_bytes(), &value);
            }
        }
        (!members.is_empty()).then_some(directives)
    }

    fn take(&mut self, name: &[u8], value: &Value<'_>) {
        // What permits counts only as it is written in the RFC; what restricts counts with any value.
        let bare = matches!(value, Value::Absent);
        match lower(name, &mut [0; NAME_LEN_MAX]) {
            b"no-store" => self.no_store = true,
            b"no-cache" => self.no_cache.add(value),
            b"private" => self.private.add(value),
            b"public" => self.public |= bare,
            b"must-revalidate" => self.must_revalidate = true,
            b"proxy-revalidate" => self.proxy_revalidate = true,
            b"must-understand" => self.must_understand = true,
            b"no-transform" => self.no_transform = true,
            b"immutable" => self.immutable |= bare,
            b"max-age" => smallest(&mut self.max_age, value.delta()),
            b"s-maxage" => smallest(&mut self.s_maxage, value.delta()),
            b"stale-while-revalidate" => smallest(&mut self.stale_while_revalidate, value.delta()),
            b"stale-if-error" => smallest(&mut self.stale_if_error, value.delta()),
            _ => {}
        }
    }
}

impl Qualified {
    pub fn is_everything(&self) -> bool {
        *self == Self::Everything
    }

    /// The fields named; none when it is absent or concerns everything.
    pub fn fields(&self) -> &[HeaderName] {
        match self {
            Self::Fields(names) => names,
            Self::Absent | Self::Everything => &[],
        }
    }

    /// Another occurrence. One without names, or with anything that is no field name, concerns everything.
    fn add(&mut self, value: &Value<'_>) {
        let Value::Text(text) = value else { return *self = Self::Everything };
        let names: Result<Vec<HeaderName>, _> = list::members(text).map(HeaderName::from_bytes).collect();
        match (std::mem::take(self), names) {
            (Self::Absent, Ok(names)) if !names.is_empty() => *self = Self::Fields(names),
            (Self::Fields(mut known), Ok(names)) if !names.is_empty() => {
                known.extend(names);
                *self = Self::Fields(known);
            }
            _ => *self = Self::Everything,
        }
    }
}

impl Value<'_> {
    /// A number of seconds (RFC 9111 §1.2.2). One that is too great is 2^31; one that is invalid is 0, so that the response counts as
    /// stale (RFC 9111 §4.2.1).
    fn delta(&self) -> Duration {
        let Self::Text(text) = self else { return Duration::ZERO };
        Duration::from_secs(list::digits(text).unwrap_or(0).min(DELTA_MAX))
    }

    /// The value of a targeted directive (RFC 9213 §2.1); `None`: the directive is switched off.
    fn of_member(member: &Member) -> Option<Self> {
        Some(match member {
            Member::Item(Item::Boolean(true)) => Self::Absent,
            Member::Item(Item::Boolean(false)) => return None,
            Member::Item(Item::Integer(number)) => Self::Text(number.to_string().into_bytes().into()),
            // A string of digits is no integer (RFC 9213 §2.1), and a list of names is no number: `delta` finds both invalid.
            Member::Item(Item::String(text)) if text.bytes().all(|byte| byte.is_ascii_digit()) => Self::Invalid,
            Member::Item(Item::String(text) | Item::Token(text)) => Self::Text(text.clone().into_bytes().into()),
            Member::Item(Item::Decimal | Item::Other) | Member::InnerList => Self::Invalid,
        })
    }
}

/// A directive's name and value (RFC 9111 §5.2). Whitespace around `=` is not allowed; with it the value is invalid.
fn split(member: &[u8]) -> (&[u8], Value<'_>) {
    let Some(at) = member.iter().position(|&byte| byte == b'=') else { return (member, Value::Absent) };
    let (name, value) = (&member[..at], &member[at + 1..]);
    let value = match list::unquote(value) {
        _ if name.ends_with(b" ") || name.ends_with(b"\t") => Value::Invalid,
        Some(text) => Value::Text(text.into()),
        None if list::is_token(value) => Value::Text(value.into()),
        None => Value::Invalid,
    };
    (name.trim_ascii_end(), value)
}

/// Of repeated directives the smallest counts: at any age its verdict is one of the two that RFC 9111 §4.2.1 allows,
/// that of the first occurrence, or stale.
fn smallest(known: &mut Option<Duration>, another: Duration) {
    *known = Some(known.map_or(another, |known| known.min(another)));
}

/// `name` in lower case; longer than any we know: nothing.
fn lower<'b>(name: &[u8], buffer: &'b mut [u8; NAME_LEN_MAX]) -> &'b [u8] {
    let Some(lower) = buffer.get_mut(..name.len()) else { return &[] };
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    lower
}

/// RFC 9111 §1.2.2: what a number of seconds that does not fit is taken for.
pub(super) const DELTA_MAX: u64 = 1 << 31;

/// `stale-while-revalidate` is the longest directive we know.
const NAME_LEN_MAX: usize = 22;

const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::semantics::testing::fields;

    fn response(lines: &[&str]) -> ResponseDirectives {
        let lines: Vec<_> = lines.iter().map(|line| ("cache-control", *line)).collect();
        ResponseDirectives::of(&fields(&lines), true)
    }

    fn targeted(line: &str) -> ResponseDirectives {
        ResponseDirectives::of(&fields(&[("cache-control", "no-store"), ("cdn-cache-control", line)]), true)
    }

    fn request(lines: &[(&str, &str)]) -> RequestDirectives {
        RequestDirectives::of(&fields(lines))
    }

    fn secs(secs: u64) -> Option<Duration> {
        Some(Duration::from_secs(secs))
    }

    #[test]
    fn lifetimes_are_read_in_every_valid_form_and_are_zero_in_any_other() {
        for (line, expected) in [
            ("max-age=3600", secs(3600)),
            ("MaX-aGe=3600", secs(3600)),
            ("foobar, max-age=3600", secs(3600)),
            ("max-age=003600", secs(3600)),
            ("max-age=\"3600\"", secs(3600)),
            ("max-age=99999999999", secs(1 << 31)),
            ("max-age=99999999999999999999999999", secs(1 << 31)),
            ("extension=\"max-age=3600\", max-age=1", secs(1)),
            ("max-age=1, extension=\"max-age=3600\"", secs(1)),
            ("extension=\"max-age=3600\"", None),
            ("max-age='3600'", secs(0)),
            ("max-age=-3600", secs(0)),
            ("max-age=3600.0", secs(0)),
            ("max-age=3600a", secs(0)),
            ("max-age =3600", secs(0)),
            ("max-age= 3600", secs(0)),
            ("max-age=", secs(0)),
            ("max-age", secs(0)),
            ("max-age=1800, max-age=1", secs(1)),
            ("max-age=1, max-age=1800", secs(1)),
            ("x-max-age=5", None),
            ("", None),
        ] {
            assert_eq!(response(&[line]).max_age, expected, "{line}");
        }
        assert_eq!(response(&["s-maxage=3", "max-age=1"]).s_maxage, secs(3));
    }

    #[test]
    fn restrictions_count_in_any_spelling_and_permissions_only_in_theirs() {
        let odd = response(&["No-StOrE=\"x\", public=1, immutable=1, must-revalidate=0, proxy-revalidate, no-transform"]);
        assert!(odd.no_store && odd.must_revalidate && odd.proxy_revalidate && odd.no_transform);
        assert!(!odd.public && !odd.immutable);
        assert!(response(&["public", "immutable"]).public);
    }

    #[test]
    fn qualified_directives_name_fields_or_concern_everything() {
        let names = |text: &[&str]| Qualified::Fields(text.iter().map(|name| name.parse().unwrap()).collect());
        for (line, expected) in [
            ("no-cache", Qualified::Everything),
            ("no-cache=\"a, B\"", names(&["a", "b"])),
            ("no-cache=a", names(&["a"])),
            ("no-cache=\"a\", no-cache=\"b\"", names(&["a", "b"])),
            ("no-cache=\"a\", no-cache", Qualified::Everything),
            ("no-cache, no-cache=\"a\"", Qualified::Everything),
            ("no-cache=\"\"", Qualified::Everything),
            ("no-cache=\"a b\"", Qualified::Everything),
            ("no-cache=\"a", Qualified::Everything),
            ("private", Qualified::Absent),
        ] {
            assert_eq!(response(&[line]).no_cache, expected, "{line}");
        }
    }

    #[test]
    fn a_valid_targeted_field_replaces_cache_control() {
        assert_eq!(targeted("max-age=60").max_age, secs(60));
        assert!(!targeted("max-age=60").no_store && targeted("max-age=60").targeted);
        assert_eq!(targeted("max-age=60;unknown, must-revalidate").max_age, secs(60));
        assert_eq!(targeted("max-age=1, max-age=60").max_age, secs(60), "in a dictionary the last counts");
        assert_eq!(targeted("private=\"set-cookie\"").private.fields().len(), 1);
        assert!(!targeted("no-store=?0, max-age=1").no_store);
        for line in ["max-age=\"60\"", "max-age=60.0", "max-age=-60", "max-age", "max-age=(60)", "max-age=x"] {
            assert_eq!(targeted(line).max_age, secs(0), "{line}");
        }
    }

    #[test]
    fn an_invalid_or_empty_targeted_field_is_ignored() {
        for line in ["", "max-age=60,", "Max-Age=60", "max-age=60 s", "&"] {
            assert!(targeted(line).no_store && !targeted(line).targeted, "{line}");
        }
        let both = fields(&[("cache-control", "no-store"), ("cdn-cache-control", "max-age=60")]);
        assert!(ResponseDirectives::of(&both, false).no_store);
    }

    #[test]
    fn pragma_counts_only_without_cache_control() {
        assert!(request(&[("pragma", "no-cache")]).no_cache);
        assert!(request(&[("pragma", "foo, No-Cache")]).no_cache);
        assert!(!request(&[("pragma", "foo")]).no_cache);
        assert!(!request(&[("pragma", "no-cache"), ("cache-control", "nothing-to-see-here")]).no_cache);
    }

    #[test]
    fn max_stale_without_a_value_accepts_any_staleness() {
        assert_eq!(request(&[("cache-control", "max-stale")]).max_stale, Some(Duration::MAX));
        assert_eq!(request(&[("cache-control", "max-stale=10, min-fresh=5, only-if-cached")]).max_stale, secs(10));
        assert_eq!(request(&[("cache-control", "max-stale=x")]).max_stale, secs(0));
        assert_eq!(request(&[("cache-control", "min-fresh=5")]).min_fresh, secs(5));
    }

    proptest! {
        #[test]
        fn parsing_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..80), near in "[a-z=\",; 0-9\\\\-]{0,60}") {
            let mut map = HeaderMap::new();
            for value in [http::HeaderValue::from_bytes(&bytes), http::HeaderValue::from_bytes(near.as_bytes())].into_iter().flatten() {
                map.append(CACHE_CONTROL, value.clone());
                map.append(CDN_CACHE_CONTROL, value);
            }
            let _ = (RequestDirectives::of(&map), ResponseDirectives::of(&map, true), ResponseDirectives::of(&map, false));
        }

        #[test]
        fn no_store_is_found_among_anything_that_leaves_no_quote_open(before in "[a-z=, 0-9-]{0,30}", after in "[a-z=, 0-9-]{0,30}") {
            let line = format!("{before},no-store,{after}");
            prop_assert!(response(&[&line]).no_store, "{}", line);
        }
    }
}
