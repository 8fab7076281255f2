//! Heads of HTTP/1.1 messages by their bytes: what a parsed head no longer shows (RFC 9112 §2.2, §3, §4, §5).
//!
//! Parsers forgive: a bare line feed, a folded line, a space before the colon. Somebody behind us may forgive differently, so that
//! two of us would see two messages in the same bytes. Here nothing is forgiven.

use http::StatusCode;

/// What is wrong with a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// The first line is not what its kind of message begins with.
    StartLine,
    /// CR without LF or LF without CR (RFC 9112 §2.2).
    LineEnd,
    /// A field value that goes on in the next line (RFC 9112 §5.2).
    Fold,
    /// A field name that is no token, or has white space beside it (RFC 9112 §5.1).
    Name,
    /// A control character in a field value (RFC 9110 §5.5).
    Value,
}

impl Malformed {
    /// One word for logs, metrics and Cache-Status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StartLine => "start-line",
            Self::LineEnd => "line-end",
            Self::Fold => "obs-fold",
            Self::Name => "field-name",
            Self::Value => "field-value",
        }
    }
}

/// Where the head at the start of `bytes` ends, its empty line included; `Ok(None)`: not yet. `seen`: how many bytes were looked at before.
pub fn end(bytes: &[u8], seen: usize) -> Result<Option<usize>, Malformed> {
    for at in seen..bytes.len() {
        if bytes[at] != b'\n' {
            continue;
        }
        match bytes[..at].split_last() {
            Some((b'\r', before)) if before.is_empty() || before.ends_with(b"\r\n") => return Ok(Some(at + 1)),
            Some((b'\r', _)) => {}
            _ => return Err(Malformed::LineEnd),
        }
    }
    Ok(None)
}

/// The start line of a whole head, and its field lines, each without its line end.
pub fn split(head: &[u8]) -> (&[u8], impl Iterator<Item = &[u8]>) {
    let mut lines = head.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let start = lines.next().unwrap_or_default();
    (start, lines.take_while(|line| !line.is_empty()))
}

/// Name and value of a field line (RFC 9112 §5): `field-name ":" OWS field-value OWS`.
pub fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Malformed::Fold);
    }
    let colon = line.iter().position(|&byte| byte == b':').ok_or(Malformed::Name)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.is_empty() || !name.iter().copied().all(is_token) {
        return Err(Malformed::Name);
    }
    match value.iter().find(|&&byte| !is_text(byte)) {
        Some(b'\r' | b'\n') => Err(Malformed::LineEnd),
        Some(_) => Err(Malformed::Value),
        None => Ok((name, value.trim_ascii())),
    }
}

/// The minor version and status code of a status line (RFC 9112 §4). A server that leaves out the reason and the space before it is understood.
pub fn status(line: &[u8]) -> Result<(u8, StatusCode), Malformed> {
    let rest = line.strip_prefix(b"HTTP/1.").ok_or(Malformed::StartLine)?;
    let (minor, code, reason) = match rest {
        [minor @ b'0'..=b'1', b' ', a, b, c, reason @ ..] => (minor - b'0', [*a, *b, *c], reason),
        _ => return Err(Malformed::StartLine),
    };
    if !(reason.is_empty() || reason.starts_with(b" ")) || !code.iter().all(u8::is_ascii_digit) {
        return Err(Malformed::StartLine);
    }
    match reason.iter().find(|&&byte| !is_text(byte)) {
        Some(b'\r' | b'\n') => return Err(Malformed::LineEnd),
        Some(_) => return Err(Malformed::StartLine),
        None => {}
    }
    StatusCode::from_bytes(&code).map(|code| (minor, code)).map_err(|_| Malformed::StartLine)
}

/// RFC 9110 §5.6.2.
pub fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What may stand in a field value: visible characters, blanks, and bytes above ASCII (RFC 9110 §5.5).
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_head_ends_at_its_empty_line_and_nowhere_else() {
        assert_eq!(end(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody", 0), Ok(Some(25)));
        assert_eq!(end(b"\r\nGET", 0), Ok(Some(2)));
        assert_eq!(end(b"HTTP/1.1 200 OK\r\nA: b\r\n", 0), Ok(None));
        for bare in [&b"HTTP/1.1 200 OK\nA: b\r\n\r\n"[..], b"A\r\nB\n\r\n", b"A\r\n\n", b"\n"] {
            assert_eq!(end(bare, 0), Err(Malformed::LineEnd), "{bare:?}");
        }
    }

    #[test]
    fn a_field_line_is_a_token_a_colon_and_text() {
        assert_eq!(field(b"A-b:\t c d \t"), Ok((&b"A-b"[..], &b"c d"[..])));
        assert_eq!(field(b"A:"), Ok((&b"A"[..], &b""[..])));
        assert_eq!(field("A: ü".as_bytes()), Ok((&b"A"[..], "ü".as_bytes())));
        for (line, why) in [
            (&b" folded"[..], Malformed::Fold),
            (b"\tfolded: x", Malformed::Fold),
            (b"A : b", Malformed::Name),
            (b"A\t: b", Malformed::Name),
            (b": b", Malformed::Name),
            (b"no colon", Malformed::Name),
            (b"A\0: b", Malformed::Name),
            (b"A: b\0", Malformed::Value),
            (b"A: b\x7f", Malformed::Value),
            (b"A: b\rC: d", Malformed::LineEnd),
        ] {
            assert_eq!(field(line), Err(why), "{line:?}");
        }
    }

    #[test]
    fn a_status_line_names_version_and_three_digits() {
        let code = |code| StatusCode::from_u16(code).unwrap();
        assert_eq!(status(b"HTTP/1.1 200 OK"), Ok((1, code(200))));
        assert_eq!(status(b"HTTP/1.0 999 "), Ok((0, code(999))));
        assert_eq!(status(b"HTTP/1.1 204"), Ok((1, code(204))));
        for line in [
            &b"HTTP/1.1  200 OK"[..],
            b"HTTP/1.1 20 OK",
            b"HTTP/1.1 2000 OK",
            b"HTTP/1.1 099 OK",
            b"HTTP/1.2 200 OK",
            b"HTTP/2 200 OK",
            b"http/1.1 200 OK",
            b" HTTP/1.1 200 OK",
            b"HTTP/1.1 200 O\0K",
            b"HTTP/1.1\t200 OK",
            b"ICY 200 OK",
            b"",
        ] {
            assert_eq!(status(line), Err(Malformed::StartLine), "{line:?}");
        }
        assert_eq!(status(b"HTTP/1.1 200 O\rK"), Err(Malformed::LineEnd));
    }

    proptest! {
        #[test]
        fn bytes_of_any_kind_never_panic_and_split_reads_never_differ(bytes in "[AB: \\t\\r\\n0]{0,40}", cut in 0usize..40) {
            let bytes = bytes.as_bytes();
            let cut = cut.min(bytes.len());
            let at_once = end(bytes, 0);
            let in_two = match end(&bytes[..cut], 0) {
                Ok(None) => end(bytes, cut),
                ended => ended,
            };
            prop_assert_eq!(at_once, in_two);
            let (start, fields) = split(bytes);
            let _ = status(start);
            fields.for_each(|line| _ = field(line));
        }
    }
}
