//! What becomes of a response to a fill's first request: stored, confirmed, asked for again in another way, or relayed.

use std::time::SystemTime;

use http::{HeaderMap, StatusCode, Uri, Version, header};

use super::{Error, Wanted};
use crate::{
    object::{BlobId, ObjectMeta, Trust},
    piece::ByteRange,
    semantics::{
        NotStorable, Storing,
        cache_control::ResponseDirectives,
        fields, head,
        range::{ContentRange, RangeSpec},
        storable,
        storable::{is_explicit, storable_post},
        validator::Validator,
        vary,
    },
    upstream::Framing,
};

/// What to do with a response.
#[derive(Debug)]
pub(super) enum Judgement {
    /// 304 to our own condition: what is stored is confirmed.
    Confirmed,
    Store(Box<Storable>),
    /// It answers a range we chose ourselves, and is of no use: ask again without one.
    AskWhole,
    /// The client that caused it gets it; nobody else, and nothing is stored.
    Relay(Why),
    /// It answers something nobody asked: passed on, it would be taken for an answer. Nobody gets it.
    Misfit(Error),
}

/// Why a response is only relayed. One word each, for `Cache-Status` and the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    NotStorable(NotStorable),
    /// Ends with its connection, so that a cut may look like the end, and policy or the response wants no risk.
    CloseDelimited,
    /// Longer than what is stored at all.
    TooLarge,
    /// A 206 without a total length or a strong validator: it answers its own request and nothing else.
    LonePart,
    /// A 206 for another range than the one asked for.
    OtherRange,
    /// `multipart/byteranges`.
    Multipart,
    /// HTML in place of a file: a captive portal or an error page.
    Portal,
    /// Its content failed its digest twice lately.
    Mismatch,
    /// It is not as long as metadata says of the content.
    Length,
    /// An error of the origin (5xx), where something stale may answer instead.
    Refused,
    /// The store cannot take it now.
    Store(&'static str),
}

impl Why {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::NotStorable(reason) => reason.as_str(),
            Self::CloseDelimited => "close-delimited",
            Self::TooLarge => "too-large",
            Self::LonePart => "lone-part",
            Self::OtherRange => "other-range",
            Self::Multipart => "multipart",
            Self::Portal => "html-for-a-file",
            Self::Mismatch => "digest-mismatch",
            Self::Length => "wrong-length",
            Self::Refused => "refused",
            Self::Store(reason) => reason,
        }
    }
}

/// A response to store, and which bytes of the representation its body is.
#[derive(Debug)]
pub(super) struct Storable {
    pub meta: ObjectMeta,
    /// Fields that are not stored, but go to the one who asked (RFC 9111 §5.2.2.7).
    pub personal: HeaderMap,
    pub start: u64,
    /// Where the body ends; `None` while nobody knows.
    pub end: Option<u64>,
}

/// A response head as it arrived.
pub(super) struct Arrived<'a> {
    pub version: Version,
    pub status: StatusCode,
    pub fields: &'a HeaderMap,
    pub framing: Framing,
    pub source: &'a str,
    /// When the request was sent and its head arrived (RFC 9111 §4.2.3).
    pub request_time: SystemTime,
    pub response_time: SystemTime,
}

/// The range that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AskedRange {
    No,
    /// The client's own.
    Client(RangeSpec),
    /// Ours: the client wants more than this, or all.
    Own(RangeSpec),
}

/// Judges a response to `want`. `object_max`: the longest content that is stored.
pub(super) fn judge(want: &Wanted, asked: AskedRange, conditional: bool, arrived: &Arrived<'_>, object_max: u64) -> Judgement {
    match of_response(want, asked, conditional, arrived, object_max) {
        Judgement::Relay(why) => misfit(asked, arrived).map_or(Judgement::Relay(why), Judgement::Misfit),
        judgement => judgement,
    }
}

/// Why a response must not even be relayed. Clients append what comes with a 206 to what they have, whatever its `Content-Range` says.
fn misfit(asked: AskedRange, arrived: &Arrived<'_>) -> Option<Error> {
    match (arrived.status, asked) {
        (StatusCode::PARTIAL_CONTENT, AskedRange::Client(spec)) if is_part_of(spec, arrived) => None,
        (StatusCode::PARTIAL_CONTENT, AskedRange::Client(_) | AskedRange::Own(_)) => Some(Error::WrongRange),
        // RFC 9110 §15.3.7, §15.4.5: both answer fields that this request did not have.
        (StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED, _) => Some(Error::Unasked(arrived.status)),
        _ => None,
    }
}

/// Whether the body is a part that `spec` asks for, as far as can be told without a length of the whole.
fn is_part_of(spec: RangeSpec, arrived: &Arrived<'_>) -> bool {
    let Ok(Some(ContentRange::Satisfied { range, len })) = ContentRange::of(arrived.fields) else { return false };
    let is_framed_so = !matches!(arrived.framing, Framing::Length(body) if body != range.len());
    let is_asked_for = match len {
        Some(len) => answers(AskedRange::Client(spec), range, len),
        None => spec.start().is_none_or(|start| start == range.start),
    };
    is_framed_so && is_asked_for
}

/// Judges a response to a POST to `target` that is to answer the GET `want` from now on; nobody asked for a range or set a condition.
pub(super) fn judge_post(want: &Wanted, target: &Uri, arrived: &Arrived<'_>, object_max: u64) -> Judgement {
    if head::response(arrived.status, arrived.fields).is_err() {
        return Judgement::Misfit(Error::Ambiguous);
    }
    match storable_post(target, &want.fields, arrived.status, arrived.fields, &want.policy) {
        Ok(_) => whole(want, arrived, object_max),
        Err(reason) => relay(reason),
    }
}

fn of_response(want: &Wanted, asked: AskedRange, conditional: bool, arrived: &Arrived<'_>, object_max: u64) -> Judgement {
    if conditional && arrived.status == StatusCode::NOT_MODIFIED {
        return Judgement::Confirmed;
    }
    if asked != AskedRange::No && arrived.status == StatusCode::RANGE_NOT_SATISFIABLE {
        // Nothing is known of the length yet: an empty file, or a range past the end. The whole response tells.
        return if matches!(asked, AskedRange::Own(_)) { Judgement::AskWhole } else { relay(NotStorable::Status) };
    }
    if head::response(arrived.status, arrived.fields).is_err() {
        // Whoever reads it another way than we do sees another body (RFC 9112 §6.3, §11.2).
        return Judgement::Misfit(Error::Ambiguous);
    }
    match storable(&want.method, &want.fields, arrived.status, arrived.fields, &want.policy) {
        Err(reason) => match asked {
            // Relayed, a part of our choosing would be a wrong answer.
            AskedRange::Own(_) if arrived.status == StatusCode::PARTIAL_CONTENT => Judgement::AskWhole,
            _ => relay(reason),
        },
        Ok(_) if want.file && is_page(arrived.fields) => Judgement::Relay(Why::Portal),
        Ok(Storing::Whole) => whole(want, arrived, object_max),
        Ok(Storing::Part(part)) => self::part(want, asked, arrived, part, object_max),
        Ok(Storing::Multipart) => match asked {
            AskedRange::Own(_) => Judgement::AskWhole,
            _ => Judgement::Relay(Why::Multipart),
        },
    }
}

fn relay(reason: NotStorable) -> Judgement {
    Judgement::Relay(Why::NotStorable(reason))
}

fn whole(want: &Wanted, arrived: &Arrived<'_>, object_max: u64) -> Judgement {
    let len = match arrived.framing {
        Framing::Length(len) => Some(len),
        Framing::Close if !want.policy.close_delimited || !is_explicit(arrived.fields, &want.policy) => {
            return Judgement::Relay(Why::CloseDelimited);
        }
        Framing::Close | Framing::Chunked | Framing::Stream => None,
    };
    if len.is_some_and(|len| len > object_max) {
        return Judgement::Relay(Why::TooLarge);
    }
    store(want, arrived, len, 0, len)
}

/// RFC 9111 §3.3, §3.4: a part is stored under a total length and a strong validator, and only if it is the part asked for.
fn part(want: &Wanted, asked: AskedRange, arrived: &Arrived<'_>, part: ContentRange, object_max: u64) -> Judgement {
    let refused = |why| if matches!(asked, AskedRange::Own(_)) { Judgement::AskWhole } else { Judgement::Relay(why) };
    let ContentRange::Satisfied { range, len: Some(len) } = part else { return refused(Why::LonePart) };
    let framed = match arrived.framing {
        Framing::Length(body) => body == range.len(),
        Framing::Chunked | Framing::Stream => true,
        Framing::Close => false,
    };
    if !framed || !Validator::of(arrived.fields).is_strong() {
        return refused(Why::LonePart);
    }
    if !answers(asked, range, len) {
        return refused(Why::OtherRange);
    }
    if len > object_max {
        return refused(Why::TooLarge);
    }
    store(want, arrived, Some(len), range.start, Some(range.end))
}

/// Whether `range` of `len` bytes is an answer to the range asked for. A server may send less than asked for, never from elsewhere.
fn answers(asked: AskedRange, range: ByteRange, len: u64) -> bool {
    let (AskedRange::Client(spec) | AskedRange::Own(spec)) = asked else { return false };
    spec.resolve(len).is_some_and(|wanted| range.start == wanted.start && range.end <= wanted.end)
}

fn store(want: &Wanted, arrived: &Arrived<'_>, len: Option<u64>, start: u64, end: Option<u64>) -> Judgement {
    let mut stored = arrived.fields.clone();
    let mut personal = fields::prepare_stored(&mut stored, &ResponseDirectives::of(arrived.fields, want.policy.targeted));
    if arrived.status == StatusCode::PARTIAL_CONTENT {
        stored.remove(header::CONTENT_RANGE);
    }
    stored.remove(header::CONTENT_LENGTH);
    if arrived.version != Version::HTTP_11 {
        // Nothing else that is stored says how it was received, and every answer made of it is to say so (RFC 9110 §7.6.3).
        fields::append_via(&mut stored, arrived.version, &want.forward.node);
    }
    // These tell of this message, whoever may know.
    personal.remove(header::CONTENT_RANGE);
    personal.remove(header::CONTENT_LENGTH);
    let meta = ObjectMeta {
        key: want.key.clone(),
        selecting: vary::selecting(arrived.fields, want.presented()),
        // A part is stored as what it is part of (RFC 9111 §3.3).
        status: if arrived.status == StatusCode::PARTIAL_CONTENT { StatusCode::OK } else { arrived.status },
        fields: stored,
        request_time: arrived.request_time,
        response_time: arrived.response_time,
        // Replaced as soon as the blob exists.
        blob: BlobId(0),
        len,
        source: arrived.source.into(),
        declared: want.declared,
        trust: Trust::Transport,
        invalidated: false,
    };
    Judgement::Store(Box::new(Storable { meta, personal, start, end }))
}

/// Whether a response is a web page where a file is wanted.
fn is_page(fields: &HeaderMap) -> bool {
    let content_type = fields.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    content_type.get(..9).is_some_and(|head| head.eq_ignore_ascii_case(b"text/html"))
}
