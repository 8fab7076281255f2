//! The fields of a stored response: what is kept, what a validation updates, what may be sent again (RFC 9111 §3.1, §3.2).

use http::{
    HeaderMap, HeaderName,
    header::{
        AGE, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, LAST_MODIFIED, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
        TRAILER,
    },
};

use super::{hops::remove_hop_by_hop, parse_date};
use crate::semantics::{cache_control::ResponseDirectives, facts::single, head, validator::ETag};

/// Makes the fields of a received response those to be stored: without hop-by-hop fields, without those that concern a proxy on the
/// way, and without what `private="…"` names (RFC 9111 §3.1, §5.2.2.7). Of a 206 the caller replaces `Content-Length` and `Content-Range`.
/// Gives what `private="…"` names: it is not stored, but the one who asked gets it.
pub fn prepare_stored(response: &mut HeaderMap, directives: &ResponseDirectives) -> HeaderMap {
    remove_hop_by_hop(response);
    for name in [PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, PROXY_AUTHENTICATION_INFO, TRAILER] {
        response.remove(name);
    }
    take(response, directives.private.fields())
}

/// Moves the fields of these names out of `fields`.
fn take(fields: &mut HeaderMap, names: &[HeaderName]) -> HeaderMap {
    let mut taken = HeaderMap::new();
    for name in names {
        for value in fields.get_all(name) {
            taken.append(name, value.clone());
        }
        fields.remove(name);
    }
    taken
}

/// The stored fields after a 304 or a HEAD (RFC 9111 §3.2, §4.3.4): each received field replaces those of its name, but for those that
/// describe the stored content or the connection.
///
/// Validators describe the stored content, too. A 304 confirms the validator that was asked with (RFC 9110 §15.4.5); that it names another
/// is an error of the origin, and to adopt it would put new names on old bytes. Under the same strong tag a new
/// modification date is only a date.
///
/// RFC 9111 §4.3.4 would have a 304 with a strong tag that no stored response has update nothing at all. It may be that this one was meant for
/// a condition with several tags, of which we send one: ours. What the origin confirmed by 304 is therefore confirmed, as the public
/// cache tests demand (`304-etag-update-response-ETag`); only the wrong tag is dropped.
///
/// Gives the fields that `private="…"` names, before or after the update: they are for the one who asked. `targeted` as for
/// [`ResponseDirectives::of`].
pub fn update_stored(stored: &mut HeaderMap, received: &HeaderMap, targeted: bool) -> HeaderMap {
    let mut received = received.clone();
    let directives = ResponseDirectives::of(&received, false);
    for name in &DESCRIBES_CONTENT[..] {
        // The tag is still to be compared.
        if *name != ETAG {
            received.remove(name);
        }
    }
    let named = prepare_stored(&mut received, &directives);
    let same_tag = ETag::of(stored).zip(ETag::of(&received)).is_some_and(|(stored, received)| stored.strong_eq(&received));
    if !same_tag {
        received.remove(LAST_MODIFIED);
    }
    // Age and Date are those of this response, or of none: the times of the stored response now begin with it.
    for name in [AGE, DATE] {
        stored.remove(name);
    }
    for name in received.keys().filter(|name| !DESCRIBES_CONTENT.contains(name)) {
        stored.remove(name);
        for value in received.get_all(name) {
            stored.append(name.clone(), value.clone());
        }
    }
    let mut personal = take(stored, directives.private.fields());
    personal.extend(take(stored, ResponseDirectives::of(stored, targeted).private.fields()));
    personal.extend(named);
    personal
}

/// What a 200 to a HEAD means for a stored response to GET (RFC 9111 §4.3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadUpdate {
    /// Same representation: update its fields with `update_stored`.
    Freshen,
    /// Another representation: the stored one is outdated.
    Outdated,
}

/// RFC 9111 §4.3.5: every validator received must be the stored one, and a length received the stored length.
pub fn head_update(stored: &HeaderMap, stored_len: Option<u64>, received: &HeaderMap) -> HeadUpdate {
    let same_tag = match (ETag::of(stored), ETag::of(received)) {
        (_, None) => !received.contains_key(ETAG),
        (None, Some(_)) => false,
        (Some(stored), Some(received)) => stored.weak_eq(&received),
    };
    let date = |fields| single(fields, &LAST_MODIFIED).and_then(parse_date);
    let same_date = !received.contains_key(LAST_MODIFIED) || date(stored).is_some_and(|stored| date(received) == Some(stored));
    let same_len = match head::content_length(received) {
        Ok(None) => true,
        Ok(received) => stored_len.is_none() || stored_len == received,
        Err(_) => false,
    };
    if same_tag && same_date && same_len { HeadUpdate::Freshen } else { HeadUpdate::Outdated }
}

/// Removes the fields that may not be sent again without validation: `no-cache="…"` (RFC 9111 §5.2.2.4).
pub fn remove_unvalidated(fields: &mut HeaderMap, directives: &ResponseDirectives) {
    for name in directives.no_cache.fields() {
        fields.remove(name);
    }
}

/// Fields whose stored value belongs to the stored bytes (RFC 9111 §3.2; `Content-MD5` and RFC 9530 digest what was sent with them).
const DESCRIBES_CONTENT: [HeaderName; 6] = [
    CONTENT_LENGTH,
    CONTENT_ENCODING,
    CONTENT_RANGE,
    ETAG,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("content-digest"),
];

const PROXY_AUTHENTICATION_INFO: HeaderName = HeaderName::from_static("proxy-authentication-info");

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::semantics::testing::fields;

    const OLD: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const NEW: &str = "Mon, 07 Nov 1994 08:49:37 GMT";

    fn updated(stored: &[(&str, &str)], received: &[(&str, &str)]) -> HeaderMap {
        let mut stored = fields(stored);
        update_stored(&mut stored, &fields(received), true);
        stored
    }

    #[test]
    fn what_concerns_the_connection_or_one_user_is_not_stored() {
        let mut response = fields(&[
            ("connection", "a"),
            ("a", "1"),
            ("proxy-authenticate", "x"),
            ("proxy-authentication-info", "x"),
            ("trailer", "x"),
            ("set-cookie", "a=b"),
            ("x", "1"),
            ("cache-control", "private=\"set-cookie\", no-cache=\"x\""),
            ("y", "1"),
        ]);
        let directives = ResponseDirectives::of(&response, true);
        let personal = prepare_stored(&mut response, &directives);
        assert_eq!(personal, fields(&[("set-cookie", "a=b")]));
        assert_eq!(response, fields(&[("x", "1"), ("cache-control", "private=\"set-cookie\", no-cache=\"x\""), ("y", "1")]));
        remove_unvalidated(&mut response, &directives);
        assert!(!response.contains_key("x") && response.contains_key("y"));
    }

    #[test]
    fn a_304_replaces_every_field_but_those_of_the_content() {
        let stored = [
            ("x", "1"),
            ("x", "2"),
            ("kept", "1"),
            ("cache-control", "max-age=1"),
            ("content-type", "text/plain"),
            ("content-length", "5"),
            ("content-encoding", "gzip"),
            ("content-md5", "a"),
            ("etag", "\"a\""),
            ("age", "100"),
            ("date", OLD),
        ];
        let received = [
            ("x", "3"),
            ("x", "4"),
            ("cache-control", "max-age=3600, private=\"secret\""),
            ("content-type", "text/html"),
            ("content-length", "7"),
            ("content-encoding", "br"),
            ("content-md5", "b"),
            ("content-range", "bytes 0-1/2"),
            ("etag", "\"b\""),
            ("connection", "hop"),
            ("hop", "1"),
            ("secret", "1"),
            ("date", NEW),
        ];
        let now = updated(&stored, &received);
        let expected = fields(&[
            ("x", "3"),
            ("x", "4"),
            ("kept", "1"),
            ("cache-control", "max-age=3600, private=\"secret\""),
            ("content-type", "text/html"),
            ("content-length", "5"),
            ("content-encoding", "gzip"),
            ("content-md5", "a"),
            ("etag", "\"a\""),
            ("date", NEW),
        ]);
        assert_eq!(now, expected);
    }

    #[test]
    fn what_is_private_by_name_goes_to_who_asked_and_leaves_the_store() {
        let update = |stored: &[(&str, &str)], received: &[(&str, &str)]| {
            let mut stored = fields(stored);
            let personal = update_stored(&mut stored, &fields(received), true);
            (stored.get("a").cloned(), personal.get("a").cloned())
        };
        let (named, plain) = (("cache-control", "private=\"a\""), ("cache-control", "max-age=60"));
        let value = |text| Some(HeaderValue::from_static(text));
        assert_eq!(update(&[plain, ("a", "1")], &[named, ("a", "2")]), (None, value("2")));
        assert_eq!(update(&[plain, ("a", "1")], &[named]), (None, value("1")));
        assert_eq!(update(&[named], &[("a", "2")]), (None, value("2")), "what is stored says so");
        assert_eq!(update(&[named], &[plain, ("a", "2")]), (value("2"), None));
    }

    #[test]
    fn a_modification_date_changes_only_under_the_same_strong_tag() {
        let date = |stored: &str, received: &str| {
            let now = updated(&[("etag", stored), ("last-modified", OLD)], &[("etag", received), ("last-modified", NEW)]);
            now["last-modified"].to_str().unwrap().to_owned()
        };
        assert_eq!(date("\"a\"", "\"a\""), NEW);
        assert_eq!(date("\"a\"", "\"b\""), OLD);
        assert_eq!(date("W/\"a\"", "W/\"a\""), OLD);
        assert_eq!(updated(&[("last-modified", OLD)], &[("last-modified", NEW)])["last-modified"], OLD);
        assert!(!updated(&[("last-modified", OLD)], &[("etag", "\"a\"")]).contains_key(ETAG));
    }

    #[test]
    fn a_head_freshens_only_the_same_representation() {
        let stored = [("etag", "\"a\""), ("last-modified", OLD)];
        for (received, expected) in [
            (&[("x", "1")][..], HeadUpdate::Freshen),
            (&[("etag", "\"a\""), ("last-modified", OLD), ("content-length", "5")], HeadUpdate::Freshen),
            (&[("etag", "\"b\"")], HeadUpdate::Outdated),
            (&[("etag", "unquoted")], HeadUpdate::Outdated),
            (&[("last-modified", NEW)], HeadUpdate::Outdated),
            (&[("last-modified", "nonsense")], HeadUpdate::Outdated),
            (&[("content-length", "6")], HeadUpdate::Outdated),
            (&[("content-length", "5"), ("content-length", "6")], HeadUpdate::Outdated),
        ] {
            assert_eq!(head_update(&fields(&stored), Some(5), &fields(received)), expected, "{received:?}");
        }
        assert_eq!(head_update(&fields(&[]), None, &fields(&[("content-length", "5")])), HeadUpdate::Freshen);
        assert_eq!(head_update(&fields(&[]), None, &fields(&[("etag", "\"a\"")])), HeadUpdate::Outdated);
    }
}
