//! `multipart/byteranges` (RFC 9110 §14.6): writing it with a length known in advance, and reading that of an origin.

use std::ops::Range;

use http::HeaderValue;

use crate::{
    piece::ByteRange,
    semantics::{list, range::ContentRange},
};

/// A multipart answer: what comes before each part, after the last one, and how long all of it is.
///
/// BITS wants parts in request order, at most 180 bytes of other part fields, and at most two line ends before the first
/// delimiter; zsync reads nothing that does not begin with a line end, as nginx and httpd write it. So there is one line end, and no
/// other field.
#[derive(Clone, Debug)]
pub struct Multipart {
    boundary: String,
    content_type: Option<HeaderValue>,
    /// Length of the whole representation in bytes.
    len: u64,
    ranges: Vec<ByteRange>,
}

impl Multipart {
    /// `nonce`: random, so that no content can hold the boundary by intent. `content_type` and `len` are those of the whole
    /// representation.
    pub fn new(nonce: u128, content_type: Option<&HeaderValue>, len: u64, ranges: Vec<ByteRange>) -> Self {
        Self { boundary: format!("{nonce:032x}"), content_type: content_type.cloned(), len, ranges }
    }

    /// `multipart/byteranges; boundary=…`
    pub fn content_type(&self) -> HeaderValue {
        HeaderValue::try_from(format!("multipart/byteranges; boundary={}", self.boundary))
            .expect("invariant: a boundary is hexadecimal digits")
    }

    /// The length of the whole answer in bytes.
    pub fn content_length(&self) -> u64 {
        let parts = self.parts().map(|(head, range)| head.len() as u64 + range.len());
        parts.sum::<u64>() + self.tail().len() as u64
    }

    /// For each part in order: the bytes that precede it (delimiter and part fields), and the range that follows them.
    pub fn parts(&self) -> impl Iterator<Item = (Vec<u8>, ByteRange)> + '_ {
        self.ranges.iter().map(|&range| (self.head(range), range))
    }

    /// The bytes after the last part.
    pub fn tail(&self) -> Vec<u8> {
        format!("\r\n--{}--\r\n", self.boundary).into_bytes()
    }

    fn head(&self, range: ByteRange) -> Vec<u8> {
        let mut head = format!("\r\n--{}\r\n", self.boundary).into_bytes();
        if let Some(content_type) = &self.content_type {
            head.extend_from_slice(b"Content-Type: ");
            head.extend_from_slice(content_type.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        let content_range = ContentRange::Satisfied { range, len: Some(self.len) };
        head.extend_from_slice(format!("Content-Range: {content_range}\r\n\r\n").as_bytes());
        head
    }
}

/// One part of a received multipart body: what it is of the representation, and where its bytes are in the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub range: ByteRange,
    /// Length of the whole representation, if the part says it.
    pub len: Option<u64>,
    pub content_type: Option<HeaderValue>,
    pub body: Range<usize>,
}

/// Why a multipart body is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MultipartError {
    #[error("no usable boundary in content-type")]
    Boundary,
    #[error("malformed multipart body")]
    Malformed,
    #[error("multipart body ends early")]
    Truncated,
    #[error("more than {PARTS_MAX} parts")]
    TooMany,
    #[error("part without a valid content-range, or not as long as it says")]
    ContentRange,
    #[error("parts disagree about the length of the whole")]
    Contradiction,
}

/// More parts than this in one response are refused.
pub const PARTS_MAX: usize = 256;

/// Longer part heads are refused.
const PART_HEAD_MAX: usize = 8 * 1024;

/// RFC 2046 §5.1.1.
const BOUNDARY_LEN_MAX: usize = 70;

/// Whether a media type is `multipart/byteranges`.
pub(super) fn is_byteranges(content_type: &HeaderValue) -> bool {
    let media_type = content_type.as_bytes().split(|&byte| byte == b';').next().unwrap_or_default();
    media_type.trim_ascii().eq_ignore_ascii_case(b"multipart/byteranges")
}

/// Reads a complete multipart body (RFC 9110 §14.6, RFC 2046 §5.1). The caller bounds its size.
///
/// A part is as long as its `Content-Range` says and must be followed by a delimiter: content that happens to hold the
/// boundary cannot end it early.
pub fn parse(content_type: &HeaderValue, body: &[u8]) -> Result<Vec<Part>, MultipartError> {
    let delimiter = [b"--", boundary(content_type)?.as_slice()].concat();
    let mut at = first_delimiter(body, &delimiter)?;
    let mut parts: Vec<Part> = Vec::new();
    loop {
        let rest = &body[at..];
        if rest.starts_with(b"--") {
            return if parts.is_empty() { Err(MultipartError::Malformed) } else { Ok(parts) };
        }
        if parts.len() == PARTS_MAX {
            return Err(MultipartError::TooMany);
        }
        let (part, end) = part(body, at)?;
        if parts.iter().any(|known| known.len.zip(part.len).is_some_and(|(known, len)| known != len)) {
            return Err(MultipartError::Contradiction);
        }
        parts.push(part);
        let rest =
            body[end..].strip_prefix(b"\r\n").ok_or_else(|| short_or(&body[end..], b"\r\n", MultipartError::ContentRange))?;
        let rest = rest.strip_prefix(&*delimiter).ok_or_else(|| short_or(rest, &delimiter, MultipartError::ContentRange))?;
        at = body.len() - rest.len();
    }
}

/// The part whose head begins at the line end after a delimiter, and where its body ends.
fn part(body: &[u8], at: usize) -> Result<(Part, usize), MultipartError> {
    let padding = body[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let head = &body[at + padding..];
    let head = &head[..head.len().min(PART_HEAD_MAX)];
    let head_len = head.windows(4).position(|window| window == b"\r\n\r\n");
    let head_len =
        head_len.ok_or(if head.len() < PART_HEAD_MAX { MultipartError::Truncated } else { MultipartError::Malformed })?;
    let (mut content_range, mut content_type) = (None, None);
    let lines = head[..head_len].strip_prefix(b"\r\n").ok_or(MultipartError::Malformed)?;
    for line in lines.split(|&byte| byte == b'\n') {
        let colon = line.iter().position(|&byte| byte == b':').ok_or(MultipartError::Malformed)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-range") && content_range.replace(value).is_some() {
            return Err(MultipartError::ContentRange);
        }
        if name.eq_ignore_ascii_case(b"content-type") {
            content_type = HeaderValue::from_bytes(value).ok();
        }
    }
    let content_range = content_range.and_then(|value| ContentRange::parse(value).ok());
    let Some(ContentRange::Satisfied { range, len }) = content_range else { return Err(MultipartError::ContentRange) };
    let start = at + padding + head_len + 4;
    let end = usize::try_from(range.len()).ok().and_then(|len| start.checked_add(len)).filter(|&end| end <= body.len());
    let end = end.ok_or(MultipartError::Truncated)?;
    Ok((Part { range, len, content_type, body: start..end }, end))
}

/// Where the first delimiter ends: at the start of the body, or at the start of a line after a preamble.
fn first_delimiter(body: &[u8], delimiter: &[u8]) -> Result<usize, MultipartError> {
    if body.starts_with(delimiter) {
        return Ok(delimiter.len());
    }
    let line = [b"\r\n", delimiter].concat();
    let head = &body[..body.len().min(PART_HEAD_MAX)];
    let at = head.windows(line.len()).position(|window| window == line).ok_or(MultipartError::Malformed)?;
    Ok(at + line.len())
}

/// `Truncated` when `text` is all there is of `expected`, else `error`.
fn short_or(text: &[u8], expected: &[u8], error: MultipartError) -> MultipartError {
    if expected.starts_with(text) { MultipartError::Truncated } else { error }
}

/// The boundary parameter of a media type, token or quoted (RFC 9110 §8.3.1, RFC 2046 §5.1.1).
fn boundary(content_type: &HeaderValue) -> Result<Vec<u8>, MultipartError> {
    if !is_byteranges(content_type) {
        return Err(MultipartError::Boundary);
    }
    let parameter = content_type.as_bytes().split(|&byte| byte == b';').skip(1).map(<[u8]>::trim_ascii).find_map(|parameter| {
        let (name, value) = parameter.split_at_checked(9)?;
        name.eq_ignore_ascii_case(b"boundary=").then_some(value)
    });
    let value = parameter.ok_or(MultipartError::Boundary)?;
    let boundary = list::unquote(value).unwrap_or_else(|| value.to_vec());
    let is_valid = |byte: &u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(byte);
    let is_boundary = (1..=BOUNDARY_LEN_MAX).contains(&boundary.len()) && boundary.iter().all(is_valid);
    if is_boundary { Ok(boundary) } else { Err(MultipartError::Boundary) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(start: u64, end: u64) -> ByteRange {
        ByteRange::new(start, end).unwrap()
    }

    fn rendered(multipart: &Multipart, content: &[u8]) -> Vec<u8> {
        let part = |(head, range): (Vec<u8>, ByteRange)| [&head, &content[range.start as usize..range.end as usize]].concat();
        let mut body: Vec<u8> = multipart.parts().flat_map(part).collect();
        body.extend(multipart.tail());
        body
    }

    const TYPE: HeaderValue = HeaderValue::from_static("multipart/byteranges; boundary=THIS_STRING_SEPARATES");

    /// The example of RFC 9110 §14.6, with bodies as long as a test can bear.
    const EXAMPLE: &str = "--THIS_STRING_SEPARATES\r\nContent-Type: application/pdf\r\nContent-Range: bytes 5-9/80\r\n\r\n01234\
        \r\n--THIS_STRING_SEPARATES\r\nContent-Type: application/pdf\r\nContent-Range: bytes 70-72/80\r\n\r\nabc\r\n--THIS_STRING_SEPARATES--\r\n";

    #[test]
    fn the_example_of_the_rfc_is_read() {
        let parts = parse(&TYPE, EXAMPLE.as_bytes()).unwrap();
        let bodies: Vec<_> = parts.iter().map(|part| (part.range, part.len, &EXAMPLE[part.body.clone()])).collect();
        assert_eq!(bodies, [(range(5, 10), Some(80), "01234"), (range(70, 73), Some(80), "abc")]);
        assert_eq!(parts[0].content_type.as_ref().unwrap(), "application/pdf");
    }

    #[test]
    fn a_preamble_padding_and_a_quoted_boundary_are_read() {
        let quoted = HeaderValue::from_static("Multipart/ByteRanges; x=y; Boundary=\"THIS_STRING_SEPARATES\"");
        let body = format!("preamble\r\n{}", EXAMPLE.replacen("SEPARATES\r\n", "SEPARATES \t\r\n", 1));
        assert_eq!(parse(&quoted, body.as_bytes()).unwrap().len(), 2);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (from, to, expected) in [
            ("70-72/80", "70-73/80", MultipartError::ContentRange),
            ("70-72/80", "70-71/80", MultipartError::ContentRange),
            ("70-72/80", "70-72/81", MultipartError::Contradiction),
            ("70-72/80", "72-70/80", MultipartError::ContentRange),
            ("70-72/80", "70-18446744073709551614/*", MultipartError::Truncated),
            ("Content-Range: bytes 5-9/80\r\n", "", MultipartError::ContentRange),
            ("Content-Type: application/pdf", "Content-Range: bytes 5-9/80", MultipartError::ContentRange),
            ("Content-Type: application/pdf", "no field", MultipartError::Malformed),
            ("--THIS", "--OTHER", MultipartError::Malformed),
            ("--\r\n", "", MultipartError::Malformed),
        ] {
            let body = EXAMPLE.replacen(from, to, if from == "--THIS" { 9 } else { 1 });
            let found = parse(&TYPE, body.as_bytes());
            // Without its closing mark the body ends inside a part head.
            let expected = if from == "--\r\n" { MultipartError::Truncated } else { expected };
            assert_eq!(found, Err(expected), "{from} -> {to}");
        }
        for content_type in [
            "multipart/byteranges",
            "multipart/byteranges; boundary=",
            "multipart/byteranges; boundary=\"a\"b",
            "text/plain; boundary=a",
        ] {
            assert_eq!(parse(&HeaderValue::from_static(content_type), b""), Err(MultipartError::Boundary), "{content_type}");
        }
    }

    #[test]
    fn a_body_cut_anywhere_is_refused() {
        let whole = EXAMPLE.trim_end().len();
        for end in 0..whole {
            assert!(parse(&TYPE, &EXAMPLE.as_bytes()[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn a_response_of_too_many_parts_is_refused() {
        let head = Multipart::new(7, None, 1000, (0..=PARTS_MAX as u64).map(|at| range(at, at + 1)).collect());
        assert_eq!(parse(&head.content_type(), &rendered(&head, &[0; 1000])), Err(MultipartError::TooMany));
    }

    #[test]
    fn what_bits_cannot_bear_is_not_written() {
        let content_type = HeaderValue::from_static("application/octet-stream");
        let multipart =
            Multipart::new(u128::MAX, Some(&content_type), u64::MAX, vec![range(u64::MAX - 2, u64::MAX), range(0, 1)]);
        let heads: Vec<_> = multipart.parts().map(|(head, _)| head).collect();
        assert!(heads.iter().all(|head| head.starts_with(b"\r\n--ffff")));
        assert!(
            String::from_utf8_lossy(&heads[0])
                .ends_with("\r\nContent-Range: bytes 18446744073709551613-18446744073709551614/18446744073709551615\r\n\r\n")
        );
    }

    proptest! {
        /// What is written is as long as promised, and is read back as the same ranges with the same bytes.
        #[test]
        fn written_and_read_back_are_the_same(
            content in prop::collection::vec(any::<u8>(), 1..300), picks in prop::collection::vec((any::<u16>(), any::<u16>()), 2..9), nonce in any::<u128>(),
        ) {
            let len = content.len() as u64;
            let pick = |&(start, size): &(u16, u16)| {
                let start = u64::from(start) % len;
                range(start, (start + 1 + u64::from(size)).min(len))
            };
            let ranges: Vec<ByteRange> = picks.iter().map(pick).collect();
            let multipart = Multipart::new(nonce, None, len, ranges.clone());
            let body = rendered(&multipart, &content);
            prop_assert_eq!(body.len() as u64, multipart.content_length());
            let parts = parse(&multipart.content_type(), &body).unwrap();
            prop_assert_eq!(parts.iter().map(|part| part.range).collect::<Vec<_>>(), ranges);
            for part in parts {
                prop_assert_eq!(&body[part.body.clone()], &content[part.range.start as usize..part.range.end as usize]);
            }
        }

        #[test]
        fn reading_never_panics(tail in "(\r\n|--THIS_STRING_SEPARATES|Content-Range: |bytes |[0-9]{1,20}|[-/*:; a-z]){0,40}") {
            let _ = parse(&TYPE, tail.as_bytes());
            let _ = parse(&TYPE, format!("--THIS_STRING_SEPARATES\r\n{tail}").as_bytes());
            if let Ok(value) = HeaderValue::from_str(&format!("multipart/byteranges; boundary={}", tail.replace("\r\n", ""))) {
                let _ = parse(&value, EXAMPLE.as_bytes());
            }
        }
    }
}
