//! `Cache-Control`, `Pragma` and `CDN-Cache-Control`: each line of the input is a line of the field.

use std::time::Duration;

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CACHE_CONTROL, PRAGMA},
};
use weir::semantics::cache_control::{Qualified, RequestDirectives, ResponseDirectives};

use super::values;

pub fn cache_control(data: &[u8]) {
    let lines = values(data, 8);
    let fields = section(&CACHE_CONTROL, &lines);
    let (request, response) = (RequestDirectives::of(&fields), directives(&fields));
    has_bounds(&request, &response);

    let upper: Vec<_> = lines.iter().map(upper_case).collect();
    let upper = section(&CACHE_CONTROL, &upper);
    assert_eq!(request, RequestDirectives::of(&upper), "names have no case (RFC 9111 §5.2)");
    assert_eq!(response, directives(&upper), "names have no case (RFC 9111 §5.2)");

    let reversed = section(&CACHE_CONTROL, lines.iter().rev());
    assert_eq!(request, RequestDirectives::of(&reversed), "the order of lines decides nothing");
    assert_eq!(response, directives(&reversed), "the order of lines decides nothing");

    let mut restricted = fields;
    restricted.append(CACHE_CONTROL, HeaderValue::from_static("no-store, private, no-cache, max-age=0, s-maxage=0"));
    let restricted = ResponseDirectives::of(&restricted, false);
    assert!(restricted.no_store && restricted.private.is_everything() && restricted.no_cache.is_everything());
    assert_eq!((restricted.max_age, restricted.s_maxage), (Some(Duration::ZERO), Some(Duration::ZERO)));

    targeted(&lines);
    let _ = RequestDirectives::of(&section(&PRAGMA, &lines));
}

/// A targeted field is taken whole or not at all (RFC 9213 §2.2).
fn targeted(lines: &[HeaderValue]) {
    let mut fields = section(&HeaderName::from_static("cdn-cache-control"), lines);
    fields.append(CACHE_CONTROL, HeaderValue::from_static("no-store, max-age=7"));
    let untargeted = ResponseDirectives::of(&fields, false);
    assert!(untargeted.no_store && !untargeted.targeted, "it counts only where it is asked for");
    let targeted = ResponseDirectives::of(&fields, true);
    assert!(targeted.targeted || targeted == untargeted, "an invalid one is as if it were not there");
    has_bounds(&RequestDirectives::default(), &targeted);
}

/// Seconds never pass 2^31 (RFC 9111 §1.2.2), except for a `max-stale` without a value; names that qualify are never none.
fn has_bounds(request: &RequestDirectives, response: &ResponseDirectives) {
    let most = Duration::from_secs(1 << 31);
    let lifetimes = [request.max_age, request.min_fresh, request.stale_if_error, response.max_age, response.s_maxage]
        .into_iter()
        .chain([response.stale_while_revalidate, response.stale_if_error]);
    assert!(lifetimes.flatten().all(|lifetime| lifetime <= most));
    assert!(request.max_stale.is_none_or(|stale| stale <= most || stale == Duration::MAX));
    for qualified in [&response.no_cache, &response.private] {
        assert!(!matches!(qualified, Qualified::Fields(names) if names.is_empty()));
    }
}

/// The directives of `Cache-Control`; the order in which qualified ones name fields says nothing.
fn directives(fields: &HeaderMap) -> ResponseDirectives {
    let mut directives = ResponseDirectives::of(fields, false);
    for qualified in [&mut directives.no_cache, &mut directives.private] {
        if let Qualified::Fields(names) = qualified {
            names.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        }
    }
    directives
}

fn section<'a>(name: &HeaderName, lines: impl IntoIterator<Item = &'a HeaderValue>) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for line in lines {
        fields.append(name, line.clone());
    }
    fields
}

fn upper_case(line: &HeaderValue) -> HeaderValue {
    HeaderValue::from_bytes(&line.as_bytes().to_ascii_uppercase()).expect("invariant: upper case is as valid as lower case")
}
