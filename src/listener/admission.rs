//! What of a client's bytes hyper gets to see: whole request heads that everybody reads alike, and bodies framed as they say.
//!
//! A head that has come only in part is held back; one that is malformed is never handed on. In its place stands a substitute, by which
//! the service is asked for the refusal in its turn, behind the answers to what came before.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use http::{HeaderName, HeaderValue, Method, Request, Uri, Version, header, request};
use tokio::io::{AsyncRead, ReadBuf};

use crate::{
    listener::{
        Limits,
        activity::Activity,
        messages::{Bounds, Checked, Messages},
    },
    proxy::unserved::Malformed,
};

/// Stands between a connection's bytes and hyper.
#[derive(Debug)]
pub(super) struct Admission {
    messages: Messages,
    activity: Arc<Activity>,
    /// Good bytes that found no room yet, then those of a head or a line that is not whole.
    held: BytesMut,
    /// How many of them are good.
    ready: usize,
    refused: Option<Refused>,
}

/// What is handed on in place of what was malformed.
#[derive(Debug)]
enum Refused {
    /// What is left of the substitute.
    Head(&'static [u8]),
    Body(Malformed),
}

/// A request head that was refused: what of it could be read, for the log.
#[derive(Debug)]
pub(super) struct RefusedHead {
    pub(super) parts: request::Parts,
    pub(super) why: Malformed,
}

impl Admission {
    pub(super) fn new(limits: &Limits, activity: Arc<Activity>) -> Self {
        let bounds = Bounds { head_max: limits.head_max, fields_max: limits.fields_max };
        Self { messages: Messages::new(bounds), activity, held: BytesMut::new(), ready: 0, refused: None }
    }

    /// Reads from `io` into `buf` what may be handed on.
    #[inline]
    pub(super) fn poll_read(
        &mut self,
        mut io: Pin<&mut impl AsyncRead>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.ready > 0 {
                self.hand_on(buf);
                return Poll::Ready(Ok(()));
            }
            if let Some(refused) = &mut self.refused {
                return refused.poll_read(buf, &self.activity);
            }
            let before = buf.filled().len();
            ready!(io.as_mut().poll_read(cx, buf))?;
            // At the end of the connection: what is held will never be whole.
            if buf.filled().len() == before || self.take(before, buf) {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// How many request heads were handed on; `None` while more of them or their content is known, and while nothing more is handed on.
    #[inline]
    pub(super) fn heads_passed(&self) -> Option<u64> {
        let is_between = self.held.is_empty() && self.refused.is_none() && self.messages.is_in_head();
        is_between.then(|| self.messages.heads())
    }

    /// Takes note of what was read into `buf` behind `before`, and leaves there what may be handed on; whether that is anything.
    #[inline]
    pub(super) fn take(&mut self, before: usize, buf: &mut ReadBuf<'_>) -> bool {
        self.activity.note_read(buf.filled().len() - before);
        self.admit(before, buf)
    }

    /// Checks what was read into `buf` behind `before` and leaves there what is good; whether that is anything.
    #[inline]
    fn admit(&mut self, before: usize, buf: &mut ReadBuf<'_>) -> bool {
        let new = &buf.filled()[before..];
        if !self.held.is_empty() {
            self.held.extend_from_slice(new);
            buf.set_filled(before);
            let checked = self.messages.check(&self.held);
            self.ready = checked.passed;
            self.settle(checked);
            return false;
        }
        let checked = self.messages.check(new);
        if checked.passed < new.len() {
            self.held.extend_from_slice(&new[checked.passed..]);
            buf.set_filled(before + checked.passed);
            self.settle(Checked { passed: 0, ..checked });
        }
        checked.passed > 0
    }

    /// Of what is held, `checked.passed` bytes are good; what is behind them goes no further if it is malformed.
    fn settle(&mut self, checked: Checked) {
        let Some(why) = checked.malformed else { return };
        let rest = self.held.split_off(checked.passed);
        self.refused = Some(if self.messages.is_in_head() {
            let head = RefusedHead::read(&rest, why);
            let substitute = if head.parts.method == Method::HEAD { SUBSTITUTE_HEAD } else { SUBSTITUTE };
            self.activity.refuse(head);
            Refused::Head(substitute)
        } else {
            Refused::Body(why)
        });
    }

    fn hand_on(&mut self, buf: &mut ReadBuf<'_>) {
        let len = self.ready.min(buf.remaining());
        buf.put_slice(&self.held[..len]);
        self.held.advance(len);
        self.ready -= len;
        if self.held.is_empty() {
            self.held = BytesMut::new(); // a long-lived connection does not keep the room
        }
    }
}

impl Refused {
    fn poll_read(&mut self, buf: &mut ReadBuf<'_>, activity: &Activity) -> Poll<io::Result<()>> {
        match self {
            // Nothing more is read: the answer to the substitute closes the connection, and a client that does not take it runs into
            // the write timeout.
            Self::Head([]) => Poll::Pending,
            Self::Head(left) => {
                let (now, later) = left.split_at(left.len().min(buf.remaining()));
                buf.put_slice(now);
                *left = later;
                Poll::Ready(Ok(()))
            }
            Self::Body(why) => {
                activity.reading().malformed(*why);
                Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, *why)))
            }
        }
    }
}

/// No client can send it: without `Host` it would be refused itself.
const SUBSTITUTE: &[u8] = b"GET * HTTP/1.1\r\n\r\n";
/// The answer has no content.
const SUBSTITUTE_HEAD: &[u8] = b"HEAD * HTTP/1.1\r\n\r\n";

/// Whether `request` stands for a head that was refused.
pub(super) fn is_substitute<B>(request: &Request<B>) -> bool {
    request.headers().is_empty() && request.version() == Version::HTTP_11
}

impl RefusedHead {
    /// Takes from a malformed head what the access log shows, where it is in good order.
    fn read(head: &[u8], why: Malformed) -> Self {
        let (mut parts, ()) = Request::new(()).into_parts();
        let mut lines = head.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).skip_while(|line| line.is_empty());
        let mut words = lines.next().unwrap_or_default().split(|&byte| byte == b' ');
        let method = words.next().filter(|method| method.len() <= METHOD_LEN_MAX);
        parts.method = method.and_then(|method| Method::from_bytes(method).ok()).unwrap_or_else(unknown_method);
        parts.uri = words.next().and_then(|target| Uri::try_from(target).ok()).unwrap_or_else(|| Uri::from_static("*"));
        for line in lines.take_while(|line| !line.is_empty()).take(LINES_MAX) {
            for name in [header::HOST, header::USER_AGENT] {
                if let Some(value) = value_of(line, &name) {
                    parts.headers.insert(name, value);
                }
            }
        }
        Self { parts, why }
    }
}

fn unknown_method() -> Method {
    Method::from_bytes(b"-").expect("a token")
}

/// Longer ones are shown as unknown.
const METHOD_LEN_MAX: usize = 64;
/// Fields further down are not looked for.
const LINES_MAX: usize = 100;

fn value_of(line: &[u8], name: &HeaderName) -> Option<HeaderValue> {
    let (found, value) = line.split_at_checked(name.as_str().len())?;
    let value = value.strip_prefix(b":").filter(|_| found.eq_ignore_ascii_case(name.as_str().as_bytes()))?;
    HeaderValue::from_bytes(value.trim_ascii()).ok()
}
