//! A request head, checked line by line.

use http::{Uri, uri::Authority};

use super::{Bounds, line::Lines};
use crate::proxy::unserved::Malformed;

/// A head of which some lines were checked. It begins where the block does.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Head {
    lines: Lines,
    empty_lines: usize,
    fields: usize,
    request: Option<Request>,
    has_host: bool,
    length: Option<u64>,
    is_chunked: bool,
}

/// What of the request line matters for framing.
#[derive(Clone, Copy, Debug)]
struct Request {
    is_connect: bool,
    is_http_1_1: bool,
}

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follows {
    Head,
    Sized(u64),
    Chunks,
    /// Whatever the two ends of a tunnel say.
    Tunnel,
}

impl Head {
    /// Checks what has come of the head; once it is whole: its length in bytes, and what follows.
    #[inline]
    pub(super) fn advance(&mut self, block: &[u8], bounds: &Bounds) -> Result<Option<(usize, Follows)>, Malformed> {
        loop {
            let line = self.lines.next(block)?;
            // What has come of a line that is not whole counts, too: waiting for its end has to have one.
            let len = if line.is_some() { self.lines.end() } else { block.len() };
            if len > bounds.head_max {
                return Err(if self.request.is_none() { Malformed::TargetLength } else { Malformed::HeadLength });
            }
            let Some(line) = line else { return Ok(None) };
            match (self.request, line) {
                (None, []) => self.skip_empty()?,
                (None, line) => self.request = Some(Request::parse(line)?),
                (Some(request), []) => return Ok(Some((len, self.follows(request)?))),
                (Some(_), line) => self.field(line, bounds)?,
            }
        }
    }

    /// RFC 9112 §2.2: some clients send an empty line after a body.
    fn skip_empty(&mut self) -> Result<(), Malformed> {
        self.empty_lines += 1;
        if self.empty_lines > EMPTY_LINES_MAX { Err(Malformed::RequestLine) } else { Ok(()) }
    }

    #[inline]
    fn field(&mut self, line: &[u8], bounds: &Bounds) -> Result<(), Malformed> {
        self.fields += 1;
        if self.fields > bounds.fields_max {
            return Err(Malformed::FieldCount);
        }
        let (name, value) = name_and_value(line)?;
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.host(),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.content_length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.transfer_encoding(value),
            _ => Ok(()),
        }
    }

    fn host(&mut self) -> Result<(), Malformed> {
        if std::mem::replace(&mut self.has_host, true) { Err(Malformed::HostCount) } else { Ok(()) }
    }

    /// RFC 9112 §6.3 would allow equal lengths to be taken for one; who repeats them hopes for a parser that reads the other.
    fn content_length(&mut self, value: &[u8]) -> Result<(), Malformed> {
        let is_number = (1..=LENGTH_DIGITS_MAX).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
        if !is_number || self.length.is_some() {
            return Err(Malformed::ContentLength);
        }
        self.length = Some(value.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0')));
        Ok(())
    }

    /// RFC 9112 §6.1, §6.3: with a last coding other than `chunked` nobody knows where the body ends.
    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Malformed> {
        if std::mem::replace(&mut self.is_chunked, true) {
            return Err(Malformed::TransferCoding);
        }
        if value.eq_ignore_ascii_case(b"chunked") {
            return Ok(());
        }
        let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
        let mut codings = value.split(|&byte| byte == b',').map(without_whitespace);
        let ends_chunked = codings.next_back().is_some_and(is_chunked);
        let others_are_codings = codings.all(|coding| is_token(coding) && !is_chunked(coding));
        Err(if ends_chunked && others_are_codings { Malformed::UnknownCoding } else { Malformed::TransferCoding })
    }

    fn follows(&self, request: Request) -> Result<Follows, Malformed> {
        if request.is_http_1_1 && !self.has_host {
            return Err(Malformed::HostCount); // RFC 9112 §3.2
        }
        match (self.is_chunked, self.length) {
            (true, Some(_)) => Err(Malformed::BothFramings),
            // RFC 9112 §6.1: HTTP/1.0 does not know it.
            (true, None) if !request.is_http_1_1 => Err(Malformed::TransferCoding),
            (true, _) | (_, Some(1..)) if request.is_connect => Err(Malformed::TunnelContent),
            _ if request.is_connect => Ok(Follows::Tunnel),
            (true, None) => Ok(Follows::Chunks),
            (false, Some(length @ 1..)) => Ok(Follows::Sized(length)),
            (false, _) => Ok(Follows::Head),
        }
    }
}

/// More than any client sends between two requests.
const EMPTY_LINES_MAX: usize = 4;
/// 10^18 bytes and more do not exist, and 18 digits overflow nobody's integer.
const LENGTH_DIGITS_MAX: usize = 18;
/// The longest registered method has 17 letters (RFC 3253).
const METHOD_LEN_MAX: usize = 64;
/// What the `http` crate takes.
const TARGET_LEN_MAX: usize = u16::MAX as usize - 1;

impl Request {
    /// `method SP request-target SP HTTP-version` (RFC 9112 §3), with one space each.
    fn parse(line: &[u8]) -> Result<Self, Malformed> {
        let space = line.iter().position(|&byte| byte == b' ').ok_or(Malformed::RequestLine)?;
        let (method, rest) = (&line[..space], &line[space + 1..]);
        let space = rest.iter().rposition(|&byte| byte == b' ').ok_or(Malformed::RequestLine)?;
        let (target, version) = (&rest[..space], &rest[space + 1..]);
        if !is_token(method) {
            return Err(Malformed::RequestLine);
        }
        if method.len() > METHOD_LEN_MAX {
            return Err(Malformed::MethodLength);
        }
        let is_http_1_1 = is_http_1_1(version)?;
        check_target(target)?;
        Ok(Self { is_connect: method == b"CONNECT", is_http_1_1 })
    }
}

/// RFC 9112 §2.3. Later versions of HTTP/1 do not exist, and nobody who follows the framing of this one could promise to understand them.
fn is_http_1_1(version: &[u8]) -> Result<bool, Malformed> {
    match version {
        b"HTTP/1.1" => Ok(true),
        b"HTTP/1.0" => Ok(false),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            Err(Malformed::Version)
        }
        _ => Err(Malformed::RequestLine),
    }
}

/// A target of one of the four forms (RFC 9112 §3.2). Which of them its method allows is judged where requests are.
fn check_target(target: &[u8]) -> Result<(), Malformed> {
    if target.len() > TARGET_LEN_MAX {
        return Err(Malformed::TargetLength);
    }
    let is_plain = target.iter().all(|&byte| CLASS[byte as usize] & TARGET != 0);
    let is_form = is_plain
        && match target {
            [b'/', ..] | b"*" => true,
            // Rare enough to be parsed twice.
            _ => Uri::try_from(target).is_ok_and(|uri| uri.authority().is_some_and(has_good_port)),
        };
    if is_form { Ok(()) } else { Err(Malformed::Target) }
}

/// The `http` crate takes a port beyond 65535 for none.
fn has_good_port(authority: &Authority) -> bool {
    let behind_literal = authority.as_str().rsplit(']').next().unwrap_or_default();
    let port = behind_literal.rsplit('@').next().and_then(|host| host.split_once(':'));
    port.is_none_or(|(_, port)| port.is_empty() || authority.port_u16().is_some())
}

/// `field-name ":" OWS field-value OWS` (RFC 9112 §5). The line is not empty and has no control characters.
#[inline]
pub(super) fn name_and_value(line: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    if matches!(line[0], b' ' | b'\t') {
        return Err(Malformed::Fold); // RFC 9112 §5.2
    }
    let colon = line.iter().position(|&byte| CLASS[byte as usize] & TOKEN == 0);
    match colon {
        Some(colon @ 1..=NAME_LEN_MAX) if line[colon] == b':' => Ok((&line[..colon], without_whitespace(&line[colon + 1..]))),
        _ => Err(Malformed::FieldName),
    }
}

/// Far beyond any name, and what all parsers take.
const NAME_LEN_MAX: usize = 1024;

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| CLASS[byte as usize] & TOKEN != 0)
}

/// Without optional whitespace (RFC 9110 §5.6.3) at both ends.
#[inline]
pub(super) fn without_whitespace(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// In tokens (RFC 9110 §5.6.2).
const TOKEN: u8 = 1;
/// In request targets: what RFC 3986 allows, and some that it wants escaped but clients send as they are and everybody reads alike. Not `#`,
/// which some cut off and some pass on, and nothing beyond ASCII.
const TARGET: u8 = 2;

const CLASS: [u8; 256] = {
    let mut class = [0; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        if byte.is_ascii_alphanumeric() || is_among(byte, b"!#$%&'*+-.^_`|~") {
            class[byte as usize] |= TOKEN;
        }
        if !is_among(byte, b"\"#<>`") {
            class[byte as usize] |= TARGET;
        }
        byte += 1;
    }
    class
};

const fn is_among(byte: u8, set: &[u8]) -> bool {
    let mut at = 0;
    while at < set.len() {
        if set[at] == byte {
            return true;
        }
        at += 1;
    }
    false
}
