//! Answers whose URLs are made to lead through weir, as they pass.
//!
//! Only where the administrator wants it. `wsus` finds the URLs, `classify` says what becomes of each; here is what that means for the message:
//! it goes out in identity coding and without a length, and a little of it is held at a time, however well it is coded.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode,
    header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, HOST},
};
use http_body::Frame;

use super::{
    Proxy,
    connection::RequestBody,
    observe::Tap,
    respond::{self, Answered},
};
use crate::{
    cache::CacheStatus,
    classify::Policy,
    metrics,
    upstream::{self, Error},
    wsus::{Coding, Rewriter},
};

/// What is known of an answer before it comes.
pub(super) struct Rewriting {
    /// The site that the client spoke to, and what the client called it.
    site: Arc<str>,
    called: Option<Box<str>>,
}

/// Whatever the client takes, the server is asked for the coding that spares the line: the client gets it decoded.
pub(super) fn asked(request: &mut Request<RequestBody>, site: Option<Arc<str>>) -> Option<Rewriting> {
    let called = request.headers().get(HOST).and_then(|host| host.to_str().ok()).map(Box::from);
    request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("xpress"));
    site.map(|site| Rewriting { site, called })
}

impl Proxy {
    /// The answer with other URLs. Faults, what may not be changed (RFC 9110 §7.7), and codings that nobody asked for stay as they are.
    pub(super) fn rewritten(
        &self,
        rewriting: Rewriting,
        response: Response<upstream::Body>,
        tap: Option<Tap>,
        status: CacheStatus,
    ) -> Answered {
        let coding = Coding::of(response.headers());
        let is_changeable = response.status() == StatusCode::OK && !forbids(response.headers());
        let Some(coding) = coding.filter(|_| is_changeable) else {
            return Answered { tap, ..respond::relayed(response, status) };
        };
        let places = Places { policy: self.policy.load_full(), rewriting, metrics: self.observer.metrics().clone() };
        let (mut parts, body) = response.into_parts();
        for name in [CONTENT_ENCODING, CONTENT_LENGTH, ETAG].into_iter().chain(DIGESTS) {
            parts.headers.remove(name);
        }
        let rewriter = Rewriter::new(coding);
        let body = Rewritten { body, rewriter, places, tap, came: Bytes::new(), has_ended: false };
        respond::relayed(Response::from_parts(parts, body), status)
    }
}

/// RFC 9111 §5.2.2.6
fn forbids(fields: &HeaderMap) -> bool {
    let directives = fields.get_all(CACHE_CONTROL).into_iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    directives.into_iter().any(|directive| directive.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
}

/// Says what becomes of each URL.
struct Places {
    policy: Arc<Policy>,
    rewriting: Rewriting,
    metrics: metrics::Catalog,
}

impl Places {
    fn place(&self, url: &str) -> Option<String> {
        let place = self.policy.place(&self.rewriting.site, self.rewriting.called.as_deref(), url);
        if place.is_some() {
            self.metrics.rewritten.inc()
        } else {
            self.metrics.unwritten.inc()
        }
        place
    }
}

/// A body that is made anew as it passes. Trailers could only be about what it was.
struct Rewritten {
    body: upstream::Body,
    rewriter: Rewriter,
    places: Places,
    /// Sees what the server said.
    tap: Option<Tap>,
    /// What came and was not looked at yet: coded bytes can stand for thousands of times as many.
    came: Bytes,
    has_ended: bool,
}

impl Rewritten {
    /// What the next bytes that came have become; nothing while a block is not whole.
    fn next(&mut self) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        while out.is_empty() && !self.came.is_empty() {
            let used = self.rewriter.push(&self.came, |url| self.places.place(url), &mut out);
            self.came.advance(used.map_err(|why| self.malformed(why.to_string()))?);
        }
        Ok(out)
    }

    fn end(&mut self) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        self.rewriter.finish(&mut out).map_err(|why| self.malformed(why.to_string()))?;
        Ok(out)
    }

    fn malformed(&self, why: String) -> Error {
        Error::Protocol { upstream: (&*self.places.rewriting.site).into(), reason: why.into() }
    }
}

impl http_body::Body for Rewritten {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        loop {
            let out = this.next()?;
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(out.into()))));
            }
            if this.has_ended {
                return Poll::Ready(None);
            }
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => {
                    let Ok(bytes) = frame.into_data() else { continue };
                    if let Some(tap) = &mut this.tap {
                        tap.see(&bytes);
                    }
                    this.came = bytes;
                }
                None => {
                    this.has_ended = true;
                    let out = this.end()?;
                    if !out.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(out.into()))));
                    }
                }
            }
        }
    }
}

/// What says something of the content as it was (RFC 9530, RFC 3230, RFC 1864).
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];
