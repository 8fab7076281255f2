//! Requests on an HTTP/1 connection: how it arrives in pieces, then its bytes.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use weir::{
    listener::messages::{Bounds, Messages},
    semantics::head::{self, Ambiguity},
};

use super::number;

/// Small, so that inputs reach them.
const BOUNDS: Bounds = Bounds { head_max: 1024, fields_max: 16 };

pub fn messages(data: &[u8]) {
    let (pieces, bytes) = number(data);
    let mut whole = Messages::new(BOUNDS);
    let checked = whole.check(bytes);
    assert!(checked.passed <= bytes.len());

    // However the bytes arrive, the same of them pass.
    let lens = (0..64).cycle().map(|shift| (pieces.rotate_left(shift) % 24) as usize + 1);
    let (passed, malformed) = in_pieces(bytes, lens, |_, _| {});
    assert_eq!((passed, malformed), (checked.passed, checked.malformed.is_some()), "in pieces");

    // Byte by byte a head passes with its last byte: what follows it is known then.
    let (passed, malformed) = in_pieces(bytes, std::iter::repeat(1), is_read_alike);
    assert_eq!((passed, malformed), (checked.passed, checked.malformed.is_some()), "byte by byte");
}

/// How much passed, and whether something was malformed. `passes` sees what passed at once while a head was read, and whether another head
/// follows.
fn in_pieces(bytes: &[u8], lens: impl Iterator<Item = usize>, mut passes: impl FnMut(&[u8], bool)) -> (usize, bool) {
    let mut messages = Messages::new(BOUNDS);
    let (mut passed, mut end) = (0, 0);
    for len in lens {
        if end == bytes.len() {
            break;
        }
        end = bytes.len().min(end + len);
        let was_in_head = messages.is_in_head();
        let checked = messages.check(&bytes[passed..end]);
        if checked.malformed.is_some() {
            return (passed + checked.passed, true);
        }
        if was_in_head && checked.passed > 0 {
            passes(&bytes[passed..passed + checked.passed], messages.is_in_head());
        }
        passed += checked.passed;
    }
    (passed, false)
}

/// The parser behind this one, and the judgement of parsed fields, see the same request in a head that passed.
fn is_read_alike(head: &[u8], is_another_head_next: bool) {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut fields);
    let status = request.parse(head);
    assert_eq!(status, Ok(httparse::Status::Complete(head.len())), "{}", head.escape_ascii());
    let method = Method::from_bytes(request.method.unwrap_or_default().as_bytes()).expect("a method that passed is one");
    let target: Uri = request.path.unwrap_or_default().parse().expect("a target that passed is one");
    let version = if request.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let section = request.headers.iter().fold(HeaderMap::new(), appended);
    let judged = head::request(version, &method, &target, &section);
    let framing = [Ambiguity::BothFramings, Ambiguity::ContentLength, Ambiguity::TransferCoding, Ambiguity::HostCount];
    assert!(!judged.is_err_and(|ambiguity| framing.contains(&ambiguity)), "{judged:?}: {}", head.escape_ascii());
    let has_content = section.contains_key("transfer-encoding") || section.get("content-length").is_some_and(|len| !is_zero(len));
    assert_eq!(is_another_head_next, !has_content && method != Method::CONNECT, "{}", head.escape_ascii());
}

fn appended(mut section: HeaderMap, field: &httparse::Header<'_>) -> HeaderMap {
    let name = HeaderName::from_bytes(field.name.as_bytes()).expect("a name that passed is one");
    section.append(name, HeaderValue::from_bytes(field.value).expect("a value that passed is one"));
    section
}

fn is_zero(length: &HeaderValue) -> bool {
    length.as_bytes().iter().all(|&byte| byte == b'0')
}
