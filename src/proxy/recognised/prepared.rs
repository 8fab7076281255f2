//! An answer that is ready to be written, but for the moment.

use std::{
    fmt,
    io::Write,
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header::AGE};

use super::{Behind, Lesson};
use crate::{
    cache::{Body, Current, Standing},
    metrics::Source,
    proxy::log::Record,
    semantics::fields,
};

/// What a request was answered with, and all it takes to answer so again.
pub struct Prepared {
    pub(super) standing: Standing,
    /// The rules it was decided under.
    pub(super) rules: u64,
    pub(super) head: Head,
    pub(super) behind: Behind,
    /// Without content: empty.
    pub(super) content: Bytes,
    record: Record,
}

/// A prepared answer in the hands of one connection.
#[derive(Debug)]
pub struct Again {
    pub(super) prepared: Arc<Prepared>,
    /// Of the answer given last.
    record: Record,
    ttl_secs: Option<i64>,
}

/// A response head as it stands on the wire, with two gaps.
#[derive(Debug)]
pub(super) struct Head {
    text: Box<[u8]>,
    /// In their order in `text`.
    gaps: [(usize, Moment); 2],
}

/// What differs between two answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// All of `Age`.
    Age,
    /// What our member of Cache-Status ends with.
    Ttl,
}

/// RFC 9211
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

impl Prepared {
    /// Prepares `response`, which `record` is about, and says what it looks like at `now`; `None` if it could not be given again as it is.
    pub(super) fn lesson(
        rules: u64,
        standing: Standing,
        behind: Behind,
        response: &Response<Body>,
        record: &Record,
    ) -> Option<Lesson> {
        let current = standing.at(record.started)?;
        // Its own copy: what is in memory may be part of a larger buffer that others wait for.
        let content = Bytes::copy_from_slice(&response.body().in_memory()?);
        let head = Head::of(response.status(), response.headers(), behind, current)?;
        let mut record = record.detached()?;
        record.cache_status = None;
        if !content.is_empty() {
            record.add(Source::Store, content.len() as u64);
        }
        let mut written = Vec::new();
        head.write(current, &mut written);
        let prepared = Self { standing, rules, head, behind, content, record };
        Some(Lesson { prepared, head: written })
    }

    /// The memory it keeps, in bytes, about.
    pub(super) fn memory_bytes(&self) -> usize {
        let texts = [&self.record.host, &self.record.agent, &self.record.range].into_iter().flatten().map(HeaderValue::len);
        let uri = self.record.uri.path_and_query().map_or(0, |path| path.as_str().len());
        size_of::<Self>() + self.head.text.len() + self.content.len() + texts.sum::<usize>() + uri
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("uri", &self.record.uri).field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl Again {
    /// For the connection of `client`.
    pub fn new(prepared: Arc<Prepared>, client: IpAddr) -> Self {
        let mut record = prepared.record.clone();
        record.client = client;
        Self { prepared, record, ttl_secs: None }
    }

    /// What becomes of the connection when the answer has left.
    pub fn behind(&self) -> Behind {
        self.prepared.behind
    }

    /// The record of the answer given at `now`. It begins and ends in one step, without waiting: it takes no time that could be told.
    pub(super) fn record(&mut self, id: u64, now: SystemTime, current: Current) -> &Record {
        if self.ttl_secs != Some(current.ttl_secs) {
            self.ttl_secs = Some(current.ttl_secs);
            self.record.cache_status = self.prepared.head.cache_status(current.ttl_secs);
        }
        let record = &mut self.record;
        (record.id, record.started, record.duration) = (id, now, Duration::ZERO);
        record.first_byte = (!self.prepared.content.is_empty()).then_some(Duration::ZERO);
        record
    }
}

impl Head {
    /// The head of a response of which `current` is the moment. As the library writes one: names in title case, in the order of the map.
    fn of(status: StatusCode, fields: &HeaderMap, behind: Behind, current: Current) -> Option<Self> {
        let mut text = Vec::with_capacity(512);
        write!(text, "HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or_default()).ok()?;
        let ours = fields.get_all(CACHE_STATUS).iter().next_back()?;
        let mut gaps = Vec::with_capacity(2);
        for (name, value) in fields {
            title_case(name, &mut text);
            text.extend_from_slice(b": ");
            if name == AGE {
                without_end(value, fields::age_secs(current.age)).filter(|rest| rest.is_empty())?;
                gaps.push((text.len(), Moment::Age));
            } else if std::ptr::eq(value, ours) {
                text.extend_from_slice(without_end(value, current.ttl_secs)?);
                gaps.push((text.len(), Moment::Ttl));
            } else {
                text.extend_from_slice(value.as_bytes());
            }
            text.extend_from_slice(b"\r\n");
        }
        if behind == Behind::End {
            text.extend_from_slice(b"Connection: close\r\n");
        }
        text.extend_from_slice(b"\r\n");
        Some(Self { text: text.into(), gaps: gaps.try_into().ok()? })
    }

    /// Appends the head as it is at a moment.
    pub(super) fn write(&self, current: Current, out: &mut Vec<u8>) {
        let mut at = 0;
        for (gap, moment) in self.gaps {
            out.extend_from_slice(&self.text[at..gap]);
            match moment {
                Moment::Age => decimal(fields::age_secs(current.age), out),
                Moment::Ttl => decimal(current.ttl_secs.unsigned_abs(), out),
            }
            at = gap;
        }
        out.extend_from_slice(&self.text[at..]);
    }

    /// Our member of Cache-Status with this `ttl`.
    fn cache_status(&self, ttl_secs: i64) -> Option<HeaderValue> {
        let (gap, _) = *self.gaps.iter().find(|(_, moment)| *moment == Moment::Ttl)?;
        let line = self.text[..gap].rsplit(|&byte| byte == b'\n').next()?;
        let mut value = line.get(CACHE_STATUS.as_str().len() + 2..)?.to_vec();
        decimal(ttl_secs.unsigned_abs(), &mut value);
        HeaderValue::from_maybe_shared(Bytes::from(value)).ok()
    }
}

/// `value` without the `number` that it ends with.
fn without_end(value: &HeaderValue, number: impl ToString) -> Option<&[u8]> {
    value.as_bytes().strip_suffix(number.to_string().as_bytes())
}

fn title_case(name: &HeaderName, out: &mut Vec<u8>) {
    let mut is_first = true;
    for byte in name.as_str().bytes() {
        out.push(if is_first { byte.to_ascii_uppercase() } else { byte });
        is_first = byte == b'-';
    }
}

fn decimal(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut start = digits.len() - 1;
    while number > 9 {
        digits[start] += (number % 10) as u8;
        number /= 10;
        start -= 1;
    }
    digits[start] += number as u8;
    out.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(age: u64, ttl_secs: i64) -> Current {
        Current { age: Duration::from_secs(age), ttl_secs }
    }

    fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        fields
    }

    fn written(head: &Head, current: Current) -> String {
        let mut out = Vec::new();
        head.write(current, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_the_moment_changes_in_a_prepared_head() {
        let lines =
            [("etag", "\"5\""), ("age", "5"), ("cache-status", "parent; hit; ttl=9"), ("cache-status", "weir; hit; ttl=9")];
        let head = Head::of(StatusCode::PARTIAL_CONTENT, &fields(&lines), Behind::More, at(5, 9)).unwrap();
        let expected = |age, ttl| {
            format!(
                "HTTP/1.1 206 Partial Content\r\nEtag: \"5\"\r\nAge: {age}\r\n\
                 Cache-Status: parent; hit; ttl=9\r\nCache-Status: weir; hit; ttl={ttl}\r\n\r\n"
            )
        };
        for (age, ttl) in [(5, 9), (0, 14), (14, 0), (1_234_567_890, 999_999_999_999_999)] {
            assert_eq!(written(&head, at(age, ttl)), expected(age, ttl.to_string()));
        }
        assert_eq!(head.cache_status(120).unwrap(), "weir; hit; ttl=120");
        let last = Head::of(StatusCode::OK, &fields(&lines), Behind::End, at(5, 9)).unwrap();
        assert!(written(&last, at(5, 9)).ends_with("ttl=9\r\nConnection: close\r\n\r\n"));
    }

    #[test]
    fn a_head_that_does_not_show_its_moment_is_not_prepared() {
        for lines in [
            &[("age", "5")][..],
            &[("cache-status", "weir; hit; ttl=9")],
            &[("age", "6"), ("cache-status", "weir; hit; ttl=9")],
            &[("age", "5"), ("age", "5"), ("cache-status", "weir; hit; ttl=9")],
            &[("age", "5"), ("cache-status", "weir; hit; ttl=9; stored")],
        ] {
            assert!(Head::of(StatusCode::OK, &fields(lines), Behind::More, at(5, 9)).is_none(), "{lines:?}");
        }
    }
}
