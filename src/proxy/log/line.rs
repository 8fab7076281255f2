//! A record as a line of JSON, written straight into a reused buffer.

use std::{
    io::Write,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use http::{HeaderValue, Version};

use crate::{
    metrics::{Class, Label, Source},
    proxy::log::{Administration, Record, redact},
};

/// Bytes kept of what a client may choose freely; the rest is cut and `…` put in its place.
const URL_LEN_MAX: usize = 2048;
const HOST_LEN_MAX: usize = 300;
const AGENT_LEN_MAX: usize = 256;
const FIELD_LEN_MAX: usize = 200;

/// Appends the line of `record`, with its newline.
pub(super) fn response(record: &Record, out: &mut Vec<u8>) {
    let mut line = Line::open(out, record.started);
    line.hex("request", record.id);
    line.address("client", record.client.to_canonical());
    line.word("door", record.metrics_door().word());
    line.word("class", record.class.word());
    line.word("method", record.method.as_str());
    line.text("host", host(record), HOST_LEN_MAX);
    line.url("url", record);
    line.word("version", version(record.version));
    line.number("status", record.status.as_u16().into());
    line.word("verdict", record.verdict.word());
    line.field("cache_status", record.cache_status.as_ref(), FIELD_LEN_MAX);
    line.number("sent_bytes", record.sent_bytes());
    line.number("store_bytes", record.bytes_from(Source::Store));
    line.number("upstream_bytes", record.bytes_from(Source::Upstream) + record.bytes_from(Source::Relayed));
    if record.class == Class::Tunnel {
        line.number("received_bytes", record.received_bytes());
    }
    line.millis("duration_ms", record.duration);
    if let Some(first_byte) = record.first_byte {
        line.millis("first_byte_ms", first_byte);
    }
    line.field("range", record.range.as_ref(), FIELD_LEN_MAX);
    line.field("agent", record.agent.as_ref(), AGENT_LEN_MAX);
    line.word("end", record.end.word());
    if let Some(reason) = record.reason {
        line.word("reason", reason);
    }
    if let Some(detail) = &record.detail {
        line.text("detail", detail.as_bytes(), FIELD_LEN_MAX);
    }
    line.close();
}

/// Appends the line of something an administrator did.
pub(super) fn administration(record: &Administration<'_>, out: &mut Vec<u8>) {
    let mut line = Line::open(out, record.at);
    line.word("action", record.action);
    line.text("who", record.who.as_bytes(), FIELD_LEN_MAX);
    line.prose("target", record.target);
    line.prose("outcome", record.outcome);
    line.close();
}

/// Host and path of a request as the status page shows them.
pub(super) fn what(record: &Record) -> String {
    let mut text = Vec::with_capacity(128);
    let host = host(record);
    text.extend_from_slice(&host[..host.len().min(HOST_LEN_MAX)]);
    redact::path_and_query(path_and_query(record), |part| text.extend_from_slice(part));
    text.truncate(WHAT_LEN_MAX);
    String::from_utf8_lossy(&text).into_owned()
}

const WHAT_LEN_MAX: usize = 300;

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        Version::HTTP_11 => "1.1",
        _ => "other",
    }
}

/// Of an absolute-form or `CONNECT` target its authority, else the `Host` field (RFC 9112 §3.2.2), without userinfo.
fn host(record: &Record) -> &[u8] {
    let authority = record.uri.authority().map(|authority| authority.as_str().as_bytes());
    let host = authority.or_else(|| record.host.as_ref().map(HeaderValue::as_bytes)).unwrap_or_default();
    redact::without_userinfo(host)
}

fn path_and_query(record: &Record) -> &[u8] {
    record.uri.path_and_query().map_or(b"", |path| path.as_str().as_bytes())
}

/// A JSON object being written.
struct Line<'a>(&'a mut Vec<u8>);

impl<'a> Line<'a> {
    fn open(out: &'a mut Vec<u8>, at: SystemTime) -> Self {
        out.extend_from_slice(b"{\"time\":\"");
        timestamp(at, out);
        out.push(b'"');
        Self(out)
    }

    fn close(self) {
        self.0.extend_from_slice(b"}\n");
    }

    fn name(&mut self, name: &'static str) {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    /// A value that needs no escaping: a word of ours, or an HTTP token (RFC 9110 §5.6.2 allows neither `"` nor `\`).
    fn word(&mut self, name: &'static str, word: &str) {
        self.name(name);
        self.0.push(b'"');
        self.0.extend_from_slice(word.as_bytes());
        self.0.push(b'"');
    }

    fn number(&mut self, name: &'static str, number: u64) {
        self.name(name);
        decimal(number, 1, self.0);
    }

    /// Sixteen digits.
    fn hex(&mut self, name: &'static str, number: u64) {
        self.name(name);
        self.0.push(b'"');
        self.0.extend((0..16).rev().map(|digit| HEX_DIGITS[(number >> (4 * digit)) as usize & 0xf]));
        self.0.push(b'"');
    }

    /// An address: digits, letters, dots and colons.
    fn address(&mut self, name: &'static str, address: IpAddr) {
        self.name(name);
        self.0.push(b'"');
        match address {
            IpAddr::V4(address) => {
                for (place, octet) in address.octets().into_iter().enumerate() {
                    if place > 0 {
                        self.0.push(b'.');
                    }
                    decimal(octet.into(), 1, self.0);
                }
            }
            IpAddr::V6(address) => write!(self.0, "{address}").expect("a Vec takes every byte"),
        }
        self.0.push(b'"');
    }

    /// Milliseconds with three digits after the point.
    fn millis(&mut self, name: &'static str, duration: Duration) {
        self.name(name);
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        decimal(micros / 1000, 1, self.0);
        self.0.push(b'.');
        decimal(micros % 1000, 3, self.0);
    }

    fn text(&mut self, name: &'static str, text: &[u8], len_max: usize) {
        self.name(name);
        self.0.push(b'"');
        escape_cut(text, len_max, self.0);
        self.0.push(b'"');
    }

    fn field(&mut self, name: &'static str, value: Option<&HeaderValue>, len_max: usize) {
        if let Some(value) = value {
            self.text(name, value.as_bytes(), len_max);
        }
    }

    fn url(&mut self, name: &'static str, record: &Record) {
        self.parts(name, |out| redact::path_and_query(path_and_query(record), out));
    }

    /// Text in which a URL may stand.
    fn prose(&mut self, name: &'static str, text: &str) {
        self.parts(name, |out| redact::url(text.as_bytes(), out));
    }

    fn parts<'t>(&mut self, name: &'static str, give: impl FnOnce(&mut dyn FnMut(&'t [u8]))) {
        self.name(name);
        self.0.push(b'"');
        let mut left = URL_LEN_MAX;
        give(&mut |part| {
            if left > 0 {
                escape_cut(part, left, self.0);
                left = left.saturating_sub(part.len());
            }
        });
        self.0.push(b'"');
    }
}

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

/// `number` with at least `digits_min` digits. A line has a dozen numbers: the formatting machinery took a third of a hit's time.
fn decimal(mut number: u64, digits_min: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; DECIMAL_LEN_MAX];
    let mut start = DECIMAL_LEN_MAX;
    while number > 0 {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&digits[start.min(DECIMAL_LEN_MAX - digits_min)..]);
}

const DECIMAL_LEN_MAX: usize = 20;

fn escape_cut(text: &[u8], len_max: usize, out: &mut Vec<u8>) {
    if text.len() <= len_max {
        return escape(text, out);
    }
    let mut end = len_max;
    // Not in the middle of a character: UTF-8 continuation bytes are 10xxxxxx.
    while end > 0 && end + 4 > len_max && text[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    escape(&text[..end], out);
    out.extend_from_slice("…".as_bytes());
}

/// JSON string contents (RFC 8259 §7). Bytes that are not UTF-8 are taken as Latin-1, which is what old clients mean by them.
pub(super) fn escape(text: &[u8], out: &mut Vec<u8>) {
    if text.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')) {
        return out.extend_from_slice(text);
    }
    let is_utf8 = std::str::from_utf8(text).is_ok();
    for &byte in text {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b' '..=b'~' => out.push(byte),
            0x80.. if is_utf8 => out.push(byte),
            _ => write!(out, "\\u{byte:04x}").expect("a Vec takes every byte"),
        }
    }
}

/// RFC 3339 in UTC with milliseconds: `2026-11-23T13:28:41.007Z`. Times before 1970 are shown as 1970.
pub(super) fn timestamp(at: SystemTime, out: &mut Vec<u8>) {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second, millis) = (second / 3600, second / 60 % 60, second % 60, since.subsec_millis());
    let parts = [(year, 4, b'-'), (month, 2, b'-'), (day, 2, b'T'), (hour, 2, b':'), (minute, 2, b':'), (second, 2, b'.')];
    for (number, digits, then) in parts {
        decimal(number, digits, out);
        out.push(then);
    }
    decimal(millis.into(), 3, out);
    out.push(b'Z');
}

/// Year, month and day of the Gregorian calendar, of a number of days since 1970-01-01.
///
/// Counts in eras of 400 years that begin on 1 March, so that a leap day is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // from 0000-03-01 to 1970-01-01
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153; // from March
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, turn) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + turn, month, day)
}
