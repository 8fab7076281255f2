//! A well-behaved resource: ranges, validators and conditional requests as RFC 9110 has them.

use super::{
    super::{content::Content, gate::Gate, wire::Field},
    Answer, Ask, Step,
};

/// What stands at a path. Built with a strong `ETag`, `Last-Modified` and ranges; each can be taken away.
#[derive(Clone)]
pub(crate) struct Resource {
    content: Content,
    fields: Vec<Field>,
    ranges: bool,
    framing: Framing,
    rate: Option<u64>,
    held: Option<Gate>,
    held_from: Option<(u64, Gate)>,
}

#[derive(Clone, Copy)]
enum Framing {
    Length,
    Chunked,
    Close,
}

/// A day that is long past, so that `Last-Modified` is strong by RFC 9110 §8.8.2.2.
pub(crate) const LAST_MODIFIED: &str = "Tue, 13 Jan 2026 10:00:00 GMT";

impl Resource {
    pub(crate) fn new(content: &Content) -> Self {
        let resource = Self {
            content: content.clone(),
            fields: Vec::new(),
            ranges: true,
            framing: Framing::Length,
            rate: None,
            held: None,
            held_from: None,
        };
        resource
            .with("ETag", &format!("\"{}\"", u64::from_le_bytes(content.bytes(0, 8).try_into().unwrap())))
            .with("Last-Modified", LAST_MODIFIED)
            .with("Content-Type", "application/octet-stream")
            .with("Cache-Control", "max-age=3600")
    }

    pub(crate) fn with(self, name: &str, value: &str) -> Self {
        let mut resource = self.without(name);
        resource.fields.push((name.to_owned(), value.to_owned()));
        resource
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self
    }

    pub(crate) fn without_ranges(mut self) -> Self {
        self.ranges = false;
        self
    }

    pub(crate) fn chunked(mut self) -> Self {
        self.framing = Framing::Chunked;
        self
    }

    /// The end of the connection is the end of the body.
    pub(crate) fn close_delimited(mut self) -> Self {
        self.framing = Framing::Close;
        self
    }

    /// At most so many bytes a second on each connection.
    pub(crate) fn paced(mut self, bytes_per_second: u64) -> Self {
        self.rate = Some(bytes_per_second);
        self
    }

    /// Heads wait at the gate.
    pub(crate) fn held(mut self, gate: &Gate) -> Self {
        self.held = Some(gate.clone());
        self
    }

    /// Bytes from `offset` on wait at the gate, whichever request they are for.
    pub(crate) fn held_from(mut self, offset: u64, gate: &Gate) -> Self {
        self.held_from = Some((offset, gate.clone()));
        self
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    pub(crate) fn answer(&self, ask: &Ask) -> Answer {
        let mut answer = self.select(ask);
        answer.rate = self.rate;
        answer.held_from = self.held_from.clone();
        if let Some(gate) = &self.held {
            answer = answer.first(Step::Hold(gate.clone()));
        }
        if ask.method == "HEAD" {
            answer.steps.clear();
        }
        answer
    }

    fn select(&self, ask: &Ask) -> Answer {
        if ask.field("if-match").is_some_and(|tags| !self.matches(tags)) {
            return self.head("412 Precondition Failed").with("Content-Length", 0);
        }
        if ask.field("if-none-match").is_some_and(|tags| self.matches(tags)) || self.unmodified_since(ask) {
            return self.head("304 Not Modified");
        }
        let ranges = ask.field("range").filter(|_| self.ranges && ask.method == "GET" && self.range_applies(ask));
        match ranges.map(|ranges| self.resolve(ranges)) {
            None => self.whole(),
            Some(ranges) => match ranges[..] {
                [] => self
                    .head("416 Range Not Satisfiable")
                    .with("Content-Range", format!("bytes */{}", self.content.len()))
                    .with("Content-Length", 0),
                [(start, end)] => self.part(start, end),
                _ => self.parts(&ranges),
            },
        }
    }

    fn head(&self, status: &str) -> Answer {
        let mut answer = Answer::new(status);
        answer.fields = self.fields.clone();
        if self.ranges { answer.with("Accept-Ranges", "bytes") } else { answer }
    }

    fn whole(&self) -> Answer {
        let len = self.content.len();
        match self.framing {
            Framing::Length => self.head("200 OK").with("Content-Length", len).then(Step::Body(self.content.clone(), 0, len)),
            Framing::Chunked => self
                .head("200 OK")
                .with("Transfer-Encoding", "chunked")
                .then(Step::Chunks(self.content.clone(), 0, len))
                .then(Step::Text("0\r\n\r\n".into())),
            Framing::Close => {
                self.head("200 OK").with("Connection", "close").then(Step::Body(self.content.clone(), 0, len)).then(Step::Close)
            }
        }
    }

    /// The part `start..end`.
    pub(crate) fn part(&self, start: u64, end: u64) -> Answer {
        self.head("206 Partial Content")
            .with("Content-Range", format!("bytes {start}-{}/{}", end - 1, self.content.len()))
            .with("Content-Length", end - start)
            .then(Step::Body(self.content.clone(), start, end))
    }

    fn parts(&self, ranges: &[(u64, u64)]) -> Answer {
        let (mut steps, mut len) = (Vec::new(), 0);
        for &(start, end) in ranges {
            let text = format!("\r\n--origin\r\nContent-Range: bytes {start}-{}/{}\r\n\r\n", end - 1, self.content.len());
            len += text.len() as u64 + end - start;
            steps.extend([Step::Text(text.into()), Step::Body(self.content.clone(), start, end)]);
        }
        let last = "\r\n--origin--\r\n";
        steps.push(Step::Text(last.into()));
        let head = self.head("206 Partial Content").with("Content-Type", "multipart/byteranges; boundary=origin");
        head.with("Content-Length", len + last.len() as u64).only(steps)
    }

    fn matches(&self, tags: &str) -> bool {
        let tag = self.field("etag");
        tags == "*" || tags.split(',').any(|t| Some(t.trim()) == tag)
    }

    fn unmodified_since(&self, ask: &Ask) -> bool {
        let date = ask.field("if-modified-since").filter(|_| ask.field("if-none-match").is_none());
        date.zip(self.field("last-modified")).is_some_and(|(asked, modified)| {
            let parse = |date| httpdate::parse_http_date(date).ok();
            parse(asked).zip(parse(modified)).is_some_and(|(asked, modified)| modified <= asked)
        })
    }

    fn range_applies(&self, ask: &Ask) -> bool {
        ask.field("if-range").is_none_or(|v| Some(v) == self.field("etag") || Some(v) == self.field("last-modified"))
    }

    /// The satisfiable ranges of a `Range` field, as `start..end`.
    fn resolve(&self, ranges: &str) -> Vec<(u64, u64)> {
        let len = self.content.len();
        let specs = ranges.trim_start_matches("bytes=").split(',').filter_map(|spec| spec.trim().split_once('-'));
        let resolved = specs.map(|(first, last)| match (first.parse::<u64>(), last.parse::<u64>()) {
            (Ok(first), Ok(last)) => (first, len.min(last + 1)),
            (Ok(first), Err(_)) => (first, len),
            (Err(_), Ok(suffix)) => (len.saturating_sub(suffix), len),
            (Err(_), Err(_)) => (len, len),
        });
        resolved.filter(|(start, end)| start < end).collect()
    }
}
