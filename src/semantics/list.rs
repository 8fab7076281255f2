//! Comma-separated lists in field values (RFC 9110 §5.6.1), quoted strings respected.

use http::{HeaderMap, HeaderName};

/// The non-empty members of all lines of a field, in order, without the whitespace around them.
pub(super) fn of<'a>(fields: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    fields.get_all(name).into_iter().flat_map(|line| members(line.as_bytes()))
}

/// The non-empty members of one line. A quoted string that never ends takes the rest of the line with it,
/// so that nothing inside it is ever read as a member.
pub(super) fn members(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    split(line, true)
}

/// The members of a list of entity tags, in which a backslash is a character like any other (RFC 9110 §8.8.3).
pub(super) fn tags<'a>(fields: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    fields.get_all(name).into_iter().flat_map(|line| split(line.as_bytes(), false))
}

fn split(line: &[u8], escapes: bool) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        loop {
            let line = rest?;
            let end = member_end(line, escapes);
            rest = line.get(end + 1..);
            let member = line[..end].trim_ascii();
            if !member.is_empty() {
                return Some(member);
            }
        }
    })
}

/// Whether a member of the list, compared without case, is `token`.
pub(super) fn has_token(fields: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    of(fields, name).any(|member| member.eq_ignore_ascii_case(token.as_bytes()))
}

/// Where the first member ends: at a comma outside quotes, or at the end of the line.
fn member_end(line: &[u8], escapes: bool) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (at, &byte) in line.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted && escapes => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return at,
            _ => {}
        }
    }
    line.len()
}

/// The content of a quoted string (RFC 9110 §5.6.4), escapes resolved; `None` when `value` is not one.
pub(super) fn unquote(value: &[u8]) -> Option<Vec<u8>> {
    let inner = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let mut content = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'\\' => content.push(*bytes.next()?),
            b'"' => return None,
            _ => content.push(byte),
        }
    }
    Some(content)
}

/// Whether `text` is a token (RFC 9110 §5.6.2).
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// A number of digits only; more than fits is the greatest.
pub(super) fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = text.iter().try_fold(0u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
    Some(value.unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> Vec<&str> {
        members(line.as_bytes()).map(|member| std::str::from_utf8(member).unwrap()).collect()
    }

    #[test]
    fn members_are_split_at_commas_outside_quotes() {
        assert_eq!(split("a, b ,,c"), ["a", "b", "c"]);
        assert_eq!(split(r#"a="1, 2", b="\", c""#), [r#"a="1, 2""#, r#"b="\", c""#]);
        assert_eq!(split(r#"a="open, b"#), [r#"a="open, b"#]);
        assert!(split(" , ,").is_empty());
        assert!(split("").is_empty());
    }

    #[test]
    fn a_quoted_string_is_unquoted_once_and_only_if_it_is_one() {
        assert_eq!(unquote(br#""a\"b""#).unwrap(), b"a\"b");
        assert_eq!(unquote(b"\"\"").unwrap(), b"");
        assert_eq!(unquote(b"\""), None);
        assert_eq!(unquote(br#""a\""#), None);
        assert_eq!(unquote(b"a"), None);
    }

    #[test]
    fn numbers_that_do_not_fit_are_the_greatest() {
        assert_eq!(digits(b"007"), Some(7));
        assert_eq!(digits(b"99999999999999999999999999"), Some(u64::MAX));
        assert_eq!((digits(b""), digits(b"-1"), digits(b"1.0"), digits(b"+1")), (None, None, None, None));
    }
}
