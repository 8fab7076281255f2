//! What must not be written down: signatures and credentials in URLs.

use percent_encoding::percent_decode;

/// Query parameters whose values give access, in lower case: `P1`…`P4` sign Microsoft's content URLs, the others those of common
/// object stores and services.
const SECRET: &[&[u8]] = &[
    b"p1",
    b"p2",
    b"p3",
    b"p4",
    b"sig",
    b"signature",
    b"token",
    b"access_token",
    b"auth",
    b"key",
    b"api_key",
    b"apikey",
    b"password",
    b"x-amz-signature",
    b"x-amz-credential",
    b"x-amz-security-token",
    b"x-goog-signature",
    b"x-goog-credential",
    b"awsaccesskeyid",
];

/// What stands in place of a secret.
const MASK: &[u8] = b"*";

/// The longest name that is compared; every secret one is shorter even when each of its bytes is percent-encoded.
const NAME_LEN_MAX: usize = 64;

/// Gives `path_and_query` to `out` in parts, with the values of secret parameters masked. Names count in any case and percent-encoded too.
pub(super) fn path_and_query<'a>(text: &'a [u8], mut out: impl FnMut(&'a [u8])) {
    let mut rest = text;
    let Some(query) = rest.iter().position(|&byte| byte == b'?') else {
        return out(text);
    };
    out(&rest[..=query]);
    rest = &rest[query + 1..];
    while !rest.is_empty() {
        // `;` and a second `?` separate too: better one mask too many than a signature in the log.
        let end = rest.iter().position(|byte| matches!(byte, b'&' | b';' | b'?')).map_or(rest.len(), |at| at + 1);
        parameter(&rest[..end], &mut out);
        rest = &rest[end..];
    }
}

/// As [`path_and_query`], of text that may hold a whole URL: userinfo goes too.
pub(super) fn url<'a>(text: &'a [u8], mut out: impl FnMut(&'a [u8])) {
    let Some(scheme) = text.windows(3).position(|three| three == b"://") else {
        return path_and_query(text, out);
    };
    let (scheme, rest) = text.split_at(scheme + 3);
    let authority = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#' | b' ')).unwrap_or(rest.len());
    out(scheme);
    out(without_userinfo(&rest[..authority]));
    path_and_query(&rest[authority..], out);
}

/// One `name=value` with the separator that follows it.
fn parameter<'a>(text: &'a [u8], out: &mut impl FnMut(&'a [u8])) {
    let Some(equals) = text.iter().position(|&byte| byte == b'=') else {
        return out(text);
    };
    let (name, value) = (&text[..equals], &text[equals + 1..]);
    let separator = value.iter().position(|byte| matches!(byte, b'&' | b';' | b'?')).unwrap_or(value.len());
    out(&text[..=equals]);
    if is_secret(name) {
        out(MASK);
        return out(&value[separator..]);
    }
    out(without_userinfo(value));
}

fn is_secret(name: &[u8]) -> bool {
    if name.len() > NAME_LEN_MAX {
        return false;
    }
    let mut decoded = [0; NAME_LEN_MAX];
    let mut len = 0;
    for byte in percent_decode(name) {
        decoded[len] = byte.to_ascii_lowercase();
        len += 1;
    }
    SECRET.contains(&&decoded[..len])
}

/// `user:password@host` → `host`, for authorities and for parameters that name one (`cacheHostOrigin`).
pub(super) fn without_userinfo(text: &[u8]) -> &[u8] {
    let plain = text.iter().rposition(|&byte| byte == b'@').map(|at| at + 1);
    let encoded = text.windows(3).rposition(|three| three == b"%40").map(|at| at + 3);
    &text[plain.max(encoded).unwrap_or(0)..]
}
